//! Tests of the limits that all connections of the process share.

use std::time::Duration;

use futures_util::future::{Either, select};
use gittix::ws::SocketLimits;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use uuid::Uuid;

use super::stage::{Client, Stage};

const KIB: usize = 1024;

fn quick() -> SocketLimits {
    SocketLimits {
        tick: Duration::from_millis(10),
        close_wait_max: Duration::from_millis(200),
        ..SocketLimits::default()
    }
}

/// Returns the first `sent` payload bytes of a text frame of `length` bytes, with its header. The
/// text is not JSON. The mask of zeros leaves the bytes unchanged.
fn cut_frame(length: usize, sent: usize) -> Vec<u8> {
    let length = u16::try_from(length).expect("a length of two bytes");
    let mut frame = vec![0x81, 0x80 | 126];
    frame.extend(length.to_be_bytes());
    frame.extend([0; 4]);
    frame.extend(vec![b'x'; sent]);
    frame
}

fn watch(count: u128) -> Value {
    json!({ "type": "Watch", "tickets": (0..count).map(|n| Uuid::from_u128(n).to_string()).collect::<Vec<_>>() })
}

#[actix_web::test]
async fn incomplete_frame_beyond_the_shared_budget_closes_with_1013() {
    let stage = Stage::start(SocketLimits { partial_bytes_max: 60 * KIB, ..quick() }).await;
    let (mut one, mut two) = (stage.watcher().await, stage.watcher().await);
    for client in [&mut one, &mut two] {
        client.send_raw(&cut_frame(48 * KIB, 40 * KIB)).await;
    }
    // The frame that arrives second exceeds the budget, since 36 KiB of each frame are counted.
    let (last, is_one) = match select(Box::pin(one.message()), Box::pin(two.message())).await {
        Either::Left((message, _)) => (message, true),
        Either::Right((message, _)) => (message, false),
    };
    let Message::Close(Some(close)) = last else { panic!("{last:?}") };
    assert_eq!(u16::from(close.code), 1013);
    let mut kept = if is_one { two } else { one };
    stage.until_open(1).await;
    // The other frame is read to its end, and gives its bytes back to the budget.
    kept.send_raw(&vec![b'x'; 8 * KIB]).await;
    assert_eq!(kept.next().await["code"], "malformed_json");
    for _ in 0..3 {
        kept.send(&"x".repeat(48 * KIB)).await;
        assert_eq!(kept.next().await["code"], "malformed_json");
    }
    stage.stop().await;
}

#[actix_web::test]
async fn ended_connection_gives_its_bytes_back_to_the_budget() {
    let stage = Stage::start(SocketLimits { partial_bytes_max: 60 * KIB, ..quick() }).await;
    for _ in 0..3 {
        let mut client = stage.watcher().await;
        client.send_raw(&cut_frame(48 * KIB, 48 * KIB - 1)).await;
        // The server reads the sent bytes before it reads the end of the connection.
        drop(client);
        stage.until_open(0).await;
    }
    let mut client = stage.watcher().await;
    client.send(&"x".repeat(48 * KIB)).await;
    assert_eq!(client.next().await["code"], "malformed_json");
    stage.stop().await;
}

#[actix_web::test]
async fn peer_that_sends_one_frame_byte_by_byte_is_silent() {
    let stage =
        Stage::start(SocketLimits { silence_max: Duration::from_millis(100), ..quick() }).await;
    let Client(mut socket) = stage.watcher().await;
    let endless = async {
        let stream = socket.get_mut();
        let _ = tokio::io::AsyncWriteExt::write_all(stream, &cut_frame(48 * KIB, 0)).await;
        // The loop ends when the server closes the connection.
        while tokio::io::AsyncWriteExt::write_all(stream, b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), endless)
        .await
        .expect("the server closes the connection");
    stage.until_open(0).await;
    stage.stop().await;
}

#[actix_web::test]
async fn watch_beyond_the_shared_budget_closes_with_1013() {
    let stage = Stage::start(SocketLimits { watched_in_all_max: 1_500, ..quick() }).await;
    let (mut one, mut two) = (stage.watcher().await, stage.watcher().await);
    assert_eq!(one.ask(watch(1_000)).await["tickets"], 1_000);
    assert_eq!(two.ask(watch(500)).await["tickets"], 500);
    assert_eq!(
        one.ask(watch(1_000)).await["tickets"],
        1_000,
        "the same number of tickets is accepted again"
    );
    two.send(&watch(501).to_string()).await;
    assert_eq!(two.close_code().await, 1013);
    stage.until_open(1).await;
    let mut three = stage.watcher().await;
    assert_eq!(
        three.ask(watch(500)).await["tickets"],
        500,
        "the closed connection gave its tickets back to the budget"
    );
    assert_eq!(one.ask(json!({ "type": "WatchAll" })).await["tickets"], Value::Null);
    assert_eq!(three.ask(watch(1_000)).await["tickets"], 1_000);
    stage.stop().await;
}
