//! Tests with chosen tickets: sizes, bounds, and concurrent changes.

use super::*;
use crate::domain::Title;

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
        let query = Query {
            sort,
            seller: Some(seller(4)),
            words: Some(vec!["jazz".into()]),
            limit: 1000,
            ..everything()
        };
        assert_eq!(walk(&catalog, query, || ()).len(), 2000, "{sort:?}");
        let query = Query {
            sort,
            words: Some(vec!["jazz".into(), "rare".into()]),
            limit: 3,
            ..everything()
        };
        assert_eq!(walk(&catalog, query, || ()).len(), 4, "{sort:?}");
        let query = Query {
            sort,
            min_price: Some(money(59)),
            statuses: vec![TicketStatus::Sold],
            ..everything()
        };
        assert_eq!(walk(&catalog, query, || ()).len(), 1000, "{sort:?}");
    }
}

#[test]
fn search_without_a_match_examines_a_bounded_number_of_tickets() {
    const TICKETS: u16 = 30_000;
    const CANDIDATES_MAX: u16 = 20_000;
    let catalog = Catalog::default();
    for number in 0..TICKETS {
        // Each title has the common words, and one word of its own with the same beginning as in
        // all other titles.
        let title = format!("a b c d e f g h z{number}");
        catalog.merge(&ticket(
            number,
            0,
            &title,
            50 + u64::from(number),
            Some(TicketStatus::Available),
        ));
    }
    let locked = Query { statuses: vec![TicketStatus::Locked], limit: 1, ..everything() };
    for text in ["", "a b c d e f g h", "z", "a z h"] {
        for sort in [Sort::Newest, Sort::Price, Sort::PriceDescending] {
            let query = Query {
                sort,
                words: (!text.is_empty()).then(|| words(text)),
                max_price: Some(Money::MAX),
                ..locked.clone()
            };
            let mut examined = vec![if sort == Sort::Price { 0 } else { TICKETS }];
            let mut rest = query.clone();
            while let Some(next) = catalog.list(&rest).next {
                examined.push(u16::try_from(next.price.minor() - 50).expect("a number"));
                rest.after = Some(next);
            }
            assert!(examined.len() > 1, "{query:?} examined all tickets at once");
            assert!(
                examined
                    .windows(2)
                    .all(|ends| (500..=CANDIDATES_MAX).contains(&ends[0].abs_diff(ends[1]))),
                "{query:?}: {examined:?}"
            );
        }
    }
}

#[test]
fn search_table_agrees_with_the_catalog() {
    let table: serde_json::Value =
        serde_json::from_str(include_str!("../../../tests/search.json")).expect("JSON");
    for case in table.as_array().expect("a table") {
        let (title, q) =
            (case["title"].as_str().expect("a title"), case["q"].as_str().expect("a search"));
        let catalog = Catalog::default();
        catalog.merge(&ticket(1, 0, title, 50, Some(TicketStatus::Available)));
        let query = Query { words: (!q.is_empty()).then(|| words(q)), ..everything() };
        assert_eq!(
            Some(catalog.list(&query).tickets.len() == 1),
            case["found"].as_bool(),
            "{q} in {title}"
        );
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
    let found = |word: &str| {
        catalog.list(&Query { words: Some(words(word)), ..everything() }).tickets.len()
    };
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
            let page = catalog.list(&Query {
                limit: 1000,
                words: Some(vec!["jazz".into()]),
                ..everything()
            });
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
            TicketState::Locked { lock } => {
                TicketState::Locked { lock: Box::new(Lock { replica: replica.clone(), ..*lock }) }
            }
            other => other,
        };
        catalog.merge(&ticket);
    };
    let locked_by = |replica: &str| {
        catalog.locked_by(&ReplicaName::new(replica)).into_iter().collect::<BTreeSet<_>>()
    };
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
