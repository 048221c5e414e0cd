//! What each test token does: Stripe's published ones (<https://docs.stripe.com/testing>), and a few of our own for
//! faults that Stripe cannot be asked for. `docs/sandbox.md` has the same as tables for people.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{domain::ChargeFailure, payments::PaymentToken};

/// What a token makes of an attempt to authorize.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Behaviour {
    /// Before anything is done.
    pub(super) delay: Duration,
    pub(super) attempt: CardBehavior,
    pub(super) fault: Option<InjectedFault>,
    pub(super) capture: CaptureManner,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum CardBehavior {
    Authorize,
    Decline(ChargeFailure),
    /// The buyer must act; says so `waits` more times before it believes that they did.
    Act {
        waits: u8,
        then: AfterAction,
    },
}

/// What goes wrong with an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum InjectedFault {
    /// Nothing is done, and no answer given.
    NothingDone,
    /// It is done, but the first answer gets lost on its way.
    AnswerLost,
}

/// What comes of it once the buyer acted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "then")]
pub(super) enum AfterAction {
    Authorize,
    Decline { failure: ChargeFailure },
}

/// How a capture goes; kept with the payment, since a capture names no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "manner", rename_all = "camelCase")]
pub(super) enum CaptureManner {
    Plain,
    Slow {
        millis: u32,
    },
    /// Always refused: the authorization is as good as gone.
    Refused,
    /// Done, but the first answer gets lost on its way.
    AnswerLost,
}

/// The longest delay that a token may ask for.
const DELAY_MAX: Duration = Duration::from_secs(60);

/// What all our own tokens begin with.
const OWN_PREFIX: &str = "tok_gittix_";

/// Cards that succeed: by brand, by country (ISO 3166, as far as Stripe has one), and with a property that makes no
/// difference to a payment here.
#[rustfmt::skip]
const SUCCEEDING: [&str; 90] = [
    "visa", "visa_debit", "mastercard", "mastercard_debit", "mastercard_prepaid", "amex", "discover", "diners", "jcb", "unionpay",
    "us", "ar", "br", "ca", "cl", "co", "cr", "ec", "mx", "pa", "py", "pe", "uy",
    "ae", "at", "be", "bg", "by", "hr", "cy", "cz", "dk", "ee", "fi", "fr", "de", "gi", "gr", "hu", "ie", "it", "lv", "li", "lt", "lu", "mt",
    "nl", "no", "pl", "pt", "ro", "ru", "sa", "si", "sk", "es", "se", "ch", "gb", "gb_debit",
    "au", "cn", "hk", "in", "jp", "my", "nz", "sg", "tw", "th_credit", "th_debit",
    "threeDSecureOptional", "threeDSecureOptionalProcessingError", "amex_threeDSecureNotSupported",
    "bypassPending", "bypassPendingInternational", "domesticPricing", "avsFail", "avsLine1Fail", "avsZipFail", "avsUnchecked",
    "refundFail", "pendingRefund", "cvcCheckFail", "riskLevelElevated",
    "createDispute", "createDisputeProductNotReceived", "createDisputeInquiry", "createIssuerFraudRecord", "createMultipleDisputes",
];

/// Cards that are declined, and the cause.
const DECLINED: [(&str, DeclineCause); 12] = [
    ("chargeDeclined", DeclineCause::Generic),
    ("chargeCustomerFail", DeclineCause::Generic),
    ("chargeDeclinedInsufficientFunds", DeclineCause::InsufficientFunds),
    ("chargeDeclinedLostCard", DeclineCause::LostCard),
    ("chargeDeclinedStolenCard", DeclineCause::StolenCard),
    ("chargeDeclinedExpiredCard", DeclineCause::ExpiredCard),
    ("chargeDeclinedIncorrectCvc", DeclineCause::IncorrectCvc),
    ("chargeDeclinedProcessingError", DeclineCause::ProcessingError),
    ("chargeDeclinedVelocityLimitExceeded", DeclineCause::VelocityExceeded),
    ("chargeDeclinedFraudulent", DeclineCause::Fraudulent),
    ("radarBlock", DeclineCause::Fraudulent),
    ("riskLevelHighest", DeclineCause::Fraudulent),
];

