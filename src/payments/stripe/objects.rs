//! Stripe's objects, as far as they matter here, and what is said of their Debug form: no secret, no message of a
//! person's bank gets into a log by it.
//!
//! Members that are not named are passed over, so that a later version of Stripe's API may add what it likes.

use std::{collections::HashMap, fmt};

use serde::Deserialize;

use crate::{
    domain::{Charge, ChargeFailure, ChargeId, PaymentId, RefundId},
    payments::ClientSecret,
};

/// The name in a PaymentIntent's metadata under which it carries the id of the charge that it was opened for.
pub(super) const CHARGE: &str = "charge";

/// `status` of a PaymentIntent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Status {
    /// Just made, or the last attempt was declined.
    RequiresPaymentMethod,
    /// A payment method is attached and was not tried yet.
    RequiresConfirmation,
    RequiresAction,
    /// The bank is at it.
    Processing,
    RequiresCapture,
    Canceled,
    Succeeded,
    /// One that this program does not know: nothing may be concluded from it.
    #[serde(other)]
    Other,
}

/// A PaymentIntent.
#[derive(Deserialize)]
pub(super) struct PaymentIntent {
    pub id: String,
    pub status: Status,
    /// In minor units.
    pub amount: i64,
    pub amount_received: Option<i64>,
    /// In lower case.
    pub currency: String,
    pub client_secret: Option<ClientSecret>,
    pub metadata: Option<HashMap<String, String>>,
    pub last_payment_error: Option<ErrorBody>,
}

impl fmt::Debug for PaymentIntent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PaymentIntent").field("id", &self.id).field("status", &self.status).finish_non_exhaustive()
    }
}

impl PaymentIntent {
    pub fn id(&self) -> PaymentId {
        PaymentId::new(&self.id)
    }

    /// The charge that it was opened for, if it was opened by this program.
    pub fn charge(&self) -> Option<ChargeId> {
        self.metadata.as_ref()?.get(CHARGE)?.parse().ok()
    }

    /// That it is the payment of `charge`, over the charge's amount in the charge's currency.
    ///
    /// # Errors
    /// The [`ChargeFailure`] that the charge ends with; its code is [`Self::MISMATCH`].
    pub fn check(&self, charge: &Charge) -> Result<(), ChargeFailure> {
        let amount = i64::from(charge.amount.minor());
        let same = self.charge() == Some(charge.id) && self.amount == amount && self.currency == charge.currency.code();
        if same { Ok(()) } else { Err(Self::mismatch()) }
    }

    /// That what was taken is the charge's amount, where Stripe says what was taken.
    ///
    /// # Errors
    /// As of [`Self::check`].
    pub fn check_captured(&self, charge: &Charge) -> Result<(), ChargeFailure> {
        self.check(charge)?;
        if self.taken(charge) == i64::from(charge.amount.minor()) { Ok(()) } else { Err(Self::mismatch()) }
    }

    /// What was taken, in minor units, if it was captured. Where Stripe's stand-ins do not say: the charge's amount.
    pub fn taken(&self, charge: &Charge) -> i64 {
        self.amount_received.unwrap_or_else(|| i64::from(charge.amount.minor()))
    }

    /// The code of a payment that is not the charge's.
    pub const MISMATCH: &'static str = "amount_mismatch";

    fn mismatch() -> ChargeFailure {
        ChargeFailure::new(Self::MISMATCH, "The payment was not over the order's amount. Nothing was kept.")
    }
}

/// `status` of a Refund.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum RefundStatus {
    /// The money is on its way.
    Succeeded,
    /// Nothing was sent back: the bank did not take it.
    Failed,
    Canceled,
    /// `pending` and `requires_action`: it may still become either.
    #[serde(other)]
    Undecided,
}

/// A Refund.
#[derive(Debug, Deserialize)]
pub(super) struct Refund {
    pub id: String,
    pub status: RefundStatus,
    /// In minor units.
    pub amount: i64,
}

impl Refund {
    pub fn id(&self) -> RefundId {
        RefundId::new(&self.id)
    }
}

/// One page of a list.
#[derive(Debug, Deserialize)]
pub(super) struct StripeList<T> {
    pub data: Vec<T>,
    #[serde(default)]
    pub has_more: bool,
}

/// What a token or a payment method is beyond its existence does not matter.
#[derive(Debug, Deserialize)]
pub(super) struct Anything {}

/// The member `error` of an answer that is none of success.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct ErrorBody {
    #[serde(rename = "type")]
    pub kind: Option<String>,
    pub code: Option<String>,
    /// The card issuer's reason.
    pub decline_code: Option<String>,
    pub message: Option<String>,
    pub param: Option<String>,
}

impl fmt::Debug for ErrorBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Messages may name tokens.
        f.debug_struct("ErrorBody").field("type", &self.kind).field("code", &self.code).finish_non_exhaustive()
    }
}

impl ErrorBody {
    /// What a refused card's buyer is told. Stripe's messages of card errors are made for them.
    pub fn decline(&self) -> ChargeFailure {
        const MESSAGE_CHARS_MAX: usize = 300;
        let code = self.decline_code.as_deref().or(self.code.as_deref()).unwrap_or("card_declined");
        let message = self.message.as_deref().unwrap_or("The card was declined.");
        ChargeFailure::new(code, &message.chars().take(MESSAGE_CHARS_MAX).collect::<String>())
    }

    /// Of a request that will never be done. Stripe's message is for its integrator, so it is not passed on.
    pub fn refusal(&self) -> ChargeFailure {
        ChargeFailure::new(
            self.code.as_deref().unwrap_or("processor_refused"),
            "The payment processor refused the payment. Nothing was charged.",
        )
    }

    pub fn has_code(&self, code: &str) -> bool {
        self.code.as_deref() == Some(code)
    }
}
