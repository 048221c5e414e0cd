//! Authorizing, waiting for the buyer's action and capturing: the meaning of each answer.

use super::*;
use crate::ClientSecret;

async fn authorize(
    with: &str,
    replies: Vec<Reply>,
) -> (Result<Authorization, ProcessorError>, Script) {
    let (stripe, script) = stripe(replies).await;
    (stripe.authorize(&charge(), &payment(), &token(with)).await, script)
}

fn declined(code: &str) -> Value {
    json!({ "type": "card_error", "code": "card_declined", "decline_code": code, "message": "Your card was declined." })
}

fn secret() -> ClientSecret {
    ClientSecret(SECRET.into())
}

#[tokio::test]
async fn confirmed_payment_method_is_authorized() {
    let (answer, script) = authorize("pm_card_visa", vec![ok(intent("requires_capture"))]).await;
    assert_eq!(answer, Ok(Authorization::Authorized));
    let received = &script.received()[0];
    assert_eq!(received.line, "POST /v1/payment_intents/pi_1/confirm");
    assert_eq!(received.form["payment_method"], "pm_card_visa");
    assert!(
        received.key().starts_with(&format!("{}:authorize:", charge().id)),
        "{}",
        received.key()
    );
}

#[tokio::test]
async fn stripe_script_is_named_if_the_pages_contain_it() {
    for has_element in [false, true] {
        let (mut stripe, script) = stripe(vec![ok(intent("requires_action"))]).await;
        stripe.has_element = has_element;
        stripe
            .authorize(&charge(), &payment(), &token("pm_card_visa"))
            .await
            .expect("the attempt is answered");
        assert_eq!(script.received()[0].form.contains_key("use_stripe_sdk"), has_element);
    }
}

#[tokio::test]
async fn token_is_sent_as_payment_method_data() {
    let (answer, script) = authorize("tok_visa", vec![ok(intent("requires_capture"))]).await;
    assert_eq!(answer, Ok(Authorization::Authorized));
    let form = &script.received()[0].form;
    assert_eq!(
        (
            form["payment_method_data[type]"].as_str(),
            form["payment_method_data[card][token]"].as_str()
        ),
        ("card", "tok_visa")
    );
}

#[tokio::test]
async fn another_token_has_another_key_and_the_same_token_the_same_key() {
    let mut keys = Vec::new();
    for with in ["pm_card_visa", "pm_card_visa", "pm_card_mastercard"] {
        let (_, script) = authorize(with, vec![ok(intent("requires_capture"))]).await;
        keys.push(script.received()[0].key().to_owned());
        assert!(!keys[0].contains("visa"), "a key must not contain a token");
    }
    assert_eq!(keys[0], keys[1]);
    assert_ne!(keys[0], keys[2]);
}

#[tokio::test]
async fn decline_has_the_issuers_code_and_message() {
    let (answer, _) =
        authorize("pm_card_visa", vec![error(402, declined("insufficient_funds"))]).await;
    let failure = ChargeFailure::new("insufficient_funds", "Your card was declined.");
    assert_eq!(answer, Ok(Authorization::Declined { failure: failure.clone() }));
    let late = intent_with(json!({ "last_payment_error": declined("insufficient_funds") }));
    let (answer, _) = authorize("pm_card_visa", vec![unexpected_state(), ok(late)]).await;
    assert_eq!(
        answer,
        Ok(Authorization::Declined { failure }),
        "also when the decline is read from the payment"
    );
}

#[tokio::test]
async fn required_action_returns_the_client_secret() {
    let (answer, _) = authorize("pm_card_visa", vec![ok(intent("requires_action"))]).await;
    assert_eq!(answer, Ok(Authorization::ActionRequired { client_secret: secret() }));
}

#[tokio::test]
async fn missing_token_is_reported_as_invalid() {
    for (with, param, code) in [
        ("pm_card_nobody", "payment_method", "resource_missing"),
        ("tok_nobody", "payment_method_data[card][token]", "resource_missing"),
        ("tok_used", "payment_method_data[card][token]", "token_already_used"),
    ] {
        let no =
            error(400, json!({ "type": "invalid_request_error", "code": code, "param": param }));
        let (answer, _) = authorize(with, vec![no, ok(intent("requires_payment_method"))]).await;
        assert_eq!(answer, Ok(Authorization::InvalidToken), "{with}");
    }
    let no = error(400, json!({ "type": "invalid_request_error", "code": "token_already_used" }));
    let (answer, _) = authorize("tok_used", vec![no, ok(intent("requires_capture"))]).await;
    assert_eq!(
        answer,
        Ok(Authorization::Authorized),
        "the token was used by this payment, whose answer was lost"
    );
}

