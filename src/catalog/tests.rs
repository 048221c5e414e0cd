//! Tests of lists against a simple model, of versions in any order, and of concurrent changes.

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
use crate::domain::{Currency, Lock, OrderId, TicketState, Timestamp, Title};

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
            let lock = Lock { order, buyer: seller(99), unlocks_at: Timestamp(0), replica: ReplicaName::new("a") };
            TicketState::Locked { lock: Box::new(lock) }
        }
        Some(TicketStatus::Sold) => TicketState::Sold { order },
        None => TicketState::Deleted,
    }
}

fn ticket(number: u16, version: Version, title: &str, price: u64, status: Option<TicketStatus>) -> Ticket {
    Ticket {
        id: id(number),
        seller: seller(u8::try_from(number % 5).expect("small")),
        title: Title::parse(title).expect("a title"),
        price: money(price),
        currency: Currency::Usd,
        state: state(status),
        version,
        details_version: 0,
        created_at: Timestamp(0),
        updated_at: Timestamp(0),
        lapses: Vec::new(),
    }
}

const STATUSES: [TicketStatus; 3] = [TicketStatus::Available, TicketStatus::Locked, TicketStatus::Sold];
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
    let status = prop_oneof![9 => proptest::sample::select(&STATUSES[..]).prop_map(Some), 1 => Just(None)];
    (0u16..400, 0u64..6, subsequence(&WORDS[..], 1..4), 50u64..70, status)
        .prop_map(|(number, version, title, price, status)| ticket(number, version, &title.join(" "), price, status))
}

/// The beginning of a word that titles may have, or of the word "none".
fn some_beginning() -> impl Strategy<Value = String> {
    let words: Vec<String> = WORDS.iter().chain(&["none"]).flat_map(|word| words(word)).collect();
    (proptest::sample::select(words), 1usize..10).prop_map(|(word, chars)| word.chars().take(chars).collect())
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
    let title = words(ticket.title.as_str());
    let begins_one = |word: &String| title.iter().take(INDEXED_WORDS_MAX).any(|other| other.starts_with(word.as_str()));
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
        .filter(|ticket| query.min_price.is_none_or(|min| min <= ticket.price))
        .filter(|ticket| query.max_price.is_none_or(|max| ticket.price <= max))
        .filter(|ticket| query.after.is_none_or(|after| key(after.price, after.id) < key(ticket.price, ticket.id)))
        .cloned()
        .collect();
    found.sort_by_key(|ticket| key(ticket.price, ticket.id));
    let more = found.len() > query.limit;
    found.truncate(query.limit);
    let next = found.last().filter(|_| more).map(|last| Position { price: last.price, id: last.id });
    (found, next)
}

