//! The real HTTP path against an independent fake Stripe: PyPI's localstripe. It shares no code
//! with our fake, so its authors' reading of Stripe's documents is independent. Our fake covers
//! what it lacks: idempotency, faults, repeated deliveries.

use serde_json::{Value, json};

use super::others::ThirdPartyStripe;
use crate::{
    app::{Backend, Client, TestApp, on_both_stores},
    fake_stripe::FakeStripe,
};

on_both_stores!(
    purchase_at_localstripe_is_captured_and_its_webhook_is_accepted,
    card_declined_by_localstripe_completes_no_purchase,
    order_cancelled_during_three_d_secure_at_localstripe_is_voided,
    three_d_secure_at_localstripe_completes_the_purchase,
);

const SECRET: &str = "whsec_of_localstripe";

/// A server and localstripe, which is configured with the server's webhook address.
struct AppWithLocalStripe {
    app: TestApp,
    other: ThirdPartyStripe,
    http: reqwest::Client,
}

impl AppWithLocalStripe {
    async fn start(store: Backend, more: &[(&str, &str)]) -> Self {
        let other = ThirdPartyStripe::localstripe();
        let base = other.base.clone();
        let mut settings = vec![
            ("STRIPE_SECRET_KEY", FakeStripe::SECRET_KEY),
            ("STRIPE_API_BASE", base.as_str()),
            ("STRIPE_WEBHOOK_SECRET", SECRET),
        ];
        settings.extend_from_slice(more);
        let app = TestApp::start_with(store, &settings).await;
        let setup = Self {
            app,
            other,
            http: gittix::http_client::builder().no_proxy().build().expect("a plain client"),
        };
        let hook = format!("http://{}/api/webhooks/stripe", setup.app.server.addr);
        let configured =
            setup.post("_config/webhooks/gittix", &[("url", &hook), ("secret", SECRET)]).await;
        assert_eq!(configured.0, 200);
        setup
    }

    async fn post(&self, path: &str, form: &[(&str, &str)]) -> (u16, Value) {
        let answer = self
            .http
            .post(format!("{}/{path}", self.other.base))
            .bearer_auth(FakeStripe::SECRET_KEY)
            .form(form)
            .send()
            .await;
        let answer = answer.expect("localstripe answers");
        (answer.status().as_u16(), answer.json().await.unwrap_or_default())
    }

    async fn get(&self, path: &str) -> Value {
        let answer = self
            .http
            .get(format!("{}/{path}", self.other.base))
            .bearer_auth(FakeStripe::SECRET_KEY)
            .send()
            .await;
        answer.expect("localstripe answers").json().await.expect("JSON")
    }

    async fn order(&self) -> (Client, String) {
        let (seller, buyer) = (self.app.user().await, self.app.user().await);
        let ticket = seller.list_ticket("Front row", 19.99).await.expect(201).id();
        let order = buyer.locks(&ticket).await;
        (buyer, order)
    }

    /// Creates a payment method of a card whose holder must authenticate (localstripe accepts any
    /// of its card numbers).
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

    /// Returns all intents: amount, currency, status and the amount refunded.
    async fn intents(&self) -> Vec<(Value, Value, Value, i64)> {
        let list = self.get("v1/payment_intents").await;
        let refunded = |intent: &Value| {
            let refunds =
                intent["latest_charge"]["refunds"]["data"].as_array().cloned().unwrap_or_default();
            refunds.iter().filter_map(|refund| refund["amount"].as_i64()).sum()
        };
        let shown = |intent: &Value| {
            (
                intent["amount"].clone(),
                intent["currency"].clone(),
                intent["status"].clone(),
                refunded(intent),
            )
        };
        list["data"].as_array().expect("a list").iter().map(shown).collect()
    }
}

fn one(status: &str, refunded: i64) -> Vec<(Value, Value, Value, i64)> {
    vec![(json!(1999), json!("usd"), json!(status), refunded)]
}

