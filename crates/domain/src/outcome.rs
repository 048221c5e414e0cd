//! The stored outcomes of requests with an Idempotency-Key, and the processed webhook events of the
//! payment processor.

use serde::{Deserialize, Serialize};

use super::{ChargeId, Order, PublicUser, Ticket, Timestamp, UserId};

/// A client's idempotency key (1 to 255 visible ASCII characters) within the scope of one user, and
/// a digest of the first request that used it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct IdempotencyKey {
    pub user: UserId,
    pub key: String,
    /// HMAC-SHA-256 over method, path and body, in hex.
    pub fingerprint: String,
}

/// The effect of a request. The answer to a retry is made from it.
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
    /// A mail with a new link was written to the outbox.
    VerificationSent,
    /// Committed together with the charge in status Created. The answer to a retry shows the
    /// charge's present state.
    Charge {
        charge: ChargeId,
    },
}

/// A webhook event of the payment processor that was processed. A repeated delivery of the same
/// event is ignored.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Delivery {
    /// The processor's id of the event; it is the same for each delivery (Stripe: `evt_…`).
    #[serde(rename = "_id")]
    pub event: String,
    /// The time at which the event was processed.
    pub at: Timestamp,
}

impl Delivery {
    /// Number of days for which the record is kept. Stripe delivers an event for at most three
    /// days; the rest is for events that are sent again by hand.
    pub const KEPT_DAYS: i64 = 7;
}

/// An idempotency key with the effect of its request. Stored in the same commit as the effect, for
/// [`IdempotencyRecord::KEPT_HOURS`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IdempotencyRecord {
    #[serde(flatten)]
    pub key: IdempotencyKey,
    pub outcome: Outcome,
    pub created_at: Timestamp,
}

impl IdempotencyRecord {
    /// Number of hours for which a record is kept, as documented in the public API.
    pub const KEPT_HOURS: i64 = 24;
}
