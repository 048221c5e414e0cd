//! The search: the choice of an index, and the test of its tickets.
//!
//! A search takes a bounded number of steps, for any query and any titles. Candidates are examined
//! in the requested order. When the steps are used up, the page ends, and the next page continues
//! after the last candidate. The search either walks an index in the requested order and tests each
//! ticket, or sorts the candidates of a small index first. It takes the access with the lowest
//! estimated cost. See docs/adr/0012-search.md.

use std::sync::Arc;

use super::{
    Catalog, Position, Query, Sort, TicketPage,
    candidates::{Candidates, SortKey},
    indexes::{Class, ClassName, Indexes},
    postings::Postings,
    rows::{Row, Rows, Slot},
    words::Filter,
};
use crate::domain::{Money, Ticket};

/// The bounds of one search. A step takes some 50 ns with a million tickets, which fit in no CPU
/// cache.
#[derive(Debug, Clone, Copy)]
pub(super) struct SearchBounds {
    /// Maximum number of steps for examined candidates. At least one candidate is examined, so that
    /// each page makes progress.
    pub(super) steps: usize,
    /// Maximum number of candidates that are sorted before they are examined.
    pub(super) sorted: usize,
}

impl SearchBounds {
    pub(super) const DEFAULT: Self = Self { steps: 10_000, sorted: 10_000 };
}

/// Maximum number of indexed words for all words of a query together. A query word with more than
/// its share is not looked up in the index; titles are tested for it instead.
const LISTED_WORDS_MAX: usize = 2048;

/// Steps to find a position in a list of tickets, which reads some ids from their rows.
const OPEN_STEPS: usize = 12;
/// Steps to read a title's words.
const TEXT_STEPS: usize = 2;
/// Bytes of a title that are searched for a word in one step.
const TEXT_BYTES_PER_STEP: usize = 256;
/// Steps to find a ticket by its id.
const TICKET_STEPS: usize = 6;

/// The index that the candidates are taken from.
#[derive(Debug)]
enum Source<'a> {
    /// All tickets, newest first.
    All,
    /// Tickets within the query's prices, in the order of a sort by price.
    Prices,
    /// Tickets of the query's seller, newest first.
    Seller(Vec<&'a Postings>),
    /// Tickets with a word that begins with the query word of this number; one list for each
    /// indexed word, newest first.
    Word(usize, Vec<&'a Postings>),
}

/// The use of a source: walked in its order, or sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    Walk,
    Sort,
}

struct Search<'a> {
    catalog: &'a Catalog,
    query: &'a Query,
    bounds: SearchBounds,
    rows: &'a Rows,
    classes: Vec<&'a Class>,
    filter: Filter<'a>,
}

/// Returns one page. The indexes do not change during the search.
pub(super) fn list(catalog: &Catalog, query: &Query, bounds: SearchBounds) -> TicketPage {
    let words = query.words.as_deref();
    if query.limit == 0 || words.is_some_and(<[String]>::is_empty) {
        return TicketPage::default();
    }
    let indexes = catalog.indexes();
    let mut search = Search {
        catalog,
        query,
        bounds,
        rows: &indexes.rows,
        classes: classes(query, &indexes),
        filter: Filter::new(words.unwrap_or_default()),
    };
    search.candidates().map(|candidates| search.examine(candidates)).unwrap_or_default()
}

fn classes<'a>(query: &Query, indexes: &'a Indexes) -> Vec<&'a Class> {
    let is_requested =
        |name: &ClassName| query.statuses.iter().any(|status| ClassName::of(*status) == *name);
    [ClassName::OnSale, ClassName::Sold]
        .into_iter()
        .filter(is_requested)
        .map(|name| indexes.class(name))
        .collect()
}

