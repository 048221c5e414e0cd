//! Connections that are held open, slowly written or never read, against a bare server with short
//! deadlines.

use std::{
    future::ready,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use actix_web::{
    App, HttpResponse,
    body::{BodySize, MessageBody},
    rt, web,
};
use bytes::Bytes;
use gittix::http::{self, Deadlines, Guard, Quota, QuotaLimits, ServerLimits};
use socket2::{Domain, Socket, Type};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Notify,
    time::timeout,
};

/// Longer than any step of these tests; a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(30);
/// A deadline that no test reaches.
const NEVER: Duration = Duration::from_secs(3600);
const SOON: Duration = Duration::from_millis(50);

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
const POST: &[u8] = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}";
const PROBE: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
const WAIT: &[u8] = b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n";

/// Deadlines that no request passes.
fn no_deadlines() -> Deadlines {
    Deadlines {
        head: NEVER,
        idle: NEVER,
        write: NEVER,
        limited: NEVER,
        linger: NEVER,
        tick: Duration::from_millis(5),
    }
}

fn limits(connections_max: usize, per_address_max: Option<usize>) -> QuotaLimits {
    QuotaLimits { connections_max, per_address_max, exempt: Vec::new() }
}

/// Server with a few routes.
struct TestServer {
    addr: SocketAddr,
    quota: Arc<Quota>,
    /// Lets `/wait` answer.
    notify: Arc<Notify>,
    answered: Arc<AtomicUsize>,
    server: http::Server,
}

impl TestServer {
    fn start(deadlines: Deadlines, limits: QuotaLimits) -> Self {
        let listener = http::listen(([127, 0, 0, 1], 0).into()).expect("a free port");
        let addr = listener.local_addr().expect("the listener is bound");
        let (quota, notify, answered) =
            (Quota::new(limits), Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
        let (waiting, count) = (Arc::clone(&notify), Arc::clone(&answered));
        let app = move || {
            let (waiting, count) = (Arc::clone(&waiting), Arc::clone(&count));
            App::new()
                .route("/healthz", web::get().to(|| async { "well" }))
                .route("/large", web::get().to(|| async { HttpResponse::Ok().body(EndlessBody) }))
                .route("/wait", web::get().to(move || wait(Arc::clone(&waiting))))
                .route(
                    "/",
                    web::route().to(move |_: Bytes| {
                        count.fetch_add(1, Ordering::Relaxed);
                        ready(HttpResponse::Ok().body("x".repeat(1024)))
                    }),
                )
        };
        let bounds = ServerLimits { workers: 1, drain: Duration::from_secs(1) };
        let guard = Guard { deadlines, quota: Arc::clone(&quota) };
        let server = http::serve(listener, bounds, guard, app).expect("the server can be started");
        Self { addr, quota, notify, answered, server }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.addr).await.expect("the server listens")
    }

    /// Opens a connection and sends `bytes`.
    async fn sends(&self, bytes: &[u8]) -> TcpStream {
        let mut stream = self.connect().await;
        stream.write_all(bytes).await.expect("the server reads");
        stream
    }

    /// Waits until the quota counts this many connections.
    async fn until_open(&self, count: usize) {
        let reached = async {
            while self.quota.open() != count {
                rt::time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(PATIENCE, reached)
            .await
            .unwrap_or_else(|_| panic!("{} connections instead of {count}", self.quota.open()));
    }

    async fn stop(self) {
        self.server.stop().await;
    }
}

async fn wait(notify: Arc<Notify>) -> &'static str {
    notify.notified().await;
    "at last"
}

/// Body without an end.
struct EndlessBody;

impl MessageBody for EndlessBody {
    type Error = std::convert::Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Poll::Ready(Some(Ok(Bytes::from_static(&[b'x'; 4096]))))
    }
}

/// Reads until the text contains `end`.
async fn until(stream: &mut TcpStream, end: &str) -> String {
    let mut text = Vec::new();
    while !String::from_utf8_lossy(&text).contains(end) {
        let read = timeout(PATIENCE, stream.read_buf(&mut text))
            .await
            .expect("bytes in time")
            .expect("no reset");
        assert_ne!(read, 0, "{end} is missing in {}", String::from_utf8_lossy(&text));
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// Reads until the server closes the connection.
async fn rest(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut text))
        .await
        .expect("the server closes")
        .expect("no reset");
    String::from_utf8_lossy(&text).into_owned()
}

