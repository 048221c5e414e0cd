//! Connections that are held open, slowly written or never read, against a bare server with short deadlines.

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
    dev::ServerHandle,
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

/// Longer than anything here takes; a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(30);
/// A deadline that no test reaches.
const NEVER: Duration = Duration::from_secs(3600);
const SOON: Duration = Duration::from_millis(50);

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
const POST: &[u8] = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}";
const PROBE: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
const WAIT: &[u8] = b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n";

/// Deadlines of which no request is overdue.
fn patient() -> Deadlines {
    Deadlines { head: NEVER, idle: NEVER, write: NEVER, limited: NEVER, farewell: NEVER, tick: Duration::from_millis(5) }
}

fn limits(connections_max: usize, per_address_max: Option<usize>) -> QuotaLimits {
    QuotaLimits { connections_max, per_address_max, exempt: Vec::new() }
}

/// A server with a few routes.
struct Stage {
    addr: SocketAddr,
    quota: Arc<Quota>,
    /// Lets `/wait` answer.
    notify: Arc<Notify>,
    answered: Arc<AtomicUsize>,
    server: ServerHandle,
}

impl Stage {
    fn start(deadlines: Deadlines, limits: QuotaLimits) -> Self {
        let listener = http::listen(([127, 0, 0, 1], 0).into()).expect("a free port");
        let addr = listener.local_addr().expect("it is bound");
        let (quota, notify, answered) = (Quota::new(limits), Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
        let (waiting, count) = (Arc::clone(&notify), Arc::clone(&answered));
        let app = move || {
            let (waiting, count) = (Arc::clone(&waiting), Arc::clone(&count));
            App::new()
                .route("/healthz", web::get().to(|| async { "well" }))
                .route("/large", web::get().to(|| async { HttpResponse::Ok().body(Endless) }))
                .route("/wait", web::get().to(move || wait(Arc::clone(&waiting))))
                .route(
                    "/",
                    web::route().to(move |_: Bytes| {
                        count.fetch_add(1, Ordering::Relaxed);
                        ready(HttpResponse::Ok().body("x".repeat(1024)))
                    }),
                )
        };
        let bounds = ServerLimits { workers: 1, connections_max: 25_000, drain: Duration::from_secs(1) };
        let guard = Guard { deadlines, quota: Arc::clone(&quota) };
        let server = http::serve(listener, bounds, guard, app).expect("it serves");
        let handle = server.handle();
        rt::spawn(server);
        Self { addr, quota, notify, answered, server: handle }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.addr).await.expect("the server listens")
    }

    /// A connection that has sent this.
    async fn sends(&self, bytes: &[u8]) -> TcpStream {
        let mut stream = self.connect().await;
        stream.write_all(bytes).await.expect("the server reads");
        stream
    }

    /// Waits until this many connections are counted.
    async fn until_open(&self, count: usize) {
        let reached = async {
            while self.quota.open() != count {
                rt::time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(PATIENCE, reached).await.unwrap_or_else(|_| panic!("{} connections instead of {count}", self.quota.open()));
    }

    async fn stop(self) {
        self.server.stop(false).await;
    }
}

async fn wait(notify: Arc<Notify>) -> &'static str {
    notify.notified().await;
    "at last"
}

/// A body that has always more.
struct Endless;

impl MessageBody for Endless {
    type Error = std::convert::Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Poll::Ready(Some(Ok(Bytes::from_static(&[b'x'; 4096]))))
    }
}

/// What comes until the text holds `end`.
async fn until(stream: &mut TcpStream, end: &str) -> String {
    let mut text = Vec::new();
    while !String::from_utf8_lossy(&text).contains(end) {
        let read = timeout(PATIENCE, stream.read_buf(&mut text)).await.expect("bytes in time").expect("no reset");
        assert_ne!(read, 0, "{end} is missing in {}", String::from_utf8_lossy(&text));
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// What comes until the server closes.
async fn rest(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut text)).await.expect("the server closes").expect("no reset");
    String::from_utf8_lossy(&text).into_owned()
}

