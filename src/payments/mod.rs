//! Payment processors: the trait, and what stands behind it.
//!
//! A processor keeps a ledger of its own, apart from our commits; what it says is believed, and what we believe is
//! never assumed of it. Every operation is idempotent by the charge or payment that it names, so that a step which was
//! interrupted is simply done again. No rule about locks or orders lives here.

pub mod sandbox;

use std::fmt;

use async_trait::async_trait;

use crate::domain::{Charge, ChargeId, Failure, PaymentId, RefundId, TokenDigest};

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
#[derive(Clone, PartialEq, Eq)]
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
    Declined { failure: Failure },
    /// The processor does not know the token.
    InvalidToken,
}

/// What the processor has of one payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PaymentState {
    /// Opened; no attempt was made, or the last one was declined.
    Open {
        declined: Option<Failure>,
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
    Refused(Failure),
}

/// One payment processor. All calls are bounded in time and safe to repeat.
#[async_trait]
pub trait Processor: Send + Sync + fmt::Debug + 'static {
    /// Whether the processor knows the token, where it can tell without an attempt. `false` is final.
    async fn knows(&self, token: &PaymentToken) -> Result<bool, ProcessorError>;

    /// Opens the payment of a charge, for the charge's amount and currency, or finds the one that was opened before: one
    /// charge has one payment, for ever.
    async fn open(&self, charge: &Charge) -> Result<PaymentId, ProcessorError>;

    /// Tries to take the authorization of an opened payment with a token.
    async fn authorize(&self, charge: ChargeId, payment: &PaymentId, token: &PaymentToken) -> Result<Authorization, ProcessorError>;

    /// After the buyer says that they acted: how it stands.
    async fn resume(&self, charge: ChargeId, payment: &PaymentId) -> Result<Authorization, ProcessorError>;

    /// What it has of a payment.
    async fn fetch(&self, payment: &PaymentId) -> Result<PaymentState, ProcessorError>;

    /// Takes the money that was authorized. Repeating it takes nothing twice.
    async fn capture(&self, charge: ChargeId, payment: &PaymentId) -> Result<(), ProcessorError>;

    /// Makes sure that nothing of the payment is held or kept, now or later: voids it, or refunds what was captured.
    async fn reverse(&self, charge: ChargeId, payment: &PaymentId) -> Result<Reversal, ProcessorError>;

    /// A digest by which the same token is known again; keyed, so that a token cannot be guessed from it.
    fn digest(&self, token: &PaymentToken) -> TokenDigest;
}
