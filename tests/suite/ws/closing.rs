//! Tests of every way in which a connection ends, and of the close codes.

use std::{sync::Arc, time::Duration};

use gittix::{
    domain::{DomainEvent, Timestamp},
    http::{Guard, Quota, QuotaLimits},
    ws::SocketLimits,
};
use serde_json::json;
use tokio_tungstenite::tungstenite::{
    Message,
    protocol::{CloseFrame, frame::coding::CloseCode},
};

use super::{
    samples::{self, session, updated, user_id},
    stage::{As, Stage, user},
};

fn quick() -> SocketLimits {
    SocketLimits {
        tick: Duration::from_millis(10),
        close_wait_max: Duration::from_millis(200),
        ..SocketLimits::default()
    }
}

/// Sends bytes that are not a valid frame, and returns the close code. Checks that another
/// connection stays open.
async fn code_of(bytes: &[u8]) -> u16 {
    let stage = Stage::start(quick()).await;
    let (mut client, mut other) = (stage.watcher().await, stage.watcher().await);
    client.send_raw(bytes).await;
    let code = client.close_code().await;
    stage.until_open(1).await;
    stage.push(updated(1, 1));
    assert_eq!(other.next().await["type"], json!("TicketUpdated"));
    stage.stop().await;
    code
}

#[actix_web::test]
async fn frame_of_a_terabyte_closes_with_1009_by_its_header() {
    let mut header = vec![0x81, 0xff];
    header.extend((1u64 << 40).to_be_bytes());
    assert_eq!(code_of(&header).await, 1009);
}

#[actix_web::test]
async fn frame_over_48_kibibytes_closes_with_1009() {
    let stage = Stage::start(quick()).await;
    let mut client = stage.watcher().await;
    client.send(&"x".repeat(48 * 1024)).await;
    assert_eq!(client.next().await["code"], json!("malformed_json"), "48 KiB are read");
    client.send(&"x".repeat(48 * 1024 + 1)).await;
    assert_eq!(client.close_code().await, 1009);
    stage.stop().await;
}

#[actix_web::test]
async fn binary_and_fragmented_messages_close_with_1003() {
    for first in [0x82, 0x01, 0x80, 0x00] {
        assert_eq!(code_of(&[first, 0x82, 0, 0, 0, 0, b'{', b'}']).await, 1003, "{first:#x}");
    }
}

#[actix_web::test]
async fn broken_framing_closes_with_1002() {
    for frame in [
        &[0x81, 0x02, b'{', b'}'][..],
        &[0xc1, 0x80, 0, 0, 0, 0],
        &[0x83, 0x80, 0, 0, 0, 0],
        &[0x09, 0x80, 0, 0, 0, 0],
    ] {
        assert_eq!(code_of(frame).await, 1002, "{frame:02x?}");
    }
}

#[actix_web::test]
async fn text_that_is_not_utf8_closes_with_1007() {
    assert_eq!(code_of(&[0x81, 0x81, 0, 0, 0, 0, 0xff]).await, 1007);
}

#[actix_web::test]
async fn twenty_first_frame_in_ten_seconds_closes_with_1008() {
    let stage = Stage::start(quick()).await;
    let mut client = stage.watcher().await;
    for _ in 0..20 {
        client.assert_no_frame_queued().await;
    }
    client.send("?").await;
    assert_eq!(client.close_code().await, 1008);
    stage.until_open(0).await;
    stage.stop().await;
}

#[actix_web::test]
async fn answers_to_server_pings_do_not_count_as_client_frames() {
    let limits = SocketLimits { ping_every: Duration::from_millis(10), ..quick() };
    let stage = Stage::start(limits).await;
    let mut client = stage.watcher().await;
    let mut pings = 0;
    while pings < 40 {
        // The library answers each ping with its next read.
        pings += u32::from(matches!(client.message().await, Message::Ping(_)));
    }
    client.assert_no_frame_queued().await;
    stage.stop().await;
}

#[actix_web::test]
async fn silent_peer_closes_with_1008() {
    let limits = SocketLimits { silence_max: Duration::from_millis(100), ..quick() };
    let stage = Stage::start(limits).await;
    let mut client = stage.watcher().await;
    assert_eq!(client.close_code().await, 1008);
    stage.until_open(0).await;
    stage.stop().await;
}

#[actix_web::test]
async fn sign_out_closes_the_connections_of_that_session_with_1008() {
    let stage = Stage::start(quick()).await;
    let (mut phone, _) = stage.connect(user(1)).await;
    let (mut laptop, _) = stage.connect(As { user: Some((1, "laptop")), ..As::default() }).await;
    let (mut stranger, _) = stage.connect(user(2)).await;
    stage.push_all([
        DomainEvent::SessionRevoked { user: user_id(1), session: session("phone") },
        updated(1, 1),
    ]);
    assert_eq!(phone.close_code().await, 1008);
    assert_eq!(laptop.next().await["type"], json!("TicketUpdated"));
    assert_eq!(stranger.next().await["type"], json!("TicketUpdated"));
    stage.stop().await;
}

