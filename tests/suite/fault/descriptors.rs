//! A server with few file descriptors, all of which are used by idle connections.

use std::{
    net::SocketAddr,
    process::{Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
};

use futures_util::future::select_all;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::app::{Backend, Home, Server, bare_command, raw};

const DESCRIPTORS: usize = 160;

async fn start(home: &Home, settings: &[(&str, &str)]) -> Server {
    let program = bare_command();
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("ulimit -n {DESCRIPTORS} && exec \"$0\" serve")])
        .arg(program.get_program());
    command.env_clear().envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command
        .env("GITTIX_ADDR", "127.0.0.1:0")
        .env("GITTIX_DATA_DIR", home.data())
        .envs(settings.iter().copied());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let server = Server::spawn(command).await;
    server.ready().await;
    server
}

async fn get(addr: SocketAddr, path: &str) -> (u16, String) {
    raw::request(addr, format!("GET {path} HTTP/1.1\r\nHost: {addr}\r\n\r\n").as_bytes()).await
}

/// Opens connections until one is answered with 503; returns the connections whose request was
/// answered.
async fn use_all_descriptors(addr: SocketAddr) -> Vec<TcpStream> {
    let mut held = Vec::new();
    loop {
        let mut stream = TcpStream::connect(addr).await.expect("the server listens");
        stream
            .write_all(format!("GET /api/nothing HTTP/1.1\r\nHost: {addr}\r\n\r\n").as_bytes())
            .await
            .expect("the connection is open");
        let mut status = [0; 12];
        stream.read_exact(&mut status).await.expect("an answer");
        match &status[9..] {
            b"404" => held.push(stream),
            b"503" => return held,
            other => panic!("answered {}", String::from_utf8_lossy(other)),
        }
        assert!(held.len() < 2 * DESCRIPTORS, "the number of connections is not bounded");
    }
}

#[tokio::test]
async fn probes_are_answered_when_all_descriptors_are_used() {
    let home = Home::new(Backend::Embedded);
    let server = start(&home, &[("GITTIX_RATE_LIMIT", "off")]).await;
    let held = use_all_descriptors(server.addr).await;
    assert!(
        held.len() > DESCRIPTORS / 4,
        "without rate limits one address may use all descriptors: {}",
        held.len()
    );
    // Further connections arrive all the time and send no request.
    let mut more = Vec::new();
    for _ in 0..DESCRIPTORS {
        more.push(TcpStream::connect(server.addr).await.expect("the server accepts"));
    }
    for path in ["/healthz", "/readyz", "/metrics"] {
        let (status, text) = get(server.addr, path).await;
        assert_eq!(status, 200, "{path}: {text}");
        assert!(text.to_ascii_lowercase().contains("connection: close"), "{text}");
    }
    let (status, text) = get(server.addr, "/api/tickets").await;
    assert!(
        status == 503
            && text.contains("\"code\":\"unavailable\"")
            && text.contains("retry-after: "),
        "{text}"
    );
    assert!(server.descriptors() <= DESCRIPTORS);
    drop((held, more));
    // After these connections are closed, requests are answered again.
    while get(server.addr, "/api/settings").await.0 != 200 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn one_address_holds_at_most_a_quarter_of_the_descriptors() {
    let home = Home::new(Backend::Embedded);
    let server = start(&home, &[]).await;
    let held = use_all_descriptors(server.addr).await;
    assert!(held.len() <= DESCRIPTORS / 4, "{}", held.len());
    assert!(held.len() > DESCRIPTORS / 8, "{}", held.len());
    let (_, text) = get(server.addr, "/healthz").await;
    assert!(text.starts_with("HTTP/1.1 200 OK"), "{text}");
}

/// Each of 256 clients at one address opens a connection again as soon as it is closed. The server
/// must close them faster than they use up its descriptors: when `accept` fails, it serves no
/// client.
#[tokio::test]
async fn flood_of_connections_does_not_use_up_the_descriptors() {
    const CLIENTS: usize = 256;
    const CONNECTIONS: usize = 20_000;
    let home = Home::new(Backend::Embedded);
    let server = start(&home, &[]).await;
    let addr = server.addr;
    let held = use_all_descriptors(addr).await;
    let closed = AtomicUsize::new(0);
    let client = async || {
        while closed.load(Ordering::Relaxed) < CONNECTIONS {
            let mut stream = TcpStream::connect(addr).await.expect("the server listens");
            // Most connections are closed at once; a few wait for a request.
            let _ = stream.read(&mut [0; 16]).await;
            closed.fetch_add(1, Ordering::Relaxed);
        }
    };
    // When the first client returns, the flood is over; others may still wait for their end.
    select_all((0..CLIENTS).map(|_| Box::pin(client()))).await;
    drop(held);
    let failed = server.log().into_iter().filter(|line| line.contains("ERROR"));
    assert_eq!(failed.collect::<Vec<_>>(), [] as [String; 0]);
    assert!(server.descriptors() <= DESCRIPTORS);
}

/// Opens a WebSocket for a client behind the proxy; returns the connection and whether it was
/// accepted.
async fn socket(addr: SocketAddr, client: &str) -> (TcpStream, bool) {
    let mut stream = TcpStream::connect(addr).await.expect("the server listens");
    let handshake = String::from_utf8(raw::upgrade(addr)).expect("ASCII");
    let handshake =
        handshake.replace("\r\n\r\n", &format!("\r\nX-Forwarded-For: {client}\r\n\r\n"));
    stream.write_all(handshake.as_bytes()).await.expect("the connection is open");
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.expect("an answer");
    (stream, head.ends_with(b"101"))
}

#[tokio::test]
async fn client_behind_a_trusted_proxy_holds_at_most_a_quarter_of_the_sockets() {
    let home = Home::new(Backend::Embedded);
    let server = start(&home, &[("GITTIX_TRUSTED_PROXIES", "127.0.0.0/8")]).await;
    let mut held = Vec::new();
    loop {
        let (stream, is_accepted) = socket(server.addr, "192.0.2.1").await;
        if !is_accepted {
            break;
        }
        held.push(stream);
        assert!(held.len() < DESCRIPTORS, "the number of sockets is not bounded");
    }
    assert!((4..=DESCRIPTORS / 4).contains(&held.len()), "{}", held.len());
    assert!(socket(server.addr, "192.0.2.2").await.1, "the share of another client is used up");
}
