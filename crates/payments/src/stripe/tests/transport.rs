//! One request and its answer: the content of the request, its repetition, and the time limits.

use tokio::time::Instant;

use super::*;

/// Much shorter than a pause that Stripe asks for, and much longer than a local answer takes.
const SHORT: Duration = Duration::from_millis(400);

#[tokio::test]
async fn payment_is_opened_with_the_charges_amount_and_key() {
    let (stripe, script) = stripe(vec![ok(intent("requires_payment_method"))]).await;
    assert_eq!(stripe.open(&charge()).await, Ok(payment()));
    let [received] = &script.received()[..] else { panic!("{:?}", script.lines()) };
    assert_eq!(received.line, "POST /v1/payment_intents");
    assert_eq!(received.key(), format!("{}:open", charge().id));
    assert_eq!(received.headers["authorization"], format!("Bearer {KEY}"));
    assert_eq!(received.headers["stripe-version"], "2024-06-20");
    assert_eq!(received.headers["content-type"], "application/x-www-form-urlencoded");
    let sent = |name: &str| received.form.get(name).map_or("", String::as_str).to_owned();
    assert_eq!(
        (sent("amount"), sent("currency"), sent("capture_method")),
        ("1999".into(), "usd".into(), "manual".into())
    );
    assert_eq!(sent("payment_method_types[0]"), "card");
    assert_eq!(
        (sent("metadata[charge]"), sent("metadata[order]")),
        (charge().id.to_string(), charge().order.to_string())
    );
}

#[tokio::test]
async fn opened_payment_is_not_opened_again() {
    let (stripe, script) = stripe(Vec::new()).await;
    let opened = Charge { state: ChargeState::AwaitingAction { payment: payment() }, ..charge() };
    assert_eq!(stripe.open(&opened).await, Ok(payment()));
    assert_eq!(script.lines(), Vec::<String>::new());
}

/// Stripe deletes idempotency keys after a day. The same key would then create a second
/// PaymentIntent.
#[tokio::test]
async fn payment_of_an_old_charge_is_searched_before_opening() {
    let old = Charge { created_at: NOW - Millis::from_mins(25 * 60), ..charge() };
    let others = intent_with(json!({ "id": "pi_9", "metadata": { "charge": Uuid::from_u128(9) } }));
    let (found, script) =
        stripe(vec![ok(json!({ "data": [others, intent("requires_capture")] }))]).await;
    assert_eq!(found.open(&old).await, Ok(payment()));
    let lines = script.lines();
    assert!(
        lines.len() == 1 && lines[0].starts_with("GET /v1/payment_intents/search?query=metadata"),
        "{lines:?}"
    );

    let (none, script) =
        stripe(vec![ok(json!({ "data": [] })), ok(intent("requires_payment_method"))]).await;
    assert_eq!(none.open(&old).await, Ok(payment()));
    assert_eq!(
        script.received().last().expect("two requests").key(),
        format!("{}:open", charge().id)
    );

    let (silent, script) =
        stripe(vec![error(500, json!({})).with("Stripe-Should-Retry", "false")]).await;
    unknown(silent.open(&old).await);
    assert_eq!(script.lines().len(), 1, "without an answer no payment is opened");
}

#[tokio::test]
async fn payment_opened_with_other_parameters_is_searched() {
    let reused = error(400, json!({ "type": "idempotency_error" }));
    let (found, _) =
        stripe(vec![reused, ok(json!({ "data": [intent("requires_payment_method")] }))]).await;
    assert_eq!(found.open(&charge()).await, Ok(payment()));
    let reused = error(400, json!({ "type": "idempotency_error" }));
    let (missing, _) = stripe(vec![reused, ok(json!({ "data": [] }))]).await;
    unknown(missing.open(&charge()).await);
}

#[tokio::test]
async fn lost_request_is_repeated_with_the_same_key() {
    let busy =
        error(409, json!({ "type": "invalid_request_error", "code": "idempotency_key_in_use" }));
    let limited = error(429, json!({ "type": "invalid_request_error", "code": "lock_timeout" }))
        .with("Retry-After", "0");
    let replies = vec![
        Reply::Lost,
        busy,
        limited,
        Reply::json(503, &json!(null)),
        ok(intent("requires_payment_method")),
    ];
    let (stripe, script) = stripe(replies).await;
    assert_eq!(stripe.open(&charge()).await, Ok(payment()));
    let keys: Vec<_> = script.received().iter().map(|received| received.key().to_owned()).collect();
    assert_eq!(keys, vec![format!("{}:open", charge().id); 5]);
}

#[tokio::test]
async fn request_without_an_answer_ends_at_its_deadline() {
    let (stripe, script) = stripe_within(SHORT, (0..10).map(|_| Reply::Silence).collect()).await;
    let began = Instant::now();
    unknown(stripe.open(&charge()).await);
    let took = began.elapsed();
    assert!(took >= SHORT && took < SHORT * 4, "twice the time of a request, not {took:?}");
    assert!(script.lines().len() >= 2, "{:?}", script.lines());
}

#[tokio::test]
async fn retry_after_beyond_the_deadline_ends_the_request() {
    let limited = error(429, json!({ "code": "rate_limit" })).with("Retry-After", "30");
    let (stripe, script) =
        stripe_within(SHORT, vec![limited, ok(intent("requires_payment_method"))]).await;
    let began = Instant::now();
    assert!(unknown(stripe.open(&charge()).await).contains("429"));
    assert!(began.elapsed() < SHORT * 2, "{:?}", began.elapsed());
    assert_eq!(script.lines().len(), 1);
}

