//! The real HTTP path against a fake Stripe that others wrote: PyPI's localstripe. It shares no line with ours, and reads
//! Stripe's documents with other eyes. What it does not do (idempotency, faults, deliveries that come again) is asked of ours.

use serde_json::{Value, json};

use super::others::Other;
use crate::{
    app::{Backend, Client, TestApp, on_both_stores},
    fake_stripe::FakeStripe,
};

on_both_stores!(
    a_purchase_at_localstripe_is_captured_and_told_by_its_webhook,
    a_card_that_localstripe_declines_sells_nothing,
    an_order_cancelled_during_localstripes_three_d_secure_voids_it,
    three_d_secure_at_localstripe_is_finished,
);

const SECRET: &str = "whsec_of_localstripe";

/// A server and localstripe, which is told where the server is.
struct Scene {
    app: TestApp,
    other: Other,
    http: reqwest::Client,
}

impl Scene {
    async fn start(store: Backend, more: &[(&str, &str)]) -> Self {
        let other = Other::localstripe();
        let base = other.base.clone();
        let mut settings =
            vec![("STRIPE_SECRET_KEY", FakeStripe::SECRET_KEY), ("STRIPE_API_BASE", base.as_str()), ("STRIPE_WEBHOOK_SECRET", SECRET)];
        settings.extend_from_slice(more);
        let app = TestApp::start_with(store, &settings).await;
        let scene = Self { app, other, http: reqwest::Client::builder().no_proxy().build().expect("a plain client") };
        let hook = format!("http://{}/api/webhooks/stripe", scene.app.server.addr);
        let configured = scene.post("_config/webhooks/gittix", &[("url", &hook), ("secret", SECRET)]).await;
        assert_eq!(configured.0, 200);
        scene
    }

    async fn post(&self, path: &str, form: &[(&str, &str)]) -> (u16, Value) {
        let answer = self.http.post(format!("{}/{path}", self.other.base)).bearer_auth(FakeStripe::SECRET_KEY).form(form).send().await;
        let answer = answer.expect("localstripe answers");
        (answer.status().as_u16(), answer.json().await.unwrap_or_default())
    }

    async fn get(&self, path: &str) -> Value {
        let answer = self.http.get(format!("{}/{path}", self.other.base)).bearer_auth(FakeStripe::SECRET_KEY).send().await;
        answer.expect("localstripe answers").json().await.expect("JSON")
    }

    async fn order(&self) -> (Client, String) {
        let (seller, buyer) = (self.app.user().await, self.app.user().await);
        let ticket = seller.list_ticket("Front row", 19.99).await.expect(201).id();
        let order = buyer.locks(&ticket).await;
        (buyer, order)
    }

    /// A payment method of a card whose holder must act (localstripe makes one of any of its numbers).
    async fn authenticating(&self) -> String {
        let card = [
            ("type", "card"),
            ("card[number]", "4000002500003155"),
            ("card[exp_month]", "12"),
            ("card[exp_year]", "2040"),
            ("card[cvc]", "123"),
        ];
        let (status, method) = self.post("v1/payment_methods", &card).await;
        assert_eq!(status, 200, "{method}");
        method["id"].as_str().expect("an id").to_owned()
    }

    /// All of its intents: amount, currency, status and what was refunded.
    async fn intents(&self) -> Vec<(Value, Value, Value, i64)> {
        let list = self.get("v1/payment_intents").await;
        let refunded = |intent: &Value| {
            let refunds = intent["latest_charge"]["refunds"]["data"].as_array().cloned().unwrap_or_default();
            refunds.iter().filter_map(|refund| refund["amount"].as_i64()).sum()
        };
        let shown = |intent: &Value| (intent["amount"].clone(), intent["currency"].clone(), intent["status"].clone(), refunded(intent));
        list["data"].as_array().expect("a list").iter().map(shown).collect()
    }
}

fn one(status: &str, refunded: i64) -> Vec<(Value, Value, Value, i64)> {
    vec![(json!(1999), json!("usd"), json!(status), refunded)]
}