#[tokio::test]
async fn attempt_with_a_lost_answer_is_found_authorized() {
    let (answer, script) = authorize(
        "pm_card_visa",
        vec![Reply::Lost, unexpected_state(), ok(intent("requires_capture"))],
    )
    .await;
    assert_eq!(answer, Ok(Authorization::Authorized));
    assert_eq!(script.lines()[2], "GET /v1/payment_intents/pi_1");
}

#[tokio::test]
async fn attempt_after_a_server_error_is_repeated_in_two_steps_with_other_keys() {
    let replies = vec![
        error(500, json!({ "type": "api_error" })),
        ok(intent("requires_payment_method")),
        ok(intent("requires_confirmation")),
        ok(intent("requires_capture")),
    ];
    let (answer, script) = authorize("pm_card_visa", replies).await;
    assert_eq!(answer, Ok(Authorization::Authorized));
    let expected = [
        "POST /v1/payment_intents/pi_1/confirm",
        "GET /v1/payment_intents/pi_1",
        "POST /v1/payment_intents/pi_1",
        "POST /v1/payment_intents/pi_1/confirm",
    ];
    assert_eq!(script.lines(), expected);
    let received = script.received();
    assert_eq!(received[2].form["payment_method"], "pm_card_visa");
    assert!(received[3].form.is_empty() && received[0].key() != received[3].key());
    // If the step was executed nevertheless, it is not requested again.
    let (answer, script) =
        authorize("pm_card_visa", vec![error(500, json!({})), ok(intent("requires_capture"))])
            .await;
    assert_eq!((answer, script.lines().len()), (Ok(Authorization::Authorized), 2));
}

/// Issue 4, point 6: no money is captured on such a payment.
#[tokio::test]
async fn payment_with_another_amount_currency_or_charge_is_refused() {
    let other_charge = json!({ "charge": Uuid::from_u128(9) });
    for changed in [
        json!({ "amount": AMOUNT + 1 }),
        json!({ "currency": "eur" }),
        json!({ "metadata": other_charge }),
        json!({ "metadata": null }),
    ] {
        let mut held = changed.clone();
        held["status"] = "requires_capture".into();
        let (answer, _) = authorize("pm_card_visa", vec![ok(intent_with(held.clone()))]).await;
        assert_eq!(code(answer), PaymentIntent::MISMATCH, "{changed}");
        let (fetching, _) = stripe(vec![ok(intent_with(held.clone()))]).await;
        assert_eq!(
            code(fetching.fetch(&charge(), &payment()).await),
            PaymentIntent::MISMATCH,
            "{changed}"
        );
        let (resuming, _) = stripe(vec![ok(intent_with(held.clone()))]).await;
        assert_eq!(
            code(resuming.resume(&charge(), &payment()).await),
            PaymentIntent::MISMATCH,
            "{changed}"
        );
        let (opening, _) = stripe(vec![ok(intent_with(held))]).await;
        assert_eq!(code(opening.open(&charge()).await), PaymentIntent::MISMATCH, "{changed}");
    }
}

#[tokio::test]
async fn resumed_attempt_returns_the_state_of_the_payment() {
    let failure = |code: &str, message: &str| {
        Ok(Authorization::Declined { failure: ChargeFailure::new(code, message) })
    };
    let cases = [
        (intent("requires_capture"), Ok(Authorization::Authorized)),
        (intent("requires_action"), Ok(Authorization::ActionRequired { client_secret: secret() })),
        (
            intent_with(json!({ "last_payment_error": declined("generic_decline") })),
            failure("generic_decline", "Your card was declined."),
        ),
        (
            intent("requires_payment_method"),
            failure(
                "payment_intent_authentication_failure",
                "The bank could not confirm that it is you.",
            ),
        ),
    ];
    for (intent, expected) in cases {
        let (stripe, _) = stripe(vec![ok(intent.clone())]).await;
        assert_eq!(stripe.resume(&charge(), &payment()).await, expected, "{intent}");
    }
    let (by_hand, script) =
        stripe(vec![ok(intent("requires_confirmation")), ok(intent("requires_capture"))]).await;
    assert_eq!(by_hand.resume(&charge(), &payment()).await, Ok(Authorization::Authorized));
    assert_eq!(script.lines()[1], "POST /v1/payment_intents/pi_1/confirm");
    for undecided in ["processing", "something_new"] {
        let (stripe, _) = stripe(vec![ok(intent(undecided))]).await;
        unknown(stripe.resume(&charge(), &payment()).await);
    }
}

