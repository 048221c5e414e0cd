//! Durable state: one trait, two implementations, one contract suite that both pass (`tests/suite/store`).
//!
//! What is written goes through [`Store::commit`]: tickets, orders, charges, sessions, idempotency records and events
//! together or not at all, on the condition that every document still has the version that the decision saw. What was
//! written comes back through [`Store::feed`], in commit order. The rest are reads.
//!
//! No rule of the marketplace lives here: a store neither knows what a lock is for nor reads a clock to decide anything.

pub mod commit;
pub mod cursor;
pub mod embedded;
pub mod feed;
pub mod mongo;

use async_trait::async_trait;

pub use commit::{Commit, CommitError, Write};
pub use cursor::Cursor;
pub use feed::{FeedLog, FeedReader, FeedStep, RecordedEvent};

use crate::domain::{
    Charge, ChargeId, Delivery, Email, Event, IdempotencyRecord, Millis, Order, OrderId, Sale, Session, SessionDigest, Ticket, TicketId,
    Timestamp, User, UserId, invariants::Snapshot,
};

/// A read that did not come back in time, or at all.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the store is unavailable: {0}")]
pub struct Unavailable(pub String);

/// What a counter shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CounterValue {
    pub hits: u64,
    /// When the counter's window ends; meaningless without hits.
    pub ends_at: Timestamp,
}

/// Which of a buyer's orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrderScope {
    /// Created and AwaitingPayment.
    Active,
    All,
}

/// Where the state lives. Every call is bounded in time; an `Err` of a read never means "not there".
///
/// Reads show every commit that was acknowledged before they began, on whichever replica.
#[async_trait]
pub trait Store: Send + Sync + std::fmt::Debug + 'static {
    /// Writes all of `commit` durably, or nothing.
    ///
    /// # Errors
    /// [`CommitError`]: only [`CommitError::OutcomeUnknown`] leaves open whether it was written.
    async fn commit(&self, commit: Commit) -> Result<(), CommitError>;

    /// The committed events, in commit order; the same log for every caller in this process.
    fn feed(&self) -> &FeedLog;

    /// The store's own wall clock, on which all replicas agree.
    async fn time(&self) -> Result<Timestamp, Unavailable>;

    /// A random secret that all replicas share, created by whoever asks first. `name` is one of few constants.
    async fn secret(&self, name: &'static str) -> Result<[u8; 32], Unavailable>;

    /// Sets the mark `name`, durably and for good; repeating it does nothing. A mark is stored as a secret whose value is
    /// not used.
    async fn set_mark(&self, name: &'static str) -> Result<(), Unavailable> {
        self.secret(name).await.map(drop)
    }

    /// Whether the mark `name` was set, by whichever replica.
    async fn has_mark(&self, name: &'static str) -> Result<bool, Unavailable>;

    /// Whether another member of the store's cluster answers: what does not work then is the primary, for all replicas, and
    /// not this replica's way to the store. Waits for one second at most.
    async fn other_member_answers(&self) -> bool {
        false
    }

    /// Also finds deleted tickets (their tombstones).
    async fn ticket(&self, id: TicketId) -> Result<Option<Ticket>, Unavailable>;
    /// A ticket with the order that holds its lock and that order's running charge (neither Final nor Reversing), as one
    /// snapshot: never the ticket of one commit with the order of another.
    async fn sale(&self, id: TicketId) -> Result<Option<Sale>, Unavailable>;
    /// All tickets that were not deleted, by id ascending, `after` excluded, at most `limit`: for filling the catalog.
    async fn tickets_after(&self, after: Option<TicketId>, limit: usize) -> Result<Vec<Ticket>, Unavailable>;
    /// Those of the tickets that are there, as [`Store::sale`] shows each, all of one moment, in any order: a restart reads
    /// thousands of them.
    async fn sales(&self, ids: &[TicketId]) -> Result<Vec<Sale>, Unavailable>;
    /// Tickets whose lock has something due at or before `cutoff`: `unlocksAt` passed, or `expiresAt` of an order that is
    /// still Created. At most `limit`, the longest overdue first.
    async fn tickets_overdue(&self, cutoff: Timestamp, limit: usize) -> Result<Vec<TicketId>, Unavailable>;

    async fn order(&self, id: OrderId) -> Result<Option<Order>, Unavailable>;
    /// A buyer's orders by id ascending, `after` excluded, at most `limit`.
    async fn orders_of(&self, buyer: UserId, scope: OrderScope, after: Option<OrderId>, limit: usize) -> Result<Vec<Order>, Unavailable>;

    async fn charge(&self, id: ChargeId) -> Result<Option<Charge>, Unavailable>;
    /// An order's charges by id ascending.
    async fn charges_of(&self, order: OrderId) -> Result<Vec<Charge>, Unavailable>;
    /// Charges that are not Final and were last updated at or before `cutoff`, by id ascending, `after` excluded.
    async fn charges_open(&self, cutoff: Timestamp, after: Option<ChargeId>, limit: usize) -> Result<Vec<Charge>, Unavailable>;

    async fn user(&self, id: UserId) -> Result<Option<User>, Unavailable>;
    async fn user_by_email(&self, email: &Email) -> Result<Option<User>, Unavailable>;
    /// Also finds an expired session that was not purged yet.
    async fn session(&self, digest: &SessionDigest) -> Result<Option<Session>, Unavailable>;
    /// The record under (user, key), whatever its fingerprint.
    async fn idempotency(&self, user: UserId, key: &str) -> Result<Option<IdempotencyRecord>, Unavailable>;
    /// The record of the processor's event, if it was dealt with.
    async fn delivery(&self, event: &str) -> Result<Option<Delivery>, Unavailable>;

    /// When payments of this user were declined, oldest first: the newest ones, see [`Write::Decline`].
    async fn declines_of(&self, user: UserId) -> Result<Vec<Timestamp>, Unavailable>;

    /// Adds one to the counter `key` and returns it; a counter starts anew `window` after its first hit. Shared by all
    /// replicas, durable only as far as it costs nothing.
    async fn count_hit(&self, key: &str, window: Millis, now: Timestamp) -> Result<u64, Unavailable>;

    /// Reads the counter `key` without adding to it.
    async fn count(&self, key: &str, now: Timestamp) -> Result<CounterValue, Unavailable>;
    /// Sets the counter `key` back to zero.
    async fn clear_count(&self, key: &str) -> Result<(), Unavailable>;

    /// Removes what is past its time: sessions, idempotency records (24 h), deliveries (7 days), counters, events (30 days).
    async fn purge(&self, now: Timestamp) -> Result<(), Unavailable>;

    /// Everything, and all events in commit order: for the checker and for tests, never on a request's path.
    async fn dump(&self) -> Result<(Snapshot, Vec<Event>), Unavailable>;

    /// Waits until the store can do nothing more before the process is started again, and returns why.
    async fn file_failed(&self) -> String {
        std::future::pending().await
    }

    /// Stops background work after what is queued was written. Later commits are [`CommitError::Unavailable`].
    async fn close(&self);
}
