//! One request and its answer: what is sent, what is sent again, and for how long.

use tokio::time::Instant;

use super::*;

/// Far less than a pause that Stripe asks for; far more than this machine needs for an answer from itself.
const SHORT: Duration = Duration::from_millis(400);

#[tokio::test]
async fn a_payment_is_opened_for_the_charges_amount_under_the_charges_key() {
    let (stripe, script) = stripe(vec![ok(intent("requires_payment_method"))]).await;
    assert_eq!(stripe.open(&charge()).await, Ok(payment()));
    let [asked] = &script.asked()[..] else { panic!("{:?}", script.lines()) };
    assert_eq!(asked.line, "POST /v1/payment_intents");
    assert_eq!(asked.key(), format!("{}:open", charge().id));
    assert_eq!(asked.headers["authorization"], format!("Bearer {KEY}"));
    assert_eq!(asked.headers["stripe-version"], "2024-06-20");
    assert_eq!(asked.headers["content-type"], "application/x-www-form-urlencoded");
    let sent = |name: &str| asked.form.get(name).map_or("", String::as_str).to_owned();
    assert_eq!((sent("amount"), sent("currency"), sent("capture_method")), ("1999".into(), "usd".into(), "manual".into()));
    assert_eq!(sent("payment_method_types[0]"), "card");
    assert_eq!((sent("metadata[charge]"), sent("metadata[order]")), (charge().id.to_string(), charge().order.to_string()));
}

#[tokio::test]
async fn a_payment_that_is_known_is_not_opened_again() {
    let (stripe, script) = stripe(Vec::new()).await;
    let opened = Charge { stripe_id: Some(payment()), ..charge() };
    assert_eq!(stripe.open(&opened).await, Ok(payment()));
    assert_eq!(script.lines(), Vec::<String>::new());
}

/// Stripe forgets keys after a day: the same key would then make a second PaymentIntent.
#[tokio::test]
async fn the_payment_of_an_old_charge_is_searched_for_before_one_is_opened() {
    let old = Charge { created_at: NOW - Millis::from_mins(25 * 60), ..charge() };
    let others = intent_with(json!({ "id": "pi_9", "metadata": { "charge": Uuid::from_u128(9) } }));
    let (found, script) = stripe(vec![ok(json!({ "data": [others, intent("requires_capture")] }))]).await;
    assert_eq!(found.open(&old).await, Ok(payment()));
    let lines = script.lines();
    assert!(lines.len() == 1 && lines[0].starts_with("GET /v1/payment_intents/search?query=metadata"), "{lines:?}");

    let (none, script) = stripe(vec![ok(json!({ "data": [] })), ok(intent("requires_payment_method"))]).await;
    assert_eq!(none.open(&old).await, Ok(payment()));
    assert_eq!(script.asked().last().expect("two").key(), format!("{}:open", charge().id));

    let (deaf, script) = stripe(vec![error(500, json!({})).with("Stripe-Should-Retry", "false")]).await;
    unknown(deaf.open(&old).await);
    assert_eq!(script.lines().len(), 1, "without an answer nothing is opened");
}

#[tokio::test]
async fn a_payment_that_was_opened_in_other_words_is_searched_for() {
    let reused = error(400, json!({ "type": "idempotency_error" }));
    let (found, _) = stripe(vec![reused, ok(json!({ "data": [intent("requires_payment_method")] }))]).await;
    assert_eq!(found.open(&charge()).await, Ok(payment()));
    let reused = error(400, json!({ "type": "idempotency_error" }));
    let (missing, _) = stripe(vec![reused, ok(json!({ "data": [] }))]).await;
    unknown(missing.open(&charge()).await);
}

#[tokio::test]
async fn what_gets_lost_is_sent_again_under_the_same_key() {
    let busy = error(409, json!({ "type": "invalid_request_error", "code": "idempotency_key_in_use" }));
    let limited = error(429, json!({ "type": "invalid_request_error", "code": "lock_timeout" })).with("Retry-After", "0");
    let replies = vec![Reply::Lost, busy, limited, Reply::json(503, &json!(null)), ok(intent("requires_payment_method"))];
    let (stripe, script) = stripe(replies).await;
    assert_eq!(stripe.open(&charge()).await, Ok(payment()));
    let keys: Vec<_> = script.asked().iter().map(|asked| asked.key().to_owned()).collect();
    assert_eq!(keys, vec![format!("{}:open", charge().id); 5]);
}

#[tokio::test]
async fn what_is_never_answered_is_given_up_in_time() {
    let (stripe, script) = stripe_within(SHORT, (0..10).map(|_| Reply::Silence).collect()).await;
    let began = Instant::now();
    unknown(stripe.open(&charge()).await);
    let took = began.elapsed();
    assert!(took >= SHORT && took < SHORT * 4, "twice the time of a request, not {took:?}");
    assert!(script.lines().len() >= 2, "{:?}", script.lines());
}

#[tokio::test]
async fn a_pause_that_is_longer_than_the_patience_is_not_waited_for() {
    let limited = error(429, json!({ "code": "rate_limit" })).with("Retry-After", "30");
    let (stripe, script) = stripe_within(SHORT, vec![limited, ok(intent("requires_payment_method"))]).await;
    let began = Instant::now();
    assert!(unknown(stripe.open(&charge()).await).contains("429"));
    assert!(began.elapsed() < SHORT * 2, "{:?}", began.elapsed());
    assert_eq!(script.lines().len(), 1);
}