/// Opens a connection with a small receive window, so that the server's kernel soon accepts no more
/// bytes.
async fn connect_with_small_window(addr: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(4 * 1024).expect("a buffer's size");
    socket.connect(&addr.into()).expect("the server listens");
    socket.set_nonblocking(true).expect("a mode");
    TcpStream::from_std(socket.into()).expect("a runtime")
}

#[actix_web::test]
async fn head_that_stops_is_answered_with_408_and_closed_on_any_request_of_a_connection() {
    let server = TestServer::start(Deadlines { head: SOON, ..no_deadlines() }, limits(100, None));
    let mut bystander = server.sends(GET).await;
    until(&mut bystander, "xxx").await;

    let first = server.sends(b"G").await;
    let mut second = server.sends(GET).await;
    until(&mut second, &"x".repeat(1024)).await;
    second.write_all(b"G").await.expect("the connection is open");
    let mut together = server.sends(&[GET, b"GET / HTTP/1.1\r\n"].concat()).await;
    until(&mut together, &"x".repeat(1024)).await;
    let mut behind_body = server.sends(&[POST, b"GET / HTTP/1.1\r\n"].concat()).await;
    until(&mut behind_body, &"x".repeat(1024)).await;
    for mut stream in [first, second, together, behind_body] {
        let text = rest(&mut stream).await;
        assert!(
            text.starts_with("HTTP/1.1 408 Request Timeout\r\n")
                && text.contains("\"code\":\"request_timeout\""),
            "{text}"
        );
        assert!(
            text.contains("connection: close") && text.contains("application/problem+json"),
            "{text}"
        );
    }
    bystander.write_all(POST).await.expect("the connection is open");
    until(&mut bystander, "200 OK").await;
    bystander.write_all(GET).await.expect("a connection without an unfinished head stays open");
    until(&mut bystander, "200 OK").await;
    server.stop().await;
}

#[actix_web::test]
async fn head_that_drips_is_closed_at_the_same_deadline() {
    let server = TestServer::start(Deadlines { head: SOON, ..no_deadlines() }, limits(100, None));
    let (mut read, mut write) = server.sends(GET).await.into_split();
    let dripping = rt::spawn(async move {
        let _ = write.write_all(b"GET / HTTP/1.1\r\nX: ").await;
        while write.write_all(b"x").await.is_ok() {
            rt::time::sleep(Duration::from_millis(2)).await;
        }
    });
    let mut text = Vec::new();
    while !String::from_utf8_lossy(&text).contains("408 Request Timeout") {
        let count = timeout(PATIENCE, read.read_buf(&mut text))
            .await
            .expect("an end in time")
            .expect("an answer");
        assert_ne!(count, 0, "{}", String::from_utf8_lossy(&text));
    }
    dripping.abort();
    server.stop().await;
}

#[actix_web::test]
async fn idle_connection_is_closed_without_an_answer() {
    let server = TestServer::start(Deadlines { idle: SOON, ..no_deadlines() }, limits(100, None));
    let mut silent = server.connect().await;
    assert_eq!(rest(&mut silent).await, "");
    let mut used = server.sends(GET).await;
    let text = rest(&mut used).await;
    assert!(text.ends_with(&"x".repeat(1024)) && text.matches("HTTP/1.1").count() == 1, "{text}");
    server.until_open(0).await;
    server.stop().await;
}

#[actix_web::test]
async fn request_that_is_being_answered_is_not_closed_by_the_deadlines() {
    let server = TestServer::start(
        Deadlines { head: SOON, idle: SOON, limited: SOON, linger: SOON, ..no_deadlines() },
        limits(100, None),
    );
    let mut waiting = server.sends(&[WAIT, &GET[..10]].concat()).await;
    for _ in 0..3 {
        // Each of these connections is opened later and is closed, so the first one is past its
        // deadline by now.
        rest(&mut server.connect().await).await;
    }
    server.notify.notify_one();
    until(&mut waiting, "at last").await;
    server.stop().await;
}

