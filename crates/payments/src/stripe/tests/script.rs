//! A server that gives scripted answers, one for each request, and records the requests.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// The reaction to one request.
pub enum Reply {
    Answer(u16, Vec<(&'static str, &'static str)>, String),
    /// The connection is closed without an answer.
    Lost,
    /// There is never an answer.
    Silence,
}

impl Reply {
    pub fn json(status: u16, body: &Value) -> Self {
        Self::Answer(status, Vec::new(), body.to_string())
    }

    pub fn with(self, name: &'static str, value: &'static str) -> Self {
        match self {
            Self::Answer(status, mut headers, body) => {
                headers.push((name, value));
                Self::Answer(status, headers, body)
            }
            other => other,
        }
    }
}

/// One request as it was received.
#[derive(Debug, Clone)]
pub struct ReceivedRequest {
    /// The request line with its query, such as `POST /v1/payment_intents`.
    pub line: String,
    pub headers: HashMap<String, String>,
    pub form: HashMap<String, String>,
}

impl ReceivedRequest {
    pub fn key(&self) -> &str {
        self.headers.get("idempotency-key").map_or("", String::as_str)
    }
}

/// The server. It ends with the runtime of its test.
pub struct Script {
    pub base: String,
    received: Arc<Mutex<Vec<ReceivedRequest>>>,
}

impl Script {
    /// Answers the requests in this order. A further request gets a 500 with `Stripe-Should-Retry:
    /// false`.
    pub async fn play(replies: Vec<Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let base = format!("http://{}/", listener.local_addr().expect("the listener is bound"));
        let received = Arc::new(Mutex::new(Vec::new()));
        let requests = Arc::clone(&received);
        tokio::spawn(async move {
            let mut replies = replies.into_iter();
            while let Ok((mut stream, _)) = listener.accept().await {
                let request = read(&mut stream).await;
                requests.lock().expect("no thread panics while it holds the lock").push(request);
                let reply = replies.next().unwrap_or_else(|| {
                    Reply::json(500, &Value::Null).with("Stripe-Should-Retry", "false")
                });
                // In a task of its own, so that a request without an answer does not delay other
                // requests.
                tokio::spawn(answer(stream, reply));
            }
        });
        Self { base, received }
    }

    /// Returns the requests so far.
    pub fn received(&self) -> Vec<ReceivedRequest> {
        self.received.lock().expect("no thread panics while it holds the lock").clone()
    }

    /// Returns the request lines so far.
    pub fn lines(&self) -> Vec<String> {
        self.received().into_iter().map(|received| received.line).collect()
    }
}

async fn read(stream: &mut TcpStream) -> ReceivedRequest {
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    let (head, body) = loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok()
            });
            if body.len() >= length.unwrap_or(0) {
                break (head.to_owned(), body.to_owned());
            }
        }
        let read = stream.read(&mut piece).await.expect("the request can be read");
        assert!(read > 0, "the request is incomplete: {text}");
        bytes.extend_from_slice(&piece[..read]);
    };
    let mut lines = head.lines();
    let line = lines.next().unwrap_or_default().trim_end_matches(" HTTP/1.1").to_owned();
    let headers = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()));
    let url = reqwest::Url::parse(&format!("http://form/?{body}")).expect("a form");
    ReceivedRequest {
        line,
        headers: headers.collect(),
        form: url.query_pairs().into_owned().collect(),
    }
}

async fn answer(mut stream: TcpStream, reply: Reply) {
    match reply {
        Reply::Answer(status, headers, body) => {
            let headers: String =
                headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
            let text = format!(
                "HTTP/1.1 {status} OK\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n{body}",
                body.len()
            );
            // The client may have closed the connection.
            let _ = stream.write_all(text.as_bytes()).await;
        }
        Reply::Lost => drop(stream),
        Reply::Silence => tokio::time::sleep(Duration::from_secs(3600)).await,
    }
}
