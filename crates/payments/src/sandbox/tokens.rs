//! The behavior of each test token: Stripe's published tokens (<https://docs.stripe.com/testing>),
//! and tokens of this sandbox for faults that Stripe's tokens cannot cause. `docs/sandbox.md` has
//! the same tables.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::PaymentToken;
use gittix_domain::ChargeFailure;

/// The behavior of an attempt to authorize with a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TokenBehavior {
    /// Delay before the attempt.
    pub(super) delay: Duration,
    pub(super) attempt: CardBehavior,
    pub(super) fault: Option<InjectedFault>,
    pub(super) capture: CaptureManner,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum CardBehavior {
    Authorize,
    Decline(ChargeFailure),
    /// The buyer must act. The first `waits` calls of `resume` report that the buyer has not acted.
    Act {
        waits: u8,
        then: AfterAction,
    },
}

/// The fault of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum InjectedFault {
    /// The attempt is not made, and no answer is given.
    NothingDone,
    /// The attempt is made, but the first answer is lost.
    AnswerLost,
}

/// The result after the buyer acted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "then")]
pub(super) enum AfterAction {
    Authorize,
    Decline { failure: ChargeFailure },
}

/// The behavior of a capture. It is stored with the payment, because a capture names no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "manner", rename_all = "camelCase")]
pub(super) enum CaptureManner {
    Plain,
    Slow {
        millis: u32,
    },
    /// Always refused, as after the authorization expired.
    Refused,
    /// The capture is done, but the first answer is lost.
    AnswerLost,
}

/// The maximum delay that a token may specify.
const DELAY_MAX: Duration = Duration::from_secs(60);

/// The prefix of the sandbox's own tokens.
const OWN_PREFIX: &str = "tok_gittix_";

/// Cards that succeed: by brand, by country (ISO 3166, where Stripe has a card), and with a
/// property that has no effect in this sandbox.
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

/// Cards that are declined, with the cause.
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

/// Cards whose holder must act first, with the result of the action.
const ACTING: [(&str, Option<DeclineCause>); 7] = [
    ("authenticationRequired", None),
    ("authenticationRequiredOnSetup", None),
    ("authenticationRequiredSetupForOffSession", None),
    ("threeDSecureRequired", None),
    ("threeDSecure2Required", None),
    (
        "authenticationRequiredChargeDeclinedInsufficientFunds",
        Some(DeclineCause::InsufficientFunds),
    ),
    ("threeDSecureRequiredChargeDeclined", Some(DeclineCause::Generic)),
];

/// 3-D Secure is required, but the lookup of the card fails: the attempt is declined at once.
const LOOKUP_FAILING: &str = "threeDSecureRequiredProcessingError";

/// The cause of a decline (<https://docs.stripe.com/declines/codes>).
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
    /// Returns Stripe's decline code and a sentence for the buyer. As Stripe advises, the sentence
    /// does not reveal that a card was reported as lost or stolen or is suspected of fraud; only
    /// the stored code does.
    fn failure(self) -> ChargeFailure {
        let (code, message) = match self {
            Self::Generic => ("generic_decline", "The card was declined."),
            Self::InsufficientFunds => ("insufficient_funds", "The card has insufficient funds."),
            Self::LostCard => ("lost_card", "The card was declined."),
            Self::StolenCard => ("stolen_card", "The card was declined."),
            Self::ExpiredCard => ("expired_card", "The card has expired."),
            Self::IncorrectCvc => ("incorrect_cvc", "The card's security code is incorrect."),
            Self::ProcessingError => (
                "processing_error",
                "An error occurred while the card was processed. Try again in a little while.",
            ),
            Self::VelocityExceeded => {
                ("card_velocity_exceeded", "The card was used too often in a short time.")
            }
            Self::Fraudulent => ("fraudulent", "The card was declined."),
        };
        ChargeFailure::new(code, message)
    }
}

/// Returns the behavior of `token`, or `None` if there is no such token.
pub(super) fn behavior(token: &PaymentToken) -> Option<TokenBehavior> {
    let token = token.expose();
    match token.strip_prefix(OWN_PREFIX) {
        Some(name) => gittix_token(name),
        None => {
            stripe_token(token.strip_prefix("pm_card_").or_else(|| token.strip_prefix("tok_"))?)
                .map(plain)
        }
    }
}

