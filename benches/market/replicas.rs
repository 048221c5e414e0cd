//! The path of an event from the answer to a purchase on one replica to the last of 1,000
//! WebSockets on another.

use std::time::Duration;

use super::{
    ROUNDS,
    fanout::Receivers,
    load::{Connection, Measured},
    report::{Goal, Report},
    shop,
};
use crate::app::Backend;

const SOCKETS: usize = 1_000;
const PURCHASES_PER_SECOND: u32 = 100;
const SPAN: Duration = Duration::from_secs(4);

pub async fn measure(report: &mut Report) {
    if std::env::var_os("MONGODB_URI").is_none() {
        return;
    }
    let (app, unsold) = shop::crowded(Backend::MongoDb, 5_000).await;
    let other = app.replica("other").await;
    let receivers = Receivers::at(other.addr, SOCKETS).await;
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let mut buyer = Connection::open(app.server.addr, "").await;
        rounds.push(
            receivers
                .burst(other.pid(), PURCHASES_PER_SECOND, SPAN, async || buyer.lock(&unsold).await)
                .await
                .1,
        );
    }
    let median = Measured::median(&rounds);
    report.line("events to 1,000 sockets on another replica, 100 purchases/s", &median);
    let millis = |latency: Duration| latency.as_secs_f64() * 1e3;
    let ours = format!("p50 {:.1?}, p99 {:.1?}", median.p50, median.p99);
    report.goal(
        "an event to the last of 1,000 sockets on another replica, p99 in ms",
        ours,
        "",
        millis(median.p99),
        Goal::AtMost(50.0, 25.0),
    );
}
