//! Limits on listed tickets of a user: their number, and their rate.

use futures_util::future::join_all;

use crate::app::{Answer, Backend, TestApp, on_both_stores};

on_both_stores!(
    listings_beyond_the_rate_are_refused_and_replays_are_not,
    listings_beyond_the_limit_of_a_user_are_refused,
    tickets_listed_at_once_stay_within_the_limit,
    listings_are_unlimited_with_the_rate_limit_off,
);

fn settings(max: &str) -> [(&str, &str); 2] {
    [("GITTIX_RATE_LIMIT", "on"), ("GITTIX_MAX_LISTINGS", max)]
}

async fn listings_beyond_the_rate_are_refused_and_replays_are_not(store: Backend) {
    let app = TestApp::start_with(store, &settings("1000")).await;
    let (seller, other) = (app.user().await, app.user().await);
    let first = seller.list_ticket("Front row", 20).key("first").await.expect(201).id();
    let mut listed = 1;
    let refused = loop {
        let answer = seller.list_ticket("Front row", 20).await;
        if answer.status != 201 {
            break answer;
        }
        listed += 1;
        assert!(listed < 1_000, "no limit");
    };
    refused.refused(429, "too_many_requests");
    assert!(listed >= 60, "60 at once are allowed, and only {listed} were accepted");
    let replayed = seller.list_ticket("Front row", 20).key("first").await.expect(201);
    assert_eq!((replayed.id(), replayed.header("idempotency-replayed")), (first, "true"));
    other.list_ticket("Front row", 20).await.expect(201);
    let metrics = app.guest().get("/metrics").await.expect(200).text;
    assert!(
        metrics.contains("gittix_requests_rejected_total{reason=\"listings\"} 1\n"),
        "{metrics}"
    );
}

async fn listings_beyond_the_limit_of_a_user_are_refused(store: Backend) {
    let app = TestApp::start_with(store, &settings("2")).await;
    let (seller, buyer) = (app.user().await, app.user().await);
    let first = seller.list_ticket("Front row", 20).key("first").await.expect(201).id();
    let second = seller.sells("Back row").await;
    seller.list_ticket("Balcony", 20).await.refused(409, "too_many_listings");
    assert_eq!(
        seller.list_ticket("Front row", 20).key("first").await.expect(201).id(),
        first,
        "a replay"
    );
    let order = buyer.locks(&first).await;
    seller.list_ticket("Balcony", 20).await.refused(409, "too_many_listings");
    buyer.pay(&order, "pm_card_visa").await.expect(201);
    seller.list_ticket("Balcony", 20).await.expect(201);
    seller.list_ticket("Box", 20).await.refused(409, "too_many_listings");
    seller.delist_ticket(&second).await.expect(204);
    seller.list_ticket("Box", 20).await.expect(201);
    buyer.list_ticket("Standing", 20).await.expect(201);
    let metrics = app.guest().get("/metrics").await.expect(200).text;
    assert!(metrics.contains("gittix_listings_refused_total 3\n"), "{metrics}");
}

async fn tickets_listed_at_once_stay_within_the_limit(store: Backend) {
    let app = TestApp::start_with(store, &settings("10")).await;
    let seller = app.user().await;
    let answers: Vec<Answer> =
        join_all((0..40).map(|_| seller.list_ticket("Front row", 20).into_future())).await;
    let listed = answers.iter().filter(|answer| answer.status == 201).count();
    let refused =
        answers.iter().filter(|answer| answer.body["code"] == "too_many_listings").count();
    assert_eq!((listed, refused), (10, 30));
}

async fn listings_are_unlimited_with_the_rate_limit_off(store: Backend) {
    let app = TestApp::start_with(store, &[("GITTIX_MAX_LISTINGS", "1")]).await;
    let seller = app.user().await;
    for _ in 0..70 {
        seller.list_ticket("Front row", 20).await.expect(201);
    }
}
