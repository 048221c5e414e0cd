//! The contract's rules between replicas, one test for each: two processes on one MongoDB that
//! share nothing else.

use std::time::Duration;

use bson::doc;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{fleet, report_skipped};
use crate::{
    app::{Backend, Client, Server, TestApp, millis, with_app_name},
    mongo::world::{Turn, World},
};

/// The contract: a sign-out is effective on the other replicas within a second.
const REVOKED_WITHIN: Duration = Duration::from_secs(1);
/// The contract: after a replica has failed, another releases its locks within 5 s of their end.
const SWEPT_WITHIN_MS: i64 = 5_000;
/// The contract: locks are released within a second of their end.
const RELEASED_WITHIN_MS: i64 = 1_000;

const SHORT: [(&str, &str); 2] = [("GITTIX_PAYMENT_WINDOW", "1s"), ("GITTIX_LOCK_DURATION", "2s")];

/// Starts two replicas, "test" and "second".
async fn two(settings: &[(&str, &str)]) -> (TestApp, Server) {
    let app = TestApp::start_with(Backend::MongoDb, settings).await;
    let second = app.replica("second").await;
    (app, second)
}

async fn wait_until_signed_out(user: &Client) {
    while user.current_user().await.expect(200)["currentUser"] != json!(null) {
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn session_revoked_on_one_replica_ends_on_the_other_within_a_second_with_its_sockets() {
    let (app, second) = two(&[]).await;
    let user = app.user().await;
    // The sign-out empties the user's jar; a stolen cookie remains in the thief's jar.
    let thief = user.stranger().at(&second);
    thief.set_cookie(user.cookie());
    assert_eq!(
        thief.current_user().await.expect(200)["currentUser"]["id"],
        json!(user.id),
        "the session is not in the other replica's cache"
    );
    let mut socket = thief.socket().await;
    user.sign_out().await.expect(200);
    let since = Instant::now();
    wait_until_signed_out(&thief).await;
    let signed_out_after = since.elapsed();
    assert_eq!(socket.closed().await, 1008);
    let closed = since.elapsed();
    println!("signed out after {signed_out_after:?}, its socket closed after {closed:?}");
    assert!(
        signed_out_after < REVOKED_WITHIN && closed < REVOKED_WITHIN,
        "{signed_out_after:?}, {closed:?}"
    );
}

#[tokio::test]
async fn replica_without_events_rejects_a_session_that_was_revoked_elsewhere() {
    let turn = Turn::wait().await;
    let app = TestApp::start(Backend::MongoDb).await;
    let uri = with_app_name(app.home.mongodb_uri().expect("replicas share a MongoDB"), "silenced");
    let silenced = app.replica_with("silenced", &[("MONGODB_URI", &uri)]).await;
    let user = app.user().await;
    let thief = user.stranger().at(&silenced);
    thief.set_cookie(user.cookie());
    assert_eq!(
        thief.current_user().await.expect(200)["currentUser"]["id"],
        json!(user.id),
        "the session is not in the other replica's cache"
    );
    let world = World::new().await;
    let silence =
        doc! { "failCommands": ["getMore"], "blockConnection": true, "blockTimeMS": 10_000 };
    let fault = turn.set(&world, "silenced", "alwaysOn", silence).await;
    // A `getMore` that was sent before the silence may still return events.
    sleep(Duration::from_millis(500)).await;
    user.sign_out().await.expect(200);
    let since = Instant::now();
    wait_until_signed_out(&thief).await;
    let signed_out_after = since.elapsed();
    fault.heal().await;
    println!("signed out after {signed_out_after:?}");
    assert!(signed_out_after < REVOKED_WITHIN, "{signed_out_after:?}");
}

#[tokio::test]
async fn failed_sign_ins_are_counted_over_all_replicas() {
    const FAILURES_MAX: usize = 10;
    let (app, second) = two(&[("GITTIX_RATE_LIMIT", "on")]).await;
    let user = app.user().await;
    let guests = [app.guest(), app.guest().at(&second)];
    for attempt in 0..FAILURES_MAX {
        guests[attempt % 2]
            .sign_in(&user.email, "a wild guess")
            .await
            .refused(401, "invalid_credentials");
    }
    for guest in &guests {
        guest.sign_in(&user.email, Client::PASSWORD).await.refused(429, "too_many_requests");
    }
}

#[tokio::test]
async fn locks_of_a_user_are_counted_over_all_replicas() {
    let (app, second) = two(&[]).await;
    let (seller, buyer) = (app.user().await, app.user().await);
    let at = [buyer.clone(), buyer.at(&second)];
    for number in 0..4 {
        at[number % 2].locks(&seller.sells("Row").await).await;
    }
    let fifth = seller.sells("One too many").await;
    for buyer in &at {
        buyer.place_order(&fifth).await.refused(429, "too_many_locks");
    }
}

#[tokio::test]
async fn cursor_of_one_replica_resumes_on_another_and_on_one_that_starts_later() {
    let (app, second) = two(&[]).await;
    let seller = app.user().await;
    let mut first = app.socket().await;
    let seen = seller.sells("Seen").await;
    first.reached(&seen).await;
    let cursor = first.last_cursor();
    let missed = [seller.sells("Missed").await, seller.at(&second).sells("Missed, too").await];
    let third = app.replica("third").await;
    for server in [&second, &third] {
        let mut resumed = app.guest().at(server).socket_at(&format!("?after={cursor}")).await;
        assert_eq!(resumed.expect("Hello").await["resumed"], true);
        for ticket in &missed {
            assert_eq!(resumed.next().await["ticket"]["id"], json!(ticket));
        }
    }
}

#[tokio::test]
async fn cursor_of_an_idle_feed_resumes_on_a_replica_that_starts_later() {
    let app = TestApp::start(Backend::MongoDb).await;
    let cursor = app.socket().await.last_cursor();
    // A replica reads five minutes back from the second of its start: the next replica must start
    // in a later second.
    let seller = app.user().await;
    let mut started = None;
    loop {
        seller.sells("Time passes").await;
        let second = app
            .socket()
            .await
            .last_cursor()
            .parse::<gittix::store::Cursor>()
            .expect("a cursor")
            .time
            >> 32;
        if *started.get_or_insert(second) < second {
            break;
        }
    }
    let second = app.replica("second").await;
    let mut resumed = app.guest().at(&second).socket_at(&format!("?after={cursor}")).await;
    assert_eq!(resumed.expect("Hello").await["resumed"], true);
    assert_eq!(resumed.expect("TicketCreated").await["ticket"]["title"], "Time passes");
}

#[tokio::test]
async fn lock_of_a_killed_replica_is_released_by_another_within_five_seconds_of_its_end() {
    let (mut app, second) = two(&SHORT).await;
    let (seller, buyer) = (app.user().await, app.user().await);
    let mut socket = app.guest().at(&second).socket().await;
    let order = buyer.place_order(&seller.sells("Front row").await).await.expect(201);
    app.crash();
    let freed = socket.ticket(order["ticketId"].as_str().expect("an id"), "Available").await;
    let lag = millis(&freed["at"]) - millis(&order["unlocksAt"]);
    println!("released {lag} ms after its time");
    assert!((0..=SWEPT_WITHIN_MS).contains(&lag), "{lag} ms");
    assert_eq!(buyer.at(&second).order(&order.id()).await.expect(200)["cancelReason"], "expired");
}

#[tokio::test]
async fn replica_restarted_under_its_name_releases_its_own_locks_on_time() {
    let (mut app, second) =
        two(&[("GITTIX_PAYMENT_WINDOW", "4s"), ("GITTIX_LOCK_DURATION", "4s")]).await;
    let (seller, buyer) = (app.user().await, app.user().await);
    let mut socket = app.guest().at(&second).socket().await;
    let order = buyer.place_order(&seller.sells("Front row").await).await.expect(201);
    app.restart().await;
    let freed = socket.ticket(order["ticketId"].as_str().expect("an id"), "Available").await;
    let lag = millis(&freed["at"]) - millis(&order["unlocksAt"]);
    assert!(
        (0..=RELEASED_WITHIN_MS).contains(&lag),
        "{lag} ms: the sweep of another replica starts only after a second"
    );
}

#[tokio::test]
async fn replica_that_was_stopped_and_resumes_makes_no_outdated_change() {
    let (app, second) = two(&SHORT).await;
    let (seller, early, late) = (app.user().await, app.user().await, app.user().await);
    let ticket = seller.sells("Front row").await;
    let mut socket = app.guest().at(&second).socket().await;
    let expired = early.locks(&ticket).await;
    app.server.pause();
    // The lock expires while the replica is stopped. Then the ticket is sold to another buyer, who
    // signs out.
    socket.ticket(&ticket, "Available").await;
    let late = late.at(&second);
    let order = late.locks(&ticket).await;
    late.pay(&order, "pm_card_visa").await.expect(201);
    let thief = late.stranger().at(&app.server);
    thief.set_cookie(late.cookie());
    late.sign_out().await.expect(200);
    app.server.resume();

    assert_eq!(thief.current_user().await.expect(200)["currentUser"], json!(null));
    early.pay(&expired, "pm_card_visa").await.refused(409, "order_expired");
    app.user().await.place_order(&ticket).await.refused(409, "ticket_sold");
    let sold = app.guest().ticket(&ticket).await.expect(200);
    assert_eq!((&sold["status"], &sold["orderId"]), (&json!("Sold"), &json!(order)));
    // The feed is in commit order: a release by the resumed replica would precede this marker.
    let marker = seller.sells("A marker").await;
    let last = socket
        .reached(&marker)
        .await
        .iter()
        .rev()
        .find(|frame| frame["ticket"]["id"] == json!(ticket))
        .cloned();
    assert_eq!(last.map(|frame| frame["ticket"]["version"].clone()), Some(sold["version"].clone()));
}

#[tokio::test]
async fn two_processes_under_one_name_release_each_lock_once_on_time() {
    let app = TestApp::start_with(Backend::MongoDb, &SHORT).await;
    let same_name = app.replica("test").await;
    let (seller, buyer) = (app.user().await, app.user().await);
    let mut socket = app.socket().await;
    let at = [buyer.clone(), buyer.at(&same_name)];
    let mut orders = Vec::new();
    for number in 0..4 {
        orders.push(at[number % 2].place_order(&seller.sells("Row").await).await.expect(201));
    }
    // Two replicas release the locks, so the order of the events is not fixed.
    while !orders.is_empty() {
        let freed = socket
            .until(|frame| {
                frame["type"] == "TicketUpdated" && frame["ticket"]["status"] == "Available"
            })
            .await;
        let of = orders.iter().position(|order| order["ticketId"] == freed["ticket"]["id"]);
        let order = orders.swap_remove(of.expect("each lock is released once"));
        let lag = millis(&freed["at"]) - millis(&order["unlocksAt"]);
        assert!((0..=RELEASED_WITHIN_MS).contains(&lag), "{lag} ms");
        assert_eq!(
            freed["ticket"]["version"], 2,
            "the ticket was not locked once and released once"
        );
    }
}

#[tokio::test]
async fn replicas_whose_wall_clocks_differ_by_two_minutes_agree_when_a_lock_ends() {
    if !fleet::has_faketime() {
        return report_skipped(
            "wall clocks that differ",
            "libfaketime is missing; install Debian's package faketime",
        );
    }
    let with_clock = |off| [&SHORT[..], &fleet::clock_settings(off)].concat();
    let fast = TestApp::start_with(Backend::MongoDb, &with_clock("+60s")).await;
    let slow = fast.replica_with("slow", &with_clock("-60s")).await;
    for (granting, other) in [(&fast.server, &slow), (&slow, &fast.server)] {
        let (seller, buyer, rival) = (
            fast.user().await.at(granting),
            fast.user().await.at(granting),
            fast.user().await.at(other),
        );
        let ticket = seller.sells("Front row").await;
        let mut socket = fast.guest().at(other).socket().await;
        let order = buyer.place_order(&ticket).await.expect(201);
        let correct = gittix::clock::wall_clock().0;
        assert!(
            (millis(&order["createdAt"]) - correct).abs() < 2_000,
            "the server does not use the store's time: {order:?}"
        );
        rival.place_order(&ticket).await.refused(409, "ticket_locked");
        let freed = socket.ticket(&ticket, "Available").await;
        let lag = millis(&freed["at"]) - millis(&order["unlocksAt"]);
        assert!((0..=RELEASED_WITHIN_MS).contains(&lag), "{lag} ms");
        buyer.at(other).pay(&order.id(), "pm_card_visa").await.refused(409, "order_expired");
        rival.locks(&ticket).await;
    }
}

/// Without the second lookup of the key, the retry is refused because of the effect of its own
/// first attempt.
#[cfg(feature = "failpoints")]
#[tokio::test]
async fn retry_on_another_replica_during_the_first_attempt_gets_the_same_order() {
    let app = TestApp::start(Backend::MongoDb).await;
    let (seller, buyer) = (app.user().await, app.user().await);
    // Every write of this replica is slow just before its commit, but not so slow that the replica
    // counts as failed.
    let slow = app.replica_with("slow", &[("FAILPOINTS", "store::before_commit=sleep(700)")]).await;
    let ticket = seller.sells("Front row").await;
    let first = tokio::spawn(buyer.at(&slow).place_order(&ticket).key("once").into_future());
    sleep(Duration::from_millis(350)).await;
    let retried = buyer.place_order(&ticket).key("once").await.expect(201);
    assert_eq!(first.await.expect("no panic").expect(201).id(), retried.id());
}
