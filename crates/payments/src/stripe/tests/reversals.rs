//! Reversals: cancelling an authorization, refunding captured money, and refunds that fail.

use super::*;

async fn reverse(replies: Vec<Reply>) -> (Result<Reversal, ProcessorError>, Script) {
    let (stripe, script) = stripe(replies).await;
    (stripe.reverse(&charge(), &payment()).await, script)
}

fn refund(id: &str, status: &str, amount: i64) -> Value {
    json!({ "id": id, "object": "refund", "status": status, "amount": amount })
}

fn refunded(id: &str) -> Result<Reversal, ProcessorError> {
    Ok(Reversal::Refunded { refund: gittix_domain::RefundId::new(id) })
}

#[tokio::test]
async fn uncaptured_payment_is_cancelled() {
    for status in
        ["requires_payment_method", "requires_confirmation", "requires_action", "requires_capture"]
    {
        let (answer, script) = reverse(vec![ok(intent(status)), ok(intent("canceled"))]).await;
        assert_eq!(answer, Ok(Reversal::Voided), "{status}");
        assert_eq!(script.lines()[1], "POST /v1/payment_intents/pi_1/cancel");
        assert_eq!(script.received()[1].key(), format!("{}:cancel", charge().id));
    }
    let (answer, script) = reverse(vec![ok(intent("canceled"))]).await;
    assert_eq!(
        (answer, script.lines().len()),
        (Ok(Reversal::Voided), 1),
        "a cancelled payment is not cancelled again"
    );
}

#[tokio::test]
async fn captured_payment_is_refunded_in_full() {
    let (answer, script) = reverse(vec![
        ok(intent("succeeded")),
        refunds(json!([])),
        ok(refund("re_1", "succeeded", AMOUNT)),
    ])
    .await;
    assert_eq!(answer, refunded("re_1"));
    let received = &script.received()[2];
    assert_eq!(received.line, "POST /v1/refunds");
    assert_eq!(
        (received.form["payment_intent"].as_str(), received.form["amount"].as_str()),
        ("pi_1", "1999")
    );
    assert_eq!(received.key(), format!("{}:refund:0", charge().id));
}

#[tokio::test]
async fn payment_captured_during_cancellation_is_refunded() {
    let replies = vec![
        ok(intent("requires_capture")),
        unexpected_state(),
        ok(intent("succeeded")),
        refunds(json!([])),
        ok(refund("re_1", "succeeded", AMOUNT)),
    ];
    assert_eq!(reverse(replies).await.0, refunded("re_1"));
}

/// Servers that replace Stripe in tests are known to refund twice. So an existing refund is never
/// requested again, regardless of who made it.
#[tokio::test]
async fn existing_refund_is_not_repeated() {
    let (answer, script) = reverse(vec![
        ok(intent("succeeded")),
        refunds(json!([refund("re_9", "succeeded", AMOUNT)])),
    ])
    .await;
    assert_eq!((answer, script.lines().len()), (refunded("re_9"), 2));
    let replies = vec![
        ok(intent("succeeded")),
        refunds(json!([])),
        error(500, json!({})),
        refunds(json!([refund("re_1", "succeeded", AMOUNT)])),
    ];
    let (answer, script) = reverse(replies).await;
    assert_eq!(
        (answer, script.lines().len()),
        (refunded("re_1"), 4),
        "Stripe answered with an error, but made the refund"
    );
}

#[tokio::test]
async fn partly_refunded_payment_is_refunded_for_the_rest() {
    let part = refund("re_1", "succeeded", 999);
    let replies = vec![
        ok(intent("succeeded")),
        refunds(json!([part])),
        ok(refund("re_2", "succeeded", 1000)),
    ];
    let (answer, script) = reverse(replies).await;
    assert_eq!((answer, script.received()[2].form["amount"].as_str()), (refunded("re_2"), "1000"));
}

#[tokio::test]
async fn pending_refund_is_unknown() {
    let (answer, _) = reverse(vec![
        ok(intent("succeeded")),
        refunds(json!([])),
        ok(refund("re_1", "pending", AMOUNT)),
    ])
    .await;
    assert!(unknown(answer).contains("pending"));
    let (answer, script) =
        reverse(vec![ok(intent("succeeded")), refunds(json!([refund("re_1", "pending", AMOUNT)]))])
            .await;
    assert!(unknown(answer).contains("pending"));
    assert_eq!(script.lines().len(), 2, "no second refund is made");
}

#[tokio::test]
async fn failed_refund_is_repeated_with_another_key() {
    let failed =
        |n: usize| (0..n).map(|n| refund(&format!("re_{n}"), "failed", AMOUNT)).collect::<Vec<_>>();
    for n in 1..3 {
        let replies = vec![
            ok(intent("succeeded")),
            refunds(json!(failed(n))),
            ok(refund("re_9", "succeeded", AMOUNT)),
        ];
        let (answer, script) = reverse(replies).await;
        assert_eq!(answer, refunded("re_9"));
        assert_eq!(script.received()[2].key(), format!("{}:refund:{n}", charge().id));
    }
    let (answer, script) = reverse(vec![ok(intent("succeeded")), refunds(json!(failed(3)))]).await;
    assert_eq!(
        (code(answer).as_str(), script.lines().len()),
        ("refund_failed", 2),
        "an operator has to act"
    );
    let mut by_hand = failed(3);
    by_hand.insert(0, refund("re_9", "succeeded", AMOUNT));
    let (answer, _) = reverse(vec![ok(intent("succeeded")), refunds(json!(by_hand))]).await;
    assert_eq!(answer, refunded("re_9"), "a refund made by hand counts");
}

#[tokio::test]
async fn captured_amount_above_the_charges_amount_is_refunded() {
    let more = intent_with(
        json!({ "status": "succeeded", "amount": AMOUNT + 1, "amount_received": AMOUNT + 1 }),
    );
    let (answer, script) =
        reverse(vec![ok(more), refunds(json!([])), ok(refund("re_1", "succeeded", AMOUNT + 1))])
            .await;
    assert_eq!((answer, script.received()[2].form["amount"].as_str()), (refunded("re_1"), "2000"));
}

#[tokio::test]
async fn payment_of_another_charge_is_not_reversed() {
    let foreign = intent_with(
        json!({ "status": "requires_capture", "metadata": { "charge": Uuid::from_u128(9) } }),
    );
    let (answer, script) = reverse(vec![ok(foreign)]).await;
    assert_eq!((code(answer).as_str(), script.lines().len()), ("resource_missing", 1));
}

#[tokio::test]
async fn payment_in_processing_is_unknown() {
    let (answer, script) = reverse(vec![ok(intent("processing"))]).await;
    unknown(answer);
    assert_eq!(script.lines().len(), 1);
}
