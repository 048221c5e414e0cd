//! Races between two replicas, which MongoDB decides. Negative controls run the same operations
//! without the condition, to show that the race occurs.

use std::sync::Arc;

use bson::doc;
use futures_util::future::join_all;
use gittix::{
    domain::{UserId, invariants},
    store::{Commit, CommitError, Inspect, Store, Write, mongo::MongoStore},
};
use mongodb::{ClientSession, options::ReadConcern};
use uuid::Uuid;

use super::world::{World, lock_commit, now, on_sale, one, session, signed_up, take, user};
use crate::app::world::decided;

const BUYERS: usize = 1000;
const ROUNDS: usize = 25;

async fn two_replicas(world: &World) -> [Arc<MongoStore>; 2] {
    [world.store_named("first").await, world.store_named("second").await]
}

#[tokio::test]
async fn one_of_a_thousand_locks_of_one_ticket_through_two_replicas_is_granted() {
    let world = World::new().await;
    let stores = two_replicas(&world).await;
    let ticket = on_sale(&*stores[0]).await;
    let buyers = join_all((0..8).map(|_| signed_up(&*stores[0]))).await;
    let locks = (0..BUYERS).map(|turn| {
        decided(&*stores[turn % 2], lock_commit(&ticket, buyers[turn % buyers.len()].id).1)
    });
    let answers = join_all(locks).await;

    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    let other: Vec<_> = answers
        .iter()
        .filter(|answer| !matches!(answer, Ok(()) | Err(CommitError::Stale)))
        .collect();
    assert!(other.is_empty(), "{other:?}");
    let (stored, events) = stores[1].dump().await.expect("a dump");
    assert_eq!(stored.orders.len(), 1);
    assert_eq!(invariants::one_order_per_ticket(&stored), Ok(()));
    assert_eq!(invariants::slots_match_locks(&stored), Ok(()));
    assert_eq!(invariants::events_match_changes(&stored, &events), Ok(()));
    world.drop_database().await;
}

#[tokio::test]
async fn control_every_lock_without_a_version_condition_is_granted() {
    let world = World::new().await;
    let ticket = on_sale(&*world.store().await).await;
    let tickets = world.raw("tickets");
    let lock = |buyer: i32| {
        tickets.update_one(
            doc! { "_id": ticket.id.to_string() },
            doc! { "$set": { "state": { "lock": buyer } } },
        )
    };
    let answers = join_all((0..8).map(|buyer| lock(buyer).into_future())).await;
    let granted = answers
        .iter()
        .filter(|answer| answer.as_ref().is_ok_and(|answer| answer.matched_count == 1))
        .count();
    assert_eq!(
        granted, 8,
        "without the version condition every lock is granted, so the test above depends on the condition"
    );
    world.drop_database().await;
}

#[tokio::test]
async fn two_replicas_grant_no_lock_beyond_the_limit() {
    let world = World::new().await;
    let stores = two_replicas(&world).await;
    for round in 0..ROUNDS {
        let buyer = signed_up(&*stores[0]).await;
        let answers =
            join_all((0..8).map(|turn| decided(&*stores[turn % 2], one(take(buyer.id, 4))))).await;
        let granted = answers.iter().filter(|answer| answer.is_ok()).count();
        let full = answers.iter().filter(|answer| **answer == Err(CommitError::SlotsFull)).count();
        assert_eq!((granted, full), (4, 4), "round {round}: {answers:?}");
    }
    let slots = stores[0].dump().await.expect("a dump").0.slots;
    assert_eq!(slots.len(), 4 * ROUNDS);
    world.drop_database().await;
}

#[tokio::test]
async fn session_opened_during_a_password_change_does_not_outlive_it() {
    let world = World::new().await;
    let stores = two_replicas(&world).await;
    let mut opened_first = 0;
    for round in 0..ROUNDS {
        let owner = signed_up(&*stores[0]).await;
        let opened = session(owner.id);
        let change = Commit {
            writes: vec![
                Write::User(user(1, owner.id, owner.email.as_str())),
                Write::CloseSessions { user: owner.id, except: None },
            ],
            events: Vec::new(),
            at: now(),
        };
        let sign_in = one(Write::OpenSession { session: opened.clone(), user_version: 0 });
        let (changed, signed_in) =
            tokio::join!(stores[round % 2].commit(change), stores[(round + 1) % 2].commit(sign_in));
        assert_eq!(changed, Ok(()), "round {round}");
        assert!(
            matches!(signed_in, Ok(()) | Err(CommitError::Stale)),
            "round {round}: {signed_in:?}"
        );
        opened_first += usize::from(signed_in.is_ok());
        assert_eq!(stores[0].session(&opened.digest).await.expect("a read"), None, "round {round}");
    }
    println!("the session was opened before the change in {opened_first} of {ROUNDS} rounds");
    world.drop_database().await;
}

#[tokio::test]
async fn control_two_transactions_whose_condition_is_only_read_both_commit() {
    let world = World::new().await;
    let owner = signed_up(&*world.store().await).await;
    let (mut change, mut sign_in) = (transaction(&world).await, transaction(&world).await);
    let (users, sessions) = (world.raw("users"), world.raw("sessions"));
    let by_id = doc! { "_id": owner.id.to_string(), "version": 0 };
    // The sign-in only reads the document that the other transaction writes. Snapshot isolation
    // does not treat this as a conflict.
    let seen = users.find_one(by_id.clone()).session(&mut sign_in).await.expect("a read");
    assert!(seen.is_some());
    users
        .update_one(by_id, doc! { "$set": { "version": 1 } })
        .session(&mut change)
        .await
        .expect("a write");
    sessions
        .delete_many(doc! { "user": owner.id.to_string() })
        .session(&mut change)
        .await
        .expect("a write");
    sessions
        .insert_one(doc! { "_id": "outlives", "user": owner.id.to_string() })
        .session(&mut sign_in)
        .await
        .expect("a write");
    change.commit_transaction().await.expect("no conflict");
    sign_in
        .commit_transaction()
        .await
        .expect("no conflict either, so the condition must be a write");
    world.drop_database().await;
}

async fn transaction(world: &World) -> ClientSession {
    let mut session = world.client().start_session().await.expect("a session");
    session.start_transaction().read_concern(ReadConcern::snapshot()).await.expect("a transaction");
    session
}

#[tokio::test]
async fn one_of_several_sign_ups_with_one_email_through_two_replicas_succeeds() {
    let world = World::new().await;
    let stores = two_replicas(&world).await;
    for round in 0..ROUNDS {
        let email = format!("round{round}@example.com");
        let sign_ups = (0..4).map(|turn| {
            decided(
                &*stores[turn % 2],
                one(Write::User(user(0, UserId::new(Uuid::now_v7()), &email))),
            )
        });
        let answers = join_all(sign_ups).await;
        assert_eq!(
            answers.iter().filter(|answer| answer.is_ok()).count(),
            1,
            "round {round}: {answers:?}"
        );
        assert_eq!(
            answers.iter().filter(|answer| **answer == Err(CommitError::EmailInUse)).count(),
            3,
            "round {round}: {answers:?}"
        );
    }
    world.drop_database().await;
}
