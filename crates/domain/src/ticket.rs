//! A ticket and its lock.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{
    Currency, Millis, Money, OrderId, Policy, Refusal, TicketId, Timestamp, Title, UserId, Version,
};

/// The stable name of the server process that granted a lock (`GITTIX_REPLICA`). Only this replica
/// arms the lock's timer; the others find the lock with their sweep if it stays.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReplicaName(Arc<str>);

impl ReplicaName {
    /// Takes any text. No rule depends on unique names.
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// Returns the name as configured.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ReplicaName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a seller says about a ticket: the fields that can be entered and changed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TicketDetails {
    pub title: Title,
    pub price: Money,
}

impl TicketDetails {
    /// Whether `other` describes the same ticket: a buyer who saw one of them may get the other.
    /// The price may differ; a buyer names the expected price apart.
    pub fn describes_same_ticket_as(&self, other: &Self) -> bool {
        let Self { title, price: _ } = self;
        *title == other.title
    }
}

/// An offer of a seller. `state` determines whether it can be bought.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", from = "StoredTicket")]
pub struct Ticket {
    #[serde(rename = "_id")]
    pub id: TicketId,
    pub seller: UserId,
    #[serde(flatten)]
    pub details: TicketDetails,
    pub currency: Currency,
    pub state: TicketState,
    pub version: Version,
    /// The version at which the details (without the price) were last changed. This version
    /// and later ones have the present details.
    pub details_version: Version,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// The abandoned locks, oldest first. They are kept for as long as the wait between locks of
    /// one user depends on them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lapses: Vec<Lapse>,
}

/// A ticket as stored by any version of this program.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredTicket {
    #[serde(rename = "_id")]
    id: TicketId,
    seller: UserId,
    #[serde(flatten)]
    details: TicketDetails,
    currency: Currency,
    state: TicketState,
    version: Version,
    details_version: Option<Version>,
    created_at: Timestamp,
    updated_at: Timestamp,
    #[serde(default)]
    lapses: Vec<Lapse>,
}

impl From<StoredTicket> for Ticket {
    /// A document without `detailsVersion` does not contain the version of the last change of the
    /// details. It is read as if that change were the last change of the document. So a buyer who
    /// names an earlier version is refused and has to read the ticket again, and never gets a
    /// ticket with other details than those they saw.
    fn from(stored: StoredTicket) -> Self {
        let StoredTicket {
            id,
            seller,
            details,
            currency,
            state,
            version,
            details_version,
            created_at,
            updated_at,
            lapses,
        } = stored;
        let details_version = details_version.unwrap_or(version);
        Self {
            id,
            seller,
            details,
            currency,
            state,
            version,
            details_version,
            created_at,
            updated_at,
            lapses,
        }
    }
}

/// Whether a ticket can be bought.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "status")]
pub enum TicketState {
    Available,
    /// Boxed, because most tickets in the catalog have no lock.
    Locked {
        lock: Box<Lock>,
    },
    Sold {
        order: OrderId,
    },
    /// Taken off sale. The document is kept with its version, so that a late event does not make
    /// the ticket appear again.
    Deleted,
}

/// A buyer's exclusive right to a ticket. It is identified by the order's id.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lock {
    pub order: OrderId,
    pub buyer: UserId,
    /// The end of the lock, unless a capture is running.
    pub unlocks_at: Timestamp,
    /// The replica that granted the lock. It arms the lock's timer again after a restart.
    pub replica: ReplicaName,
}

/// An abandoned lock: it expired, or its order was cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Lapse {
    pub user: UserId,
    pub at: Timestamp,
}

/// A ticket's state as clients see it. A deleted ticket has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TicketStatus {
    Available,
    Locked,
    Sold,
}

impl TicketStatus {
    /// Returns the status, spelled as in the public API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Available => "Available",
            Self::Locked => "Locked",
            Self::Sold => "Sold",
        }
    }
}

impl Ticket {
    /// Returns the status that clients see, or `None` if the ticket is deleted.
    pub fn status(&self) -> Option<TicketStatus> {
        match self.state {
            TicketState::Available => Some(TicketStatus::Available),
            TicketState::Locked { .. } => Some(TicketStatus::Locked),
            TicketState::Sold { .. } => Some(TicketStatus::Sold),
            TicketState::Deleted => None,
        }
    }

    /// Returns a copy with the next version.
    pub(super) fn next(&self, now: Timestamp) -> Self {
        Self { version: self.version + 1, updated_at: now.max(self.updated_at), ..self.clone() }
    }

    /// Returns the ticket's lock, if it has one.
    pub fn lock(&self) -> Option<&Lock> {
        match &self.state {
            TicketState::Locked { lock } => Some(lock),
            _ => None,
        }
    }

    /// Returns the order that holds or bought the ticket.
    pub fn order(&self) -> Option<OrderId> {
        match &self.state {
            TicketState::Locked { lock } => Some(lock.order),
            TicketState::Sold { order } => Some(*order),
            TicketState::Available | TicketState::Deleted => None,
        }
    }

