//! The reader of the log has exited or does not read. Neither may block a request or the shutdown.

use std::{
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    process::{Child, ChildStderr, ExitStatus, Stdio},
    time::Duration,
};

use futures_util::{StreamExt, stream};
use tokio::time::Instant;

use crate::app::{Backend, Client, Home, PATIENCE, bare_command, listening_at};

/// Number of requests whose log lines fill more than a pipe of 64 KiB.
const OVERFLOWING: usize = 1_500;

/// Server that logs every request, with the reading end of its log.
struct LoggingServer {
    child: Child,
    addr: SocketAddr,
    log: Option<BufReader<ChildStderr>>,
    _home: Home,
}

impl LoggingServer {
    async fn start() -> Self {
        let home = Home::new(Backend::Embedded);
        let mut command = bare_command();
        command.arg("serve").env("GITTIX_ADDR", "127.0.0.1:0").env("GITTIX_DATA_DIR", home.data());
        command.env("GITTIX_LOG", "debug").env("GITTIX_RATE_LIMIT", "off").stdout(Stdio::null());
        let mut child = command.spawn().expect("the program that was just built can be started");
        let mut log = BufReader::new(child.stderr.take().expect("piped"));
        let (addr, log) = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            loop {
                line.clear();
                assert_ne!(
                    log.read_line(&mut line).expect("readable"),
                    0,
                    "the server exited before it logged its address"
                );
                if let Some(addr) = listening_at(&line) {
                    return (addr, log);
                }
            }
        })
        .await
        .expect("waiting does not panic");
        let server = Self { child, addr, log: Some(log), _home: home };
        server.ready().await;
        server
    }

    /// Waits until the server is ready. The pipe buffers the lines that are logged meanwhile.
    async fn ready(&self) {
        let deadline = Instant::now() + PATIENCE;
        while Client::new(self.addr).get("/readyz").await.status != 200 {
            assert!(Instant::now() < deadline, "the server is not ready");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Sends `times` requests; each logs a line and must be answered.
    async fn request(&self, times: usize) {
        let guest = Client::new(self.addr);
        stream::iter(0..times)
            .for_each_concurrent(32, |_| async { drop(guest.get("/healthz").await.expect(200)) })
            .await;
    }

    async fn metric(&self, name: &str) -> u64 {
        let text = Client::new(self.addr).get("/metrics").await.expect(200).text;
        let line = text
            .lines()
            .find(|line| line.split(' ').next() == Some(name))
            .expect("the metric exists");
        line.split(' ').nth(1).and_then(|value| value.parse().ok()).expect("a number")
    }

    async fn terminated(&mut self) -> ExitStatus {
        let sent = std::process::Command::new("kill")
            .args(["-TERM", &self.child.id().to_string()])
            .status();
        assert!(sent.is_ok_and(|sent| sent.success()));
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().expect("a child can be asked") {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("the server did not exit");
    }
}

impl Drop for LoggingServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn requests_and_shutdown_succeed_when_the_reader_of_the_log_has_exited() {
    let mut server = LoggingServer::start().await;
    server.log = None;
    server.request(20).await;
    assert!(
        server.metric("gittix_log_lines_dropped_total").await > 0,
        "lines that cannot be written are not counted"
    );
    let status = server.terminated().await;
    assert!(status.success(), "{status}");
}

#[tokio::test]
async fn server_exits_when_its_log_is_not_read() {
    let mut server = LoggingServer::start().await;
    server.request(OVERFLOWING).await;
    let status = server.terminated().await;
    assert!(status.success(), "{status}");
}

#[tokio::test]
async fn lines_are_dropped_and_counted_when_the_log_is_not_read() {
    let mut server = LoggingServer::start().await;
    while server.metric("gittix_log_lines_dropped_total").await == 0 {
        server.request(OVERFLOWING).await;
    }
    // When the log is read again, one line states how many are missing, and the last line is
    // present.
    let mut log = server.log.take().expect("the log was not taken before");
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        log.read_to_string(&mut text).map(|_| text)
    });
    server.request(1).await;
    let status = server.terminated().await;
    assert!(status.success(), "{status}");
    let text = reader.join().expect("no panic").expect("the log is text");
    assert!(text.contains("log lines were dropped"), "{}", &text[text.len().saturating_sub(500)..]);
    assert!(
        text.lines().rev().take(5).any(|line| line.contains("stopped")),
        "{}",
        &text[text.len().saturating_sub(500)..]
    );
}
