//! Panics, retirement, and commits without an outcome.
//!
//! A failpoint is armed for a whole process, so each test that arms one runs in a process of its own.

use uuid::Uuid;

use super::*;
use crate::{domain::decide, store::Commit};

/// Whether this is the process that belongs to the test of this name alone; if not, starts it and waits for its verdict.
#[cfg(feature = "failpoints")]
fn alone(test: &str) -> bool {
    const MARK: &str = "GITTIX_TEST_ALONE";
    if std::env::var_os(MARK).is_some() {
        return true;
    }
    let program = std::env::current_exe().expect("a running program has a file");
    let name = format!("actors::tests::faults::{test}");
    let run = std::process::Command::new(program).args(["--exact", &name, "--nocapture"]).env(MARK, "1").output().expect("it starts");
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&run.stderr));
    false
}

#[actix::test]
async fn an_idle_ticket_actor_retires_and_the_next_command_finds_the_same_state() {
    let market = Market::open().await;
    let ticket = market.ticket().await;
    let order = market.lock(ticket.id, 0).await.expect("locked");
    market.actors.orders.cancel(order.id, market.buyers[0], None).await.expect("cancelled");
    market.until(market.clock.now() + Millis::from_mins(2)).await;
    assert_eq!(market.actors.tickets.actors_alive().await, 0, "nobody holds a lock, so nobody needs to be there");
    let again = market.lock(ticket.id, 1).await.expect("locked");
    assert_eq!(again.ticket.version, 3, "locked, freed, locked");
}

#[cfg(feature = "failpoints")]
#[actix::test]
async fn a_ticket_actor_that_panics_is_started_anew_and_its_lock_lapses_on_time() {
    if !alone("a_ticket_actor_that_panics_is_started_anew_and_its_lock_lapses_on_time") {
        return;
    }
    let market = Market::open().await;
    let (ticket, other) = (market.ticket().await, market.ticket().await);
    let order = market.lock(ticket.id, 0).await.expect("locked");
    market.lock(other.id, 1).await.expect("locked");

    fail::cfg("ticket_actor::handle", &format!("1*return({})->off", ticket.id)).expect("a valid action");
    let seller_edit = |id| {
        let title = Title::parse("Back row").expect("a title");
        market.actors.tickets.edit(id, market.seller, title, Money::from_minor(100).expect("a price"), None, None)
    };
    assert!(matches!(seller_edit(ticket.id).await, Err(ActorError::OutcomeUnknown)), "whoever it had in hand learns that nothing is known");
    assert!(matches!(seller_edit(ticket.id).await, Err(ActorError::Refused(Refusal::TicketLocked))), "the next one is served");
    assert!(matches!(seller_edit(other.id).await, Err(ActorError::Refused(Refusal::TicketLocked))), "the others never notice");

    market.until(order.unlocks_at + Millis(50)).await;
    assert_eq!(market.status(ticket.id).await, Some(TicketStatus::Available), "its lock lapsed on time");
    market.check().await;
}

#[cfg(feature = "failpoints")]
#[actix::test]
async fn a_panic_in_the_rules_costs_one_answer() {
    if !alone("a_panic_in_the_rules_costs_one_answer") {
        return;
    }
    let market = Market::open().await;
    let ticket = market.ticket().await;
    fail::cfg("ticket_actor::decide", "1*panic(as the test wants)->off").expect("a valid action");
    assert!(matches!(market.lock(ticket.id, 0).await, Err(ActorError::Busy(_))));
    market.lock(ticket.id, 0).await.expect("the actor is still there");
    market.check().await;
}

#[cfg(feature = "failpoints")]
#[actix::test]
async fn a_commit_without_an_outcome_is_fenced_off_before_anything_else_is_decided() {
    if !alone("a_commit_without_an_outcome_is_fenced_off_before_anything_else_is_decided") {
        return;
    }
    let mut market = Market::open().await;
    let ticket = market.ticket().await;
    market.told();
    fail::cfg("store::after_commit", "1*return->off").expect("a valid action");
    assert!(matches!(market.lock(ticket.id, 0).await, Err(ActorError::OutcomeUnknown)));
    market.settle().await;
    assert_eq!(market.told(), ["TicketUpdated", "OrderCreated", "TicketUpdated"], "the lock, and the fence over it");
    assert!(matches!(market.lock(ticket.id, 1).await, Err(ActorError::Refused(Refusal::TicketLocked))), "it had been written");
    market.check().await;
}

#[cfg(feature = "failpoints")]
#[actix::test]
async fn a_release_that_the_store_does_not_take_is_tried_until_it_does() {
    if !alone("a_release_that_the_store_does_not_take_is_tried_until_it_does") {
        return;
    }
    let market = Market::open().await;
    let ticket = market.ticket().await;
    let order = market.lock(ticket.id, 0).await.expect("locked");
    market.until(order.unlocks_at - Millis::from_secs(1)).await;
    fail::cfg("store::before_commit", "return").expect("a valid action");
    market.until(order.unlocks_at + Millis::from_secs(1)).await;
    assert_eq!(market.status(ticket.id).await, Some(TicketStatus::Locked));
    fail::remove("store::before_commit");
    market.until(order.unlocks_at + Millis::from_secs(2)).await;
    assert_eq!(market.status(ticket.id).await, Some(TicketStatus::Available));
    market.check().await;
}

#[actix::test]
async fn a_ticket_that_was_not_there_is_found_once_it_is() {
    let market = Market::open().await;
    let id = TicketId::new(Uuid::now_v7());
    assert!(matches!(market.lock(id, 0).await, Err(ActorError::Refused(Refusal::NotFound))));
    // As on a replica that was told so by a member of MongoDB that is behind the others.
    let (title, price) = (Title::parse("Front row").expect("a title"), Money::from_minor(100).expect("a price"));
    let decision = decide::list_ticket(id, market.seller, title, price, market.clock.now());
    market.store.commit(Commit::of(decision, market.clock.now())).await.expect("a new ticket");
    market.lock(id, 0).await.expect("it is there now");
    market.check().await;
}
