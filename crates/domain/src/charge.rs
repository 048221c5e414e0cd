//! A charge: one attempt to pay an order, and its progress at the payment processor.

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
    /// The processor's id of a payment (Stripe: `pi_…`).
    PaymentId;
    /// The processor's id of a refund (Stripe: `re_…`).
    RefundId;
    /// A keyed digest of the payment token, in hex. It identifies a repeated token, and the token
    /// cannot be derived from it.
    TokenDigest;
}

/// The status of a charge, spelled as in the public API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ChargeStatus {
    Created,
    Failed,
    Completed,
}

/// The reason why a charge Failed: a stable code, and a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ChargeFailure {
    pub code: String,
    pub message: String,
}

impl ChargeFailure {
    /// The code of a charge whose lock ended before the sale. Its payment is voided or refunded.
    pub const LOCK_LOST: &'static str = "lock_lost";

    pub fn new(code: &str, message: &str) -> Self {
        Self { code: code.into(), message: message.into() }
    }

    /// Returns the failure of a charge whose lock ended before the money could be captured.
    pub fn lock_lost() -> Self {
        Self::new(
            Self::LOCK_LOST,
            "The ticket's lock ended before the payment did. Nothing was kept.",
        )
    }

    /// Returns the failure of a charge whose order the buyer cancelled while the charge waited for
    /// the buyer's action.
    pub fn cancelled() -> Self {
        Self::new("order_cancelled", "The order was cancelled before the payment was finished.")
    }

    /// Returns the failure of a charge that was replaced: the buyer paid with another token while
    /// it waited for the buyer's action.
    pub fn superseded() -> Self {
        Self::new("superseded", "Another payment was submitted in place of this one.")
    }

    /// Returns the failure of an attempt that the processor did not receive or did not finish.
    pub fn interrupted() -> Self {
        Self::new(
            "processing_error",
            "The payment was interrupted. Nothing was charged; try again.",
        )
    }

    /// Returns the failure of an attempt with a token that does not exist at the processor.
    pub fn invalid_token() -> Self {
        Self::new("invalid_token", "The payment method is not known to the payment processor.")
    }
}

/// The progress of a charge. After a crash, the step determines what reconciliation does next.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "step")]
pub enum ChargeStep {
    /// A call that may authorize the payment is running, or was running when its process ended.
    /// After a crash: ask the processor for the state of the payment.
    Authorizing,
    /// The buyer must act (3-D Secure). No call is running.
    AwaitingAction,
    /// The lock is claimed for this charge. Next: capture, then complete.
    Capturing,
    /// The charge lost for the reason in `failure`. Next: void an authorized payment or refund a
    /// captured one; then the charge is Failed.
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
    /// Whether this attempt changed the order to AwaitingPayment. If the token is refused, that
    /// change is reverted.
    pub first_attempt: bool,
    pub stripe_id: Option<PaymentId>,
    pub stripe_refund_id: Option<RefundId>,
    pub failure: Option<ChargeFailure>,
    pub version: Version,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl Charge {
    /// Whether reconciliation still has to process the charge.
    pub fn is_open(&self) -> bool {
        self.step != ChargeStep::Final
    }

    /// Whether a call to the processor is running, according to this state.
    pub fn is_in_flight(&self) -> bool {
        matches!(self.step, ChargeStep::Authorizing | ChargeStep::Capturing)
    }
}
