//! Unique and limited values: emails, lock slots, idempotency keys and deliveries.

use std::sync::Arc;

use gittix::{
    domain::Email,
    store::{CommitError, Inspect, Write},
};

use super::samples::*;

fn email(text: &str) -> Email {
    Email::parse(text).expect("an email")
}

pub async fn email_belongs_to_one_user(store: Arc<dyn Inspect>) {
    written(&store, vec![Write::User(user(1, "ann@example.com", 0))]).await;
    let second = store.commit(quiet(vec![Write::User(user(2, "ann@example.com", 0))])).await;
    assert_eq!(second, Err(CommitError::EmailInUse));
    // A user may keep the email.
    written(&store, vec![Write::User(user(1, "ann@example.com", 1))]).await;
    let found = store.user_by_email(&email("ann@example.com")).await.expect("read");
    assert_eq!(found, Some(user(1, "ann@example.com", 1)));
}

pub async fn email_is_free_after_its_user_changed_it(store: Arc<dyn Inspect>) {
    written(
        &store,
        vec![
            Write::User(user(1, "ann@example.com", 0)),
            Write::User(user(2, "bob@example.com", 0)),
        ],
    )
    .await;
    let onto_another = store.commit(quiet(vec![Write::User(user(1, "bob@example.com", 1))])).await;
    assert_eq!(onto_another, Err(CommitError::EmailInUse));
    written(&store, vec![Write::User(user(1, "anna@example.com", 1))]).await;
    assert_eq!(store.user_by_email(&email("ann@example.com")).await.expect("read"), None);
    assert_eq!(
        store.user_by_email(&email("anna@example.com")).await.expect("read"),
        Some(user(1, "anna@example.com", 1))
    );
    written(&store, vec![Write::User(user(2, "ann@example.com", 1))]).await;
    assert_eq!(
        store.user_by_email(&email("ann@example.com")).await.expect("read"),
        Some(user(2, "ann@example.com", 1))
    );
}

pub async fn one_of_many_sign_ups_with_one_email_succeeds(store: Arc<dyn Inspect>) {
    let commits = (1..=64).map(|n| quiet(vec![Write::User(user(n, "ann@example.com", 0))]));
    let answers = at_once(&store, commits.collect()).await;
    assert_eq!(
        answers.iter().filter(|answer| **answer == Err(CommitError::EmailInUse)).count(),
        63,
        "{answers:?}"
    );
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
}

pub async fn user_holds_at_most_as_many_slots_as_the_limit(store: Arc<dyn Inspect>) {
    sign_up(&store, 1).await;
    sign_up(&store, 2).await;
    for order in 1..=4 {
        written(&store, vec![take(1, order, 4)]).await;
    }
    assert_eq!(store.commit(quiet(vec![take(1, 5, 4)])).await, Err(CommitError::SlotsFull));
    // A lower or higher limit takes effect at once. Other users are not affected.
    assert_eq!(store.commit(quiet(vec![take(1, 5, 2)])).await, Err(CommitError::SlotsFull));
    written(&store, vec![take(1, 5, 5)]).await;
    written(&store, vec![take(2, 6, 1)]).await;
}

pub async fn freed_slot_can_be_taken_again(store: Arc<dyn Inspect>) {
    sign_up(&store, 1).await;
    sign_up(&store, 2).await;
    written(&store, vec![take(1, 1, 1)]).await;
    written(&store, vec![free(1, 1)]).await;
    written(&store, vec![free(1, 1)]).await;
    written(&store, vec![take(1, 2, 1)]).await;
    // A slot that was freed twice counts once, so there is no free slot for another order.
    assert_eq!(store.commit(quiet(vec![take(1, 3, 1)])).await, Err(CommitError::SlotsFull));
    // Freeing a slot of another order or of another user adds no free slot.
    written(&store, vec![free(1, 1), free(2, 2)]).await;
    assert_eq!(store.commit(quiet(vec![take(1, 3, 1)])).await, Err(CommitError::SlotsFull));
    let (snapshot, _) = store.dump().await.expect("read");
    assert_eq!(snapshot.slots, [(user_id(1), order_id(2))]);
}

pub async fn concurrent_commits_take_only_the_free_slots(store: Arc<dyn Inspect>) {
    sign_up(&store, 1).await;
    let commits = (1..=64).map(|order| quiet(vec![take(1, order, 4)]));
    let answers = at_once(&store, commits.collect()).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 4, "{answers:?}");
    assert_eq!(
        answers.iter().filter(|answer| **answer == Err(CommitError::SlotsFull)).count(),
        60,
        "{answers:?}"
    );
    assert_eq!(store.dump().await.expect("read").0.slots.len(), 4);
}

pub async fn idempotency_key_is_used_once_by_each_user(store: Arc<dyn Inspect>) {
    let mine = record(1, "key", at(0));
    written(&store, vec![Write::Idempotency(mine.clone())]).await;
    let mut other_request = mine.clone();
    other_request.key.fingerprint = "another".into();
    assert_eq!(
        store.commit(quiet(vec![Write::Idempotency(other_request)])).await,
        Err(CommitError::KeyUsed)
    );
    written(
        &store,
        vec![
            Write::Idempotency(record(2, "key", at(0))),
            Write::Idempotency(record(1, "key2", at(0))),
        ],
    )
    .await;
    assert_eq!(store.idempotency(user_id(1), "key").await.expect("read"), Some(mine));
    assert_eq!(store.idempotency(user_id(1), "ke").await.expect("read"), None);
    assert_eq!(store.idempotency(user_id(3), "key").await.expect("read"), None);
}

pub async fn one_of_many_commits_with_one_key_succeeds(store: Arc<dyn Inspect>) {
    let commits = (1..=64).map(|n| {
        quiet(vec![Write::Ticket(ticket(n)), Write::Idempotency(record(1, "key", at(0)))])
    });
    let answers = at_once(&store, commits.collect()).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    assert_eq!(
        answers.iter().filter(|answer| **answer == Err(CommitError::KeyUsed)).count(),
        63,
        "{answers:?}"
    );
    assert_eq!(store.dump().await.expect("read").0.tickets.len(), 1);
}

pub async fn delivery_of_an_event_is_recorded_once(store: Arc<dyn Inspect>) {
    assert_eq!(store.delivery("evt_1").await.expect("read"), None);
    written(&store, vec![Write::Delivery(delivery("evt_1", at(0)))]).await;
    assert_eq!(store.delivery("evt_1").await.expect("read"), Some(delivery("evt_1", at(0))));
    assert_eq!(
        store.commit(quiet(vec![Write::Delivery(delivery("evt_1", at(1)))])).await,
        Err(CommitError::KeyUsed)
    );
    written(&store, vec![Write::Delivery(delivery("evt_2", at(0)))]).await;
    assert_eq!(
        store.delivery("evt_1").await.expect("read"),
        Some(delivery("evt_1", at(0))),
        "the first one stays"
    );
    assert_eq!(store.delivery("evt").await.expect("read"), None);
}

pub async fn one_of_many_deliveries_of_one_event_is_recorded(store: Arc<dyn Inspect>) {
    let commits = (1..=64).map(|_| quiet(vec![Write::Delivery(delivery("evt_1", at(0)))]));
    let answers = at_once(&store, commits.collect()).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1, "{answers:?}");
    assert_eq!(
        answers.iter().filter(|answer| **answer == Err(CommitError::KeyUsed)).count(),
        63,
        "{answers:?}"
    );
}