/// Cards whose holder must act first, and what comes of it then.
const ACTING: [(&str, Option<DeclineCause>); 7] = [
    ("authenticationRequired", None),
    ("authenticationRequiredOnSetup", None),
    ("authenticationRequiredSetupForOffSession", None),
    ("threeDSecureRequired", None),
    ("threeDSecure2Required", None),
    ("authenticationRequiredChargeDeclinedInsufficientFunds", Some(DeclineCause::InsufficientFunds)),
    ("threeDSecureRequiredChargeDeclined", Some(DeclineCause::Generic)),
];

/// 3-D Secure is required, but the look-up fails: declined at once.
const LOOKUP_FAILING: &str = "threeDSecureRequiredProcessingError";

/// Why a card is declined (<https://docs.stripe.com/declines/codes>).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DeclineCause {
    Generic,
    InsufficientFunds,
    LostCard,
    StolenCard,
    ExpiredCard,
    IncorrectCvc,
    ProcessingError,
    VelocityExceeded,
    Fraudulent,
}

impl DeclineCause {
    /// Stripe's decline code, and a sentence for the buyer. What was lost, stolen or suspected of fraud is told to nobody
    /// as such, as Stripe advises; the code alone says it.
    fn failure(self) -> ChargeFailure {
        let (code, message) = match self {
            Self::Generic => ("generic_decline", "The card was declined."),
            Self::InsufficientFunds => ("insufficient_funds", "The card has insufficient funds."),
            Self::LostCard => ("lost_card", "The card was declined."),
            Self::StolenCard => ("stolen_card", "The card was declined."),
            Self::ExpiredCard => ("expired_card", "The card has expired."),
            Self::IncorrectCvc => ("incorrect_cvc", "The card's security code is incorrect."),
            Self::ProcessingError => ("processing_error", "An error occurred while the card was processed. Try again in a little while."),
            Self::VelocityExceeded => ("card_velocity_exceeded", "The card was used too often in a short time."),
            Self::Fraudulent => ("fraudulent", "The card was declined."),
        };
        ChargeFailure::new(code, message)
    }
}

/// What `token` does, or `None` if there is no such token.
pub(super) fn behaviour(token: &PaymentToken) -> Option<Behaviour> {
    let token = token.expose();
    match token.strip_prefix(OWN_PREFIX) {
        Some(name) => own(name),
        None => stripes(token.strip_prefix("pm_card_").or_else(|| token.strip_prefix("tok_"))?).map(plain),
    }
}

fn plain(attempt: CardBehavior) -> Behaviour {
    Behaviour { delay: Duration::ZERO, attempt, fault: None, capture: CaptureManner::Plain }
}

/// Stripe writes the brand before some names and not before others; here it may stand before all.
fn stripes(name: &str) -> Option<CardBehavior> {
    let unbranded = name.strip_prefix("visa_").unwrap_or(name);
    if SUCCEEDING.contains(&name) {
        return Some(CardBehavior::Authorize);
    }
    if let Some((_, cause)) = DECLINED.iter().find(|(declined, _)| *declined == unbranded) {
        return Some(CardBehavior::Decline(cause.failure()));
    }
    if let Some((_, declined)) = ACTING.iter().find(|(acting, _)| *acting == unbranded) {
        let then = declined.map_or(AfterAction::Authorize, |cause| AfterAction::Decline { failure: cause.failure() });
        return Some(CardBehavior::Act { waits: 0, then });
    }
    (unbranded == LOOKUP_FAILING).then(|| CardBehavior::Decline(DeclineCause::ProcessingError.failure()))
}