    /// Checks that `buyer` may get the ticket, by its state alone.
    ///
    /// # Errors
    /// The refusal of a lock. It is preliminary if this copy of the ticket may be stale.
    pub fn check_lockable(&self, buyer: UserId) -> Result<(), Refusal> {
        match self.state {
            TicketState::Deleted => Err(Refusal::NotFound),
            _ if self.seller == buyer => Err(Refusal::OwnTicket),
            TicketState::Available => Ok(()),
            TicketState::Locked { .. } => Err(Refusal::TicketLocked),
            TicketState::Sold { .. } => Err(Refusal::TicketSold),
        }
    }

    /// Whether the ticket had its present details at `version`. Always false for a version that
    /// does not exist yet.
    pub fn has_details_of(&self, version: Version) -> bool {
        (self.details_version..=self.version).contains(&version)
    }

    pub fn is_deleted(&self) -> bool {
        self.state == TicketState::Deleted
    }

    /// Returns the time at which `user` may lock this ticket again, or `None` if `user` does not
    /// have to wait at `now`.
    ///
    /// The third abandoned lock within [`Policy::RELOCK_SPAN`] starts a wait of `relock_wait`.
    pub fn relock_wait_until(
        &self,
        user: UserId,
        policy: &Policy,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let is_mine =
            |lapse: &&Lapse| lapse.user == user && lapse.at - now <= Self::LAPSE_AHEAD_MAX;
        let mine: Vec<Timestamp> =
            self.lapses.iter().filter(is_mine).map(|lapse| lapse.at).collect();
        mine.windows(Policy::RELOCKS_MAX)
            .filter(|lapses| lapses[Policy::RELOCKS_MAX - 1] - lapses[0] <= Policy::RELOCK_SPAN)
            .map(|lapses| lapses[Policy::RELOCKS_MAX - 1] + policy.relock_wait)
            .filter(|until| now < *until)
            .max()
    }

    /// Returns the abandoned locks that can still cause a wait at the time of `lapse`, followed by
    /// `lapse`.
    pub(super) fn lapses_with(&self, lapse: Lapse, policy: &Policy) -> Vec<Lapse> {
        let kept_for: Millis = Millis(Policy::RELOCK_SPAN.0 + policy.relock_wait.0);
        let mut lapses: Vec<Lapse> =
            self.lapses.iter().copied().filter(|old| lapse.at - old.at <= kept_for).collect();
        lapses.push(lapse);
        if lapses.len() > Self::LAPSES_MAX {
            // The size of the document is bounded. The removed entry is the oldest of the user with
            // the fewest entries, because that user needs the most further entries before a wait
            // starts. So a wait is lost only if more than 21 users have a wait on this ticket.
            let of = |user: UserId| lapses.iter().filter(|other| other.user == user).count();
            let least = (0..lapses.len()).min_by_key(|&at| (of(lapses[at].user), at));
            lapses.remove(least.expect("the list has more than LAPSES_MAX entries"));
        }
        lapses
    }

    /// Maximum difference between an abandoned lock's time and the present if the time is in the
    /// future. A later time was written with a clock that was wrong and has been corrected. It is
    /// ignored, because the wait would last for as long as that clock was ahead.
    const LAPSE_AHEAD_MAX: Millis = Millis::from_secs(5);

    /// Maximum number of abandoned locks that a ticket stores.
    pub const LAPSES_MAX: usize = 64;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stored ticket without `detailsVersion`. Golden document: do not change it.
    const BEFORE_DETAILS_VERSION: &str = r#"{
        "_id": "0198c0de-0000-7000-8000-000000000001", "seller": "0198c0de-0000-7000-8000-000000000002", "title": "\u200bJazz", "price": 2000,
        "currency": "usd", "state": {"status": "Available"}, "version": 3, "createdAt": 1700000000000, "updatedAt": 1700000000001
    }"#;

    #[test]
    fn document_without_details_version_counts_as_changed_by_its_last_version() {
        let ticket: Ticket =
            serde_json::from_str(BEFORE_DETAILS_VERSION).expect("the earlier form is readable");
        assert_eq!((ticket.version, ticket.details_version), (3, 3));
        assert!(ticket.has_details_of(3) && !ticket.has_details_of(2) && !ticket.has_details_of(0));
        let stored = serde_json::to_value(&ticket).expect("a ticket is valid JSON");
        assert_eq!(stored["detailsVersion"], 3);
        assert_eq!(
            serde_json::from_value::<Ticket>(stored).expect("the present form is readable"),
            ticket
        );
    }

    #[test]
    fn future_version_does_not_match_the_details() {
        let ticket: Ticket =
            serde_json::from_str(BEFORE_DETAILS_VERSION).expect("the earlier form is readable");
        assert!(!ticket.has_details_of(4) && !ticket.has_details_of(Version::MAX));
    }

    /// The catalog holds up to a million tickets. The allocator's next size after 160 bytes, 16 of
    /// which are reference counts, is 192.
    #[test]
    fn ticket_in_memory_has_at_most_144_bytes() {
        assert!(size_of::<Ticket>() <= 144, "{}", size_of::<Ticket>());
    }
}
