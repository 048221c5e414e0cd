//! The attacker: every availability row of the hardening list at the same time, from one address,
//! on one thread.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::future::join_all;
use gittix::clock::wall_clock;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::{Instant, sleep, timeout, timeout_at},
};

/// The number of connections of each kind of attack.
const SEARCHES: usize = 60;
const IDLE_AFTER_ONE_BYTE: usize = 400;
const WEBHOOKS: usize = 1_000;
const UNREAD: usize = 80;
const SOCKETS: usize = 600;
const RESUMES: usize = 20;
const LISTERS: usize = 4;
const SIGN_INS: usize = 24;
const PROBES: usize = 8;

const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Time between a refused or closed connection and the next one.
const RECONNECT_AFTER: Duration = Duration::from_millis(50);

/// The number of times that each attack had each outcome.
pub type Tally = BTreeMap<&'static str, BTreeMap<String, u64>>;

/// The state that all attacks share.
#[derive(Clone)]
struct Attack {
    addr: SocketAddr,
    from: IpAddr,
    until: Instant,
    round: u32,
    tally: Arc<Mutex<Tally>>,
}

/// Attacks for `span` and returns the number of times that each attack had each outcome.
pub async fn run(addr: SocketAddr, from: IpAddr, span: Duration, round: u32) -> Tally {
    let attack = Attack { addr, from, until: Instant::now() + span, round, tally: Arc::default() };
    let mut lanes = Vec::new();
    let mut start = |count: usize, lane: fn(Attack, usize) -> Lane| {
        for number in 0..count {
            let attack = attack.clone();
            let until = attack.until;
            lanes.push(tokio::spawn(async move {
                while Instant::now() < until {
                    // Connections that are still open at the end are closed.
                    let _ = timeout_at(until, lane(attack.clone(), number)).await;
                    sleep(RECONNECT_AFTER).await;
                }
            }));
        }
    };
    start(SEARCHES, |attack, number| Box::pin(attack.search(number)));
    start(IDLE_AFTER_ONE_BYTE, |attack, _| Box::pin(attack.idle_after_one_byte()));
    start(WEBHOOKS, |attack, number| Box::pin(attack.unsigned_webhook(number)));
    start(UNREAD, |attack, _| Box::pin(attack.unread_answers()));
    start(SOCKETS, |attack, _| Box::pin(attack.idle_socket()));
    start(RESUMES, |attack, _| Box::pin(attack.resume()));
    start(LISTERS, |attack, number| Box::pin(attack.list_tickets(number)));
    start(SIGN_INS, |attack, number| Box::pin(attack.sign_in(number)));
    start(PROBES, |attack, number| Box::pin(attack.probe(number)));
    join_all(lanes).await;
    let tally = attack.tally.lock().expect("no thread panics while it holds the lock");
    tally.clone()
}

type Lane = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

impl Attack {
    fn count(&self, lane: &'static str, outcome: impl Into<String>) {
        let mut tally = self.tally.lock().expect("no thread panics while it holds the lock");
        *tally.entry(lane).or_default().entry(outcome.into()).or_default() += 1;
    }

    async fn connect(&self, lane: &'static str) -> Option<TcpStream> {
        let socket = TcpSocket::new_v4().ok()?;
        socket.bind(SocketAddr::new(self.from, 0)).ok()?;
        match timeout(CONNECT_MAX, socket.connect(self.addr)).await {
            Ok(Ok(stream)) => Some(stream),
            Ok(Err(error)) => {
                self.count(lane, format!("not connected: {}", error.kind()));
                None
            }
            Err(_) => {
                self.count(lane, "not connected in time");
                None
            }
        }
    }

    /// Sends the same request repeatedly on one connection.
    async fn repeat(&self, lane: &'static str, request: &[u8]) {
        let Some(mut stream) = self.connect(lane).await else { return };
        while stream.write_all(request).await.is_ok() {
            let Some(status) = answer(&mut stream).await else { break };
            self.count(lane, status.to_string());
        }
        self.count(lane, "closed");
    }

    /// Row 1: searches that examine as many tickets as possible.
    async fn search(self, number: usize) {
        let words = if number.is_multiple_of(2) {
            "a+b+c+d+e+f+g+h".to_owned()
        } else {
            vec!["a"; 100].join("+")
        };
        let request = format!(
            "GET /api/tickets?limit=1&status=Locked&q={words} HTTP/1.1\r\nHost: {}\r\n\r\n",
            self.addr
        );
        self.repeat("search", request.as_bytes()).await;
    }

