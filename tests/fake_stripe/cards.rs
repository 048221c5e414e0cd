//! The behaviour of each of Stripe's published test cards (<https://docs.stripe.com/testing>), by
//! payment method or token.
//!
//! This table was written from Stripe's page and not from the product's table, so that a wrong
//! entry in one of them is detected.

/// The result of an attempt to authorize.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Card {
    Good,
    Declined(Decline),
    /// The holder must act. Then the card is accepted or declined.
    Authenticates(Option<Decline>),
}

/// Stripe's `code` and `decline_code` of a declined card
/// (<https://docs.stripe.com/declines/codes>).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decline {
    pub code: &'static str,
    pub decline_code: &'static str,
}

const fn declined(decline_code: &'static str) -> Decline {
    Decline { code: "card_declined", decline_code }
}

/// For these codes, `code` contains the same value.
const fn said(code: &'static str) -> Decline {
    Decline { code, decline_code: code }
}

const GENERIC: Decline = declined("generic_decline");
const INSUFFICIENT: Decline = declined("insufficient_funds");

#[rustfmt::skip]
const CARDS: [(&str, Card); 19] = [
    ("visa", Card::Good),
    ("visa_debit", Card::Good),
    ("mastercard", Card::Good),
    ("amex", Card::Good),
    ("discover", Card::Good),
    ("chargeDeclined", Card::Declined(GENERIC)),
    ("chargeCustomerFail", Card::Declined(GENERIC)),
    ("chargeDeclinedInsufficientFunds", Card::Declined(INSUFFICIENT)),
    ("chargeDeclinedLostCard", Card::Declined(declined("lost_card"))),
    ("chargeDeclinedStolenCard", Card::Declined(declined("stolen_card"))),
    ("chargeDeclinedVelocityLimitExceeded", Card::Declined(declined("card_velocity_exceeded"))),
    ("chargeDeclinedExpiredCard", Card::Declined(said("expired_card"))),
    ("chargeDeclinedIncorrectCvc", Card::Declined(said("incorrect_cvc"))),
    ("chargeDeclinedProcessingError", Card::Declined(said("processing_error"))),
    ("radarBlock", Card::Declined(declined("fraudulent"))),
    ("authenticationRequired", Card::Authenticates(None)),
    ("threeDSecure2Required", Card::Authenticates(None)),
    ("threeDSecureRequired", Card::Authenticates(None)),
    ("authenticationRequiredChargeDeclinedInsufficientFunds", Card::Authenticates(Some(INSUFFICIENT))),
];

/// Returns the card of a payment method such as `pm_card_…`.
pub fn of_method(id: &str) -> Option<Card> {
    named(id.strip_prefix("pm_card_")?)
}

/// Returns the card of a token such as `tok_…`.
pub fn of_token(id: &str) -> Option<Card> {
    named(id.strip_prefix("tok_")?)
}

/// Returns the card of a name. Stripe writes the brand before some names only.
fn named(name: &str) -> Option<Card> {
    let unbranded = name.strip_prefix("visa_").unwrap_or(name);
    CARDS.iter().find(|(known, _)| *known == name || *known == unbranded).map(|(_, card)| *card)
}
