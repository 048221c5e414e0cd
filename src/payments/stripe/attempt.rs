//! Attempts to authorize: with a token, after the buyer acted, and what comes of an attempt that Stripe failed at.

use tokio::time::Instant;

use super::{
    Stripe, checked,
    client::{Operation, Rejection, Request, Trouble},
    objects::{Anything, PaymentIntent, Status},
    once_key, undecided, voided, without_secret,
};
use crate::{
    domain::{Charge, ChargeFailure, PaymentId},
    payments::{Authorization, PaymentToken, ProcessorError, failing, keyed},
};

impl Stripe {
    pub(super) async fn do_authorize(
        &self,
        charge: &Charge,
        payment: &PaymentId,
        token: &PaymentToken,
    ) -> Result<Authorization, ProcessorError> {
        let by = self.deadline();
        failing("stripe::before_authorize", Some(payment))?;
        let method = payment_method(token);
        let request = self.confirmation(payment, self.authorize_key(charge, token)).with_all(&method);
        let answer = match self.client.send::<PaymentIntent>(&request, by).await {
            Ok(intent) => authorization(&intent, charge),
            Err(Trouble::Rejected(rejection)) => self.rejected(charge, payment, rejection, by).await,
            Err(Trouble::Broken { detail, .. }) => self.authorize_in_two(charge, payment, &method, &detail, by).await,
            Err(trouble) => Err(trouble.into()),
        };
        failing("stripe::after_authorize", Some(payment))?;
        answer
    }

    fn confirmation(&self, payment: &PaymentId, key: String) -> Request {
        let request = Request::post(Operation::Authorize, format!("payment_intents/{payment}/confirm"), key);
        // "When confirming server-side and using Stripe.js to handle the next actions" (Stripe's reference).
        if self.has_element { request.with("use_stripe_sdk", "true") } else { request }
    }

    /// A step for each token: another token on the same payment is another attempt.
    fn authorize_key(&self, charge: &Charge, token: &PaymentToken) -> String {
        const DIGITS: usize = 16;
        let digest = keyed(&self.key, "token", token.expose());
        format!("{}:authorize:{}", charge.id, &digest[..DIGITS])
    }

    /// What a definite no to an attempt comes to.
    async fn rejected(
        &self,
        charge: &Charge,
        payment: &PaymentId,
        rejection: Rejection,
        by: Instant,
    ) -> Result<Authorization, ProcessorError> {
        if rejection.is_decline() {
            return Ok(Authorization::Declined { failure: rejection.error.decline() });
        }
        if rejection.is_about_access() {
            return Err(Trouble::Rejected(rejection).into());
        }
        // Perhaps because an attempt before this one, whose answer got lost, was done.
        let intent = self.intent_of(charge, payment, by).await?;
        match intent.status {
            Status::RequiresPaymentMethod | Status::RequiresConfirmation if rejection.is_about_token() => Ok(Authorization::InvalidToken),
            Status::RequiresPaymentMethod if intent.last_payment_error.is_none() => Err(Trouble::Rejected(rejection).into()),
            Status::RequiresConfirmation => Err(Trouble::Rejected(rejection).into()),
            _ => authorization(&intent, charge),
        }
    }