fn plain(attempt: CardBehavior) -> TokenBehavior {
    TokenBehavior { delay: Duration::ZERO, attempt, fault: None, capture: CaptureManner::Plain }
}

/// Returns the behavior of one of Stripe's tokens. Stripe writes `visa_` before some of the names
/// that decline or require an action; this sandbox accepts `visa_` before all of them.
fn stripe_token(name: &str) -> Option<CardBehavior> {
    let unbranded = name.strip_prefix("visa_").unwrap_or(name);
    if SUCCEEDING.contains(&name) {
        return Some(CardBehavior::Authorize);
    }
    if let Some((_, cause)) = DECLINED.iter().find(|(declined, _)| *declined == unbranded) {
        return Some(CardBehavior::Decline(cause.failure()));
    }
    if let Some((_, declined)) = ACTING.iter().find(|(acting, _)| *acting == unbranded) {
        let then = declined.map_or(AfterAction::Authorize, |cause| AfterAction::Decline {
            failure: cause.failure(),
        });
        return Some(CardBehavior::Act { waits: 0, then });
    }
    (unbranded == LOOKUP_FAILING)
        .then(|| CardBehavior::Decline(DeclineCause::ProcessingError.failure()))
}

fn gittix_token(name: &str) -> Option<TokenBehavior> {
    let authorized = plain(CardBehavior::Authorize);
    Some(match name {
        "error" => TokenBehavior { fault: Some(InjectedFault::NothingDone), ..authorized },
        "lost_answer" => TokenBehavior { fault: Some(InjectedFault::AnswerLost), ..authorized },
        "action_twice" => plain(CardBehavior::Act { waits: 1, then: AfterAction::Authorize }),
        "capture_error" => TokenBehavior { capture: CaptureManner::Refused, ..authorized },
        "capture_lost_answer" => TokenBehavior { capture: CaptureManner::AnswerLost, ..authorized },
        _ => match (name.strip_prefix("slow_"), name.strip_prefix("capture_slow_")) {
            (Some(length), _) => TokenBehavior { delay: delay(length)?, ..authorized },
            (None, Some(length)) => {
                let millis = u32::try_from(delay(length)?.as_millis()).ok()?;
                TokenBehavior { capture: CaptureManner::Slow { millis }, ..authorized }
            }
            (None, None) => return None,
        },
    })
}

/// Parses a delay such as `2s` or `800ms`.
fn delay(text: &str) -> Option<Duration> {
    humantime::parse_duration(text).ok().filter(|delay| *delay <= DELAY_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(token: &str) -> Option<CardBehavior> {
        behavior(&PaymentToken::parse(token).expect("the token has a valid form"))
            .map(|behavior| behavior.attempt)
    }

    fn decline_code(token: &str) -> String {
        match attempt(token) {
            Some(CardBehavior::Decline(failure)) => failure.code.into(),
            other => panic!("{token}: {other:?}"),
        }
    }

    #[test]
    fn stripe_tokens_behave_as_documented() {
        for token in [
            "pm_card_visa",
            "tok_visa",
            "pm_card_mastercard",
            "tok_amex",
            "pm_card_de",
            "tok_gb_debit",
            "pm_card_threeDSecureOptional",
        ] {
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
            assert_eq!(
                attempt(token),
                Some(CardBehavior::Act { waits: 0, then: AfterAction::Authorize }),
                "{token}"
            );
        }
    }

    #[test]
    fn token_outside_the_tables_is_unknown() {
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
    fn slow_token_contains_its_delay() {
        let slow = behavior(
            &PaymentToken::parse("tok_gittix_slow_800ms").expect("the token has a valid form"),
        )
        .expect("the token is known");
        assert_eq!(
            (slow.delay, slow.attempt),
            (Duration::from_millis(800), CardBehavior::Authorize)
        );
    }

    #[test]
    fn each_name_is_in_one_table() {
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
