//! Locks of distinct tickets by 1 to 256 concurrent buyers, on both stores. On MongoDB, they are
//! compared with the driver alone.

use std::time::Duration;

use gittix::store::{Store, mongo::MongoStore};
use mongodb::{Client, Database};

use super::{
    ROUNDS, SPAN, driver, load,
    load::{Measured, Spent, Target},
    report::{Goal, Report},
    shop,
};
use crate::app::{Backend, Home};

const BUYERS: [usize; 4] = [1, 16, 64, 256];

/// The measurements of the driver alone: callers, commits in a transaction, and commits in total.
const ALONE: [(usize, usize, usize); 4] =
    [(1, 1, 400), (16, 1, 2_500), (2, 16, 12_000), (2, 64, 16_000)];

pub async fn measure(report: &mut Report) {
    embedded(report).await;
    if std::env::var_os("MONGODB_URI").is_some() {
        mongodb(report).await;
    }
}

async fn embedded(report: &mut Report) {
    let rounds = sales(Backend::Embedded, 320_000, async |_| ()).await.0;
    for (buyers, rounds) in BUYERS.into_iter().zip(&rounds) {
        let median = Measured::median(rounds);
        report.line(&format!("locks, embedded store, {buyers} buyers"), &median);
        if buyers == 64 {
            let ours = format!("{:.0}/s", median.per_second);
            report.goal(
                "locks/s, embedded store, 64 buyers",
                ours,
                "",
                median.per_second,
                Goal::AtLeast(5_000.0, 5_000.0),
            );
        }
    }
}

pub async fn mongodb(report: &mut Report) {
    // The database is new and has the product's indexes.
    let home = Home::new(Backend::MongoDb);
    let uri = home.mongodb_uri().expect("a MongoDB home has a URI");
    MongoStore::connect(uri).await.expect("MongoDB answers").close().await;
    let db = Client::with_uri_str(uri)
        .await
        .expect("MongoDB answers")
        .default_database()
        .expect("the URI names one");
    let (rounds, alone) = sales(Backend::MongoDb, 240_000, async |()| alone(&db).await).await;
    let ours: Vec<Measured> = rounds.iter().map(|rounds| Measured::median(rounds)).collect();
    let limit: Vec<Measured> = (0..ALONE.len())
        .map(|at| Measured::median(&alone.iter().map(|round| round[at]).collect::<Vec<_>>()))
        .collect();
    for (buyers, median) in BUYERS.into_iter().zip(&ours) {
        report.line(&format!("locks, MongoDB, {buyers} buyers"), median);
    }
    let millis = |latency: Duration| latency.as_secs_f64() * 1e3;
    let p50 = |measured: &Measured| format!("p50 {:.2?}", measured.p50);
    let one = millis(ours[0].p50) / millis(limit[0].p50);
    report.goal(
        "locks, MongoDB, 1 buyer: latency by the driver's",
        p50(&ours[0]),
        p50(&limit[0]),
        one,
        Goal::AtMost(1.5, 1.2),
    );
    for ((callers, group, _), limit) in ALONE.into_iter().zip(&limit) {
        let alone = format!("the driver alone, {callers} at once, {group} to a transaction");
        report.line(&alone, limit);
        for (buyers, ours) in [16.0, 64.0, 256.0].into_iter().zip(&ours[1..]) {
            report.point(
                &format!("locks/s, MongoDB, by so many buyers, beside {alone}"),
                buyers,
                ours.per_second / limit.per_second,
            );
        }
    }
    report.ratio(
        "locks, MongoDB, 64 buyers by the driver, one to a transaction, 16 at once",
        &ours[2],
        &limit[1],
        Goal::AtLeast(4.0, 6.0),
    );
    report.goal(
        "locks, MongoDB, 64 buyers: p99 in ms",
        format!("{:.1?}", ours[2].p99),
        "",
        millis(ours[2].p99),
        Goal::AtMost(25.0, 25.0),
    );
    report.ratio(
        "locks, MongoDB, 256 buyers by the driver, 64 to a transaction, 2 at once",
        &ours[3],
        &limit[3],
        Goal::AtLeast(0.7, 0.9),
    );
}

/// Measures each number of buyers in turn, round after round, and calls `beside` after each round.
async fn sales<T>(
    store: Backend,
    tickets: usize,
    mut beside: impl AsyncFnMut(()) -> T,
) -> (Vec<Vec<Measured>>, Vec<T>) {
    let (app, unsold) = shop::crowded(store, tickets).await;
    let mut rounds = vec![Vec::new(); BUYERS.len()];
    let mut others = Vec::new();
    for _ in 0..ROUNDS {
        unsold.look_around(app.server.addr).await;
        for (buyers, rounds) in BUYERS.into_iter().zip(&mut rounds) {
            rounds.push(load::run(&app.server, buyers, SPAN, Target::Lock(&unsold)).await);
        }
        others.push(beside(()).await);
    }
    (rounds, others)
}

async fn alone(db: &Database) -> Vec<Measured> {
    let mut all = Vec::new();
    for (callers, group, count) in ALONE {
        let commits = driver::stored_tickets(db, count).await;
        let (took, latencies) = driver::write(db, callers, group, commits).await;
        let one = Measured::of(latencies, took, Spent::default());
        #[expect(clippy::cast_precision_loss, reason = "a few commits to a transaction")]
        let group = group as f64;
        all.push(Measured { per_second: one.per_second * group, ..one });
    }
    all
}
