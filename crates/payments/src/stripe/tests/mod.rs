//! The requests to Stripe, the meaning of its answers, and the behavior without an answer.

mod attempts;
mod reversals;
mod script;
mod transport;

use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use gittix_domain::{ChargeState, Timestamp, samples};
use script::{Reply, Script};

const AMOUNT: i64 = 1999;
/// The present time in all tests.
const NOW: Timestamp = Timestamp(1_760_000_000_000);
const SECRET: &str = "pi_1_secret_hush";
const KEY: &str = "sk_test_hush";

/// A mark that is never needed, since the key is not a live key.
#[derive(Debug)]
struct NoMark;

#[async_trait]
impl LiveMark for NoMark {
    async fn set(&self) -> Result<(), String> {
        Err("a test key sets no mark".into())
    }
}

fn charge() -> Charge {
    Charge { created_at: NOW, updated_at: NOW, ..samples::charge() }
}

fn payment() -> PaymentId {
    PaymentId::new("pi_1")
}

fn token(text: &str) -> PaymentToken {
    PaymentToken::parse(text).expect("the token has a valid form")
}

/// Returns the charge's PaymentIntent with changed members.
fn intent_with(changes: Value) -> Value {
    let mut intent = json!({
        "id": "pi_1", "object": "payment_intent", "status": "requires_payment_method", "amount": AMOUNT, "amount_received": 0,
        "currency": "usd", "client_secret": SECRET, "metadata": { "charge": charge().id }, "last_payment_error": null,
        "capture_method": "manual", "livemode": false,
    });
    for (name, value) in changes.as_object().expect("the value is an object").clone() {
        intent[name] = value;
    }
    intent
}

fn intent(status: &str) -> Value {
    let received = if status == "succeeded" { AMOUNT } else { 0 };
    intent_with(json!({ "status": status, "amount_received": received }))
}

fn ok(object: Value) -> Reply {
    Reply::json(200, &object)
}

fn error(status: u16, error: Value) -> Reply {
    Reply::json(status, &json!({ "error": error }))
}

fn refunds(list: Value) -> Reply {
    ok(json!({ "object": "list", "data": list, "has_more": false }))
}

/// Returns a definite rejection because of the payment's state.
fn unexpected_state() -> Reply {
    error(
        400,
        json!({ "type": "invalid_request_error", "code": "payment_intent_unexpected_state" }),
    )
}

/// Returns a processor that is connected to the scripted server, with the time limit `timeout` for
/// each request.
async fn stripe_within(timeout: Duration, replies: Vec<Reply>) -> (Stripe, Script) {
    let script = Script::play(replies).await;
    let config = StripeConfig {
        secret_key: Some(KEY.parse().expect("a secret")),
        publishable_key: None,
        webhook_secrets: Vec::new(),
        api_base: reqwest::Url::parse(&script.base).expect("the address is valid"),
        api_version: "2024-06-20".into(),
        timeout: Millis::from(timeout),
    };
    let stripe = Stripe::new(&config, [7; 32], Arc::new(NoMark), Clock::starting_at(NOW))
        .expect("the settings are valid");
    (stripe, script)
}

async fn stripe(replies: Vec<Reply>) -> (Stripe, Script) {
    stripe_within(Duration::from_secs(10), replies).await
}

fn code<T>(result: Result<T, ProcessorError>) -> String {
    match result {
        Err(ProcessorError::Refused(failure)) => failure.code.into(),
        Err(ProcessorError::Unknown(detail)) => panic!("unknown: {detail}"),
        Ok(_) => panic!("must be refused"),
    }
}

/// Returns the detail of an `Unknown` error.
fn unknown<T>(result: Result<T, ProcessorError>) -> String {
    match result {
        Err(ProcessorError::Unknown(detail)) => detail,
        Err(ProcessorError::Refused(failure)) => panic!("refused: {failure:?}"),
        Ok(_) => panic!("must be unknown"),
    }
}
