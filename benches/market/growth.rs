//! How cost grows: over tickets on sale, locks held, buyers at once and replicas; over sockets, see `sockets.rs`. In CPU
//! microseconds per operation, since rates on two cores blur it.

use gittix::clock::wall_clock;

use super::{
    SPAN, load,
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
const PAGE: &str = "/api/tickets?limit=50";
const SEARCH: &str = "/api/tickets?limit=50&q=front&sort=price";

pub async fn measure(report: &mut Report) {
    over_tickets(report).await;
    over_locks(report).await;
    over_buyers(report).await;
    over_replicas(report).await;
}

pub async fn over_tickets(report: &mut Report) {
    let mut base = None;
    for count in TICKETS {
        // Beside those to be bought.
        let (app, buyers, tickets) = shop::open(Backend::Embedded, shop::CROWD, count + 50_000).await;
        let bytes = to_f64(app.server.resident_kib()) * 1024.0;
        let (empty, fewest) = *base.get_or_insert((bytes, to_f64(tickets.len() as u64)));
        let (unsold, x) = (Unsold::new(tickets, shop::cookies(&buyers)), to_f64(count as u64));
        unsold.look_around(app.server.addr).await;
        let one = async |target| load::run(&app.server, BUYERS, SPAN, target).await.cpu_us;
        report.point("CPU us per lock, over tickets on sale", x, one(Target::Lock(&unsold)).await);
        report.point("CPU us per list of 50, over tickets on sale", x, one(Target::List(PAGE)).await);
        report.point("CPU us per search by price, over tickets on sale", x, one(Target::List(SEARCH)).await);
        let more = x + 50_000.0 - fewest;
        if more > 0.0 {
            report.point("bytes of the whole server per ticket, over tickets on sale", x, (bytes - empty) / more);
        }
    }
}

pub async fn over_locks(report: &mut Report) {
    for count in LOCKS {
        let home = Home::new(Backend::Embedded);
        let seeded = world::seed_users(&home, shop::CROWD).await;
        let (policy, now) = (locks::policy(), wall_clock());
        let held = (0..count).map(|number| locks::lock(number, now, &policy)).collect();
        locks::write(&home, held).await;
        let tickets = shop::seed_tickets(&home, 50_000).await;
        let (app, buyers) = TestApp::start_seeded(home, &shop::SETTINGS, seeded).await;
        let unsold = Unsold::new(tickets, shop::cookies(&buyers));
        unsold.look_around(app.server.addr).await;
        let ours = load::run(&app.server, BUYERS, SPAN, Target::Lock(&unsold)).await;
        report.point("CPU us per lock, over locks held", f64::from(count), ours.cpu_us);
        report.point("MiB of the whole server, over locks held", f64::from(count), to_f64(app.server.resident_kib()) / 1024.0);
    }
}

pub async fn over_buyers(report: &mut Report) {
    let mut stores = vec![Backend::Embedded];
    if std::env::var_os("MONGODB_URI").is_some() {
        stores.push(Backend::MongoDb);
    }
    for store in stores {
        let (app, unsold) = shop::crowded(store, 160_000).await;
        for count in BUYERS_AT_ONCE {
            let ours = load::run(&app.server, count, SPAN, Target::Lock(&unsold)).await;
            report.point(&format!("locks a second, {store:?}, over buyers at once"), to_f64(count as u64), ours.per_second);
            report.point(&format!("CPU us per lock, {store:?}, over buyers at once"), to_f64(count as u64), ours.cpu_us);
        }
    }
}

/// The same load on one, two and three processes of one database: what all of them take, and what MongoDB does.
pub async fn over_replicas(report: &mut Report) {
    if std::env::var_os("MONGODB_URI").is_none() {
        return;
    }
    let (app, unsold) = shop::crowded(Backend::MongoDb, 80_000).await;
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
        let spent = || servers.iter().map(|server| cpu_of(server.pid())).sum::<std::time::Duration>();
        let (before, mongod_before) = (spent(), mongod.map(cpu_of));
        let loads = servers.iter().map(|server| load::run(server, BUYERS / count, SPAN, Target::Lock(&unsold)));
        let measured: Vec<Measured> = futures_util::future::join_all(loads).await;
        let locks = measured.iter().map(|measured| measured.per_second).sum::<f64>() * SPAN.as_secs_f64();
        let each = |spent: std::time::Duration| spent.as_secs_f64() * 1e6 / locks;
        let x = to_f64(count as u64);
        report.point("CPU us per lock of all servers, over replicas", x, each(spent().saturating_sub(before)));
        if let (Some(pid), Some(before)) = (mongod, mongod_before) {
            report.point("CPU us per lock of mongod, over replicas", x, each(cpu_of(pid).saturating_sub(before)));
        }
        report.point("locks a second of all replicas, over replicas", x, locks / SPAN.as_secs_f64());
    }
}

#[expect(clippy::cast_precision_loss, reason = "a count")]
fn to_f64(count: u64) -> f64 {
    count as f64
}
