//! Many sockets, one of which does not read: the server's memory and the delay of the other sockets
//! do not grow, and the stalled socket is closed within a minute. `scripts/prove-sockets` runs the
//! full count on a release build.

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

/// Measurements of one run.
#[derive(Debug)]
pub struct Flood {
    pub sockets: usize,
    /// Resident memory with all sockets open, before the first event and after the last one.
    pub before_kib: u64,
    pub after_kib: u64,
    /// Time from the answer to an edit until a reading socket receives its frame, without and with
    /// the stalled socket.
    pub delay_alone: Duration,
    pub delay_beside: Duration,
    pub bytes_read: u64,
    /// Time from the last event, when all buffers are full, to the end of the stalled socket.
    pub closed_after: Duration,
}

/// Opens a WebSocket whose client has a small receive window and never reads.
pub async fn stalled_socket(addr: SocketAddr) -> TcpStream {
    let socket = Socket2::new(Domain::for_address(addr), Type::STREAM, None).expect("a socket");
    // A few hundred frames fill this buffer.
    socket.set_recv_buffer_size(4 * 1024).expect("a buffer's size");
    socket.connect(&addr.into()).expect("the server listens");
    socket.set_nonblocking(true).expect("a mode");
    let mut stream = TcpStream::from_std(socket.into()).expect("a runtime");
    stream.write_all(&raw::upgrade(addr)).await.expect("a handshake is short");
    stream
}

/// Opens sockets that read all bytes as fast as possible and discard them.
async fn start_readers(
    addr: SocketAddr,
    count: usize,
    bytes: &Arc<AtomicU64>,
) -> Vec<tokio::task::JoinHandle<()>> {
    let mut readers = Vec::with_capacity(count);
    for _ in 0..count {
        let mut stream = TcpStream::connect(addr).await.expect("the server accepts more sockets");
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

/// Returns the median time from the answer to an edit until its frame arrives.
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
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(series))
        .and_then(|value| value.trim().parse().ok());
    value.unwrap_or_else(|| panic!("no {series} in {text}"))
}

/// Runs `sockets - 1` readers and one stalled socket; `events` frames of about 1 KiB.
pub async fn flood(app: &TestApp, sockets: usize, events: usize) -> Flood {
    const STALLED: &str = "gittix_websockets_closed_total{reason=\"stalled\"} ";
    let bytes = Arc::new(AtomicU64::new(0));
    let readers = start_readers(app.server.addr, sockets - 1, &bytes).await;
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
        assert!(began.elapsed() < Duration::from_secs(90), "the stalled socket was not closed");
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
    /// If a bound of the contract is exceeded.
    pub fn assert_bounds(&self) {
        /// Permitted growth: the backlog of the stalled socket, and the unused space that the
        /// allocator keeps for the others.
        const GROWTH_KIB_MAX: u64 = 32 * 1024;
        assert!(self.after_kib < self.before_kib + GROWTH_KIB_MAX, "{self:#?}");
        assert!(self.delay_beside < self.delay_alone * 3 + Duration::from_millis(50), "{self:#?}");
        assert!(self.closed_after < Duration::from_secs(60), "{self:#?}");
        let least = u64::try_from((self.sockets - 1) * 200).expect("a number of bytes");
        assert!(self.bytes_read > least, "{self:#?}");
    }
}

#[tokio::test]
async fn stalled_reader_does_not_delay_other_sockets() {
    let app = TestApp::start(Backend::Embedded).await;
    flood(&app, 200, 600).await.assert_bounds();
}
