//! Tests of lists against a simple model, of versions in any order, and of concurrent changes.

mod examples;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use proptest::{collection::vec, option, prelude::*, sample::subsequence};
use uuid::Uuid;

use super::*;
use crate::domain::{Lock, OrderId, TicketDetails, TicketState, Timestamp, samples};

fn id(number: u16) -> TicketId {
    TicketId::new(Uuid::from_u128(u128::from(number) << 64 | u128::from(number % 7)))
}

fn seller(number: u8) -> UserId {
    UserId::new(Uuid::from_u128(u128::from(number)))
}

fn money(minor: u64) -> Money {
    Money::from_minor(minor).expect("a price within bounds")
}

fn state(status: Option<TicketStatus>) -> TicketState {
    let order = OrderId::new(Uuid::from_u128(9));
    match status {
        Some(TicketStatus::Available) => TicketState::Available,
        Some(TicketStatus::Locked) => {
            let lock = Lock {
                order,
                buyer: seller(99),
                unlocks_at: Timestamp(0),
                replica: ReplicaName::new("a"),
            };
            TicketState::Locked { lock: Box::new(lock) }
        }
        Some(TicketStatus::Sold) => TicketState::Sold { order },
        None => TicketState::Deleted,
    }
}

fn ticket(
    number: u16,
    version: Version,
    title: &str,
    price: u64,
    status: Option<TicketStatus>,
) -> Ticket {
    Ticket {
        id: id(number),
        seller: seller(u8::try_from(number % 5).expect("small")),
        details: TicketDetails { price: money(price), ..samples::details(title) },
        state: state(status),
        version,
        ..samples::ticket()
    }
}

const STATUSES: [TicketStatus; 3] =
    [TicketStatus::Available, TicketStatus::Locked, TicketStatus::Sold];
const WORDS: [&str; 7] = ["jazz", "Night", "CAFÉ", "final", "42", "jazzband", "Nachtmusik"];

fn everything() -> Query {
    Query {
        statuses: STATUSES.to_vec(),
        words: None,
        seller: None,
        min_price: None,
        max_price: None,
        sort: Sort::Newest,
        after: None,
        limit: 10,
    }
}

fn some_ticket() -> impl Strategy<Value = Ticket> {
    let status =
        prop_oneof![9 => proptest::sample::select(&STATUSES[..]).prop_map(Some), 1 => Just(None)];
    (0u16..400, 0u64..6, subsequence(&WORDS[..], 1..4), 50u64..70, status).prop_map(
        |(number, version, title, price, status)| {
            ticket(number, version, &title.join(" "), price, status)
        },
    )
}

/// The beginning of a word that titles may have, or of the word "none".
fn some_beginning() -> impl Strategy<Value = String> {
    let words: Vec<String> = WORDS.iter().chain(&["none"]).flat_map(|word| words(word)).collect();
    (proptest::sample::select(words), 1usize..10)
        .prop_map(|(word, chars)| word.chars().take(chars).collect())
}

fn some_query() -> impl Strategy<Value = Query> {
    (
        subsequence(&STATUSES[..], 0..=3),
        prop_oneof![2 => Just(None), 6 => vec(some_beginning(), 1..4).prop_map(Some), 1 => Just(Some(Vec::new()))],
        option::of(0u8..5),
        option::of(50u64..70),
        option::of(50u64..70),
        proptest::sample::select(&[Sort::Newest, Sort::Price, Sort::PriceDescending][..]),
        option::of((50u64..70, 0u16..400)),
        0usize..60,
    )
        .prop_map(|(statuses, words, by, min, max, sort, after, limit)| Query {
            statuses,
            words,
            seller: by.map(seller),
            min_price: min.map(money),
            max_price: max.map(money),
            sort,
            after: after.map(|(price, number)| Position { price: money(price), id: id(number) }),
            limit,
        })
}

/// Returns whether each query word is the beginning of a title word.
fn has_words(ticket: &Ticket, query: &Query) -> bool {
    let title = words(ticket.details.title.as_str());
    let begins_one = |word: &String| {
        title.iter().take(INDEXED_WORDS_MAX).any(|other| other.starts_with(word.as_str()))
    };
    query.words.as_ref().is_none_or(|words| !words.is_empty() && words.iter().all(begins_one))
}

/// The model of a list: filters, sorts and truncates all tickets.
fn naive(known: &BTreeMap<TicketId, Ticket>, query: &Query) -> (Vec<Ticket>, Option<Position>) {
    let key = |price: Money, id: TicketId| match query.sort {
        Sort::Newest => (0, Reverse(id)),
        Sort::Price => (i64::from(price.minor()), Reverse(id)),
        Sort::PriceDescending => (-i64::from(price.minor()), Reverse(id)),
    };
    let mut found: Vec<Ticket> = known
        .values()
        .filter(|ticket| ticket.status().is_some_and(|status| query.statuses.contains(&status)))
        .filter(|ticket| has_words(ticket, query))
        .filter(|ticket| query.seller.is_none_or(|seller| seller == ticket.seller))
        .filter(|ticket| query.min_price.is_none_or(|min| min <= ticket.details.price))
        .filter(|ticket| query.max_price.is_none_or(|max| ticket.details.price <= max))
        .filter(|ticket| {
            query.after.is_none_or(|after| {
                key(after.price, after.id) < key(ticket.details.price, ticket.id)
            })
        })
        .cloned()
        .collect();
    found.sort_by_key(|ticket| key(ticket.details.price, ticket.id));
    let more = found.len() > query.limit;
    found.truncate(query.limit);
    let next = found
        .last()
        .filter(|_| more)
        .map(|last| Position { price: last.details.price, id: last.id });
    (found, next)
}

