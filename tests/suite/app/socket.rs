//! A WebSocket client that records every frame and can wait for a given frame.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::{
    net::TcpStream,
    time::{Instant, timeout, timeout_at},
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Error, Message, client::IntoClientRequest, http::HeaderValue},
};

use super::PATIENCE;

/// Open connection.
#[derive(Debug)]
pub struct Socket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// All frames received so far, `Hello` included.
    pub frames: Vec<Value>,
    /// Newest cursor so far.
    cursor: String,
}

impl Socket {
    /// # Errors
    /// If the server does not upgrade the connection.
    pub async fn connect(
        url: &str,
        cookie: Option<&str>,
        origin: Option<&str>,
    ) -> Result<Self, Error> {
        let mut request = url.into_client_request()?;
        for (name, value) in [("cookie", cookie), ("origin", origin)] {
            if let Some(value) = value {
                request
                    .headers_mut()
                    .insert(name, HeaderValue::from_str(value).expect("a header's value"));
            }
        }
        let (stream, _) = connect_async(request).await?;
        Ok(Self { stream, frames: Vec::new(), cursor: String::new() })
    }

    /// Returns the next frame.
    ///
    /// # Panics
    /// If no frame arrives, if the connection ends, or if the frame has the same cursor as the one
    /// before it.
    pub async fn next(&mut self) -> Value {
        match self.read(PATIENCE).await {
            Some(Ok(frame)) => frame,
            Some(Err(ended)) => panic!("the socket ended ({ended}) after {:#?}", self.frames),
            None => panic!("no frame came after {:#?}", self.frames),
        }
    }

    /// Returns the next frame, or how the connection ended, or `None` at the deadline. Pings do not
    /// extend the deadline.
    async fn read(&mut self, patience: Duration) -> Option<Result<Value, String>> {
        let until = Instant::now() + patience;
        loop {
            match timeout_at(until, self.stream.next()).await {
                Err(_) => return None,
                Ok(None) => return Some(Err("end of stream".into())),
                Ok(Some(Err(error))) => return Some(Err(error.to_string())),
                Ok(Some(Ok(Message::Close(frame)))) => {
                    return Some(Err(frame.map_or_else(
                        || "closed without a code".into(),
                        |frame| u16::from(frame.code).to_string(),
                    )));
                }
                Ok(Some(Ok(Message::Text(text)))) => return Some(Ok(self.record(text.as_str()))),
                Ok(Some(Ok(Message::Binary(bytes)))) => panic!("a binary frame: {bytes:?}"),
                Ok(Some(Ok(_))) => {}
            }
        }
    }

    fn record(&mut self, text: &str) -> Value {
        let frame: Value =
            serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in {text}"));
        assert!(!text.contains("clientSecret"), "a frame contains a secret: {text}");
        if let (Some(cursor), Some(_)) = (frame["cursor"].as_str(), frame.get("at")) {
            let shaped = cursor.len() <= 64
                && cursor.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
            assert!(shaped, "{cursor}");
            assert_ne!(cursor, self.cursor, "two frames have one cursor: {frame}");
            self.cursor = cursor.to_owned();
        }
        self.frames.push(frame.clone());
        frame
    }

    /// Reads until a frame matches; the frames before it are recorded.
    pub async fn until(&mut self, matches: impl Fn(&Value) -> bool) -> Value {
        loop {
            let frame = self.next().await;
            if matches(&frame) {
                return frame;
            }
        }
    }

    /// Returns the next frame, which must be of this type.
    pub async fn expect(&mut self, kind: &str) -> Value {
        let frame = self.next().await;
        assert_eq!(frame["type"], kind, "{frame}");
        frame
    }

    /// Reads until the next frame of this type.
    pub async fn event(&mut self, kind: &str) -> Value {
        self.until(|frame| frame["type"] == kind).await
    }

    /// Reads until the next change after which this ticket has this status.
    pub async fn ticket(&mut self, id: &str, status: &str) -> Value {
        let matches =
            |frame: &Value| frame["ticket"]["id"] == id && frame["ticket"]["status"] == status;
        self.until(|frame| frame["type"] == "TicketUpdated" && matches(frame)).await
    }

    /// Reads until the frame about this ticket's creation; returns all frames so far. The feed is
    /// in commit order: an event that was committed before the ticket and is not in these frames
    /// never arrives.
    pub async fn reached(&mut self, ticket: &str) -> &[Value] {
        self.until(|frame| frame["type"] == "TicketCreated" && frame["ticket"]["id"] == ticket)
            .await;
        &self.frames
    }

    pub fn kinds(&self) -> Vec<&str> {
        self.frames.iter().map(|frame| frame["type"].as_str().unwrap_or_default()).collect()
    }

    pub fn last_cursor(&self) -> String {
        let last = self.frames.iter().rev().find_map(|frame| frame["cursor"].as_str());
        last.unwrap_or_else(|| panic!("no cursor in {:#?}", self.frames)).to_owned()
    }

    pub async fn say(&mut self, frame: &Value) {
        self.send(Message::text(frame.to_string())).await;
    }

    pub async fn send(&mut self, message: Message) {
        self.stream
            .send(message)
            .await
            .unwrap_or_else(|error| panic!("the message was not sent: {error}"));
    }

    /// Sends a message and ignores a failure.
    pub async fn try_send(&mut self, message: Message) {
        let _ = self.stream.send(message).await;
    }

    /// Returns the payload of the next pong. Frames before it are discarded.
    pub async fn pong(&mut self) -> Vec<u8> {
        loop {
            match timeout(PATIENCE, self.stream.next()).await {
                Ok(Some(Ok(Message::Pong(bytes)))) => return bytes.to_vec(),
                Ok(Some(Ok(_))) => {}
                other => panic!("no pong, but {other:?}"),
            }
        }
    }

    /// Returns the next frame within `patience`, or why the connection ended: a close code or an
    /// error. `None`: neither.
    pub async fn next_within(&mut self, patience: Duration) -> Option<Result<Value, String>> {
        self.read(patience).await
    }

    /// Reads all frames until the connection ends for any reason.
    pub async fn drain(&mut self) {
        while let Some(Ok(_)) = self.read(PATIENCE).await {}
    }

    /// Reads until the connection ends; returns the close code.
    pub async fn closed(&mut self) -> u16 {
        loop {
            match self.read(PATIENCE).await {
                Some(Ok(_)) => {}
                Some(Err(code)) => {
                    return code
                        .parse()
                        .unwrap_or_else(|_| panic!("{code} after {:#?}", self.frames));
                }
                None => panic!("the socket stayed open after {:#?}", self.frames),
            }
        }
    }
}
