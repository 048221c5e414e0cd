//! Faults in the middle of a commit, by mongod's `failCommand`: the answer is right, and nothing is ever written twice.

use std::time::Duration;

use bson::{Document, doc};
use gittix::{
    domain::invariants,
    store::{CommitError, Store, mongo::MongoStore},
};
use tokio::time::Instant;

use super::world::{Fault, World, lock_commit, on_sale, signed_up, ticket_commit};

/// Commits a lock while `data` applies, and expects it to be there exactly once.
async fn written_once_despite(app: &str, times: i32, data: Document) {
    let world = World::new().await;
    let store = world.store_named(app).await;
    let buyer = signed_up(&*store).await;
    let ticket = on_sale(&*store).await;
    let (order, lock) = lock_commit(&ticket, buyer.id);
    let fault = Fault::set(&world, app, doc! { "times": times }, data).await;
    assert_eq!(store.commit(lock).await, Ok(()));
    fault.heal().await;
    assert_stored_once(&store).await;
    assert!(store.order(order).await.expect("a read").is_some());
    world.drop_database().await;
}

async fn assert_stored_once(store: &MongoStore) {
    let (stored, told) = store.dump().await.expect("a dump");
    assert_eq!(invariants::one_order_per_ticket(&stored), Ok(()));
    assert_eq!(invariants::slots_match_locks(&stored), Ok(()));
    assert_eq!(invariants::events_match_changes(&stored, &told), Ok(()));
}

#[tokio::test]
async fn a_connection_that_closes_at_the_commit() {
    let data = doc! { "failCommands": ["commitTransaction"], "closeConnection": true };
    written_once_despite("closed-at-commit", 5, data).await;
}

#[tokio::test]
async fn a_commit_that_is_done_but_reported_as_unknown() {
    let error = doc! { "code": 64, "codeName": "WriteConcernFailed", "errmsg": "waiting for replication timed out" };
    let data = doc! { "failCommands": ["commitTransaction"], "writeConcernError": error };
    written_once_despite("done-but-unknown", 3, data).await;
}

#[tokio::test]
async fn a_primary_that_steps_down_at_the_commit() {
    let data = doc! { "failCommands": ["commitTransaction"], "errorCode": 11602 };
    written_once_despite("stepped-down", 3, data).await;
}

#[tokio::test]
async fn a_write_conflict_at_the_commit() {
    let data = doc! { "failCommands": ["commitTransaction"], "errorCode": 112, "errorLabels": ["TransientTransactionError"] };
    written_once_despite("conflict-at-commit", 3, data).await;
}

#[tokio::test]
async fn a_write_conflict_at_a_statement() {
    let data = doc! { "failCommands": ["update"], "errorCode": 112, "errorLabels": ["TransientTransactionError"] };
    written_once_despite("conflict-at-update", 5, data).await;
}

#[tokio::test]
async fn a_connection_that_closes_at_a_statement() {
    let data = doc! { "failCommands": ["insert"], "closeConnection": true };
    written_once_despite("closed-at-insert", 2, data).await;
}

#[tokio::test]
async fn an_answer_to_the_commit_that_comes_too_late() {
    // Longer than one answer is waited for: the command is sent again while the first one is still under way.
    let data = doc! { "failCommands": ["commitTransaction"], "blockConnection": true, "blockTimeMS": 2500 };
    written_once_despite("late-at-commit", 1, data).await;
}

#[tokio::test]
async fn a_commit_that_stays_without_an_answer_has_an_unknown_outcome_within_its_deadline() {
    let world = World::new().await;
    let store = world.store_named("never-commits").await;
    let (ticket, commit) = ticket_commit();
    let data = doc! { "failCommands": ["commitTransaction"], "closeConnection": true };
    let fault = Fault::set(&world, "never-commits", "alwaysOn", data).await;
    let asked = Instant::now();
    let answer = store.commit(commit.clone()).await;
    assert!(matches!(answer, Err(CommitError::OutcomeUnknown(_))), "{answer:?}");
    assert!(asked.elapsed() < Duration::from_secs(7), "{:?}", asked.elapsed());
    fault.heal().await;
    // Whatever became of it: the same again is either the first time, or stale.
    let again = store.commit(commit).await;
    assert!(matches!(again, Ok(()) | Err(CommitError::Stale)), "{again:?}");
    assert_eq!(store.ticket(ticket.id).await.expect("a read"), Some(ticket));
    assert_stored_once(&store).await;
    world.drop_database().await;
}

