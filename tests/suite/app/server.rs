//! `gittix serve` as a child process on a free port. A test can read its log and signal it; the
//! process is killed on drop.

use std::{
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use tokio::time::Instant;

use super::{Home, PATIENCE};

/// Running process. Dropping the value kills the process.
#[derive(Debug)]
pub struct Server {
    child: Child,
    pub addr: SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
    /// Threads that read the log. They end with the process.
    readers: Vec<JoinHandle<()>>,
}

impl Server {
    /// Starts a process and waits until it is ready.
    pub async fn start(home: &Home, settings: &[(String, String)]) -> Self {
        let server = Self::start_unready(home, settings).await;
        server.ready().await;
        server
    }

    /// Starts a process and waits until it logs its address.
    pub async fn start_unready(home: &Home, settings: &[(String, String)]) -> Self {
        Self::spawn(command(home, settings)).await
    }

    /// Starts any serving command and waits until it logs its address.
    pub async fn spawn(command: Command) -> Self {
        Self::try_spawn(command)
            .await
            .unwrap_or_else(|log| panic!("the server did not log its address; its log: {log:#?}"))
    }

    /// Starts any serving command, for callers that handle its failure.
    ///
    /// # Errors
    /// The log lines, if the process exited without listening or did not listen in time.
    pub async fn try_spawn(mut command: Command) -> Result<Self, Vec<String>> {
        let mut child = command.spawn().expect("the program that was just built can be started");
        let log = Arc::new(Mutex::new(Vec::new()));
        let (addr_tx, addr_rx) = mpsc::channel();
        let readers = vec![
            drain(child.stdout.take().expect("piped"), log.clone(), addr_tx.clone()),
            drain(child.stderr.take().expect("piped"), log.clone(), addr_tx),
        ];
        let addr = tokio::task::spawn_blocking(move || addr_rx.recv_timeout(PATIENCE))
            .await
            .expect("waiting does not panic");
        match addr {
            Ok(addr) => Ok(Self { child, addr, log, readers }),
            Err(_) => {
                let _ = child.kill();
                let _ = child.wait();
                let log = log.lock().expect("no reader panics").clone();
                Err(log)
            }
        }
    }

    /// Waits until `/readyz` answers 200.
    pub async fn ready(&self) {
        let url = format!("http://{}/readyz", self.addr);
        let client =
            gittix::http_client::builder().no_proxy().tls_certs_only([]).build().expect("a client");
        let deadline = Instant::now() + PATIENCE;
        let mut last = String::new();
        while Instant::now() < deadline {
            match client.get(&url).timeout(Duration::from_secs(2)).send().await {
                Ok(answer) if answer.status() == 200 => return,
                Ok(answer) => {
                    last =
                        format!("{} {}", answer.status(), answer.text().await.unwrap_or_default())
                }
                Err(error) => last = error.to_string(),
            }
            // No event announces readiness; a load balancer polls as well.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the server is not ready: {last}; its log: {:#?}", self.log());
    }

    /// Returns the lines logged so far.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().expect("no reader panics").clone()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends SIGKILL, and waits for the exit and for the rest of the log.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
    }

    /// Sends SIGTERM, as an orchestrator does.
    pub fn terminate(&self) {
        self.signal("-TERM");
    }

    /// Sends SIGSTOP: the process stops and cannot notice it.
    pub fn pause(&self) {
        self.signal("-STOP");
    }

    /// Sends SIGCONT: the process continues.
    pub fn resume(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.pid().to_string()]).status();
        assert!(sent.as_ref().is_ok_and(ExitStatus::success), "{sent:?}");
    }

    /// Waits for the exit, without a deadline.
    #[cfg(feature = "failpoints")]
    pub async fn gone(&mut self) {
        while self.child.try_wait().expect("a child can be asked").is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits for an exit that the test did not force.
    pub async fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().expect("a child can be asked") {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("the server did not exit; its log: {:#?}", self.log());
    }

    /// Returns the line that states why the process exited. It may be read a moment after the exit.
    pub async fn reason(&self) -> String {
        self.logged(|line| line.starts_with("gittix: ")).await
    }

    /// Waits for the first line of the log that `is_wanted`.
    pub async fn logged(&self, is_wanted: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(line) = self.log().into_iter().find(|line| is_wanted(line)) {
                return line;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("the line was not logged; the log: {:#?}", self.log());
    }

    /// Returns the number of open file descriptors.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid()))
            .expect("the process is running")
            .count()
    }

    /// Returns the resident memory in KiB, as the kernel counts it (`VmRSS` of
    /// `/proc/<pid>/status`).
    pub fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()))
            .expect("the process is running");
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .expect("the status has a VmRSS line");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number of KiB")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log.lock().map(|log| log.clone()).unwrap_or_default();
            let tail = &log[log.len().saturating_sub(40)..];
            eprintln!("the server's last log lines:\n{}", tail.join("\n"));
        }
    }
}

