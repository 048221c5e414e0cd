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
#[serde(rename_all = "camelCase")]
pub struct Ticket {
    #[serde(rename = "_id")]
    pub id: TicketId,
    pub seller: UserId,
    pub title: Title,
    pub price: Money,
    pub currency: Currency,
    pub state: TicketState,
    pub version: Version,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// Locks that came to nothing, oldest first, for as long as the wait between locks of one user needs them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lapses: Vec<Lapse>,
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
