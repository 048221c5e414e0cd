//! The memory that an idle WebSocket and a ticket on sale need in the server. Each measurement runs
//! in a process of its own.

use std::net::SocketAddr;

use super::{
    ROUNDS, ceilings,
    fanout::{Receivers, Trigger},
    load::median,
    report::{Goal, Report},
    shop,
    sockets::COUNTS,
};
use crate::app::Backend;

/// The memory that the first WebSockets need once, such as heaps of threads, is not counted.
const FIRST: usize = 100;
const MANY: usize = 1_000_000;
/// With this number of tickets, the embedded store's page cache is full. Its size does not depend
/// on the number of tickets.
const SOME: usize = 150_000;
/// The memory of a server with almost no tickets is subtracted.
const FEW: usize = 1_000;

pub async fn measure(report: &mut Report) {
    for count in COUNTS {
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            rounds.push(kib_per_socket(count).await);
        }
        let kib = median(&rounds, |kib| *kib);
        report.goal(
            &format!("memory per idle socket, {count} of them, in KiB"),
            format!("{kib:.1} KiB"),
            "",
            kib,
            Goal::AtMost(12.0, 4.0),
        );
    }
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let (few, some, many) =
            (resident_with(FEW).await, resident_with(SOME).await, resident_with(MANY).await);
        rounds.push((bytes_each(few, many, MANY - FEW), bytes_each(some, many, MANY - SOME)));
    }
    let bytes = median(&rounds, |(in_all, _)| *in_all);
    let path = "memory per ticket on sale, a million of them, in bytes";
    report.goal(path, format!("{bytes:.0} bytes"), "", bytes, Goal::AtMost(600.0, 300.0));
    report.point(
        "memory of one more ticket on sale, in bytes",
        to_f64(MANY as u64),
        median(&rounds, |(_, more)| *more),
    );
}

async fn kib_per_socket(count: usize) -> f64 {
    let hub = ceilings::start("ceiling-hub", "").await;
    let port = Trigger::new(hub.addr).await.port().await;
    let sockets = SocketAddr::new(hub.addr.ip(), port);
    let _first = Receivers::at(sockets, FIRST).await;
    let before = hub.resident_kib();
    let receivers = Receivers::at(sockets, count - FIRST).await;
    to_f64(hub.resident_kib().saturating_sub(before)) / to_f64(receivers.len())
}

fn bytes_each(few: u64, many: u64, tickets: usize) -> f64 {
    to_f64(many.saturating_sub(few)) * 1024.0 / to_f64(tickets as u64)
}

/// Returns the KiB of the whole server.
async fn resident_with(tickets: usize) -> u64 {
    let (app, _, _) = shop::open(Backend::Embedded, 1, tickets).await;
    app.server.resident_kib()
}

#[expect(clippy::cast_precision_loss, reason = "a count, or KiB")]
fn to_f64(count: u64) -> f64 {
    count as f64
}
