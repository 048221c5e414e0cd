//! 1,000 to 10,000 WebSockets that only count frames, and the sources of events.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Notify,
    task::JoinSet,
    time::Instant,
};

use super::{
    ceilings,
    load::{Connection, Measured, Spent},
};
use crate::app::{Client, Server, raw};

/// Open WebSockets, and the number of their frames so far.
#[derive(Debug)]
pub struct Receivers {
    frames: Arc<AtomicU64>,
    news: Arc<Notify>,
    sockets: u64,
    readers: JoinSet<()>,
}

impl Receivers {
    /// Opens the WebSockets and waits until each has its first frame.
    pub async fn at(addr: SocketAddr, sockets: usize) -> Self {
        let (frames, news) = (Arc::new(AtomicU64::new(0)), Arc::new(Notify::new()));
        let mut readers = JoinSet::new();
        for _ in 0..sockets {
            let mut stream = TcpStream::connect(addr).await.expect("the server listens");
            stream.write_all(&raw::upgrade(addr)).await.expect("a handshake is short");
            readers.spawn(count(stream, Arc::clone(&frames), Arc::clone(&news)));
        }
        let receivers =
            Self { frames, news, sockets: u64::try_from(sockets).expect("a count"), readers };
        receivers.reached(receivers.sockets).await;
        receivers
    }

    pub fn len(&self) -> u64 {
        self.sockets
    }

    /// Closes the WebSockets and waits until they are closed, because the next ones need their file
    /// descriptors.
    async fn close(mut self) {
        self.readers.shutdown().await;
    }

    async fn reached(&self, frames: u64) {
        loop {
            let notified = self.news.notified();
            if self.frames.load(Ordering::Acquire) >= frames {
                return;
            }
            // A notification may arrive between the check and the wait. Another check after a short
            // time costs little.
            let _ = tokio::time::timeout(Duration::from_millis(1), notified).await;
        }
    }

    /// Makes one event after the other, each after all WebSockets received the previous one.
    pub async fn deliveries(
        &self,
        pid: u32,
        span: Duration,
        mut event: impl AsyncFnMut(),
    ) -> Measured {
        let (began, cpu) = (Instant::now(), Spent::by(pid));
        let mut rounds = Vec::new();
        while began.elapsed() < span {
            let due = self.frames.load(Ordering::Acquire) + self.sockets;
            let asked = Instant::now();
            event().await;
            self.reached(due).await;
            rounds.push(asked.elapsed());
        }
        let (span, cpu) = (began.elapsed(), Spent::by(pid).since(cpu));
        let one = Measured::of(rounds, span, cpu);
        let sockets = to_f64(self.sockets);
        Measured {
            per_second: one.per_second * sockets,
            cpu_us: one.cpu_us / sockets,
            client_us: one.client_us / sockets,
            ..one
        }
    }

    /// Makes `per_second` events a second for `span`, without waiting for their arrival. Returns
    /// the share of all frames that arrived, and the time of each event from the end of `event` to
    /// the last WebSocket, as far as the count of frames shows it.
    pub async fn burst(
        &self,
        pid: u32,
        per_second: u32,
        span: Duration,
        mut event: impl AsyncFnMut(),
    ) -> (f64, Measured) {
        let (began, cpu, first) =
            (Instant::now(), Spent::by(pid), self.frames.load(Ordering::Acquire));
        let count = u64::from(per_second) * span.as_secs();
        let mut lags = Vec::new();
        // The time of each event, and the number of frames that must have arrived when every
        // WebSocket has it.
        let mut made: std::collections::VecDeque<(Instant, u64)> =
            std::collections::VecDeque::new();
        let mut seen = |made: &mut std::collections::VecDeque<(Instant, u64)>| {
            let frames = self.frames.load(Ordering::Acquire);
            while made.front().is_some_and(|(_, due)| *due <= frames) {
                lags.extend(made.pop_front().map(|(at, _)| at.elapsed()));
            }
        };
        for number in 1..=count {
            let due = began + span.mul_f64(to_f64(number) / to_f64(count));
            while Instant::now() < due {
                let _ = tokio::time::timeout(Duration::from_millis(1), self.news.notified()).await;
                seen(&mut made);
            }
            event().await;
            made.push_back((Instant::now(), first + number * self.sockets));
        }
        let deadline = Instant::now() + Duration::from_secs(5);
        while !made.is_empty() && Instant::now() < deadline {
            let _ = tokio::time::timeout(Duration::from_millis(1), self.news.notified()).await;
            seen(&mut made);
        }
        let (took, cpu) = (began.elapsed(), Spent::by(pid).since(cpu));
        let delivered = to_f64(self.frames.load(Ordering::Acquire) - first);
        let one = Measured::of(lags, took, cpu);
        let each = |us: f64| us * to_f64(count) / delivered;
        let measured = Measured {
            per_second: delivered / took.as_secs_f64(),
            cpu_us: each(one.cpu_us),
            client_us: each(one.client_us),
            ..one
        };
        (delivered / to_f64(count * self.sockets), measured)
    }
}

