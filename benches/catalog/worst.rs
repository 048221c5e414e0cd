//! The most expensive searches. Each uses a catalog whose titles, prices and states are chosen for
//! it.
//!
//! Memory is shown too, because long titles are also the most expensive ones to index.

use std::{fmt::Write, hint::black_box, process::Command};

use gittix::{
    catalog::{Catalog, Position, Query, Sort},
    domain::{Money, Ticket, TicketDetails, TicketStatus, UserId, samples},
};
use rand::{RngExt, SeedableRng, rngs::SmallRng};
use tokio::time::Instant;
use uuid::Uuid;

use super::{NO_WORDS, id, resident_bytes, words};

/// A kind of catalog, and the searches in it.
struct ExpensiveCatalog {
    name: &'static str,
    title: fn(&mut SmallRng, u64) -> String,
    words: &'static [&'static str],
}

const EXPENSIVE_CATALOGS: [ExpensiveCatalog; 5] = [
    ExpensiveCatalog {
        name: "100 one-character words a title",
        title: one_character_words,
        words: &["一 丁 丂 七 丄 丅 丆 万", "一 丁", "一"],
    },
    ExpensiveCatalog {
        name: "eight unique words a title, one first letter",
        title: unique_words,
        words: &["a", "ab ac ad ae af ag ah ai", "ab ac"],
    },
    ExpensiveCatalog {
        name: "eight words that all titles share",
        title: shared_words,
        words: &["red green blue black white brown pink grey", "grey", "red x"],
    },
    ExpensiveCatalog {
        name: "titles of 200 characters in 32 words",
        title: long_titles,
        words: &["aaa bbb ccc ddd eee fff ggg hhh", "aaab bbba", "a"],
    },
    ExpensiveCatalog {
        name: "two words of each title, in any two",
        title: pairs,
        words: &["w1 w2", "w1", "w"],
    },
];

/// Each measurement runs in a process of its own, so that it does not reuse memory of the previous
/// one.
pub fn measure_all(count: u64) {
    for number in 0..EXPENSIVE_CATALOGS.len() {
        let program = std::env::current_exe().expect("this program has a path");
        let status = Command::new(program)
            .args([&count.to_string(), "expensive", &number.to_string()])
            .status();
        assert!(status.is_ok_and(|status| status.success()), "expensive catalog {number} failed");
    }
}

pub fn measure(count: u64, number: usize) {
    let expensive = &EXPENSIVE_CATALOGS[number];
    let before = resident_bytes();
    let catalog = Catalog::default();
    let mut random = SmallRng::seed_from_u64(3);
    let tickets: Vec<Ticket> = (0..count)
        .map(|number| {
            ticket(
                (expensive.title)(&mut random, number),
                number,
                random.random_range(1000..20_000),
            )
        })
        .collect();
    let begun = Instant::now();
    for ticket in &tickets {
        catalog.merge(ticket);
    }
    let each_us = begun.elapsed().as_secs_f64() * 1e6 / count as f64;
    drop(tickets);
    let bytes = resident_bytes().saturating_sub(before) / count;
    println!("\n{}: {count} tickets, {bytes} bytes and {each_us:.1} us each", expensive.name);
    let mut measured: Vec<_> = queries(expensive, count)
        .into_iter()
        .map(|(name, query)| (least_us(&catalog, &query), name))
        .collect();
    measured.sort_by(|a, b| b.0.total_cmp(&a.0));
    for (us, name) in measured.iter().take(5) {
        println!("{us:>10.1} us  {name}");
    }
    println!(
        "{:>10.1} us  the median of {} searches",
        measured[measured.len() / 2].0,
        measured.len()
    );
}

/// Returns the minimum of several runs, because other programs on the machine only make a run
/// slower. A slow search has few runs.
fn least_us(catalog: &Catalog, query: &Query) -> f64 {
    let us = |_| {
        let begun = Instant::now();
        drop(black_box(catalog.list(query)));
        begun.elapsed().as_secs_f64() * 1e6
    };
    let first = us(0);
    let rounds = if first > 20_000.0 { 2 } else { 10 };
    (0..rounds).map(us).fold(first, f64::min)
}

/// Returns queries with each order, filter and position, for each list of words.
fn queries(expensive: &ExpensiveCatalog, count: u64) -> Vec<(String, Query)> {
    use TicketStatus::{Available, Locked, Sold};
    let price = |minor| Money::from_minor(minor).ok();
    let deep = Position {
        price: Money::from_minor(10_000).expect("the price is valid"),
        id: id(count / 2),
    };
    let mut queries = Vec::new();
    for text in [""].iter().chain(expensive.words) {
        for sort in [Sort::Newest, Sort::Price, Sort::PriceDescending] {
            for statuses in [vec![Available, Locked], vec![Locked], vec![Locked, Sold]] {
                for (min_price, max_price) in [
                    (None, None),
                    (price(10_000), None),
                    (price(5_000), price(5_100)),
                    (None, price(999)),
                ] {
                    for after in [None, Some(deep)] {
                        for (seller, limit) in
                            [(None, 1), (None, 1000), (Some(UserId::new(Uuid::from_u128(1))), 50)]
                        {
                            let mut name = format!("q={text:?} {sort:?} {statuses:?}");
                            let more = [min_price, max_price].map(|price| price.map(Money::minor));
                            write!(
                                name,
                                " {more:?} after {} limit {limit} seller {}",
                                after.is_some(),
                                seller.is_some()
                            )
                            .expect("writing into a String cannot fail");
                            let words = if text.is_empty() { NO_WORDS } else { words(text) };
                            let statuses = statuses.clone();
                            queries.push((
                                name,
                                Query {
                                    statuses,
                                    words,
                                    seller,
                                    min_price,
                                    max_price,
                                    sort,
                                    after,
                                    limit,
                                },
                            ));
                        }
                    }
                }
            }
        }
    }
    queries
}

fn ticket(title: String, number: u64, price: u64) -> Ticket {
    Ticket {
        id: id(number),
        // All but a few tickets have the same seller, so the filter by seller excludes almost
        // nothing.
        seller: UserId::new(Uuid::from_u128(if number.is_multiple_of(1000) { 2 } else { 1 })),
        details: TicketDetails {
            price: Money::from_minor(price).expect("the price is valid"),
            ..samples::details(&title)
        },
        ..samples::ticket()
    }
}

fn one_character_words(random: &mut SmallRng, _: u64) -> String {
    let character =
        |_| char::from_u32(0x4E00 + random.random_range(0..120)).expect("a character").to_string();
    (0..100).map(character).collect::<Vec<_>>().join(" ")
}

fn unique_words(random: &mut SmallRng, number: u64) -> String {
    let letter = char::from(b'a' + random.random_range(0..26));
    (0..8).map(|word| format!("a{letter}{word}{number:x}")).collect::<Vec<_>>().join(" ")
}

fn shared_words(_: &mut SmallRng, _: u64) -> String {
    "red green blue black white brown pink grey".to_owned()
}

/// The words of a title begin with as many different letters as possible, so that each one-letter
/// search matches every title.
fn long_titles(random: &mut SmallRng, _: u64) -> String {
    let word = |number: u8| {
        let letter = char::from(b'a' + number % 26);
        let last = char::from(b'a' + random.random_range(0..26));
        format!("{letter}{letter}{letter}{last}{letter}")
    };
    (0..32).map(word).collect::<Vec<_>>().join(" ")
}

fn pairs(random: &mut SmallRng, _: u64) -> String {
    format!("w{} w{}", random.random_range(1..20), random.random_range(1..20))
}
