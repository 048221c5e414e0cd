//! Attempts to authorize: with a token, after the buyer acted, and after a server error of Stripe.

use tokio::time::Instant;

use super::{
    Stripe, checked,
    client::{Operation, Rejection, Request, StripeError},
    objects::{Anything, PaymentIntent, Status},
    retry_key, undecided, voided, without_secret,
};
use crate::{Authorization, PaymentToken, ProcessorError, failing, keyed};
use gittix_domain::{Charge, ChargeFailure, PaymentId};

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
        let request =
            self.confirmation(payment, self.authorize_key(charge, token)).with_all(&method);
        let answer = match self.client.send::<PaymentIntent>(&request, by).await {
            Ok(intent) => authorization(&intent, charge),
            Err(StripeError::Rejected(rejection)) => {
                self.rejected(charge, payment, rejection, by).await
            }
            Err(StripeError::ServerError { detail, .. }) => {
                self.authorize_in_two_steps(charge, payment, &method, &detail, by).await
            }
            Err(error) => Err(error.into()),
        };
        failing("stripe::after_authorize", Some(payment))?;
        answer
    }

    fn confirmation(&self, payment: &PaymentId, key: String) -> Request {
        let request =
            Request::post(Operation::Authorize, format!("payment_intents/{payment}/confirm"), key);
        // "When confirming server-side and using Stripe.js to handle the next actions" (Stripe's
        // reference).
        if self.has_element { request.with("use_stripe_sdk", "true") } else { request }
    }

    /// Returns the idempotency key of an attempt. It depends on the token, because another token on
    /// the same payment is another attempt.
    fn authorize_key(&self, charge: &Charge, token: &PaymentToken) -> String {
        const DIGITS: usize = 16;
        let digest = keyed(&self.key, "token", token.expose());
        format!("{}:authorize:{}", charge.id, &digest[..DIGITS])
    }

    /// Returns the result of an attempt that Stripe rejected.
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
            return Err(StripeError::Rejected(rejection).into());
        }
        // The reason may be that an earlier attempt, whose answer was lost, succeeded. So the
        // payment is read.
        let intent = self.intent_of(charge, payment, by).await?;
        match intent.status {
            Status::RequiresPaymentMethod | Status::RequiresConfirmation
                if rejection.is_about_token() =>
            {
                Ok(Authorization::InvalidToken)
            }
            Status::RequiresPaymentMethod if intent.last_payment_error.is_none() => {
                Err(StripeError::Rejected(rejection).into())
            }
            Status::RequiresConfirmation => Err(StripeError::Rejected(rejection).into()),
            _ => authorization(&intent, charge),
        }
    }

    /// Repeats an attempt in two requests: attach, then confirm. It is used after a server error of
    /// Stripe for the confirmation with a payment method in one request, because Stripe repeats
    /// that error for the same idempotency key. The payment is read first: if the attempt has a
    /// result, it is not repeated.
    async fn authorize_in_two_steps(
        &self,
        charge: &Charge,
        payment: &PaymentId,
        method: &[(&'static str, String)],
        detail: &str,
        by: Instant,
    ) -> Result<Authorization, ProcessorError> {
        tracing::warn!(charge = %charge.id, detail, "Stripe answered an attempt with a server error; repeating it in two steps");
        let intent = self.intent_of(charge, payment, by).await?;
        let untouched = match intent.status {
            Status::RequiresPaymentMethod => intent.last_payment_error.is_none(),
            Status::RequiresConfirmation => true,
            _ => false,
        };
        if !untouched {
            return authorization(&intent, charge);
        }
        let attach = Request::post(
            Operation::Attach,
            format!("payment_intents/{payment}"),
            retry_key(charge, "attach"),
        )
        .with_all(method);
        let attached = self.client.send::<PaymentIntent>(&attach, by).await;
        let done = match attached {
            Ok(_) => {
                self.client
                    .send::<PaymentIntent>(
                        &self.confirmation(payment, retry_key(charge, "authorize")),
                        by,
                    )
                    .await
            }
            refused => refused,
        };
        match done {
            Ok(intent) => authorization(&intent, charge),
            Err(StripeError::Rejected(rejection)) => {
                self.rejected(charge, payment, rejection, by).await
            }
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn do_resume(
        &self,
        charge: &Charge,
        payment: &PaymentId,
    ) -> Result<Authorization, ProcessorError> {
        let by = self.deadline();
        failing("stripe::before_resume", Some(payment))?;
        let intent = self.intent_of(charge, payment, by).await?;
        let answer = match intent.status {
            // This status occurs only if the account is configured for manual confirmation. The
            // buyer's action counts after the confirmation.
            Status::RequiresConfirmation => {
                match self
                    .client
                    .send::<PaymentIntent>(
                        &self.confirmation(payment, retry_key(charge, "resume")),
                        by,
                    )
                    .await
                {
                    Ok(intent) => authorization(&intent, charge),
                    Err(StripeError::Rejected(rejection)) => {
                        self.rejected(charge, payment, rejection, by).await
                    }
                    Err(error) => Err(error.into()),
                }
            }
            Status::RequiresPaymentMethod if intent.last_payment_error.is_none() => {
                let message = "The bank could not confirm that it is you.";
                Ok(Authorization::Declined {
                    failure: ChargeFailure::new("payment_intent_authentication_failure", message),
                })
            }
            _ => authorization(&intent, charge),
        };
        failing("stripe::after_resume", Some(payment))?;
        answer
    }

    pub(super) async fn do_token_exists(
        &self,
        token: &PaymentToken,
    ) -> Result<bool, ProcessorError> {
        let id = token.expose();
        let path = match id.split_once('_') {
            Some(("pm", _)) => format!("payment_methods/{id}"),
            Some(("tok", _)) => format!("tokens/{id}"),
            _ => return Ok(false),
        };
        if is_test_name(id) {
            // Stripe does not document that these names can be looked up, only that they can be
            // used to pay.
            return Ok(true);
        }
        match self
            .client
            .send::<Anything>(&Request::get(Operation::FindToken, path), self.deadline())
            .await
        {
            Ok(Anything {}) => Ok(true),
            Err(StripeError::Rejected(rejection))
                if rejection.error.has_code("resource_missing") =>
            {
                Ok(false)
            }
            Err(StripeError::Rejected(rejection)) if !rejection.is_about_access() => Ok(true),
            Err(error) => Err(error.into()),
        }
    }
}

/// Whether `id` is one of the names that Stripe publishes for tests: `pm_card_visa`,
/// `tok_chargeDeclined`. Real ids contain digits. A test name after `tok_` that contains a digit is
/// looked up like a real id.
fn is_test_name(id: &str) -> bool {
    id.starts_with("pm_card_")
        || id.starts_with("tok_") && !id.bytes().any(|byte| byte.is_ascii_digit())
}

fn payment_method(token: &PaymentToken) -> Vec<(&'static str, String)> {
    let id = token.expose().to_owned();
    if id.starts_with("tok_") {
        vec![("payment_method_data[type]", "card".into()), ("payment_method_data[card][token]", id)]
    } else {
        vec![("payment_method", id)]
    }
}

/// Returns the state of an attempt according to its PaymentIntent.
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