/// Opens WebSockets, reports when they are open, and keeps them until the input ends.
pub async fn count_frames(addr: SocketAddr, sockets: usize) {
    let receivers = Receivers::at(addr, sockets).await;
    println!("{} sockets are open", receivers.len());
    let _ =
        tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink()))
            .await;
}

#[expect(clippy::cast_precision_loss, reason = "a count of sockets or frames")]
fn to_f64(count: u64) -> f64 {
    count as f64
}

/// Counts the frames of one WebSocket until it ends.
async fn count(mut stream: TcpStream, frames: Arc<AtomicU64>, news: Arc<Notify>) {
    let mut buffer = Vec::with_capacity(8 * 1024);
    let mut upgraded = false;
    while let Ok(1..) = stream.read_buf(&mut buffer).await {
        if !upgraded {
            let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") else {
                continue;
            };
            buffer.drain(..end + 4);
            upgraded = true;
        }
        let mut whole = 0;
        let mut at = 0;
        while let Some(length) =
            frame_length(&buffer[at..]).filter(|length| at + length <= buffer.len())
        {
            // Pings are not events.
            whole += u64::from(buffer[at] & 0x0f == 1);
            at += length;
        }
        buffer.drain(..at);
        if whole > 0 {
            frames.fetch_add(whole, Ordering::Release);
            news.notify_one();
        }
    }
}

/// Returns the length of header and payload of an unmasked frame.
fn frame_length(bytes: &[u8]) -> Option<usize> {
    match *bytes.get(1)? {
        126 => Some(4 + usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]))),
        127 => None,
        short => Some(2 + usize::from(short)),
    }
}

/// A program that only sends events, with its receivers. It runs in its own process.
#[derive(Debug)]
pub struct EventSource {
    server: Server,
    trigger: Trigger,
    receivers: Receivers,
}

impl EventSource {
    /// The hub without the marketplace around it.
    pub async fn of_hub(sockets: usize) -> Self {
        let server = ceilings::start("ceiling-hub", "").await;
        let mut trigger = Trigger::new(server.addr).await;
        let addr = SocketAddr::new(server.addr.ip(), trigger.port().await);
        Self { receivers: Receivers::at(addr, sockets).await, server, trigger }
    }

    /// The loop of bare writes.
    pub async fn of_raw_writes(sockets: usize) -> Self {
        let server = ceilings::start("ceiling-broadcaster", "").await;
        let trigger = Trigger::new(server.addr).await;
        Self { receivers: Receivers::at(server.addr, sockets).await, server, trigger }
    }

    /// Runs [`Receivers::deliveries`] for `span`, then closes the sockets.
    pub async fn deliveries(mut self, span: Duration) -> Measured {
        let measured = self
            .receivers
            .deliveries(self.server.pid(), span, async || self.trigger.one().await)
            .await;
        self.receivers.close().await;
        measured
    }

    /// Runs [`Receivers::burst`], then closes the sockets.
    pub async fn burst(mut self, per_second: u32, span: Duration) -> (f64, Measured) {
        let measured = self
            .receivers
            .burst(self.server.pid(), per_second, span, async || self.trigger.one().await)
            .await;
        self.receivers.close().await;
        measured
    }
}

/// Makes an event on the real server: an edit of one ticket.
#[derive(Debug)]
pub struct Editor {
    addr: SocketAddr,
    cookie: String,
    connection: Connection,
    line: String,
    number: u64,
}

impl Editor {
    pub async fn new(addr: SocketAddr, seller: &Client, ticket: &str) -> Self {
        let cookie = seller.cookie().expect("the client is signed in");
        let connection = Connection::open(addr, &cookie).await;
        Self { addr, cookie, connection, line: format!("PUT /api/tickets/{ticket}"), number: 0 }
    }

    /// Opens a new connection, because the server closes a connection that was idle during another
    /// measurement.
    pub async fn renew(&mut self) {
        self.connection = Connection::open(self.addr, &self.cookie).await;
    }

    pub async fn one(&mut self) {
        self.number += 1;
        let body = json!({ "title": format!("Edit {}", self.number), "price": 20 }).to_string();
        assert_eq!(self.connection.ask(&self.line, &body).await, 200);
    }
}

/// Makes an event at the loop of bare writes or at the hub alone: one byte.
#[derive(Debug)]
pub struct Trigger(TcpStream);

impl Trigger {
    /// Opens the first connection, which is the trigger.
    pub async fn new(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).await.expect("the broadcaster listens");
        stream.set_nodelay(true).expect("the socket option can be set");
        Self(stream)
    }

    /// Returns the port at which the hub accepts WebSockets.
    pub async fn port(&mut self) -> u16 {
        self.0.read_u16().await.expect("the hub sends its port")
    }

    pub async fn one(&mut self) {
        self.0.write_all(b"!").await.expect("the broadcaster reads");
    }
}
