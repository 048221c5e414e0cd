//! Tests of resuming without a gap.

use std::net::IpAddr;

use gittix::{domain::DomainEvent, store::Cursor, ws::SocketLimits};
use serde_json::json;

use super::{
    samples::{order, ticket_id, updated, user_id},
    stage::{As, Stage, after, user},
};

#[actix_web::test]
async fn missed_events_are_replayed_in_order_before_live_events() {
    let stage = Stage::start(SocketLimits::default()).await;
    let seen = stage.push(updated(1, 0));
    stage.push_all((1..3000).map(|version| updated(1, version)));
    let (mut client, hello) = stage.connect(after(&seen.to_string())).await;
    assert_eq!((&hello["resumed"], &hello["cursor"]), (&json!(true), &json!(seen.to_string())));
    for version in 1..3000 {
        if version % 100 == 0 {
            stage.push(updated(2, version));
        }
        assert_eq!(
            client.next().await["ticket"]["version"],
            json!(version),
            "a replay merges no frames"
        );
    }
    for version in (100..3000).step_by(100) {
        let frame = client.next().await;
        assert_eq!(
            (&frame["ticket"]["id"], &frame["ticket"]["version"]),
            (&json!(ticket_id(2)), &json!(version))
        );
    }
    stage.push(updated(3, 0));
    assert_eq!(client.next().await["ticket"]["id"], json!(ticket_id(3)));
    stage.stop().await;
}

#[actix_web::test]
async fn replay_contains_the_private_events_of_its_user_only() {
    let stage = Stage::start(SocketLimits::default()).await;
    let seen = stage.push(updated(1, 0));
    stage.push_all([
        DomainEvent::OrderCreated { order: order(1, 5) },
        DomainEvent::OrderCreated { order: order(2, 6) },
        DomainEvent::OrderExpired { order: order(1, 5) },
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
async fn client_that_missed_no_event_is_resumed() {
    let stage = Stage::start(SocketLimits::default()).await;
    let (first, hello) = stage.connect(As::default()).await;
    drop(first);
    let (mut client, again) =
        stage.connect(after(hello["cursor"].as_str().expect("a cursor"))).await;
    assert_eq!(again["resumed"], json!(true));
    stage.push(updated(1, 1));
    assert_eq!(client.next().await["ticket"]["version"], json!(1));
    stage.stop().await;
}

#[actix_web::test]
async fn unknown_cursor_is_not_resumed() {
    let stage = Stage::with_ring(SocketLimits::default(), 4).await;
    let old = stage.push(updated(1, 0));
    stage.push_all((1..10).map(|version| updated(1, version)));
    let other_epoch = Cursor { epoch: 2, time: 3, ordinal: 0 };
    let future = Cursor { epoch: 1, time: 1000, ordinal: 0 };
    for cursor in [
        old.to_string(),
        other_epoch.to_string(),
        future.to_string(),
        String::new(),
        "nonsense".into(),
        "%22%3C".into(),
    ] {
        let (mut client, hello) = stage.connect(after(&cursor)).await;
        assert_eq!(
            (&hello["resumed"], &hello["cursor"]),
            (&json!(false), &json!(stage.feed.cursor().to_string())),
            "{cursor}"
        );
        client.assert_no_frame_queued().await;
    }
    stage.stop().await;
}

#[actix_web::test]
async fn resumed_client_that_watches_one_ticket_gets_its_events_only() {
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
async fn lost_events_send_a_reset_before_live_events() {
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

/// A revocation may be among the lost events, so signed-in clients must connect again with their
/// session.
#[actix_web::test]
async fn lost_events_close_signed_in_connections_with_1012() {
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

/// Tests the change from the replay to live events many times, while another thread pushes events.
/// Negative control: the same check fails when one frame is left out.
#[actix_web::test]
async fn each_event_is_sent_once_between_replay_and_live_delivery() {
    const EVENTS: u64 = 3000;
    // The backlog is nearly unbounded, so that the frames of a reader that is slow for a moment are
    // not merged.
    let limits = SocketLimits {
        backlog_frames_max: 1 << 20,
        backlog_bytes_max: 1 << 30,
        ..SocketLimits::default()
    };
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
                versions
                    .push(client.next().await["ticket"]["version"].as_u64().expect("a version"));
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
    std::sync::Arc::into_inner(stage).expect("no other reference is left").stop().await;
}

fn from(cursor: &str, address: &str) -> As {
    let address: IpAddr = address.parse().expect("an address");
    As { address: Some(address), ..after(cursor) }
}

#[actix_web::test]
async fn replay_beyond_the_budget_of_its_address_ends_with_a_reset() {
    let limits =
        SocketLimits { replay_kib_max: 128, replay_kib_per_second: 1, ..SocketLimits::default() };
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

    // The remaining budget is less than a slice, and is used up after a few attempts.
    let mut tries = 0;
    let (mut second, hello) = loop {
        let (client, hello) = stage.connect(from(&seen, "192.0.2.1")).await;
        if hello["resumed"] == json!(false) {
            break (client, hello);
        }
        tries += 1;
        assert!(tries < 10, "the budget is never used up");
    };
    assert_eq!(
        (&hello["resumed"], &hello["cursor"]),
        (&json!(false), &json!(stage.feed.cursor().to_string()))
    );
    second.assert_no_frame_queued().await;
    let (_, hello) =
        stage.connect(from(hello["cursor"].as_str().expect("a cursor"), "192.0.2.1")).await;
    assert_eq!(hello["resumed"], json!(true), "a client that missed no event needs no budget");

    let (mut other, hello) = stage.connect(from(&seen, "192.0.2.2")).await;
    assert_eq!(hello["resumed"], json!(true), "another address has its own budget");
    assert_eq!(other.next().await["ticket"]["version"], json!(1));
    stage.stop().await;
}

#[actix_web::test]
async fn replay_without_an_address_is_not_bounded() {
    let stage = Stage::start(SocketLimits {
        replay_kib_max: 1,
        replay_kib_per_second: 1,
        ..SocketLimits::default()
    })
    .await;
    let seen = stage.push(updated(1, 0)).to_string();
    stage.push_all((1..3000).map(|version| updated(1, version)));
    let (mut client, _) = stage.connect(after(&seen)).await;
    for version in 1..3000 {
        assert_eq!(client.next().await["ticket"]["version"], json!(version));
    }
    stage.stop().await;
}
