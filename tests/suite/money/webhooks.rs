//! Webhooks, as they come: twice, late, in another order, forged, or about something else.

use serde_json::{Value, json};

use super::stage::{Stage, foreign_event};
use crate::{
    app::{Answer, Backend, Call, Client, on_both_stores},
    fake_stripe::{Event, Post, webhooks},
};

on_both_stores!(
    a_webhook_finishes_what_its_buyer_did_not,
    a_delivery_that_comes_twice_is_harmless,
    a_delivery_that_is_remembered_is_remembered_after_a_restart,
    late_and_reordered_deliveries_are_harmless,
    an_event_is_not_believed_but_asked_after,
    a_forged_or_stale_signature_changes_nothing,
    each_of_several_secrets_is_good,
    what_is_unknown_is_acknowledged,
    a_failed_authentication_is_told_by_webhook_too,
);

const CAPTURABLE: &str = "payment_intent.amount_capturable_updated";

async fn delivered(stage: &Stage, event: &Event) {
    assert_eq!(stage.stripe.post(event).await, Some(200), "{}", event.kind);
}

/// A delivery by whoever knows the address, with any header.
fn knock(client: &Client, body: &str, signature: &str) -> Call {
    client.call(reqwest::Method::POST, "/api/webhooks/stripe").text(body.to_owned()).header("stripe-signature", signature)
}

fn now_secs() -> i64 {
    gittix::clock::wall_clock().0 / 1_000
}

fn signed(body: &str, secret: &str, at_secs: i64) -> String {
    webhooks::signature(&[secret.to_owned()], body, at_secs)
}

async fn lines_after(stage: &Stage, buyer: &Client, order: &Answer) -> (usize, Value) {
    (stage.stripe.lines().len(), buyer.order(&order.id()).await.expect(200)["status"].clone())
}

async fn a_webhook_finishes_what_its_buyer_did_not(store: Backend) {
    let stage = Stage::start(store).await;
    let (buyer, order, charge, intent) = stage.waiting().await;
    let mut socket = buyer.socket().await;
    stage.stripe.act(&intent, true).await;
    delivered(&stage, &stage.event(CAPTURABLE, &intent)).await;
    let completed = socket.event("ChargeCompleted").await;
    assert_eq!(completed["charge"]["id"], json!(charge));
    assert_eq!(buyer.order(&order.id()).await.expect(200)["status"], "Completed");
}

async fn a_delivery_that_comes_twice_is_harmless(store: Backend) {
    let stage = Stage::start(store).await;
    let (buyer, order, charge, intent) = stage.waiting().await;
    stage.stripe.act(&intent, true).await;
    let event = stage.event(CAPTURABLE, &intent);
    let all = futures_util::future::join_all((0..5).map(|_| stage.stripe.post(&event))).await;
    // One that comes while another is at it may be told to come again.
    assert!(all.iter().flatten().any(|status| *status == 200) && all.iter().all(Option::is_some), "{all:?}");
    stage.over(&buyer, &charge).await;
    delivered(&stage, &event).await;
    assert_eq!(lines_after(&stage, &buyer, &order).await, (2, json!("Completed")), "authorized and captured once");
}

async fn a_delivery_that_is_remembered_is_remembered_after_a_restart(store: Backend) {
    let mut stage = Stage::start(store).await;
    let (buyer, _, charge, intent) = stage.waiting().await;
    stage.stripe.act(&intent, true).await;
    let event = stage.event(CAPTURABLE, &intent);
    delivered(&stage, &event).await;
    stage.over(&buyer, &charge).await;
    stage.app.restart().await;
    stage.stripe.deliver_to(stage.app.server.addr);
    let asked = stage.stripe.seen().len();
    delivered(&stage, &event).await;
    assert_eq!(stage.stripe.seen().len(), asked, "what was handled before is not even asked after");
}

async fn late_and_reordered_deliveries_are_harmless(store: Backend) {
    let stage = Stage::start(store).await;
    let (buyer, order, charge, intent) = stage.waiting().await;
    stage.stripe.act(&intent, true).await;
    buyer.confirm(&charge).await.expect(200);
    // All that there was, the newest first, when everything is over.
    let events = stage.stripe.events();
    assert!(events.len() >= 4, "{:?}", events.iter().map(|event| &event.kind).collect::<Vec<_>>());
    for event in events.iter().rev() {
        delivered(&stage, event).await;
    }
    assert_eq!(lines_after(&stage, &buyer, &order).await, (2, json!("Completed")));
}

