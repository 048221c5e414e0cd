//! Timers: what happens at `expiresAt` and at `unlocksAt`, without anybody asking.

use super::*;

#[actix::test]
async fn an_unpaid_order_lapses_at_expires_at_and_its_ticket_is_free_at_unlocks_at() {
    let mut market = Market::open().await;
    let ticket = market.ticket().await;
    let order = market.lock(ticket.id, 0).await.expect("locked");
    market.until(order.expires_at - Millis(5)).await;
    assert_eq!(market.told(), ["TicketCreated", "TicketUpdated", "OrderCreated"]);

    market.until(order.expires_at + Millis(50)).await;
    assert_eq!(market.told(), ["OrderExpired"]);
    assert_eq!(market.status(ticket.id).await, Some(TicketStatus::Locked), "the ticket stays Locked");
    assert!(matches!(market.lock(ticket.id, 1).await, Err(Fault::Refused(Refusal::TicketLocked))));
    assert!(matches!(market.pay(order.id, 0, "pm_card_visa").await, Err(Fault::Refused(Refusal::OrderExpired))));

    market.until(order.unlocks_at + Millis(50)).await;
    assert_eq!(market.told(), ["TicketUpdated"]);
    let next = market.lock(ticket.id, 1).await.expect("free again");
    assert_eq!(next.created_at, market.clock.now());
    market.check().await;
}

#[actix::test]
async fn locks_of_another_life_are_armed_at_start_and_lapse_on_time() {
    let first = Market::open().await;
    let ticket = first.ticket().await;
    let order = first.lock(ticket.id, 0).await.expect("locked");

    // The same name, the same store, another process: nobody asks it for the ticket.
    let second = Market::over(Arc::clone(&first.store), first.sandbox.clone()).await;
    second.until(order.unlocks_at + Millis(50)).await;
    assert_eq!(second.status(ticket.id).await, Some(TicketStatus::Available));
    second.check().await;
}

#[actix::test]
async fn a_thousand_buyers_get_one_order() {
    let mut market = Market::open().await;
    let ticket = market.ticket().await;
    let mut buyers = Vec::new();
    for n in 0..1000 {
        buyers.push(market.user(&format!("buyer{n}")).await);
    }
    market.buyers = buyers;
    let attempts = futures_util::future::join_all((0..1000).map(|buyer| market.lock(ticket.id, buyer))).await;
    let granted = attempts.iter().filter(|attempt| attempt.is_ok()).count();
    let refused = attempts.iter().filter(|attempt| matches!(attempt, Err(Fault::Refused(Refusal::TicketLocked)))).count();
    assert_eq!((granted, refused), (1, 999));
    market.check().await;
}

#[actix::test]
async fn a_fifth_lock_is_too_many_until_one_is_given_up() {
    let market = Market::open().await;
    let mut orders = Vec::new();
    for _ in 0..4 {
        orders.push(market.lock(market.ticket().await.id, 0).await.expect("locked"));
    }
    let fifth = market.ticket().await;
    assert!(matches!(market.lock(fifth.id, 0).await, Err(Fault::Refused(Refusal::TooManyLocks { .. }))));
    assert_eq!(market.status(fifth.id).await, Some(TicketStatus::Available), "a refused lock leaves nothing behind");
    market.actors.orders.cancel(orders[0].id, market.buyers[0], None).await.expect("cancelled");
    market.lock(fifth.id, 0).await.expect("there is room again");
    market.check().await;
}
