//! The purge removes expired records and keeps the others.

use std::sync::Arc;

use gittix::{
    domain::{DomainEvent, Millis, Session},
    store::{Commit, Inspect, Write},
};

use super::samples::*;

const HOUR: i64 = 60 * 60_000;
const DAY: i64 = 24 * HOUR;

/// Distance from a boundary. Exactly on the boundary a store may keep or remove a record.
const MOMENT: Millis = Millis(1);

pub async fn session_is_purged_after_its_expiry(store: Arc<dyn Inspect>) {
    written(&store, vec![Write::User(user(1, "ann@example.com", 0))]).await;
    let until = |name, ms| Write::OpenSession {
        session: Session { expires_at: at(ms), ..session(name, 1) },
        user_version: 0,
    };
    written(&store, vec![until("short", 1_000), until("long", 2_000)]).await;
    let left = async || {
        let short = store.session(&digest("short")).await.expect("read");
        let long = store.session(&digest("long")).await.expect("read");
        (short.is_some(), long.is_some())
    };
    store.purge(at(1_000) - MOMENT).await.expect("purged");
    assert_eq!(left().await, (true, true));
    store.purge(at(1_000) + MOMENT).await.expect("purged");
    assert_eq!(left().await, (false, true));
    store.purge(at(2_000) + MOMENT).await.expect("purged");
    assert_eq!(left().await, (false, false));
    // The purge left no index entry that a later `CloseSessions` could fail on.
    written(&store, vec![Write::CloseSessions { user: user_id(1), except: None }]).await;
}

pub async fn idempotency_record_is_purged_after_a_day(store: Arc<dyn Inspect>) {
    written(
        &store,
        vec![
            Write::Idempotency(record(1, "old", at(0))),
            Write::Idempotency(record(1, "new", at(HOUR))),
        ],
    )
    .await;
    let left = async || {
        let old = store.idempotency(user_id(1), "old").await.expect("read");
        let new = store.idempotency(user_id(1), "new").await.expect("read");
        (old.is_some(), new.is_some())
    };
    store.purge(at(DAY) - MOMENT).await.expect("purged");
    assert_eq!(left().await, (true, true));
    store.purge(at(DAY) + MOMENT).await.expect("purged");
    assert_eq!(left().await, (false, true));
    // The key may be used again.
    written(&store, vec![Write::Idempotency(record(1, "old", at(DAY)))]).await;
}

pub async fn delivery_is_purged_after_a_week(store: Arc<dyn Inspect>) {
    written(
        &store,
        vec![
            Write::Delivery(delivery("evt_old", at(0))),
            Write::Delivery(delivery("evt_new", at(HOUR))),
        ],
    )
    .await;
    let left = async || {
        let old = store.delivery("evt_old").await.expect("read");
        let new = store.delivery("evt_new").await.expect("read");
        (old.is_some(), new.is_some())
    };
    store.purge(at(7 * DAY) - MOMENT).await.expect("purged");
    assert_eq!(left().await, (true, true));
    store.purge(at(7 * DAY) + MOMENT).await.expect("purged");
    assert_eq!(left().await, (false, true));
    // A delivery of the same event after a week is recorded again.
    written(&store, vec![Write::Delivery(delivery("evt_old", at(7 * DAY)))]).await;
}

pub async fn event_is_purged_after_thirty_days_and_its_document_stays(store: Arc<dyn Inspect>) {
    let listing = |n, ms| {
        let ticket = ticket(n);
        Commit {
            writes: vec![Write::Ticket(ticket.clone())],
            events: vec![DomainEvent::TicketCreated { ticket }],
            at: at(ms),
        }
    };
    store.commit(listing(1, 0)).await.expect("committed");
    store.commit(listing(2, HOUR)).await.expect("committed");
    let count = async || {
        store
            .dump()
            .await
            .map(|(snapshot, events)| (snapshot.tickets.len(), events.len()))
            .expect("read")
    };
    store.purge(at(30 * DAY) - MOMENT).await.expect("purged");
    assert_eq!(count().await, (2, 2));
    store.purge(at(30 * DAY) + MOMENT).await.expect("purged");
    assert_eq!(count().await, (2, 1));
    store.purge(at(31 * DAY)).await.expect("purged");
    assert_eq!(count().await, (2, 0));
    // The cursors of the feed continue to ascend.
    let mut reader = store.feed().subscribe();
    let before = reader.cursor();
    store.commit(listing(3, 31 * DAY)).await.expect("committed");
    assert!(events(&mut reader, 1).await[0].cursor > before);
}

pub async fn purge_removes_more_records_than_one_step(store: Arc<dyn Inspect>) {
    const COUNT: u128 = 2_500;
    let records = (0..COUNT).map(|n| Write::Idempotency(record(n, "key", at(0))));
    written(&store, records.collect()).await;
    store.purge(at(2 * DAY)).await.expect("purged");
    for n in [0, COUNT / 2, COUNT - 1] {
        assert_eq!(store.idempotency(user_id(n), "key").await.expect("read"), None, "record {n}");
    }
}
