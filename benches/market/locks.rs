//! A restart with 100,000 held locks, 10,000 of which end within the same second soon after it: the
//! time until every timer is armed, and the delay of the releases.

use std::{collections::HashMap, time::Duration};

use bson::{Document, doc, serialize_to_document};
use gittix::{
    clock::wall_clock,
    domain::{
        Millis, OrderId, Policy, ReplicaName, Sale, Ticket, TicketCommand, TicketId, Timestamp,
        UserId, decide, decide::list_ticket, samples,
    },
    store::{Commit, Write},
};
use mongodb::Client;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use super::{
    ROUNDS,
    load::{cpu_of, median},
    report::{Goal, Report},
    shop,
};
use crate::app::{Backend, Home, TestApp, world};

const LOCKS: u32 = 100_000;
const DUE: u32 = 10_000;
/// Time from the end of seeding to the second in which many locks end. It is longer than the start
/// takes.
const DUE_AFTER: Millis = Millis::from_secs(8);
/// The payment window is as long as the lock, so that each lock has one deadline.
const WINDOW: [(&str, &str); 1] = [("GITTIX_PAYMENT_WINDOW", "15m")];
const WAIT_MAX: Duration = Duration::from_secs(90);

/// The figures of one restart.
struct Restarted {
    ready_secs: f64,
    armed_secs: f64,
    lag_p99_ms: f64,
    /// CPU time of the server and of MongoDB for each release.
    server_us: f64,
    mongod_us: f64,
}

pub async fn measure(report: &mut Report) {
    let mut stores = vec![Backend::Embedded];
    if std::env::var_os("MONGODB_URI").is_some() {
        stores.push(Backend::MongoDb);
    }
    for store in stores {
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            rounds.push(restart(store).await);
        }
        let median = |figure: fn(&Restarted) -> f64| median(&rounds, figure);
        let armed = median(|round| round.armed_secs);
        let path = format!("{store:?}: restart with 100,000 locks, every timer armed, in s");
        report.goal(
            &path,
            format!("{armed:.2} s (ready {:.2} s)", median(|round| round.ready_secs)),
            "",
            armed,
            Goal::AtMost(5.0, 1.0),
        );
        let p99 = median(|round| round.lag_p99_ms);
        let path = format!(
            "{store:?}: 10,000 locks that end in one second, p99 of the release's lag in ms"
        );
        report.goal(&path, format!("{p99:.0} ms"), "", p99, Goal::AtMost(250.0, 50.0));
        report.point(
            &format!("CPU us per release, {store:?}"),
            f64::from(DUE),
            median(|round| round.server_us),
        );
        report.point(
            &format!("CPU us per release of mongod, {store:?}"),
            f64::from(DUE),
            median(|round| round.mongod_us),
        );
    }
}

async fn restart(store: Backend) -> Restarted {
    let home = Home::new(store);
    let (policy, granted_now) = (policy(), wall_clock());
    // Writing all locks takes seconds, so their times count from the end of that.
    let due = granted_now + DUE_AFTER + seeding(store);
    let locks: Vec<(Ticket, Commit)> = (0..LOCKS)
        .map(|number| {
            let ends = if number < DUE {
                due + Millis(i64::from(number) * 1000 / i64::from(DUE))
            } else {
                due + Millis::from_mins(10)
            };
            lock(number, Timestamp(ends.0 - policy.lock_duration.0), &policy)
        })
        .collect();
    write(&home, locks).await;
    let started = Instant::now();
    let settings: Vec<_> = shop::SETTINGS.into_iter().chain(WINDOW).collect();
    let app = TestApp::start_at(home, &settings).await;
    let (ready, guest) = (started.elapsed(), app.guest());
    let metric = async |name: &str| value(&guest.get("/metrics").await.expect(200).text, name);
    until(|| metric("gittix_timers_armed"), f64::from(LOCKS)).await;
    let armed = started.elapsed();
    assert!(
        wall_clock() < due,
        "the locks were due before they were armed: that is no measurement of either"
    );
    let mongod = std::env::var("MONGOD_PID").ok().and_then(|pid| pid.parse().ok());
    let spent = || (cpu_of(app.server.pid()), mongod.map(cpu_of).unwrap_or_default());
    let before = spent();
    until(|| metric("gittix_locks_released_total"), f64::from(DUE)).await;
    let after = spent();
    let each = |after: Duration, before: Duration| {
        after.saturating_sub(before).as_secs_f64() * 1e6 / f64::from(DUE)
    };
    let text = guest.get("/metrics").await.expect(200).text;
    let restarted = Restarted {
        ready_secs: ready.as_secs_f64(),
        armed_secs: armed.as_secs_f64(),
        lag_p99_ms: quantile(&text, "gittix_lock_release_lag_seconds", 0.99) * 1e3,
        server_us: each(after.0, before.0),
        mongod_us: each(after.1, before.1),
    };
    println!(
        "{store:?}: armed after {:.2} s (ready {:.2} s), release p99 {:.0} ms; CPU each: {:.1} us, of mongod {:.1} us",
        restarted.armed_secs,
        restarted.ready_secs,
        restarted.lag_p99_ms,
        restarted.server_us,
        restarted.mongod_us
    );
    restarted
}

