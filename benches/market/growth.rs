//! The growth of cost with the numbers of tickets on sale, held locks, concurrent buyers and
//! replicas. For WebSockets, see `sockets.rs`. Costs are CPU microseconds per operation, because
//! rates on two cores are less precise.

use gittix::clock::wall_clock;

use super::{
    ROUNDS, SPAN, load,
    load::{Measured, Spent, Target, Unsold, cpu_of},
    locks,
    report::Report,
    shop,
};
use crate::app::{Backend, Home, Server, TestApp, world};

const BUYERS: usize = 64;
const TICKETS: [usize; 4] = [1_000, 10_000, 100_000, 1_000_000];
const LOCKS: [u32; 4] = [1_000, 10_000, 50_000, 100_000];
const BUYERS_AT_ONCE: [usize; 5] = [1, 4, 16, 64, 256];
const REPLICAS: [usize; 3] = [1, 2, 3];
/// More tickets than 64 buyers buy in all rounds.
const SOLD: usize = 120_000;
const PAGE: &str = "/api/tickets?limit=50";
const SEARCH: &str = "/api/tickets?limit=50&q=front&sort=price";

pub async fn measure(report: &mut Report) {
    over_tickets(report).await;
    over_locks(report).await;
    over_buyers(report).await;
    over_replicas(report).await;
}

pub async fn over_tickets(report: &mut Report) {
    for count in TICKETS {
        on_sale(report, Backend::Embedded, "", count).await;
    }
    if std::env::var_os("MONGODB_URI").is_some() {
        for count in [TICKETS[0], TICKETS[TICKETS.len() - 1]] {
            on_sale(report, Backend::MongoDb, ", MongoDB", count).await;
        }
    }
}

/// Measures on a server with `count` tickets on sale in addition to the ones that are bought.
async fn on_sale(report: &mut Report, store: Backend, named: &str, count: usize) {
    let (app, buyers, tickets) = shop::open(store, shop::CROWD, count + SOLD).await;
    let (unsold, x) = (Unsold::new(tickets, shop::cookies(&buyers)), to_f64(count as u64));
    unsold.look_around(app.server.addr).await;
    let one = async |target| rounds(&app.server, BUYERS, target).await.cpu_us;
    report.point(
        &format!("CPU us per lock{named}, over tickets on sale"),
        x,
        one(Target::Lock(&unsold)).await,
    );
    report.point(
        &format!("CPU us per list of 50{named}, over tickets on sale"),
        x,
        one(Target::List(PAGE)).await,
    );
    report.point(
        &format!("CPU us per search by price{named}, over tickets on sale"),
        x,
        one(Target::List(SEARCH)).await,
    );
}

pub async fn over_locks(report: &mut Report) {
    for count in LOCKS {
        let home = Home::new(Backend::Embedded);
        let seeded = world::seed_users(&home, shop::CROWD).await;
        let (policy, now) = (locks::policy(), wall_clock());
        let held = (0..count).map(|number| locks::lock(number, now, &policy)).collect();
        locks::write(&home, held).await;
        let tickets = shop::seed_tickets(&home, SOLD).await;
        let (app, buyers) = TestApp::start_seeded(home, &shop::SETTINGS, seeded).await;
        let unsold = Unsold::new(tickets, shop::cookies(&buyers));
        unsold.look_around(app.server.addr).await;
        let ours = rounds(&app.server, BUYERS, Target::Lock(&unsold)).await;
        report.point("CPU us per lock, over locks held", f64::from(count), ours.cpu_us);
        report.point(
            "MiB of the whole server, over locks held",
            f64::from(count),
            to_f64(app.server.resident_kib()) / 1024.0,
        );
    }
}