/// Returns the number of deliveries that the server accepted, from its own counter of answers.
async fn webhooks_taken(app: &TestApp) -> u64 {
    let metrics = app.guest().get("/metrics").await.expect(200).text;
    let counts = metrics.lines().filter(|line| {
        line.starts_with("gittix_webhook_deliveries_total{") && !line.contains("invalid")
    });
    counts.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

async fn purchase_at_localstripe_is_captured_and_its_webhook_is_accepted(store: Backend) {
    let setup = AppWithLocalStripe::start(store, &[]).await;
    let (buyer, order) = setup.order().await;
    let charge = buyer.pay(&order, "pm_card_visa").await.expect(201);
    assert_eq!((&charge["status"], &charge["amount"]), (&json!("Completed"), &json!(19.99)));
    assert_eq!(setup.intents().await, one("succeeded", 0));
    // The delivery is signed by localstripe's own code, one second later.
    while webhooks_taken(&setup.app).await == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(buyer.order(&order).await.expect(200)["status"], "Completed");
}

async fn card_declined_by_localstripe_completes_no_purchase(store: Backend) {
    let setup = AppWithLocalStripe::start(store, &[]).await;
    let (buyer, order) = setup.order().await;
    // The test card whose number ends in 0341.
    buyer.pay(&order, "pm_card_chargeCustomerFail").await.refused(402, "card_declined");
    assert_eq!(buyer.order(&order).await.expect(200)["status"], "AwaitingPayment");
    buyer.pay(&order, "pm_card_visa").await.expect(201);
    let statuses: Vec<Value> =
        setup.intents().await.into_iter().map(|(_, _, status, _)| status).collect();
    assert!(
        statuses.contains(&json!("succeeded"))
            && statuses.contains(&json!("requires_payment_method")),
        "{statuses:?}"
    );
}

async fn order_cancelled_during_three_d_secure_at_localstripe_is_voided(store: Backend) {
    let setup = AppWithLocalStripe::start(store, &[]).await;
    let (buyer, order) = setup.order().await;
    let mut socket = buyer.socket().await;
    let method = setup.authenticating().await;
    buyer.pay(&order, &method).await.expect(202);
    buyer.cancel_order(&order).await.expect(204);
    socket.event("ChargeFailed").await;
    assert_eq!(setup.intents().await, one("canceled", 0));
}

async fn three_d_secure_at_localstripe_completes_the_purchase(store: Backend) {
    let setup = AppWithLocalStripe::start(store, &[]).await;
    let (buyer, order) = setup.order().await;
    let method = setup.authenticating().await;
    let waiting = buyer.pay(&order, &method).await.expect(202);
    let (intent, secret) = (
        waiting["stripeId"].as_str().expect("an id"),
        waiting["clientSecret"].as_str().expect("the charge has a client secret"),
    );
    // localstripe's stripe.js sends this request for the buyer.
    let acted = setup
        .post(
            &format!("v1/payment_intents/{intent}/_authenticate"),
            &[("client_secret", secret), ("success", "true")],
        )
        .await;
    assert_eq!((acted.0, &acted.1["status"]), (200, &json!("requires_capture")));
    assert_eq!(buyer.confirm(&waiting.id()).await.expect(200)["status"], "Completed");
    assert_eq!(setup.intents().await, one("succeeded", 0));
}

/// localstripe makes every refund that is requested: a server that crashed between refund and
/// commit must not request it twice.
#[tokio::test]
async fn capture_at_localstripe_without_a_ticket_is_refunded_once() {
    let short = [
        ("GITTIX_PAYMENT_WINDOW", "600ms"),
        ("GITTIX_LOCK_DURATION", "1s"),
        ("GITTIX_SETTLE_GRACE", "300ms"),
        ("FAILPOINTS", "settlement::captured=return"),
    ];
    let mut setup = AppWithLocalStripe::start(Backend::Embedded, &short).await;
    let (buyer, order) = setup.order().await;
    buyer
        .pay(&order, "pm_card_visa")
        .attempt()
        .await
        .expect_err("the server exits after the capture");
    assert_eq!(setup.intents().await, one("succeeded", 0));
    // The lock and its grace must end while no server runs, so the test waits for real time to
    // pass.
    tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
    // The server exits once more, after the refund and before its commit.
    setup.app.set("FAILPOINTS", "settlement::reversed=return");
    setup.app.restart_until_exit().await;
    assert_eq!(setup.intents().await, one("succeeded", 1999));
    setup.app.set("FAILPOINTS", "");
    setup.app.restart().await;
    let buyer = buyer.at(&setup.app.server);
    let charge_now = async || buyer.charges_of(&order).await.expect(200).items()[0].clone();
    while charge_now().await["status"] == "Created" {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let charge = charge_now().await;
    assert_eq!(
        (&charge["status"], charge["stripeRefundId"].is_string()),
        (&json!("Failed"), true),
        "{charge}"
    );
    assert_eq!(
        setup.intents().await,
        one("succeeded", 1999),
        "the refund was not made exactly once"
    );
}
