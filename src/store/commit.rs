//! What is written, and how a write can fail.

use crate::domain::{
    Charge, Decision, Delivery, Event, IdempotencyRecord, Order, Session, SessionDigest, SlotChange, Ticket, Timestamp, User, UserId,
    Version,
};

/// One atomic change.
#[derive(Debug, Clone, Default)]
pub struct Commit {
    pub writes: Vec<Write>,
    /// Appended to the feed, in this order, if and only if the writes are done.
    pub events: Vec<Event>,
    /// When it was decided; kept with the events.
    pub at: Timestamp,
}

/// One document of a commit. A ticket, order, charge or user of version `v` is written only over version `v - 1`, and
/// one of version 0 only where there is none: else the commit is [`CommitError::Stale`].
#[derive(Debug, Clone)]
pub enum Write {
    Ticket(Ticket),
    Order(Order),
    Charge(Charge),
    /// Its email must be nobody else's: else [`CommitError::EmailInUse`].
    User(User),
    /// A new session, valid only while its user has `user_version`: else [`CommitError::Stale`]. So a sign-in with the
    /// old password cannot outlive the change of it.
    OpenSession {
        session: Session,
        user_version: Version,
    },
    /// Ending a session that is gone already is no error.
    CloseSession(SessionDigest),
    /// All of a user's sessions but one.
    CloseSessions {
        user: UserId,
        except: Option<SessionDigest>,
    },
    /// A `Take` beyond the limit is [`CommitError::SlotsFull`]; freeing what is not held is no error.
    Slot(SlotChange),
    /// Counts a declined payment of a user. The store keeps the newest [`crate::domain::Policy::DECLINES_PER_USER_MAX`] of
    /// each, for [`crate::domain::Policy::DECLINES_SPAN`] at least.
    Decline {
        user: UserId,
        at: Timestamp,
    },
    /// The key must be unused by this user: else [`CommitError::KeyUsed`].
    Idempotency(IdempotencyRecord),
    /// Its event must not be recorded yet: else [`CommitError::KeyUsed`].
    Delivery(Delivery),
}

/// Why a commit was not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// A document has another version than the decision saw: reload and decide again.
    #[error("a document changed since it was read")]
    Stale,
    #[error("the email address is in use")]
    EmailInUse,
    #[error("the user holds as many locks as they may")]
    SlotsFull,
    #[error("the idempotency key was used, or the event dealt with, before")]
    KeyUsed,
    /// Nothing was written, and nothing of it will be.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// It may have been written, or may be yet.
    #[error("whether it was written is not known: {0}")]
    OutcomeUnknown(String),
}

impl Commit {
    /// The commit of a decision made at `at`.
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

    /// With the record of the request that caused it, if it had an Idempotency-Key.
    #[must_use]
    pub fn with_idempotency_record(mut self, record: Option<IdempotencyRecord>) -> Self {
        self.writes.extend(record.map(Write::Idempotency));
        self
    }
}
