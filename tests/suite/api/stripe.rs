//! Payments through Stripe's HTTP interface, and deliveries of Stripe to the webhook.

use serde_json::json;

use crate::app::{
    Answer, Backend, Client, Home, Server, TestApp, on_both_stores, run,
    stripe::{Stripe, sign},
    world::Found,
};

on_both_stores!(
    card_payment_is_authorized_claimed_and_captured,
    decline_is_402_and_unknown_token_is_400,
    three_d_secure_is_completed_by_a_confirm_request,
    three_d_secure_is_completed_once_by_the_webhook,
    second_refusal_by_the_bank_cancels_the_payment_at_stripe,
    waiting_payment_is_voided_when_the_lock_ends,
    payment_authorized_after_the_charge_failed_is_voided,
    payment_captured_after_the_charge_failed_is_refunded_with_an_event,
    payment_over_another_amount_is_never_captured,
    delivery_without_a_valid_signature_is_refused,
    delivery_without_a_payment_of_this_server_is_acknowledged,
    no_card_data_token_key_or_secret_is_logged_or_stored,
);

async fn start(store: Backend, more: &[(&str, &str)]) -> (Stripe, TestApp) {
    let stripe = Stripe::start().await;
    let settings = [stripe.settings().as_slice(), more].concat();
    let app = TestApp::start_with(store, &settings).await;
    (stripe, app)
}

async fn order(app: &TestApp) -> (Client, String) {
    let (seller, buyer) = (app.user().await, app.user().await);
    let ticket = seller.list_ticket("Front row", 19.99).await.expect(201).id();
    let order = buyer.locks(&ticket).await;
    (buyer, order)
}

fn intent_of(charge: &Answer) -> String {
    charge["stripeId"].as_str().unwrap_or_else(|| panic!("a payment in {charge:?}")).to_owned()
}

async fn deliver(app: &TestApp, (body, signature): (String, String)) -> Answer {
    app.guest()
        .call(reqwest::Method::POST, "/api/webhooks/stripe")
        .text(body)
        .header("Stripe-Signature", &signature)
        .await
}

async fn metric(app: &TestApp, series: &str) -> i64 {
    let text = app.guest().get("/metrics").await.expect(200).text;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(series))
        .unwrap_or_else(|| panic!("{series} in {text}"));
    line.trim().parse().expect("a number")
}

async fn card_payment_is_authorized_claimed_and_captured(store: Backend) {
    let (stripe, app) = start(store, &[]).await;
    for token in ["pm_card_visa", "tok_visa"] {
        let (buyer, order) = order(&app).await;
        let charge = buyer.pay(&order, token).await.expect(201);
        assert_eq!(charge["status"], "Completed");
        assert_eq!(stripe.status(&intent_of(&charge)), "succeeded");
        assert_eq!(buyer.order(&order).await.expect(200)["status"], "Completed");
    }
    assert_eq!(stripe.money(), (2 * 1999, 0));
    assert_eq!(
        metric(&app, "gittix_stripe_calls_total{operation=\"capture\",outcome=\"ok\"}").await,
        2
    );
}

async fn decline_is_402_and_unknown_token_is_400(store: Backend) {
    let (stripe, app) = start(store, &[]).await;
    let (buyer, order) = order(&app).await;
    for token in ["pm_card_nobody", "card_123", "pm_1ofNobody"] {
        buyer.pay(&order, token).await.invalid("token");
    }
    assert_eq!(
        buyer.order(&order).await.expect(200)["status"],
        "Created",
        "that does not count as an attempt"
    );
    let refused = buyer.pay(&order, "pm_card_chargeDeclined").await.refused(402, "card_declined");
    assert_eq!(refused["charge"]["failure"]["code"], "generic_decline");
    assert_eq!(buyer.order(&order).await.expect(200)["status"], "AwaitingPayment");
    buyer.pay(&order, "pm_card_visa").await.expect(201);
    assert_eq!(stripe.money(), (1999, 0));
}

async fn three_d_secure_is_completed_by_a_confirm_request(store: Backend) {
    let (stripe, app) = start(store, &[]).await;
    let (buyer, order) = order(&app).await;
    let waiting = buyer.pay(&order, "pm_card_authenticationRequired").await.expect(202);
    let secret = waiting["clientSecret"].as_str().expect("a secret").to_owned();
    assert_eq!(secret, format!("{}{}", intent_of(&waiting), Stripe::CLIENT_SECRET));
    assert_eq!(buyer.charge(&waiting.id()).await.expect(200)["clientSecret"], secret.as_str());
    assert_eq!(
        buyer.confirm(&waiting.id()).await.expect(202)["clientSecret"],
        secret.as_str(),
        "not yet"
    );
    stripe.act(&intent_of(&waiting));
    assert_eq!(buyer.confirm(&waiting.id()).await.expect(200)["status"], "Completed");
    assert_eq!(stripe.money(), (1999, 0));
}

