//! Answers from memory: refusals of a locked ticket, and the list. They are compared with a handler
//! that does nothing.

use super::{
    ROUNDS, SPAN, ceilings, load,
    load::{Measured, Target},
    report::{Goal, Report},
    shop,
};
use crate::app::Backend;

const BUYERS: usize = 64;
const PAGE: &str = "/api/tickets?limit=50";

pub async fn measure(report: &mut Report) {
    let (app, buyers, tickets) = shop::open(Backend::Embedded, BUYERS, 1_000).await;
    buyers[0].locks(&tickets[0]).await;
    let page_bytes: usize =
        buyers[0].get(PAGE).await.expect(200).header("content-length").parse().expect("a length");
    let ceiling = ceilings::start("ceiling-handler", &page_bytes.to_string()).await;
    let cookie = buyers[1].cookie().expect("the client is signed in");
    for (path, target) in [
        ("refusals by the bare handler's", Target::Refusal(&tickets[0], &cookie)),
        ("GET 50 tickets by the bare handler's", Target::List(PAGE)),
    ] {
        let (mut ours, mut bare) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            ours.push(load::run(&app.server, BUYERS, SPAN, target).await);
            bare.push(load::run(&ceiling, BUYERS, SPAN, target).await);
        }
        let (ours, bare) = (Measured::median(&ours), Measured::median(&bare));
        report.ratio(path, &ours, &bare, Goal::AtLeast(0.85, 0.95));
        // The client's share of the two cores reduces the ratio of rates. It does not affect the
        // CPU time of the server alone.
        let (mine, theirs) = (format!("{:.1} us", ours.cpu_us), format!("{:.1} us", bare.cpu_us));
        report.goal(
            &format!("{path}, CPU of the server"),
            mine,
            theirs,
            bare.cpu_us / ours.cpu_us,
            Goal::AtLeast(0.85, 0.95),
        );
    }
}