#[actix_web::test]
async fn new_password_closes_the_connections_of_all_other_sessions() {
    let stage = Stage::start(quick()).await;
    let (mut phone, _) = stage.connect(user(1)).await;
    let (mut laptop, _) = stage.connect(As { user: Some((1, "laptop")), ..As::default() }).await;
    stage.push_all([
        DomainEvent::SessionsRevoked { user: user_id(1), except: Some(session("laptop")) },
        updated(1, 1),
    ]);
    assert_eq!(phone.close_code().await, 1008);
    assert_eq!(laptop.next().await["type"], json!("TicketUpdated"));
    stage.stop().await;
}

#[actix_web::test]
async fn connection_of_a_session_that_was_just_revoked_is_closed() {
    let stage = Stage::start(quick()).await;
    let mut watcher = stage.watcher().await;
    stage.push_all([
        DomainEvent::SessionRevoked { user: user_id(1), session: session("phone") },
        updated(1, 1),
    ]);
    watcher.next().await;
    for _ in 0..2 {
        // Two connections are made, since the two workers accept in turn. A worker that has not
        // read the feed yet closes the connection when it reads the event.
        let mut late = stage.try_connect(user(1)).await.expect("an upgrade");
        assert_eq!(late.close_code().await, 1008);
    }
    stage.stop().await;
}

#[actix_web::test]
async fn expired_session_closes_with_1008() {
    let stage = Stage::start(quick()).await;
    let (mut client, _) =
        stage.connect(As { expires_at: Some(Timestamp(samples::NOW.0 + 100)), ..user(1) }).await;
    assert_eq!(client.close_code().await, 1008);
    stage.stop().await;
}

#[actix_web::test]
async fn shutdown_closes_all_with_1001_and_refuses_new_connections() {
    let stage = Stage::start(quick()).await;
    let mut clients = Vec::new();
    for n in 0..10 {
        clients.push(stage.connect(user(n)).await.0);
    }
    let hub = stage.hub.clone();
    let shutdown = actix_web::rt::spawn(async move { hub.shutdown().await });
    for client in &mut clients {
        assert_eq!(client.close_code().await, 1001);
    }
    shutdown.await.expect("no panic");
    assert_eq!(stage.hub.open(), 0);
    let refused = stage.try_connect(As::default()).await.err().expect("a refusal");
    assert_eq!(refused.status(), 503);
    stage.stop().await;
}

#[actix_web::test]
async fn shutdown_ends_a_connection_that_does_not_answer() {
    let stage = Stage::start(SocketLimits {
        shutdown_max: Duration::from_millis(300),
        ..SocketLimits::default()
    })
    .await;
    let _frozen = stage.watcher().await;
    stage.hub.shutdown().await;
    stage.until_open(0).await;
    stage.stop().await;
}

#[actix_web::test]
async fn close_frame_of_a_client_is_answered_with_its_code() {
    let stage = Stage::start(quick()).await;
    let mut client = stage.watcher().await;
    client
        .0
        .close(Some(CloseFrame { code: CloseCode::from(4321), reason: "done".into() }))
        .await
        .expect("sent");
    assert_eq!(client.close_code().await, 4321);
    stage.until_open(0).await;
    stage.stop().await;
}

#[actix_web::test]
async fn client_that_leaves_without_a_close_frame_is_removed() {
    let stage = Stage::start(quick()).await;
    let client = stage.watcher().await;
    stage.until_open(1).await;
    drop(client);
    stage.until_open(0).await;
    stage.stop().await;
}

#[actix_web::test]
async fn connection_beyond_the_maximum_of_the_process_is_refused_with_503() {
    let stage = Stage::start(SocketLimits { connections_max: 2, ..quick() }).await;
    let first = stage.watcher().await;
    let _second = stage.watcher().await;
    assert_eq!(stage.try_connect(As::default()).await.err().expect("a refusal").status(), 503);
    drop(first);
    stage.until_open(1).await;
    stage.watcher().await;
    stage.stop().await;
}

#[actix_web::test]
async fn connection_beyond_the_maximum_of_its_address_is_refused_with_503() {
    let stage = Stage::start(SocketLimits { per_address_max: 2, ..quick() }).await;
    let from =
        |address: &str| As { address: Some(address.parse().expect("an address")), ..As::default() };
    let (first, _) = stage.connect(from("192.0.2.1")).await;
    let _second = stage.connect(from("192.0.2.1")).await;
    assert_eq!(stage.try_connect(from("192.0.2.1")).await.err().expect("a refusal").status(), 503);
    let _other = stage.connect(from("192.0.2.2")).await;
    drop(first);
    stage.until_open(2).await;
    stage.connect(from("192.0.2.1")).await;
    stage.stop().await;
}

#[actix_web::test]
async fn websocket_counts_as_a_connection_of_its_address_until_it_ends() {
    let quota = Quota::new(QuotaLimits {
        connections_max: 100,
        per_address_max: Some(1),
        exempt: Vec::new(),
    });
    let guard = Guard { quota: Arc::clone(&quota), ..Guard::default() };
    let stage = Stage::guarded(quick(), 100, guard).await;
    let socket = stage.watcher().await;
    assert_eq!(stage.try_connect(As::default()).await.err().expect("a refusal").status(), 503);
    drop(socket);
    stage.until_open(0).await;
    while quota.open() > 0 {
        tokio::task::yield_now().await;
    }
    stage.watcher().await;
    stage.stop().await;
}
