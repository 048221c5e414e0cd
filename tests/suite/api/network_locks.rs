//! Limit on the locks of one network, if an operator sets one.

use serde_json::json;

use crate::app::{Answer, Backend, Client, TestApp, on_both_stores};

on_both_stores!(
    limit_of_a_network_is_checked_after_all_other_rules,
    ended_lock_does_not_count_against_the_network,
    expired_lock_does_not_count_against_the_network,
    locks_of_a_network_are_unlimited_by_default_and_with_the_rate_limit_off,
);

const LIMITED: [(&str, &str); 3] = [
    ("GITTIX_RATE_LIMIT", "on"),
    ("GITTIX_MAX_LOCKS_PER_NETWORK", "2"),
    ("GITTIX_TRUSTED_PROXIES", "127.0.0.0/8"),
];
const OFFICE: &str = "198.51.100.7";
const ELSEWHERE: &str = "198.51.100.8";

async fn order_from(network: &str, buyer: &Client, ticket: &str) -> Answer {
    buyer.place_order(ticket).header("X-Forwarded-For", network).await
}

async fn tickets<const N: usize>(seller: &Client) -> [String; N] {
    let mut ids = Vec::new();
    for _ in 0..N {
        ids.push(seller.sells("Front row").await);
    }
    ids.try_into().expect("N tickets")
}

async fn limit_of_a_network_is_checked_after_all_other_rules(store: Backend) {
    let app = TestApp::start_with(store, &LIMITED).await;
    let (seller, ann, bob, cem) =
        (app.user().await, app.user().await, app.user().await, app.user().await);
    let [first, second, third, fourth] = tickets(&seller).await;
    order_from(OFFICE, &ann, &first).await.expect(201);
    order_from(OFFICE, &bob, &second).await.expect(201);
    order_from(OFFICE, &cem, &third).await.refused(429, "too_many_locks");
    // Every other refusal comes before the limit.
    order_from(OFFICE, &cem, "01990000-0000-7000-8000-000000000003")
        .await
        .refused(404, "not_found");
    order_from(OFFICE, &seller, &third).await.refused(403, "own_ticket");
    order_from(OFFICE, &cem, &first).await.refused(409, "ticket_locked");
    let dearer = cem
        .post("/api/orders", &json!({ "ticketId": third, "expectedPrice": 21 }))
        .header("X-Forwarded-For", OFFICE);
    dearer.await.refused(409, "price_changed");
    order_from(ELSEWHERE, &cem, &third).await.expect(201);
    // The proxy itself is exempt, because many people may be behind it.
    cem.place_order(&fourth).await.expect(201);
    let metrics = app.guest().get("/metrics").await.expect(200).text;
    assert!(metrics.contains("gittix_network_locks_refused_total 1\n"), "{metrics}");
}

async fn ended_lock_does_not_count_against_the_network(store: Backend) {
    let app = TestApp::start_with(store, &LIMITED).await;
    let (seller, ann, bob) = (app.user().await, app.user().await, app.user().await);
    let [first, second, third, fourth] = tickets(&seller).await;
    let cancelled = order_from(OFFICE, &ann, &first).await.expect(201).id();
    let bought = order_from(OFFICE, &ann, &second).await.expect(201).id();
    order_from(OFFICE, &bob, &third).await.refused(429, "too_many_locks");
    ann.cancel_order(&cancelled).await.expect(204);
    order_from(OFFICE, &bob, &third).await.expect(201);
    order_from(OFFICE, &bob, &fourth).await.refused(429, "too_many_locks");
    ann.pay(&bought, "pm_card_visa").await.expect(201);
    order_from(OFFICE, &bob, &fourth).await.expect(201);
}

async fn expired_lock_does_not_count_against_the_network(store: Backend) {
    let settings =
        [LIMITED.as_slice(), &[("GITTIX_PAYMENT_WINDOW", "1s"), ("GITTIX_LOCK_DURATION", "1s")]]
            .concat();
    let app = TestApp::start_with(store, &settings).await;
    let (seller, ann) = (app.user().await, app.user().await);
    let [first, second] = tickets(&seller).await;
    let mut socket = app.socket().await;
    order_from(OFFICE, &ann, &first).await.expect(201);
    socket.ticket(&first, "Available").await;
    order_from(OFFICE, &ann, &second).await.expect(201);
    socket.ticket(&second, "Available").await;
    order_from(OFFICE, &ann, &first).await.expect(201);
}

async fn locks_of_a_network_are_unlimited_by_default_and_with_the_rate_limit_off(store: Backend) {
    for settings in [
        [LIMITED[0], LIMITED[2]].as_slice(),
        &[("GITTIX_RATE_LIMIT", "off"), LIMITED[1], LIMITED[2]],
    ] {
        let app = TestApp::start_with(store, settings).await;
        let (seller, ann) = (app.user().await, app.user().await);
        for ticket in tickets::<3>(&seller).await {
            order_from(OFFICE, &ann, &ticket).await.expect(201);
        }
    }
}
