//! The used parts of Stripe's objects. Their Debug form contains no secret and no message of a
//! buyer's bank, so it may be logged.
//!
//! Unknown members are ignored, because later versions of Stripe's API may add members.

use std::{collections::HashMap, fmt};

use serde::Deserialize;

use crate::ClientSecret;
use gittix_domain::{Charge, ChargeFailure, ChargeId, PaymentId, RefundId};

/// The key in a PaymentIntent's metadata whose value is the id of its charge.
pub(super) const CHARGE: &str = "charge";

/// The `status` of a PaymentIntent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Status {
    /// No attempt was made, or the last attempt was declined.
    RequiresPaymentMethod,
    /// A payment method is attached and not confirmed yet.
    RequiresConfirmation,
    RequiresAction,
    /// The bank is processing the payment.
    Processing,
    RequiresCapture,
    Canceled,
    Succeeded,
    /// A status that is unknown to this program. No conclusion may be drawn from it.
    #[serde(other)]
    Other,
}

/// A PaymentIntent.
#[derive(Deserialize)]
pub(super) struct PaymentIntent {
    pub id: String,
    pub status: Status,
    /// The amount in minor units.
    pub amount: i64,
    pub amount_received: Option<i64>,
    /// The currency code in lower case.
    pub currency: String,
    pub client_secret: Option<ClientSecret>,
    pub metadata: Option<HashMap<String, String>>,
    pub last_payment_error: Option<ErrorBody>,
}

impl fmt::Debug for PaymentIntent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PaymentIntent")
            .field("id", &self.id)
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

impl PaymentIntent {
    pub fn id(&self) -> PaymentId {
        PaymentId::new(&self.id)
    }

    /// Returns the charge for which the PaymentIntent was opened, if this program opened it.
    pub fn charge(&self) -> Option<ChargeId> {
        self.metadata.as_ref()?.get(CHARGE)?.parse().ok()
    }

    /// Checks that this is the payment of `charge`, with the charge's amount and currency.
    ///
    /// # Errors
    /// The [`ChargeFailure`] of the charge, with the code [`Self::MISMATCH`].
    pub fn check(&self, charge: &Charge) -> Result<(), ChargeFailure> {
        let amount = i64::from(charge.amount.minor());
        let same = self.charge() == Some(charge.id)
            && self.amount == amount
            && self.currency == charge.currency.code();
        if same { Ok(()) } else { Err(Self::mismatch()) }
    }

    /// Checks that the captured amount is the charge's amount, if Stripe states the captured
    /// amount.
    ///
    /// # Errors
    /// The errors of [`Self::check`].
    pub fn check_captured(&self, charge: &Charge) -> Result<(), ChargeFailure> {
        self.check(charge)?;
        if self.taken(charge) == i64::from(charge.amount.minor()) {
            Ok(())
        } else {
            Err(Self::mismatch())
        }
    }

    /// Returns the captured amount in minor units, if the payment was captured. If a server in
    /// place of Stripe does not state it, returns the charge's amount.
    pub fn taken(&self, charge: &Charge) -> i64 {
        self.amount_received.unwrap_or_else(|| i64::from(charge.amount.minor()))
    }

    /// The code of a payment that does not match its charge.
    pub const MISMATCH: &'static str = "amount_mismatch";

    fn mismatch() -> ChargeFailure {
        ChargeFailure::new(
            Self::MISMATCH,
            "The payment did not have the order's amount. Nothing was kept.",
        )
    }
}

/// The `status` of a Refund.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum RefundStatus {
    /// The refund succeeded; the bank is returning the money.
    Succeeded,
    /// No money was returned, because the bank did not accept it.
    Failed,
    Canceled,
    /// `pending` and `requires_action`: the refund may still succeed or fail.
    #[serde(other)]
    Undecided,
}

/// A Refund.
#[derive(Debug, Deserialize)]
pub(super) struct Refund {
    pub id: String,
    pub status: RefundStatus,
    /// The amount in minor units.
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

/// An object of which only the existence matters: a token or a payment method.
#[derive(Debug, Deserialize)]
pub(super) struct Anything {}

/// The member `error` of an answer that reports an error.
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
        // The message is left out, because messages may contain tokens.
        f.debug_struct("ErrorBody")
            .field("type", &self.kind)
            .field("code", &self.code)
            .finish_non_exhaustive()
    }
}

impl ErrorBody {
    /// Returns the failure of a declined card. Stripe writes the messages of card errors for
    /// buyers.
    pub fn decline(&self) -> ChargeFailure {
        const MESSAGE_CHARS_MAX: usize = 300;
        let code = self.decline_code.as_deref().or(self.code.as_deref()).unwrap_or("card_declined");
        let message = self.message.as_deref().unwrap_or("The card was declined.");
        ChargeFailure::new(code, &message.chars().take(MESSAGE_CHARS_MAX).collect::<String>())
    }

    /// Returns the failure of a request that will never be executed. Stripe's message is not
    /// included, because Stripe writes it for developers.
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