async fn three_d_secure_is_completed_once_by_the_webhook(store: Backend) {
    let (stripe, app) = start(store, &[]).await;
    let (buyer, order) = order(&app).await;
    let mut socket = buyer.socket().await;
    let waiting = buyer.pay(&order, "pm_card_authenticationRequired").await.expect(202);
    let intent = intent_of(&waiting);
    let early = stripe.event("evt_1", "payment_intent.requires_action", &intent);
    stripe.act(&intent);
    let late = stripe.event("evt_2", "payment_intent.amount_capturable_updated", &intent);
    // The deliveries are out of order and repeated. Their content does not matter, only the state
    // of the payment at Stripe.
    deliver(&app, late.clone()).await.expect(200);
    assert_eq!(socket.event("ChargeCompleted").await["charge"]["id"], json!(waiting.id()));
    for delivery in [early.clone(), late, early] {
        assert_eq!(deliver(&app, delivery).await.expect(200).body, json!({ "received": true }));
    }
    assert_eq!(buyer.charge(&waiting.id()).await.expect(200)["status"], "Completed");
    assert_eq!(stripe.money(), (1999, 0));
    assert_eq!(metric(&app, "gittix_webhook_deliveries_total{outcome=\"handled\"}").await, 2);
    assert_eq!(metric(&app, "gittix_webhook_deliveries_total{outcome=\"duplicate\"}").await, 2);
}

async fn second_refusal_by_the_bank_cancels_the_payment_at_stripe(store: Backend) {
    let (stripe, app) = start(store, &[]).await;
    let (buyer, order) = order(&app).await;
    let waiting = buyer.pay(&order, "pm_card_authenticationRequired").await.expect(202);
    stripe.change(&intent_of(&waiting), "requires_payment_method");
    let refused = buyer.confirm(&waiting.id()).await.refused(402, "card_declined");
    assert_eq!(refused["charge"]["failure"]["code"], "payment_intent_authentication_failure");
    // The buyer still has the secret, which must not allow another authorization.
    assert_eq!(stripe.status(&intent_of(&waiting)), "canceled");
    buyer.pay(&order, "pm_card_visa").await.expect(201);
}

async fn waiting_payment_is_voided_when_the_lock_ends(store: Backend) {
    let (stripe, app) =
        start(store, &[("GITTIX_PAYMENT_WINDOW", "2s"), ("GITTIX_LOCK_DURATION", "2s")]).await;
    let (buyer, order) = order(&app).await;
    let mut socket = buyer.socket().await;
    let waiting = buyer.pay(&order, "pm_card_authenticationRequired").await.expect(202);
    let failed = socket.event("ChargeFailed").await;
    assert_eq!(
        (&failed["charge"]["id"], &failed["charge"]["failure"]["code"]),
        (&json!(waiting.id()), &json!("lock_lost"))
    );
    assert_eq!(stripe.status(&intent_of(&waiting)), "canceled");
    assert_eq!(buyer.order(&order).await.expect(200)["status"], "Cancelled");
}

async fn payment_authorized_after_the_charge_failed_is_voided(store: Backend) {
    let (stripe, app) = start(store, &[]).await;
    let (buyer, order) = order(&app).await;
    buyer.pay(&order, "pm_card_chargeDeclined").await.refused(402, "card_declined");
    let charges = buyer.charges_of(&order).await.expect(200);
    let intent = charges.items()[0]["stripeId"].as_str().expect("a payment").to_owned();
    stripe.act(&intent);
    deliver(&app, stripe.event("evt_1", "payment_intent.amount_capturable_updated", &intent))
        .await
        .expect(200);
    assert_eq!(stripe.status(&intent), "canceled");
    assert_eq!(metric(&app, "gittix_unmatched_payments_total").await, 1);
    assert_eq!(buyer.charges_of(&order).await.expect(200).items()[0]["status"], "Failed");
}

async fn payment_captured_after_the_charge_failed_is_refunded_with_an_event(store: Backend) {
    let (stripe, app) = start(store, &[]).await;
    let (buyer, order) = order(&app).await;
    let mut socket = buyer.socket().await;
    buyer.pay(&order, "pm_card_chargeDeclined").await.refused(402, "card_declined");
    let charges = buyer.charges_of(&order).await.expect(200);
    let intent = charges.items()[0]["stripeId"].as_str().expect("a payment").to_owned();
    stripe.capture(&intent);
    for event in ["evt_1", "evt_2"] {
        deliver(&app, stripe.event(event, "payment_intent.succeeded", &intent)).await.expect(200);
    }
    assert_eq!(stripe.money(), (1999, 1999), "all of it, once");
    assert_eq!(socket.event("ChargeRefunded").await["charge"]["stripeRefundId"], "re_1");
    let charge = &buyer.charges_of(&order).await.expect(200).items()[0].clone();
    assert_eq!((&charge["status"], &charge["stripeRefundId"]), (&json!("Failed"), &json!("re_1")));
}

