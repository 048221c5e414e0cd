//! Tests of the fake Stripe: the money tests depend on its correctness. They check what Stripe
//! documents.

use std::time::Duration;

use serde_json::Value;

use crate::fake_stripe::{Deceit, FakeStripe, Fault, Kind, Movement, Odds, Side, Verdict};

/// Client that sends requests to the fake as GitTix would.
struct Caller<'a> {
    stripe: &'a FakeStripe,
    http: reqwest::Client,
}

type Answer = (u16, Value, reqwest::header::HeaderMap);

impl<'a> Caller<'a> {
    fn of(stripe: &'a FakeStripe) -> Self {
        Self {
            stripe,
            http: gittix::http_client::builder().no_proxy().build().expect("a plain client"),
        }
    }

    async fn post(
        &self,
        path: &str,
        form: &[(&str, &str)],
        key: &str,
    ) -> Result<Answer, reqwest::Error> {
        let url = format!("{}/v1/{path}", self.stripe.base());
        let request = self
            .http
            .post(url)
            .bearer_auth(FakeStripe::SECRET_KEY)
            .header("idempotency-key", key)
            .form(form);
        let answer = request.send().await?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Ok((status, answer.json().await?, headers))
    }

    async fn get(&self, path: &str) -> Answer {
        let url = format!("{}/v1/{path}", self.stripe.base());
        let answer =
            self.http.get(url).bearer_auth(FakeStripe::SECRET_KEY).send().await.expect("an answer");
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        (status, answer.json().await.expect("JSON"), headers)
    }

    async fn opened(&self, key: &str) -> String {
        let (status, intent, _) =
            self.post("payment_intents", &OPENING, key).await.expect("an answer");
        assert_eq!(
            (status, intent["status"].as_str()),
            (200, Some("requires_payment_method")),
            "{intent}"
        );
        intent["id"].as_str().expect("an id").to_owned()
    }

    async fn authorized(&self) -> String {
        let id = self.opened("open").await;
        let (status, intent, _) =
            self.confirm(&id, "pm_card_visa", "confirm").await.expect("an answer");
        assert_eq!(
            (status, intent["status"].as_str()),
            (200, Some("requires_capture")),
            "{intent}"
        );
        id
    }

    async fn confirm(&self, id: &str, method: &str, key: &str) -> Result<Answer, reqwest::Error> {
        self.post(&format!("payment_intents/{id}/confirm"), &[("payment_method", method)], key)
            .await
    }

    async fn capture(&self, id: &str, key: &str) -> Result<Answer, reqwest::Error> {
        self.post(&format!("payment_intents/{id}/capture"), &[], key).await
    }
}

const OPENING: [(&str, &str); 5] = [
    ("amount", "2000"),
    ("currency", "usd"),
    ("capture_method", "manual"),
    ("payment_method_types[]", "card"),
    ("metadata[order]", "an order"),
];

fn movements(stripe: &FakeStripe) -> Vec<(Movement, u64)> {
    stripe.lines().iter().map(|line| (line.movement, line.amount)).collect()
}

#[tokio::test]
async fn money_is_authorized_captured_and_refunded_once() {
    let stripe = FakeStripe::start();
    let caller = Caller::of(&stripe);
    let id = caller.authorized().await;
    let (_, captured, _) = caller.capture(&id, "capture").await.expect("an answer");
    assert_eq!(
        (&captured["status"], &captured["amount_received"], &captured["amount_capturable"]),
        (&"succeeded".into(), &2000.into(), &0.into())
    );
    let again = caller.capture(&id, "capture again").await.expect("an answer");
    assert_eq!(
        (again.0, &again.1["error"]["code"]),
        (400, &"payment_intent_unexpected_state".into())
    );
    let form = [("payment_intent", id.as_str())];
    assert_eq!(caller.post("refunds", &form, "refund").await.expect("an answer").0, 200);
    let more = caller.post("refunds", &form, "refund more").await.expect("an answer");
    assert_eq!((more.0, &more.1["error"]["code"]), (400, &"charge_already_refunded".into()));
    assert_eq!(
        movements(&stripe),
        [(Movement::Authorized, 2000), (Movement::Captured, 2000), (Movement::Refunded, 2000)]
    );
    assert_eq!(stripe.contradictions(), [] as [String; 0]);
}

#[tokio::test]
async fn cancellation_voids_the_authorization_and_ends_the_intent() {
    let stripe = FakeStripe::start();
    let caller = Caller::of(&stripe);
    let id = caller.authorized().await;
    let (status, intent, _) = caller
        .post(&format!("payment_intents/{id}/cancel"), &[], "cancel")
        .await
        .expect("an answer");
    assert_eq!((status, &intent["status"]), (200, &"canceled".into()));
    assert_eq!(caller.capture(&id, "capture").await.expect("an answer").0, 400);
    assert_eq!(movements(&stripe), [(Movement::Authorized, 2000), (Movement::Voided, 2000)]);
}

