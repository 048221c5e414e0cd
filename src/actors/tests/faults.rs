//! Tests of panics, of idle actors, and of commits with an unknown outcome.
//!
//! A failpoint applies to the whole process, so that each test with a failpoint runs in its own
//! process.

use uuid::Uuid;

use super::*;
use crate::{domain::decide, store::Commit};

/// Returns true in the process that runs this test alone. Otherwise starts that process, checks
/// that the test passes in it, and returns false.
#[cfg(feature = "failpoints")]
fn alone(test: &str) -> bool {
    const MARK: &str = "GITTIX_TEST_ALONE";
    if std::env::var_os(MARK).is_some() {
        return true;
    }
    let program = std::env::current_exe().expect("the test program has a file");
    let name = format!("actors::tests::faults::{test}");
    let run = std::process::Command::new(program)
        .args(["--exact", &name, "--nocapture"])
        .env(MARK, "1")
        .output()
        .expect("the test program starts");
    let output = String::from_utf8_lossy(&run.stdout);
    assert!(
        run.status.success() && output.contains("1 passed"),
        "{output}{}",
        String::from_utf8_lossy(&run.stderr)
    );
    false
}

#[actix::test]
async fn idle_ticket_actor_is_dropped_and_the_next_one_has_the_same_state() {
    let market = Market::open().await;
    let ticket = market.ticket().await;
    let order = market.lock(ticket.id, 0).await.expect("locked");
    market.actors.orders.cancel(order.id, market.buyers[0], None).await.expect("cancelled");
    market.advance_to(market.clock.now() + Millis::from_mins(2)).await;
    assert_eq!(
        market.actors.tickets.actor_count().await,
        0,
        "no ticket is locked, so no actor is needed"
    );
    let again = market.lock(ticket.id, 1).await.expect("locked");
    assert_eq!(again.ticket.version, 3, "locked, released, locked");
}

#[actix::test]
async fn ticket_actor_that_stops_is_started_again_and_its_lock_is_released_on_time() {
    let market = Market::open().await;
    let ticket = market.ticket().await;
    let order = market.lock(ticket.id, 0).await.expect("locked");
    market.actors.tickets.stop_actor(ticket.id).await;
    assert!(
        matches!(market.lock(ticket.id, 1).await, Err(ActorError::Refused(Refusal::TicketLocked))),
        "the actor has read the ticket again"
    );
    market.advance_to(order.unlocks_at + Millis(50)).await;
    assert_eq!(market.status(ticket.id).await, Some(TicketStatus::Available));
    market.lock(ticket.id, 1).await.expect("locked");
    market.check_invariants().await;
}

#[cfg(feature = "failpoints")]
#[actix::test]
async fn ticket_actor_that_panics_is_replaced_and_its_lock_is_released_on_time() {
    if !alone("ticket_actor_that_panics_is_replaced_and_its_lock_is_released_on_time") {
        return;
    }
    let market = Market::open().await;
    let (ticket, other) = (market.ticket().await, market.ticket().await);
    let order = market.lock(ticket.id, 0).await.expect("locked");
    market.lock(other.id, 1).await.expect("locked");

    fail::cfg("ticket_actor::handle", &format!("1*return({})->off", ticket.id))
        .expect("a valid action");
    let seller_edit = |id| {
        market.actors.tickets.edit(
            id,
            market.seller,
            samples::details("Back row"),
            crate::domain::VersionCondition::Any,
            None,
        )
    };
    assert!(
        matches!(seller_edit(ticket.id).await, Err(ActorError::OutcomeUnknown)),
        "the outcome of the request is unknown"
    );
    assert!(
        matches!(seller_edit(ticket.id).await, Err(ActorError::Refused(Refusal::TicketLocked))),
        "the next request is served"
    );
    assert!(
        matches!(seller_edit(other.id).await, Err(ActorError::Refused(Refusal::TicketLocked))),
        "requests for other tickets are served"
    );

    market.advance_to(order.unlocks_at + Millis(50)).await;
    assert_eq!(
        market.status(ticket.id).await,
        Some(TicketStatus::Available),
        "the lock was released on time"
    );
    market.check_invariants().await;
}

#[cfg(feature = "failpoints")]
#[actix::test]
async fn panic_in_the_rules_fails_one_request() {
    if !alone("panic_in_the_rules_fails_one_request") {
        return;
    }
    let market = Market::open().await;
    let ticket = market.ticket().await;
    fail::cfg("ticket_actor::decide", "1*panic(panic of the test)->off").expect("a valid action");
    assert!(matches!(market.lock(ticket.id, 0).await, Err(ActorError::Busy(_))));
    market.lock(ticket.id, 0).await.expect("the actor still runs");
    market.check_invariants().await;
}

#[cfg(feature = "failpoints")]
#[actix::test]
async fn commit_with_an_unknown_outcome_is_fenced_before_the_next_decision() {
    if !alone("commit_with_an_unknown_outcome_is_fenced_before_the_next_decision") {
        return;
    }
    let mut market = Market::open().await;
    let ticket = market.ticket().await;
    market.new_event_names();
    fail::cfg("store::after_commit", "1*return->off").expect("a valid action");
    assert!(matches!(market.lock(ticket.id, 0).await, Err(ActorError::OutcomeUnknown)));
    market.run_pending_tasks().await;
    assert_eq!(
        market.new_event_names(),
        ["TicketUpdated", "OrderCreated", "TicketUpdated"],
        "the lock, and the fence after it"
    );
    assert!(
        matches!(market.lock(ticket.id, 1).await, Err(ActorError::Refused(Refusal::TicketLocked))),
        "the lock was committed"
    );
    market.check_invariants().await;
}

#[cfg(feature = "failpoints")]
#[actix::test]
async fn release_that_the_store_refuses_is_repeated_until_it_succeeds() {
    if !alone("release_that_the_store_refuses_is_repeated_until_it_succeeds") {
        return;
    }
    let market = Market::open().await;
    let ticket = market.ticket().await;
    let order = market.lock(ticket.id, 0).await.expect("locked");
    market.advance_to(order.unlocks_at - Millis::from_secs(1)).await;
    fail::cfg("store::before_commit", "return").expect("a valid action");
    market.advance_to(order.unlocks_at + Millis::from_secs(1)).await;
    assert_eq!(market.status(ticket.id).await, Some(TicketStatus::Locked));
    fail::remove("store::before_commit");
    market.advance_to(order.unlocks_at + Millis::from_secs(2)).await;
    assert_eq!(market.status(ticket.id).await, Some(TicketStatus::Available));
    market.check_invariants().await;
}

#[actix::test]
async fn ticket_that_was_not_found_is_found_after_its_commit() {
    let market = Market::open().await;
    let id = TicketId::new(Uuid::now_v7());
    assert!(matches!(market.lock(id, 0).await, Err(ActorError::Refused(Refusal::NotFound))));
    // The ticket is committed after the actor has read that it does not exist.
    let details = samples::details("Front row");
    let decision = decide::list_ticket(id, market.seller, details, market.clock.now());
    market
        .store
        .commit(Commit::of(decision, market.clock.now()))
        .await
        .expect("the ticket is committed");
    market.lock(id, 0).await.expect("the ticket exists now");
    market.check_invariants().await;
}