#[tokio::test]
async fn stripe_should_retry_header_decides_on_repetition() {
    let (stripe_no, script) =
        stripe(vec![error(409, json!({})).with("Stripe-Should-Retry", "false")]).await;
    unknown(stripe_no.open(&charge()).await);
    assert_eq!(script.lines().len(), 1);
    let yes = error(400, json!({ "code": "odd" })).with("Stripe-Should-Retry", "true");
    let (stripe_yes, script) = stripe(vec![yes, ok(intent("requires_payment_method"))]).await;
    assert_eq!(stripe_yes.open(&charge()).await, Ok(payment()));
    assert_eq!(script.lines().len(), 2);
}

/// Another key could create a second PaymentIntent. So the result of the failed request is
/// determined by a later repetition.
#[tokio::test]
async fn opening_keeps_its_key_after_an_error_that_may_not_be_stored() {
    let failed = || error(500, json!({ "type": "api_error" }));
    let (stripe, script) = stripe(vec![failed(), failed()]).await;
    unknown(stripe.open(&charge()).await);
    let keys: Vec<_> = script.received().iter().map(|received| received.key().to_owned()).collect();
    assert_eq!(keys, vec![format!("{}:open", charge().id); 2]);
}

/// Otherwise the charge could be neither paid nor ended for as long as Stripe stores the error.
#[tokio::test]
async fn opening_uses_the_same_next_key_after_a_stored_error() {
    let kept = || error(500, json!({ "type": "api_error" })).with("Idempotent-Replayed", "true");
    let first = error(500, json!({ "type": "api_error" }));
    let answers = vec![
        first,
        kept(),
        ok(intent("requires_payment_method")),
        kept(),
        ok(intent("requires_payment_method")),
    ];
    let (stripe, script) = stripe(answers).await;
    for _ in 0..2 {
        assert_eq!(stripe.open(&charge()).await, Ok(payment()));
    }
    let keys: Vec<_> = script
        .received()
        .iter()
        .map(|received| received.key().trim_start_matches(&charge().id.to_string()).to_owned())
        .collect();
    assert_eq!(keys, [":open", ":open", ":open:2", ":open", ":open:2"]);
}

#[tokio::test]
async fn rejected_api_key_makes_the_result_unknown() {
    for status in [401, 403] {
        let (stripe, script) =
            stripe(vec![error(status, json!({ "type": "invalid_request_error" }))]).await;
        assert!(unknown(stripe.open(&charge()).await).contains("STRIPE_SECRET_KEY"));
        assert_eq!(script.lines().len(), 1, "the request is not repeated");
    }
}

#[tokio::test]
async fn unparsable_answer_makes_the_result_unknown() {
    for body in [
        "",
        "<html>",
        "{}",
        r#"{"id":1}"#,
        r#"{"id":"pi_1","status":7,"amount":1,"currency":"usd"}"#,
    ] {
        let (stripe, _) = stripe(vec![Reply::Answer(200, Vec::new(), body.into())]).await;
        unknown(stripe.open(&charge()).await);
    }
    let (stripe, _) = stripe(vec![Reply::Answer(200, Vec::new(), " ".repeat(2 << 20))]).await;
    unknown(stripe.open(&charge()).await);
}

#[tokio::test]
async fn refusal_has_stripes_code_but_not_its_message() {
    let no = error(
        400,
        json!({ "type": "invalid_request_error", "code": "amount_too_small", "message": "sk_test_hush may not" }),
    );
    let (stripe, _) = stripe(vec![no]).await;
    let Err(ProcessorError::Refused(failure)) = stripe.open(&charge()).await else {
        panic!("must be refused")
    };
    assert_eq!(failure.code.as_str(), "amount_too_small");
    assert!(!failure.message.contains("hush"), "{failure:?}");
}

#[tokio::test]
async fn debug_output_and_errors_contain_no_key_secret_or_token() {
    let (stripe, _) = stripe_within(SHORT, vec![ok(intent("requires_action")), Reply::Lost]).await;
    let answer = stripe.authorize(&charge(), &payment(), &token("pm_1hush")).await;
    let lost = unknown(stripe.token_exists(&token("tok_1hush")).await);
    for text in [
        format!("{stripe:?}"),
        format!("{answer:?}"),
        lost,
        format!("{:?}", webhook::Secrets::new(["whsec_hush"])),
    ] {
        assert!(!text.contains("hush"), "{text}");
    }
}

#[tokio::test]
async fn token_is_unknown_only_if_stripe_reports_it_missing() {
    let missing =
        || error(404, json!({ "type": "invalid_request_error", "code": "resource_missing" }));
    let cases = [
        ("pm_1abc", Some(ok(json!({ "id": "pm_1abc" }))), true, "GET /v1/payment_methods/pm_1abc"),
        ("pm_1abc", Some(missing()), false, "GET /v1/payment_methods/pm_1abc"),
        ("tok_1abc", Some(missing()), false, "GET /v1/tokens/tok_1abc"),
        // A server that replaces Stripe may not have this route. The attempt then shows whether the
        // token exists.
        (
            "tok_1abc",
            Some(error(404, json!({ "message": "Unrecognized request URL" }))),
            true,
            "GET /v1/tokens/tok_1abc",
        ),
        ("pm_card_visa", None, true, ""),
        ("tok_visa", None, true, ""),
        ("card_1abc", None, false, ""),
        ("visa", None, false, ""),
    ];
    for (text, reply, known, line) in cases {
        let (stripe, script) = stripe(reply.into_iter().collect()).await;
        assert_eq!(stripe.token_exists(&token(text)).await, Ok(known), "{text}");
        assert_eq!(script.lines().first().map_or("", String::as_str), line);
    }
}
