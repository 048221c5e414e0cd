//! Conditional writes: each version replaces the previous one, and a commit is written completely
//! or not at all.

use std::sync::Arc;

use gittix::{
    domain::{
        Charge, DomainEvent, Order, PublicUser, Session, Ticket, User, Version,
        invariants::Snapshot,
    },
    store::{Commit, CommitError, Inspect, Write},
};

use super::samples::*;

/// Tries versions that are valid, stale, or leave a gap.
async fn only_over_the_version_before(store: &Arc<dyn Inspect>, write: impl Fn(Version) -> Write) {
    let steps: [(Version, Result<(), CommitError>); 9] = [
        (1, Err(CommitError::Stale)), // the document does not exist
        (0, Ok(())),
        (0, Err(CommitError::Stale)), // the same version again
        (2, Err(CommitError::Stale)), // a gap
        (1, Ok(())),
        (1, Err(CommitError::Stale)), // the same version again
        (0, Err(CommitError::Stale)), // an old version
        (2, Ok(())),
        (Version::from(u32::MAX), Err(CommitError::Stale)),
    ];
    for (step, (version, expected)) in steps.into_iter().enumerate() {
        assert_eq!(
            store.commit(quiet(vec![write(version)])).await,
            expected,
            "step {step}, version {version}"
        );
    }
}

pub async fn ticket_replaces_only_its_previous_version(store: Arc<dyn Inspect>) {
    only_over_the_version_before(&store, |version| Write::Ticket(Ticket { version, ..ticket(1) }))
        .await;
    assert_eq!(
        store.ticket(ticket_id(1)).await.expect("read"),
        Some(Ticket { version: 2, ..ticket(1) })
    );
    assert_eq!(store.ticket(ticket_id(2)).await.expect("read"), None);
}

pub async fn order_replaces_only_its_previous_version(store: Arc<dyn Inspect>) {
    only_over_the_version_before(&store, |version| Write::Order(Order { version, ..order(1) }))
        .await;
    assert_eq!(
        store.order(order_id(1)).await.expect("read"),
        Some(Order { version: 2, ..order(1) })
    );
    assert_eq!(store.order(order_id(2)).await.expect("read"), None);
}

pub async fn charge_replaces_only_its_previous_version(store: Arc<dyn Inspect>) {
    only_over_the_version_before(&store, |version| Write::Charge(Charge { version, ..charge(1) }))
        .await;
    assert_eq!(
        store.charge(charge_id(1)).await.expect("read"),
        Some(Charge { version: 2, ..charge(1) })
    );
    assert_eq!(store.charge(charge_id(2)).await.expect("read"), None);
}

pub async fn user_replaces_only_its_previous_version(store: Arc<dyn Inspect>) {
    only_over_the_version_before(&store, |version| {
        Write::User(user(1, "ann@example.com", version))
    })
    .await;
    assert_eq!(store.user(user_id(1)).await.expect("read"), Some(user(1, "ann@example.com", 2)));
    assert_eq!(store.user(user_id(2)).await.expect("read"), None);
}

/// State of a store that the trait returns.
#[derive(Debug, PartialEq)]
struct VisibleState {
    snapshot: Snapshot,
    events: Vec<DomainEvent>,
    users: Vec<Option<User>>,
    sessions: Vec<Option<Session>>,
    keys: Vec<bool>,
}

async fn seen(store: &Arc<dyn Inspect>) -> VisibleState {
    let (snapshot, events) = store.dump().await.expect("read");
    let mut seen = VisibleState {
        snapshot,
        events,
        users: Vec::new(),
        sessions: Vec::new(),
        keys: Vec::new(),
    };
    for n in 1..=3 {
        seen.users.push(store.user(user_id(n)).await.expect("read"));
    }
    for name in ["old", "new"] {
        seen.sessions.push(store.session(&digest(name)).await.expect("read"));
    }
    for key in ["old", "new"] {
        seen.keys.push(store.idempotency(user_id(1), key).await.expect("read").is_some());
    }
    seen
}

/// Returns one valid write of each kind.
fn valid_writes() -> Vec<Write> {
    vec![
        Write::Ticket(ticket(2)),
        Write::Order(order(2)),
        Write::Charge(charge(2)),
        Write::User(user(2, "bob@example.com", 0)),
        open("new", 1, 0),
        Write::CloseSession(digest("old")),
        take(2, 2, 1),
        Write::Idempotency(record(1, "new", at(0))),
    ]
}

