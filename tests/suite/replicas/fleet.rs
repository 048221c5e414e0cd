//! Three server processes on one database, each in a namespace of its own or all on this machine, and what can happen to
//! each. Their wall clocks differ by a minute, up and down, where the machine has `libfaketime`.

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
/// Where a second process under a replica's name listens.
const SECOND_PORT: u16 = 3001;
/// An orchestrator that starts a process again waits a moment.
const START_PAUSE: Duration = Duration::from_millis(200);

/// By how much the replicas' wall clocks are off.
const CLOCKS: [&str; Fleet::COUNT] = ["+0", "+60s", "-60s"];
/// Where Debian puts the library that makes a process believe in another time.
pub const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

/// The replicas.
#[derive(Debug)]
pub struct Fleet {
    replicas: Vec<Replica>,
    doors: Doors,
}

/// One replica's process, if it runs.
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

/// The way to all replicas, for whoever makes up the load.
pub type Doors = Arc<Vec<WebhookVerifier>>;

/// The way to one replica.
#[derive(Debug, Clone)]
pub struct WebhookVerifier {
    pub addr: SocketAddr,
    /// Counts the times that its process was stopped, killed or woken by us: what it answers across one of them says
    /// nothing about how long answers take.
    disturbances: Arc<AtomicU64>,
}

impl WebhookVerifier {
    pub fn disturbances(&self) -> u64 {
        self.disturbances.load(Ordering::Relaxed)
    }
}

impl Fleet {
    pub const COUNT: usize = 3;

    /// Nodes and doors; no process yet.
    pub fn apart(network: &mut Network) -> Self {
        let nodes: Vec<Node> = (0..Self::COUNT).map(|_| network.node()).collect();
        Self::at(nodes.into_iter().map(|node| (SocketAddr::from((node.ip, PORT)), Some(node))))
    }

    /// On this machine's loopback, at ports that were free a moment ago and that each keeps when it is started again. The
    /// addresses are such that no client's end of a connection can take them meanwhile, not even by meeting itself.
    pub fn here() -> Self {
        let listen = |number| TcpListener::bind(SocketAddr::from(([127, 0, 7, number], 0))).expect("a free port");
        let listeners: Vec<_> = (1..).take(Self::COUNT).map(listen).collect();
        Self::at(listeners.iter().map(|listener| (listener.local_addr().expect("it is bound"), None)))
    }

    fn at(places: impl Iterator<Item = (SocketAddr, Option<Node>)>) -> Self {
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
        let replicas: Vec<Replica> = places.enumerate().map(replica).collect();
        let doors = Arc::new(replicas.iter().map(|replica| WebhookVerifier { addr: replica.addr, disturbances: Arc::default() }).collect());
        Self { replicas, doors }
    }

    /// Starts all of them on `home`.
    pub async fn start(&mut self, home: &Home, settings: &[(&str, &str)]) {
        for replica in &mut self.replicas {
            replica.stop();
            replica.settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            replica.data = home.data();
            replica.uri = home.mongodb_uri().expect("replicas share a MongoDB").to_owned();
        }
        for number in 0..Self::COUNT {
            self.revive(number).await;
        }
    }

    pub fn doors(&self) -> Doors {
        Arc::clone(&self.doors)
    }

    /// The way to this one alone.
    pub fn only(&self, number: usize) -> Doors {
        Arc::new(vec![self.doors[number].clone()])
    }

    /// # Panics
    /// If it has no namespace of its own.
    pub fn node(&self, number: usize) -> &Node {
        self.replicas[number].node.as_ref().expect("replicas that are apart")
    }

    pub fn kill(&mut self, number: usize) {
        self.disturb(number);
        self.replicas[number].stop();
        self.disturb(number);
    }

    /// Starts one again and again, as an orchestrator does, until it listens; and waits until it is ready.
    pub async fn revive(&mut self, number: usize) {
        let replica = &mut self.replicas[number];
        let deadline = Instant::now() + PATIENCE;
        while replica.server.is_none() {
            match replica.try_start(replica.addr).await {
                Ok(server) => replica.server = Some(server),
                Err(log) => assert!(Instant::now() < deadline, "{} does not start: {log:#?}", replica.name),
            }
            sleep(START_PAUSE).await;
        }
        self.ready(number).await;
        self.disturb(number);
    }