impl<'a> Search<'a> {
    /// Returns the candidates in the requested order, or `None` if no ticket can match.
    fn candidates(&mut self) -> Option<Candidates<'a>> {
        let sources = self.sources();
        let all = self.classes.iter().map(|class| class.len() as u128).sum::<u128>();
        if sources.iter().any(|(_, len)| *len == 0) {
            return None;
        }
        // Estimate of the matching tickets, under the assumption that the conditions are
        // independent.
        let matching =
            sources.iter().fold(all, |matching, (_, len)| matching * *len as u128 / all).max(1);
        let cost = |source: &Source<'a>, len: usize, access| match access {
            Access::Walk => self.can_walk(source).then(|| {
                let until_full = (self.query.limit as u128 + 1) * len as u128 / matching;
                source.opening_steps() as u128 + until_full.min(len as u128)
            }),
            Access::Sort => (len <= self.bounds.sorted).then_some(len as u128),
        };
        let accesses = sources.iter().flat_map(|(source, len)| {
            [Access::Walk, Access::Sort]
                .into_iter()
                .filter_map(move |access| Some((cost(source, *len, access)?, source, access)))
        });
        let (_, source, access) = accesses.min_by_key(|(cost, ..)| *cost)?;
        if let Source::Word(number, _) = source {
            self.filter.skip(*number);
        }
        Some(match access {
            Access::Walk => {
                self.bounds.steps = self.bounds.steps.saturating_sub(source.opening_steps());
                Candidates::merged(self.rows, self.query.sort, self.lists(source).into_iter())
            }
            Access::Sort => self.sort(source),
        })
    }

    /// Returns all sources that can be walked or sorted, with their numbers of tickets.
    fn sources(&self) -> Vec<(Source<'a>, usize)> {
        let (classes, query) = (&self.classes, self.query);
        let mut sources = Vec::new();
        let len = |lists: &[&Postings]| -> usize { lists.iter().map(|list| list.len()).sum() };
        let lists_max = LISTED_WORDS_MAX / self.filter.words().len().max(1);
        for (number, word) in self.filter.words().iter().enumerate() {
            let lists: Vec<&Postings> =
                classes.iter().flat_map(|class| class.words(word)).take(lists_max + 1).collect();
            if lists.len() <= lists_max {
                let len = len(&lists);
                sources.push((Source::Word(number, lists), len));
            }
        }
        if let Some(seller) = query.seller {
            let lists: Vec<&Postings> =
                classes.iter().filter_map(|class| class.seller(seller)).collect();
            let len = len(&lists);
            sources.push((Source::Seller(lists), len));
        }
        if query.sort != Sort::Newest || query.min_price.is_some() || query.max_price.is_some() {
            let (min, max) = prices(query);
            sources.push((
                Source::Prices,
                classes.iter().map(|class| class.priced_between(min, max)).sum(),
            ));
        }
        if query.sort == Sort::Newest {
            sources.push((Source::All, classes.iter().map(|class| class.len()).sum()));
        }
        sources
    }

    /// Returns whether a source has the requested order, and can be opened with a small part of the
    /// steps.
    fn can_walk(&self, source: &Source<'_>) -> bool {
        match source {
            Source::Prices => self.query.sort != Sort::Newest,
            Source::All => self.query.sort == Sort::Newest,
            _ => self.query.sort == Sort::Newest && source.opening_steps() <= self.bounds.steps / 4,
        }
    }

    /// Returns the lists of a source in the requested order, after the previous page.
    fn lists(&self, source: &Source<'a>) -> Vec<Box<dyn Iterator<Item = Slot> + 'a>> {
        let (rows, query) = (self.rows, self.query);
        let (min, max) = prices(query);
        let after = query.after.map(|after| after.id);
        let classes = self.classes.iter().copied();
        match source {
            Source::All => classes.map(|class| Box::new(class.newest(rows, after)) as _).collect(),
            Source::Prices if query.sort == Sort::Price => classes
                .map(|class| Box::new(class.cheapest(rows, query.after, min, max)) as _)
                .collect(),
            Source::Prices => classes
                .map(|class| Box::new(class.most_expensive(rows, query.after, min, max)) as _)
                .collect(),
            Source::Seller(lists) | Source::Word(_, lists) => {
                lists.iter().map(|list| list.newest(rows, after)).collect()
            }
        }
    }

    fn sort(&self, source: &Source<'a>) -> Candidates<'a> {
        let (min, max) = prices(self.query);
        let mut slots = Vec::new();
        match source {
            Source::All => {
                self.classes.iter().for_each(|class| slots.extend(class.newest(self.rows, None)))
            }
            Source::Prices => {
                self.classes.iter().for_each(|class| slots.extend(class.priced(min, max)))
            }
            Source::Seller(lists) | Source::Word(_, lists) => {
                lists.iter().for_each(|list| list.for_each(|slot| slots.push(slot)))
            }
        }
        let after =
            self.query.after.map(|after| SortKey::of(self.query.sort, after.price, after.id));
        let wanted = |key: SortKey, row: &Row| {
            after.is_none_or(|after| after < key) && self.row_may_match(row)
        };
        Candidates::sorted(self.rows, self.query.sort, slots.into_iter(), wanted)
    }

    fn examine(&self, mut candidates: Candidates<'a>) -> TicketPage {
        let mut steps = self.bounds.steps;
        let (mut tickets, mut previous): (Vec<Arc<Ticket>>, _) = (Vec::new(), None);
        while let Some(slot) = candidates.next() {
            let row = self.rows.row(slot);
            let mut cost = 1 + candidates.depth() / 2;
            if previous.replace(slot) != Some(slot)
                && let Some(ticket) = self.test(slot, row, &mut cost)
            {
                if tickets.len() == self.query.limit {
                    let next = tickets
                        .last()
                        .map(|last| Position { price: last.details.price, id: last.id });
                    return TicketPage { tickets, next };
                }
                tickets.push(ticket);
            }
            steps = steps.saturating_sub(cost);
            if steps == 0 && !candidates.is_empty() {
                return TicketPage {
                    tickets,
                    next: Some(Position { price: row.price, id: row.id }),
                };
            }
        }
        TicketPage { tickets, next: None }
    }

    /// Returns the ticket of a row if it matches. Adds the steps of the test to `cost`.
    fn test(&self, slot: Slot, row: &Row, cost: &mut usize) -> Option<Arc<Ticket>> {
        if !self.row_may_match(row) {
            return None;
        }
        if self.filter.searches() > 0 {
            let text = self.rows.text(slot);
            *cost += TEXT_STEPS + text.len() * self.filter.searches() / TEXT_BYTES_PER_STEP;
            if !self.filter.matches(text) {
                return None;
            }
        }
        *cost += TICKET_STEPS;
        let (statuses, seller) = (&self.query.statuses, self.query.seller);
        self.catalog.get_if(row.id, |ticket| {
            ticket.status().is_some_and(|status| statuses.contains(&status))
                && seller.is_none_or(|seller| ticket.seller == seller)
        })
    }

    /// Returns whether the row's price and signature allow a match.
    fn row_may_match(&self, row: &Row) -> bool {
        let (min, max) = prices(self.query);
        min <= row.price && row.price <= max && self.filter.may_match(row.signature)
    }
}

impl Source<'_> {
    /// Returns the steps until the first ticket is read.
    fn opening_steps(&self) -> usize {
        match self {
            Self::All | Self::Prices => OPEN_STEPS,
            Self::Seller(lists) | Self::Word(_, lists) => lists
                .iter()
                .map(|list| if matches!(list, Postings::One(_)) { 1 } else { OPEN_STEPS })
                .sum(),
        }
    }
}

fn prices(query: &Query) -> (Money, Money) {
    (query.min_price.unwrap_or(Money::MIN), query.max_price.unwrap_or(Money::MAX))
}