/// How many deliveries were taken, by the server's own count of answers.
async fn webhooks_taken(app: &TestApp) -> u64 {
    let metrics = app.guest().get("/metrics").await.expect(200).text;
    let counts = metrics.lines().filter(|line| line.starts_with("gittix_webhook_deliveries_total{") && !line.contains("invalid"));
    counts.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

async fn a_purchase_at_localstripe_is_captured_and_told_by_its_webhook(store: Backend) {
    let scene = Scene::start(store, &[]).await;
    let (buyer, order) = scene.order().await;
    let charge = buyer.pay(&order, "pm_card_visa").await.expect(201);
    assert_eq!((&charge["status"], &charge["amount"]), (&json!("Completed"), &json!(19.99)));
    assert_eq!(scene.intents().await, one("succeeded", 0));
    // Signed by localstripe's own code; it waits a second before it delivers.
    while webhooks_taken(&scene.app).await == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(buyer.order(&order).await.expect(200)["status"], "Completed");
}

async fn a_card_that_localstripe_declines_sells_nothing(store: Backend) {
    let scene = Scene::start(store, &[]).await;
    let (buyer, order) = scene.order().await;
    // The card that ends in 0341.
    buyer.pay(&order, "pm_card_chargeCustomerFail").await.refused(402, "card_declined");
    assert_eq!(buyer.order(&order).await.expect(200)["status"], "AwaitingPayment");
    buyer.pay(&order, "pm_card_visa").await.expect(201);
    let statuses: Vec<Value> = scene.intents().await.into_iter().map(|(_, _, status, _)| status).collect();
    assert!(statuses.contains(&json!("succeeded")) && statuses.contains(&json!("requires_payment_method")), "{statuses:?}");
}

async fn an_order_cancelled_during_localstripes_three_d_secure_voids_it(store: Backend) {
    let scene = Scene::start(store, &[]).await;
    let (buyer, order) = scene.order().await;
    let mut socket = buyer.socket().await;
    let method = scene.authenticating().await;
    buyer.pay(&order, &method).await.expect(202);
    buyer.cancel_order(&order).await.expect(204);
    socket.event("ChargeFailed").await;
    assert_eq!(scene.intents().await, one("canceled", 0));
}

async fn three_d_secure_at_localstripe_is_finished(store: Backend) {
    let scene = Scene::start(store, &[]).await;
    let (buyer, order) = scene.order().await;
    let method = scene.authenticating().await;
    let waiting = buyer.pay(&order, &method).await.expect(202);
    let (intent, secret) = (waiting["stripeId"].as_str().expect("an id"), waiting["clientSecret"].as_str().expect("it waits"));
    // As its stripe.js does for the buyer.
    let acted = scene.post(&format!("v1/payment_intents/{intent}/_authenticate"), &[("client_secret", secret), ("success", "true")]).await;
    assert_eq!((acted.0, &acted.1["status"]), (200, &json!("requires_capture")));
    assert_eq!(buyer.confirm(&waiting.id()).await.expect(200)["status"], "Completed");
    assert_eq!(scene.intents().await, one("succeeded", 0));
}

/// It would refund as often as it is asked: a server that died between refund and commit must not ask twice.
#[tokio::test]
async fn what_localstripe_captured_without_a_ticket_is_refunded_once() {
    let short = [
        ("GITTIX_PAYMENT_WINDOW", "600ms"),
        ("GITTIX_LOCK_DURATION", "1s"),
        ("GITTIX_SETTLE_GRACE", "300ms"),
        ("FAILPOINTS", "settlement::captured=return"),
    ];
    let mut scene = Scene::start(Backend::Embedded, &short).await;
    let (buyer, order) = scene.order().await;
    buyer.pay(&order, "pm_card_visa").attempt().await.expect_err("the server ends after the capture");
    assert_eq!(scene.intents().await, one("succeeded", 0));
    // Past the lock and its grace while nobody is there: it is time itself that must pass.
    tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
    // It dies once more, when the money went back and nobody has noted it.
    scene.app.set("FAILPOINTS", "settlement::reversed=return");
    scene.app.restart_to_its_end().await;
    assert_eq!(scene.intents().await, one("succeeded", 1999));
    scene.app.set("FAILPOINTS", "");
    scene.app.restart().await;
    let buyer = buyer.at(&scene.app.server);
    let over = async || buyer.charges_of(&order).await.expect(200).items()[0].clone();
    while over().await["status"] == "Created" {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let charge = over().await;
    assert_eq!((&charge["status"], charge["stripeRefundId"].is_string()), (&json!("Failed"), true), "{charge}");
    assert_eq!(scene.intents().await, one("succeeded", 1999), "once, and not twice");
}
