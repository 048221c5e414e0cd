//! What an Idempotency-Key remembers.

use serde::{Deserialize, Serialize};

use super::{ChargeId, Order, Ticket, Timestamp, UserCard, UserId};

/// The key that a client chose (1 to 255 visible ASCII characters), in the scope of one user, with the digest of the
/// request that it was first used for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct IdempotencyKey {
    pub user: UserId,
    pub key: String,
    /// HMAC-SHA-256 over method, path and body, in hex.
    pub fingerprint: String,
}

/// The effect that a request had, from which its answer can be given again as it was.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum Outcome {
    TicketCreated {
        ticket: Ticket,
    },
    TicketUpdated {
        ticket: Ticket,
    },
    TicketDeleted,
    OrderCreated {
        order: Order,
    },
    OrderCancelled,
    UserUpdated {
        user: UserCard,
    },
    /// Committed with the Created charge: a retry is answered from the charge's present state.
    Charge {
        charge: ChargeId,
    },
}

/// Stored in the same commit as the effect, for [`IdempotencyRecord::KEPT_HOURS`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IdempotencyRecord {
    #[serde(flatten)]
    pub key: IdempotencyKey,
    pub outcome: Outcome,
    pub created_at: Timestamp,
}

impl IdempotencyRecord {
    /// As the contract promises.
    pub const KEPT_HOURS: i64 = 24;
}
