//! Webhook deliveries: repeated, late, in another order, forged, or about unrelated objects.

use serde_json::{Value, json};

use super::stage::{AppWithStripe, foreign_event};
use crate::{
    app::{Answer, Backend, Call, Client, on_both_stores},
    fake_stripe::{Event, Post, webhooks},
};

on_both_stores!(
    webhook_completes_a_payment_that_its_buyer_did_not_confirm,
    repeated_delivery_changes_nothing,
    processed_delivery_is_recognized_after_a_restart,
    late_and_reordered_deliveries_change_nothing,
    content_of_an_event_is_verified_at_the_processor,
    forged_or_stale_signature_changes_nothing,
    each_of_several_secrets_is_accepted,
    event_about_an_unknown_object_is_acknowledged,
    failed_authentication_is_recorded_from_a_webhook,
);

const CAPTURABLE: &str = "payment_intent.amount_capturable_updated";

async fn assert_accepted(setup: &AppWithStripe, event: &Event) {
    assert_eq!(setup.stripe.post(event).await, Some(200), "{}", event.kind);
}

/// Sends a delivery with any signature header, as any client can.
fn deliver(client: &Client, body: &str, signature: &str) -> Call {
    client
        .call(reqwest::Method::POST, "/api/webhooks/stripe")
        .text(body.to_owned())
        .header("stripe-signature", signature)
}

fn now_secs() -> i64 {
    gittix::clock::wall_clock().0 / 1_000
}

fn signed(body: &str, secret: &str, at_secs: i64) -> String {
    webhooks::signature(&[secret.to_owned()], body, at_secs)
}

async fn ledger_lines_and_status(
    setup: &AppWithStripe,
    buyer: &Client,
    order: &Answer,
) -> (usize, Value) {
    (setup.stripe.lines().len(), buyer.order(&order.id()).await.expect(200)["status"].clone())
}

async fn webhook_completes_a_payment_that_its_buyer_did_not_confirm(store: Backend) {
    let setup = AppWithStripe::start(store).await;
    let (buyer, order, charge, intent) = setup.waiting().await;
    let mut socket = buyer.socket().await;
    setup.stripe.act(&intent, true).await;
    assert_accepted(&setup, &setup.event(CAPTURABLE, &intent)).await;
    let completed = socket.event("ChargeCompleted").await;
    assert_eq!(completed["charge"]["id"], json!(charge));
    assert_eq!(buyer.order(&order.id()).await.expect(200)["status"], "Completed");
}

async fn repeated_delivery_changes_nothing(store: Backend) {
    let setup = AppWithStripe::start(store).await;
    let (buyer, order, charge, intent) = setup.waiting().await;
    setup.stripe.act(&intent, true).await;
    let event = setup.event(CAPTURABLE, &intent);
    let all = futures_util::future::join_all((0..5).map(|_| setup.stripe.post(&event))).await;
    // A delivery that arrives while another is being processed may be answered with a request to
    // retry.
    assert!(
        all.iter().flatten().any(|status| *status == 200) && all.iter().all(Option::is_some),
        "{all:?}"
    );
    setup.wait_until_final(&buyer, &charge).await;
    assert_accepted(&setup, &event).await;
    assert_eq!(
        ledger_lines_and_status(&setup, &buyer, &order).await,
        (2, json!("Completed")),
        "the payment was not authorized and captured exactly once"
    );
}

async fn processed_delivery_is_recognized_after_a_restart(store: Backend) {
    let mut setup = AppWithStripe::start(store).await;
    let (buyer, _, charge, intent) = setup.waiting().await;
    setup.stripe.act(&intent, true).await;
    let event = setup.event(CAPTURABLE, &intent);
    assert_accepted(&setup, &event).await;
    setup.wait_until_final(&buyer, &charge).await;
    setup.app.restart().await;
    setup.stripe.deliver_to(setup.app.server.addr);
    let asked = setup.stripe.seen().len();
    assert_accepted(&setup, &event).await;
    assert_eq!(
        setup.stripe.seen().len(),
        asked,
        "the intent of a processed event was fetched again"
    );
}

async fn late_and_reordered_deliveries_change_nothing(store: Backend) {
    let setup = AppWithStripe::start(store).await;
    let (buyer, order, charge, intent) = setup.waiting().await;
    setup.stripe.act(&intent, true).await;
    buyer.confirm(&charge).await.expect(200);
    // All events are delivered again after the purchase, the newest first.
    let events = setup.stripe.events();
    assert!(events.len() >= 4, "{:?}", events.iter().map(|event| &event.kind).collect::<Vec<_>>());
    for event in events.iter().rev() {
        assert_accepted(&setup, event).await;
    }
    assert_eq!(ledger_lines_and_status(&setup, &buyer, &order).await, (2, json!("Completed")));
}

