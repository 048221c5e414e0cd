//! A charge: one attempt to pay an order, and its progress at the payment processor.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{
    ChargeFailure, ChargeId, Currency, Money, OrderId, TicketId, Timestamp, UserId, Version,
};

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
    /// The name of a payment processor: `stripe`, `sandbox`.
    ProcessorName;
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

/// The state of a charge. After a crash, it determines what reconciliation does next.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "StoredCharge", into = "StoredCharge")]
pub enum ChargeState {
    /// A call that may authorize the payment is running, or was running when its process ended.
    /// After a crash: ask the processor for the state of the payment. `payment` is known if the
    /// charge waited for the buyer before.
    Authorizing { payment: Option<PaymentId> },
    /// The buyer must act (3-D Secure). No call is running.
    AwaitingAction { payment: PaymentId },
    /// The lock is claimed for this charge. Next: capture, then complete.
    Capturing { payment: PaymentId },
    /// The charge lost for the reason in `failure`. Next: void an authorized payment or refund a
    /// captured one; then the charge is Failed.
    Reversing { payment: Option<PaymentId>, failure: ChargeFailure },
    /// The processor holds no money of the charge. `refund` returned what had been captured.
    Failed { payment: Option<PaymentId>, failure: ChargeFailure, refund: Option<RefundId> },
    /// The money was captured, and the buyer has the ticket.
    Completed { payment: PaymentId },
}

/// The state as it is stored: five members of the charge's document.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredCharge {
    status: ChargeStatus,
    step: StoredStep,
    stripe_id: Option<PaymentId>,
    stripe_refund_id: Option<RefundId>,
    failure: Option<ChargeFailure>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "step")]
enum StoredStep {
    Authorizing,
    AwaitingAction,
    Capturing,
    Reversing { failure: ChargeFailure },
    Final,
}

/// The members of a stored charge contradict each other. No version of this program wrote them.
#[derive(Debug, thiserror::Error)]
#[error("a charge with status {status:?} and step {step} lacks a member, or has one too many")]
struct ContradictoryCharge {
    status: ChargeStatus,
    step: &'static str,
}

impl From<ChargeState> for StoredCharge {
    fn from(state: ChargeState) -> Self {
        let status = state.status();
        let (step, stripe_id, stripe_refund_id, failure) = match state {
            ChargeState::Authorizing { payment } => (StoredStep::Authorizing, payment, None, None),
            ChargeState::AwaitingAction { payment } => {
                (StoredStep::AwaitingAction, Some(payment), None, None)
            }
            ChargeState::Capturing { payment } => {
                (StoredStep::Capturing, Some(payment), None, None)
            }
            ChargeState::Reversing { payment, failure } => {
                (StoredStep::Reversing { failure }, payment, None, None)
            }
            ChargeState::Failed { payment, failure, refund } => {
                (StoredStep::Final, payment, refund, Some(failure))
            }
            ChargeState::Completed { payment } => (StoredStep::Final, Some(payment), None, None),
        };
        Self { status, step, stripe_id, stripe_refund_id, failure }
    }
}

impl TryFrom<StoredCharge> for ChargeState {
    type Error = ContradictoryCharge;

    fn try_from(stored: StoredCharge) -> Result<Self, ContradictoryCharge> {
        let StoredCharge { status, step, stripe_id, stripe_refund_id, failure } = stored;
        let name = step.name();
        match (status, step, stripe_id, stripe_refund_id, failure) {
            (ChargeStatus::Created, StoredStep::Authorizing, payment, None, None) => {
                Ok(Self::Authorizing { payment })
            }
            (ChargeStatus::Created, StoredStep::AwaitingAction, Some(payment), None, None) => {
                Ok(Self::AwaitingAction { payment })
            }
            (ChargeStatus::Created, StoredStep::Capturing, Some(payment), None, None) => {
                Ok(Self::Capturing { payment })
            }
            (ChargeStatus::Created, StoredStep::Reversing { failure }, payment, None, None) => {
                Ok(Self::Reversing { payment, failure })
            }
            (ChargeStatus::Failed, StoredStep::Final, payment, refund, Some(failure)) => {
                Ok(Self::Failed { payment, failure, refund })
            }
            (ChargeStatus::Completed, StoredStep::Final, Some(payment), None, None) => {
                Ok(Self::Completed { payment })
            }
            _ => Err(ContradictoryCharge { status, step: name }),
        }
    }
}

