//! Lock-like commits a second through the MongoDB store, beside what the driver alone makes of the same documents.
//!
//! `scripts/with-mongod cargo bench --bench mongo_commits`. Each line is measured in turn, round after round, and the
//! medians are printed; machines differ by half from run to run, ratios within one run do not. Every measurement writes
//! a fixed number of commits, each on a ticket and a buyer of its own, while a change stream is read.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bson::{Document, doc, serialize_to_document};
use futures_util::future::join_all;
use gittix::{
    domain::{
        Command, Email, Event, Money, Order, OrderId, Policy, ReplicaName, Sale, Ticket, TicketId, Timestamp, Title, User, UserId, decide,
        decide::list_ticket,
    },
    store::{Commit, Store, Write, mongo::MongoStore},
};
use mongodb::{
    Client, Database,
    options::{Acknowledgment, ReadConcern, WriteConcern},
};
use tokio::time::Instant;
use uuid::Uuid;

const ROUNDS: usize = 3;
const AT: Timestamp = Timestamp(4_000_000_000_000);

/// Who writes, how many at once, and how many commits to a measurement.
#[derive(Debug, Clone, Copy)]
enum Writer {
    Store {
        callers: usize,
    },
    /// The driver alone, `group` commits to a transaction.
    Driver {
        callers: usize,
        group: usize,
    },
}

const LINES: [(Writer, usize); 9] = [
    (Writer::Store { callers: 1 }, 600),
    (Writer::Driver { callers: 1, group: 1 }, 600),
    (Writer::Store { callers: 16 }, 8_000),
    (Writer::Driver { callers: 16, group: 1 }, 4_000),
    (Writer::Store { callers: 64 }, 20_000),
    (Writer::Driver { callers: 1, group: 64 }, 20_000),
    (Writer::Driver { callers: 2, group: 64 }, 20_000),
    (Writer::Store { callers: 256 }, 24_000),
    (Writer::Store { callers: 1024 }, 24_000),
];

/// Commits a second, and the latencies' median and 99th percentile.
#[derive(Debug, Clone, Copy)]
struct Figures {
    rate: f64,
    p50: Duration,
    p99: Duration,
}

#[expect(clippy::print_stdout, reason = "its output is the table")]
#[tokio::main]
async fn main() {
    let server = std::env::var("MONGODB_URI").expect("scripts/with-mongod cargo bench --bench mongo_commits");
    let name = format!("gittix_bench_{}", Uuid::now_v7().simple());
    let store = MongoStore::connect(&server.replacen("/?", &format!("/{name}?"), 1)).await.expect("MongoDB answers");
    let db = Client::with_uri_str(&server).await.expect("MongoDB answers").database(&name);
    let mut figures: Vec<Vec<Figures>> = vec![Vec::new(); LINES.len()];
    for _ in 0..ROUNDS {
        for (line, (writer, count)) in LINES.into_iter().enumerate() {
            let commits = stored_tickets(&db, count).await;
            figures[line].push(match writer {
                Writer::Store { callers } => through_store(&store, callers, commits).await,
                Writer::Driver { callers, group } => through_driver(&db, callers, group, commits).await,
            });
        }
    }
    for ((writer, _), mut rounds) in LINES.into_iter().zip(figures) {
        rounds.sort_by(|one, other| one.rate.total_cmp(&other.rate));
        let Figures { rate, p50, p99 } = rounds[ROUNDS / 2];
        println!("{:44} {rate:8.0} commits/s   p50 {p50:9.2?}   p99 {p99:9.2?}", format!("{writer:?}"));
    }
    store.close().await;
    db.drop().await.expect("the database is dropped");
}

/// `count` tickets and buyers, stored; and for each the commit of its lock.
async fn stored_tickets(db: &Database, count: usize) -> Vec<Commit> {
    let seller = UserId::new(Uuid::now_v7());
    let (mut tickets, mut users, mut slots, mut commits) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..count {
        let price = Money::from_minor(2000).expect("a price");
        let listed = list_ticket(TicketId::new(Uuid::now_v7()), seller, Title::parse("A concert").expect("a title"), price, AT);
        let (ticket, buyer) = (listed.ticket.expect("a ticket"), UserId::new(Uuid::now_v7()));
        let email = Email::parse(&format!("{}@example.com", buyer.uuid().simple())).expect("an address");
        let user = User { id: buyer, email, password_hash: "none".into(), version: 0, created_at: AT, updated_at: AT };
        tickets.push(serialize_to_document(&ticket).expect("BSON"));
        users.push(serialize_to_document(&user).expect("BSON"));
        slots.push(doc! { "_id": buyer.to_string(), "locks": [] });
        commits.push(lock(ticket, buyer));
    }
    for (collection, documents) in [("tickets", tickets), ("users", users), ("slots", slots)] {
        for chunk in documents.chunks(10_000) {
            db.collection::<Document>(collection).insert_many(chunk).await.expect("an insert");
        }
    }
    commits
}