#[tokio::test]
async fn decline_is_402_and_the_intent_accepts_another_card() {
    let stripe = FakeStripe::start();
    let caller = Caller::of(&stripe);
    let id = caller.opened("open").await;
    let (status, body, _) = caller
        .confirm(&id, "pm_card_visa_chargeDeclinedInsufficientFunds", "first")
        .await
        .expect("an answer");
    let error = &body["error"];
    assert_eq!(
        (status, &error["type"], &error["decline_code"]),
        (402, &"card_error".into(), &"insufficient_funds".into())
    );
    assert_eq!(error["payment_intent"]["status"], "requires_payment_method");
    assert_eq!(
        caller.get(&format!("payment_intents/{id}")).await.1["last_payment_error"]["code"],
        "card_declined"
    );
    assert_eq!(
        caller.confirm(&id, "pm_card_visa", "second").await.expect("an answer").1["status"],
        "requires_capture"
    );
    assert_eq!(movements(&stripe), [(Movement::Authorized, 2000)]);
}

#[tokio::test]
async fn intent_waits_for_the_authentication_of_the_buyer() {
    let stripe = FakeStripe::start();
    let caller = Caller::of(&stripe);
    let id = caller.opened("open").await;
    let (_, waiting, _) =
        caller.confirm(&id, "pm_card_authenticationRequired", "first").await.expect("an answer");
    assert_eq!(
        (&waiting["status"], &waiting["next_action"]["type"]),
        (&"requires_action".into(), &"use_stripe_sdk".into())
    );
    stripe.act(&id, false).await;
    let (_, failed, _) = caller.get(&format!("payment_intents/{id}")).await;
    assert_eq!(failed["last_payment_error"]["code"], "payment_intent_authentication_failure");
    caller.confirm(&id, "pm_card_authenticationRequired", "second").await.expect("an answer");
    stripe.act(&id, true).await;
    assert_eq!(caller.get(&format!("payment_intents/{id}")).await.1["status"], "requires_capture");
    let kinds: Vec<String> = stripe.events().into_iter().map(|event| event.kind).collect();
    let expected = [
        "created",
        "requires_action",
        "payment_failed",
        "requires_action",
        "amount_capturable_updated",
    ];
    assert_eq!(kinds, expected.map(|kind| format!("payment_intent.{kind}")));
}

#[tokio::test]
async fn repeated_request_under_one_key_gets_the_same_answer_and_is_done_once() {
    let stripe = FakeStripe::start();
    let caller = Caller::of(&stripe);
    let id = caller.authorized().await;
    let first = caller.capture(&id, "capture").await.expect("an answer");
    let second = caller.capture(&id, "capture").await.expect("an answer");
    assert_eq!((first.0, &first.1), (second.0, &second.1));
    assert_eq!(
        (
            first.2.get("idempotent-replayed"),
            second.2.get("idempotent-replayed").map(|value| value.as_bytes())
        ),
        (None, Some(&b"true"[..]))
    );
    assert_eq!(movements(&stripe), [(Movement::Authorized, 2000), (Movement::Captured, 2000)]);
}

#[tokio::test]
async fn key_with_another_request_is_refused() {
    let stripe = FakeStripe::start();
    let caller = Caller::of(&stripe);
    let id = caller.opened("a key").await;
    let mut other = OPENING;
    other[0].1 = "3000";
    for (path, form) in
        [("payment_intents", &other[..]), (&format!("payment_intents/{id}/cancel"), &[])]
    {
        let (status, body, _) = caller.post(path, form, "a key").await.expect("an answer");
        assert_eq!((status, &body["error"]["type"]), (400, &"idempotency_error".into()), "{path}");
    }
}

#[tokio::test]
async fn key_is_in_use_until_its_first_request_is_answered() {
    let stripe = FakeStripe::start();
    let caller = Caller::of(&stripe);
    stripe.script(Kind::Create, Fault::Slow(Duration::from_millis(500)));
    let (first, second) = tokio::join!(caller.post("payment_intents", &OPENING, "a key"), async {
        while stripe.seen().is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        caller.post("payment_intents", &OPENING, "a key").await
    });
    assert_eq!(first.expect("an answer").0, 200);
    let (status, body, _) = second.expect("an answer");
    assert_eq!((status, &body["error"]["code"]), (409, &"idempotency_key_in_use".into()));
}

