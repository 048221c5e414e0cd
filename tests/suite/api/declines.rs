//! Declined payments: limits on their number, and the failure that the buyer sees.

use futures_util::future::join_all;
use serde_json::json;

use crate::app::{Answer, Backend, Client, TestApp, on_both_stores};

on_both_stores!(
    order_is_refused_after_5_declines,
    replayed_decline_is_not_counted_again,
    user_is_refused_after_20_declines_also_after_a_restart,
    orders_of_one_user_declined_at_once_stay_within_20,
    failed_3d_secure_counts_as_a_decline,
    declines_are_unlimited_with_the_rate_limit_off,
    stolen_card_is_reported_as_a_generic_decline_everywhere,
);

const ON: [(&str, &str); 1] = [("GITTIX_RATE_LIMIT", "on")];
const DECLINED: &str = "pm_card_chargeDeclined";

/// Returns a buyer with `count` orders.
async fn orders(app: &TestApp, count: usize) -> (Client, Vec<String>) {
    let (seller, buyer) = (app.user().await, app.user().await);
    let mut orders = Vec::new();
    for _ in 0..count {
        orders.push(buyer.locks(&seller.sells("Front row").await).await);
    }
    (buyer, orders)
}

async fn declined(buyer: &Client, order: &str, times: usize) {
    for _ in 0..times {
        buyer.pay(order, DECLINED).await.refused(402, "card_declined");
    }
}

fn seconds_to_wait(answer: &Answer) -> u64 {
    answer.header("retry-after").parse().expect("a number of seconds")
}

async fn order_is_refused_after_5_declines(store: Backend) {
    let app = TestApp::start_with(store, &ON).await;
    let (buyer, orders) = orders(&app, 2).await;
    declined(&buyer, &orders[0], 5).await;
    let refused = buyer.pay(&orders[0], "pm_card_visa").await.refused(429, "too_many_requests");
    assert!(seconds_to_wait(&refused) <= 15 * 60, "until the lock ends: {refused:?}");
    assert_eq!(
        buyer.charges_of(&orders[0]).await.expect(200).items().len(),
        5,
        "a refusal creates no charge"
    );
    buyer.pay(&orders[1], "pm_card_visa").await.expect(201);
    // The state of the order takes precedence.
    buyer.cancel_order(&orders[0]).await.expect(204);
    buyer.pay(&orders[0], "pm_card_visa").await.refused(409, "order_not_payable");
    let metrics = app.guest().get("/metrics").await.expect(200).text;
    assert!(metrics.contains("gittix_declines_refused_total 1\n"), "{metrics}");
}

async fn replayed_decline_is_not_counted_again(store: Backend) {
    let app = TestApp::start_with(store, &ON).await;
    let (buyer, orders) = orders(&app, 1).await;
    for _ in 0..6 {
        buyer.pay(&orders[0], DECLINED).key("k").await.refused(402, "card_declined");
    }
    declined(&buyer, &orders[0], 4).await;
    buyer.pay(&orders[0], DECLINED).await.refused(429, "too_many_requests");
    buyer.pay(&orders[0], DECLINED).key("k").await.refused(402, "card_declined");
}

async fn user_is_refused_after_20_declines_also_after_a_restart(store: Backend) {
    let mut app = TestApp::start_with(store, &ON).await;
    let (buyer, held) = orders(&app, 4).await;
    for order in &held {
        declined(&buyer, order, 5).await;
    }
    for order in &held {
        buyer.cancel_order(order).await.expect(204);
    }
    let seller = app.user().await;
    let order = buyer.locks(&seller.sells("Front row").await).await;
    let refused = buyer.pay(&order, "pm_card_visa").await.refused(429, "too_many_requests");
    let seconds = seconds_to_wait(&refused);
    assert!((23 * 3600..=24 * 3600).contains(&seconds), "{refused:?}");
    buyer.pay(&held[0], "pm_card_visa").await.refused(409, "order_not_payable");
    if store == Backend::MongoDb {
        let second = app.replica("second").await;
        buyer.at(&second).pay(&order, "pm_card_visa").await.refused(429, "too_many_requests");
    }
    app.restart().await;
    buyer.at(&app.server).pay(&order, "pm_card_visa").await.refused(429, "too_many_requests");
    let (other, orders) = orders(&app, 1).await;
    other.pay(&orders[0], "pm_card_visa").await.expect(201);
}

async fn orders_of_one_user_declined_at_once_stay_within_20(store: Backend) {
    let settings = [ON[0], ("GITTIX_MAX_LOCKS", "12")];
    let app = TestApp::start_with(store, &settings).await;
    let (buyer, orders) = orders(&app, 12).await;
    for order in &orders[..4] {
        declined(&buyer, order, 4).await;
    }
    let answers =
        join_all(orders[4..].iter().map(|order| buyer.pay(order, DECLINED).into_future())).await;
    let declined = answers.iter().filter(|answer| answer.status == 402).count();
    let refused = answers.iter().filter(|answer| answer.status == 429).count();
    assert!(
        declined <= 4 && declined + refused == answers.len(),
        "{declined} declined, {refused} refused"
    );
    // Payments that were refused only because of concurrent ones may be repeated, up to the limit.
    for order in &orders[4..8 - declined] {
        buyer.pay(order, DECLINED).await.refused(402, "card_declined");
    }
}

async fn failed_3d_secure_counts_as_a_decline(store: Backend) {
    let app = TestApp::start_with(store, &ON).await;
    let (buyer, orders) = orders(&app, 1).await;
    for _ in 0..5 {
        let waiting =
            buyer.pay(&orders[0], "pm_card_threeDSecureRequiredChargeDeclined").await.expect(202);
        buyer.confirm(&waiting.id()).await.refused(402, "card_declined");
    }
    buyer.pay(&orders[0], "pm_card_visa").await.refused(429, "too_many_requests");
}

async fn declines_are_unlimited_with_the_rate_limit_off(store: Backend) {
    let app = TestApp::start(store).await;
    let (buyer, orders) = orders(&app, 1).await;
    declined(&buyer, &orders[0], 21).await;
    buyer.pay(&orders[0], "pm_card_visa").await.expect(201);
}

async fn stolen_card_is_reported_as_a_generic_decline_everywhere(store: Backend) {
    let app = TestApp::start(store).await;
    let (buyer, orders) = orders(&app, 1).await;
    let plain = buyer.pay(&orders[0], DECLINED).await.refused(402, "card_declined");
    let mut socket = buyer.socket().await;
    let stolen = buyer
        .pay(&orders[0], "pm_card_chargeDeclinedStolenCard")
        .key("k")
        .await
        .refused(402, "card_declined");
    let replayed = buyer
        .pay(&orders[0], "pm_card_chargeDeclinedStolenCard")
        .key("k")
        .await
        .refused(402, "card_declined");
    let id = stolen["charge"]["id"].as_str().expect("an id").to_owned();
    let fetched = buyer.charge(&id).await.expect(200);
    let listed = buyer.charges_of(&orders[0]).await.expect(200);
    let frame = socket.event("ChargeFailed").await;
    let failure =
        json!({ "code": "generic_decline", "message": plain["charge"]["failure"]["message"] });
    for shown in [
        &stolen["charge"],
        &replayed["charge"],
        &fetched.body,
        &listed.items()[1],
        &frame["charge"],
    ] {
        assert_eq!(shown["failure"], failure, "{shown}");
        assert!(!shown.to_string().contains("stolen"), "{shown}");
    }
    assert_eq!(stolen["errors"], plain["errors"]);
}