pub async fn over_buyers(report: &mut Report) {
    let mut stores = vec![Backend::Embedded];
    if std::env::var_os("MONGODB_URI").is_some() {
        stores.push(Backend::MongoDb);
    }
    for store in stores {
        let (app, unsold) = shop::crowded(store, 3 * SOLD).await;
        for count in BUYERS_AT_ONCE {
            let ours = rounds(&app.server, count, Target::Lock(&unsold)).await;
            report.point(
                &format!("locks a second, {store:?}, over buyers at once"),
                to_f64(count as u64),
                ours.per_second,
            );
            report.point(
                &format!("CPU us per lock, {store:?}, over buyers at once"),
                to_f64(count as u64),
                ours.cpu_us,
            );
        }
    }
}

/// Measures one, two and three processes with one database. First, all buyers use the first
/// process, so that the others only read the feed: this shows the cost of reading, and whether it
/// affects the first process. Then the buyers are spread over all processes.
pub async fn over_replicas(report: &mut Report) {
    if std::env::var_os("MONGODB_URI").is_none() {
        return;
    }
    let (app, unsold) = shop::crowded(Backend::MongoDb, 300_000).await;
    let mongod: Option<u32> = std::env::var("MONGOD_PID").ok().and_then(|pid| pid.parse().ok());
    let mut others: Vec<Server> = Vec::new();
    for count in REPLICAS {
        while others.len() + 1 < count {
            others.push(app.replica(&format!("other-{}", others.len())).await);
        }
        let servers: Vec<&Server> = std::iter::once(&app.server).chain(&others).collect();
        for server in &servers {
            unsold.look_around(server.addr).await;
        }
        let mut points: Vec<[(&str, f64); 5]> = Vec::new();
        for _ in 0..ROUNDS {
            let (spent, database) = sell(&servers[..1], &servers, mongod, &unsold).await;
            let reading = spent[1..].iter().sum::<f64>() / to_f64(others.len().max(1) as u64);
            let (all_spent, all_database) = sell(&servers, &servers, mongod, &unsold).await;
            points.push([
                ("CPU us per lock of the replica that sells, over replicas", spent[0]),
                (
                    "CPU us per lock of each replica that only reads the feed, over replicas",
                    reading,
                ),
                ("CPU us per lock of mongod, one replica selling, over replicas", database),
                (
                    "CPU us per lock of all servers, all selling, over replicas",
                    all_spent.iter().sum(),
                ),
                ("CPU us per lock of mongod, all selling, over replicas", all_database),
            ]);
        }
        for at in 0..points[0].len() {
            report.point(
                points[0][at].0,
                to_f64(count as u64),
                load::median(&points, |round| round[at].1),
            );
        }
    }
}

/// Lets all buyers, spread over `selling`, buy. Returns for each lock the CPU time of each server
/// of `all`, and of `mongod`.
async fn sell(
    selling: &[&Server],
    all: &[&Server],
    mongod: Option<u32>,
    unsold: &Unsold,
) -> (Vec<f64>, f64) {
    let spent =
        || all.iter().map(|server| server.pid()).chain(mongod).map(cpu_of).collect::<Vec<_>>();
    let before = spent();
    let loads = selling
        .iter()
        .map(|server| load::run(server, BUYERS / selling.len(), SPAN, Target::Lock(unsold)));
    let rate: f64 = futures_util::future::join_all(loads)
        .await
        .iter()
        .map(|measured| measured.per_second)
        .sum();
    let locks = rate * SPAN.as_secs_f64();
    let each = spent()
        .iter()
        .zip(&before)
        .map(|(now, before)| now.saturating_sub(*before).as_secs_f64() * 1e6 / locks)
        .collect::<Vec<_>>();
    (each[..all.len()].to_vec(), each.get(all.len()).copied().unwrap_or(0.0))
}

/// Returns the medians of the measurements of all rounds.
async fn rounds(server: &Server, buyers: usize, target: Target<'_>) -> Measured {
    let mut all = Vec::new();
    for _ in 0..ROUNDS {
        all.push(load::run(server, buyers, SPAN, target).await);
    }
    Measured::median(&all)
}

#[expect(clippy::cast_precision_loss, reason = "a count")]
fn to_f64(count: u64) -> f64 {
    count as f64
}