#[tokio::test]
async fn lost_answer_is_replayed_under_its_key() {
    let stripe = FakeStripe::start();
    let caller = Caller::of(&stripe);
    let id = caller.authorized().await;
    stripe.script(Kind::Capture, Fault::LostAnswer);
    caller.capture(&id, "capture").await.expect_err("the connection ends");
    assert_eq!(caller.capture(&id, "capture").await.expect("an answer").1["status"], "succeeded");
    assert_eq!(movements(&stripe), [(Movement::Authorized, 2000), (Movement::Captured, 2000)]);
}

#[tokio::test]
async fn endpoint_error_is_replayed_and_limit_error_is_not() {
    let stripe = FakeStripe::start();
    let caller = Caller::of(&stripe);
    let id = caller.authorized().await;
    let not_kept = [(Fault::RateLimited, 429), (Fault::Locked, 409), (Fault::Unavailable, 503)];
    for (fault, status) in not_kept {
        stripe.script(Kind::Capture, fault);
        let (found, body, headers) = caller.capture(&id, "one key").await.expect("an answer");
        assert_eq!((found, headers.contains_key("retry-after")), (status, status == 429), "{body}");
    }
    stripe.script(Kind::Capture, Fault::BrokenBefore);
    assert_eq!(caller.capture(&id, "one key").await.expect("an answer").0, 500);
    assert_eq!(
        caller.capture(&id, "one key").await.expect("an answer").0,
        500,
        "a 500 is not replayed, although Stripe documents that it is"
    );
    assert_eq!(movements(&stripe), [(Movement::Authorized, 2000)]);
    stripe.script(Kind::Capture, Fault::BrokenAfter);
    assert_eq!(caller.capture(&id, "another key").await.expect("an answer").0, 500);
    assert_eq!(movements(&stripe), [(Movement::Authorized, 2000), (Movement::Captured, 2000)]);
}

#[tokio::test]
async fn held_request_is_done_or_dropped_as_its_holder_decides() {
    let stripe = FakeStripe::start();
    let caller = Caller::of(&stripe);
    let id = caller.authorized().await;
    for (verdict, lines) in [(Verdict::Forget, 1), (Verdict::Do, 2)] {
        let held = stripe.hold(Side::Before, Kind::Capture, 0);
        let capture = caller.capture(&id, "capture");
        let (answer, ()) = tokio::join!(capture, async {
            held.await.expect("the request arrives").let_go(verdict)
        });
        assert_eq!((answer.is_ok(), stripe.lines().len()), (verdict == Verdict::Do, lines));
    }
}

#[tokio::test]
async fn undocumented_parameter_or_value_is_refused() {
    let stripe = FakeStripe::start();
    let caller = Caller::of(&stripe);
    let mut form = OPENING.to_vec();
    form.push(("capture", "manual"));
    let (status, body, _) =
        caller.post("payment_intents", &form, "a key").await.expect("an answer");
    assert_eq!((status, &body["error"]["code"]), (400, &"parameter_unknown".into()));
    // Payment methods that may redirect require a return URL.
    let (_, intent, _) =
        caller.post("payment_intents", &OPENING[..3], "another key").await.expect("an answer");
    let (status, body, _) = caller
        .confirm(intent["id"].as_str().expect("an id"), "pm_card_visa", "confirm")
        .await
        .expect("an answer");
    assert_eq!((status, &body["error"]["param"]), (400, &"return_url".into()));
    let unknown = caller
        .confirm(&caller.opened("open").await, "pm_card_ofNobody", "unknown")
        .await
        .expect("an answer");
    assert_eq!((unknown.0, &unknown.1["error"]["code"]), (400, &"resource_missing".into()));
}

#[tokio::test]
async fn faults_follow_from_the_seed_at_the_stated_rate() {
    let drawn = |seed| {
        let mut faults = crate::fake_stripe::faults::Faults::new(seed, Odds::bad_day());
        (0..10_000).map(|_| faults.draw(Kind::Capture)).collect::<Vec<_>>()
    };
    assert_eq!(drawn(7), drawn(7));
    assert_ne!(drawn(7), drawn(8));
    let wrong = drawn(7).iter().flatten().count();
    assert!((1_100..1_600).contains(&wrong), "{wrong} of 10,000");
}

/// Negative control of all tests that rely on this ledger: a processor that keeps the money is
/// visible in it.
#[tokio::test]
async fn processor_that_keeps_the_money_is_visible_in_its_ledger() {
    let stripe = FakeStripe::start();
    stripe.deceive(Deceit::KeepsTheMoney);
    let caller = Caller::of(&stripe);
    let id = caller.authorized().await;
    let (_, intent, _) = caller
        .post(&format!("payment_intents/{id}/cancel"), &[], "cancel")
        .await
        .expect("an answer");
    assert_eq!(intent["status"], "canceled");
    assert_eq!(stripe.accounts()[&id].held(), 2000);
}
