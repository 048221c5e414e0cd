//! Tests against npm's stripe-stateful-mock. It has charges, not PaymentIntents, so GitTix cannot
//! complete a purchase with it. It has an independent idempotency layer, which the fake's layer is
//! compared with, and an independent authentication. It also serves as a processor whose answers
//! GitTix cannot use.

use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use super::others::ThirdPartyStripe;
use crate::{
    app::{Backend, TestApp},
    fake_stripe::FakeStripe,
};

/// Status, body, and whether the answer is a replay.
type Answer = (u16, Value, bool);

async fn post(base: &str, path: &str, form: &[(&str, &str)], key: &str) -> Answer {
    let http = gittix::http_client::builder().no_proxy().build().expect("a plain client");
    let request = http
        .post(format!("{base}/v1/{path}"))
        .bearer_auth(FakeStripe::SECRET_KEY)
        .header("idempotency-key", key)
        .form(form);
    let answer = request.send().await.expect("the mock answers");
    let replayed = |headers: &HeaderMap| {
        headers.get("idempotent-replayed").is_some_and(|value| value == "true")
    };
    let (status, replayed) = (answer.status().as_u16(), replayed(answer.headers()));
    (status, answer.json().await.expect("JSON"), replayed)
}

/// Returns the behaviour under idempotency keys: a repetition, another request under the same key,
/// another key, and a repeated error.
async fn behaviour(
    base: &str,
    path: &str,
    good: &[(&str, &str)],
    other: &[(&str, &str)],
    bad: &[(&str, &str)],
) -> Vec<String> {
    let mut seen = Vec::new();
    let first = post(base, path, good, "a key").await;
    let again = post(base, path, good, "a key").await;
    seen.push(format!("first {} replayed {}", first.0, first.2));
    seen.push(format!("again {} replayed {} the same {}", again.0, again.2, first.1 == again.1));
    let reused = post(base, path, other, "a key").await;
    seen.push(format!("other {} {} replayed {}", reused.0, reused.1["error"]["type"], reused.2));
    let apart = post(base, path, good, "another key").await;
    seen.push(format!(
        "another key {} replayed {} another object {}",
        apart.0,
        apart.2,
        apart.1["id"] != first.1["id"]
    ));
    let (failed, failed_again) =
        (post(base, path, bad, "a bad key").await, post(base, path, bad, "a bad key").await);
    seen.push(format!(
        "declined {} replayed {}, again {} replayed {}",
        failed.0, failed.2, failed_again.0, failed_again.2
    ));
    seen
}

#[tokio::test]
async fn idempotency_of_the_fake_equals_that_of_an_independent_mock() {
    let other = ThirdPartyStripe::stateful_mock();
    let charge = |source: &'static str, amount: &'static str| {
        [("amount", amount), ("currency", "usd"), ("source", source)]
    };
    let mock_behaviour = behaviour(
        &other.base,
        "charges",
        &charge("tok_visa", "2000"),
        &charge("tok_visa", "3000"),
        &charge("tok_chargeDeclined", "2000"),
    )
    .await;
    let ours = FakeStripe::start();
    let intent = |method: &'static str, amount: &'static str| {
        [
            ("amount", amount),
            ("currency", "usd"),
            ("payment_method_types[]", "card"),
            ("confirm", "true"),
            ("payment_method", method),
        ]
    };
    let fake_behaviour = behaviour(
        &ours.base(),
        "payment_intents",
        &intent("pm_card_visa", "2000"),
        &intent("pm_card_visa", "3000"),
        &intent("pm_card_visa_chargeDeclined", "2000"),
    )
    .await;
    assert_eq!(fake_behaviour, mock_behaviour);
    assert!(
        mock_behaviour[1].ends_with("the same true"),
        "the mock has no idempotency: {mock_behaviour:?}"
    );
}

/// The mock answers every PaymentIntent with an HTML page and 404, and a key that is not a test key
/// with 401.
#[tokio::test]
async fn processor_without_payment_intents_completes_no_purchase() {
    let other = ThirdPartyStripe::stateful_mock();
    for key in ["sk_test_of_somebody", "rk_of_somebody"] {
        let settings = [
            ("STRIPE_SECRET_KEY", key),
            ("STRIPE_API_BASE", other.base.as_str()),
            ("STRIPE_TIMEOUT", "500ms"),
        ];
        let app = TestApp::start_with(Backend::Embedded, &settings).await;
        let (seller, buyer) = (app.user().await, app.user().await);
        let order = buyer.locks(&seller.sells("Front row").await).await;
        let paid = buyer.pay(&order, "pm_card_visa").await;
        // If the key is not accepted, the outcome is unknown: the charge stays open, and
        // reconciliation asks again.
        assert_ne!(paid.status, 201, "{key}: {paid:?}");
        assert!(
            !paid.text.contains("html") && !app.server.log().iter().any(|line| line.contains(key)),
            "{key}"
        );
        assert_ne!(buyer.order(&order).await.expect(200)["status"], json!("Completed"), "{key}");
    }
}
