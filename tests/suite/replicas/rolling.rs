//! A rolling restart under load, as in a deployment: SIGTERM to one replica after another.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::{Instant, sleep};

use super::{
    fleet::Fleet,
    load::SharedRecord,
    shoppers::{LoadControl, Pair},
    watchers::{LastTicket, Watcher},
};
use crate::app::{
    Backend, Client, Home, PATIENCE,
    world::{Found, seed_users},
};

const PAIRS: usize = 3;
const WATCHERS: usize = 6;
/// Number of purchases before, between and after the restarts.
const PURCHASES: usize = 6;
/// Watchers stay connected until the server closes the connection.
const STAY_MS: std::ops::Range<u64> = 120_000..120_001;
/// A purchase may wait for a replica that shuts down, and then continues on another one.
const GAP_MAX: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn purchases_succeed_and_sockets_resume_during_a_rolling_restart() {
    let home = Home::new(Backend::MongoDb);
    let seeded = seed_users(&home, 2 * PAIRS).await;
    let mut fleet = Fleet::on_loopback();
    fleet.start(&home, &[]).await;
    let people = Client::seeded(fleet.endpoints()[0].addr, seeded).await;
    let (control, record, last) =
        (LoadControl::default(), SharedRecord::default(), LastTicket::default());
    let mut watching = Vec::new();
    for number in 0..WATCHERS {
        let is_signed_in = number.is_multiple_of(2);
        let client = if is_signed_in { people[number].clone() } else { people[0].stranger() };
        let watcher = Watcher::new(
            client,
            is_signed_in,
            fleet.endpoints(),
            last.clone(),
            number as u64,
            STAY_MS,
        );
        // The watchers connect before the first event that they must receive.
        watching.push(tokio::spawn(watcher.connect_first().await.watch()));
    }
    let trade = |number: usize| {
        let both = [people[2 * number].clone(), people[2 * number + 1].clone()];
        tokio::spawn(
            Pair::new(both, 2 * number + 1, fleet.endpoints(), control.clone(), record.clone())
                .trade(),
        )
    };
    let trading: Vec<_> = (0..PAIRS).map(trade).collect();

    wait_for_purchases(&control).await;
    let began = Instant::now();
    for number in 0..Fleet::COUNT {
        fleet.restart(number).await;
        wait_for_purchases(&control).await;
    }
    eprintln!("three restarts took {:?}", began.elapsed());
    control.close();
    for pair in trading {
        pair.await.expect("no load client panics");
    }
    last.set(people[0].at_addr(fleet.endpoints()[0].addr).sells("The last of all").await)
        .expect("it is set once");
    let mut watched = Vec::new();
    for watcher in watching {
        watched.push(watcher.await.expect("no watcher panics"));
    }
    drop(fleet);

    let found = Found::read(&home).await;
    assert_purchases(&found, &control, &record);
    assert_sockets(&found, &watched);
}

/// Waits until [`PURCHASES`] more purchases are made.
async fn wait_for_purchases(control: &LoadControl) {
    let count = || control.measured(|measured| measured.purchases.len());
    let (goal, deadline) = (count() + PURCHASES, Instant::now() + PATIENCE);
    while count() < goal && Instant::now() < deadline {
        sleep(Duration::from_millis(20)).await;
    }
}

/// Asserts that no purchase failed and that every acknowledged change is in the store.
fn assert_purchases(found: &Found, control: &LoadControl, record: &SharedRecord) {
    let record = record.lock().expect("no holder panics");
    assert_eq!(record.lost_outcomes(found), [] as [String; 0]);
    assert_eq!(
        found.violations(&Default::default(), Default::default(), &record.versions),
        [] as [String; 0]
    );
    let measured = control.measured(|measured| measured.clone());
    let count = measured.purchases.len();
    let gap = measured
        .purchases
        .windows(2)
        .map(|pair| pair[1].saturating_duration_since(pair[0]))
        .max()
        .unwrap_or_default();
    eprintln!(
        "{count} purchases, {} failed; at most {gap:?} between two; slowest answer {:?}",
        measured.failed.len(),
        measured.slowest_answer
    );
    assert_eq!(measured.failed, [] as [String; 0], "of {count} purchases");
    assert!(count >= 4 * PURCHASES, "the load made too few purchases: {count}");
    assert!(gap < GAP_MAX, "{gap:?} without a purchase");
}

/// Asserts that every socket was closed with 1001, reconnected to another replica and missed no
/// event.
fn assert_sockets(found: &Found, watched: &[Watcher]) {
    let missed: Vec<String> = watched.iter().flat_map(|watcher| watcher.missed(found)).collect();
    assert_eq!(missed, [] as [String; 0]);
    let mut ends: BTreeMap<&str, u64> = BTreeMap::new();
    for (end, count) in watched.iter().flat_map(|watcher| &watcher.seen().ends) {
        *ends.entry(end).or_default() += count;
    }
    eprintln!("how sockets ended: {ends:?}");
    assert!(ends.keys().eq(["1001"].iter()), "sockets were not closed with 1001 only: {ends:?}");
    assert_eq!(
        watched.iter().map(|watcher| watcher.seen().resets).sum::<u64>(),
        0,
        "a socket did not resume at its cursor"
    );
}