async fn content_of_an_event_is_verified_at_the_processor(store: Backend) {
    let setup = AppWithStripe::start(store).await;
    let (buyer, order, charge, intent) = setup.waiting().await;
    // The signature is valid, but the content is false: the buyer has not authenticated.
    let body = json!({ "id": intent, "object": "payment_intent", "status": "requires_capture", "amount": 1999, "amount_capturable": 1999,
        "currency": "usd", "metadata": { "charge": charge, "order": order.id() } });
    for kind in [CAPTURABLE, "payment_intent.succeeded", "payment_intent.canceled"] {
        assert_accepted(
            &setup,
            &webhooks::made(&format!("evt_untrue_{}", kind.len()), kind, &body, None),
        )
        .await;
    }
    assert_eq!(buyer.charge(&charge).await.expect(200)["status"], "Created");
    assert_eq!(
        ledger_lines_and_status(&setup, &buyer, &order).await,
        (0, json!("AwaitingPayment"))
    );
    setup.stripe.act(&intent, true).await;
    assert_eq!(buyer.confirm(&charge).await.expect(200)["status"], "Completed");
}

async fn forged_or_stale_signature_changes_nothing(store: Backend) {
    let setup = AppWithStripe::start(store).await;
    let (buyer, order, charge, intent) = setup.waiting().await;
    setup.stripe.act(&intent, true).await;
    let body = setup.event(CAPTURABLE, &intent).body;
    let now = now_secs();
    let good = signed(&body, Post::SECRET, now);
    let v1 = good.split("v1=").nth(1).expect("the header has a signature").to_owned();
    let forged = [
        String::new(),
        "v1=".into(),
        format!("t={now}"),
        format!("v1={v1}"),
        format!("t={now},v0={v1}"),
        format!("t={},v1={v1}", now + 1),
        format!("t={now},v1={}", &v1[..60]),
        format!("t={now},v1={}", v1.replace(|c: char| c.is_ascii_digit(), "a")),
        signed(&body, "whsec_of_somebody_else", now),
        signed(&body, "", now),
        signed(&body, Post::SECRET, now - 400),
        signed(&body, Post::SECRET, now + 400),
        signed(&format!("{body} "), Post::SECRET, now),
    ];
    let guest = setup.app.guest();
    for signature in forged {
        let refused = deliver(&guest, &body, &signature).await;
        assert_eq!((refused.status, refused.code()), (400, "invalid_signature"), "{signature}");
    }
    assert_eq!(
        ledger_lines_and_status(&setup, &buyer, &order).await,
        (1, json!("AwaitingPayment"))
    );
    assert_eq!(buyer.charge(&charge).await.expect(200)["status"], "Created");
    // Control: the same body with a valid signature.
    deliver(&guest, &body, &good).await.expect(200);
    assert_eq!(setup.wait_until_final(&buyer, &charge).await["status"], "Completed");
}

async fn each_of_several_secrets_is_accepted(store: Backend) {
    let setup =
        AppWithStripe::start_with(store, &[("STRIPE_WEBHOOK_SECRET", "whsec_of_old,whsec_of_new")])
            .await;
    let guest = setup.app.guest();
    let event = foreign_event();
    for secrets in [&["whsec_of_old"][..], &["whsec_of_new"], &["whsec_of_nobody", "whsec_of_old"]]
    {
        let secrets: Vec<String> = secrets.iter().map(|secret| (*secret).to_owned()).collect();
        deliver(&guest, &event.body, &webhooks::signature(&secrets, &event.body, now_secs()))
            .await
            .expect(200);
    }
    deliver(&guest, &event.body, &signed(&event.body, Post::SECRET, now_secs()))
        .await
        .refused(400, "invalid_signature");
}

async fn event_about_an_unknown_object_is_acknowledged(store: Backend) {
    let setup = AppWithStripe::start(store).await;
    assert_accepted(&setup, &foreign_event()).await;
    let foreign_intent = json!({ "id": "pi_3Nobodys", "object": "payment_intent", "status": "succeeded", "metadata": {} });
    assert_accepted(
        &setup,
        &webhooks::made("evt_nobodys", "payment_intent.succeeded", &foreign_intent, None),
    )
    .await;
    let unknown_charge = json!({ "id": "pi_3Lost", "object": "payment_intent", "metadata": { "charge": uuid::Uuid::now_v7().to_string() } });
    assert_accepted(
        &setup,
        &webhooks::made("evt_lost", "payment_intent.succeeded", &unknown_charge, None),
    )
    .await;
    // A body that is no event was not signed by Stripe, or is not meant for GitTix: it is refused,
    // not stored.
    let guest = setup.app.guest();
    for body in ["", "[]", "{}", "null", "not JSON", r#"{"id":7,"type":"x"}"#] {
        let answer = deliver(&guest, body, &signed(body, Post::SECRET, now_secs())).await;
        assert!(answer.status == 200 || answer.status == 400, "{body}: {answer:?}");
    }
    let big = format!("{{\"pad\":\"{}\"}}", "x".repeat(300 * 1024));
    deliver(&guest, &big, &signed(&big, Post::SECRET, now_secs()))
        .await
        .refused(413, "body_too_large");
}

async fn failed_authentication_is_recorded_from_a_webhook(store: Backend) {
    let setup = AppWithStripe::start(store).await;
    let (buyer, order, charge, intent) = setup.waiting().await;
    setup.stripe.act(&intent, false).await;
    assert_accepted(&setup, &setup.event("payment_intent.payment_failed", &intent)).await;
    let failed = setup.wait_until_final(&buyer, &charge).await;
    assert_eq!(failed["status"], "Failed");
    buyer.pay(&order.id(), "pm_card_visa").await.expect(201);
}