/// A connection with a small window, whose kernel soon takes no more.
async fn narrow(addr: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(4 * 1024).expect("a buffer's size");
    socket.connect(&addr.into()).expect("the server listens");
    socket.set_nonblocking(true).expect("a mode");
    TcpStream::from_std(socket.into()).expect("a runtime")
}

#[actix_web::test]
async fn head_that_stops_is_answered_with_408_and_closed_on_any_request_of_a_connection() {
    let stage = Stage::start(Deadlines { head: SOON, ..patient() }, limits(100, None));
    let mut bystander = stage.sends(GET).await;
    until(&mut bystander, "xxx").await;

    let first = stage.sends(b"G").await;
    let mut second = stage.sends(GET).await;
    until(&mut second, &"x".repeat(1024)).await;
    second.write_all(b"G").await.expect("it is open");
    let mut together = stage.sends(&[GET, b"GET / HTTP/1.1\r\n"].concat()).await;
    until(&mut together, &"x".repeat(1024)).await;
    let mut behind_body = stage.sends(&[POST, b"GET / HTTP/1.1\r\n"].concat()).await;
    until(&mut behind_body, &"x".repeat(1024)).await;
    for mut stream in [first, second, together, behind_body] {
        let text = rest(&mut stream).await;
        assert!(text.starts_with("HTTP/1.1 408 Request Timeout\r\n") && text.contains("\"code\":\"request_timeout\""), "{text}");
        assert!(text.contains("connection: close") && text.contains("application/problem+json"), "{text}");
    }
    bystander.write_all(POST).await.expect("it is open");
    until(&mut bystander, "200 OK").await;
    bystander.write_all(GET).await.expect("a connection without a part of a head is left alone");
    until(&mut bystander, "200 OK").await;
    stage.stop().await;
}

#[actix_web::test]
async fn head_that_drips_is_closed_at_the_same_deadline() {
    let stage = Stage::start(Deadlines { head: SOON, ..patient() }, limits(100, None));
    let (mut read, mut write) = stage.sends(GET).await.into_split();
    let dripping = rt::spawn(async move {
        let _ = write.write_all(b"GET / HTTP/1.1\r\nX: ").await;
        while write.write_all(b"x").await.is_ok() {
            rt::time::sleep(Duration::from_millis(2)).await;
        }
    });
    let mut text = Vec::new();
    while !String::from_utf8_lossy(&text).contains("408 Request Timeout") {
        let count = timeout(PATIENCE, read.read_buf(&mut text)).await.expect("an end in time").expect("an answer");
        assert_ne!(count, 0, "{}", String::from_utf8_lossy(&text));
    }
    dripping.abort();
    stage.stop().await;
}

#[actix_web::test]
async fn idle_connection_is_closed_without_an_answer() {
    let stage = Stage::start(Deadlines { idle: SOON, ..patient() }, limits(100, None));
    let mut silent = stage.connect().await;
    assert_eq!(rest(&mut silent).await, "");
    let mut used = stage.sends(GET).await;
    let text = rest(&mut used).await;
    assert!(text.ends_with(&"x".repeat(1024)) && text.matches("HTTP/1.1").count() == 1, "{text}");
    stage.until_open(0).await;
    stage.stop().await;
}

#[actix_web::test]
async fn request_that_is_being_answered_outlives_the_deadlines() {
    let stage = Stage::start(Deadlines { head: SOON, idle: SOON, limited: SOON, farewell: SOON, ..patient() }, limits(100, None));
    let mut waiting = stage.sends(&[WAIT, &GET[..10]].concat()).await;
    for _ in 0..3 {
        // Each began later and is closed, so that the time of the first is long over.
        rest(&mut stage.connect().await).await;
    }
    stage.notify.notify_one();
    until(&mut waiting, "at last").await;
    stage.stop().await;
}