    /// Stripe failed at confirming with a payment method in one request, and would go on failing under that key. What it
    /// did not do is asked for in two: attach, then confirm.
    async fn authorize_in_two(
        &self,
        charge: &Charge,
        payment: &PaymentId,
        method: &[(&'static str, String)],
        detail: &str,
        by: Instant,
    ) -> Result<Authorization, ProcessorError> {
        tracing::warn!(charge = %charge.id, detail, "Stripe failed at an attempt; looking at the payment and asking in two steps");
        let intent = self.intent_of(charge, payment, by).await?;
        let untouched = match intent.status {
            Status::RequiresPaymentMethod => intent.last_payment_error.is_none(),
            Status::RequiresConfirmation => true,
            _ => false,
        };
        if !untouched {
            return authorization(&intent, charge);
        }
        let attach = Request::post(Operation::Attach, format!("payment_intents/{payment}"), once_key(charge, "attach")).with_all(method);
        let attached = self.client.send::<PaymentIntent>(&attach, by).await;
        let done = match attached {
            Ok(_) => self.client.send::<PaymentIntent>(&self.confirmation(payment, once_key(charge, "authorize")), by).await,
            refused => refused,
        };
        match done {
            Ok(intent) => authorization(&intent, charge),
            Err(Trouble::Rejected(rejection)) => self.rejected(charge, payment, rejection, by).await,
            Err(trouble) => Err(trouble.into()),
        }
    }

    pub(super) async fn do_resume(&self, charge: &Charge, payment: &PaymentId) -> Result<Authorization, ProcessorError> {
        let by = self.deadline();
        failing("stripe::before_resume", Some(payment))?;
        let intent = self.intent_of(charge, payment, by).await?;
        let answer = match intent.status {
            // Only where somebody set the account to confirm by hand: what the buyer did counts once it is confirmed.
            Status::RequiresConfirmation => {
                match self.client.send::<PaymentIntent>(&self.confirmation(payment, once_key(charge, "resume")), by).await {
                    Ok(intent) => authorization(&intent, charge),
                    Err(Trouble::Rejected(rejection)) => self.rejected(charge, payment, rejection, by).await,
                    Err(trouble) => Err(trouble.into()),
                }
            }
            Status::RequiresPaymentMethod if intent.last_payment_error.is_none() => {
                let message = "The bank could not confirm that it is you.";
                Ok(Authorization::Declined { failure: ChargeFailure::new("payment_intent_authentication_failure", message) })
            }
            _ => authorization(&intent, charge),
        };
        failing("stripe::after_resume", Some(payment))?;
        answer
    }

    pub(super) async fn do_knows(&self, token: &PaymentToken) -> Result<bool, ProcessorError> {
        let id = token.expose();
        let path = match id.split_once('_') {
            Some(("pm", _)) => format!("payment_methods/{id}"),
            Some(("tok", _)) => format!("tokens/{id}"),
            _ => return Ok(false),
        };
        if is_test_name(id) {
            // Whether these can be looked up is not documented; that they can be paid with is.
            return Ok(true);
        }
        match self.client.send::<Anything>(&Request::get(Operation::FindToken, path), self.deadline()).await {
            Ok(Anything {}) => Ok(true),
            Err(Trouble::Rejected(rejection)) if rejection.error.has_code("resource_missing") => Ok(false),
            Err(Trouble::Rejected(rejection)) if !rejection.is_about_access() => Ok(true),
            Err(trouble) => Err(trouble.into()),
        }
    }
}

/// Whether this is one of the names that Stripe publishes for tests: `pm_card_visa`, `tok_chargeDeclined`. A real id has
/// digits in it.
fn is_test_name(id: &str) -> bool {
    id.starts_with("pm_card_") || id.starts_with("tok_") && !id.bytes().any(|byte| byte.is_ascii_digit())
}

fn payment_method(token: &PaymentToken) -> Vec<(&'static str, String)> {
    let id = token.expose().to_owned();
    if id.starts_with("tok_") {
        vec![("payment_method_data[type]", "card".into()), ("payment_method_data[card][token]", id)]
    } else {
        vec![("payment_method", id)]
    }
}

/// How an attempt stands by its payment.
fn authorization(intent: &PaymentIntent, charge: &Charge) -> Result<Authorization, ProcessorError> {
    checked(intent.check(charge), charge, &intent.id())?;
    match intent.status {
        Status::RequiresCapture | Status::Succeeded => Ok(Authorization::Authorized),
        Status::RequiresAction => {
            let client_secret = intent.client_secret.clone().ok_or_else(without_secret)?;
            Ok(Authorization::ActionRequired { client_secret })
        }
        Status::RequiresPaymentMethod => match &intent.last_payment_error {
            Some(error) => Ok(Authorization::Declined { failure: error.decline() }),
            None => Err(undecided(intent)),
        },
        Status::Canceled => Err(voided().into()),
        Status::RequiresConfirmation | Status::Processing | Status::Other => Err(undecided(intent)),
    }
}
