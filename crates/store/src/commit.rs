//! A commit: its writes, its events, and its errors.

use gittix_domain::{
    Charge, Decision, Delivery, DomainEvent, IdempotencyRecord, Mail, Order, Session,
    SessionDigest, SlotChange, Ticket, Timestamp, User, UserId, Version,
};

/// A set of writes and events that a store applies atomically.
#[derive(Debug, Clone, Default)]
pub struct Commit {
    pub writes: Vec<Write>,
    /// Events that the store appends to the feed, in this order, if and only if it applies the
    /// writes.
    pub events: Vec<DomainEvent>,
    /// Time of the decision. The store keeps it with the events.
    pub at: Timestamp,
}

/// One write of a commit.
///
/// A ticket, order, charge, user or mail of version `v` replaces only version `v - 1`. Version 0 requires
/// that the document does not exist. Otherwise the commit fails with [`CommitError::Stale`].
#[derive(Debug, Clone)]
pub enum Write {
    Ticket(Ticket),
    Order(Order),
    Charge(Charge),
    /// No other user may have the email: otherwise [`CommitError::EmailInUse`].
    User(User),
    /// An entry of the outbox.
    Mail(Mail),
    /// A new session. The stored user must have the version `user_version`: otherwise
    /// [`CommitError::Stale`]. This prevents a sign-in with the old password from succeeding after
    /// the password was changed.
    OpenSession {
        session: Session,
        user_version: Version,
    },
    /// Deletes a session. A session that does not exist is not an error.
    CloseSession(SessionDigest),
    /// Deletes all sessions of a user, apart from the session `except`.
    CloseSessions {
        user: UserId,
        except: Option<SessionDigest>,
    },
    /// The user must exist. A `Take` beyond the limit fails with [`CommitError::SlotsFull`]. A
    /// `Free` of a slot that is not held is not an error.
    Slot(SlotChange),
    /// A declined payment of a user, who must exist. The store keeps the newest
    /// [`gittix_domain::Policy::DECLINES_PER_USER_MAX`] of each user, for at least
    /// [`gittix_domain::Policy::DECLINES_SPAN`].
    Decline {
        user: UserId,
        at: Timestamp,
    },
    /// This user must not have used the key before: otherwise [`CommitError::KeyUsed`].
    Idempotency(IdempotencyRecord),
    /// The event must not be recorded yet: otherwise [`CommitError::KeyUsed`].
    Delivery(Delivery),
}

/// The reason why a commit was not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// A document has another version than the one that the decision read. The caller can load it
    /// and decide again.
    #[error("a document changed since it was read")]
    Stale,
    #[error("the email address is in use")]
    EmailInUse,
    #[error("the user already holds the maximum number of locks")]
    SlotsFull,
    #[error("the idempotency key was already used, or the processor's event was already handled")]
    KeyUsed,
    /// Nothing was written, and nothing will be written later.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// The commit may have been written, or may still be written.
    #[error("the outcome of the commit is unknown: {0}")]
    OutcomeUnknown(String),
}

impl CommitError {
    /// Returns the value of the label `reason` of the metric `gittix_commits_failed_total`.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Stale => "stale",
            Self::EmailInUse => "email_in_use",
            Self::SlotsFull => "slots_full",
            Self::KeyUsed => "key_used",
            Self::Unavailable(_) => "unavailable",
            Self::OutcomeUnknown(_) => "outcome_unknown",
        }
    }
}

impl From<CommitError> for crate::Unavailable {
    fn from(error: CommitError) -> Self {
        Self(error.to_string())
    }
}

impl Commit {
    /// Builds the commit of a decision that was made at `at`.
    pub fn of(decision: Decision, at: Timestamp) -> Self {
        let Decision { ticket, order, charges, slot, declined, events } = decision;
        let writes = ticket
            .map(Write::Ticket)
            .into_iter()
            .chain(order.map(Write::Order))
            .chain(charges.into_iter().map(Write::Charge))
            .chain(slot.map(Write::Slot))
            .chain(declined.map(|user| Write::Decline { user, at }))
            .collect();
        Self { writes, events, at }
    }

    /// Adds the idempotency record of the request that caused the commit, if that request had an
    /// `Idempotency-Key`.
    #[must_use]
    pub fn with_idempotency_record(mut self, record: Option<IdempotencyRecord>) -> Self {
        self.writes.extend(record.map(Write::Idempotency));
        self
    }
}
