//! The reason why a charge failed.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The code of a failed charge, spelled as in the public API.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum FailureCode {
    /// The lock ended before the sale. The payment is voided or refunded.
    LockLost,
    /// The buyer cancelled the order while the charge waited for the buyer's action.
    OrderCancelled,
    /// The buyer paid with another token while the charge waited for the buyer's action.
    Superseded,
    /// The processor did not receive the attempt, or did not finish it.
    ProcessingError,
    /// The token does not exist at the processor.
    InvalidToken,
    /// The processor declined the payment, with this code of its own.
    Declined(DeclineCode),
}

/// The processor's own code of a declined payment (Stripe: a decline code or an error code).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DeclineCode(Box<str>);

impl DeclineCode {
    /// Codes which say that a card was reported or is suspected. They must not be shown to the
    /// customer (Stripe's documentation, "Decline codes").
    const SUSPICIONS: [&'static str; 6] = [
        "stolen_card",
        "lost_card",
        "fraudulent",
        "pickup_card",
        "restricted_card",
        "merchant_blacklist",
    ];
    /// The code of a decline without a reason.
    pub const GENERIC: &'static str = "generic_decline";

    /// Whether the code says that the card was reported or is suspected.
    pub fn is_suspicion(&self) -> bool {
        Self::SUSPICIONS.contains(&&*self.0)
    }

    /// Whether the code gives no reason.
    pub fn is_generic(&self) -> bool {
        &*self.0 == Self::GENERIC
    }
}

impl FailureCode {
    /// Returns the code as it is stored and sent.
    pub fn as_str(&self) -> &str {
        match self {
            Self::LockLost => "lock_lost",
            Self::OrderCancelled => "order_cancelled",
            Self::Superseded => "superseded",
            Self::ProcessingError => "processing_error",
            Self::InvalidToken => "invalid_token",
            Self::Declined(code) => &code.0,
        }
    }
}

impl From<String> for FailureCode {
    fn from(code: String) -> Self {
        match &*code {
            "lock_lost" => Self::LockLost,
            "order_cancelled" => Self::OrderCancelled,
            "superseded" => Self::Superseded,
            "processing_error" => Self::ProcessingError,
            "invalid_token" => Self::InvalidToken,
            _ => Self::Declined(DeclineCode(code.into())),
        }
    }
}

impl From<FailureCode> for String {
    fn from(code: FailureCode) -> Self {
        code.as_str().into()
    }
}

impl fmt::Display for FailureCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The reason why a charge Failed: a stable code, and a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ChargeFailure {
    pub code: FailureCode,
    pub message: String,
}

impl ChargeFailure {
    /// Returns a failure that the processor reported with a code of its own.
    pub fn new(code: &str, message: &str) -> Self {
        Self { code: code.to_owned().into(), message: message.into() }
    }

    fn of(code: FailureCode, message: &str) -> Self {
        Self { code, message: message.into() }
    }

    /// Returns the failure of a charge whose lock ended before the money could be captured.
    pub fn lock_lost() -> Self {
        let message = "The ticket's lock ended before the payment did. Nothing was kept.";
        Self::of(FailureCode::LockLost, message)
    }

    /// Returns the failure of a charge whose order the buyer cancelled while the charge waited for
    /// the buyer's action.
    pub fn cancelled() -> Self {
        let message = "The order was cancelled before the payment was finished.";
        Self::of(FailureCode::OrderCancelled, message)
    }

    /// Returns the failure of a charge that was replaced: the buyer paid with another token while
    /// it waited for the buyer's action.
    pub fn superseded() -> Self {
        let message = "Another payment was submitted in place of this one.";
        Self::of(FailureCode::Superseded, message)
    }

    /// Returns the failure of an attempt that the processor did not receive or did not finish.
    pub fn interrupted() -> Self {
        let message = "The payment was interrupted. Nothing was charged; try again.";
        Self::of(FailureCode::ProcessingError, message)
    }

    /// Returns the failure of an attempt with a token that does not exist at the processor.
    pub fn invalid_token() -> Self {
        let message = "The payment method is not known to the payment processor.";
        Self::of(FailureCode::InvalidToken, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_codes_are_read_and_written_unchanged() {
        for (code, is_declined) in [
            ("lock_lost", false),
            ("order_cancelled", false),
            ("superseded", false),
            ("processing_error", false),
            ("invalid_token", false),
            ("do_not_honor", true),
        ] {
            let parsed = FailureCode::from(code.to_owned());
            assert_eq!(parsed.as_str(), code);
            assert_eq!(matches!(parsed, FailureCode::Declined(_)), is_declined, "{code}");
        }
    }
}
