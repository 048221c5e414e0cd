//! Fan-out: single events and bursts to 1,000 to 10,000 WebSockets, compared with a loop of bare
//! writes.
//!
//! The ratio is that of the hub alone. It gets each event from one byte on a trigger, like the loop
//! of bare writes. The whole program, whose events are edits that it commits first, is shown too.

use std::time::Duration;

use super::{
    ROUNDS, SPAN,
    fanout::{Editor, EventSource, Receivers},
    load::Measured,
    report::{Goal, Report},
    shop,
};
use crate::app::{Backend, TestApp};

/// Numbers of WebSockets for single events. Each WebSocket needs a file descriptor on both sides.
pub const COUNTS: [usize; 3] = [1_000, 5_000, 10_000];
/// Rates at which half a million deliveries are due each second.
const BURST_PER_SECOND: [u32; 3] = [500, 100, 50];
/// Short enough for the loop of bare writes to finish its backlog before the next round.
const BURST: Duration = Duration::from_secs(3);

pub async fn measure(report: &mut Report) {
    for count in COUNTS {
        single(report, count).await;
    }
    whole(report).await;
    bursts(report).await;
}

async fn single(report: &mut Report, count: usize) {
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(EventSource::of_hub(count).await.deliveries(SPAN).await);
        bare.push(EventSource::of_raw_writes(count).await.deliveries(SPAN).await);
    }
    let goal = Goal::AtLeast(0.75, 0.9);
    report.point(
        "CPU us per delivery, over sockets",
        to_f64(count as u64),
        Measured::median(&ours).cpu_us,
    );
    report.point(
        "CPU us per delivery by raw writes, over sockets",
        to_f64(count as u64),
        Measured::median(&bare).cpu_us,
    );
    report.ratio(
        &format!("deliveries, single events to {count} sockets, by raw writes"),
        &Measured::median(&ours),
        &Measured::median(&bare),
        goal,
    );
}

/// Measures an edit over HTTP, its commit on disk, and all of its deliveries.
async fn whole(report: &mut Report) {
    let app = TestApp::start_with(Backend::Embedded, &shop::SETTINGS).await;
    let seller = app.user().await;
    let ticket = seller.sells("Front row").await;
    let mut edit = Editor::new(app.server.addr, &seller, &ticket).await;
    let receivers = Receivers::at(app.server.addr, COUNTS[0]).await;
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        edit.renew().await;
        rounds.push(receivers.deliveries(app.server.pid(), SPAN, async || edit.one().await).await);
    }
    report
        .line("deliveries of edits to 1,000 sockets, commit included", &Measured::median(&rounds));
}

/// Measures half a million deliveries a second, compared with a loop of bare writes, which is too
/// slow for them.
async fn bursts(report: &mut Report) {
    for (count, per_second) in COUNTS.into_iter().zip(BURST_PER_SECOND) {
        let (mut ours, mut bare) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            ours.push(EventSource::of_hub(count).await.burst(per_second, BURST).await);
            bare.push(EventSource::of_raw_writes(count).await.burst(per_second, BURST).await);
        }
        let medians = |rounds: &[(f64, Measured)]| {
            Measured::median(&rounds.iter().map(|(_, measured)| *measured).collect::<Vec<_>>())
        };
        let (median, bare) = (medians(&ours), medians(&bare));
        let path = format!("{per_second} events/s to {count} sockets");
        report.line(&format!("deliveries, {path}"), &median);
        report.line(&format!("deliveries, {path}, by raw writes"), &bare);
        if count == COUNTS[0] {
            let least = ours.iter().map(|(share, _)| *share).fold(f64::INFINITY, f64::min);
            report.goal(
                &format!("{path}: share delivered"),
                format!("{least:.4}"),
                "",
                least,
                Goal::AtLeast(1.0, 1.0),
            );
            let p99 = median.p99.as_secs_f64() * 1e3;
            report.goal(
                &format!("{path}: p99 in ms"),
                format!("{:.1?}", median.p99),
                format!("{:.1?}", bare.p99),
                p99,
                Goal::AtMost(25.0, 25.0),
            );
            let us = median.cpu_us;
            let (mine, theirs) = (format!("{us:.2} us"), format!("{:.2} us", bare.cpu_us));
            report.goal(
                &format!("{path}: CPU us each"),
                mine,
                theirs,
                us,
                Goal::AtMost(f64::INFINITY, 1.2),
            );
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a count of sockets or KiB")]
fn to_f64(count: u64) -> f64 {
    count as f64
}
