//! Raw bytes on a TCP connection: requests that no HTTP client sends.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Maximum time in which the server answers, or closes the connection.
const PATIENCE: Duration = Duration::from_secs(60);

/// Sends `bytes` and reads until the server closes the connection or `enough` accepts the bytes
/// received; returns them.
///
/// A server that closes early may reset the connection while the request is being sent: such a
/// write error is ignored.
pub async fn exchange(addr: SocketAddr, bytes: &[u8], enough: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let stream = TcpStream::connect(addr).await.expect("the server listens");
    let (mut read, mut write) = stream.into_split();
    let bytes = bytes.to_vec();
    let writer = tokio::spawn(async move {
        let _ = write.write_all(&bytes).await;
        write
    });
    let mut answer = Vec::new();
    let reading = async {
        let mut piece = [0; 4096];
        while let Ok(length) = read.read(&mut piece).await {
            if length == 0 {
                break;
            }
            answer.extend_from_slice(&piece[..length]);
            if enough(&answer) {
                break;
            }
        }
    };
    let ended = timeout(PATIENCE, reading).await;
    writer.abort();
    assert!(
        ended.is_ok(),
        "neither an answer nor an end within {PATIENCE:?}, only {:?}",
        String::from_utf8_lossy(&answer)
    );
    answer
}

/// The status of the answer to `bytes`, and its text; 0 for a connection that was closed without
/// one.
pub async fn request(addr: SocketAddr, bytes: &[u8]) -> (u16, String) {
    let answer = exchange(addr, bytes, is_whole).await;
    let text = String::from_utf8_lossy(&answer).into_owned();
    let status = text.split_whitespace().nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, text)
}

/// Whether head and announced body are there.
fn is_whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| {
        line.to_ascii_lowercase().strip_prefix("content-length: ").and_then(|n| n.parse().ok())
    });
    body.len() >= length.unwrap_or(0usize)
}

/// The handshake of a WebSocket, as a browser would send it.
pub fn upgrade(addr: SocketAddr) -> Vec<u8> {
    format!(
        "GET /ws HTTP/1.1\r\nHost: {addr}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    .into_bytes()
}

/// The code of a close frame that an unmasked stream of frames ends with, if it does.
pub fn close_code(stream: &[u8]) -> Option<u16> {
    let mut rest = &stream[stream.windows(4).position(|four| four == b"\r\n\r\n")? + 4..];
    loop {
        let (opcode, length) = (rest.first()? & 0x0f, usize::from(rest.get(1)? & 0x7f));
        let (header, length) = match length {
            126 => (4, usize::from(u16::from_be_bytes([*rest.get(2)?, *rest.get(3)?]))),
            127 => return None,
            short => (2, short),
        };
        let payload = rest.get(header..header + length)?;
        if opcode == 8 {
            return Some(u16::from_be_bytes([*payload.first()?, *payload.get(1)?]));
        }
        rest = &rest[header + length..];
    }
}