#[tokio::test]
async fn fetched_payment_has_the_state_of_its_status() {
    let error = declined("lost_card");
    let lost_card = ChargeFailure::new("lost_card", "Your card was declined.");
    let cases = [
        (intent("requires_payment_method"), PaymentState::Open { declined: None }),
        (
            intent_with(json!({ "last_payment_error": error })),
            PaymentState::Open { declined: Some(lost_card) },
        ),
        (intent("requires_confirmation"), PaymentState::Open { declined: None }),
        (intent("requires_action"), PaymentState::ActionRequired { client_secret: secret() }),
        (intent("requires_capture"), PaymentState::Authorized),
        (intent("canceled"), PaymentState::Voided),
    ];
    for (intent, state) in cases {
        let (stripe, _) = stripe(vec![ok(intent.clone())]).await;
        assert_eq!(stripe.fetch(&charge(), &payment()).await, Ok(state), "{intent}");
    }
    let (captured, _) = stripe(vec![ok(intent("succeeded")), refunds(json!([]))]).await;
    assert_eq!(captured.fetch(&charge(), &payment()).await, Ok(PaymentState::Captured));
    let back = refunds(json!([{ "id": "re_1", "status": "succeeded", "amount": AMOUNT }]));
    let (refunded, _) = stripe(vec![ok(intent("succeeded")), back]).await;
    let refund = gittix_domain::RefundId::new("re_1");
    assert_eq!(refunded.fetch(&charge(), &payment()).await, Ok(PaymentState::Refunded { refund }));
    let (missing, _) = stripe(vec![super::error(404, json!({ "code": "resource_missing" }))]).await;
    assert_eq!(code(missing.fetch(&charge(), &payment()).await), "resource_missing");
}

#[tokio::test]
async fn payment_of_another_account_or_program_has_no_charge() {
    let foreign = intent_with(json!({ "metadata": { "charge": "not-one-of-ours" } }));
    for (reply, expected) in [
        (ok(intent("requires_capture")), Some(charge().id)),
        (ok(foreign), None),
        (ok(intent_with(json!({ "metadata": {} }))), None),
        (error(404, json!({ "code": "resource_missing" })), None),
    ] {
        let (stripe, _) = stripe(vec![reply]).await;
        assert_eq!(stripe.charge_of(&payment()).await, Ok(expected));
    }
}

async fn capture(replies: Vec<Reply>) -> (Result<(), ProcessorError>, Script) {
    let (stripe, script) = stripe(replies).await;
    (stripe.capture(&charge(), &payment()).await, script)
}

#[tokio::test]
async fn capture_takes_the_charges_amount() {
    let (answer, script) = capture(vec![ok(intent("succeeded"))]).await;
    assert_eq!(answer, Ok(()));
    let received = &script.received()[0];
    assert_eq!(
        (received.line.as_str(), received.form["amount_to_capture"].as_str()),
        ("POST /v1/payment_intents/pi_1/capture", "1999")
    );
    assert_eq!(received.key(), format!("{}:capture", charge().id));
    let more = intent_with(json!({ "status": "succeeded", "amount_received": AMOUNT + 1 }));
    let (answer, _) = capture(vec![ok(more)]).await;
    assert_eq!(code(answer), PaymentIntent::MISMATCH);
}

#[tokio::test]
async fn repeated_capture_succeeds() {
    let (answer, _) =
        capture(vec![unexpected_state(), ok(intent("succeeded")), refunds(json!([]))]).await;
    assert_eq!(answer, Ok(()));
    let back = refunds(json!([{ "id": "re_1", "status": "pending", "amount": AMOUNT }]));
    let (answer, _) = capture(vec![unexpected_state(), ok(intent("succeeded")), back]).await;
    assert_eq!(code(answer), "payment_refunded", "refunded money buys no ticket");
}

#[tokio::test]
async fn capture_after_a_server_error_is_repeated_with_another_key() {
    let (answer, script) = capture(vec![
        error(500, json!({})),
        ok(intent("requires_capture")),
        ok(intent("succeeded")),
    ])
    .await;
    assert_eq!(answer, Ok(()));
    let received = script.received();
    assert_ne!(received[0].key(), received[2].key());
    let (answer, script) =
        capture(vec![error(500, json!({})), ok(intent("succeeded")), refunds(json!([]))]).await;
    assert_eq!(
        (answer, script.lines().len()),
        (Ok(()), 3),
        "the capture was executed nevertheless"
    );
}

#[tokio::test]
async fn expired_authorization_is_not_captured() {
    let (answer, _) = capture(vec![unexpected_state(), ok(intent("canceled"))]).await;
    assert_eq!(code(answer), "payment_intent_canceled");
    let (answer, _) =
        capture(vec![unexpected_state(), ok(intent("requires_payment_method"))]).await;
    assert_eq!(code(answer), "not_authorized");
    let (answer, _) = capture(vec![unexpected_state(), ok(intent("processing"))]).await;
    unknown(answer);
}