/// Returns a time that is longer than the writing takes.
fn seeding(store: Backend) -> Millis {
    match store {
        Backend::Embedded => Millis::from_secs(5),
        Backend::MongoDb => Millis::from_secs(12),
    }
}

/// Returns a policy with no effective limit of locks for a user and one deadline for each lock.
pub fn policy() -> Policy {
    let policy = Policy::default();
    Policy { payment_window: policy.lock_duration, locks_max: 1_000, ..policy }
}

/// Returns a ticket and the commit of a lock on it. The lock was granted at `at` by the replica
/// that the tests start.
pub fn lock(number: u32, at: Timestamp, policy: &Policy) -> (Ticket, Commit) {
    let seller = UserId::new(Uuid::from_u128(1));
    let listed =
        list_ticket(TicketId::new(Uuid::now_v7()), seller, samples::details("Front row"), at);
    let ticket = listed.ticket.expect("the ticket was listed");
    // Each buyer has four locks.
    let buyer = UserId::new(Uuid::from_u128(u128::from(number / 4) + 2));
    let command = TicketCommand::Lock {
        order: OrderId::new(Uuid::now_v7()),
        buyer,
        expected_price: None,
        expected_version: None,
        replica: ReplicaName::new("test"),
    };
    let commit = Commit::of(
        decide(&Sale::unlocked(ticket.clone()), &command, policy, at)
            .expect("the ticket is available"),
        at,
    );
    (ticket, commit)
}

/// Writes the locks into a store that no server uses.
pub async fn write(home: &Home, locks: Vec<(Ticket, Commit)>) {
    match home.mongodb_uri() {
        None => write_embedded(home, locks).await,
        // Separate commits would take minutes.
        Some(uri) => {
            world::open(home).await.close().await;
            write_documents(uri, &locks).await;
        }
    }
}

async fn write_embedded(home: &Home, locks: Vec<(Ticket, Commit)>) {
    const LOCKS_PER_COMMIT: usize = 1_000;
    std::fs::create_dir_all(home.data()).expect("the data folder can be created");
    let store = world::open(home).await;
    for some in locks.chunks(LOCKS_PER_COMMIT) {
        let tickets = some.iter().map(|(ticket, _)| Write::Ticket(ticket.clone())).collect();
        store
            .commit(Commit { writes: tickets, ..Commit::default() })
            .await
            .expect("an empty store takes new tickets");
        let writes = some.iter().flat_map(|(_, commit)| commit.writes.clone()).collect();
        store
            .commit(Commit { writes, ..Commit::default() })
            .await
            .expect("the tickets are available");
    }
    store.close().await;
}

async fn write_documents(uri: &str, locks: &[(Ticket, Commit)]) {
    let db = Client::with_uri_str(uri)
        .await
        .expect("MongoDB answers")
        .default_database()
        .expect("the URI names one");
    let (mut tickets, mut orders) = (Vec::new(), Vec::new());
    let mut slots: HashMap<String, Vec<String>> = HashMap::new();
    for write in locks.iter().flat_map(|(_, commit)| &commit.writes) {
        match write {
            Write::Ticket(ticket) => {
                tickets.push(serialize_to_document(ticket).expect("the document is valid BSON"))
            }
            Write::Order(order) => {
                slots.entry(order.buyer.to_string()).or_default().push(order.id.to_string());
                orders.push(serialize_to_document(order).expect("the document is valid BSON"));
            }
            _ => {}
        }
    }
    let slots =
        slots.into_iter().map(|(user, locks)| doc! { "_id": user, "locks": locks }).collect();
    for (collection, documents) in [("tickets", tickets), ("orders", orders), ("slots", slots)] {
        for chunk in documents.chunks(10_000) {
            db.collection::<Document>(collection)
                .insert_many(chunk)
                .await
                .expect("the insert succeeds");
        }
    }
}

async fn until(metric: impl AsyncFn() -> f64, at_least: f64) {
    let reached = async {
        while metric().await < at_least {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(WAIT_MAX, reached)
        .await
        .unwrap_or_else(|_| panic!("still not {at_least} after {WAIT_MAX:?}"));
}

/// Returns the value of a series without labels.
fn value(text: &str, name: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|value| value.trim().parse().ok()).unwrap_or(0.0)
}

/// Returns a quantile of a histogram, interpolated within its bucket as in Prometheus.
fn quantile(text: &str, name: &str, quantile: f64) -> f64 {
    let prefix = format!("{name}_bucket{{le=\"");
    let buckets =
        text.lines().filter_map(|line| line.strip_prefix(prefix.as_str())?.split_once("\"} "));
    let buckets: Vec<(f64, f64)> = buckets
        .filter_map(|(le, count)| Some((le.parse().unwrap_or(f64::INFINITY), count.parse().ok()?)))
        .collect();
    let wanted = quantile * buckets.last().map_or(0.0, |(_, count)| *count);
    let (mut below, mut counted) = (0.0, 0.0);
    for (le, count) in buckets {
        if count >= wanted {
            return if le.is_finite() {
                below + (le - below) * (wanted - counted) / (count - counted).max(1.0)
            } else {
                f64::INFINITY
            };
        }
        (below, counted) = (le, count);
    }
    f64::INFINITY
}