#[tokio::test]
async fn stripes_word_on_repeating_is_final() {
    let (stripe_no, script) = stripe(vec![error(409, json!({})).with("Stripe-Should-Retry", "false")]).await;
    unknown(stripe_no.open(&charge()).await);
    assert_eq!(script.lines().len(), 1);
    let yes = error(400, json!({ "code": "odd" })).with("Stripe-Should-Retry", "true");
    let (stripe_yes, script) = stripe(vec![yes, ok(intent("requires_payment_method"))]).await;
    assert_eq!(stripe_yes.open(&charge()).await, Ok(payment()));
    assert_eq!(script.lines().len(), 2);
}

/// Under another key there would be two: what Stripe failed at is found out by asking again, later.
#[tokio::test]
async fn opening_takes_no_other_key_while_an_intent_may_come_of_the_first() {
    let failed = || error(500, json!({ "type": "api_error" }));
    let (stripe, script) = stripe(vec![failed(), failed()]).await;
    unknown(stripe.open(&charge()).await);
    let keys: Vec<_> = script.asked().iter().map(|asked| asked.key().to_owned()).collect();
    assert_eq!(keys, vec![format!("{}:open", charge().id); 2]);
}

/// Else the charge could neither be paid nor given up as long as Stripe keeps it.
#[tokio::test]
async fn a_failure_to_open_that_stripe_keeps_leads_to_the_next_key_always_the_same() {
    let kept = || error(500, json!({ "type": "api_error" })).with("Idempotent-Replayed", "true");
    let first = error(500, json!({ "type": "api_error" }));
    let answers = vec![first, kept(), ok(intent("requires_payment_method")), kept(), ok(intent("requires_payment_method"))];
    let (stripe, script) = stripe(answers).await;
    for _ in 0..2 {
        assert_eq!(stripe.open(&charge()).await, Ok(payment()));
    }
    let keys: Vec<_> = script.asked().iter().map(|asked| asked.key().trim_start_matches(&charge().id.to_string()).to_owned()).collect();
    assert_eq!(keys, [":open", ":open", ":open:2", ":open", ":open:2"]);
}

#[tokio::test]
async fn a_key_that_stripe_does_not_accept_is_no_verdict_on_the_payment() {
    for status in [401, 403] {
        let (stripe, script) = stripe(vec![error(status, json!({ "type": "invalid_request_error" }))]).await;
        assert!(unknown(stripe.open(&charge()).await).contains("STRIPE_SECRET_KEY"));
        assert_eq!(script.lines().len(), 1, "and asking again is of no use");
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_no_answer() {
    for body in ["", "<html>", "{}", r#"{"id":1}"#, r#"{"id":"pi_1","status":7,"amount":1,"currency":"usd"}"#] {
        let (stripe, _) = stripe(vec![Reply::Answer(200, Vec::new(), body.into())]).await;
        unknown(stripe.open(&charge()).await);
    }
    let (stripe, _) = stripe(vec![Reply::Answer(200, Vec::new(), " ".repeat(2 << 20))]).await;
    unknown(stripe.open(&charge()).await);
}

#[tokio::test]
async fn a_refusal_tells_its_code_and_not_what_stripe_said_to_its_integrator() {
    let no = error(400, json!({ "type": "invalid_request_error", "code": "amount_too_small", "message": "sk_test_hush may not" }));
    let (stripe, _) = stripe(vec![no]).await;
    let Err(ProcessorError::Refused(failure)) = stripe.open(&charge()).await else { panic!("must be refused") };
    assert_eq!(failure.code, "amount_too_small");
    assert!(!failure.message.contains("hush"), "{failure:?}");
}

#[tokio::test]
async fn neither_keys_nor_secrets_nor_tokens_are_in_what_may_be_printed() {
    let (stripe, _) = stripe_within(SHORT, vec![ok(intent("requires_action")), Reply::Lost]).await;
    let answer = stripe.authorize(&charge(), &payment(), &token("pm_1hush")).await;
    let lost = unknown(stripe.token_exists(&token("tok_1hush")).await);
    for text in [format!("{stripe:?}"), format!("{answer:?}"), lost, format!("{:?}", webhook::Secrets::new(["whsec_hush"]))] {
        assert!(!text.contains("hush"), "{text}");
    }
}

#[tokio::test]
async fn only_a_token_that_stripe_misses_is_unknown() {
    let missing = || error(404, json!({ "type": "invalid_request_error", "code": "resource_missing" }));
    let cases = [
        ("pm_1abc", Some(ok(json!({ "id": "pm_1abc" }))), true, "GET /v1/payment_methods/pm_1abc"),
        ("pm_1abc", Some(missing()), false, "GET /v1/payment_methods/pm_1abc"),
        ("tok_1abc", Some(missing()), false, "GET /v1/tokens/tok_1abc"),
        // A stand-in for Stripe that has no such route: the attempt will tell.
        ("tok_1abc", Some(error(404, json!({ "message": "Unrecognized request URL" }))), true, "GET /v1/tokens/tok_1abc"),
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
