//! Lock commits a second through the MongoDB store, compared with the driver alone and the same
//! documents.
//!
//! `scripts/with-mongod cargo bench --bench mongo_commits`. The lines are measured in turn, round
//! after round, and the medians are printed. The figures of one machine differ by half between
//! runs. The ratios within one run are stable. Every measurement writes a fixed number of commits,
//! each on a ticket and a buyer of its own, while a change stream is read.

#[path = "market/driver.rs"]
mod driver;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use gittix::store::{Commit, Store, mongo::MongoStore};
use mongodb::{Client, Database};
use tokio::time::Instant;
use uuid::Uuid;

const ROUNDS: usize = 3;

/// The writer, the number of concurrent callers, and the number of commits of a measurement.
#[derive(Debug, Clone, Copy)]
enum Writer {
    Store {
        callers: usize,
    },
    /// The driver alone, with `group` commits in one transaction.
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

/// Commits a second, and the median and 99th percentile of the latencies.
#[derive(Debug, Clone, Copy)]
struct Figures {
    rate: f64,
    p50: Duration,
    p99: Duration,
}

#[expect(clippy::print_stdout, reason = "its output is its result")]
#[tokio::main]
async fn main() {
    let server = std::env::var("MONGODB_URI")
        .expect("scripts/with-mongod cargo bench --bench mongo_commits");
    let name = format!("gittix_bench_{}", Uuid::now_v7().simple());
    let store = MongoStore::connect(&server.replacen("/?", &format!("/{name}?"), 1))
        .await
        .expect("MongoDB answers");
    let db = Client::with_uri_str(&server).await.expect("MongoDB answers").database(&name);
    let mut figures: Vec<Vec<Figures>> = vec![Vec::new(); LINES.len()];
    for _ in 0..ROUNDS {
        for (line, (writer, count)) in
            LINES.into_iter().enumerate().filter(|(_, (writer, _))| is_wanted(writer))
        {
            let commits = driver::stored_tickets(&db, count).await;
            figures[line].push(match writer {
                Writer::Store { callers } => through_store(&store, callers, commits).await,
                Writer::Driver { callers, group } => {
                    through_driver(&db, callers, group, commits).await
                }
            });
        }
    }
    for ((writer, _), mut rounds) in
        LINES.into_iter().zip(figures).filter(|((writer, _), _)| is_wanted(writer))
    {
        rounds.sort_by(|one, other| one.rate.total_cmp(&other.rate));
        let Figures { rate, p50, p99 } = rounds[ROUNDS / 2];
        println!(
            "{:44} {rate:8.0} commits/s   p50 {p50:9.2?}   p99 {p99:9.2?}",
            format!("{writer:?}")
        );
    }
    store.close().await;
    db.drop().await.expect("the database is dropped");
}

/// With `-- store`, only the lines of the store are measured.
fn is_wanted(writer: &Writer) -> bool {
    matches!(writer, Writer::Store { .. }) || std::env::args().all(|argument| argument != "store")
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
                store.commit(commit.clone()).await.expect("no other caller locks the ticket");
                latencies.push(asked.elapsed());
            }
            latencies
        })
    });
    let latencies = join_all(tasks)
        .await
        .into_iter()
        .flat_map(|task| task.expect("the task does not panic"))
        .collect();
    summary(count, started.elapsed(), latencies)
}

async fn through_driver(
    db: &Database,
    callers: usize,
    group: usize,
    commits: Vec<Commit>,
) -> Figures {
    let count = commits.len();
    let (took, latencies) = driver::write(db, callers, group, commits).await;
    summary(count, took, latencies)
}

fn summary(count: usize, took: Duration, mut latencies: Vec<Duration>) -> Figures {
    latencies.sort_unstable();
    let at = |share: usize| latencies[(latencies.len() - 1) * share / 100];
    let count = f64::from(u32::try_from(count).expect("the count is small"));
    Figures { rate: count / took.as_secs_f64(), p50: at(50), p99: at(99) }
}