#[actix_web::test]
async fn peer_that_does_not_read_an_answer_is_cut_off() {
    let stage = Stage::start(Deadlines { write: SOON, ..patient() }, limits(100, None));
    let mut stream = narrow(stage.addr).await;
    stream.write_all(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("the server reads");
    stage.until_open(1).await;
    stage.until_open(0).await;
    let mut answered = stage.sends(PROBE).await;
    until(&mut answered, "well").await;
    stage.stop().await;
}

#[actix_web::test]
async fn pipelined_requests_of_a_peer_that_does_not_read_are_neither_answered_nor_kept() {
    let stage = Stage::start(Deadlines { write: SOON, ..patient() }, limits(100, None));
    let mut stream = narrow(stage.addr).await;
    let requests = GET.repeat(1_000);
    let sending = async { while stream.write_all(&requests).await.is_ok() {} };
    timeout(PATIENCE, sending).await.expect("the server ends the connection");
    stage.until_open(0).await;
    let answered = stage.answered.load(Ordering::Relaxed);
    // What fits into the buffers of both kernels and of the server.
    assert!((1..2_000).contains(&answered), "{answered}");
    stage.stop().await;
}

#[actix_web::test]
async fn pipelined_requests_of_a_peer_that_reads_are_all_answered() {
    const REQUESTS: usize = 5_000;
    let stage = Stage::start(Deadlines::default(), limits(100, None));
    let (mut read, mut write) = stage.connect().await.into_split();
    let writing = rt::spawn(async move {
        write.write_all(&GET.repeat(REQUESTS - 1)).await.expect("it is read");
        write.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.expect("it is read");
        write
    });
    let mut text = Vec::new();
    timeout(PATIENCE, read.read_to_end(&mut text)).await.expect("all in time").expect("no reset");
    assert_eq!(String::from_utf8_lossy(&text).matches("HTTP/1.1 200 OK").count(), REQUESTS);
    drop(writing);
    stage.stop().await;
}

#[actix_web::test]
async fn connection_beyond_the_share_of_its_address_answers_probes_only() {
    let stage = Stage::start(patient(), limits(100, Some(2)));
    let held = [stage.sends(GET).await, stage.sends(GET).await];
    stage.until_open(2).await;
    for (path, expected) in [(GET, "503 Service Unavailable"), (PROBE, "200 OK")] {
        let text = rest(&mut stage.sends(path).await).await;
        assert!(text.starts_with(&format!("HTTP/1.1 {expected}\r\n")) && text.contains("connection: close"), "{text}");
        if path == GET {
            assert!(text.contains("\"code\":\"unavailable\"") && text.contains("retry-after: "), "{text}");
            assert!(text.contains("x-content-type-options: nosniff"), "{text}");
        }
    }
    let handshake = String::from_utf8(crate::app::raw::upgrade(stage.addr)).expect("ASCII");
    let text = rest(&mut stage.sends(handshake.as_bytes()).await).await;
    assert!(text.starts_with("HTTP/1.1 503 "), "{text}");
    drop(held);
    stage.until_open(0).await;
    let mut again = stage.sends(GET).await;
    until(&mut again, "200 OK").await;
    stage.stop().await;
}

#[actix_web::test]
async fn trusted_proxy_may_have_more_connections_than_one_address() {
    let exempt = vec!["127.0.0.0/8".parse().expect("a network")];
    let stage = Stage::start(patient(), QuotaLimits { exempt, ..limits(100, Some(1)) });
    let mut held = Vec::new();
    for _ in 0..5 {
        let mut stream = stage.sends(GET).await;
        until(&mut stream, "200 OK").await;
        held.push(stream);
    }
    stage.stop().await;
}

#[actix_web::test]
async fn probe_is_answered_however_many_connections_wait_beyond_the_bound() {
    let stage = Stage::start(patient(), limits(1, None));
    let _held = stage.sends(GET).await;
    stage.until_open(1).await;
    let mut waiting = Vec::new();
    for _ in 0..50 {
        waiting.push(stage.sends(b"G").await);
        let text = rest(&mut stage.sends(PROBE).await).await;
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
    }
    // The oldest made room.
    let mut end = Vec::new();
    let _ = timeout(PATIENCE, waiting[0].read_to_end(&mut end)).await.expect("it was ended");
    assert!(end.is_empty(), "{}", String::from_utf8_lossy(&end));
    stage.stop().await;
}
