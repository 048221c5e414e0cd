//! A ticket actor that panics: one request gets an error, and nothing else is affected.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::app::{Backend, Client, PATIENCE, TestApp, millis, on_both_stores};

on_both_stores!(
    request_after_a_panic_is_served,
    lock_expires_on_time_after_a_panic,
    panic_does_not_affect_other_tickets,
    ticket_that_panics_repeatedly_answers_503_and_recovers,
);

/// Starts a server on which the actor of one ticket on sale panics; `terms` states how often
/// (syntax of the crate `fail`).
async fn start_with_panicking_ticket(
    store: Backend,
    terms: &str,
    settings: &[(&str, &str)],
) -> (TestApp, Client, String) {
    let mut app = TestApp::start_with(store, settings).await;
    let seller = app.user().await;
    let ticket = seller.sells("Fragile").await;
    app.set("FAILPOINTS", &format!("ticket_actor::handle={terms}return({ticket})"));
    app.restart().await;
    let seller = seller.at(&app.server);
    (app, seller, ticket)
}

/// Waits until `times` panics were counted, which happens a moment after the requester's answer.
async fn wait_for_panics(app: &TestApp, times: u64) {
    const SERIES: &str = "gittix_ticket_actor_panics_total ";
    let deadline = Instant::now() + PATIENCE;
    loop {
        let text = app.guest().get("/metrics").await.expect(200).text;
        let count = text
            .lines()
            .find_map(|line| line.strip_prefix(SERIES))
            .and_then(|count| count.parse::<u64>().ok());
        match count {
            Some(count) if count == times => return,
            Some(count) if count < times && Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(10)).await
            }
            _ => panic!("{count:?} panics instead of {times}"),
        }
    }
}

async fn request_after_a_panic_is_served(store: Backend) {
    let (app, _, ticket) = start_with_panicking_ticket(store, "1*", &[]).await;
    let buyer = app.user().await;
    let first = buyer.place_order(&ticket).await;
    // The registry may retry or refuse: the answer is never 500, and there are never two locks.
    assert!(first.status == 201 || first.status == 503, "{first:?}");
    wait_for_panics(&app, 1).await;
    if first.status == 503 {
        buyer.locks(&ticket).await;
    }
    assert_eq!(buyer.orders("").await.expect(200).items().len(), 1);
}

async fn lock_expires_on_time_after_a_panic(store: Backend) {
    let settings = [("GITTIX_PAYMENT_WINDOW", "2s"), ("GITTIX_LOCK_DURATION", "3s")];
    let (app, seller, ticket) = start_with_panicking_ticket(store, "1*off->1*", &settings).await;
    let buyer = app.user().await;
    let mut socket = buyer.socket().await;
    let order = buyer.place_order(&ticket).await.expect(201);
    // The timers of the actor are lost with the panic.
    seller.edit_ticket(&ticket, "Fragile", 30).await;
    buyer.pay(&order.id(), "pm_card_chargeDeclined").await;
    wait_for_panics(&app, 1).await;
    let frame = socket.ticket(&ticket, "Available").await;
    let lag = millis(&frame["at"]) - millis(&order["unlocksAt"]);
    assert!((0..=1_000).contains(&lag), "{lag} ms: {frame}");
    assert_eq!(buyer.order(&order.id()).await.expect(200)["cancelReason"], "expired");
}

async fn panic_does_not_affect_other_tickets(store: Backend) {
    let (app, seller, panicking) = start_with_panicking_ticket(store, "", &[]).await;
    let (buyer, other) = (app.user().await, app.user().await);
    let order = other.locks(&seller.sells("Sound").await).await;
    for _ in 0..20 {
        let answer = buyer.place_order(&panicking).await;
        assert_eq!(answer.status, 503, "{answer:?}");
    }
    assert_eq!(other.pay(&order, "pm_card_visa").await.expect(201)["status"], json!("Completed"));
    buyer.locks(&seller.sells("Another").await).await;
}

async fn ticket_that_panics_repeatedly_answers_503_and_recovers(store: Backend) {
    let (app, _, ticket) = start_with_panicking_ticket(store, "3*", &[]).await;
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
        assert!(refused < 100, "the ticket does not recover");
        // A correct client waits for `Retry-After`.
        tokio::time::sleep(Duration::from_secs(wait.unwrap_or(1))).await;
    }
    assert_eq!(buyer.orders("").await.expect(200).items().len(), 1);
}
