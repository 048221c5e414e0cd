//! What an idle socket and a ticket on sale cost the server in memory, each time in a process of its own.

use std::net::SocketAddr;

use super::{
    ROUNDS, ceilings,
    fanout::{Audience, Kick},
    load::median,
    report::{Goal, Report},
    shop,
    sockets::{COUNTS, affordable},
};
use crate::app::Backend;

const MANY: usize = 1_000_000;
/// What a server with next to none has is not theirs.
const FEW: usize = 1_000;

pub async fn measure(report: &mut Report) {
    for count in COUNTS.map(affordable) {
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            rounds.push(kib_per_socket(count).await);
        }
        let kib = median(&rounds, |kib| *kib);
        report.goal(&format!("memory per idle socket, {count} of them, in KiB"), format!("{kib:.1} KiB"), "", kib, Goal::AtMost(12.0, 4.0));
    }
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        rounds.push(bytes_per_ticket().await);
    }
    let bytes = median(&rounds, |bytes| *bytes);
    let path = "memory per ticket on sale, a million of them, in bytes";
    report.goal(path, format!("{bytes:.0} bytes"), "", bytes, Goal::AtMost(600.0, 300.0));
}

async fn kib_per_socket(count: usize) -> f64 {
    let hub = ceilings::start("ceiling-hub", "").await;
    let port = Kick::new(hub.addr).await.port().await;
    let before = hub.resident_kib();
    let audience = Audience::at(SocketAddr::new(hub.addr.ip(), port), count).await;
    to_f64(hub.resident_kib().saturating_sub(before)) / to_f64(audience.len())
}

async fn bytes_per_ticket() -> f64 {
    let (few, many) = (resident_with(FEW).await, resident_with(MANY).await);
    to_f64(many.saturating_sub(few)) * 1024.0 / to_f64((MANY - FEW) as u64)
}

/// KiB of the whole server.
async fn resident_with(tickets: usize) -> u64 {
    let (app, _, _) = shop::open(Backend::Embedded, 1, tickets).await;
    app.server.resident_kib()
}

#[expect(clippy::cast_precision_loss, reason = "a count, or KiB")]
fn to_f64(count: u64) -> f64 {
    count as f64
}