fn lock(ticket: Ticket, buyer: UserId) -> Commit {
    let order = OrderId::new(Uuid::now_v7());
    let command = Command::Lock { order, buyer, expected_price: None, replica: ReplicaName::new("bench") };
    Commit::of(decide(&Sale::unlocked(ticket), &command, &Policy::default(), AT).expect("it is free"), AT)
}

async fn through_store(store: &Arc<MongoStore>, callers: usize, commits: Vec<Commit>) -> Figures {
    let (count, commits, next) = (commits.len(), Arc::new(commits), Arc::new(AtomicUsize::new(0)));
    let started = Instant::now();
    let tasks = (0..callers).map(|_| {
        let (store, commits, next) = (Arc::clone(store), Arc::clone(&commits), Arc::clone(&next));
        tokio::spawn(async move {
            let mut latencies = Vec::new();
            while let Some(commit) = commits.get(next.fetch_add(1, Ordering::Relaxed)) {
                let asked = Instant::now();
                store.commit(commit.clone()).await.expect("nobody else locks it");
                latencies.push(asked.elapsed());
            }
            latencies
        })
    });
    let latencies = join_all(tasks).await.into_iter().flat_map(|task| task.expect("no panic")).collect();
    summary(count, started.elapsed(), latencies)
}

async fn through_driver(db: &Database, callers: usize, group: usize, commits: Vec<Commit>) -> Figures {
    let done = Arc::new(AtomicBool::new(false));
    let reader = tokio::spawn(read_changes(db.clone(), Arc::clone(&done)));
    let (count, next) = (commits.len(), Arc::new(AtomicUsize::new(0)));
    let groups: Arc<Vec<Vec<Commit>>> = Arc::new(commits.chunks(group).map(<[Commit]>::to_vec).collect());
    let started = Instant::now();
    let tasks = (0..callers).map(|_| {
        let (db, groups, next) = (db.clone(), Arc::clone(&groups), Arc::clone(&next));
        tokio::spawn(async move {
            let mut latencies = Vec::new();
            while let Some(group) = groups.get(next.fetch_add(1, Ordering::Relaxed)) {
                let asked = Instant::now();
                transaction(&db, group).await;
                latencies.push(asked.elapsed());
            }
            latencies
        })
    });
    let latencies = join_all(tasks).await.into_iter().flat_map(|task| task.expect("no panic")).collect();
    let figures = summary(count, started.elapsed(), latencies);
    done.store(true, Ordering::Relaxed);
    reader.await.expect("no panic");
    figures
}

async fn read_changes(db: Database, done: Arc<AtomicBool>) {
    let mut stream = db.collection::<Document>("events").watch().max_await_time(Duration::from_millis(100)).await.expect("a change stream");
    while !done.load(Ordering::Relaxed) {
        stream.next_if_any().await.expect("a change");
    }
}

/// The same documents as the store writes, by the shortest way.
async fn transaction(db: &Database, group: &[Commit]) {
    let (mut tickets, mut slots, mut orders, mut entries) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for commit in group {
        for write in &commit.writes {
            match write {
                Write::Ticket(ticket) => tickets.push(doc! {
                    "q": { "_id": ticket.id.to_string(), "version": i64::try_from(ticket.version - 1).expect("small") },
                    "u": serialize_to_document(ticket).expect("BSON"),
                }),
                Write::Order(order) => {
                    slots.push(doc! { "q": { "_id": order.buyer.to_string() }, "u": { "$addToSet": { "locks": order.id.to_string() } } });
                    orders.push(serialize_to_document::<Order>(order).expect("BSON"));
                }
                _ => {}
            }
        }
        let events: Vec<_> = commit.events.iter().map(|event| serialize_to_document::<Event>(event).expect("BSON")).collect();
        entries.push(doc! { "at": commit.at.0, "events": events });
    }
    let mut session = db.client().start_session().await.expect("a session");
    let durable = WriteConcern::builder().w(Acknowledgment::Majority).build();
    session.start_transaction().read_concern(ReadConcern::snapshot()).write_concern(durable).await.expect("a transaction");
    for command in [
        doc! { "update": "tickets", "updates": tickets },
        doc! { "update": "slots", "updates": slots },
        doc! { "insert": "orders", "documents": orders },
        doc! { "insert": "events", "documents": [{ "commits": entries }] },
    ] {
        let reply = db.run_command(command).session(&mut session).await.expect("nobody else writes them");
        assert!(reply.get("writeErrors").is_none(), "{reply}");
    }
    session.commit_transaction().await.expect("no conflict");
}

fn summary(count: usize, took: Duration, mut latencies: Vec<Duration>) -> Figures {
    latencies.sort_unstable();
    let at = |share: usize| latencies[(latencies.len() - 1) * share / 100];
    let count = f64::from(u32::try_from(count).expect("some thousands"));
    Figures { rate: count / took.as_secs_f64(), p50: at(50), p99: at(99) }
}
