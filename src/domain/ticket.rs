//! A ticket and the lock on it.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{Currency, Millis, Money, OrderId, Policy, TicketId, Timestamp, Title, UserId, Version};

/// The stable name of the server process that granted a lock (`GITTIX_REPLICA`). It only says who arms the timer first.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReplicaName(Arc<str>);

impl ReplicaName {
    /// Any text; uniqueness is not relied on.
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// The name as configured.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ReplicaName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Something that a seller offers. `state` is the authority on who may buy it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", from = "StoredTicket")]
pub struct Ticket {
    #[serde(rename = "_id")]
    pub id: TicketId,
    pub seller: UserId,
    pub title: Title,
    pub price: Money,
    pub currency: Currency,
    pub state: TicketState,
    pub version: Version,
    /// The version that the last change of the title made: a buyer who saw it, or a later one, saw this title.
    pub details_version: Version,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// Locks that came to nothing, oldest first, for as long as the wait between locks of one user needs them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lapses: Vec<Lapse>,
}

/// A ticket as any version of this program has stored it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredTicket {
    #[serde(rename = "_id")]
    id: TicketId,
    seller: UserId,
    title: Title,
    price: Money,
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
    /// A document without `detailsVersion` does not say when its title changed. It is read as if that was its last change: a
    /// buyer who saw an earlier version is asked to look again, and never gets another title than the one they saw.
    fn from(stored: StoredTicket) -> Self {
        let StoredTicket { id, seller, title, price, currency, state, version, details_version, created_at, updated_at, lapses } = stored;
        let details_version = details_version.unwrap_or(version);
        Self { id, seller, title, price, currency, state, version, details_version, created_at, updated_at, lapses }
    }
}

/// Whether a ticket can be bought.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "status")]
pub enum TicketState {
    Available,
    /// Boxed, since most of a million tickets have none.
    Locked {
        lock: Box<Lock>,
    },
    Sold {
        order: OrderId,
    },
    /// Taken off sale. Kept as a tombstone with its version, so that a late event revives nothing.
    Deleted,
}

/// A buyer's exclusive right to a ticket. Its identity is the order's id.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lock {
    pub order: OrderId,
    pub buyer: UserId,
    /// When the lock ends, unless a capture is on its way.
    pub unlocks_at: Timestamp,
    /// Who granted it and re-arms its timer after a restart.
    pub replica: ReplicaName,
}

/// A lock that lapsed or was cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Lapse {
    pub user: UserId,
    pub at: Timestamp,
}

/// A ticket's state as clients see it; a deleted one has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TicketStatus {
    Available,
    Locked,
    Sold,
}

impl TicketStatus {
    /// As spelled in the contract.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Available => "Available",
            Self::Locked => "Locked",
            Self::Sold => "Sold",
        }
    }
}

impl Ticket {
    /// What clients see, or `None` once the ticket was taken off sale.
    pub fn status(&self) -> Option<TicketStatus> {
        match self.state {
            TicketState::Available => Some(TicketStatus::Available),
            TicketState::Locked { .. } => Some(TicketStatus::Locked),
            TicketState::Sold { .. } => Some(TicketStatus::Sold),
            TicketState::Deleted => None,
        }
    }

    /// The lock that is on it, if there is one.
    pub fn lock(&self) -> Option<&Lock> {
        match &self.state {
            TicketState::Locked { lock } => Some(lock),
            _ => None,
        }
    }

    /// The order that holds it or bought it.
    pub fn order(&self) -> Option<OrderId> {
        match &self.state {
            TicketState::Locked { lock } => Some(lock.order),
            TicketState::Sold { order } => Some(*order),
            TicketState::Available | TicketState::Deleted => None,
        }
    }

    /// Whether a buyer who saw the ticket at `version` saw its present title. No buyer saw a version that is still to come.
    pub fn has_details_of(&self, version: Version) -> bool {
        (self.details_version..=self.version).contains(&version)
    }

