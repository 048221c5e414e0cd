//! Documents with small numbers as ids, commits, and sales that the domain decides.

use std::{
    future::Future,
    sync::{Arc, LazyLock},
    time::Duration,
};

use gittix::{
    clock::wall_clock,
    domain::{
        Charge, ChargeId, Delivery, Email, IdempotencyKey, IdempotencyRecord, Millis, Order,
        OrderId, Outcome, Policy, ReplicaName, Sale, Session, SessionDigest, SlotChange, Ticket,
        TicketCommand, TicketId, Timestamp, TokenDigest, User, UserId, Version, decide,
        decide::list_ticket, samples,
    },
    store::{Commit, CommitError, FeedReader, FeedStep, Inspect, RecordedEvent, Write},
};
use uuid::Uuid;

use crate::app::world::decided;

/// Time limit of each wait of a test, long enough for a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Time at which the tests began. It is the present, because a store may remove expired records at
/// any time.
static START: LazyLock<Timestamp> = LazyLock::new(wall_clock);

/// Returns the time `ms` milliseconds after the tests began.
pub fn at(ms: i64) -> Timestamp {
    *START + Millis(ms)
}

pub fn ticket_id(n: u128) -> TicketId {
    TicketId::new(Uuid::from_u128(n))
}

pub fn order_id(n: u128) -> OrderId {
    OrderId::new(Uuid::from_u128(n))
}

pub fn charge_id(n: u128) -> ChargeId {
    ChargeId::new(Uuid::from_u128(n))
}

pub fn user_id(n: u128) -> UserId {
    UserId::new(Uuid::from_u128(n))
}

/// The seller of all tickets in these tests.
pub const SELLER: u128 = 1_000;

pub fn ticket(n: u128) -> Ticket {
    Ticket {
        id: ticket_id(n),
        seller: user_id(SELLER),
        details: samples::details(&format!("Ticket {n}")),
        created_at: at(0),
        updated_at: at(0),
        ..samples::ticket()
    }
}

pub fn user(n: u128, email: &str, version: Version) -> User {
    let email = Email::parse(email).expect("an email");
    User {
        id: user_id(n),
        email,
        email_verified: false,
        pending_email: None,
        password_hash: "$argon2id$".into(),
        tokens: Vec::new(),
        version,
        created_at: at(0),
        updated_at: at(0),
    }
}

pub fn digest(name: &str) -> SessionDigest {
    SessionDigest::new(name.to_owned())
}

pub fn session(name: &str, user: u128) -> Session {
    Session { digest: digest(name), user: user_id(user), created_at: at(0), expires_at: at(60_000) }
}

pub fn open(name: &str, user: u128, user_version: Version) -> Write {
    Write::OpenSession { session: session(name, user), user_version }
}

pub fn record(user: u128, key: &str, created_at: Timestamp) -> IdempotencyRecord {
    let key = IdempotencyKey { user: user_id(user), key: key.into(), fingerprint: "f".into() };
    IdempotencyRecord { key, outcome: Outcome::TicketDeleted, created_at }
}

pub fn delivery(event: &str, at: Timestamp) -> Delivery {
    Delivery { event: event.into(), at }
}

pub fn take(user: u128, order: u128, locks_max: u32) -> Write {
    Write::Slot(SlotChange::Take { user: user_id(user), order: order_id(order), locks_max })
}

pub fn free(user: u128, order: u128) -> Write {
    Write::Slot(SlotChange::Free { user: user_id(user), order: order_id(order) })
}

/// Returns a commit without events.
pub fn quiet(writes: Vec<Write>) -> Commit {
    Commit { writes, events: Vec::new(), at: at(0) }
}

pub async fn written(store: &Arc<dyn Inspect>, writes: Vec<Write>) {
    store.commit(quiet(writes)).await.expect("written");
}

/// Makes user `n` a user of the store, unless they are one. Only users have lock slots.
pub async fn sign_up(store: &Arc<dyn Inspect>, n: u128) {
    let signed_up = Write::User(user(n, &format!("user-{n}@example.com"), 0));
    match store.commit(quiet(vec![signed_up])).await {
        Ok(()) | Err(CommitError::Stale) => {}
        Err(error) => panic!("user {n} cannot sign up: {error}"),
    }
}

