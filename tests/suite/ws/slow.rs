//! Tests of clients that read slowly, or stop reading.

use std::{collections::HashMap, time::Duration};

use gittix::{domain::DomainEvent, metrics::METRICS, ws::SocketLimits};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::{
    samples::{order, ticket_id, updated},
    stage::{As, Client, Stage, user},
};

/// Small buffers, which a few hundred frames fill.
fn small_buffers() -> SocketLimits {
    SocketLimits {
        send_buffer_bytes: 8 * 1024,
        backlog_frames_max: 256,
        backlog_bytes_max: 256 * 1024,
        gather: Duration::ZERO,
        ..SocketLimits::default()
    }
}

fn slow() -> As {
    As { receive_buffer: Some(4 * 1024), ..As::default() }
}

/// Pushes each event after the client `reader` has read the one before, so that a client can read
/// as fast as events come.
async fn push_at_the_pace_of(
    stage: &Stage,
    reader: &mut Client,
    events: impl IntoIterator<Item = DomainEvent>,
) -> Vec<Value> {
    let mut frames = Vec::new();
    for event in events {
        stage.push(event);
        frames.push(reader.next().await);
    }
    frames
}

#[actix_web::test]
async fn slow_reader_gets_the_newest_state_of_each_ticket_and_others_every_event() {
    let stage = Stage::start(small_buffers()).await;
    let (mut late, _) = stage.connect(slow()).await;
    let mut reader = stage.watcher().await;
    let events = (0..3000).map(|step| updated(step % 20, step / 20));
    let frames = push_at_the_pace_of(&stage, &mut reader, events).await;
    assert_eq!(frames.len(), 3000);
    stage.push(updated(99, 0));

    let mut newest = HashMap::new();
    let mut cursors = Vec::new();
    loop {
        let frame = late.next().await;
        assert_eq!(frame["type"], json!("TicketUpdated"));
        cursors.push(
            frame["cursor"]
                .as_str()
                .expect("a cursor")
                .parse::<gittix::store::Cursor>()
                .expect("a cursor"),
        );
        if frame["ticket"]["id"] == json!(ticket_id(99)) {
            break;
        }
        newest.insert(frame["ticket"]["id"].clone(), frame["ticket"]["version"].clone());
    }
    assert!(cursors.is_sorted() && cursors.len() < 2000, "{} frames", cursors.len());
    assert_eq!(newest, (0..20).map(|n| (json!(ticket_id(n)), json!(149))).collect());
    stage.stop().await;
}

#[actix_web::test]
async fn slow_reader_gets_all_private_frames_or_a_reset() {
    let stage = Stage::start(small_buffers()).await;
    let (mut late, _) =
        stage.connect(As { receive_buffer: slow().receive_buffer, ..user(1) }).await;
    let (mut reader, _) = stage.connect(user(1)).await;
    let events = (0..2000).map(|n| DomainEvent::OrderCreated { order: order(1, n) });
    push_at_the_pace_of(&stage, &mut reader, events).await;

    let before = late.until("Reset").await.len() - 1;
    let mut after = 0;
    while late.next().await["order"]["ticketId"] != json!(ticket_id(1999)) {
        after += 1;
    }
    assert!(before + after < 2000, "{before} and {after}");
    stage.push(updated(1, 1));
    assert_eq!(late.next().await["type"], json!("TicketUpdated"), "live events follow the reset");
    stage.stop().await;
}

#[actix_web::test]
async fn connection_that_stops_reading_is_ended_without_effect_on_others() {
    let limits = SocketLimits {
        stall_max: Duration::from_millis(300),
        tick: Duration::from_millis(20),
        ..small_buffers()
    };
    let stage = Stage::start(limits).await;
    let stalled = METRICS.sockets_closed.with_label_values(&["stalled"]);
    let before = stalled.get();
    let (_frozen, _) = stage.connect(slow()).await;
    let mut reader = stage.watcher().await;
    stage.until_open(2).await;
    let events = (0..1500).map(|step| updated(step % 20, step / 20));
    assert_eq!(push_at_the_pace_of(&stage, &mut reader, events).await.len(), 1500);
    stage.until_open(1).await;
    assert!(stalled.get() > before);
    stage.push(updated(1, 1000));
    assert_eq!(reader.next().await["ticket"]["version"], json!(1000));
    stage.stop().await;
}

#[actix_web::test]
async fn peer_that_writes_but_never_reads_is_ended_with_few_events() {
    let limits = SocketLimits {
        ping_every: Duration::from_millis(100),
        stall_max: Duration::from_millis(200),
        tick: Duration::from_millis(20),
        frames_max: 1_000_000,
        ..SocketLimits::default()
    };
    let stage = Stage::start(limits).await;
    let mut client = stage.watcher().await;
    while stage.hub.open() > 0 {
        // A masked ping shows that the peer sends, but not that it reads.
        if tokio::io::AsyncWriteExt::write_all(client.0.get_mut(), &[0x89, 0x80, 0, 0, 0, 0])
            .await
            .is_err()
        {
            break;
        }
        tokio::task::yield_now().await;
    }
    stage.until_open(0).await;
    stage.stop().await;
}

/// The connection that does not read stays open in this test. The tests above check that such a
/// connection is ended.
#[actix_web::test]
async fn two_thousand_readers_get_every_event_beside_one_that_does_not_read() {
    const SOCKETS: usize = 2000;
    const ROUNDS: u64 = 6;
    let stage = Stage::start(small_buffers()).await;
    let (_frozen, _) = stage.connect(slow()).await;
    let mut readers = Vec::with_capacity(SOCKETS);
    for _ in 1..SOCKETS {
        readers.push(stage.watcher().await);
    }
    assert_eq!(stage.hub.open(), SOCKETS);
    for round in 0..ROUNDS {
        let last = stage.push_all((0..50).map(|step| updated(step % 20, round * 50 + step)));
        for reader in &mut readers {
            let mut received = 0;
            loop {
                let frame = reader.message().await;
                let Message::Text(text) = frame else { continue };
                received += 1;
                if text.contains(&last.to_string()) {
                    break;
                }
            }
            assert_eq!(received, 50, "round {round}");
        }
    }
    assert_eq!(stage.hub.open(), SOCKETS, "the connection that does not read is still open");
    stage.stop().await;
}
