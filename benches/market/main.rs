//! `scripts/with-mongod cargo bench --bench market`: purchases, refusals and fan-out of the real program, each beside its
//! ceiling, measured in turn in one run.
//!
//! Absolute figures depend on the machine; what counts is the ratio to the ceiling, and CPU time per operation. The client
//! runs on the same cores as what it measures, for the ceilings as for the product.

#![allow(dead_code, unused_imports, unused_macros, reason = "it uses a part of the suite's support")]
#![allow(clippy::print_stdout, reason = "its output is what it is for")]

#[path = "../../tests/suite/app/mod.rs"]
mod app;
mod ceilings;
mod fanout;
mod load;

use std::time::Duration;

use app::{Backend, Client, TestApp};
use gittix::{
    clock::wall_clock,
    domain::{Money, TicketId, Title, UserId, decide::list_ticket},
    store::Commit,
};
use load::{Measured, Target};
use uuid::Uuid;

/// Buyers at once.
const BUYERS: usize = 64;
/// Sockets that every event goes to.
const SOCKETS: usize = 1_000;
/// How often each thing is measured; medians are shown.
const ROUNDS: usize = 3;
/// How long one measurement lasts.
const SPAN: Duration = Duration::from_secs(2);
/// Tickets that are there to be bought: more than can be sold in all rounds.
const TICKETS: usize = 120_000;

const SETTINGS: [(&str, &str); 2] = [("GITTIX_MAX_LOCKS", "1000"), ("GITTIX_LOG", "warn,gittix::app=info")];

fn main() {
    // The ceilings are processes of their own, as the server is.
    match std::env::args().nth(1).as_deref() {
        Some("ceiling-handler") => ceilings::bare_handler(),
        Some("ceiling-broadcaster") => ceilings::broadcaster(),
        _ => {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
            runtime.block_on(measure());
        }
    }
}

async fn measure() {
    let mut stores = vec![Backend::Embedded];
    if std::env::var_os("MONGODB_URI").is_some() {
        stores.push(Backend::MongoDb);
    } else {
        println!("MONGODB_URI is not set: the embedded store only");
    }
    for store in stores {
        purchases(store).await;
    }
    refusals().await;
    fan_out().await;
}

/// An order and its payment, of distinct tickets, by 64 buyers at once.
async fn purchases(store: Backend) {
    let (app, buyers, tickets) = shop(store).await;
    let targets = load::targets(&buyers);
    let unsold = load::Unsold::new(tickets);
    let (mut sales, mut locks, mut alone) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        sales.push(load::run(app.server.addr, app.server.pid(), &targets, SPAN, Target::Sale(&unsold)).await);
        locks.push(load::run(app.server.addr, app.server.pid(), &targets, SPAN, Target::Lock(&unsold)).await);
        if let Some(uri) = app.home.mongodb_uri() {
            alone.push(ceilings::driver_alone(uri, SPAN).await);
        }
    }
    report(&format!("{store:?}: sales (order and payment), {BUYERS} buyers"), &Measured::median(&sales), None);
    let alone = alone.first().map(|_| Measured::median(&alone));
    report(
        &format!("{store:?}: locks, {BUYERS} buyers"),
        &Measured::median(&locks),
        alone.as_ref().map(|alone| ("driver alone, a transaction each, 16 in flight", alone)),
    );
}

/// Orders of a ticket that is locked, beside a handler that reads a body and answers 409.
async fn refusals() {
    let (app, buyers, tickets) = shop(Backend::Embedded).await;
    buyers[0].locks(&tickets[0]).await;
    let ceiling = ceilings::start("ceiling-handler").await;
    let targets = load::targets(&buyers);
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(load::run(app.server.addr, app.server.pid(), &targets, SPAN, Target::Refusal(&tickets[0])).await);
        bare.push(load::run(ceiling.addr, ceiling.pid(), &targets, SPAN, Target::Refusal(&tickets[0])).await);
    }
    report(
        &format!("refusals of a locked ticket, {BUYERS} buyers"),
        &Measured::median(&ours),
        Some(("bare actix handler", &Measured::median(&bare))),
    );
}

/// One event at a time to a thousand sockets, beside a loop of bare writes.
async fn fan_out() {
    let app = TestApp::start_with(Backend::Embedded, &SETTINGS).await;
    let seller = app.user().await;
    let ticket = seller.sells("Front row").await;
    let ceiling = ceilings::start("ceiling-broadcaster").await;
    let (mut ours, mut raw) = (Vec::new(), Vec::new());
    let mut edit = fanout::Editor::new(app.server.addr, &seller, &ticket).await;
    let mut kick = fanout::Kick::new(ceiling.addr).await;
    let sockets = fanout::Audience::at(app.server.addr, SOCKETS).await;
    let raw_sockets = fanout::Audience::at(ceiling.addr, SOCKETS).await;
    for _ in 0..ROUNDS {
        edit.renew().await;
        ours.push(sockets.deliveries(app.server.pid(), SPAN, async || edit.one().await).await);
        raw.push(raw_sockets.deliveries(ceiling.pid(), SPAN, async || kick.one().await).await);
    }
    report(
        &format!("deliveries, single events to {SOCKETS} sockets"),
        &Measured::median(&ours),
        Some(("raw writes", &Measured::median(&raw))),
    );
}

async fn shop(store: Backend) -> (TestApp, Vec<Client>, Vec<String>) {
    let home = app::Home::new(store);
    let seeded = app::world::seed_users(&home, BUYERS).await;
    let tickets = seed_tickets(&home).await;
    let (app, buyers) = TestApp::start_seeded(home, &SETTINGS, seeded).await;
    (app, buyers, tickets)
}

/// Puts tickets of one seller on sale, through the store itself.
async fn seed_tickets(home: &app::Home) -> Vec<String> {
    const TICKETS_PER_COMMIT: usize = 50;
    let store = app::world::open(home).await;
    let (now, seller) = (wall_clock(), UserId::new(Uuid::now_v7()));
    let mut ids = Vec::with_capacity(TICKETS);
    while ids.len() < TICKETS {
        let mut commit = Commit { at: now, ..Commit::default() };
        for _ in 0..TICKETS_PER_COMMIT {
            let id = TicketId::new(Uuid::now_v7());
            let (title, price) = (Title::parse("Front row").expect("a title"), Money::from_minor(2_000).expect("a price"));
            let listed = Commit::of(list_ticket(id, seller, title, price, now), now);
            commit.writes.extend(listed.writes);
            commit.events.extend(listed.events);
            ids.push(id.to_string());
        }
        store.commit(commit).await.expect("a store takes new tickets");
    }
    store.close().await;
    ids
}

fn report(what: &str, measured: &Measured, ceiling: Option<(&str, &Measured)>) {
    println!("{what}\n    {measured}");
    if let Some((name, ceiling)) = ceiling {
        println!("    {name}: {ceiling}\n    ratio {:.2}", measured.per_second / ceiling.per_second);
    }
}
