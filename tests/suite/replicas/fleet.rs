//! Three server processes on one database, each in a network namespace or all on this machine, and
//! faults for each. Their wall clocks differ by a minute, ahead and behind, where the machine has
//! `libfaketime`.

use std::{
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::{Instant, sleep};

use super::network::{Network, Node};
use crate::app::{Home, PATIENCE, Server};

const PORT: u16 = 3000;
/// Port of a second process under a replica's name.
const SECOND_PORT: u16 = 3001;
/// Pause between two starts, as an orchestrator makes it.
const START_PAUSE: Duration = Duration::from_millis(200);

/// Offsets of the replicas' wall clocks.
const CLOCKS: [&str; Fleet::COUNT] = ["+0", "+60s", "-60s"];
/// Path of the library that changes the wall clock of a process, as Debian installs it.
pub const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

/// All replicas.
#[derive(Debug)]
pub struct Fleet {
    replicas: Vec<Replica>,
    endpoints: Endpoints,
}

/// One replica, with its process if it runs.
#[derive(Debug)]
pub struct Replica {
    node: Option<Node>,
    addr: SocketAddr,
    name: String,
    clock: &'static str,
    server: Option<Server>,
    settings: Vec<(String, String)>,
    data: PathBuf,
    uri: String,
}

/// Endpoints of all replicas, for the clients of the load.
pub type Endpoints = Arc<Vec<Endpoint>>;

/// Endpoint of one replica.
#[derive(Debug, Clone)]
pub struct Endpoint {
    pub addr: SocketAddr,
    /// Number of times that the test stopped, killed or resumed the process. The duration of an
    /// answer that spans such an interruption is not counted.
    interruptions: Arc<AtomicU64>,
}

impl Endpoint {
    pub fn interruptions(&self) -> u64 {
        self.interruptions.load(Ordering::Relaxed)
    }
}

impl Fleet {
    pub const COUNT: usize = 3;

    /// Returns replicas in network namespaces, without processes yet.
    pub fn in_namespaces(network: &mut Network) -> Self {
        let nodes: Vec<Node> = (0..Self::COUNT).map(|_| network.node()).collect();
        Self::at(nodes.into_iter().map(|node| (SocketAddr::from((node.ip, PORT)), Some(node))))
    }

    /// Returns replicas on the loopback interface, at ports that were free a moment ago and that
    /// each keeps over restarts. No outgoing connection uses these addresses meanwhile, not even
    /// one that connects to itself.
    pub fn on_loopback() -> Self {
        let listen = |number| {
            TcpListener::bind(SocketAddr::from(([127, 0, 7, number], 0))).expect("a free port")
        };
        let listeners: Vec<_> = (1..).take(Self::COUNT).map(listen).collect();
        Self::at(
            listeners
                .iter()
                .map(|listener| (listener.local_addr().expect("the listener is bound"), None)),
        )
    }

    fn at(addresses: impl Iterator<Item = (SocketAddr, Option<Node>)>) -> Self {
        let replica = |(number, (addr, node))| Replica {
            node,
            addr,
            name: format!("replica-{number}"),
            clock: CLOCKS[number],
            server: None,
            settings: Vec::new(),
            data: PathBuf::new(),
            uri: String::new(),
        };
        let replicas: Vec<Replica> = addresses.enumerate().map(replica).collect();
        let endpoints = Arc::new(
            replicas
                .iter()
                .map(|replica| Endpoint { addr: replica.addr, interruptions: Arc::default() })
                .collect(),
        );
        Self { replicas, endpoints }
    }

    /// Starts all replicas on `home`.
    pub async fn start(&mut self, home: &Home, settings: &[(&str, &str)]) {
        for replica in &mut self.replicas {
            replica.stop();
            replica.settings = settings
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect();
            replica.data = home.data();
            replica.uri = home.mongodb_uri().expect("replicas share a MongoDB").to_owned();
        }
        for number in 0..Self::COUNT {
            self.start_until_ready(number).await;
        }
    }

    pub fn endpoints(&self) -> Endpoints {
        Arc::clone(&self.endpoints)
    }

    /// Returns the endpoint of this replica only.
    pub fn only(&self, number: usize) -> Endpoints {
        Arc::new(vec![self.endpoints[number].clone()])
    }

    /// # Panics
    /// If the replica has no network namespace.
    pub fn node(&self, number: usize) -> &Node {
        self.replicas[number].node.as_ref().expect("the replica has a network namespace")
    }

    pub fn kill(&mut self, number: usize) {
        self.count_interruption(number);
        self.replicas[number].stop();
        self.count_interruption(number);
    }

    /// Starts a replica, repeatedly as an orchestrator does, until it listens; then waits until it
    /// is ready.
    pub async fn start_until_ready(&mut self, number: usize) {
        let replica = &mut self.replicas[number];
        let deadline = Instant::now() + PATIENCE;
        while replica.server.is_none() {
            match replica.try_start(replica.addr).await {
                Ok(server) => replica.server = Some(server),
                Err(log) => {
                    assert!(Instant::now() < deadline, "{} does not start: {log:#?}", replica.name)
                }
            }
            sleep(START_PAUSE).await;
        }
        self.ready(number).await;
        self.count_interruption(number);
    }

    pub fn pause(&self, number: usize) {
        self.count_interruption(number);
        self.server(number).pause();
    }

    pub fn resume(&self, number: usize) {
        self.server(number).resume();
        self.count_interruption(number);
    }

    /// Sends SIGTERM, waits for the exit, and starts a new process under the same name.
    pub async fn restart(&mut self, number: usize) {
        self.count_interruption(number);
        let replica = &mut self.replicas[number];
        if let Some(server) = &mut replica.server {
            server.terminate();
            let status = server.ended().await;
            assert!(status.success(), "{} ended with {status}: {:#?}", replica.name, server.log());
        }
        replica.server = None;
        self.start_until_ready(number).await;
    }

    /// Starts another process under the name of a running replica.
    pub async fn start_second(&self, number: usize) -> Server {
        let replica = &self.replicas[number];
        replica
            .try_start(SocketAddr::new(replica.addr.ip(), SECOND_PORT))
            .await
            .unwrap_or_else(|log| panic!("a second {} does not start: {log:#?}", replica.name))
    }

    /// Waits until `/readyz` answers 200.
    pub async fn ready(&self, number: usize) {
        self.server(number).ready().await;
    }

    pub async fn all_ready(&self) {
        for number in 0..Self::COUNT {
            self.ready(number).await;
        }
    }

    /// Returns the last lines of every log.
    pub fn logs(&self) -> Vec<String> {
        const LINES: usize = 40;
        let tail = |replica: &Replica| {
            let log = replica.server.as_ref().map(Server::log).unwrap_or_default();
            log[log.len().saturating_sub(LINES)..]
                .iter()
                .map(|line| format!("{}: {line}", replica.name))
                .collect::<Vec<_>>()
        };
        self.replicas.iter().flat_map(tail).collect()
    }

    fn server(&self, number: usize) -> &Server {
        self.replicas[number].server.as_ref().expect("the replica runs")
    }

    fn count_interruption(&self, number: usize) {
        self.endpoints[number].interruptions.fetch_add(1, Ordering::Relaxed);
    }
}

impl Replica {
    fn stop(&mut self) {
        // Dropping the server kills its process.
        self.server = None;
    }

    async fn try_start(&self, addr: SocketAddr) -> Result<Server, Vec<String>> {
        let program = Path::new(env!("CARGO_BIN_EXE_gittix"));
        let mut command =
            self.node.as_ref().map_or_else(|| Command::new(program), |node| node.command(program));
        command
            .arg("serve")
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        for name in ["PATH", "HOME", "RUST_BACKTRACE"] {
            command.envs(std::env::var_os(name).map(|value| (name, value)));
        }
        command.envs(clock_settings(self.clock));
        command.env("GITTIX_ADDR", addr.to_string()).env("GITTIX_DATA_DIR", &self.data);
        command
            .env("MONGODB_URI", &self.uri)
            .env("GITTIX_REPLICA", &self.name)
            .env("GITTIX_RATE_LIMIT", "off");
        command.env("GITTIX_LOG_FORMAT", "json").env("GITTIX_LOG", "info");
        command.envs(self.settings.iter().map(|(name, value)| (name, value)));
        // From the first log line on, the kernel queues incoming connections.
        Server::try_spawn(command).await
    }
}

/// Returns the environment that shifts a process's wall clock by `off`; empty if the library is
/// missing.
pub fn clock_settings(off: &'static str) -> Vec<(&'static str, &'static str)> {
    match has_faketime() && off != CLOCKS[0] {
        // Durations are measured with the monotonic clock, which stays correct.
        true => vec![
            ("LD_PRELOAD", FAKETIME),
            ("FAKETIME", off),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ("DONT_FAKE_MONOTONIC", "1"),
        ],
        false => Vec::new(),
    }
}

/// Returns whether `libfaketime` is installed, so that the replicas' wall clocks differ.
pub fn has_faketime() -> bool {
    Path::new(FAKETIME).exists()
}