async fn payment_over_another_amount_is_never_captured(store: Backend) {
    let (stripe, app) = start(store, &[]).await;
    let (buyer, order) = order(&app).await;
    stripe.overcharge(1);
    let refused = buyer.pay(&order, "pm_card_visa").await.refused(402, "card_declined");
    assert_eq!(refused["charge"]["failure"]["code"], "amount_mismatch");
    let intent = refused["charge"]["stripeId"].as_str().expect("a payment").to_owned();
    assert_eq!((stripe.status(&intent), stripe.money()), ("canceled".into(), (0, 0)));
    assert!(metric(&app, "gittix_payment_mismatches_total").await >= 1);
    stripe.overcharge(0);
    buyer.pay(&order, "pm_card_visa").await.expect(201);
    assert_eq!(stripe.money(), (1999, 0));
}

async fn delivery_without_a_valid_signature_is_refused(store: Backend) {
    let (stripe, app) = start(store, &[]).await;
    let (buyer, order) = order(&app).await;
    let waiting = buyer.pay(&order, "pm_card_authenticationRequired").await.expect(202);
    stripe.act(&intent_of(&waiting));
    let (body, signature) =
        stripe.event("evt_1", "payment_intent.amount_capturable_updated", &intent_of(&waiting));
    let touched = body.replace("evt_1", "evt_2");
    for (body, signature) in [
        (&touched, signature.as_str()),
        (&body, &sign(&body, "whsec_of_another_account", 0)),
        (&body, &sign(&body, Stripe::WEBHOOK_SECRET, 305)),
        (&body, &sign(&body, Stripe::WEBHOOK_SECRET, -305)),
        (&body, ""),
        (&body, "t=now,v1=nonsense"),
    ] {
        deliver(&app, (body.clone(), signature.into())).await.refused(400, "invalid_signature");
    }
    let unsigned =
        app.guest().call(reqwest::Method::POST, "/api/webhooks/stripe").text(body.clone()).await;
    unsigned.refused(400, "invalid_signature");
    assert_eq!(
        buyer.charge(&waiting.id()).await.expect(200)["status"],
        "Created",
        "none of them had an effect"
    );
    app.guest().get("/api/webhooks/stripe").await.refused(405, "method_not_allowed");
    let long = "x".repeat(256 * 1024 + 1);
    let too_long = app.guest().call(reqwest::Method::POST, "/api/webhooks/stripe").text(long).await;
    too_long.refused(413, "body_too_large");
    // During a roll the old secret is as valid as the new one, and the Origin header is ignored.
    let old = sign(&body, Stripe::OLD_WEBHOOK_SECRET, 290);
    let call = app
        .guest()
        .call(reqwest::Method::POST, "/api/webhooks/stripe")
        .text(body)
        .header("Stripe-Signature", &old);
    call.header("Origin", "https://stripe.example").await.expect(200);
    assert_eq!(buyer.charge(&waiting.id()).await.expect(200)["status"], "Completed");
}

async fn delivery_without_a_payment_of_this_server_is_acknowledged(store: Backend) {
    let (stripe, app) = start(store, &[]).await;
    deliver(&app, stripe.event("evt_1", "payment_intent.succeeded", "pi_of_another_shop"))
        .await
        .expect(200);
    for body in [
        json!({ "id": "evt_2", "object": "event", "type": "customer.created", "data": { "object": { "id": "cus_1", "object": "customer" } } }).to_string(),
        json!({ "id": "evt_3", "object": "event", "type": "payment_intent.succeeded", "livemode": true,
            "data": { "object": { "id": "pi_1", "object": "payment_intent" } } })
        .to_string(),
        "[]".into(),
        "not JSON".into(),
        format!("{{\"padding\":\"{}\"}}", "x".repeat(200 * 1024)),
    ] {
        let signature = sign(&body, Stripe::WEBHOOK_SECRET, 0);
        deliver(&app, (body, signature)).await.expect(200);
    }
    for (outcome, count) in [("unknown", 1), ("ignored", 2), ("malformed", 3)] {
        assert_eq!(
            metric(&app, &format!("gittix_webhook_deliveries_total{{outcome=\"{outcome}\"}}"))
                .await,
            count,
            "{outcome}"
        );
    }
}