/// Returns the newest state of each ticket; of two states of one version (which a store never has), the first.
fn newest(states: &[Ticket]) -> BTreeMap<TicketId, Ticket> {
    let mut known: BTreeMap<TicketId, Ticket> = BTreeMap::new();
    for state in states {
        let old = known.get(&state.id);
        // A deletion replaces a state of the same version.
        let wins = old.is_none_or(|old| state.version > old.version || (state.version == old.version && state.is_deleted()));
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
fn walk_within(catalog: &Catalog, mut query: Query, bounds: SearchBounds, mut between: impl FnMut()) -> Vec<TicketId> {
    let key = |position: Position| candidates::SortKey::of(query.sort, position.price, position.id);
    let mut seen = Vec::new();
    loop {
        let page = select::list(catalog, &query, bounds);
        assert!(page.tickets.len() <= query.limit);
        assert!(page.next.is_none_or(|next| query.after.is_none_or(|after| key(after) < key(next))), "{query:?} made no progress");
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
    (1usize..200, prop_oneof![Just(0), 0usize..60]).prop_map(|(steps, sorted)| SearchBounds { steps, sorted })
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

#[test]
fn late_event_does_not_add_a_deleted_ticket_again() {
    let catalog = Catalog::default();
    assert!(catalog.remove(id(1), 3), "an unknown ticket can be deleted too");
    assert!(!catalog.merge(&ticket(1, 2, "jazz", 50, Some(TicketStatus::Available))));
    assert!(!catalog.remove(id(1), 3), "a repeated deletion changes nothing");
    assert_eq!((catalog.get(id(1)), catalog.len()), (None, 0));
}

#[test]
fn generation_grows_with_changes_only() {
    let catalog = Catalog::default();
    let first = ticket(1, 1, "jazz", 50, Some(TicketStatus::Available));
    assert!(catalog.merge(&first));
    let generation = catalog.generation();
    assert!(!catalog.merge(&first));
    assert!(!catalog.merge(&ticket(1, 0, "older", 50, Some(TicketStatus::Available))));
    assert_eq!(catalog.generation(), generation);
    assert!(catalog.merge(&ticket(1, 2, "jazz", 50, Some(TicketStatus::Locked))));
    assert!(catalog.generation() > generation);
}

#[test]
fn lists_longer_than_a_slice_are_complete() {
    let catalog = Catalog::default();
    for number in 0..10_000 {
        let status = if number % 2 == 0 { TicketStatus::Available } else { TicketStatus::Sold };
        let title = if number % 3000 == 0 { "jazz rare" } else { "jazz" };
        catalog.merge(&ticket(number, 0, title, 50 + u64::from(number % 10), Some(status)));
    }
    for sort in [Sort::Newest, Sort::Price, Sort::PriceDescending] {
        let query = Query { sort, seller: Some(seller(4)), words: Some(vec!["jazz".into()]), limit: 1000, ..everything() };
        assert_eq!(walk(&catalog, query, || ()).len(), 2000, "{sort:?}");
        let query = Query { sort, words: Some(vec!["jazz".into(), "rare".into()]), limit: 3, ..everything() };
        assert_eq!(walk(&catalog, query, || ()).len(), 4, "{sort:?}");
        let query = Query { sort, min_price: Some(money(59)), statuses: vec![TicketStatus::Sold], ..everything() };
        assert_eq!(walk(&catalog, query, || ()).len(), 1000, "{sort:?}");
    }
}

#[test]
fn search_without_a_match_examines_a_bounded_number_of_tickets() {
    const TICKETS: u16 = 30_000;
    const CANDIDATES_MAX: u16 = 20_000;
    let catalog = Catalog::default();
    for number in 0..TICKETS {
        // Each title has the common words, and one word of its own with the same beginning as in all other titles.
        let title = format!("a b c d e f g h z{number}");
        catalog.merge(&ticket(number, 0, &title, 50 + u64::from(number), Some(TicketStatus::Available)));
    }
    let locked = Query { statuses: vec![TicketStatus::Locked], limit: 1, ..everything() };
    for text in ["", "a b c d e f g h", "z", "a z h"] {
        for sort in [Sort::Newest, Sort::Price, Sort::PriceDescending] {
            let query = Query { sort, words: (!text.is_empty()).then(|| words(text)), max_price: Some(Money::MAX), ..locked.clone() };
            let mut examined = vec![if sort == Sort::Price { 0 } else { TICKETS }];
            let mut rest = query.clone();
            while let Some(next) = catalog.list(&rest).next {
                examined.push(u16::try_from(next.price.minor() - 50).expect("a number"));
                rest.after = Some(next);
            }
            assert!(examined.len() > 1, "{query:?} examined all tickets at once");
            assert!(examined.windows(2).all(|ends| (500..=CANDIDATES_MAX).contains(&ends[0].abs_diff(ends[1]))), "{query:?}: {examined:?}");
        }
    }
}

#[test]
fn search_table_agrees_with_the_catalog() {
    let table: serde_json::Value = serde_json::from_str(include_str!("../../tests/search.json")).expect("JSON");
    for case in table.as_array().expect("a table") {
        let (title, q) = (case["title"].as_str().expect("a title"), case["q"].as_str().expect("a search"));
        let catalog = Catalog::default();
        catalog.merge(&ticket(1, 0, title, 50, Some(TicketStatus::Available)));
        let query = Query { words: (!q.is_empty()).then(|| words(q)), ..everything() };
        assert_eq!(Some(catalog.list(&query).tickets.len() == 1), case["found"].as_bool(), "{q} in {title}");
    }
}

#[test]
fn index_entries_are_small() {
    // The sizes of a ticket's row, and of the entry of a word that only one ticket has.
    assert_eq!((size_of::<rows::Row>(), size_of::<(Box<str>, postings::Postings)>()), (32, 32));
    let catalog = Catalog::default();
    let title = (0..66).map(|number| format!("w{number}")).collect::<Vec<_>>().join(" ");
    let title = title.chars().take(Title::CHARS_MAX).collect::<String>();
    catalog.merge(&ticket(1, 0, &title, 50, Some(TicketStatus::Available)));
    let found = |word: &str| catalog.list(&Query { words: Some(words(word)), ..everything() }).tickets.len();
    assert_eq!((found("w0"), found("w31"), found("w32")), (1, 1, 0));
}

#[test]
fn tickets_are_found_by_readers_while_they_change() {
    let catalog = Catalog::default();
    let numbers = 0..200u16;
    for number in numbers.clone() {
        catalog.merge(&ticket(number, 0, "jazz", 50, Some(TicketStatus::Available)));
    }
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for version in 1..60 {
                for number in numbers.clone() {
                    let status = STATUSES[usize::try_from(version % 2).expect("small")];
                    catalog.merge(&ticket(
                        number,
                        version,
                        if version % 3 == 0 { "jazz" } else { "jazz night" },
                        50 + version,
                        Some(status),
                    ));
                }
            }
            done.store(true, Ordering::Relaxed);
        });
        while !done.load(Ordering::Relaxed) {
            let page = catalog.list(&Query { limit: 1000, words: Some(vec!["jazz".into()]), ..everything() });
            assert_eq!(page.tickets.len(), numbers.len());
            assert!(numbers.clone().all(|number| catalog.get(id(number)).is_some()));
        }
    });
    assert!(catalog.list(&everything()).tickets.iter().all(|ticket| ticket.version == 59));
}

