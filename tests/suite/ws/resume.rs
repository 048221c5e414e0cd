//! Coming back without a gap.

use std::net::IpAddr;

use gittix::{domain::Event, store::Cursor, ws::SocketLimits};
use serde_json::json;

use super::{
    samples::{order, ticket_id, updated, user_id},
    stage::{As, Stage, after, user},
};

#[actix_web::test]
async fn every_step_that_was_missed_comes_in_order_and_then_the_present() {
    let stage = Stage::start(SocketLimits::default()).await;
    let seen = stage.push(updated(1, 0));
    stage.push_all((1..3000).map(|version| updated(1, version)));
    let (mut client, hello) = stage.connect(after(&seen.to_string())).await;
    assert_eq!((&hello["resumed"], &hello["cursor"]), (&json!(true), &json!(seen.to_string())));
    for version in 1..3000 {
        if version % 100 == 0 {
            stage.push(updated(2, version));
        }
        assert_eq!(client.next().await["ticket"]["version"], json!(version), "nothing of one ticket is merged in a replay");
    }
    for version in (100..3000).step_by(100) {
        let frame = client.next().await;
        assert_eq!((&frame["ticket"]["id"], &frame["ticket"]["version"]), (&json!(ticket_id(2)), &json!(version)));
    }
    stage.push(updated(3, 0));
    assert_eq!(client.next().await["ticket"]["id"], json!(ticket_id(3)));
    stage.stop().await;
}

#[actix_web::test]
async fn a_replay_has_the_private_events_of_its_owner_only() {
    let stage = Stage::start(SocketLimits::default()).await;
    let seen = stage.push(updated(1, 0));
    stage.push_all([
        Event::OrderCreated { order: order(1, 5) },
        Event::OrderCreated { order: order(2, 6) },
        Event::OrderExpired { order: order(1, 5) },
        updated(1, 1),
    ]);
    let (mut owner, _) = stage.connect(As { after: Some(seen.to_string()), ..user(1) }).await;
    assert_eq!(owner.next().await["order"]["userId"], json!(user_id(1)));
    assert_eq!(owner.next().await["order"]["userId"], json!(user_id(1)));
    assert_eq!(owner.next().await["type"], json!("TicketUpdated"));
    let (mut watcher, _) = stage.connect(after(&seen.to_string())).await;
    let expired = watcher.next().await;
    assert_eq!((&expired["type"], expired.get("order")), (&json!("OrderExpired"), None));
    assert_eq!(watcher.next().await["type"], json!("TicketUpdated"));
    stage.stop().await;
}

#[actix_web::test]
async fn who_missed_nothing_resumes_too() {
    let stage = Stage::start(SocketLimits::default()).await;
    let (first, hello) = stage.connect(As::default()).await;
    drop(first);
    let (mut client, again) = stage.connect(after(hello["cursor"].as_str().expect("a cursor"))).await;
    assert_eq!(again["resumed"], json!(true));
    stage.push(updated(1, 1));
    assert_eq!(client.next().await["ticket"]["version"], json!(1));
    stage.stop().await;
}

#[actix_web::test]
async fn a_cursor_that_is_not_known_is_said_to_be_so() {
    let stage = Stage::with_ring(SocketLimits::default(), 4).await;
    let old = stage.push(updated(1, 0));
    stage.push_all((1..10).map(|version| updated(1, version)));
    let other_epoch = Cursor { epoch: 2, time: 3, ordinal: 0 };
    let future = Cursor { epoch: 1, time: 1000, ordinal: 0 };
    for cursor in [old.to_string(), other_epoch.to_string(), future.to_string(), String::new(), "nonsense".into(), "%22%3C".into()] {
        let (mut client, hello) = stage.connect(after(&cursor)).await;
        assert_eq!((&hello["resumed"], &hello["cursor"]), (&json!(false), &json!(stage.feed.cursor().to_string())), "{cursor}");
        client.nothing_before_an_answer().await;
    }
    stage.stop().await;
}

#[actix_web::test]
async fn a_narrowed_replay_tells_what_is_watched_from_there_on() {
    let stage = Stage::start(SocketLimits::default()).await;
    let seen = stage.push(updated(1, 0));
    let (mut client, _) = stage.connect(after(&seen.to_string())).await;
    let watching = client.ask(json!({"type": "Watch", "tickets": [ticket_id(2)]})).await;
    assert_eq!(watching["cursor"], json!(seen.to_string()));
    stage.push_all([updated(1, 1), updated(2, 1)]);
    assert_eq!(client.next().await["ticket"]["id"], json!(ticket_id(2)));
    stage.stop().await;
}

#[actix_web::test]
async fn lost_history_is_a_reset_and_the_present_goes_on() {
    let stage = Stage::start(SocketLimits::default()).await;
    let mut client = stage.watcher().await;
    stage.push(updated(1, 1));
    client.next().await;
    stage.feed.reset(Cursor { epoch: 1, time: 0, ordinal: 1 });
    assert_eq!(client.next().await, json!({"type": "Reset"}));
    stage.push(updated(1, 2));
    assert_eq!(client.next().await["ticket"]["version"], json!(2));
    stage.stop().await;
}