#[actix_web::test]
async fn peer_that_does_not_read_an_answer_is_disconnected() {
    let server = TestServer::start(Deadlines { write: SOON, ..no_deadlines() }, limits(100, None));
    let mut stream = connect_with_small_window(server.addr).await;
    stream.write_all(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("the server reads");
    server.until_open(1).await;
    server.until_open(0).await;
    let mut answered = server.sends(PROBE).await;
    until(&mut answered, "well").await;
    server.stop().await;
}

#[actix_web::test]
async fn pipelined_requests_of_a_peer_that_does_not_read_are_neither_answered_nor_buffered() {
    let server = TestServer::start(Deadlines { write: SOON, ..no_deadlines() }, limits(100, None));
    let mut stream = connect_with_small_window(server.addr).await;
    let requests = GET.repeat(1_000);
    let sending = async { while stream.write_all(&requests).await.is_ok() {} };
    timeout(PATIENCE, sending).await.expect("the server ends the connection");
    server.until_open(0).await;
    let answered = server.answered.load(Ordering::Relaxed);
    // Upper bound: the answers that fit into the buffers of both kernels and of the server.
    assert!((1..2_000).contains(&answered), "{answered}");
    server.stop().await;
}

#[actix_web::test]
async fn pipelined_requests_of_a_peer_that_reads_are_all_answered() {
    const REQUESTS: usize = 5_000;
    let server = TestServer::start(Deadlines::default(), limits(100, None));
    let (mut read, mut write) = server.connect().await.into_split();
    let writing = rt::spawn(async move {
        write.write_all(&GET.repeat(REQUESTS - 1)).await.expect("the server reads it");
        write
            .write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .await
            .expect("the server reads it");
        write
    });
    let mut text = Vec::new();
    timeout(PATIENCE, read.read_to_end(&mut text)).await.expect("all in time").expect("no reset");
    assert_eq!(String::from_utf8_lossy(&text).matches("HTTP/1.1 200 OK").count(), REQUESTS);
    drop(writing);
    server.stop().await;
}

#[actix_web::test]
async fn connection_beyond_the_share_of_its_address_answers_probes_only() {
    let server = TestServer::start(no_deadlines(), limits(100, Some(2)));
    let held = [server.sends(GET).await, server.sends(GET).await];
    server.until_open(2).await;
    for (path, expected) in [(GET, "503 Service Unavailable"), (PROBE, "200 OK")] {
        let text = rest(&mut server.sends(path).await).await;
        assert!(
            text.starts_with(&format!("HTTP/1.1 {expected}\r\n"))
                && text.contains("connection: close"),
            "{text}"
        );
        if path == GET {
            assert!(
                text.contains("\"code\":\"unavailable\"") && text.contains("retry-after: "),
                "{text}"
            );
            assert!(text.contains("x-content-type-options: nosniff"), "{text}");
        }
    }
    let handshake = String::from_utf8(crate::app::raw::upgrade(server.addr)).expect("ASCII");
    let text = rest(&mut server.sends(handshake.as_bytes()).await).await;
    assert!(text.starts_with("HTTP/1.1 503 "), "{text}");
    drop(held);
    server.until_open(0).await;
    let mut again = server.sends(GET).await;
    until(&mut again, "200 OK").await;
    server.stop().await;
}

#[actix_web::test]
async fn trusted_proxy_may_have_more_connections_than_one_address() {
    let exempt = vec!["127.0.0.0/8".parse().expect("a network")];
    let server = TestServer::start(no_deadlines(), QuotaLimits { exempt, ..limits(100, Some(1)) });
    let mut held = Vec::new();
    for _ in 0..5 {
        let mut stream = server.sends(GET).await;
        until(&mut stream, "200 OK").await;
        held.push(stream);
    }
    server.stop().await;
}

#[actix_web::test]
async fn probe_is_answered_while_many_connections_wait_beyond_the_bound() {
    let server = TestServer::start(no_deadlines(), limits(1, None));
    let _held = server.sends(GET).await;
    server.until_open(1).await;
    let mut waiting = Vec::new();
    for _ in 0..50 {
        waiting.push(server.sends(b"G").await);
        let text = rest(&mut server.sends(PROBE).await).await;
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
    }
    // The oldest connection was closed to make room.
    let mut end = Vec::new();
    let _ = timeout(PATIENCE, waiting[0].read_to_end(&mut end))
        .await
        .expect("the connection is closed");
    assert!(end.is_empty(), "{}", String::from_utf8_lossy(&end));
    server.stop().await;
}
