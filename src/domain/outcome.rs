//! What an Idempotency-Key remembers, and what is remembered of the processor's messages.

use serde::{Deserialize, Serialize};

use super::{ChargeId, Order, PublicUser, Ticket, Timestamp, UserId};

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
        user: PublicUser,
    },
    /// Committed with the Created charge: a retry is answered from the charge's present state.
    Charge {
        charge: ChargeId,
    },
}

/// A message of the payment processor's own accord that was dealt with: one that comes again needs nothing any more.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Delivery {
    /// The processor's name for the event, the same however often it is delivered (Stripe: `evt_…`).
    #[serde(rename = "_id")]
    pub event: String,
    /// When it was dealt with.
    pub at: Timestamp,
}

impl Delivery {
    /// Stripe delivers an event for three days at most; the rest is for hands that send one again.
    pub const KEPT_DAYS: i64 = 7;
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
