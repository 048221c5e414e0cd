//! Tests of timers: what happens at `expiresAt` and at `unlocksAt` without a request.

use std::time::Duration;

use super::*;

#[actix::test]
async fn unpaid_order_is_cancelled_at_expires_at_and_its_ticket_is_free_at_unlocks_at() {
    let mut market = Market::open().await;
    let ticket = market.ticket().await;
    let order = market.lock(ticket.id, 0).await.expect("locked");
    market.advance_to(order.expires_at - Millis(5)).await;
    assert_eq!(market.new_event_names(), ["TicketCreated", "TicketUpdated", "OrderCreated"]);

    market.advance_to(order.expires_at + Millis(50)).await;
    assert_eq!(market.new_event_names(), ["OrderExpired"]);
    assert_eq!(
        market.status(ticket.id).await,
        Some(TicketStatus::Locked),
        "the ticket stays Locked"
    );
    assert!(matches!(
        market.lock(ticket.id, 1).await,
        Err(ActorError::Refused(Refusal::TicketLocked))
    ));
    assert!(matches!(
        market.pay(order.id, 0, "pm_card_visa").await,
        Err(ActorError::Refused(Refusal::OrderExpired))
    ));

    market.advance_to(order.unlocks_at + Millis(50)).await;
    assert_eq!(market.new_event_names(), ["TicketUpdated"]);
    let next = market.lock(ticket.id, 1).await.expect("free again");
    assert_eq!(next.created_at, market.clock.now());
    market.check_invariants().await;
}

#[actix::test]
async fn locks_of_an_earlier_process_are_released_on_time() {
    let first = Market::open().await;
    let ticket = first.ticket().await;
    let order = first.lock(ticket.id, 0).await.expect("locked");

    // Another process with the same replica name and the same store. No request concerns the
    // ticket.
    let second = Market::with_store(Arc::clone(&first.store), first.sandbox.clone()).await;
    second.advance_to(order.unlocks_at + Millis(50)).await;
    assert_eq!(second.status(ticket.id).await, Some(TicketStatus::Available));
    second.check_invariants().await;
}

#[actix::test]
async fn thousand_simultaneous_buyers_get_one_order() {
    let mut market = Market::open().await;
    let ticket = market.ticket().await;
    let mut buyers = Vec::new();
    for n in 0..1000 {
        buyers.push(market.user(&format!("buyer{n}")).await);
    }
    market.buyers = buyers;
    let attempts =
        futures_util::future::join_all((0..1000).map(|buyer| market.lock(ticket.id, buyer))).await;
    let granted = attempts.iter().filter(|attempt| attempt.is_ok()).count();
    let refused = attempts
        .iter()
        .filter(|attempt| matches!(attempt, Err(ActorError::Refused(Refusal::TicketLocked))))
        .count();
    assert_eq!((granted, refused), (1, 999));
    market.check_invariants().await;
}

#[actix::test]
async fn fifth_lock_is_refused_until_one_is_cancelled() {
    let market = Market::open().await;
    let mut orders = Vec::new();
    for _ in 0..4 {
        orders.push(market.lock(market.ticket().await.id, 0).await.expect("locked"));
    }
    let fifth = market.ticket().await;
    assert!(matches!(
        market.lock(fifth.id, 0).await,
        Err(ActorError::Refused(Refusal::TooManyLocks { .. }))
    ));
    assert_eq!(
        market.status(fifth.id).await,
        Some(TicketStatus::Available),
        "a refused lock changes nothing"
    );
    market.actors.orders.cancel(orders[0].id, market.buyers[0], None).await.expect("cancelled");
    market.lock(fifth.id, 0).await.expect("the buyer has three locks");
    market.check_invariants().await;
}

/// Waits for two measurements of the store's time.
async fn measured_twice(market: &Market) {
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    market.run_pending_tasks().await;
}

/// Advances the local monotonic clock by `wait`, independently of the store's time.
async fn elapse(market: &Market, wait: Millis) {
    tokio::time::sleep(wait.to_duration()).await;
    market.run_pending_tasks().await;
}

#[actix::test]
async fn lock_granted_by_a_fast_clock_ends_after_its_duration_when_the_clock_is_corrected() {
    let market = Market::open().await;
    let ticket = market.ticket().await;
    let ahead = Millis::from_mins(2);
    market.store.step_time(ahead);
    measured_twice(&market).await;
    let granted_at = tokio::time::Instant::now();
    let order = market.lock(ticket.id, 0).await.expect("locked");
    let duration = order.unlocks_at - order.created_at;

    market.store.step_time(Millis(-ahead.0));
    measured_twice(&market).await;
    assert!(market.clock.now() < order.created_at, "the clock was corrected");
    elapse(&market, Millis(duration.0 - Millis::from(granted_at.elapsed()).0 - 1_000)).await;
    assert_eq!(
        market.status(ticket.id).await,
        Some(TicketStatus::Locked),
        "the lock lasts its whole duration"
    );
    elapse(&market, Millis(1_050)).await;
    assert_eq!(market.status(ticket.id).await, Some(TicketStatus::Available));
    market.lock(ticket.id, 1).await.expect("free again");
}

#[actix::test]
async fn payment_after_the_elapsed_window_is_refused_when_the_clock_was_corrected() {
    let market = Market::open().await;
    let ticket = market.ticket().await;
    market.store.step_time(Millis::from_mins(2));
    measured_twice(&market).await;
    let order = market.lock(ticket.id, 0).await.expect("locked");
    market.store.step_time(Millis::from_mins(-2));
    elapse(&market, Millis((order.expires_at - order.created_at).0 - 1_000)).await;
    assert_eq!(
        market.store.order(order.id).await.expect("read").map(|order| order.status()),
        Some(OrderStatus::Created)
    );
    elapse(&market, Millis::from_secs(2)).await;
    assert!(market.clock.now() < order.expires_at, "by the store's time, the window is open");
    assert!(matches!(
        market.pay(order.id, 0, "pm_card_visa").await,
        Err(ActorError::Refused(Refusal::OrderExpired))
    ));
}

#[actix::test]
async fn overdue_lock_ends_within_5_s_when_the_clock_steps_forward() {
    let market = Market::open().await;
    let ticket = market.ticket().await;
    market.lock(ticket.id, 0).await.expect("locked");
    measured_twice(&market).await;
    // The same as after a suspension of an hour, which the monotonic clock does not count.
    market.store.step_time(Millis::from_mins(60));
    elapse(&market, Millis(1_100)).await;
    assert!(!market.clock.is_sound(), "not ready during 5 s after the step");
    elapse(&market, Millis(3_900)).await;
    assert_eq!(market.status(ticket.id).await, Some(TicketStatus::Available));
    elapse(&market, Clock::STEP_SETTLES).await;
    assert!(market.clock.is_sound());
    market.check_invariants().await;
}

#[actix::test]
async fn next_buyer_gets_the_ticket_when_the_first_has_too_many_locks() {
    let market = Market::open().await;
    for _ in 0..4 {
        market.lock(market.ticket().await.id, 0).await.expect("locked");
    }
    let ticket = market.ticket().await;
    let (first, second, third) = tokio::join!(
        market.lock(ticket.id, 0),
        market.lock(ticket.id, 1),
        market.lock(ticket.id, 2)
    );
    assert!(matches!(first, Err(ActorError::Refused(Refusal::TooManyLocks { .. }))), "{first:?}");
    second.expect("the ticket is free, so the next buyer gets it");
    assert!(matches!(third, Err(ActorError::Refused(Refusal::TicketLocked))), "{third:?}");
    market.check_invariants().await;
}