/// Returns writes that the store refuses in [`commit_with_one_refused_write_writes_nothing`], with
/// their errors.
fn refused_writes() -> Vec<(Write, CommitError)> {
    vec![
        (Write::Ticket(ticket(1)), CommitError::Stale),
        (Write::Order(Order { version: 2, ..order(1) }), CommitError::Stale),
        (Write::Charge(Charge { version: 1, ..charge(9) }), CommitError::Stale),
        (Write::User(user(1, "ann@example.com", 2)), CommitError::Stale),
        (Write::User(user(3, "ann@example.com", 0)), CommitError::EmailInUse),
        (open("newer", 1, 1), CommitError::Stale),
        (open("newer", 9, 0), CommitError::Stale),
        (take(1, 9, 1), CommitError::SlotsFull),
        (Write::Idempotency(record(1, "old", at(0))), CommitError::KeyUsed),
    ]
}

pub async fn commit_with_one_refused_write_writes_nothing(store: Arc<dyn Inspect>) {
    let before = vec![
        Write::Ticket(ticket(1)),
        Write::Order(order(1)),
        Write::User(user(1, "ann@example.com", 0)),
        open("old", 1, 0),
        take(1, 1, 1),
        Write::Idempotency(record(1, "old", at(0))),
    ];
    written(&store, before).await;
    let untouched = seen(&store).await;
    let events =
        vec![DomainEvent::UserCreated { user: PublicUser::from(&user(2, "bob@example.com", 0)) }];
    for (index, (refused, expected)) in refused_writes().into_iter().enumerate() {
        for position in 0..=valid_writes().len() {
            let mut writes = valid_writes();
            writes.insert(position, refused.clone());
            let commit = Commit { writes, events: events.clone(), at: at(0) };
            assert_eq!(
                store.commit(commit).await,
                Err(expected.clone()),
                "refused write {index} at position {position}"
            );
        }
        assert_eq!(seen(&store).await, untouched, "refused write {index} left something behind");
    }
    // The control: without the refused writes the same commit is written.
    store
        .commit(Commit { writes: valid_writes(), events, at: at(0) })
        .await
        .expect("all writes are valid");
    let after = seen(&store).await;
    assert_eq!(
        (
            after.snapshot.tickets.len(),
            after.snapshot.orders.len(),
            after.snapshot.charges.len(),
            after.snapshot.slots.len()
        ),
        (2, 2, 1, 2)
    );
    assert_eq!(
        (after.events.len(), after.users[1].is_some(), after.keys),
        (1, true, vec![true, true])
    );
    assert_eq!(after.sessions, [None, Some(session("new", 1))]);
}

const MANY: u128 = 1_000;

pub async fn one_of_a_thousand_commits_over_one_version_succeeds(store: Arc<dyn Inspect>) {
    written(&store, vec![Write::Ticket(ticket(1))]).await;
    let commits = (0..MANY).map(|n| {
        let order = Order { id: order_id(n), ..order(1) };
        quiet(vec![Write::Ticket(Ticket { version: 1, ..ticket(1) }), Write::Order(order)])
    });
    let answers = at_once(&store, commits.collect()).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    assert!(
        answers.iter().all(|answer| matches!(answer, Ok(()) | Err(CommitError::Stale))),
        "{answers:?}"
    );
    let (snapshot, _) = store.dump().await.expect("read");
    let winner = answers.iter().position(Result::is_ok).expect("one succeeded");
    assert_eq!(
        snapshot.orders.iter().map(|order| order.id).collect::<Vec<_>>(),
        [order_id(winner as u128)]
    );
}

/// The control of the race above: commits over different tickets do not conflict.
pub async fn thousand_commits_over_a_thousand_tickets_all_succeed(store: Arc<dyn Inspect>) {
    let commits = (0..MANY).map(|n| quiet(vec![Write::Ticket(ticket(n))]));
    let answers = at_once(&store, commits.collect()).await;
    assert_eq!(answers, vec![Ok(()); 1_000]);
    assert_eq!(store.dump().await.expect("read").0.tickets.len(), 1_000);
}