/// Returns the newest state of each ticket; of two states of one version (which a store never has),
/// the first.
fn newest(states: &[Ticket]) -> BTreeMap<TicketId, Ticket> {
    let mut known: BTreeMap<TicketId, Ticket> = BTreeMap::new();
    for state in states {
        let old = known.get(&state.id);
        // A deletion replaces a state of the same version.
        let wins = old.is_none_or(|old| {
            state.version > old.version || (state.version == old.version && state.is_deleted())
        });
        if wins {
            known.insert(state.id, state.clone());
        }
    }
    known
}

fn walk(catalog: &Catalog, query: Query, between: impl FnMut()) -> Vec<TicketId> {
    walk_within(catalog, query, SearchBounds::DEFAULT, between)
}

/// Reads all pages, and checks that each makes progress.
fn walk_within(
    catalog: &Catalog,
    mut query: Query,
    bounds: SearchBounds,
    mut between: impl FnMut(),
) -> Vec<TicketId> {
    let key = |position: Position| candidates::SortKey::of(query.sort, position.price, position.id);
    let mut seen = Vec::new();
    loop {
        let page = select::list(catalog, &query, bounds);
        assert!(page.tickets.len() <= query.limit);
        assert!(
            page.next.is_none_or(|next| query.after.is_none_or(|after| key(after) < key(next))),
            "{query:?} made no progress"
        );
        seen.extend(page.tickets.iter().map(|ticket| ticket.id));
        query.after = page.next;
        if query.after.is_none() {
            return seen;
        }
        between();
    }
}

/// Small bounds: most searches take several pages, and some sources are too large to be sorted.
fn some_bounds() -> impl Strategy<Value = SearchBounds> {
    (1usize..200, prop_oneof![Just(0), 0usize..60])
        .prop_map(|(steps, sorted)| SearchBounds { steps, sorted })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn list_equals_filtering_and_sorting_all_tickets(
        states in vec(some_ticket(), 0..700), queries in vec(some_query(), 12)
    ) {
        let catalog = Catalog::default();
        for state in &states {
            catalog.merge(state);
        }
        let known = newest(&states);
        prop_assert_eq!(catalog.len(), known.values().filter(|ticket| !ticket.is_deleted()).count());
        for query in &queries {
            let page = catalog.list(query);
            let (tickets, next) = naive(&known, query);
            prop_assert!(page.tickets.iter().map(|ticket| &**ticket).eq(&tickets), "{:?}", query);
            prop_assert_eq!(page.next, next);
        }
    }

    #[test]
    fn pages_of_bounded_searches_contain_each_match_once(
        states in vec(some_ticket(), 0..500), queries in vec((some_query(), some_bounds()), 12)
    ) {
        let catalog = Catalog::default();
        for state in &states {
            catalog.merge(state);
        }
        let known = newest(&states);
        for (query, bounds) in queries {
            let query = Query { limit: query.limit.max(1), ..query };
            let (expected, _) = naive(&known, &Query { limit: usize::MAX, ..query.clone() });
            let seen = walk_within(&catalog, query.clone(), bounds, || ());
            prop_assert_eq!(seen, expected.iter().map(|ticket| ticket.id).collect::<Vec<_>>(), "{:?} {:?}", query, bounds);
        }
    }

    #[test]
    fn pages_contain_unchanged_matches_once_while_other_tickets_change(
        states in vec(some_ticket(), 50..400),
        changes in vec((0u16..400, 50u64..70, option::weighted(0.8, 0usize..3)), 60),
        query in some_query(),
        bounds in prop_oneof![Just(SearchBounds::DEFAULT), some_bounds()],
    ) {
        let query = Query { after: None, limit: query.limit.max(1), ..query };
        let catalog = Catalog::default();
        for state in &states {
            catalog.merge(state);
        }
        let known = newest(&states);
        let changing: BTreeSet<TicketId> = changes.iter().map(|(number, ..)| id(*number)).collect();
        let mut changes = changes.iter();
        let seen = walk_within(&catalog, query.clone(), bounds, || {
            for (number, price, status) in changes.by_ref().take(10) {
                catalog.merge(&ticket(*number, 50, "jazz night", *price, status.map(|status| STATUSES[status])));
            }
        });
        let steady: BTreeMap<TicketId, Ticket> = known.into_iter().filter(|(id, _)| !changing.contains(id)).collect();
        let (expected, _) = naive(&steady, &Query { limit: usize::MAX, ..query });
        let seen: Vec<TicketId> = seen.into_iter().filter(|id| !changing.contains(id)).collect();
        prop_assert_eq!(seen, expected.iter().map(|ticket| ticket.id).collect::<Vec<_>>());
    }

    #[test]
    fn newest_version_is_kept_in_any_order_of_arrival(versions in Just((0u64..8).collect::<Vec<_>>()).prop_shuffle(), deleted: bool) {
        let catalog = Catalog::default();
        let state = |version: u64| {
            let status = if version == 7 && deleted { None } else { Some(STATUSES[usize::try_from(version % 2).expect("small")]) };
            ticket(1, version, if version < 4 { "jazz" } else { "night" }, 50 + version, status)
        };
        for version in &versions {
            catalog.merge(&state(*version));
        }
        prop_assert_eq!(catalog.get(id(1)).map(|ticket| (*ticket).clone()), (!deleted).then(|| state(7)));
        let found = catalog.list(&Query { words: Some(vec!["night".into()]), ..everything() });
        prop_assert_eq!(found.tickets.len(), usize::from(!deleted));
        let outdated = catalog.list(&Query { words: Some(vec!["jazz".into()]), ..everything() });
        prop_assert!(outdated.tickets.is_empty());
    }
}
