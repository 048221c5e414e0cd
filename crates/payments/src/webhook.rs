//! The verification of a processor's webhook events. Pure: it reads no clock.

use std::fmt;

use gittix_domain::{PaymentId, Timestamp};

/// The verifier of the events of one processor.
pub trait WebhookVerifier: fmt::Debug + Send + Sync {
    /// Returns the name of the header that carries the signature, in lower case.
    fn signature_header(&self) -> &'static str;

    /// Checks the header of an event before its body is read. This is no proof: any client can send
    /// such a header.
    ///
    /// # Errors
    /// Any [`SignatureError`] except [`SignatureError::Wrong`].
    fn check_signature_header(&self, signature: &str, now: Timestamp)
    -> Result<(), SignatureError>;

    /// Checks that the processor signed `body`. Returns `None` if the body is not an event of the
    /// processor.
    ///
    /// # Errors
    /// Any [`SignatureError`]. The error is for the log and not for the sender.
    fn verify(
        &self,
        signature: &str,
        body: &[u8],
        now: Timestamp,
    ) -> Result<Option<Notice>, SignatureError>;
}

/// The reason why an event is not accepted as an event of the processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    #[error("the signature is missing or cannot be parsed")]
    Missing,
    #[error("no signature matches")]
    Wrong,
    #[error("the signature's time is too old or in the future")]
    OutOfTime,
    #[error("no secret is configured for verification")]
    NoSecret,
}

/// The used parts of an event: its id, its type, and the payment whose state has to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The id of the event (Stripe: `evt_…`), which is the same for each delivery of the event.
    pub event: String,
    /// The type of the event, such as Stripe's `payment_intent.amount_capturable_updated`.
    pub kind: String,
    /// The payment of the event. `None` if the event is about something else, or about another
    /// account.
    pub payment: Option<PaymentId>,
    /// Whether the event is about real money.
    pub is_live: bool,
}
