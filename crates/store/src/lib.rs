//! Durable state: one trait, two implementations, and one contract suite that both pass
//! (`tests/suite/store`).
//!
//! [`Store::commit`] writes tickets, orders, charges, users, mails, sessions, slots, declines,
//! idempotency records, deliveries and events. A commit is written completely or not at all.
//! Tickets, orders, charges, users and mails are written on the condition that the stored document
//! still has the version that the decision read. [`Store::feed`] returns the committed events in
//! commit order. Secrets, marks and counters are written by other methods, and [`Store::purge`]
//! removes old records. The other methods are reads.
//!
//! A store enforces versions, unique keys and the limit of locks that a commit names, and removes
//! old records. It decides nothing else about tickets.

pub mod commit;
pub mod cursor;
pub mod feed;

use async_trait::async_trait;

pub use commit::{Commit, CommitError, Write};
pub use cursor::Cursor;
pub use feed::{FeedLog, FeedReader, FeedStep, RecordedEvent};

use gittix_domain::{
    Charge, ChargeId, Delivery, DomainEvent, Email, IdempotencyRecord, Mail, MailId, Millis, Order,
    OrderId, Sale, Session, SessionDigest, Ticket, TicketId, Timestamp, User, UserId,
    invariants::Snapshot,
};

/// Error of a call that failed or did not return in time.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the store is unavailable: {0}")]
pub struct Unavailable(pub String);

/// Value of a counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CounterValue {
    pub hits: u64,
    /// End of the counter's window. Has no meaning if `hits` is 0.
    pub ends_at: Timestamp,
}

/// Numbers of entries of the outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MailCounts {
    /// Mails that wait for a sending, or that a sender has claimed.
    pub waiting: u64,
    /// Mails that are not tried again.
    pub dead: u64,
}

/// Selection of a buyer's orders, by status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrderScope {
    /// Created and AwaitingPayment.
    Active,
    All,
}

