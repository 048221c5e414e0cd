//! A ticket actor that panics: one answer is an error, and nothing else is wrong.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::app::{Backend, Client, PATIENCE, TestApp, millis, on_both_stores};

on_both_stores!(
    after_a_panic_the_next_request_is_served,
    after_a_panic_the_lock_still_lapses_on_time,
    a_panic_disturbs_no_other_ticket,
    a_ticket_that_panics_again_and_again_answers_503_and_recovers,
);

/// A server at which the actor of a ticket that is on sale panics, `terms` telling how often (see the crate `fail`).
async fn fragile(store: Backend, terms: &str, settings: &[(&str, &str)]) -> (TestApp, Client, String) {
    let mut app = TestApp::start_with(store, settings).await;
    let seller = app.user().await;
    let ticket = seller.sells("Fragile").await;
    app.set("FAILPOINTS", &format!("ticket_actor::handle={terms}return({ticket})"));
    app.restart().await;
    let seller = seller.at(&app.server);
    (app, seller, ticket)
}

/// Waits until that many panics were counted: a moment after whoever asked was answered.
async fn panicked(app: &TestApp, times: u64) {
    const SERIES: &str = "gittix_ticket_actor_panics_total ";
    let deadline = Instant::now() + PATIENCE;
    loop {
        let text = app.guest().get("/metrics").await.expect(200).text;
        let count = text.lines().find_map(|line| line.strip_prefix(SERIES)).and_then(|count| count.parse::<u64>().ok());
        match count {
            Some(count) if count == times => return,
            Some(count) if count < times && Instant::now() < deadline => tokio::time::sleep(Duration::from_millis(10)).await,
            _ => panic!("{count:?} panics instead of {times}"),
        }
    }
}

async fn after_a_panic_the_next_request_is_served(store: Backend) {
    let (app, _, ticket) = fragile(store, "1*", &[]).await;
    let buyer = app.user().await;
    let first = buyer.place_order(&ticket).await;
    // Whether the registry tries again or says so is its own affair; it is never a 500, and never two locks.
    assert!(first.status == 201 || first.status == 503, "{first:?}");
    panicked(&app, 1).await;
    if first.status == 503 {
        buyer.locks(&ticket).await;
    }
    assert_eq!(buyer.orders("").await.expect(200).items().len(), 1);
}

async fn after_a_panic_the_lock_still_lapses_on_time(store: Backend) {
    let settings = [("GITTIX_PAYMENT_WINDOW", "2s"), ("GITTIX_LOCK_DURATION", "3s")];
    let (app, seller, ticket) = fragile(store, "1*off->1*", &settings).await;
    let buyer = app.user().await;
    let mut socket = buyer.socket().await;
    let order = buyer.place_order(&ticket).await.expect(201);
    // The actor's timers die with it.
    seller.edit_ticket(&ticket, "Fragile", 30).await;
    buyer.pay(&order.id(), "pm_card_chargeDeclined").await;
    panicked(&app, 1).await;
    let frame = socket.ticket(&ticket, "Available").await;
    let lag = millis(&frame["at"]) - millis(&order["unlocksAt"]);
    assert!((0..=1_000).contains(&lag), "{lag} ms: {frame}");
    assert_eq!(buyer.order(&order.id()).await.expect(200)["cancelReason"], "expired");
}

async fn a_panic_disturbs_no_other_ticket(store: Backend) {
    let (app, seller, fragile) = fragile(store, "", &[]).await;
    let (buyer, other) = (app.user().await, app.user().await);
    let order = other.locks(&seller.sells("Sound").await).await;
    for _ in 0..20 {
        let answer = buyer.place_order(&fragile).await;
        assert_eq!(answer.status, 503, "{answer:?}");
    }
    assert_eq!(other.pay(&order, "pm_card_visa").await.expect(201)["status"], json!("Completed"));
    buyer.locks(&seller.sells("Another").await).await;
}

async fn a_ticket_that_panics_again_and_again_answers_503_and_recovers(store: Backend) {
    let (app, _, ticket) = fragile(store, "3*", &[]).await;
    let buyer = app.user().await;
    let mut refused = 0;
    loop {
        let answer = buyer.place_order(&ticket).await;
        if answer.status == 201 {
            break;
        }
        let wait = answer.header("retry-after").parse::<u64>();
        assert!(answer.status == 503, "{answer:?}");
        refused += 1;
        assert!(refused < 100, "it never recovers");
        // As a well-behaved client would.
        tokio::time::sleep(Duration::from_secs(wait.unwrap_or(1))).await;
    }
    assert_eq!(buyer.orders("").await.expect(200).items().len(), 1);
}