#[tokio::test]
async fn a_statement_that_hangs_is_given_up_for_another_attempt_and_is_never_committed_later() {
    let world = World::new().await;
    let store = world.store_named("hangs-once").await;
    let (ticket, commit) = ticket_commit();
    let data = doc! { "failCommands": ["insert"], "blockConnection": true, "blockTimeMS": 4000 };
    let fault = Fault::set(&world, "hangs-once", doc! { "times": 1 }, data).await;
    let asked = Instant::now();
    assert_eq!(store.commit(commit.clone()).await, Ok(()));
    assert!(asked.elapsed() < Duration::from_millis(3500), "{:?}: it waited for the one that hangs", asked.elapsed());
    fault.heal().await;
    // The first attempt finds its tongue again, and that it was given up.
    tokio::time::sleep_until(asked + Duration::from_millis(4500)).await;
    assert_eq!(store.commit(commit).await, Err(CommitError::Stale));
    assert_eq!(store.ticket(ticket.id).await.expect("a read"), Some(ticket));
    assert_stored_once(&store).await;
    world.drop_database().await;
}

#[tokio::test]
async fn statements_that_always_hang_are_unavailable_within_the_deadline_and_are_never_committed_later() {
    let world = World::new().await;
    let store = world.store_named("hangs").await;
    let (ticket, commit) = ticket_commit();
    let data = doc! { "failCommands": ["insert"], "blockConnection": true, "blockTimeMS": 6000 };
    let fault = Fault::set(&world, "hangs", "alwaysOn", data).await;
    let asked = Instant::now();
    let answer = store.commit(commit.clone()).await;
    assert!(matches!(answer, Err(CommitError::Unavailable(_))), "{answer:?}");
    assert!(asked.elapsed() < Duration::from_secs(7), "{:?}", asked.elapsed());
    fault.heal().await;
    // If an abandoned transaction were ever committed, this one would be stale; it has to wait for its end at most.
    assert_eq!(store.commit(commit).await, Ok(()));
    assert_eq!(store.ticket(ticket.id).await.expect("a read"), Some(ticket));
    assert_stored_once(&store).await;
    world.drop_database().await;
}

#[tokio::test]
async fn a_database_that_always_conflicts_is_unavailable_and_nothing_is_written() {
    let world = World::new().await;
    let store = world.store_named("always-conflicts").await;
    let (ticket, commit) = ticket_commit();
    let data = doc! { "failCommands": ["insert"], "errorCode": 112, "errorLabels": ["TransientTransactionError"] };
    let fault = Fault::set(&world, "always-conflicts", "alwaysOn", data).await;
    let answer = store.commit(commit).await;
    assert!(matches!(answer, Err(CommitError::Unavailable(_))), "{answer:?}");
    fault.heal().await;
    assert_eq!(store.ticket(ticket.id).await.expect("a read"), None);
    world.drop_database().await;
}

#[tokio::test]
async fn a_read_that_hangs_is_unavailable_not_absent() {
    let world = World::new().await;
    let store = world.store_named("slow-reads").await;
    let ticket = on_sale(&*store).await;
    let data = doc! { "failCommands": ["find"], "blockConnection": true, "blockTimeMS": 3000 };
    let fault = Fault::set(&world, "slow-reads", doc! { "times": 1 }, data).await;
    let answer = store.ticket(ticket.id).await;
    assert!(answer.is_err(), "{answer:?}");
    fault.heal().await;
    assert_eq!(store.ticket(ticket.id).await.expect("a read"), Some(ticket));
    world.drop_database().await;
}