impl StoredStep {
    fn name(&self) -> &'static str {
        match self {
            Self::Authorizing => "Authorizing",
            Self::AwaitingAction => "AwaitingAction",
            Self::Capturing => "Capturing",
            Self::Reversing { .. } => "Reversing",
            Self::Final => "Final",
        }
    }
}

impl ChargeState {
    /// Returns the status that clients see.
    pub fn status(&self) -> ChargeStatus {
        match self {
            Self::Authorizing { .. }
            | Self::AwaitingAction { .. }
            | Self::Capturing { .. }
            | Self::Reversing { .. } => ChargeStatus::Created,
            Self::Failed { .. } => ChargeStatus::Failed,
            Self::Completed { .. } => ChargeStatus::Completed,
        }
    }

    /// Returns the payment at the processor, if it is known.
    pub fn payment(&self) -> Option<&PaymentId> {
        match self {
            Self::Authorizing { payment }
            | Self::Reversing { payment, .. }
            | Self::Failed { payment, .. } => payment.as_ref(),
            Self::AwaitingAction { payment }
            | Self::Capturing { payment }
            | Self::Completed { payment } => Some(payment),
        }
    }
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
    #[serde(flatten)]
    pub state: ChargeState,
    pub amount: Money,
    pub currency: Currency,
    pub token: TokenDigest,
    /// The processor that has the payment. `None` in documents of versions that did not record it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processor: Option<ProcessorName>,
    /// Whether this attempt changed the order to AwaitingPayment. If the token is refused, that
    /// change is reverted.
    pub first_attempt: bool,
    pub version: Version,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl Charge {
    /// Returns the status that clients see.
    pub fn status(&self) -> ChargeStatus {
        self.state.status()
    }

    /// Returns the payment at the processor, if it is known.
    pub fn payment(&self) -> Option<&PaymentId> {
        self.state.payment()
    }

    /// Returns the refund of the payment, if there was one.
    pub fn refund(&self) -> Option<&RefundId> {
        match &self.state {
            ChargeState::Failed { refund, .. } => refund.as_ref(),
            _ => None,
        }
    }

    /// Returns the reason of the failure, if the charge is Failed.
    pub fn failure(&self) -> Option<&ChargeFailure> {
        match &self.state {
            ChargeState::Failed { failure, .. } => Some(failure),
            _ => None,
        }
    }

    /// Whether reconciliation still has to process the charge.
    pub fn is_open(&self) -> bool {
        self.status() == ChargeStatus::Created
    }

    /// Whether the charge may still complete: it is open, and it did not lose.
    pub fn is_running(&self) -> bool {
        self.is_open() && !matches!(self.state, ChargeState::Reversing { .. })
    }

    /// Whether a call to the processor is running, according to this state.
    pub fn is_in_flight(&self) -> bool {
        matches!(self.state, ChargeState::Authorizing { .. } | ChargeState::Capturing { .. })
    }

    /// Returns a copy with the next version.
    pub(super) fn next(&self, now: Timestamp) -> Self {
        Self { version: self.version + 1, updated_at: now.max(self.updated_at), ..self.clone() }
    }

    /// Returns the next version, in another state.
    pub(super) fn changed_to(&self, state: ChargeState, now: Timestamp) -> Self {
        Self { state, ..self.next(now) }
    }

    /// Returns the charge as Reversing. It becomes Failed when the processor holds no money of it.
    pub(super) fn reversing(&self, failure: ChargeFailure, now: Timestamp) -> Self {
        self.changed_to(ChargeState::Reversing { payment: self.payment().cloned(), failure }, now)
    }
}

#[cfg(test)]
mod tests;
