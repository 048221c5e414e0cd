//! The driver of `scripts/prove-mails`: a server that is killed again and again while it sends mails
//! to a mail server that other people wrote.
//!
//! Each round starts the server, signs up some users and kills the server after a random time. At
//! the end a server runs until no mail waits. Then each acknowledged sign-up must have its mail, and
//! a mail may have been sent more often than once only as often as its claim was taken over.

#![allow(
    dead_code,
    unused_imports,
    unused_macros,
    reason = "this program uses a part of the test support"
)]
#![allow(clippy::print_stdout, reason = "its output is its result")]

#[path = "../suite/app/mod.rs"]
mod app;

use std::{collections::BTreeMap, time::Duration};

use clap::{Parser, ValueEnum};
use futures_util::future::join_all;
use gittix::domain::MailId;
use rand::{RngExt, SeedableRng, rngs::StdRng};

use app::{Backend, Client, Home, TestApp, smtp::SmtpServer, world};

/// Kills a server between the commit of a mail and the answer of the mail server, and counts what
/// arrives.
#[derive(Debug, Parser)]
struct Arguments {
    #[arg(long, value_enum)]
    store: Store,
    /// Number of kills.
    #[arg(long, default_value_t = 1_000)]
    rounds: u32,
    /// The seed of the times of the kills.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Store {
    Embedded,
    Mongodb,
}

/// Number of users who sign up in a round.
const USERS: u32 = 3;
/// Maximum time from the first sign-up of a round to the kill.
const KILL_WITHIN_MS: u64 = 60;
/// Maximum time until no mail waits at the end. A claim lasts two minutes.
const REST_MAX: Duration = Duration::from_secs(400);

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let Arguments { store, rounds, seed } = Arguments::parse();
    let backend = match store {
        Store::Embedded => Backend::Embedded,
        Store::Mongodb => Backend::MongoDb,
    };
    println!("store {store:?}, seed {seed}, {rounds} kills");
    let mut random = StdRng::seed_from_u64(seed);
    let smtp = SmtpServer::start().await;
    let settings = smtp.settings();
    let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let mut app = TestApp::start_with(backend, &settings).await;
    let mut acknowledged = Vec::new();
    for round in 0..rounds {
        let people: Vec<(Client, String)> =
            (0..USERS).map(|n| (app.guest(), format!("person-{round}-{n}@example.com"))).collect();
        let sign_ups = people.into_iter().map(|(guest, email)| async move {
            let answer = guest.sign_up(&email, Client::PASSWORD).attempt().await;
            answer.is_ok_and(|answer| answer.status == 201).then_some(email)
        });
        let sign_ups = tokio::spawn(join_all(sign_ups.collect::<Vec<_>>()));
        tokio::time::sleep(Duration::from_millis(random.random_range(0..KILL_WITHIN_MS))).await;
        app.crash();
        acknowledged.extend(sign_ups.await.expect("no sign-up panics").into_iter().flatten());
        app.restart().await;
        if (round + 1).is_multiple_of(100) {
            println!(
                "kill {}: {} sign-ups acknowledged, {} mails accepted",
                round + 1,
                acknowledged.len(),
                smtp.accepted().len()
            );
        }
    }
    rest(&app).await;
    app.crash();
    check(&app.home, &smtp, &acknowledged).await;
}

/// Waits until no mail waits for a sending.
async fn rest(app: &TestApp) {
    let deadline = tokio::time::Instant::now() + REST_MAX;
    loop {
        let metrics = app.guest().get("/metrics").await.expect(200).text;
        if metrics.contains("gittix_mails_waiting 0\n") && metrics.contains("gittix_mails_dead 0\n")
        {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "mails still wait");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn check(home: &Home, smtp: &SmtpServer, acknowledged: &[String]) {
    let mut sent: BTreeMap<String, u32> = BTreeMap::new();
    let mut reached = std::collections::BTreeSet::new();
    for mail in smtp.accepted() {
        reached.insert(mail.to);
        *sent.entry(mail.message_id).or_default() += 1;
    }
    let missing: Vec<_> = acknowledged.iter().filter(|email| !reached.contains(*email)).collect();
    assert!(missing.is_empty(), "acknowledged sign-ups without a mail: {missing:?}");
    let store = world::open(home).await;
    let (mut extra, mut taken_over) = (0, 0);
    for (message_id, count) in &sent {
        let id = message_id.split('@').next().unwrap_or_default();
        let id = MailId::new(id.parse().expect("the id of a mail"));
        let mail = store.mail(id).await.expect("read").expect("sent mails are kept for a week");
        assert!(*count <= mail.attempts, "{id} was sent {count} times in {} claims", mail.attempts);
        extra += count - 1;
        taken_over += mail.attempts - 1;
    }
    store.close().await;
    println!(
        "{} acknowledged sign-ups all have their mail; {} mails, {extra} extra sendings, {taken_over} claims taken over",
        acknowledged.len(),
        sent.len()
    );
}