/// Issue 4, point 6: checks everything that the program writes, its log at the most verbose level
/// and its store.
async fn no_card_data_token_key_or_secret_is_logged_or_stored(store: Backend) {
    let (stripe, mut app) = start(store, &[("GITTIX_LOG", "trace")]).await;
    let (buyer, order) = order(&app).await;
    let tokens = [
        "pm_1hush0unknown",
        "pm_card_chargeDeclined",
        "pm_card_authenticationRequired",
        "tok_visa",
    ];
    buyer.pay(&order, tokens[0]).await.invalid("token");
    buyer.pay(&order, tokens[1]).await.refused(402, "card_declined");
    let waiting = buyer.pay(&order, tokens[2]).await.expect(202);
    buyer.pay(&order, tokens[3]).await.expect(201);
    deliver(&app, stripe.event("evt_1", "payment_intent.succeeded", &intent_of(&waiting)))
        .await
        .expect(200);
    deliver(&app, ("{}".into(), "t=1,v1=00".into())).await.refused(400, "invalid_signature");
    app.crash();
    let log = app.server.log().join("\n");
    assert!(
        log.contains("the processor delivered an event about a payment")
            && log.contains(&intent_of(&waiting)),
        "the log has the payment"
    );
    let found = Found::read(&app.home).await;
    let stored = format!("{:?}{:?}", found.world, found.events);
    assert!(stored.contains(&intent_of(&waiting)), "the store has the payment");
    for text in [&log, &stored] {
        for hidden in ["hush", "pm_card_", "tok_visa", Stripe::CLIENT_SECRET] {
            let shown = text
                .match_indices(hidden)
                .next()
                .map(|(at, _)| &text[at.saturating_sub(200)..(at + 100).min(text.len())]);
            assert_eq!(shown, None, "{hidden} was written");
        }
    }
}

#[tokio::test]
async fn start_logs_the_payment_processor() {
    let log_of = async |settings: &[(&str, &str)]| {
        let home = Home::new(Backend::Embedded);
        let settings: Vec<_> = settings
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Server::start(&home, &settings).await.log().join("\n")
    };
    let sandbox = log_of(&[]).await;
    assert!(
        sandbox.contains("built-in sandbox")
            && !sandbox.contains("buyers get tickets for test cards"),
        "{sandbox}"
    );
    let public = log_of(&[
        ("GITTIX_PUBLIC_ORIGIN", "https://tickets.example"),
        ("GITTIX_ALLOW_SANDBOX", "true"),
    ])
    .await;
    assert!(
        public.contains("buyers get tickets for test cards") && public.contains("\"ERROR\""),
        "{public}"
    );
    let test = log_of(&[("STRIPE_SECRET_KEY", Stripe::KEY)]).await;
    assert!(
        test.contains("Stripe in test mode") && test.contains("STRIPE_WEBHOOK_SECRET is not set"),
        "{test}"
    );
    let live = log_of(&[
        ("STRIPE_SECRET_KEY", "sk_live_hush"),
        ("STRIPE_WEBHOOK_SECRET", Stripe::WEBHOOK_SECRET),
    ])
    .await;
    assert!(
        live.contains("Stripe in live mode: real money is paid")
            && !live.contains("STRIPE_WEBHOOK_SECRET is not set"),
        "{live}"
    );
    for text in [test, live] {
        assert!(!text.contains("hush"), "{text}");
    }
}

#[test]
fn invalid_combination_of_settings_stops_the_start_with_one_line_without_a_secret() {
    let wrong: [(&[(&str, &str)], &str); 4] = [
        (&[("STRIPE_SECRET_KEY", "whsec_hush")], "STRIPE_SECRET_KEY"),
        (
            &[("STRIPE_SECRET_KEY", "sk_live_hush"), ("STRIPE_API_BASE", "http://stripe.example")],
            "STRIPE_API_BASE",
        ),
        (
            &[("STRIPE_SECRET_KEY", "sk_live_hush"), ("STRIPE_PUBLISHABLE_KEY", "pk_test_1")],
            "STRIPE_PUBLISHABLE_KEY",
        ),
        (&[("STRIPE_WEBHOOK_SECRET", "whsec_hush")], "STRIPE_WEBHOOK_SECRET"),
    ];
    for (settings, name) in wrong {
        let (status, text) = run(&["serve"], settings);
        assert!(!status.success() && text.contains(name) && text.lines().count() == 1, "{text}");
        assert!(!text.contains("hush") && !text.contains("panicked"), "{text}");
    }
}

#[tokio::test]
async fn delivery_is_refused_without_a_webhook_secret() {
    let app = TestApp::start(Backend::Embedded).await;
    let body = json!({ "id": "evt_1", "object": "event" }).to_string();
    for secret in ["", "whsec_guess"] {
        let signature = sign(&body, secret, 0);
        deliver(&app, (body.clone(), signature)).await.refused(400, "invalid_signature");
    }
}
