//! Tests of payments, from the token to the sold ticket, or to the reversal when they are too late.

use super::*;
use crate::domain::{ChargeStatus, FailureCode};

#[actix::test]
async fn paid_order_sells_its_ticket_in_one_commit() {
    let mut market = Market::open().await;
    let ticket = market.ticket().await;
    let order = market.lock(ticket.id, 0).await.expect("locked");
    market.new_event_names();
    let paid = market.pay(order.id, 0, "pm_card_visa").await.expect("paid");
    assert_eq!(paid.charge.status(), ChargeStatus::Completed);
    assert_eq!(market.new_event_names(), ["ChargeCreated", "ChargeCompleted", "TicketUpdated"]);
    assert_eq!(market.status(ticket.id).await, Some(TicketStatus::Sold));
    assert!(matches!(
        market.lock(ticket.id, 1).await,
        Err(ActorError::Refused(Refusal::TicketSold))
    ));
    assert!(matches!(
        market.pay(order.id, 0, "pm_card_visa").await,
        Err(ActorError::Refused(Refusal::OrderCompleted))
    ));
    assert!(matches!(
        market.actors.orders.cancel(order.id, market.buyers[0], None).await,
        Err(ActorError::Refused(Refusal::OrderCompleted))
    ));
    market.check_invariants().await;
}

#[actix::test]
async fn order_with_a_declined_payment_accepts_another_card_after_expires_at() {
    let market = Market::open().await;
    let ticket = market.ticket().await;
    let order = market.lock(ticket.id, 0).await.expect("locked");
    let declined = market.pay(order.id, 0, "pm_card_chargeDeclined").await.expect("an answer");
    assert_eq!(declined.charge.status(), ChargeStatus::Failed);
    market.advance_to(order.expires_at + Millis::from_mins(1)).await;
    let paid = market.pay(order.id, 0, "tok_visa").await.expect("paid");
    assert_eq!(paid.charge.status(), ChargeStatus::Completed);
    market.check_invariants().await;
}

#[actix::test]
async fn unknown_token_leaves_the_order_unpaid() {
    let market = Market::open().await;
    let ticket = market.ticket().await;
    let order = market.lock(ticket.id, 0).await.expect("locked");
    assert!(matches!(
        market.pay(order.id, 0, "pm_card_nobody").await,
        Err(ActorError::UnknownToken)
    ));
    assert_eq!(
        market.actors.orders.get(order.id, market.buyers[0]).await.expect("there").status(),
        OrderStatus::Created
    );
    market.advance_to(order.expires_at + Millis(50)).await;
    assert_eq!(
        market.actors.orders.get(order.id, market.buyers[0]).await.expect("there").status(),
        OrderStatus::Cancelled
    );
}

#[actix::test]
async fn charge_that_waits_for_its_buyer_is_completed_by_confirmation() {
    let market = Market::open().await;
    let ticket = market.ticket().await;
    let order = market.lock(ticket.id, 0).await.expect("locked");
    let waiting =
        market.pay(order.id, 0, "pm_card_authenticationRequired").await.expect("an answer");
    assert_eq!(waiting.charge.status(), ChargeStatus::Created);
    assert!(waiting.client_secret.is_some());
    let again =
        market.pay(order.id, 0, "pm_card_authenticationRequired").await.expect("the same answer");
    assert_eq!((again.charge.id, again.client_secret), (waiting.charge.id, waiting.client_secret));
    let confirmed = market
        .actors
        .orders
        .confirm(waiting.charge.id, market.buyers[0], None)
        .await
        .expect("confirmed");
    assert_eq!(confirmed.charge.status(), ChargeStatus::Completed);
    market.check_invariants().await;
}

#[actix::test]
async fn charge_that_waits_until_unlocks_at_is_voided_and_its_ticket_is_free() {
    let mut market = Market::open().await;
    let ticket = market.ticket().await;
    let order = market.lock(ticket.id, 0).await.expect("locked");
    let waiting =
        market.pay(order.id, 0, "pm_card_authenticationRequired").await.expect("an answer");
    market.new_event_names();
    market.advance_to(order.unlocks_at + Millis(500)).await;
    assert_eq!(market.new_event_names(), ["OrderExpired", "TicketUpdated", "ChargeFailed"]);
    let charge = market
        .actors
        .orders
        .charge(waiting.charge.id, market.buyers[0])
        .await
        .expect("there")
        .charge;
    assert_eq!(charge.failure().map(|failure| &failure.code), Some(&FailureCode::LockLost));
    market.check_invariants().await;
}

#[actix::test]
async fn capture_in_progress_at_unlocks_at_keeps_the_lock_during_the_grace() {
    let mut market = Market::open().await;
    let ticket = market.ticket().await;
    let order = market.lock(ticket.id, 0).await.expect("locked");
    market.pay(order.id, 0, "pm_card_chargeDeclined").await.expect("an answer");
    // The payment is authorized in time, and its capture takes longer than the lock.
    market.advance_to(order.unlocks_at - Millis::from_secs(10)).await;
    market.new_event_names();
    let (actors, buyer) = (market.actors.clone(), market.buyers[0]);
    let token = PaymentToken::parse("tok_gittix_capture_slow_60s").expect("shaped like a token");
    let paying = actix::spawn(async move { actors.orders.pay(order.id, buyer, token, None).await });
    market.advance_to(order.unlocks_at + Millis::from_secs(30)).await;
    assert_eq!(
        market.status(ticket.id).await,
        Some(TicketStatus::Locked),
        "a capture in progress keeps the lock"
    );
    let answered = paying.await.expect("the task does not panic").expect("an answer");
    assert_eq!(
        answered.charge.status(),
        ChargeStatus::Created,
        "the answer says that the charge is not final"
    );
    market.advance_to(order.unlocks_at + Millis::from_secs(90)).await;
    assert_eq!(
        market.status(ticket.id).await,
        Some(TicketStatus::Sold),
        "the payment was captured within the grace"
    );
    market.check_invariants().await;
}

#[actix::test]
async fn order_cancelled_while_its_charge_waits_voids_the_charge_and_frees_the_ticket() {
    let mut market = Market::open().await;
    let ticket = market.ticket().await;
    let order = market.lock(ticket.id, 0).await.expect("locked");
    market.pay(order.id, 0, "pm_card_authenticationRequired").await.expect("an answer");
    market.new_event_names();
    market.actors.orders.cancel(order.id, market.buyers[0], None).await.expect("cancelled");
    market.run_pending_tasks().await;
    assert_eq!(market.new_event_names(), ["OrderCancelled", "TicketUpdated", "ChargeFailed"]);
    market.lock(ticket.id, 1).await.expect("free at once");
    assert!(matches!(
        market.pay(order.id, 0, "pm_card_visa").await,
        Err(ActorError::Refused(Refusal::OrderNotPayable))
    ));
    market.check_invariants().await;
}
