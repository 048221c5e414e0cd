//! Faults during a commit, by mongod's `failCommand`: the answer is correct, and no commit is
//! written twice.

use std::time::Duration;

use bson::{Document, doc};
use gittix::{
    domain::invariants,
    store::{CommitError, Inspect, Store, mongo::MongoStore},
};
use tokio::time::Instant;

use super::world::{Fault, World, lock_commit, on_sale, signed_up, ticket_commit};

/// Commits a lock while the fault `data` applies, and asserts that it is stored exactly once.
async fn assert_written_once_despite(app: &str, times: i32, data: Document) {
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
    let (stored, events) = store.dump().await.expect("a dump");
    assert_eq!(invariants::one_order_per_ticket(&stored), Ok(()));
    assert_eq!(invariants::slots_match_locks(&stored), Ok(()));
    assert_eq!(invariants::events_match_changes(&stored, &events), Ok(()));
}

#[tokio::test]
async fn commit_is_written_once_if_the_connection_closes_at_the_commit() {
    let data = doc! { "failCommands": ["commitTransaction"], "closeConnection": true };
    assert_written_once_despite("closed-at-commit", 5, data).await;
}

#[tokio::test]
async fn commit_is_written_once_if_it_is_reported_as_unknown() {
    let error = doc! { "code": 64, "codeName": "WriteConcernFailed", "errmsg": "waiting for replication timed out" };
    let data = doc! { "failCommands": ["commitTransaction"], "writeConcernError": error };
    assert_written_once_despite("done-but-unknown", 3, data).await;
}

#[tokio::test]
async fn commit_is_written_once_if_the_primary_steps_down_at_the_commit() {
    let data = doc! { "failCommands": ["commitTransaction"], "errorCode": 11602 };
    assert_written_once_despite("stepped-down", 3, data).await;
}

#[tokio::test]
async fn commit_is_written_once_after_a_write_conflict_at_the_commit() {
    let data = doc! { "failCommands": ["commitTransaction"], "errorCode": 112, "errorLabels": ["TransientTransactionError"] };
    assert_written_once_despite("conflict-at-commit", 3, data).await;
}

#[tokio::test]
async fn commit_is_written_once_after_a_write_conflict_at_a_statement() {
    let data = doc! { "failCommands": ["update"], "errorCode": 112, "errorLabels": ["TransientTransactionError"] };
    assert_written_once_despite("conflict-at-update", 5, data).await;
}

#[tokio::test]
async fn commit_is_written_once_if_the_connection_closes_at_a_statement() {
    let data = doc! { "failCommands": ["insert"], "closeConnection": true };
    assert_written_once_despite("closed-at-insert", 2, data).await;
}

#[tokio::test]
async fn commit_is_written_once_if_the_reply_to_it_is_late() {
    // The block is longer than the time limit of one reply, so the command is sent again while the
    // first one still runs.
    let data = doc! { "failCommands": ["commitTransaction"], "blockConnection": true, "blockTimeMS": 2500 };
    assert_written_once_despite("late-at-commit", 1, data).await;
}

#[tokio::test]
async fn commit_without_a_reply_has_an_unknown_outcome_within_its_deadline() {
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
    // A second submission either succeeds or is stale, depending on the outcome of the first.
    let again = store.commit(commit).await;
    assert!(matches!(again, Ok(()) | Err(CommitError::Stale)), "{again:?}");
    assert_eq!(store.ticket(ticket.id).await.expect("a read"), Some(ticket));
    assert_stored_once(&store).await;
    world.drop_database().await;
}

#[tokio::test]
async fn blocked_statement_is_replaced_by_another_attempt_and_never_committed() {
    let world = World::new().await;
    let store = world.store_named("hangs-once").await;
    let (ticket, commit) = ticket_commit();
    let data = doc! { "failCommands": ["insert"], "blockConnection": true, "blockTimeMS": 4000 };
    let fault = Fault::set(&world, "hangs-once", doc! { "times": 1 }, data).await;
    let asked = Instant::now();
    assert_eq!(store.commit(commit.clone()).await, Ok(()));
    assert!(
        asked.elapsed() < Duration::from_millis(3500),
        "{:?}: the commit waited for the blocked statement",
        asked.elapsed()
    );
    fault.heal().await;
    // By this time the blocked statement of the first attempt has returned, and that attempt must
    // not commit.
    tokio::time::sleep_until(asked + Duration::from_millis(4500)).await;
    assert_eq!(store.commit(commit).await, Err(CommitError::Stale));
    assert_eq!(store.ticket(ticket.id).await.expect("a read"), Some(ticket));
    assert_stored_once(&store).await;
    world.drop_database().await;
}

#[tokio::test]
async fn commit_with_blocked_statements_is_unavailable_within_its_deadline_and_never_written() {
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
    // If an abandoned transaction were committed, this commit would be stale. It may have to wait
    // until that transaction ends.
    assert_eq!(store.commit(commit).await, Ok(()));
    assert_eq!(store.ticket(ticket.id).await.expect("a read"), Some(ticket));
    assert_stored_once(&store).await;
    world.drop_database().await;
}

#[tokio::test]
async fn commit_with_endless_conflicts_is_unavailable_and_not_written() {
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
async fn blocked_read_is_an_error_and_not_an_absent_document() {
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