    /// Row 2: one complete request, then one byte of the next one, then nothing.
    async fn idle_after_one_byte(self) {
        const LANE: &str = "one byte of a second request";
        let Some(mut stream) = self.connect(LANE).await else { return };
        let request = format!("GET /healthz HTTP/1.1\r\nHost: {}\r\n\r\n", self.addr);
        if stream.write_all(request.as_bytes()).await.is_ok()
            && answer(&mut stream).await.is_some()
            && stream.write_all(b"G").await.is_ok()
        {
            let began = Instant::now();
            let mut rest = [0; 1024];
            while stream.read(&mut rest).await.is_ok_and(|length| length > 0) {}
            self.count(LANE, format!("closed after {} s", began.elapsed().as_secs() / 5 * 5));
        } else {
            self.count(LANE, "closed early");
        }
    }

    /// Row 3: webhooks without a signature or with a forged one, whose bodies never end.
    async fn unsigned_webhook(self, number: usize) {
        const LANE: &str = "webhook";
        let Some(mut stream) = self.connect(LANE).await else { return };
        let signature = match number % 2 {
            0 => String::new(),
            _ => format!("Stripe-Signature: t={},v1={}\r\n", wall_clock().0 / 1000, "0".repeat(64)),
        };
        let head = format!(
            "POST /api/webhooks/stripe HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n{signature}Content-Length: 262144\r\n\r\n",
            self.addr
        );
        let sent = stream.write_all(head.as_bytes()).await.is_ok()
            && stream.write_all(&vec![b' '; 262_000]).await.is_ok();
        match answer(&mut stream).await {
            Some(status) => self.count(LANE, status.to_string()),
            None => self.count(LANE, if sent { "closed" } else { "closed while sending" }),
        }
    }

    /// Row 4: pipelined requests whose answers are never read.
    async fn unread_answers(self) {
        const LANE: &str = "unread answers";
        let Some(mut stream) = self.connect(LANE).await else { return };
        let requests =
            format!("GET /api/tickets?limit=1000 HTTP/1.1\r\nHost: {}\r\n\r\n", self.addr)
                .repeat(64);
        let began = Instant::now();
        // The write waits until the server reads again or closes the connection.
        while stream.write_all(requests.as_bytes()).await.is_ok() {}
        self.count(LANE, format!("closed after {} s", began.elapsed().as_secs() / 5 * 5));
    }

    fn handshake(&self, query: &str) -> String {
        format!(
            "GET /ws{query} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            self.addr
        )
    }

    /// Row 5: WebSockets that stay open.
    async fn idle_socket(self) {
        const LANE: &str = "socket";
        let Some(mut stream) = self.connect(LANE).await else { return };
        if stream.write_all(self.handshake("").as_bytes()).await.is_err() {
            return self.count(LANE, "closed");
        }
        let mut piece = [0; 4096];
        match stream.read(&mut piece).await {
            Ok(length) if length > 0 => self.count(
                LANE,
                status_of(&piece[..length])
                    .map_or_else(|| "closed".into(), |status| status.to_string()),
            ),
            _ => return self.count(LANE, "closed"),
        }
        while stream.read(&mut piece).await.is_ok_and(|length| length > 0) {}
    }

    /// Row 5: repeated resumption from the oldest cursor.
    async fn resume(self) {
        const LANE: &str = "resume";
        let Some(mut stream) = self.connect(LANE).await else { return };
        let Some(cursor) = self.first_cursor(&mut stream).await else {
            return self.count(LANE, "no greeting");
        };
        drop(stream);
        loop {
            let Some(mut stream) = self.connect(LANE).await else { return };
            if stream
                .write_all(self.handshake(&format!("?after={cursor}")).as_bytes())
                .await
                .is_err()
            {
                return self.count(LANE, "closed");
            }
            let mut bytes = 0u64;
            let mut piece = vec![0; 64 * 1024];
            while let Ok(Ok(length)) =
                timeout(Duration::from_millis(300), stream.read(&mut piece)).await
            {
                if length == 0 {
                    break;
                }
                bytes += length as u64;
            }
            self.count(LANE, "tries");
            let mut tally = self.tally.lock().expect("no thread panics while it holds the lock");
            *tally.entry(LANE).or_default().entry("KiB read".into()).or_default() += bytes / 1024;
        }
    }