    pub fn is_deleted(&self) -> bool {
        self.state == TicketState::Deleted
    }

    /// When `user` may lock this ticket again, if they have to wait at `now`.
    ///
    /// The third lapse within [`Policy::RELOCK_SPAN`] starts a wait of `relock_wait`.
    pub fn relock_wait_until(&self, user: UserId, policy: &Policy, now: Timestamp) -> Option<Timestamp> {
        let is_mine = |lapse: &&Lapse| lapse.user == user && lapse.at - now <= Self::LAPSE_AHEAD_MAX;
        let mine: Vec<Timestamp> = self.lapses.iter().filter(is_mine).map(|lapse| lapse.at).collect();
        mine.windows(Policy::RELOCKS_MAX)
            .filter(|lapses| lapses[Policy::RELOCKS_MAX - 1] - lapses[0] <= Policy::RELOCK_SPAN)
            .map(|lapses| lapses[Policy::RELOCKS_MAX - 1] + policy.relock_wait)
            .filter(|until| now < *until)
            .max()
    }

    /// The lapses that still matter at `now`, and one more.
    pub(super) fn lapses_with(&self, lapse: Lapse, policy: &Policy) -> Vec<Lapse> {
        let kept_for: Millis = Millis(Policy::RELOCK_SPAN.0 + policy.relock_wait.0);
        let mut lapses: Vec<Lapse> = self.lapses.iter().copied().filter(|old| lapse.at - old.at <= kept_for).collect();
        lapses.push(lapse);
        if lapses.len() > Self::LAPSES_MAX {
            // A bound on the document. Whoever has the fewest is the furthest from having to wait: their oldest gives way, so
            // that on a ticket in demand nobody's wait is forgotten because of others.
            let of = |user: UserId| lapses.iter().filter(|other| other.user == user).count();
            let least = (0..lapses.len()).min_by_key(|&at| (of(lapses[at].user), at));
            lapses.remove(least.expect("it has more than LAPSES_MAX"));
        }
        lapses
    }

    /// A lapse that is further ahead of now was written by a clock that has been corrected since, and does not count: the
    /// wait would last as long as that clock was ahead.
    const LAPSE_AHEAD_MAX: Millis = Millis::from_secs(5);

    /// How many lapses a ticket remembers.
    pub const LAPSES_MAX: usize = 64;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ticket as it was stored before `detailsVersion` was: golden, not to be changed.
    const BEFORE_DETAILS_VERSION: &str = r#"{
        "_id": "0198c0de-0000-7000-8000-000000000001", "seller": "0198c0de-0000-7000-8000-000000000002", "title": "\u200bJazz", "price": 2000,
        "currency": "usd", "state": {"status": "Available"}, "version": 3, "createdAt": 1700000000000, "updatedAt": 1700000000001
    }"#;

    #[test]
    fn document_without_details_version_counts_as_changed_by_its_last_version() {
        let ticket: Ticket = serde_json::from_str(BEFORE_DETAILS_VERSION).expect("an earlier form is readable");
        assert_eq!((ticket.version, ticket.details_version), (3, 3));
        assert!(ticket.has_details_of(3) && !ticket.has_details_of(2) && !ticket.has_details_of(0));
        let stored = serde_json::to_value(&ticket).expect("JSON");
        assert_eq!(stored["detailsVersion"], 3);
        assert_eq!(serde_json::from_value::<Ticket>(stored).expect("its own form is readable"), ticket);
    }

    #[test]
    fn details_of_a_version_to_come_match_no_request() {
        let ticket: Ticket = serde_json::from_str(BEFORE_DETAILS_VERSION).expect("readable");
        assert!(!ticket.has_details_of(4) && !ticket.has_details_of(Version::MAX));
    }

    /// The catalog holds a million of them; the allocator's next class after 160 bytes, 16 of which are counts, is 192.
    #[test]
    fn ticket_in_memory_has_at_most_144_bytes() {
        assert!(size_of::<Ticket>() <= 144, "{}", size_of::<Ticket>());
    }
}
