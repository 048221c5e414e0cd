//! Many sockets, one of which has stopped reading: the server's memory and the others' delay stay flat, and the stalled
//! one is closed within a minute. The full count, on a release build, is `scripts/prove-sockets`.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use socket2::{Domain, Socket as Socket2, Type};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::Instant,
};

use crate::app::{Backend, TestApp, raw};

/// What one run showed.
#[derive(Debug)]
pub struct Flood {
    pub sockets: usize,
    /// Resident memory with all sockets open, before the first event and after the last.
    pub before_kib: u64,
    pub after_kib: u64,
    /// From an edit's answer to its frame at a socket that reads, without and with the stalled one.
    pub delay_alone: Duration,
    pub delay_beside: Duration,
    pub bytes_read: u64,
    /// From the last event, by which all buffers are full, to the stalled socket's end.
    pub closed_after: Duration,
}

/// A WebSocket whose client has a small window and never reads.
pub async fn stalled_socket(addr: SocketAddr) -> TcpStream {
    let socket = Socket2::new(Domain::for_address(addr), Type::STREAM, None).expect("a socket");
    // Small, so that a few hundred frames fill it.
    socket.set_recv_buffer_size(4 * 1024).expect("a buffer's size");
    socket.connect(&addr.into()).expect("the server listens");
    socket.set_nonblocking(true).expect("a mode");
    let mut stream = TcpStream::from_std(socket.into()).expect("a runtime");
    stream.write_all(&raw::upgrade(addr)).await.expect("a handshake is short");
    stream
}

/// Sockets that read all that comes as fast as they can, without looking at it.
async fn drains(addr: SocketAddr, count: usize, bytes: &Arc<AtomicU64>) -> Vec<tokio::task::JoinHandle<()>> {
    let mut readers = Vec::with_capacity(count);
    for _ in 0..count {
        let mut stream = TcpStream::connect(addr).await.expect("the server takes more sockets");
        stream.write_all(&raw::upgrade(addr)).await.expect("a handshake is short");
        let bytes = Arc::clone(bytes);
        readers.push(tokio::spawn(async move {
            let mut piece = vec![0; 16 * 1024];
            while let Ok(length @ 1..) = stream.read(&mut piece).await {
                bytes.fetch_add(length as u64, Ordering::Relaxed);
            }
        }));
    }
    readers
}

/// Median time from an edit's answer to its frame.
async fn delay(app: &TestApp, seller: &crate::app::Client, ticket: &str) -> Duration {
    const EDITS: usize = 21;
    let mut watcher = app.socket().await;
    let mut delays = Vec::new();
    for number in 0..EDITS {
        let title = format!("Timed {number}");
        seller.edit_ticket(ticket, &title, 20).await.expect(200);
        let answered = Instant::now();
        watcher.until(|frame| frame["ticket"]["title"] == title.as_str()).await;
        delays.push(answered.elapsed());
    }
    delays.sort_unstable();
    delays[EDITS / 2]
}

async fn metric(app: &TestApp, series: &str) -> f64 {
    let text = app.guest().get("/metrics").await.expect(200).text;
    let value = text.lines().find_map(|line| line.strip_prefix(series)).and_then(|value| value.trim().parse().ok());
    value.unwrap_or_else(|| panic!("{series} in {text}"))
}

/// `sockets` readers and one that has stopped; `events` frames of some 1 KiB.
pub async fn flood(app: &TestApp, sockets: usize, events: usize) -> Flood {
    const STALLED: &str = "gittix_websockets_closed_total{reason=\"stalled\"} ";
    let bytes = Arc::new(AtomicU64::new(0));
    let readers = drains(app.server.addr, sockets - 1, &bytes).await;
    let seller = app.user().await;
    let mut tickets = Vec::new();
    for number in 0..16 {
        tickets.push(seller.sells(&format!("Row {number}")).await);
    }
    let delay_alone = delay(app, &seller, &tickets[0]).await;
    let stalled = stalled_socket(app.server.addr).await;
    let before_kib = app.server.resident_kib();
    for number in 0..events {
        let title = format!("{}{number}", "🎫".repeat(190));
        seller.edit_ticket(&tickets[number % tickets.len()], &title, 20).await.expect(200);
    }
    let began = Instant::now();
    let delay_beside = delay(app, &seller, &tickets[0]).await;
    let after_kib = app.server.resident_kib();
    while metric(app, STALLED).await < 1.0 {
        assert!(began.elapsed() < Duration::from_secs(90), "the stalled socket was never closed");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let closed_after = began.elapsed();
    drop(stalled);
    readers.iter().for_each(tokio::task::JoinHandle::abort);
    let bytes_read = bytes.load(Ordering::Relaxed);
    Flood { sockets, before_kib, after_kib, delay_alone, delay_beside, bytes_read, closed_after }
}

impl Flood {
    /// # Panics
    /// If a promise of the contract was broken.
    pub fn assert_promises(&self) {
        /// What the stalled socket's backlog, and the allocator's slack for thousands of others, may take.
        const GROWTH_KIB_MAX: u64 = 32 * 1024;
        assert!(self.after_kib < self.before_kib + GROWTH_KIB_MAX, "{self:#?}");
        assert!(self.delay_beside < self.delay_alone * 3 + Duration::from_millis(50), "{self:#?}");
        assert!(self.closed_after < Duration::from_secs(60), "{self:#?}");
        let least = u64::try_from((self.sockets - 1) * 200).expect("a number of bytes");
        assert!(self.bytes_read > least, "{self:#?}");
    }
}

#[tokio::test]
async fn one_stalled_reader_costs_the_others_nothing() {
    let app = TestApp::start(Backend::Embedded).await;
    flood(&app, 200, 600).await.assert_promises();
}