/// A revocation may be among what was lost: whoever is signed in has to show their session again.
#[actix_web::test]
async fn lost_history_sends_those_who_are_signed_in_back_to_be_recognized_anew() {
    let stage = Stage::start(SocketLimits::default()).await;
    let (mut client, _) = stage.connect(user(1)).await;
    let mut guest = stage.watcher().await;
    stage.feed.reset(Cursor { epoch: 1, time: 0, ordinal: 1 });
    assert_eq!(client.next().await, json!({"type": "Reset"}));
    assert_eq!(client.close_code().await, 1012);
    assert_eq!(guest.next().await, json!({"type": "Reset"}));
    stage.push(updated(1, 2));
    assert_eq!(guest.next().await["ticket"]["version"], json!(2));
    stage.stop().await;
}

/// The step from the replay to the present, taken many times while events keep coming from another thread. Its control:
/// the same check finds the gap when one frame is left out.
#[actix_web::test]
async fn nothing_is_lost_or_told_twice_between_the_replay_and_the_present() {
    const EVENTS: u64 = 3000;
    // No backlog is too much: a reader that is slow for once shall not have its steps merged.
    let limits = SocketLimits { backlog_frames_max: 1 << 20, backlog_bytes_max: 1 << 30, ..SocketLimits::default() };
    let stage = std::sync::Arc::new(Stage::start(limits).await);
    let seen = stage.push(updated(1, 0));
    let pushing = stage.clone();
    let pusher = std::thread::spawn(move || {
        for version in 1..=EVENTS {
            pushing.push(updated(1, version));
            if version % 20 == 0 {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        }
    });
    let mut readers = Vec::new();
    for _ in 0..20 {
        let (mut client, hello) = stage.connect(after(&seen.to_string())).await;
        assert_eq!(hello["resumed"], json!(true));
        readers.push(actix_web::rt::spawn(async move {
            let mut versions = Vec::new();
            while versions.last() != Some(&EVENTS) {
                versions.push(client.next().await["ticket"]["version"].as_u64().expect("a version"));
            }
            versions
        }));
    }
    let is_complete = |versions: &[u64]| versions.iter().copied().eq(1..=EVENTS);
    for reader in readers {
        let mut versions = reader.await.expect("no panic");
        assert!(is_complete(&versions), "{} of {EVENTS}", versions.len());
        versions.remove(versions.len() / 2);
        assert!(!is_complete(&versions));
    }
    pusher.join().expect("no panic");
    std::sync::Arc::into_inner(stage).expect("nobody else holds it").stop().await;
}

fn from(cursor: &str, address: &str) -> As {
    let address: IpAddr = address.parse().expect("an address");
    As { address: Some(address), ..after(cursor) }
}

#[actix_web::test]
async fn replay_beyond_the_budget_of_its_address_is_a_reset_and_the_present_goes_on() {
    let limits = SocketLimits { replay_kib_max: 128, replay_kib_per_second: 1, ..SocketLimits::default() };
    let stage = Stage::start(limits).await;
    let seen = stage.push(updated(1, 0)).to_string();
    stage.push_all((1..5000).map(|version| updated(1, version)));

    let (mut client, hello) = stage.connect(from(&seen, "192.0.2.1")).await;
    assert_eq!(hello["resumed"], json!(true));
    let mut bytes = 0;
    loop {
        let frame = client.next().await;
        if frame == json!({"type": "Reset"}) {
            break;
        }
        bytes += frame.to_string().len();
        assert!(bytes < 256 * 1024, "the replay does not end with its budget");
    }
    stage.push(updated(2, 7));
    assert_eq!(client.next().await["ticket"]["version"], json!(7));

    // What is left is less than a slice, and is soon used up.
    let mut tries = 0;
    let (mut second, hello) = loop {
        let (client, hello) = stage.connect(from(&seen, "192.0.2.1")).await;
        if hello["resumed"] == json!(false) {
            break (client, hello);
        }
        tries += 1;
        assert!(tries < 10, "the budget is never used up");
    };
    assert_eq!((&hello["resumed"], &hello["cursor"]), (&json!(false), &json!(stage.feed.cursor().to_string())));
    second.nothing_before_an_answer().await;
    let (_, hello) = stage.connect(from(hello["cursor"].as_str().expect("a cursor"), "192.0.2.1")).await;
    assert_eq!(hello["resumed"], json!(true), "a client that missed nothing needs no budget");

    let (mut other, hello) = stage.connect(from(&seen, "192.0.2.2")).await;
    assert_eq!(hello["resumed"], json!(true), "another address has its own");
    assert_eq!(other.next().await["ticket"]["version"], json!(1));
    stage.stop().await;
}

#[actix_web::test]
async fn replay_without_an_address_has_no_budget() {
    let stage = Stage::start(SocketLimits { replay_kib_max: 1, replay_kib_per_second: 1, ..SocketLimits::default() }).await;
    let seen = stage.push(updated(1, 0)).to_string();
    stage.push_all((1..3000).map(|version| updated(1, version)));
    let (mut client, _) = stage.connect(after(&seen)).await;
    for version in 1..3000 {
        assert_eq!(client.next().await["ticket"]["version"], json!(version));
    }
    stage.stop().await;
}