fn own(name: &str) -> Option<Behaviour> {
    let authorized = plain(CardBehavior::Authorize);
    Some(match name {
        "error" => Behaviour { fault: Some(InjectedFault::NothingDone), ..authorized },
        "lost_answer" => Behaviour { fault: Some(InjectedFault::AnswerLost), ..authorized },
        "action_twice" => plain(CardBehavior::Act { waits: 1, then: AfterAction::Authorize }),
        "capture_error" => Behaviour { capture: CaptureManner::Refused, ..authorized },
        "capture_lost_answer" => Behaviour { capture: CaptureManner::AnswerLost, ..authorized },
        _ => match (name.strip_prefix("slow_"), name.strip_prefix("capture_slow_")) {
            (Some(length), _) => Behaviour { delay: delay(length)?, ..authorized },
            (None, Some(length)) => {
                let millis = u32::try_from(delay(length)?.as_millis()).ok()?;
                Behaviour { capture: CaptureManner::Slow { millis }, ..authorized }
            }
            (None, None) => return None,
        },
    })
}

/// `2s`, `800ms`.
fn delay(text: &str) -> Option<Duration> {
    humantime::parse_duration(text).ok().filter(|delay| *delay <= DELAY_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(token: &str) -> Option<CardBehavior> {
        behaviour(&PaymentToken::parse(token).expect("shaped like a token")).map(|behaviour| behaviour.attempt)
    }

    fn decline_code(token: &str) -> String {
        match attempt(token) {
            Some(CardBehavior::Decline(failure)) => failure.code,
            other => panic!("{token}: {other:?}"),
        }
    }

    #[test]
    fn stripes_tokens_do_what_stripe_says() {
        for token in
            ["pm_card_visa", "tok_visa", "pm_card_mastercard", "tok_amex", "pm_card_de", "tok_gb_debit", "pm_card_threeDSecureOptional"]
        {
            assert_eq!(attempt(token), Some(CardBehavior::Authorize), "{token}");
        }
        let declined = [
            ("chargeDeclined", "generic_decline"),
            ("chargeDeclinedInsufficientFunds", "insufficient_funds"),
            ("visa_chargeDeclinedInsufficientFunds", "insufficient_funds"),
            ("visa_chargeDeclinedLostCard", "lost_card"),
            ("visa_chargeDeclinedStolenCard", "stolen_card"),
            ("chargeDeclinedExpiredCard", "expired_card"),
            ("chargeDeclinedIncorrectCvc", "incorrect_cvc"),
            ("chargeDeclinedProcessingError", "processing_error"),
            ("visa_chargeDeclinedVelocityLimitExceeded", "card_velocity_exceeded"),
            ("threeDSecureRequiredProcessingError", "processing_error"),
        ];
        for (name, code) in declined {
            assert_eq!(decline_code(&format!("pm_card_{name}")), code);
            assert_eq!(decline_code(&format!("tok_{name}")), code);
        }
        for token in ["pm_card_authenticationRequired", "tok_threeDSecure2Required"] {
            assert_eq!(attempt(token), Some(CardBehavior::Act { waits: 0, then: AfterAction::Authorize }), "{token}");
        }
    }

    #[test]
    fn what_is_not_in_the_tables_is_unknown() {
        for token in [
            "pm_card_nope",
            "tok_",
            "pm_card_",
            "visa",
            "pm_1Abc",
            "tok_gittix_nope",
            "tok_gittix_slow_61s",
            "tok_gittix_slow_x",
            "tok_Visa",
        ] {
            assert_eq!(attempt(token), None, "{token}");
        }
    }

    #[test]
    fn a_slow_token_says_how_slow() {
        let slow = behaviour(&PaymentToken::parse("tok_gittix_slow_800ms").expect("shaped like a token")).expect("known");
        assert_eq!((slow.delay, slow.attempt), (Duration::from_millis(800), CardBehavior::Authorize));
    }

    #[test]
    fn no_name_stands_in_two_tables() {
        let mut names: Vec<&str> = SUCCEEDING.to_vec();
        names.extend(DECLINED.iter().map(|(name, _)| *name));
        names.extend(ACTING.iter().map(|(name, _)| *name));
        names.push(LOOKUP_FAILING);
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
