//! One payment of the sandbox and its transitions. The functions are pure: they return the next
//! state and write nothing.

use serde::{Deserialize, Serialize};

use super::tokens::{AfterAction, CaptureManner, CardBehavior, TokenBehavior};
use gittix_domain::{
    Charge, ChargeFailure, ChargeId, Currency, Money, OrderId, PaymentId, RefundId, UserId, Version,
};

/// The payment of one charge in the sandbox's ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SandboxPayment {
    #[serde(rename = "_id")]
    pub(super) id: PaymentId,
    pub(super) charge: ChargeId,
    pub(super) order: OrderId,
    pub(super) user: UserId,
    pub(super) amount: Money,
    pub(super) currency: Currency,
    pub(super) stage: Stage,
    pub(super) capture: CaptureManner,
    /// In minor units; never decreases.
    pub(super) captured: u64,
    /// In minor units; never decreases.
    pub(super) refunded: u64,
    /// Version `v` is written only over version `v - 1`.
    pub(super) version: Version,
}

/// The progress of a payment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "stage")]
pub(super) enum Stage {
    /// No attempt was made, or the last attempt was declined.
    Open {
        declined: Option<ChargeFailure>,
    },
    ActionRequired {
        waits: u8,
        #[serde(flatten)]
        then: AfterAction,
    },
    Authorized,
    Captured,
    Voided,
    Refunded {
        refund: RefundId,
    },
}

/// The next state to write, if the payment changes, and the result of the call; or the reason why
/// the call is refused for good.
pub(super) type Transition<T> = Result<(Option<SandboxPayment>, T), ChargeFailure>;

/// The state of an attempt. The caller adds the client secret, which is not stored with a payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum AttemptState {
    Authorized,
    ActionRequired,
    Declined(ChargeFailure),
}

/// The result of a reversal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reversed {
    Voided,
    Refunded(RefundId),
}

impl SandboxPayment {
    /// Returns a new payment of a charge. Its id is derived from the charge's id, so that the
    /// charge has the same payment when it is opened twice.
    pub(super) fn of(charge: &Charge) -> Self {
        Self {
            id: PaymentId::new(&format!("pi_sandbox_{}", charge.id.uuid().simple())),
            charge: charge.id,
            order: charge.order,
            user: charge.buyer,
            amount: charge.amount,
            currency: charge.currency,
            stage: Stage::Open { declined: None },
            capture: CaptureManner::Plain,
            captured: 0,
            refunded: 0,
            version: 0,
        }
    }

    /// Makes an attempt. An attempt that waits for the buyer's action is replaced by another
    /// attempt.
    pub(super) fn authorize(&self, behavior: &TokenBehavior) -> Transition<AttemptState> {
        match &self.stage {
            Stage::Authorized | Stage::Captured => Ok((None, AttemptState::Authorized)),
            Stage::Voided | Stage::Refunded { .. } => Err(already_reversed()),
            Stage::Open { .. } | Stage::ActionRequired { .. } => {
                let stage = match &behavior.attempt {
                    CardBehavior::Authorize => Stage::Authorized,
                    CardBehavior::Decline(failure) => {
                        Stage::Open { declined: Some(failure.clone()) }
                    }
                    CardBehavior::Act { waits, then } => {
                        Stage::ActionRequired { waits: *waits, then: then.clone() }
                    }
                };
                let next = Self { capture: behavior.capture, ..self.at(stage) };
                let attempt_state = next.attempt_state()?;
                Ok((Some(next), attempt_state))
            }
        }
    }

    /// Processes the buyer's report that they acted.
    pub(super) fn resume(&self) -> Transition<AttemptState> {
        let stage = match &self.stage {
            Stage::ActionRequired { waits: 0, then: AfterAction::Authorize } => Stage::Authorized,
            Stage::ActionRequired { waits: 0, then: AfterAction::Decline { failure } } => {
                Stage::Open { declined: Some(failure.clone()) }
            }
            Stage::ActionRequired { waits, then } => {
                Stage::ActionRequired { waits: waits - 1, then: then.clone() }
            }
            Stage::Open { .. }
            | Stage::Authorized
            | Stage::Captured
            | Stage::Voided
            | Stage::Refunded { .. } => {
                return Ok((None, self.attempt_state()?));
            }
        };
        let next = self.at(stage);
        let attempt_state = next.attempt_state()?;
        Ok((Some(next), attempt_state))
    }

    pub(super) fn capture(&self) -> Transition<()> {
        match &self.stage {
            Stage::Authorized if self.capture == CaptureManner::Refused => Err(ChargeFailure::new(
                "capture_failed",
                "The payment processor refused to take the authorized money.",
            )),
            Stage::Authorized => Ok((
                Some(Self { captured: u64::from(self.amount.minor()), ..self.at(Stage::Captured) }),
                (),
            )),
            Stage::Captured => Ok((None, ())),
            Stage::Open { .. } | Stage::ActionRequired { .. } => Err(unexpected()),
            Stage::Voided | Stage::Refunded { .. } => Err(already_reversed()),
        }
    }

    /// Voids a payment without captured money, or refunds captured money. Afterwards the payment
    /// can be neither authorized nor captured.
    pub(super) fn reverse(&self) -> Transition<Reversed> {
        match &self.stage {
            Stage::Open { .. } | Stage::ActionRequired { .. } | Stage::Authorized => {
                Ok((Some(self.at(Stage::Voided)), Reversed::Voided))
            }
            Stage::Captured => {
                let refund = RefundId::new(&format!("re_sandbox_{}", self.charge.uuid().simple()));
                let next = Self {
                    refunded: self.captured,
                    ..self.at(Stage::Refunded { refund: refund.clone() })
                };
                Ok((Some(next), Reversed::Refunded(refund)))
            }
            Stage::Voided => Ok((None, Reversed::Voided)),
            Stage::Refunded { refund } => Ok((None, Reversed::Refunded(refund.clone()))),
        }
    }

    fn attempt_state(&self) -> Result<AttemptState, ChargeFailure> {
        match &self.stage {
            Stage::Open { declined: None } => Err(unexpected()),
            Stage::Open { declined: Some(failure) } => Ok(AttemptState::Declined(failure.clone())),
            Stage::ActionRequired { .. } => Ok(AttemptState::ActionRequired),
            Stage::Authorized | Stage::Captured => Ok(AttemptState::Authorized),
            Stage::Voided | Stage::Refunded { .. } => Err(already_reversed()),
        }
    }

    fn at(&self, stage: Stage) -> Self {
        Self { stage, version: self.version + 1, ..self.clone() }
    }
}

/// Returns a failure with Stripe's code `payment_intent_unexpected_state`.
fn unexpected() -> ChargeFailure {
    ChargeFailure::new(
        "payment_intent_unexpected_state",
        "The payment's state does not allow this operation.",
    )
}

/// Returns the failure for a payment that was voided or refunded.
fn already_reversed() -> ChargeFailure {
    ChargeFailure::new("payment_intent_unexpected_state", "The payment was voided or refunded.")
}