async fn an_event_is_not_believed_but_asked_after(store: Backend) {
    let stage = Stage::start(store).await;
    let (buyer, order, charge, intent) = stage.waiting().await;
    // Well signed, and not true: the buyer has not acted.
    let body = json!({ "id": intent, "object": "payment_intent", "status": "requires_capture", "amount": 1999, "amount_capturable": 1999,
        "currency": "usd", "metadata": { "charge": charge, "order": order.id() } });
    for kind in [CAPTURABLE, "payment_intent.succeeded", "payment_intent.canceled"] {
        delivered(&stage, &webhooks::made(&format!("evt_untrue_{}", kind.len()), kind, &body, None)).await;
    }
    assert_eq!(buyer.charge(&charge).await.expect(200)["status"], "Created");
    assert_eq!(lines_after(&stage, &buyer, &order).await, (0, json!("AwaitingPayment")));
    stage.stripe.act(&intent, true).await;
    assert_eq!(buyer.confirm(&charge).await.expect(200)["status"], "Completed");
}

async fn a_forged_or_stale_signature_changes_nothing(store: Backend) {
    let stage = Stage::start(store).await;
    let (buyer, order, charge, intent) = stage.waiting().await;
    stage.stripe.act(&intent, true).await;
    let body = stage.event(CAPTURABLE, &intent).body;
    let now = now_secs();
    let good = signed(&body, Post::SECRET, now);
    let v1 = good.split("v1=").nth(1).expect("it has one").to_owned();
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
    let guest = stage.app.guest();
    for signature in forged {
        let refused = knock(&guest, &body, &signature).await;
        assert_eq!((refused.status, refused.code()), (400, "invalid_signature"), "{signature}");
    }
    assert_eq!(lines_after(&stage, &buyer, &order).await, (1, json!("AwaitingPayment")));
    assert_eq!(buyer.charge(&charge).await.expect(200)["status"], "Created");
    // The control: the very same body, well signed.
    knock(&guest, &body, &good).await.expect(200);
    assert_eq!(stage.over(&buyer, &charge).await["status"], "Completed");
}

async fn each_of_several_secrets_is_good(store: Backend) {
    let stage = Stage::start_with(store, &[("STRIPE_WEBHOOK_SECRET", "whsec_of_old,whsec_of_new")]).await;
    let guest = stage.app.guest();
    let event = foreign_event();
    for secrets in [&["whsec_of_old"][..], &["whsec_of_new"], &["whsec_of_nobody", "whsec_of_old"]] {
        let secrets: Vec<String> = secrets.iter().map(|secret| (*secret).to_owned()).collect();
        knock(&guest, &event.body, &webhooks::signature(&secrets, &event.body, now_secs())).await.expect(200);
    }
    knock(&guest, &event.body, &signed(&event.body, Post::SECRET, now_secs())).await.refused(400, "invalid_signature");
}

async fn what_is_unknown_is_acknowledged(store: Backend) {
    let stage = Stage::start(store).await;
    delivered(&stage, &foreign_event()).await;
    let nobodys = json!({ "id": "pi_3Nobodys", "object": "payment_intent", "status": "succeeded", "metadata": {} });
    delivered(&stage, &webhooks::made("evt_nobodys", "payment_intent.succeeded", &nobodys, None)).await;
    let lost = json!({ "id": "pi_3Lost", "object": "payment_intent", "metadata": { "charge": uuid::Uuid::now_v7().to_string() } });
    delivered(&stage, &webhooks::made("evt_lost", "payment_intent.succeeded", &lost, None)).await;
    // What is no event at all was never signed by Stripe, or is not meant for us: it is refused, not stored.
    let guest = stage.app.guest();
    for body in ["", "[]", "{}", "null", "not JSON", r#"{"id":7,"type":"x"}"#] {
        let answer = knock(&guest, body, &signed(body, Post::SECRET, now_secs())).await;
        assert!(answer.status == 200 || answer.status == 400, "{body}: {answer:?}");
    }
    let big = format!("{{\"pad\":\"{}\"}}", "x".repeat(300 * 1024));
    knock(&guest, &big, &signed(&big, Post::SECRET, now_secs())).await.refused(413, "body_too_large");
}

async fn a_failed_authentication_is_told_by_webhook_too(store: Backend) {
    let stage = Stage::start(store).await;
    let (buyer, order, charge, intent) = stage.waiting().await;
    stage.stripe.act(&intent, false).await;
    delivered(&stage, &stage.event("payment_intent.payment_failed", &intent)).await;
    let failed = stage.over(&buyer, &charge).await;
    assert_eq!(failed["status"], "Failed");
    buyer.pay(&order.id(), "pm_card_visa").await.expect(201);
}
