//! A charge: one attempt to pay an order, and how far it got with the payment processor.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{ChargeId, Currency, Money, OrderId, TicketId, Timestamp, UserId, Version};

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            pub fn new(name: &str) -> Self {
                Self(name.into())
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

names! {
    /// The processor's name for a payment (Stripe: `pi_…`).
    PaymentId;
    /// The processor's name for a refund (Stripe: `re_…`).
    RefundId;
    /// A keyed digest of the payment token, in hex: enough to know the same token again, useless to anybody else.
    TokenDigest;
}

/// As spelled in the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ChargeStatus {
    Created,
    Failed,
    Completed,
}

/// Why a charge Failed: a stable code, and a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ChargeFailure {
    pub code: String,
    pub message: String,
}

impl ChargeFailure {
    /// What landed after the lock was gone: voided or refunded.
    pub const LOCK_LOST: &'static str = "lock_lost";

    pub fn new(code: &str, message: &str) -> Self {
        Self { code: code.into(), message: message.into() }
    }

    /// The lock ended before the money could be captured.
    pub fn lock_lost() -> Self {
        Self::new(Self::LOCK_LOST, "The ticket's lock ended before the payment did. Nothing was kept.")
    }

    /// The buyer cancelled the order while the charge waited for them.
    pub fn cancelled() -> Self {
        Self::new("order_cancelled", "The order was cancelled before the payment was finished.")
    }

    /// The buyer paid with another token while this charge waited for them.
    pub fn superseded() -> Self {
        Self::new("superseded", "Another payment was submitted in place of this one.")
    }

    /// The processor never got, or never finished, the attempt.
    pub fn interrupted() -> Self {
        Self::new("processing_error", "The payment was interrupted. Nothing was charged; try again.")
    }

    /// The processor does not know the token.
    pub fn invalid_token() -> Self {
        Self::new("invalid_token", "The payment method is not known to the payment processor.")
    }
}

/// How far a charge got. Each step says what a reconciliation after a crash has to do next.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "step")]
pub enum ChargeStep {
    /// A call that may authorize is running, or was when its process died: ask the processor what came of it.
    Authorizing,
    /// The buyer must act (3-D Secure). Nothing is running.
    AwaitingAction,
    /// The lock was claimed for it: capture, then complete.
    Capturing,
    /// It lost, for this reason: void what was authorized, refund what was captured, then it has Failed.
    Reversing { failure: ChargeFailure },
    /// Nothing is left to do.
    Final,
}

/// One attempt to pay an order.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Charge {
    #[serde(rename = "_id")]
    pub id: ChargeId,
    pub order: OrderId,
    pub ticket: TicketId,
    pub buyer: UserId,
    pub status: ChargeStatus,
    pub step: ChargeStep,
    pub amount: Money,
    pub currency: Currency,
    pub token: TokenDigest,
    /// Whether this attempt made the order AwaitingPayment; a refused token takes that back.
    pub first_attempt: bool,
    pub stripe_id: Option<PaymentId>,
    pub stripe_refund_id: Option<RefundId>,
    pub failure: Option<ChargeFailure>,
    pub version: Version,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl Charge {
    /// Whether reconciliation still has to look after it.
    pub fn is_open(&self) -> bool {
        self.step != ChargeStep::Final
    }

    /// Whether a call to the processor is running, as far as this state tells.
    pub fn is_in_flight(&self) -> bool {
        matches!(self.step, ChargeStep::Authorizing | ChargeStep::Capturing)
    }
}