    pub fn pause(&self, number: usize) {
        self.disturb(number);
        self.server(number).pause();
    }

    pub fn wake(&self, number: usize) {
        self.server(number).wake();
        self.disturb(number);
    }

    /// SIGTERM, its end, and a new process under its name.
    pub async fn restart(&mut self, number: usize) {
        self.disturb(number);
        let replica = &mut self.replicas[number];
        if let Some(server) = &mut replica.server {
            server.terminate();
            let status = server.ended().await;
            assert!(status.success(), "{} ended with {status}: {:#?}", replica.name, server.log());
        }
        replica.server = None;
        self.revive(number).await;
    }

    /// Another process under a replica's name, beside it.
    pub async fn second(&self, number: usize) -> Server {
        let replica = &self.replicas[number];
        replica
            .try_start(SocketAddr::new(replica.addr.ip(), SECOND_PORT))
            .await
            .unwrap_or_else(|log| panic!("a second {} does not start: {log:#?}", replica.name))
    }

    /// Waits until `/readyz` is green.
    pub async fn ready(&self, number: usize) {
        self.server(number).ready().await;
    }

    pub async fn all_ready(&self) {
        for number in 0..Self::COUNT {
            self.ready(number).await;
        }
    }

    /// The last lines of every log.
    pub fn logs(&self) -> Vec<String> {
        const LINES: usize = 40;
        let tail = |replica: &Replica| {
            let log = replica.server.as_ref().map(Server::log).unwrap_or_default();
            log[log.len().saturating_sub(LINES)..].iter().map(|line| format!("{}: {line}", replica.name)).collect::<Vec<_>>()
        };
        self.replicas.iter().flat_map(tail).collect()
    }

    fn server(&self, number: usize) -> &Server {
        self.replicas[number].server.as_ref().expect("it runs")
    }

    fn disturb(&self, number: usize) {
        self.doors[number].disturbances.fetch_add(1, Ordering::Relaxed);
    }
}

impl Replica {
    fn stop(&mut self) {
        // Dropping kills.
        self.server = None;
    }

    async fn try_start(&self, addr: SocketAddr) -> Result<Server, Vec<String>> {
        let program = Path::new(env!("CARGO_BIN_EXE_gittix"));
        let mut command = self.node.as_ref().map_or_else(|| Command::new(program), |node| node.command(program));
        command.arg("serve").env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        for name in ["PATH", "HOME", "RUST_BACKTRACE"] {
            command.envs(std::env::var_os(name).map(|value| (name, value)));
        }
        command.envs(clock_settings(self.clock));
        command.env("GITTIX_ADDR", addr.to_string()).env("GITTIX_DATA_DIR", &self.data);
        command.env("MONGODB_URI", &self.uri).env("GITTIX_REPLICA", &self.name).env("GITTIX_RATE_LIMIT", "off");
        command.env("GITTIX_LOG_FORMAT", "json").env("GITTIX_LOG", "info");
        command.envs(self.settings.iter().map(|(name, value)| (name, value)));
        // From its first log line on the kernel keeps whoever connects.
        Server::try_spawn(command).await
    }
}

/// What makes a process's wall clock be off by so much; nothing where that cannot be done.
pub fn clock_settings(off: &'static str) -> Vec<(&'static str, &'static str)> {
    match has_faketime() && off != CLOCKS[0] {
        // How long something takes is told by another clock, which is as right as everybody's.
        true => vec![("LD_PRELOAD", FAKETIME), ("FAKETIME", off), ("FAKETIME_DONT_FAKE_MONOTONIC", "1"), ("DONT_FAKE_MONOTONIC", "1")],
        false => Vec::new(),
    }
}

/// Whether the replicas' wall clocks differ.
pub fn has_faketime() -> bool {
    Path::new(FAKETIME).exists()
}
