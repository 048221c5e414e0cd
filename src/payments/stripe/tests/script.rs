//! A server that answers as it was told to, request by request, and remembers what it was asked.

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

/// What becomes of one request.
pub enum Reply {
    Answer(u16, Vec<(&'static str, &'static str)>, String),
    /// The connection is closed without an answer.
    Lost,
    /// Nothing, ever.
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

/// One request as it arrived.
#[derive(Debug, Clone)]
pub struct Asked {
    /// `POST /v1/payment_intents`, the query included.
    pub line: String,
    pub headers: HashMap<String, String>,
    pub form: HashMap<String, String>,
}

impl Asked {
    pub fn key(&self) -> &str {
        self.headers.get("idempotency-key").map_or("", String::as_str)
    }
}

/// The server; gone with its test's runtime.
pub struct Script {
    pub base: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Script {
    /// Answers the requests in this order. One more than there are answers is answered with a 500 of Stripe's that must not
    /// be asked again.
    pub async fn play(replies: Vec<Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let base = format!("http://{}/", listener.local_addr().expect("it is bound"));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&asked);
        tokio::spawn(async move {
            let mut replies = replies.into_iter();
            while let Ok((mut stream, _)) = listener.accept().await {
                let request = read(&mut stream).await;
                told.lock().expect("no holder panics").push(request);
                let reply = replies.next().unwrap_or_else(|| Reply::json(500, &Value::Null).with("Stripe-Should-Retry", "false"));
                // On its own, so that a silent one keeps nobody else waiting.
                tokio::spawn(answer(stream, reply));
            }
        });
        Self { base, asked }
    }

    /// What it was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("no holder panics").clone()
    }

    /// The requests' lines so far.
    pub fn lines(&self) -> Vec<String> {
        self.asked().into_iter().map(|asked| asked.line).collect()
    }
}

async fn read(stream: &mut TcpStream) -> Asked {
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    let (head, body) = loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                break (head.to_owned(), body.to_owned());
            }
        }
        let read = stream.read(&mut piece).await.expect("a request is sent whole");
        assert!(read > 0, "a request is sent whole, not only {text}");
        bytes.extend_from_slice(&piece[..read]);
    };
    let mut lines = head.lines();
    let line = lines.next().unwrap_or_default().trim_end_matches(" HTTP/1.1").to_owned();
    let headers = lines.filter_map(|line| line.split_once(": ")).map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()));
    let url = reqwest::Url::parse(&format!("http://form/?{body}")).expect("a form");
    Asked { line, headers: headers.collect(), form: url.query_pairs().into_owned().collect() }
}

async fn answer(mut stream: TcpStream, reply: Reply) {
    match reply {
        Reply::Answer(status, headers, body) => {
            let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
            let text = format!("HTTP/1.1 {status} OK\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n{body}", body.len());
            // Whoever asked may have gone away.
            let _ = stream.write_all(text.as_bytes()).await;
        }
        Reply::Lost => drop(stream),
        Reply::Silence => tokio::time::sleep(Duration::from_secs(3600)).await,
    }
}
