//! A rolling restart under load, as a deployment does it: SIGTERM to one replica after the other.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::{Instant, sleep};

use super::{
    fleet::Fleet,
    load::Ledger,
    shoppers::{Floor, Pair},
    watchers::{Last, Watcher},
};
use crate::app::{
    Backend, Client, Home,
    world::{Found, seed_users},
};

const PAIRS: usize = 3;
const WATCHERS: usize = 6;
/// Purchases before, between and after the restarts.
const CALM: Duration = Duration::from_millis(800);
/// Watchers stay until they are sent away.
const STAYS_MS: std::ops::Range<u64> = 120_000..120_001;
/// A purchase may wait for a replica that goes, and then goes through another.
const GAP_MAX: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_rolling_restart_no_purchase_fails_and_sockets_resume_on_other_replicas() {
    let home = Home::new(Backend::MongoDb);
    let seeded = seed_users(&home, 2 * PAIRS).await;
    let mut fleet = Fleet::here();
    fleet.start(&home, &[]).await;
    let people = Client::seeded(fleet.doors()[0].addr, seeded).await;
    let (floor, told, last) = (Floor::default(), Ledger::default(), Last::default());
    let mut watching = Vec::new();
    for number in 0..WATCHERS {
        let is_signed_in = number.is_multiple_of(2);
        let client = if is_signed_in { people[number].clone() } else { people[0].stranger() };
        let watcher = Watcher::new(client, is_signed_in, fleet.doors(), last.clone(), number as u64, STAYS_MS);
        // Before anything happens that it would have to be told of.
        watching.push(tokio::spawn(watcher.arrive().await.watch()));
    }
    let trade = |number: usize| {
        let both = [people[2 * number].clone(), people[2 * number + 1].clone()];
        tokio::spawn(Pair::new(both, 2 * number + 1, fleet.doors(), floor.clone(), told.clone()).trade())
    };
    let trading: Vec<_> = (0..PAIRS).map(trade).collect();

    sleep(CALM).await;
    let began = Instant::now();
    for number in 0..Fleet::COUNT {
        fleet.restart(number).await;
        sleep(CALM).await;
    }
    eprintln!("three restarts took {:?}", began.elapsed());
    floor.close();
    for pair in trading {
        pair.await.expect("nobody of the load panics");
    }
    last.set(people[0].at_addr(fleet.doors()[0].addr).sells("The last of all").await).expect("it is set once");
    let mut watched = Vec::new();
    for watcher in watching {
        watched.push(watcher.await.expect("no watcher panics"));
    }
    drop(fleet);

    let found = Found::read(&home).await;
    assert_purchases(&found, &floor, &told);
    assert_sockets(&found, &watched);
}

/// No purchase failed, and what was said to be done is done.
fn assert_purchases(found: &Found, floor: &Floor, told: &Ledger) {
    let told = told.lock().expect("no holder panics");
    assert_eq!(told.forgotten(found), [] as [String; 0]);
    assert_eq!(found.violations(&Default::default(), Default::default(), &told.versions), [] as [String; 0]);
    let measured = floor.measured(|measured| measured.clone());
    let count = measured.purchases.len();
    let gap = measured.purchases.windows(2).map(|pair| pair[1].saturating_duration_since(pair[0])).max().unwrap_or_default();
    eprintln!(
        "{count} purchases, {} failed; at most {gap:?} between two; slowest answer {:?}",
        measured.failed.len(),
        measured.slowest_answer
    );
    assert_eq!(measured.failed, [] as [String; 0], "of {count} purchases");
    assert!(count > 20, "the load was no load: {count}");
    assert!(gap < GAP_MAX, "{gap:?} without a purchase");
}

/// Every socket was sent away with 1001, came back elsewhere and missed nothing.
fn assert_sockets(found: &Found, watched: &[Watcher]) {
    let missed: Vec<String> = watched.iter().flat_map(|watcher| watcher.missed(found)).collect();
    assert_eq!(missed, [] as [String; 0]);
    let mut ends: BTreeMap<&str, u64> = BTreeMap::new();
    for (end, count) in watched.iter().flat_map(|watcher| &watcher.seen().ends) {
        *ends.entry(end).or_default() += count;
    }
    eprintln!("how sockets ended: {ends:?}");
    assert!(ends.keys().eq(["1001"].iter()), "sockets are sent away with 1001: {ends:?}");
    assert_eq!(watched.iter().map(|watcher| watcher.seen().resets).sum::<u64>(), 0, "each resumed where it was");
}
