//! Sign-ins compared with the bare rate of hashing, and their effect on other requests.

use std::time::Duration;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use futures_util::future::join;
use serde_json::json;
use tokio::time::{Instant, sleep_until};

use super::{
    ROUNDS, SPAN,
    load::{Connection, Measured, Spent},
    report::{Goal, Report},
    shop,
};
use crate::app::{Backend, Client};

/// Number of concurrent sign-ins, which is lower than the maximum number of waiting ones.
const SIGNING_IN: usize = 16;
/// Rate of the other requests: that of a busy site, below the maximum.
const OTHERS_PER_SECOND: u32 = 500;

pub async fn measure(report: &mut Report) {
    let (app, buyers, _) = shop::open(Backend::Embedded, 1, 500).await;
    let account = app.user().await;
    let body = json!({ "email": account.email, "password": Client::PASSWORD }).to_string();
    let cookie = buyers[0].cookie().expect("the client is signed in");
    let (addr, pid) = (app.server.addr, app.server.pid());
    let (mut bare, mut ours, mut quiet, mut beside) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        bare.push(tokio::task::spawn_blocking(hashes).await.expect("the task does not panic"));
        quiet.push(others(addr, &cookie).await);
        let before = Spent::by(pid);
        let (latencies, slowed) = join(sign_ins(addr, &body), others(addr, &cookie)).await;
        ours.push(Measured::of(latencies, SPAN, Spent::by(pid).since(before)));
        beside.push(slowed);
    }
    report.ratio(
        "sign-ins by the bare rate of hashes",
        &Measured::median(&ours),
        &Measured::median(&bare),
        Goal::AtLeast(0.9, 0.9),
    );
    let middle = |mut rounds: Vec<Duration>| {
        rounds.sort_unstable();
        rounds[rounds.len() / 2].as_secs_f64() * 1e3
    };
    let (quiet, beside) = (middle(quiet), middle(beside));
    let ours = format!("p99 {beside:.2} ms");
    report.goal(
        "others' requests during sign-ins",
        ours,
        format!("p99 {quiet:.2} ms"),
        beside / quiet,
        Goal::AtMost(2.0, 2.0),
    );
}

/// Measures the rate of hashes on one core, with reused memory.
fn hashes() -> Measured {
    let params = Params::default();
    let mut memory = vec![Block::default(); params.block_count()];
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let (began, mut latencies, mut out) = (Instant::now(), Vec::new(), [0; 32]);
    while began.elapsed() < SPAN {
        let asked = Instant::now();
        argon2
            .hash_password_into_with_memory(
                b"correct horse",
                b"0123456789abcdef",
                &mut out,
                &mut memory,
            )
            .expect("the parameters are valid");
        latencies.push(asked.elapsed());
    }
    Measured::of(latencies, began.elapsed(), Spent::default())
}

async fn sign_ins(addr: std::net::SocketAddr, body: &str) -> Vec<Duration> {
    let deadline = Instant::now() + SPAN;
    let all = (0..SIGNING_IN).map(|_| async {
        // A request with a session's cookie would end that session.
        let mut connection = Connection::open(addr, "guest=1").await;
        let mut latencies = Vec::new();
        while Instant::now() < deadline {
            let asked = Instant::now();
            assert_eq!(connection.ask("POST /api/users/signin", body).await, 200);
            latencies.push(asked.elapsed());
        }
        latencies
    });
    futures_util::future::join_all(all).await.concat()
}

/// Returns the 99th percentile of the latency of the ticket list at a steady rate of requests.
async fn others(addr: std::net::SocketAddr, cookie: &str) -> Duration {
    let mut connection = Connection::open(addr, cookie).await;
    let (began, count) = (
        Instant::now(),
        OTHERS_PER_SECOND * u32::try_from(SPAN.as_secs()).expect("the span is short"),
    );
    let mut latencies = Vec::new();
    for number in 0..count {
        let due = began + SPAN * number / count;
        sleep_until(due).await;
        let asked = Instant::now();
        assert_eq!(connection.fetch("/api/tickets?limit=50").await, 200);
        latencies.push(asked.elapsed());
    }
    Measured::of(latencies, SPAN, Spent::default()).p99
}