#[test]
fn catalog_is_shared_by_its_clones() {
    let catalog = Catalog::default();
    let clone = Catalog(Arc::clone(&catalog.0));
    catalog.clone().merge(&ticket(1, 0, "jazz", 50, Some(TicketStatus::Available)));
    assert_eq!(clone.len(), 1);
    assert!(!clone.is_empty());
}

#[test]
fn lock_is_found_by_the_replica_that_granted_it() {
    let (catalog, b) = (Catalog::default(), ReplicaName::new("b"));
    let of = |number, version, replica: &ReplicaName| {
        let mut ticket = ticket(number, version, "jazz", 50, Some(TicketStatus::Locked));
        ticket.state = match ticket.state {
            TicketState::Locked { lock } => TicketState::Locked { lock: Box::new(Lock { replica: replica.clone(), ..*lock }) },
            other => other,
        };
        catalog.merge(&ticket);
    };
    let locked_by = |replica: &str| catalog.locked_by(&ReplicaName::new(replica)).into_iter().collect::<BTreeSet<_>>();
    for (number, replica) in [(1, "a"), (2, "b"), (3, "a"), (300, "a"), (5, "aa")] {
        of(number, 1, &ReplicaName::new(replica));
    }
    assert_eq!(locked_by("a"), BTreeSet::from([1, 3, 300].map(id)));
    catalog.merge(&ticket(3, 2, "jazz", 50, Some(TicketStatus::Available)));
    catalog.merge(&ticket(1, 2, "jazz", 50, Some(TicketStatus::Sold)));
    of(3, 3, &b);
    assert_eq!(locked_by("a"), BTreeSet::from([id(300)]));
    assert_eq!(locked_by("b"), BTreeSet::from([2, 3].map(id)));
    assert_eq!(locked_by("c"), BTreeSet::new());
}

#[test]
fn ticket_being_listed_is_counted_once_before_and_after_the_catalog_receives_it() {
    let catalog = Catalog::default();
    let new = ticket(7, 0, "Front row", 2_000, Some(TicketStatus::Available));
    let count = || catalog.on_sale_of(new.seller, &[new.id]);
    assert_eq!(count(), 1);
    catalog.merge(&new);
    assert_eq!(count(), 1);
    catalog.remove(new.id, 1);
    assert_eq!(count(), 0);
}
