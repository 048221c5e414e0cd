//! Tests of the takeover of a socket from the HTTP server.

use std::time::Duration;

use gittix::ws::SocketLimits;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::stage::Stage;
use crate::app::raw;

/// Returns a client's text frame, masked with zeros.
fn text(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len()).expect("short");
    [&[0x81, 0x80 | length, 0, 0, 0, 0], text.as_bytes()].concat()
}

/// Sends `bytes`, and returns the server's answer up to the last of `words`. Checks that the words
/// come in this order.
async fn exchange(stage: &Stage, bytes: &[u8], words: &[&str]) -> String {
    let stream = raw::exchange(stage.addr, bytes, |so_far| {
        let so_far = String::from_utf8_lossy(so_far);
        words.iter().all(|word| so_far.contains(word))
    })
    .await;
    let stream = String::from_utf8_lossy(&stream).into_owned();
    let places: Vec<_> = words.iter().map(|word| stream.find(word)).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{stream}");
    stream
}

#[actix_web::test]
async fn frames_sent_with_the_handshake_are_answered() {
    let stage = Stage::start(SocketLimits::default()).await;
    let bytes = [raw::upgrade(stage.addr), text("{"), text(r#"{"type":"WatchAll"}"#)].concat();
    let stream = exchange(
        &stage,
        &bytes,
        &["101 Switching Protocols\r\n", "Hello", "malformed_json", "Watching"],
    )
    .await;
    let (head, _) = stream.split_once("\r\n\r\n").expect("a head");
    let head = head.to_ascii_lowercase();
    // The expected key is the example of RFC 6455 §1.3. The head has neither a length nor an
    // encoding, since the frames are not a body (RFC 9110 §8.6).
    assert!(
        head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=")
            && head.contains("connection: upgrade"),
        "{head}"
    );
    assert!(!head.contains("content-length") && !head.contains("transfer-encoding"), "{head}");
    stage.stop().await;
}

#[actix_web::test]
async fn requests_before_the_handshake_are_answered_first() {
    let stage = Stage::start(SocketLimits::default()).await;
    let before = format!("GET /nowhere HTTP/1.1\r\nHost: {}\r\n\r\n", stage.addr).into_bytes();
    let bytes = [before.clone(), before, raw::upgrade(stage.addr), text("{")].concat();
    let stream = exchange(
        &stage,
        &bytes,
        &["404 Not Found", "101 Switching Protocols", "Hello", "malformed_json"],
    )
    .await;
    assert_eq!(stream.matches("404 Not Found").count(), 2, "{stream}");
    stage.stop().await;
}

#[actix_web::test]
async fn refused_upgrade_is_answered_and_its_connection_closed() {
    let stage = Stage::start(SocketLimits { connections_max: 0, ..SocketLimits::default() }).await;
    let handshake = String::from_utf8(raw::upgrade(stage.addr)).expect("ASCII");
    for (request, status) in [
        (handshake.clone(), "503 Service Unavailable"),
        (handshake.replace("Version: 13", "Version: 12"), "426 Upgrade Required"),
        (handshake.replace("/ws", "/nowhere"), "404 Not Found"),
    ] {
        let (mut read, mut write) =
            TcpStream::connect(stage.addr).await.expect("the server listens").into_split();
        let bytes = [request.as_bytes(), &[b'x'; 100_000]].concat();
        let writing = tokio::spawn(async move {
            let _ = write.write_all(&bytes).await;
            write
        });
        let mut stream = Vec::new();
        // The server drops the bytes that the client sends before it reads the answer.
        timeout(Duration::from_secs(20), read.read_to_end(&mut stream))
            .await
            .expect("an end")
            .expect("no reset");
        drop(writing);
        let stream = String::from_utf8_lossy(&stream).to_ascii_lowercase();
        assert!(
            stream.contains(&status.to_ascii_lowercase()) && stream.contains("connection: close"),
            "{stream}"
        );
        assert_eq!(stream.matches("http/1.1").count(), 1, "{stream}");
    }
    stage.stop().await;
}

#[actix_web::test]
async fn request_that_the_http_server_does_not_upgrade_gets_426() {
    let stage = Stage::start(SocketLimits::default()).await;
    let handshake = String::from_utf8(raw::upgrade(stage.addr)).expect("ASCII");
    for (request, end) in [
        (handshake.replace("\r\n\r\n", "\r\nTransfer-Encoding: chunked\r\n\r\n"), "0\r\n\r\n"),
        (handshake.replace("Upgrade: websocket", "Upgrade: websocket, other"), ""),
    ] {
        let (status, text) = raw::request(stage.addr, format!("{request}{end}").as_bytes()).await;
        assert_eq!(status, 426, "{text}");
    }
    stage.until_open(0).await;
    stage.stop().await;
}
