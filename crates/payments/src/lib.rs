//! Payment processors: the trait, their settings, the built-in sandbox and Stripe.
//!
//! A processor has its own ledger, which is not part of this program's commits. The processor's
//! answer is taken as true; the program's own records are never assumed to match the ledger.
//!
//! Every call may be repeated: an authorization, capture or reversal that was done is not done
//! twice. So an interrupted step is repeated. This crate has no rules about locks or orders.

pub mod config;
pub mod processor_config;
pub mod sandbox;
pub mod stripe;
pub mod webhook;

use std::{fmt, time::Duration};

use async_trait::async_trait;
use fail::fail_point;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use gittix_domain::{
    Charge, ChargeFailure, ChargeId, PaymentId, ProcessorName, RefundId, TokenDigest,
};
use gittix_runtime::metrics::METRICS;

/// A payment method or token id as the client sent it (`pm_…`, `tok_…`). It is never logged and
/// never stored.
#[derive(Clone, PartialEq, Eq)]
pub struct PaymentToken(String);

/// The error for a text that cannot be a token: it is not 1 to 255 characters of `[A-Za-z0-9_]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a payment method or token of the payment processor, such as pm_card_visa")]
pub struct TokenError;

impl PaymentToken {
    /// # Errors
    /// [`TokenError`] if the text cannot be a token of any processor.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let shaped = (1..=255).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if shaped { Ok(Self(text.into())) } else { Err(TokenError) }
    }

    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PaymentToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PaymentToken(…)")
    }
}

/// The secret with which a browser lets its user act (Stripe: `client_secret`). It is never logged
/// or stored, and no event contains it.
#[derive(Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(transparent)]
pub struct ClientSecret(pub String);

impl fmt::Debug for ClientSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientSecret(…)")
    }
}

/// The result of an attempt to authorize.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authorization {
    /// The money is held. The authorization can be captured or voided.
    Authorized,
    /// The buyer must act first (3-D Secure).
    ActionRequired { client_secret: ClientSecret },
    /// No money is held.
    Declined { failure: ChargeFailure },
    /// The token does not exist at the processor.
    InvalidToken,
}

impl Authorization {
    /// Returns the outcome label of the metrics.
    fn outcome(&self) -> &'static str {
        match self {
            Self::Authorized | Self::ActionRequired { .. } => "ok",
            Self::Declined { .. } => "declined",
            Self::InvalidToken => "refused",
        }
    }
}

/// The state of one payment at the processor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PaymentState {
    /// Opened. No attempt was made, or the last attempt was declined.
    Open {
        declined: Option<ChargeFailure>,
    },
    ActionRequired {
        client_secret: ClientSecret,
    },
    Authorized,
    Captured,
    Voided,
    Refunded {
        refund: RefundId,
    },
}

/// The result of a reversal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reversal {
    /// No money had been captured, and none is held any more.
    Voided,
    Refunded {
        refund: RefundId,
    },
}

/// The reason why a call gave no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProcessorError {
    /// The processor may have done the request or may still do it. The call has to be repeated.
    #[error("no definite answer: {0}")]
    Unknown(String),
    /// The processor will never do the request (the authorization was voided or has expired, or the
    /// amount is not allowed).
    #[error("refused: {}", .0.message)]
    Refused(ChargeFailure),
}

/// One payment processor. Calls to a server are bounded in time, and all calls are safe to repeat.
///
/// Each call about a payment, except `charge_of`, names the charge of the payment. A payment of
/// another charge is [`ProcessorError::Refused`]. Stripe also compares amount and currency, but not
/// in `reverse`; the sandbox compares them in `open`.
#[async_trait]
pub trait Processor: Send + Sync + fmt::Debug + 'static {
    /// Returns the name of the processor, which is stored in each of its charges.
    fn name(&self) -> ProcessorName;

    /// Whether the token exists at the processor, if that can be determined without an attempt.
    /// `false` is final.
    async fn token_exists(&self, token: &PaymentToken) -> Result<bool, ProcessorError>;

    /// Opens the payment of a charge with the charge's amount and currency, or returns the payment
    /// that was opened before. One charge has one payment that can be paid. `Refused`: no payment
    /// that can be paid was opened. A PaymentIntent that does not match its charge may exist; it
    /// holds no money.
    async fn open(&self, charge: &Charge) -> Result<PaymentId, ProcessorError>;

    /// Attempts to authorize an opened payment with a token.
    async fn authorize(
        &self,
        charge: &Charge,
        payment: &PaymentId,
        token: &PaymentToken,
    ) -> Result<Authorization, ProcessorError>;

    /// Returns the state of an attempt after the buyer reported that they acted.
    async fn resume(
        &self,
        charge: &Charge,
        payment: &PaymentId,
    ) -> Result<Authorization, ProcessorError>;

    /// Returns the state of a payment at the processor.
    async fn fetch(
        &self,
        charge: &Charge,
        payment: &PaymentId,
    ) -> Result<PaymentState, ProcessorError>;

    /// Captures the authorized money. A repeated call does not capture again.
    async fn capture(&self, charge: &Charge, payment: &PaymentId) -> Result<(), ProcessorError>;

    /// Ensures that no money of the payment is held or kept, now or later: voids the payment, or
    /// refunds the captured money.
    async fn reverse(
        &self,
        charge: &Charge,
        payment: &PaymentId,
    ) -> Result<Reversal, ProcessorError>;

    /// Returns the charge for which a payment was opened, or `None` if the payment does not exist
    /// or names no charge. The charge may be of another store that uses the same account.
    async fn charge_of(&self, payment: &PaymentId) -> Result<Option<ChargeId>, ProcessorError>;

    /// Returns a digest that identifies a repeated token. It is keyed, so that a token cannot be
    /// guessed from it.
    fn digest(&self, token: &PaymentToken) -> TokenDigest;

    /// The maximum duration of an attempt to authorize. The caller has to stop the attempt at that
    /// time, so that no call of the attempt is running afterwards.
    fn authorize_timeout(&self) -> Duration;
}

/// Counts a call by its outcome.
fn record_outcome<T>(
    result: Result<T, ProcessorError>,
    outcome: impl Fn(&T) -> &'static str,
) -> Result<T, ProcessorError> {
    let outcome = match &result {
        Ok(answer) => outcome(answer),
        Err(ProcessorError::Refused(_)) => "refused",
        Err(ProcessorError::Unknown(_)) => "unknown",
    };
    METRICS.processor_calls.with_label_values(&[outcome]).inc();
    result
}

/// A failpoint at which a test makes a call fail, pause or panic. `return(<payment id>)` fails only
/// the calls about one payment.
fn failing(point: &str, payment: Option<&PaymentId>) -> Result<(), ProcessorError> {
    let _ = (point, payment);
    fail_point!(point, |only: Option<String>| match only {
        Some(only) if payment.is_none_or(|payment| payment.as_str() != only) => Ok(()),
        _ => Err(ProcessorError::Unknown("a failpoint".into())),
    });
    Ok(())
}

/// Returns an HMAC-SHA-256 in hex. `purpose` separates digests of different kinds of text.
fn keyed(key: &[u8; 32], purpose: &str, text: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(purpose.as_bytes());
    mac.update(&[0]);
    mac.update(text.as_bytes());
    hex::encode(mac.finalize().into_bytes())
}
