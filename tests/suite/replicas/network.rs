//! A virtual network for real processes: a bridge, and for each node a namespace with one address.
//! Links are cut by packet filters inside a namespace. Needs root on Linux, `ip` and `nft`.

use std::{
    fmt,
    io::Write,
    net::Ipv4Addr,
    path::Path,
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

/// Bridge with its nodes. Dropping it removes all of them.
#[derive(Debug)]
pub struct Network {
    name: String,
    /// First three bytes of every address.
    prefix: [u8; 3],
    nodes: Vec<Node>,
}

/// One network namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    namespace: String,
    pub ip: Ipv4Addr,
}

/// Way in which a link is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// All packets are dropped without a notice.
    Drop,
    /// Outgoing packets arrive, incoming packets are dropped.
    DropAnswers,
    /// The sender of a TCP packet gets a reset at once.
    Reset,
}

impl Cut {
    pub const ALL: [Self; 3] = [Self::Drop, Self::DropAnswers, Self::Reset];
}

/// Checks whether this machine permits such a network.
///
/// # Errors
/// One line that names what is missing.
pub fn is_possible() -> Result<(), String> {
    /// Tests of one process may call this at the same time.
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("gxtry{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    run("ip", &["netns", "add", &name], None)?;
    let filters = run("ip", &["netns", "exec", &name, "nft", "list", "ruleset"], None);
    run("ip", &["netns", "delete", &name], None)?;
    filters
}

impl Network {
    /// # Panics
    /// Where [`is_possible`] fails.
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let process = std::process::id();
        let [low, high, ..] = process.wrapping_mul(31).wrapping_add(count).to_le_bytes();
        // The name of an interface has at most 15 characters.
        let network = Self {
            name: format!("gx{process}{}", count % 10),
            prefix: [10, 64 + high % 128, low],
            nodes: Vec::new(),
        };
        let bridge = network.name.clone();
        network.run_or_panic("ip", &["link", "add", &bridge, "type", "bridge"]);
        network.run_or_panic(
            "ip",
            &["address", "add", &format!("{}/24", network.address(1)), "dev", &bridge],
        );
        network.run_or_panic("ip", &["link", "set", &bridge, "up"]);
        network
    }

    /// Adds a namespace to the bridge.
    pub fn node(&mut self) -> Node {
        let number = u8::try_from(self.nodes.len()).expect("few nodes") + 11;
        let node = Node { namespace: format!("{}-{number}", self.name), ip: self.address(number) };
        let (namespace, outer) = (node.namespace.clone(), format!("{}v{number}", self.name));
        self.run_or_panic("ip", &["netns", "add", &namespace]);
        self.nodes.push(node.clone());
        self.run_or_panic(
            "ip",
            &["link", "add", &outer, "type", "veth", "peer", "name", "eth0", "netns", &namespace],
        );
        self.run_or_panic("ip", &["link", "set", &outer, "master", &self.name, "up"]);
        self.run_or_panic(
            "ip",
            &["-n", &namespace, "address", "add", &format!("{}/24", node.ip), "dev", "eth0"],
        );
        self.run_or_panic("ip", &["-n", &namespace, "link", "set", "eth0", "up"]);
        self.run_or_panic("ip", &["-n", &namespace, "link", "set", "lo", "up"]);
        node
    }

    fn address(&self, last: u8) -> Ipv4Addr {
        let [a, b, c] = self.prefix;
        Ipv4Addr::new(a, b, c, last)
    }

    fn run_or_panic(&self, program: &str, arguments: &[&str]) {
        run(program, arguments, None).unwrap_or_else(|error| panic!("{error}"));
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for node in &self.nodes {
            let _ = run("ip", &["netns", "delete", &node.namespace], None);
        }
        let _ = run("ip", &["link", "delete", &self.name], None);
    }
}

impl Node {
    /// Returns a command that runs `program` in this namespace; the process id is that of
    /// `program`.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace]).arg(program);
        command
    }

    /// Cuts this node off from `others`, in both directions.
    pub fn cut(&self, others: &[Node], how: Cut) {
        let peers = others.iter().map(|other| other.ip.to_string()).collect::<Vec<_>>().join(", ");
        let (incoming, outgoing) = match how {
            Cut::Drop => ("drop", "drop"),
            Cut::DropAnswers => ("drop", "accept"),
            Cut::Reset => {
                ("meta l4proto tcp reject with tcp reset", "meta l4proto tcp reject with tcp reset")
            }
        };
        self.filter(&format!(
            "table ip cut {{\n\
             chain incoming {{ type filter hook input priority 0; ip saddr {{ {peers} }} {incoming}; }}\n\
             chain outgoing {{ type filter hook output priority 0; ip daddr {{ {peers} }} {outgoing}; }}\n\
             }}\n"
        ));
    }

    /// Restores all links of this node.
    pub fn heal(&self) {
        // The table is added first, so that the deletion succeeds whether or not it existed.
        self.filter("add table ip cut\ndelete table ip cut\n");
    }

    fn filter(&self, rules: &str) {
        let arguments = ["netns", "exec", &self.namespace, "nft", "-f", "-"];
        run("ip", &arguments, Some(rules)).unwrap_or_else(|error| panic!("{error}\n{rules}"));
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ip.fmt(f)
    }
}

/// Runs a short command and waits for its exit.
fn run(program: &str, arguments: &[&str], input: Option<&str>) -> Result<(), String> {
    let what = || format!("{program} {}", arguments.join(" "));
    let mut command = Command::new(program);
    command.args(arguments).stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("{}: {error}", what()))?;
    if let (Some(mut stdin), Some(input)) = (child.stdin.take(), input) {
        stdin.write_all(input.as_bytes()).map_err(|error| format!("{}: {error}", what()))?;
    }
    let output = child.wait_with_output().map_err(|error| format!("{}: {error}", what()))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!(
            "{}: {}",
            what(),
            String::from_utf8_lossy(&output.stderr).trim().replace('\n', " ")
        )),
    }
}
