//! `gittix serve` as a child process: started on a free port, watched, signalled, and gone with its test.

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

/// A running process. Dropping it kills it.
#[derive(Debug)]
pub struct Server {
    child: Child,
    pub addr: SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Starts one and waits until it is ready.
    pub async fn start(home: &Home, settings: &[(String, String)]) -> Self {
        let server = Self::start_unready(home, settings).await;
        server.ready().await;
        server
    }

    /// Starts one and waits until it says where it listens.
    pub async fn start_unready(home: &Home, settings: &[(String, String)]) -> Self {
        Self::spawn(command(home, settings)).await
    }

    /// Starts whatever serves, and waits until it says where it listens.
    pub async fn spawn(command: Command) -> Self {
        Self::try_spawn(command).await.unwrap_or_else(|log| panic!("the server did not say where it listens; its log: {log:#?}"))
    }

    /// The same, for whoever can live with its failure.
    ///
    /// # Errors
    /// What it logged, if it ended without listening, or listened nowhere in time.
    pub async fn try_spawn(mut command: Command) -> Result<Self, Vec<String>> {
        let mut child = command.spawn().expect("the program that was just built can be started");
        let log = Arc::new(Mutex::new(Vec::new()));
        let (tell, told) = mpsc::channel();
        drain(child.stdout.take().expect("piped"), log.clone(), tell.clone());
        drain(child.stderr.take().expect("piped"), log.clone(), tell);
        let addr = tokio::task::spawn_blocking(move || told.recv_timeout(PATIENCE)).await.expect("waiting does not panic");
        match addr {
            Ok(addr) => Ok(Self { child, addr, log }),
            Err(_) => {
                let _ = child.kill();
                let _ = child.wait();
                let log = log.lock().expect("no reader panics").clone();
                Err(log)
            }
        }
    }

    /// Waits until `/readyz` is green.
    pub async fn ready(&self) {
        let url = format!("http://{}/readyz", self.addr);
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        let deadline = Instant::now() + PATIENCE;
        let mut last = String::new();
        while Instant::now() < deadline {
            match client.get(&url).timeout(Duration::from_secs(2)).send().await {
                Ok(answer) if answer.status() == 200 => return,
                Ok(answer) => last = format!("{} {}", answer.status(), answer.text().await.unwrap_or_default()),
                Err(error) => last = error.to_string(),
            }
            // Nothing announces readiness; asking is all that a load balancer does either.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the server is not ready: {last}; its log: {:#?}", self.log());
    }

    /// What it logged so far.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().expect("no reader panics").clone()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGTERM, as an orchestrator sends it.
    pub fn terminate(&self) {
        self.signal("-TERM");
    }

    /// SIGSTOP: it stands still, and does not know.
    pub fn pause(&self) {
        self.signal("-STOP");
    }

    /// SIGCONT.
    pub fn wake(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.pid().to_string()]).status();
        assert!(sent.as_ref().is_ok_and(ExitStatus::success), "{sent:?}");
    }

    /// Waits until it is gone, for as long as it takes.
    #[cfg(feature = "failpoints")]
    pub async fn gone(&mut self) {
        while self.child.try_wait().expect("a child can be asked").is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until it ended by itself.
    pub async fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().expect("a child can be asked") {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("the server did not end; its log: {:#?}", self.log());
    }

    /// The line in which it says why it ended. It may be read a moment after the end.
    pub async fn reason(&self) -> String {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(line) = self.log().into_iter().find(|line| line.starts_with("gittix: ")) {
                return line;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("the server did not say why it ended; its log: {:#?}", self.log());
    }

    /// How many file descriptors it has open.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("the process is alive").count()
    }

    /// Resident memory in KiB, as the kernel counts it (`VmRSS` of `/proc/<pid>/status`).
    pub fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("the process is alive");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a process has memory");
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

/// Runs a server that is to end by itself.
///
/// # Panics
/// If it does not.
#[cfg(feature = "failpoints")]
pub async fn run_to_its_end(home: &Home, settings: &[(String, String)]) {
    let mut command = command(home, settings);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program that was just built can be started");
    let deadline = Instant::now() + PATIENCE;
    while child.try_wait().expect("a child can be asked").is_none() {
        if Instant::now() > deadline {
            let _ = child.kill();
            panic!("it does not end");
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Runs the program to its end; what it said on either stream.
///
/// # Panics
/// If it does not end: it serves, though it should have refused to.
pub fn run(arguments: &[&str], settings: &[(&str, &str)]) -> (ExitStatus, String) {
    let mut child =
        bare_command().args(arguments).envs(settings.iter().copied()).spawn().expect("the program that was just built can be started");
    let text = Arc::new(Mutex::new(Vec::new()));
    let (tell, _) = mpsc::channel();
    let readers = [
        drain(child.stdout.take().expect("piped"), text.clone(), tell.clone()),
        drain(child.stderr.take().expect("piped"), text.clone(), tell),
    ];
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child can be asked") {
            break status;
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            panic!("{arguments:?} with {settings:?} did not end, but said {:#?}", text.lock().expect("no reader panics"));
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let _ = readers.map(|reader| reader.join().expect("no reader panics"));
    let text = text.lock().expect("no reader panics").join("\n");
    (status, text)
}

/// The program with nothing of this process's environment but what a program needs.
pub fn command(home: &Home, settings: &[(String, String)]) -> Command {
    let mut command = bare_command();
    command.arg("serve").env("GITTIX_ADDR", "127.0.0.1:0").env("GITTIX_DATA_DIR", home.data());
    command.env("GITTIX_LOG_FORMAT", "json").env("GITTIX_LOG", "info");
    if let Some(uri) = home.mongodb_uri() {
        command.env("MONGODB_URI", uri);
    }
    command.envs(settings.iter().map(|(name, value)| (name, value)));
    command
}

/// The program without a command or a setting.
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

/// Reads a stream to its end, so that the child never waits for a full pipe.
fn drain(stream: impl Read + Send + 'static, log: Arc<Mutex<Vec<String>>>, tell: mpsc::Sender<SocketAddr>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let addr = listening_at(&line);
            log.lock().expect("no reader panics").push(line);
            if let Some(addr) = addr {
                // Whoever waited may have given up.
                let _ = tell.send(addr);
            }
        }
    })
}

/// The address in a log line, of either format.
pub fn listening_at(line: &str) -> Option<SocketAddr> {
    if !line.contains("listening") {
        return None;
    }
    let after = line.split("addr").nth(1)?;
    let addr: String = after.chars().skip_while(|c| !c.is_ascii_digit()).take_while(|c| c.is_ascii_digit() || ".:".contains(*c)).collect();
    addr.parse().ok()
}

#[test]
fn both_log_formats_tell_the_address() {
    let addr = "127.0.0.1:4711".parse().ok();
    assert_eq!(listening_at("2026-01-01T00:00:00Z  INFO gittix::app: listening addr=127.0.0.1:4711"), addr);
    assert_eq!(listening_at(r#"{"level":"INFO","message":"listening","addr":"127.0.0.1:4711","n":1}"#), addr);
    assert_eq!(listening_at("something else addr=127.0.0.1:4711"), None);
}
