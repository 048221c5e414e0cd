//! Tasks that must not stop: after a panic each is restarted, or the process exits so that an
//! orchestrator restarts it. A process that answers `/healthz` but serves nothing must not remain.

use std::time::Duration;

use tokio::time::Instant;

use crate::app::{Answer, Backend, Call, Home, PATIENCE, Server, TestApp, on_both_stores};

on_both_stores!(ticket_registry_serves_after_a_panic, order_registry_serves_after_a_panic);

/// Repeats the request until the answer has this status; every earlier answer must be 503.
async fn retry_until(status: u16, mut call: impl FnMut() -> Call) -> Answer {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = call().await;
        if answer.status == status {
            return answer;
        }
        assert!(answer.status == 503 && Instant::now() < deadline, "{answer:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn ticket_registry_serves_after_a_panic(store: Backend) {
    let app = TestApp::start_with(store, &[("FAILPOINTS", "ticket_registry::route=1*panic")]).await;
    let (seller, buyer) = (app.user().await, app.user().await);
    let ticket = seller.sells("Front row").await;
    buyer.place_order(&ticket).await.refused(503, "outcome_unknown");
    buyer.locks(&ticket).await;
}

async fn order_registry_serves_after_a_panic(store: Backend) {
    let app = TestApp::start_with(store, &[("FAILPOINTS", "orders::place=1*panic")]).await;
    let (seller, buyer) = (app.user().await, app.user().await);
    let ticket = seller.sells("Front row").await;
    buyer.place_order(&ticket).await.refused(503, "outcome_unknown");
    buyer.locks(&ticket).await;
}

#[tokio::test]
async fn follower_of_the_change_stream_resumes_after_a_panic() {
    let app =
        TestApp::start_with(Backend::MongoDb, &[("FAILPOINTS", "mongo::feed_push=1*panic")]).await;
    let mut socket = app.socket().await;
    // The first change in the feed is the sign-up.
    let ticket = app.user().await.sells("Front row").await;
    socket.reached(&ticket).await;
    assert!(!socket.kinds().contains(&"Reset"), "{:?}", socket.kinds());
}

#[tokio::test]
async fn follower_that_panics_twice_resets_the_feed_and_continues() {
    let app =
        TestApp::start_with(Backend::MongoDb, &[("FAILPOINTS", "mongo::feed_push=2*panic")]).await;
    let mut socket = app.socket().await;
    let seller = app.user().await;
    socket.event("Reset").await;
    let ticket = seller.sells("Front row").await;
    socket.reached(&ticket).await;
}

#[tokio::test]
async fn group_committer_is_restarted_after_a_panic() {
    let app =
        TestApp::start_with(Backend::MongoDb, &[("FAILPOINTS", "mongo::committer=1*panic")]).await;
    let guest = app.guest();
    guest.sign_up("first@example.com", "correct horse").await.refused(503, "outcome_unknown");
    retry_until(201, || guest.sign_up("second@example.com", "correct horse")).await;
}

#[tokio::test]
async fn process_exits_when_a_thread_of_the_actors_ends() {
    let home = Home::new(Backend::Embedded);
    let settings = [("FAILPOINTS".to_owned(), "actor_thread::end=return".to_owned())];
    let mut server = Server::start_unready(&home, &settings).await;
    assert_eq!(server.ended().await.code(), Some(70), "{:#?}", server.log());
    let reason = server.reason().await;
    assert!(reason.contains("actor thread"), "{reason}");
}

#[tokio::test]
async fn process_exits_when_the_writer_of_the_embedded_store_panics() {
    let mut app = TestApp::start(Backend::Embedded).await;
    app.set("FAILPOINTS", "store::before_commit=1*panic");
    app.restart().await;
    let answer = app.guest().sign_up("first@example.com", "correct horse").await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert_eq!(app.server.ended().await.code(), Some(70), "{:#?}", app.server.log());
    let reason = app.server.reason().await;
    assert!(reason.contains("embedded store's writer"), "{reason}");
}
