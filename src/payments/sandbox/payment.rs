//! One payment of the sandbox and what may happen to it. Pure: what is to be written comes back, nothing is written here.

use serde::{Deserialize, Serialize};

use super::tokens::{AfterAction, Behaviour, CaptureManner, CardBehavior};
use crate::domain::{Charge, ChargeFailure, ChargeId, Currency, Money, OrderId, PaymentId, RefundId, UserId, Version};

/// What the sandbox has of one charge.
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
    /// In minor units; never goes down.
    pub(super) captured: u64,
    /// In minor units; never goes down.
    pub(super) refunded: u64,
    /// A state of version `v` is written only over version `v - 1`.
    pub(super) version: Version,
}

/// How far it got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "stage")]
pub(super) enum Stage {
    /// No attempt was made, or the last one was declined.
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

/// What is to be written, if anything, and what is true then; or why it will never be done.
pub(super) type Transition<T> = Result<(Option<SandboxPayment>, T), ChargeFailure>;

/// How an attempt stands. The caller adds the client secret, which is no part of a payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    Authorized,
    ActionRequired,
    Declined(ChargeFailure),
}

/// What a reversal came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reversed {
    Voided,
    Refunded(RefundId),
}

impl SandboxPayment {
    /// The payment of a charge: its id follows from the charge's, so that opening it twice finds the same.
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

    /// One attempt. While the buyer is to act, another attempt takes the first one's place.
    pub(super) fn authorize(&self, behaviour: &Behaviour) -> Transition<Standing> {
        match &self.stage {
            Stage::Authorized | Stage::Captured => Ok((None, Standing::Authorized)),
            Stage::Voided | Stage::Refunded { .. } => Err(over()),
            Stage::Open { .. } | Stage::ActionRequired { .. } => {
                let stage = match &behaviour.attempt {
                    CardBehavior::Authorize => Stage::Authorized,
                    CardBehavior::Decline(failure) => Stage::Open { declined: Some(failure.clone()) },
                    CardBehavior::Act { waits, then } => Stage::ActionRequired { waits: *waits, then: then.clone() },
                };
                let next = Self { capture: behaviour.capture, ..self.at(stage) };
                let standing = next.standing()?;
                Ok((Some(next), standing))
            }
        }
    }

    /// The buyer says that they acted.
    pub(super) fn resume(&self) -> Transition<Standing> {
        let stage = match &self.stage {
            Stage::ActionRequired { waits: 0, then: AfterAction::Authorize } => Stage::Authorized,
            Stage::ActionRequired { waits: 0, then: AfterAction::Decline { failure } } => Stage::Open { declined: Some(failure.clone()) },
            Stage::ActionRequired { waits, then } => Stage::ActionRequired { waits: waits - 1, then: then.clone() },
            Stage::Open { .. } | Stage::Authorized | Stage::Captured | Stage::Voided | Stage::Refunded { .. } => {
                return Ok((None, self.standing()?));
            }
        };
        let next = self.at(stage);
        let standing = next.standing()?;
        Ok((Some(next), standing))
    }

    pub(super) fn capture(&self) -> Transition<()> {
        match &self.stage {
            Stage::Authorized if self.capture == CaptureManner::Refused => {
                Err(ChargeFailure::new("capture_failed", "The payment processor refused to take the authorized money."))
            }
            Stage::Authorized => Ok((Some(Self { captured: u64::from(self.amount.minor()), ..self.at(Stage::Captured) }), ())),
            Stage::Captured => Ok((None, ())),
            Stage::Open { .. } | Stage::ActionRequired { .. } => Err(unexpected()),
            Stage::Voided | Stage::Refunded { .. } => Err(over()),
        }
    }

    /// Voids what was not captured, refunds what was. From then on nothing can be authorized or captured any more.
    pub(super) fn reverse(&self) -> Transition<Reversed> {
        match &self.stage {
            Stage::Open { .. } | Stage::ActionRequired { .. } | Stage::Authorized => Ok((Some(self.at(Stage::Voided)), Reversed::Voided)),
            Stage::Captured => {
                let refund = RefundId::new(&format!("re_sandbox_{}", self.charge.uuid().simple()));
                let next = Self { refunded: self.captured, ..self.at(Stage::Refunded { refund: refund.clone() }) };
                Ok((Some(next), Reversed::Refunded(refund)))
            }
            Stage::Voided => Ok((None, Reversed::Voided)),
            Stage::Refunded { refund } => Ok((None, Reversed::Refunded(refund.clone()))),
        }
    }

    fn standing(&self) -> Result<Standing, ChargeFailure> {
        match &self.stage {
            Stage::Open { declined: None } => Err(unexpected()),
            Stage::Open { declined: Some(failure) } => Ok(Standing::Declined(failure.clone())),
            Stage::ActionRequired { .. } => Ok(Standing::ActionRequired),
            Stage::Authorized | Stage::Captured => Ok(Standing::Authorized),
            Stage::Voided | Stage::Refunded { .. } => Err(over()),
        }
    }

    fn at(&self, stage: Stage) -> Self {
        Self { stage, version: self.version + 1, ..self.clone() }
    }
}

/// Stripe: `payment_intent_unexpected_state`.
fn unexpected() -> ChargeFailure {
    ChargeFailure::new("payment_intent_unexpected_state", "The payment is not at a point where this can be done.")
}

/// It was voided or refunded.
fn over() -> ChargeFailure {
    ChargeFailure::new("payment_intent_unexpected_state", "The payment was voided or refunded.")
}
