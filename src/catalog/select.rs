//! How a question is answered: which index is walked, and what is left out on the way.

use std::{cmp::Ordering, collections::HashSet, ops::Bound, sync::Arc};

use super::{
    Catalog, Page, Position, Query, Sort,
    indexes::{Class, ClassName},
    sorted::Sorted,
};
use crate::domain::{Money, Ticket, TicketId};

/// How many tickets are looked at before others may change the indexes: some 200 us.
const SLICE_MAX: usize = 2048;

/// Where candidates come from, each in an order of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// All of the class, newest first.
    Ids,
    /// Those of the query's seller, newest first.
    Seller,
    /// Those with the query's word of this number, newest first.
    Word(usize),
    /// Those within the query's prices, in the order of the query's sort if that is by price, else cheapest first.
    Prices,
}

/// What to walk, and whether its order is the one that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Plan {
    source: Source,
    in_order: bool,
}

/// The answer as far as it is known.
struct Search<'a> {
    catalog: &'a Catalog,
    query: &'a Query,
    /// One more than a page: whether there is more is part of the answer.
    wanted: usize,
    found: Vec<Arc<Ticket>>,
    /// What was found once: a ticket whose price rises, or that is sold, may come again.
    met: HashSet<TicketId>,
    slices: usize,
}

pub(super) fn list(catalog: &Catalog, query: &Query) -> Page {
    // A word that is asked for a thousand times is looked up once for each candidate.
    let query = &Query { words: distinct(&query.words), ..query.clone() };
    let wanted = query.limit.saturating_add(1);
    let mut search = Search { catalog, query, wanted, found: Vec::new(), met: HashSet::new(), slices: 0 };
    // What is sold meanwhile goes from the first class to the second: so nothing is missed.
    for class in [ClassName::OnSale, ClassName::Sold] {
        if query.limit > 0 && query.statuses.iter().any(|status| ClassName::of(*status) == class) {
            search.scan(class);
        }
    }
    let Search { found: mut tickets, slices, .. } = search;
    if slices > 1 {
        tickets.sort_unstable_by(|a, b| order(query.sort, place(a), place(b)));
    }
    let more = tickets.len() > query.limit;
    tickets.truncate(query.limit);
    let next = tickets.last().filter(|_| more).map(place);
    Page { tickets, next }
}

fn distinct(words: &[String]) -> Vec<String> {
    let mut words = words.to_vec();
    words.sort_unstable();
    words.dedup();
    words
}

fn place(ticket: &Arc<Ticket>) -> Position {
    Position { price: ticket.price, id: ticket.id }
}

/// Which of two places comes first.
fn order(sort: Sort, a: Position, b: Position) -> Ordering {
    let newest_first = b.id.cmp(&a.id);
    match sort {
        Sort::Newest => newest_first,
        Sort::Price => a.price.cmp(&b.price).then(newest_first),
        Sort::PriceDescending => b.price.cmp(&a.price).then(newest_first),
    }
}

impl Search<'_> {
    /// Looks through one class, slice by slice.
    fn scan(&mut self, name: ClassName) {
        let Some(plan) = Plan::of(self.query, self.catalog.indexes().class(name), self.wanted) else { return };
        let found_before = self.found.len();
        let mut from = self.query.after.filter(|_| plan.in_order);
        while let Some(next) = self.slice(name, plan, from, found_before) {
            from = Some(next);
        }
    }

    /// Looks at the next candidates. Returns where to go on, unless it is done.
    fn slice(&mut self, name: ClassName, plan: Plan, from: Option<Position>, found_before: usize) -> Option<Position> {
        let (catalog, query) = (self.catalog, self.query);
        let indexes = catalog.indexes();
        let class = indexes.class(name);
        let words: Vec<&Sorted<TicketId>> = query.words.iter().map(|word| class.word(word)).collect::<Option<_>>()?;
        self.slices += 1;
        let mut looked_at = 0;
        let mut last = None;
        for candidate in candidates(query, class, plan.source, from).take(SLICE_MAX) {
            looked_at += 1;
            last = Some(candidate);
            if !words.iter().all(|with| with.contains(&candidate.id)) {
                continue;
            }
            let Some(ticket) = catalog.get(candidate.id).filter(|ticket| matches(query, ticket)) else { continue };
            if self.met.insert(ticket.id) {
                self.found.push(ticket);
            }
            if plan.in_order && self.found.len() - found_before == self.wanted {
                return None;
            }
        }
        if !plan.in_order {
            self.keep_the_first(found_before);
        }
        last.filter(|_| looked_at == SLICE_MAX)
    }

    /// Of what was gathered out of order, only a page is wanted.
    fn keep_the_first(&mut self, found_before: usize) {
        let sort = self.query.sort;
        self.found[found_before..].sort_unstable_by(|a, b| order(sort, place(a), place(b)));
        self.found.truncate(found_before + self.wanted);
    }
}