/// Lists ticket `n` for sale.
pub async fn list(store: &Arc<dyn Inspect>, n: u128) -> TicketId {
    let details = samples::details(&format!("Ticket {n}"));
    let decision = list_ticket(ticket_id(n), user_id(SELLER), details, at(0));
    store.commit(Commit::of(decision, at(0))).await.expect("listed");
    ticket_id(n)
}

pub fn lock(order: u128, buyer: u128, replica: &str) -> TicketCommand {
    TicketCommand::Lock {
        order: order_id(order),
        buyer: user_id(buyer),
        expected_price: None,
        expected_version: None,
        replica: ReplicaName::new(replica),
    }
}

pub fn cancel(order: u128, buyer: u128) -> TicketCommand {
    TicketCommand::Cancel { order: order_id(order), by: user_id(buyer) }
}

pub fn submit(order: u128, buyer: u128, charge: u128) -> TicketCommand {
    let token = TokenDigest::new(&format!("token {charge}"));
    TicketCommand::SubmitPayment {
        order: order_id(order),
        by: user_id(buyer),
        charge: charge_id(charge),
        token,
        processor: gittix::domain::ProcessorName::new("sandbox"),
    }
}

/// Decides `command` on the stored sale, commits the decision, and returns the expected sale. Signs
/// up a buyer who locks a ticket.
pub async fn act(
    store: &Arc<dyn Inspect>,
    ticket: TicketId,
    command: TicketCommand,
    now: Timestamp,
) -> Sale {
    if let TicketCommand::Lock { buyer, .. } = &command {
        sign_up(store, buyer.uuid().as_u128()).await;
    }
    let sale = store.sale(ticket).await.expect("read").expect("the document exists");
    let decision = decide(&sale, &command, &Policy::default(), now).expect("allowed");
    store.commit(Commit::of(decision.clone(), now)).await.expect("committed");
    sale.after(&decision)
}

/// Returns an order for ticket `n` that is not committed.
pub fn order(n: u128) -> Order {
    let command = lock(n, 1, "a");
    let decision =
        decide(&Sale::unlocked(ticket(n)), &command, &Policy::default(), at(0)).expect("allowed");
    decision.order.expect("a lock makes an order")
}

/// Returns a charge of order `n` that is not committed.
pub fn charge(n: u128) -> Charge {
    let sale = Sale::unlocked(ticket(n));
    let locked = decide(&sale, &lock(n, 1, "a"), &Policy::default(), at(0)).expect("allowed");
    let sale = sale.after(&locked);
    let mut paying = decide(&sale, &submit(n, 1, n), &Policy::default(), at(0)).expect("allowed");
    paying.charges.pop().expect("a submission makes a charge")
}

/// Submits all `commits` concurrently. The answers are in the same order.
pub async fn at_once(
    store: &Arc<dyn Inspect>,
    commits: Vec<Commit>,
) -> Vec<Result<(), CommitError>> {
    let start = Arc::new(tokio::sync::Barrier::new(commits.len()));
    let tasks: Vec<_> = commits
        .into_iter()
        .map(|commit| {
            let (store, start) = (Arc::clone(store), Arc::clone(&start));
            tokio::spawn(async move {
                start.wait().await;
                decided(&*store, commit).await
            })
        })
        .collect();
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(patient(task).await.expect("no commit panics"));
    }
    answers
}

/// Reads the next `count` events.
pub async fn events(reader: &mut FeedReader, count: usize) -> Vec<Arc<RecordedEvent>> {
    let mut events = Vec::new();
    while events.len() < count {
        match patient(reader.next()).await {
            FeedStep::Events(more) => events.extend(more),
            FeedStep::Reset => panic!("history was lost after {} events", events.len()),
        }
    }
    assert_eq!(events.len(), count, "more events than were committed");
    events
}

/// Waits for `wanted`, and fails the test after [`PATIENCE`].
pub async fn patient<T>(wanted: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, wanted)
        .await
        .expect("the awaited result arrives within half a minute")
}
