//! Against npm's stripe-stateful-mock, as far as it reaches: it has charges, not PaymentIntents, so no purchase of GitTix can
//! be done with it. What it has is an idempotency layer and an authentication that others wrote: the fake's layer is held
//! against the first, and GitTix against a processor whose answers are none.

use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use super::others::Other;
use crate::{
    app::{Backend, TestApp},
    fake_stripe::FakeStripe,
};

/// Status, body, whether it is a replay.
type Answer = (u16, Value, bool);

async fn post(base: &str, path: &str, form: &[(&str, &str)], key: &str) -> Answer {
    let http = reqwest::Client::builder().no_proxy().build().expect("a plain client");
    let request = http.post(format!("{base}/v1/{path}")).bearer_auth(FakeStripe::SECRET_KEY).header("idempotency-key", key).form(form);
    let answer = request.send().await.expect("it answers");
    let replayed = |headers: &HeaderMap| headers.get("idempotent-replayed").is_some_and(|value| value == "true");
    let (status, replayed) = (answer.status().as_u16(), replayed(answer.headers()));
    (status, answer.json().await.expect("JSON"), replayed)
}

/// What a processor with idempotency keys does: the same again, something else under the key, and an error again.
async fn behaviour(base: &str, path: &str, good: &[(&str, &str)], other: &[(&str, &str)], bad: &[(&str, &str)]) -> Vec<String> {
    let mut seen = Vec::new();
    let first = post(base, path, good, "a key").await;
    let again = post(base, path, good, "a key").await;
    seen.push(format!("first {} replayed {}", first.0, first.2));
    seen.push(format!("again {} replayed {} the same {}", again.0, again.2, first.1 == again.1));
    let reused = post(base, path, other, "a key").await;
    seen.push(format!("other {} {} replayed {}", reused.0, reused.1["error"]["type"], reused.2));
    let apart = post(base, path, good, "another key").await;
    seen.push(format!("another key {} replayed {} another object {}", apart.0, apart.2, apart.1["id"] != first.1["id"]));
    let (failed, failed_again) = (post(base, path, bad, "a bad key").await, post(base, path, bad, "a bad key").await);
    seen.push(format!("declined {} replayed {}, again {} replayed {}", failed.0, failed.2, failed_again.0, failed_again.2));
    seen
}

#[tokio::test]
async fn the_fakes_idempotency_is_that_of_another_author() {
    let other = Other::stateful_mock();
    let charge = |source: &'static str, amount: &'static str| [("amount", amount), ("currency", "usd"), ("source", source)];
    let theirs =
        behaviour(&other.base, "charges", &charge("tok_visa", "2000"), &charge("tok_visa", "3000"), &charge("tok_chargeDeclined", "2000"))
            .await;
    let ours = FakeStripe::start();
    let intent = |method: &'static str, amount: &'static str| {
        [("amount", amount), ("currency", "usd"), ("payment_method_types[]", "card"), ("confirm", "true"), ("payment_method", method)]
    };
    let mine = behaviour(
        &ours.base(),
        "payment_intents",
        &intent("pm_card_visa", "2000"),
        &intent("pm_card_visa", "3000"),
        &intent("pm_card_visa_chargeDeclined", "2000"),
    )
    .await;
    assert_eq!(mine, theirs);
    assert!(theirs[1].ends_with("the same true"), "it has idempotency: {theirs:?}");
}

/// It answers every PaymentIntent with a page of HTML and 404, and a key that is no test key with 401.
#[tokio::test]
async fn a_processor_that_has_no_payment_intents_sells_nothing() {
    let other = Other::stateful_mock();
    for key in ["sk_test_of_somebody", "rk_of_somebody"] {
        let settings = [("STRIPE_SECRET_KEY", key), ("STRIPE_API_BASE", other.base.as_str()), ("STRIPE_TIMEOUT", "500ms")];
        let app = TestApp::start_with(Backend::Embedded, &settings).await;
        let (seller, buyer) = (app.user().await, app.user().await);
        let order = buyer.locks(&seller.sells("Front row").await).await;
        let paid = buyer.pay(&order, "pm_card_visa").await;
        // With a key that is not taken nothing is known: the charge is open, and reconciliation asks again.
        assert_ne!(paid.status, 201, "{key}: {paid:?}");
        assert!(!paid.text.contains("html") && !app.server.log().iter().any(|line| line.contains(key)), "{key}");
        assert_ne!(buyer.order(&order).await.expect(200)["status"], json!("Completed"), "{key}");
    }
}