/// What the indexes alone do not tell.
fn matches(query: &Query, ticket: &Arc<Ticket>) -> bool {
    ticket.status().is_some_and(|status| query.statuses.contains(&status))
        && query.seller.is_none_or(|seller| ticket.seller == seller)
        && query.min_price.is_none_or(|min| ticket.price >= min)
        && query.max_price.is_none_or(|max| ticket.price <= max)
        && query.after.is_none_or(|after| order(query.sort, place(ticket), after) == Ordering::Greater)
}

impl Plan {
    /// `None` if nothing can match.
    fn of(query: &Query, class: &Class, wanted: usize) -> Option<Self> {
        let mut sources = Vec::new();
        for (number, word) in query.words.iter().enumerate() {
            sources.push((class.word(word)?.len(), Source::Word(number)));
        }
        if let Some(seller) = query.seller {
            sources.push((class.seller(seller)?.len(), Source::Seller));
        }
        if query.min_price.is_some() || query.max_price.is_some() {
            let (min, max) = prices(query);
            sources.push((class.priced_between(min, max), Source::Prices));
        }
        let all = if query.sort == Sort::Newest { Source::Ids } else { Source::Prices };
        sources.push((class.by_id.len(), all));
        let (fewest, source) = sources.iter().min_by_key(|(len, _)| *len).copied()?;
        let (in_order_len, in_order) =
            sources.iter().filter(|(_, source)| is_in_order(*source, query.sort)).min_by_key(|(len, _)| *len).copied()?;
        // Walking in order ends with the page, after some wanted * in_order_len / matching candidates if what is sought is
        // spread evenly and of what one condition holds the others hold as often; gathering looks at all of the fewest.
        let all_len = class.by_id.len().max(1) as u128;
        let matching = sources.iter().fold(all_len, |matching, (len, _)| matching * *len as u128 / all_len);
        let walk = wanted as u128 * in_order_len as u128 <= matching * fewest as u128;
        let in_order_too = is_in_order(source, query.sort);
        Some(if walk && !in_order_too { Self { source: in_order, in_order: true } } else { Self { source, in_order: in_order_too } })
    }
}

fn is_in_order(source: Source, sort: Sort) -> bool {
    (source == Source::Prices) == (sort != Sort::Newest)
}

fn prices(query: &Query) -> (Money, Money) {
    (query.min_price.unwrap_or(Money::MIN), query.max_price.unwrap_or(Money::MAX))
}

/// What a source has beyond `from`, in its order. Where that is by id alone, the price of a place says nothing.
fn candidates<'a>(query: &Query, class: &'a Class, source: Source, from: Option<Position>) -> Box<dyn Iterator<Item = Position> + 'a> {
    let newest = |set: Option<&'a Sorted<TicketId>>| -> Box<dyn Iterator<Item = Position> + 'a> {
        let bound = from.map_or(Bound::Unbounded, |from| Bound::Excluded(from.id));
        Box::new(set.into_iter().flat_map(move |set| set.down(bound)).map(|id| Position { price: Money::MIN, id }))
    };
    let (min, max) = prices(query);
    match source {
        Source::Ids => newest(Some(&class.by_id)),
        Source::Seller => newest(query.seller.and_then(|seller| class.seller(seller))),
        Source::Word(number) => newest(query.words.get(number).and_then(|word| class.word(word))),
        Source::Prices if query.sort == Sort::PriceDescending => Box::new(class.dearest(from, min, max)),
        Source::Prices => Box::new(class.cheapest(from, min, max)),
    }
}