/// The durable state of the marketplace.
///
/// Calls that wait for another thread or for a server are bounded in time, except
/// [`Store::file_failed`], [`Store::close`], and [`Store::purge`], of which only each step is
/// bounded. An `Err` of a read never means that the document does not exist.
///
/// A read returns every commit that was acknowledged before the read began, by any replica. With
/// MongoDB this does not hold while a primary is cut off from the majority (docs/replicas.md, "What
/// was not proved").
#[async_trait]
pub trait Store: Send + Sync + std::fmt::Debug + 'static {
    /// Writes all of `commit` durably, or nothing of it.
    ///
    /// # Errors
    /// [`CommitError`]. Only [`CommitError::OutcomeUnknown`] leaves open whether the commit was
    /// written.
    async fn commit(&self, commit: Commit) -> Result<(), CommitError>;

    /// Returns the log of committed events, in commit order. All callers in this process share one
    /// log.
    fn feed(&self) -> &FeedLog;

    /// Returns the time of the store's wall clock, which all replicas share.
    async fn time(&self) -> Result<Timestamp, Unavailable>;

    /// Returns the random secret `name`, which all replicas share. The first call creates it.
    /// `name` is one of a few constants.
    async fn secret(&self, name: &'static str) -> Result<[u8; 32], Unavailable>;

    /// Sets the mark `name` durably. A mark cannot be removed, and setting it again does nothing. A
    /// mark is stored as a secret whose value is not used.
    async fn set_mark(&self, name: &'static str) -> Result<(), Unavailable> {
        self.secret(name).await.map(drop)
    }

    /// Returns whether a replica has set the mark `name`.
    async fn has_mark(&self, name: &'static str) -> Result<bool, Unavailable>;

    /// Returns whether another member of the store's cluster answers. If the primary does not
    /// answer but another member does, the primary is taken to have failed for all replicas. If no
    /// member answers, the connection of this replica may be the cause. Waits at most one second.
    async fn other_member_answers(&self) -> bool {
        false
    }

    /// Returns the ticket `id`. A deleted ticket is returned as its tombstone.
    async fn ticket(&self, id: TicketId) -> Result<Option<Ticket>, Unavailable>;
    /// Returns a ticket with the order that holds its lock and with the running charge of that
    /// order (neither Final nor Reversing), from one snapshot: never the ticket of one commit with
    /// the order of another.
    async fn sale(&self, id: TicketId) -> Result<Option<Sale>, Unavailable>;
    /// Returns the tickets that were not deleted, by id ascending, `after` excluded, at most
    /// `limit`. Used to fill the catalog.
    async fn tickets_after(
        &self,
        after: Option<TicketId>,
        limit: usize,
    ) -> Result<Vec<Ticket>, Unavailable>;
    /// Returns the sales of those tickets that exist, each as [`Store::sale`] returns it, all from
    /// one snapshot, in any order. A restart reads thousands of them.
    async fn sales(&self, ids: &[TicketId]) -> Result<Vec<Sale>, Unavailable>;
    /// Returns the tickets whose lock has a deadline at or before `cutoff`: `unlocksAt` of the
    /// lock, or `expiresAt` of an order that is still Created. At most `limit`, the longest overdue
    /// first.
    async fn tickets_overdue(
        &self,
        cutoff: Timestamp,
        limit: usize,
    ) -> Result<Vec<TicketId>, Unavailable>;

    async fn order(&self, id: OrderId) -> Result<Option<Order>, Unavailable>;
    /// Returns a buyer's orders by id ascending, `after` excluded, at most `limit`.
    async fn orders_of(
        &self,
        buyer: UserId,
        scope: OrderScope,
        after: Option<OrderId>,
        limit: usize,
    ) -> Result<Vec<Order>, Unavailable>;

    async fn charge(&self, id: ChargeId) -> Result<Option<Charge>, Unavailable>;
    /// Returns an order's charges by id ascending.
    async fn charges_of(&self, order: OrderId) -> Result<Vec<Charge>, Unavailable>;
    /// Returns the charges that are not Final and were last updated at or before `cutoff`, by id
    /// ascending, `after` excluded, at most `limit`.
    async fn charges_open(
        &self,
        cutoff: Timestamp,
        after: Option<ChargeId>,
        limit: usize,
    ) -> Result<Vec<Charge>, Unavailable>;

    async fn user(&self, id: UserId) -> Result<Option<User>, Unavailable>;
    async fn user_by_email(&self, email: &Email) -> Result<Option<User>, Unavailable>;
    /// Returns the mails that may be claimed at `now`, the longest due first, at most `limit`.
    async fn mails_due(&self, now: Timestamp, limit: usize) -> Result<Vec<Mail>, Unavailable>;
    /// Returns the numbers of mails that were not sent.
    async fn mail_counts(&self) -> Result<MailCounts, Unavailable>;
    /// Returns the session with this digest, also if it is expired and not purged yet.
    async fn session(&self, digest: &SessionDigest) -> Result<Option<Session>, Unavailable>;
    /// Returns the record of (user, key), with any fingerprint.
    async fn idempotency(
        &self,
        user: UserId,
        key: &str,
    ) -> Result<Option<IdempotencyRecord>, Unavailable>;
    /// Returns the record of a handled event of the processor.
    async fn delivery(&self, event: &str) -> Result<Option<Delivery>, Unavailable>;

    /// Returns the times of the user's newest declined payments, oldest first. See
    /// [`Write::Decline`] for their number.
    async fn declines_of(&self, user: UserId) -> Result<Vec<Timestamp>, Unavailable>;

    /// Adds one to the counter `key` and returns its value. The counter restarts at one when
    /// `window` has passed since its first hit. All replicas share the counter. It is not written
    /// durably, because that would make each hit slower: the embedded store keeps counters in
    /// memory, and MongoDB acknowledges a hit before a majority has it.
    async fn count_hit(
        &self,
        key: &str,
        window: Millis,
        now: Timestamp,
    ) -> Result<u64, Unavailable>;

    /// Returns the counter `key` without adding to it.
    async fn count(&self, key: &str, now: Timestamp) -> Result<CounterValue, Unavailable>;
    /// Sets the counter `key` back to zero.
    async fn clear_count(&self, key: &str) -> Result<(), Unavailable>;

    /// Removes expired sessions and counters, and old idempotency records (24 h), deliveries and
    /// mails that were sent (7 days), and events (30 days). The embedded store also removes the
    /// declines of users whose declines are all older than 24 h.
    async fn purge(&self, now: Timestamp) -> Result<(), Unavailable>;

    /// Waits until the store has failed in a way that only a restart of the process repairs, and
    /// returns the reason.
    async fn file_failed(&self) -> String {
        std::future::pending().await
    }

    /// Stops background work after the queued commits were answered. Later commits fail with
    /// [`CommitError::Unavailable`].
    async fn close(&self);
}

/// Reading of everything that a store holds, for tests and for the checker of the invariants.
#[async_trait]
pub trait Inspect: Store {
    async fn mail(&self, id: MailId) -> Result<Option<Mail>, Unavailable>;
    /// Returns all documents without mails, users and sessions, and all events in commit order.
    async fn dump(&self) -> Result<(Snapshot, Vec<DomainEvent>), Unavailable>;
}
