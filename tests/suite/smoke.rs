//! Tests of `scripts/smoke`: it buys on a real server, repeats interrupted payments, and fails when
//! it must.

use std::{
    net::SocketAddr,
    process::Output,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
};

use crate::app::{Backend, TestApp, on_both_stores};

on_both_stores!(
    smoke_repeats_a_payment_when_the_server_crashes_during_it,
    smoke_includes_sign_ups_in_its_slowest_time,
    smoke_signs_in_when_the_answer_to_a_sign_up_is_lost,
    smoke_fails_when_its_command_fails,
);

/// What the proxy does to sign-up requests.
#[derive(Clone, Copy, PartialEq, Eq)]
enum SignUps {
    Forwarded,
    Delayed(Duration),
    /// Each successful sign-up loses its answer: the proxy closes the connection.
    Unanswered,
}

/// Forwards connections to the current server, as a load balancer does across a restart.
struct Proxy {
    addr: SocketAddr,
    server: Arc<Mutex<SocketAddr>>,
}

impl Proxy {
    async fn start(server: SocketAddr, sign_ups: SignUps) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("the listener is bound");
        let server = Arc::new(Mutex::new(server));
        let current = Arc::clone(&server);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = *current.lock().expect("no holder panics");
                tokio::spawn(forward(client, server, sign_ups));
            }
        });
        Self { addr, server }
    }
}

/// Forwards one connection. Returns `None` if either end closes early; the client sees the same.
async fn forward(mut client: TcpStream, server: SocketAddr, sign_ups: SignUps) -> Option<()> {
    let mut start = [0; 4096];
    let length = client.read(&mut start).await.ok()?;
    let start = start.get(..length)?;
    let is_sign_up = start.starts_with(b"POST /api/users/signup ");
    if let (true, SignUps::Delayed(delay)) = (is_sign_up, sign_ups) {
        tokio::time::sleep(delay).await;
    }
    let mut server = TcpStream::connect(server).await.ok()?;
    server.write_all(start).await.ok()?;
    if is_sign_up && sign_ups == SignUps::Unanswered {
        let (mut from_client, mut to_client) = client.split();
        let (mut from_server, mut to_server) = server.split();
        let mut answer = [0; 4096];
        // The body may arrive after the head.
        let length = tokio::select! {
            length = from_server.read(&mut answer) => length.ok()?,
            _ = tokio::io::copy(&mut from_client, &mut to_server) => return None,
        };
        let answer = answer.get(..length).filter(|answer| !answer.starts_with(b"HTTP/1.1 201 "))?;
        to_client.write_all(answer).await.ok()?;
    }
    copy_bidirectional(&mut client, &mut server).await.ok().map(|_| ())
}

/// Runs the script and waits for its exit.
async fn smoke(addr: SocketAddr, arguments: &[&str]) -> Output {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/smoke");
    let mut command = tokio::process::Command::new(script);
    command.arg(format!("http://{addr}")).args(arguments).kill_on_drop(true);
    command.output().await.expect("python3 is installed")
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

async fn smoke_repeats_a_payment_when_the_server_crashes_during_it(store: Backend) {
    let mut app = TestApp::start_with(store, &[("FAILPOINTS", "settlement::opened=return")]).await;
    let proxy = Proxy::start(app.server.addr, SignUps::Forwarded).await;
    let addr = proxy.addr;
    let running = tokio::spawn(async move { smoke(addr, &[]).await });
    // The first payment ends the process before the processor has authorized anything.
    app.server.gone().await;
    app.set("FAILPOINTS", "");
    app.restart().await;
    *proxy.server.lock().expect("no holder panics") = app.server.addr;
    let output = running.await.expect("waiting does not panic");
    assert!(output.status.success(), "{}", text(&output));
    assert!(text(&output).contains("; 1 interrupted payments made again"), "{}", text(&output));
}

async fn smoke_includes_sign_ups_in_its_slowest_time(store: Backend) {
    const DELAY: Duration = Duration::from_secs(3);
    let app = TestApp::start(store).await;
    let proxy = Proxy::start(app.server.addr, SignUps::Delayed(DELAY)).await;
    let output = smoke(proxy.addr, &["--", "true"]).await;
    let printed = text(&output);
    assert!(output.status.success(), "{printed}");
    let slowest = printed
        .split("the slowest purchase or sign-up took ")
        .nth(1)
        .and_then(|rest| rest.split(' ').next());
    let slowest: f64 =
        slowest.and_then(|seconds| seconds.parse().ok()).unwrap_or_else(|| panic!("{printed}"));
    assert!(slowest >= DELAY.as_secs_f64(), "{printed}");
}

async fn smoke_signs_in_when_the_answer_to_a_sign_up_is_lost(store: Backend) {
    let app = TestApp::start(store).await;
    let proxy = Proxy::start(app.server.addr, SignUps::Unanswered).await;
    let output = smoke(proxy.addr, &[]).await;
    assert!(output.status.success(), "{}", text(&output));
}

async fn smoke_fails_when_its_command_fails(store: Backend) {
    let app = TestApp::start(store).await;
    let output = smoke(app.server.addr, &["--", "false"]).await;
    assert!(!output.status.success(), "{}", text(&output));
    assert!(text(&output).contains("false failed with 1"), "{}", text(&output));
}