/// Runs a server until it exits at a failpoint.
///
/// # Panics
/// If the server does not exit.
#[cfg(feature = "failpoints")]
pub async fn run_until_exit(home: &Home, settings: &[(String, String)]) {
    let mut command = command(home, settings);
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program that was just built can be started");
    let deadline = Instant::now() + PATIENCE;
    while child.try_wait().expect("a child can be asked").is_none() {
        if Instant::now() > deadline {
            let _ = child.kill();
            panic!("the server did not exit");
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Runs the program until it exits; returns the status and the text of both streams.
///
/// # Panics
/// If the program does not exit, because it serves although it must refuse.
pub fn run(arguments: &[&str], settings: &[(&str, &str)]) -> (ExitStatus, String) {
    let mut child = bare_command()
        .args(arguments)
        .envs(settings.iter().copied())
        .spawn()
        .expect("the program that was just built can be started");
    let text = Arc::new(Mutex::new(Vec::new()));
    let (addr_tx, _) = mpsc::channel();
    let readers = [
        drain(child.stdout.take().expect("piped"), text.clone(), addr_tx.clone()),
        drain(child.stderr.take().expect("piped"), text.clone(), addr_tx),
    ];
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child can be asked") {
            break status;
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            panic!(
                "{arguments:?} with {settings:?} did not exit; its output: {:#?}",
                text.lock().expect("no reader panics")
            );
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let _ = readers.map(|reader| reader.join().expect("no reader panics"));
    let text = text.lock().expect("no reader panics").join("\n");
    (status, text)
}

/// Returns `gittix serve` with the given settings; only the variables that a program needs are
/// inherited.
pub fn command(home: &Home, settings: &[(String, String)]) -> Command {
    let mut command = bare_command();
    command.arg("serve").env("GITTIX_ADDR", "127.0.0.1:0").env("GITTIX_DATA_DIR", home.data());
    command.env("GITTIX_LOG_FORMAT", "json").env("GITTIX_LOG", "info");
    if let Some(uri) = home.mongodb_uri() {
        command.env("MONGODB_URI", uri);
    }
    command.envs(settings.iter().map(|(name, value)| (name, value)));
    // Failpoints of the settings come last, so that a test can turn this one off.
    let named =
        settings.iter().rev().find(|(name, _)| name == "FAILPOINTS").map_or("", |(_, value)| value);
    command.env("FAILPOINTS", format!("passwords::least_cost=return;{named}"));
    command
}

/// Returns the program without a command and without settings.
pub fn bare_command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gittix"));
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for name in ["PATH", "HOME", "RUST_BACKTRACE"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}

/// Reads a stream to its end, so that the child is never blocked by a full pipe.
fn drain(
    stream: impl Read + Send + 'static,
    log: Arc<Mutex<Vec<String>>>,
    addr_tx: mpsc::Sender<SocketAddr>,
) -> JoinHandle<()> {
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let addr = listening_at(&line);
            log.lock().expect("no reader panics").push(line);
            if let Some(addr) = addr {
                // The receiver may have timed out.
                let _ = addr_tx.send(addr);
            }
        }
    })
}

/// Returns the address in a log line, in either log format.
pub fn listening_at(line: &str) -> Option<SocketAddr> {
    if !line.contains("listening") {
        return None;
    }
    let after = line.split("addr").nth(1)?;
    let addr: String = after
        .chars()
        .skip_while(|c| !c.is_ascii_digit())
        .take_while(|c| c.is_ascii_digit() || ".:".contains(*c))
        .collect();
    addr.parse().ok()
}

#[test]
fn listening_address_is_found_in_both_log_formats() {
    let addr = "127.0.0.1:4711".parse().ok();
    assert_eq!(
        listening_at("2026-01-01T00:00:00Z  INFO gittix::app: listening addr=127.0.0.1:4711"),
        addr
    );
    assert_eq!(
        listening_at(r#"{"level":"INFO","message":"listening","addr":"127.0.0.1:4711","n":1}"#),
        addr
    );
    assert_eq!(listening_at("something else addr=127.0.0.1:4711"), None);
}