    /// Returns the cursor in the first frame of a new WebSocket.
    async fn first_cursor(&self, stream: &mut TcpStream) -> Option<String> {
        stream.write_all(self.handshake("").as_bytes()).await.ok()?;
        let mut text = Vec::new();
        loop {
            if stream.read_buf(&mut text).await.ok()? == 0 {
                return None;
            }
            let read = String::from_utf8_lossy(&text).into_owned();
            if let Some(cursor) =
                read.split("\"cursor\":\"").nth(1).and_then(|rest| rest.split_once('"'))
            {
                return Some(cursor.0.to_owned());
            }
        }
    }

    /// Row 6: one user lists tickets with 66 words that no other title contains.
    async fn list_tickets(self, number: usize) {
        const LANE: &str = "listing";
        let Some(mut stream) = self.connect(LANE).await else { return };
        let account = format!("lister{}x{number}@attacker.example", self.round);
        let credentials = format!("{{\"email\":\"{account}\",\"password\":\"a bought botnet\"}}");
        let mut cookie = None;
        for path in ["/api/users/signup", "/api/users/signin"] {
            let request = self.post(path, "", &credentials);
            if stream.write_all(request.as_bytes()).await.is_err() {
                return self.count(LANE, "closed");
            }
            let Some((_, head)) = whole_answer(&mut stream).await else {
                return self.count(LANE, "closed");
            };
            cookie = head.lines().find_map(|line| {
                line.to_ascii_lowercase()
                    .starts_with("set-cookie:")
                    .then(|| line[11..].trim().to_owned())
            });
            if cookie.is_some() {
                break;
            }
        }
        let Some(cookie) = cookie else { return self.count(LANE, "no session") };
        let cookie = cookie.split(';').next().unwrap_or_default();
        for listed in 0u64.. {
            let words: Vec<String> =
                (0..66).map(|word| format!("{:x}", listed * 66 + word)).collect();
            let title: String = words.join(" ").chars().take(199).collect();
            let body = format!("{{\"title\":\"{}\",\"price\":20}}", title.trim());
            let request = self.post("/api/tickets", &format!("Cookie: {cookie}\r\n"), &body);
            if stream.write_all(request.as_bytes()).await.is_err() {
                return self.count(LANE, "closed");
            }
            let Some(status) = answer(&mut stream).await else { return self.count(LANE, "closed") };
            self.count(LANE, status.to_string());
        }
    }

    fn post(&self, path: &str, headers: &str, body: &str) -> String {
        format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n{headers}Content-Length: {}\r\n\r\n{body}",
            self.addr,
            body.len()
        )
    }

    /// Row 7: sign-ins with wrong passwords.
    async fn sign_in(self, number: usize) {
        let body = format!(
            "{{\"email\":\"victim{number}@example.com\",\"password\":\"not the password\"}}"
        );
        let request = self.post("/api/users/signin", "", &body);
        self.repeat("sign-in", request.as_bytes()).await;
    }

    /// Row 8: readiness and metrics, as fast as they are answered.
    async fn probe(self, number: usize) {
        let path = if number.is_multiple_of(2) { "/readyz" } else { "/metrics" };
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.addr);
        self.repeat("probe", request.as_bytes()).await;
    }
}

/// Returns the status of the next answer, after reading it completely, or `None` if the connection
/// ended before.
async fn answer(stream: &mut TcpStream) -> Option<u16> {
    whole_answer(stream).await.map(|(status, _)| status)
}

/// Returns status and head of the next answer. Its body is read and dropped.
async fn whole_answer(stream: &mut TcpStream) -> Option<(u16, String)> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..head_end]).into_owned();
    let value = |name: &str| {
        head.lines().find_map(|line| {
            line.to_ascii_lowercase().strip_prefix(name).map(|value| value.trim().to_owned())
        })
    };
    if let Some(length) = value("content-length:").and_then(|length| length.parse::<usize>().ok()) {
        while bytes.len() < head_end + length {
            if stream.read_buf(&mut bytes).await.ok()? == 0 {
                return None;
            }
        }
    } else if value("transfer-encoding:").is_some() {
        while !bytes.ends_with(b"0\r\n\r\n") {
            if stream.read_buf(&mut bytes).await.ok()? == 0 {
                return None;
            }
        }
    }
    Some((status_of(&bytes)?, head))
}

fn status_of(bytes: &[u8]) -> Option<u16> {
    std::str::from_utf8(bytes.get(9..12)?).ok()?.parse().ok()
}
