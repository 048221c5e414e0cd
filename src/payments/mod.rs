//! Payment processors: the trait, and what stands behind it.
//!
//! A processor keeps a ledger of its own, apart from our commits; what it says is believed, and what we believe is
//! never assumed of it. Every operation is idempotent by the charge or payment that it names, so that a step which was
//! interrupted is simply done again. No rule about locks or orders lives here.

pub mod sandbox;
pub mod stripe;

use std::{
    fmt::{self, Write},
    time::Duration,
};

use async_trait::async_trait;
use fail::fail_point;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::{
    domain::{Charge, ChargeFailure, ChargeId, PaymentId, RefundId, TokenDigest},
    metrics::METRICS,
};

/// A payment-method or token id as the client sent it (`pm_…`, `tok_…`). Never logged, never stored.
#[derive(Clone, PartialEq, Eq)]
pub struct PaymentToken(String);

/// The text cannot be a token: not 1 to 255 characters of `[A-Za-z0-9_]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a payment method or token of the payment processor, such as pm_card_visa")]
pub struct TokenError;

impl PaymentToken {
    /// # Errors
    /// [`TokenError`] if no processor would know it by its shape alone.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let shaped = (1..=255).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
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

/// What a browser needs to let its user act (Stripe: `client_secret`). Never logged, never stored, in no event.
#[derive(Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(transparent)]
pub struct ClientSecret(pub String);

impl fmt::Debug for ClientSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientSecret(…)")
    }
}

/// What became of an attempt to authorize.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authorization {
    /// The money is held for us, to be captured or voided.
    Authorized,
    /// The buyer must act first (3-D Secure).
    ActionRequired { client_secret: ClientSecret },
    /// Nothing is held.
    Declined { failure: ChargeFailure },
    /// The processor does not know the token.
    InvalidToken,
}

impl Authorization {
    /// As the metrics tell them apart.
    fn outcome(&self) -> &'static str {
        match self {
            Self::Authorized | Self::ActionRequired { .. } => "ok",
            Self::Declined { .. } => "declined",
            Self::InvalidToken => "refused",
        }
    }
}

/// What the processor has of one payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PaymentState {
    /// Opened; no attempt was made, or the last one was declined.
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

/// What became of sending money back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reversal {
    /// Nothing had been captured, and nothing is held any more.
    Voided,
    Refunded {
        refund: RefundId,
    },
}

/// Why the processor gave no answer to act on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProcessorError {
    /// It may have done what was asked, or may yet: ask again.
    #[error("no definite answer: {0}")]
    Unknown(String),
    /// It will never do what was asked (the authorization was voided or has run out, the amount is not allowed).
    #[error("refused: {}", .0.message)]
    Refused(ChargeFailure),
}

/// One payment processor. All calls are bounded in time and safe to repeat.
///
/// Each call about a payment names the charge that it is for: what the processor says of it is held against the charge's
/// amount and currency, and a payment of another charge, or of another amount, is [`ProcessorError::Refused`].
#[async_trait]
pub trait Processor: Send + Sync + fmt::Debug + 'static {
    /// Whether the processor knows the token, where it can tell without an attempt. `false` is final.
    async fn token_exists(&self, token: &PaymentToken) -> Result<bool, ProcessorError>;

    /// Opens the payment of a charge, for the charge's amount and currency, or finds the one that was opened before: one
    /// charge has one payment, for ever. Refused: there is none, and there will be none.
    async fn open(&self, charge: &Charge) -> Result<PaymentId, ProcessorError>;

    /// Tries to take the authorization of an opened payment with a token.
    async fn authorize(&self, charge: &Charge, payment: &PaymentId, token: &PaymentToken) -> Result<Authorization, ProcessorError>;

    /// After the buyer says that they acted: how it stands.
    async fn resume(&self, charge: &Charge, payment: &PaymentId) -> Result<Authorization, ProcessorError>;

    /// What it has of a payment.
    async fn fetch(&self, charge: &Charge, payment: &PaymentId) -> Result<PaymentState, ProcessorError>;

    /// Takes the money that was authorized. Repeating it takes nothing twice.
    async fn capture(&self, charge: &Charge, payment: &PaymentId) -> Result<(), ProcessorError>;

    /// Makes sure that nothing of the payment is held or kept, now or later: voids it, or refunds what was captured.
    async fn reverse(&self, charge: &Charge, payment: &PaymentId) -> Result<Reversal, ProcessorError>;

    /// For which of our charges a payment was opened; `None` if it is not there, or not ours.
    async fn charge_of(&self, payment: &PaymentId) -> Result<Option<ChargeId>, ProcessorError>;

    /// A digest by which the same token is known again; keyed, so that a token cannot be guessed from it.
    fn digest(&self, token: &PaymentToken) -> TokenDigest;

    /// The longest that an attempt to authorize may take before whoever runs it has to give up: after that, nobody is
    /// at it any more.
    fn authorize_timeout(&self) -> Duration;
}

/// Counts a call by its outcome.
fn counted<T>(result: Result<T, ProcessorError>, outcome: impl Fn(&T) -> &'static str) -> Result<T, ProcessorError> {
    let outcome = match &result {
        Ok(answer) => outcome(answer),
        Err(ProcessorError::Refused(_)) => "refused",
        Err(ProcessorError::Unknown(_)) => "unknown",
    };
    METRICS.processor_calls.with_label_values(&[outcome]).inc();
    result
}

/// A point at which a test can have a call fail, pause or panic; `return(<payment id>)` fails the calls on one payment.
fn failing(point: &str, payment: Option<&PaymentId>) -> Result<(), ProcessorError> {
    let _ = (point, payment);
    fail_point!(point, |only: Option<String>| match only {
        Some(only) if payment.is_none_or(|payment| payment.as_str() != only) => Ok(()),
        _ => Err(ProcessorError::Unknown("a failpoint".into())),
    });
    Ok(())
}

/// HMAC-SHA-256 in hex; `purpose` keeps digests of different things apart.
fn keyed(key: &[u8; 32], purpose: &str, text: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(purpose.as_bytes());
    mac.update(&[0]);
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().iter().fold(String::with_capacity(64), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("writing into a String cannot fail");
        hex
    })
}
