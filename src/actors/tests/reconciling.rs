//! Tests of changes without a request: buyers who acted, banks that declined, attempts that timed
//! out, webhook events in any order.

use super::*;
use crate::{
    actors::WebhookOutcome,
    domain::{Charge, ChargeFailure, ChargeStatus, PaymentId},
    payments::{Authorization, PaymentState, Processor},
};

/// Returns the ticket, the charge and the payment of an order that was paid with `token`.
async fn waiting(market: &Market, token: &str) -> (Ticket, Charge, PaymentId) {
    let ticket = market.ticket().await;
    let order = market.lock(ticket.id, 0).await.expect("locked");
    let charge = market.pay(order.id, 0, token).await.expect("an answer").charge;
    let payment = charge.payment().cloned().expect("the payment was opened");
    (ticket, charge, payment)
}

async fn stored(market: &Market, charge: &Charge) -> Charge {
    market.store.charge(charge.id).await.expect("readable").expect("there")
}

fn in_secs(market: &Market, secs: i64) -> Timestamp {
    market.clock.now() + Millis::from_secs(secs)
}

#[actix::test]
async fn buyer_who_acted_without_confirming_gets_the_ticket() {
    let market = Market::open().await;
    let (ticket, charge, payment) = waiting(&market, "pm_card_authenticationRequired").await;
    assert_eq!(market.sandbox.resume(&charge, &payment).await, Ok(Authorization::Authorized));
    market.advance_to(in_secs(&market, 20)).await;
    assert_eq!(
        market.status(ticket.id).await,
        Some(TicketStatus::Locked),
        "the processor was not asked yet"
    );
    market.advance_to(in_secs(&market, 25)).await;
    assert_eq!(market.status(ticket.id).await, Some(TicketStatus::Sold));
    market.check_invariants().await;
}

#[actix::test]
async fn charge_that_the_bank_declined_fails_and_another_card_is_accepted() {
    let market = Market::open().await;
    let (ticket, charge, payment) =
        waiting(&market, "pm_card_threeDSecureRequiredChargeDeclined").await;
    assert!(matches!(
        market.sandbox.resume(&charge, &payment).await,
        Ok(Authorization::Declined { .. })
    ));
    market.advance_to(in_secs(&market, 45)).await;
    let failed = stored(&market, &charge).await;
    assert_eq!(
        (failed.status(), failed.failure().map(|failure| failure.code.as_str())),
        (ChargeStatus::Failed, Some("generic_decline"))
    );
    assert_eq!(
        market.sandbox.fetch(&charge, &payment).await,
        Ok(PaymentState::Voided),
        "the buyer cannot authorize it any more"
    );
    let paid = market.pay(charge.order, 0, "pm_card_visa").await.expect("paid");
    assert_eq!(
        (paid.charge.status(), market.status(ticket.id).await),
        (ChargeStatus::Completed, Some(TicketStatus::Sold))
    );
    market.check_invariants().await;
}

#[actix::test]
async fn attempt_that_takes_too_long_is_interrupted_and_voided() {
    let market = Market::open().await;
    let ticket = market.ticket().await;
    let order = market.lock(ticket.id, 0).await.expect("locked");
    let slow = market.pay(order.id, 0, "tok_gittix_slow_60s").await.expect("an answer").charge;
    assert_eq!(
        slow.status(),
        ChargeStatus::Created,
        "the answer says that the charge is not final"
    );
    market.advance_to(in_secs(&market, 15)).await;
    let failed = stored(&market, &slow).await;
    assert_eq!(failed.failure(), Some(&ChargeFailure::interrupted()));
    market.advance_to(in_secs(&market, 60)).await;
    let payment = failed.payment().cloned().expect("the payment was opened");
    assert_eq!(
        market.sandbox.fetch(&slow, &payment).await,
        Ok(PaymentState::Voided),
        "the payment was not authorized later"
    );
    market.pay(order.id, 0, "pm_card_visa").await.expect("paid");
    market.check_invariants().await;
}

#[actix::test]
async fn webhook_event_advances_its_charge_once() {
    let mut market = Market::open().await;
    let (ticket, charge, payment) = waiting(&market, "pm_card_authenticationRequired").await;
    market.new_event_names();
    let process = async |event: &str| {
        market
            .actors
            .webhooks
            .process(event.into(), payment.clone())
            .await
            .expect("the event is handled")
    };
    assert_eq!(process("evt_early").await, WebhookOutcome::Handled);
    assert_eq!(
        stored(&market, &charge).await.status(),
        ChargeStatus::Created,
        "the buyer has not acted yet"
    );
    market.sandbox.resume(&charge, &payment).await.expect("the buyer has acted");
    assert_eq!(process("evt_early").await, WebhookOutcome::Duplicate);
    assert_eq!(process("evt_late").await, WebhookOutcome::Handled);
    assert_eq!(process("evt_late").await, WebhookOutcome::Duplicate);
    assert_eq!(process("evt_later").await, WebhookOutcome::Handled, "the charge is final already");
    assert_eq!(market.new_event_names(), ["ChargeCompleted", "TicketUpdated"]);
    assert_eq!(market.status(ticket.id).await, Some(TicketStatus::Sold));
    let unknown = market
        .actors
        .webhooks
        .process("evt_other".into(), PaymentId::new("pi_of_another_shop"))
        .await;
    assert!(matches!(unknown, Ok(WebhookOutcome::Unknown)), "{unknown:?}");
    market.check_invariants().await;
}

/// Stripe sends an event as soon as a payment is created. If the payment were read then, the
/// attempt, which still runs, would fail.
#[actix::test]
async fn webhook_event_during_an_attempt_does_not_interrupt_it() {
    let market = Market::open().await;
    let ticket = market.ticket().await;
    let order = market.lock(ticket.id, 0).await.expect("locked");
    let (actors, buyer) = (market.actors.clone(), market.buyers[0]);
    let token = PaymentToken::parse("tok_gittix_slow_5s").expect("shaped like a token");
    let paying = actix::spawn(async move { actors.orders.pay(order.id, buyer, token, None).await });
    market.advance_to(in_secs(&market, 2)).await;
    let charges = market.store.charges_of(order.id).await.expect("readable");
    let payment = market.sandbox.open(&charges[0]).await.expect("the payment was opened");
    assert!(matches!(
        market.actors.webhooks.process("evt_1".into(), payment).await,
        Ok(WebhookOutcome::Handled)
    ));
    let paid = paying.await.expect("the task does not panic").expect("an answer");
    assert_eq!(paid.charge.status(), ChargeStatus::Completed);
    market.check_invariants().await;
}

#[actix::test]
async fn payment_authorized_after_its_charge_failed_is_voided() {
    let market = Market::open().await;
    let (_, charge, payment) = waiting(&market, "pm_card_chargeDeclined").await;
    assert_eq!(charge.status(), ChargeStatus::Failed);
    let token = PaymentToken::parse("pm_card_visa").expect("shaped like a token");
    assert_eq!(
        market.sandbox.authorize(&charge, &payment, &token).await,
        Ok(Authorization::Authorized)
    );
    assert!(matches!(
        market.actors.webhooks.process("evt_1".into(), payment.clone()).await,
        Ok(WebhookOutcome::Handled)
    ));
    assert_eq!(market.sandbox.fetch(&charge, &payment).await, Ok(PaymentState::Voided));
    market.check_invariants().await;
}
