//! The memory that a million tickets on sale need in the catalog, and the time of searches.
//!
//! `cargo bench --bench catalog [-- <tickets on sale>] [worst]`. Memory is the growth of the
//! resident set, so this benchmark needs Linux. Times are medians of rounds on one thread, unless
//! stated otherwise. `worst` measures the most expensive searches instead, over catalogs that are
//! generated for them.

#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]

mod worst;

use std::{
    hint::black_box,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use gittix::{
    catalog::{Catalog, Query, Sort},
    domain::{
        Lock, Money, OrderId, ReplicaName, Ticket, TicketDetails, TicketId, TicketState,
        TicketStatus, Timestamp, UserId, samples,
    },
};
use rand::{RngExt, SeedableRng, rngs::SmallRng};
use tokio::time::Instant;
use uuid::Uuid;

const SELLERS: u128 = 10_000;
const ARTISTS: [&str; 12] = [
    "The Cure",
    "Björk",
    "Kraftwerk",
    "Nina Simone Tribute",
    "Radiohead",
    "Portishead",
    "Mozart Requiem",
    "La Traviata",
    "Hamlet",
    "City Derby",
    "Grand Final",
    "Jazz Night",
];
const PLACES: [&str; 8] =
    ["Berlin", "Paris", "Old Hall", "Arena", "Open Air", "Lisbon", "Opera House", "Club"];

fn main() {
    let count: u64 =
        std::env::args().filter_map(|argument| argument.parse().ok()).next().unwrap_or(1_000_000);
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.iter().any(|argument| argument == "worst") {
        return worst::measure_all(count);
    }
    if let Some(at) = arguments.iter().position(|argument| argument == "expensive") {
        return worst::measure(count, arguments[at + 1].parse().expect("the argument is a number"));
    }
    let mut random = SmallRng::seed_from_u64(1);
    let before = resident_bytes();
    let catalog = Catalog::default();
    let begun = Instant::now();
    for number in 0..count {
        catalog.merge(&ticket(&mut random, number, TicketState::Available));
    }
    let took = begun.elapsed();
    let bytes = resident_bytes().saturating_sub(before);
    println!(
        "{count} tickets merged in {took:.2?} ({:.2?} each), {} bytes a ticket",
        took / u32::try_from(count).unwrap_or(1),
        bytes / count
    );
    lists(&catalog, "nothing sold", count);
    for number in 0..count {
        let sold = TicketState::Sold { order: OrderId::new(Uuid::nil()) };
        if number % 100 != 0 {
            let old = catalog.get(id(number)).expect("the ticket was merged");
            catalog.merge(&Ticket { state: sold, version: 1, ..(*old).clone() });
        }
    }
    lists(&catalog, "99 of 100 sold", count);
    gets_beside_merges(&catalog, count);
}

const NO_WORDS: Option<Vec<String>> = None;

fn words(text: &str) -> Option<Vec<String>> {
    Some(gittix::catalog::words(text))
}

fn id(number: u64) -> TicketId {
    // As in UUIDv7, the time comes first (here 1,000 tickets a second), then a part that makes the
    // id unique.
    let millis = u128::from(1_700_000_000_000 + number);
    let low = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    TicketId::new(Uuid::from_u128(millis << 80 | 7 << 76 | u128::from(low)))
}

fn ticket(random: &mut SmallRng, number: u64, state: TicketState) -> Ticket {
    let artist = ARTISTS[random.random_range(0..ARTISTS.len())];
    let place = PLACES[random.random_range(0..PLACES.len())];
    let title = format!("{artist}, {place}, row {}", random.random_range(1..60));
    Ticket {
        id: id(number),
        seller: UserId::new(Uuid::from_u128(random.random_range(0..SELLERS) << 64 | 1)),
        details: TicketDetails {
            price: Money::from_minor(random.random_range(1000..20_000))
                .expect("the price is valid"),
            ..samples::details(&title)
        },
        state,
        ..samples::ticket()
    }
}

fn lists(catalog: &Catalog, when: &str, count: u64) {
    use TicketStatus::{Available, Locked, Sold};
    let base = Query {
        statuses: vec![Available, Locked],
        words: NO_WORDS,
        seller: None,
        min_price: None,
        max_price: None,
        sort: Sort::Newest,
        after: None,
        limit: 50,
    };
    let price = |minor| Money::from_minor(minor).ok();
    let deep = catalog
        .get(id(count / 2 / 100 * 100))
        .map(|ticket| gittix::catalog::Position { price: ticket.details.price, id: ticket.id });
    let queries = [
        ("newest", base.clone()),
        ("newest, from the middle", Query { after: deep, ..base.clone() }),
        ("cheapest", Query { sort: Sort::Price, ..base.clone() }),
        (
            "dearest, from the middle",
            Query { sort: Sort::PriceDescending, after: deep, ..base.clone() },
        ),
        (
            "newest, all three statuses",
            Query { statuses: vec![Available, Locked, Sold], ..base.clone() },
        ),
        ("one word", Query { words: words("jazz"), ..base.clone() }),
        ("one word, cheapest", Query { words: words("jazz"), sort: Sort::Price, ..base.clone() }),
        ("the beginning of a word", Query { words: words("ber"), ..base.clone() }),
        (
            "the first letter of a word",
            Query { words: words("p"), sort: Sort::Price, ..base.clone() },
        ),
        ("two words", Query { words: words("jazz lisbon"), ..base.clone() }),
        ("three words", Query { words: words("jazz lisbon 42"), ..base.clone() }),
        (
            "three words, cheapest",
            Query { words: words("jazz lisbon 42"), sort: Sort::Price, ..base.clone() },
        ),
        ("two words that never meet", Query { words: words("hamlet derby"), ..base.clone() }),
        (
            "one seller",
            Query { seller: Some(UserId::new(Uuid::from_u128(77 << 64 | 1))), ..base.clone() },
        ),
        (
            "one seller, cheapest",
            Query {
                seller: Some(UserId::new(Uuid::from_u128(77 << 64 | 1))),
                sort: Sort::Price,
                ..base.clone()
            },
        ),
        (
            "newest at one price",
            Query { min_price: price(5000), max_price: price(5000), ..base.clone() },
        ),
        ("newest at half of the prices", Query { min_price: price(10_000), ..base }),
    ];
    println!("\n{when}: a page of 50");
    for (name, query) in queries {
        let found = catalog.list(&query).tickets.len();
        println!("{:>12.1?}  {name} ({found})", median(|| drop(black_box(catalog.list(&query)))));
    }
}

fn median(mut run: impl FnMut()) -> Duration {
    let mut rounds: Vec<Duration> = (0..101)
        .map(|_| {
            let begun = Instant::now();
            run();
            begun.elapsed()
        })
        .collect();
    rounds.sort_unstable();
    rounds[rounds.len() / 2]
}

/// Measures look-ups by two threads while a third one locks and frees tickets and changes their
/// prices.
fn gets_beside_merges(catalog: &Catalog, count: u64) {
    const SPAN: Duration = Duration::from_secs(2);
    let (done, gets, merges) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let slowest_ns = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for seed in 0..2 {
            let (done, gets, slowest_ns) = (&done, &gets, &slowest_ns);
            scope.spawn(move || {
                let mut random = SmallRng::seed_from_u64(seed);
                while !done.load(Ordering::Relaxed) {
                    let begun = Instant::now();
                    for _ in 0..256 {
                        black_box(catalog.get(id(random.random_range(0..count))));
                    }
                    let nanos = u64::try_from(begun.elapsed().as_nanos() / 256).unwrap_or(u64::MAX);
                    slowest_ns.fetch_max(nanos, Ordering::Relaxed);
                    gets.fetch_add(256, Ordering::Relaxed);
                }
            });
        }
        let begun = Instant::now();
        let mut random = SmallRng::seed_from_u64(9);
        while begun.elapsed() < SPAN {
            let old = catalog
                .get(id(random.random_range(0..count / 100) * 100))
                .expect("the ticket was merged");
            let order = OrderId::new(Uuid::from_u128(1));
            let lock = Lock {
                order,
                buyer: old.seller,
                unlocks_at: Timestamp(0),
                replica: ReplicaName::new("a"),
            };
            let state = if old.lock().is_some() {
                TicketState::Available
            } else {
                TicketState::Locked { lock: Box::new(lock) }
            };
            let price = if random.random_ratio(1, 10) { Money::MIN } else { old.details.price };
            let details = TicketDetails { price, ..old.details.clone() };
            catalog.merge(&Ticket { state, details, version: old.version + 1, ..(*old).clone() });
            merges.fetch_add(1, Ordering::Relaxed);
        }
        done.store(true, Ordering::Relaxed);
    });
    let a_second = |counter: &AtomicU64| counter.load(Ordering::Relaxed) / SPAN.as_secs();
    println!(
        "\n{} look-ups/s by two threads beside {} merges/s by a third",
        a_second(&gets),
        a_second(&merges)
    );
    println!("slowest 256 look-ups: {} ns each", slowest_ns.load(Ordering::Relaxed));
}

fn resident_bytes() -> u64 {
    const PAGE_BYTES: u64 = 4096;
    let pages = std::fs::read_to_string("/proc/self/statm").ok();
    pages.and_then(|text| text.split(' ').nth(1)?.parse::<u64>().ok()).unwrap_or(0) * PAGE_BYTES
}
