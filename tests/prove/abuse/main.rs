//! The driver of `scripts/prove-abuse`: one IP address attacks a server with default limits in
//! nine ways at the same time, and an ordinary client buys tickets from another address.
//!
//! Each round has two halves with the same ordinary load: one beside the attack, and one beside a
//! process that only uses as much CPU time as the attacker's tools did. All ordinary requests must
//! succeed, the ordinary 99th percentile beside the attack must be at most twice the one beside the
//! CPU load, and the server's memory must stay bounded. The attacker and the CPU load run on one
//! core.
//!
//! `cargo test` does not run this proof.

#![allow(
    dead_code,
    unused_imports,
    unused_macros,
    reason = "this program uses a part of the test support"
)]
#![allow(clippy::print_stdout, reason = "its output is its purpose")]

#[path = "../../suite/app/mod.rs"]
mod app;
mod attack;
mod ordinary;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use clap::{Parser, Subcommand};
use gittix::{
    clock::wall_clock,
    domain::{Timestamp, UserId},
};
use tokio::time::Instant;
use uuid::Uuid;

use app::{Backend, Home, Server, world};
use ordinary::{Buyer, Latencies};

/// The addresses of the attacker and of the ordinary client.
const ATTACKER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 66));
const HONEST: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 7));

/// Number of concurrent ordinary buyers. Each makes one purchase a second.
const BUYERS: usize = 8;
/// Maximum number of open file descriptors of the server, low enough for the attacker to exhaust
/// it.
const SERVER_DESCRIPTORS: u64 = 2_048;
/// Number of tickets in the catalog, so that searches have tickets to examine.
const TICKETS: usize = 20_000;
const SELLERS: usize = 40;
/// Maximum ratio of the ordinary 99th percentile beside the attack to the one beside the CPU load.
const P99_RATIO_MAX: f64 = 2.0;
/// Maximum growth of the server's resident memory during the attack, in KiB.
const MEMORY_GROWTH_KIB_MAX: u64 = 256 * 1024;
const MEMORY_SAMPLE_EVERY: Duration = Duration::from_millis(100);

#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    role: Role,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// Runs the proof.
    Run {
        #[arg(long, default_value_t = 3)]
        rounds: u32,
        /// Duration of each half of a round, in seconds.
        #[arg(long, default_value_t = 20)]
        seconds: u64,
        #[arg(long)]
        mongodb: bool,
    },
    /// Attacks a server until the end of the time, and prints the outcomes.
    Attack {
        #[arg(long)]
        addr: SocketAddr,
        #[arg(long)]
        seconds: u64,
        /// The round's number, which makes its accounts differ from those of other rounds.
        #[arg(long)]
        round: u32,
    },
    /// Uses CPU time at a constant rate.
    Burn {
        #[arg(long)]
        seconds: u64,
        /// CPU time to use, in thousandths of one core.
        #[arg(long)]
        permille: u64,
    },
}

fn main() {
    match Arguments::parse().role {
        Role::Run { rounds, seconds, mongodb } => {
            let store = if mongodb { Backend::MongoDb } else { Backend::Embedded };
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .expect("the runtime can be built");
            runtime.block_on(prove(store, rounds, Duration::from_secs(seconds)));
        }
        Role::Attack { addr, seconds, round } => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("the runtime can be built");
            let tally =
                runtime.block_on(attack::run(addr, ATTACKER, Duration::from_secs(seconds), round));
            println!(
                "{}",
                serde_json::to_string_pretty(&tally).expect("a table of numbers serialises")
            );
        }
        Role::Burn { seconds, permille } => burn(Duration::from_secs(seconds), permille),
    }
}

/// One half of a round.
#[derive(Debug)]
struct Half {
    latencies: Latencies,
    memory_peak_kib: u64,
    /// CPU time of the process beside the ordinary load, in thousandths of one core.
    beside_permille: u64,
}

async fn prove(store: Backend, rounds: u32, span: Duration) {
    let home = Home::new(store);
    let seeded = world::seed_users(&home, BUYERS).await;
    let sellers: Vec<UserId> = (0..SELLERS).map(|_| UserId::new(Uuid::now_v7())).collect();
    let listed_at = Timestamp(wall_clock().0 - 600_000);
    // All titles share eight words, and each has one word of its own.
    let tickets = world::seed_tickets(&home, TICKETS, listed_at, &sellers, |number| {
        format!("a b c d e f g h unique{number}")
    })
    .await;
    let server = start(&home).await;
    let buyers = ordinary::buyers(server.addr, HONEST, seeded, tickets).await;
    let memory_before_kib = server.resident_kib();

    let (mut attacked, mut compared) = (Latencies::default(), Latencies::default());
    let mut memory_peak_kib = 0;
    for round in 1..=rounds {
        let seconds = span.as_secs().to_string();
        let attacker = [
            "attack",
            "--addr",
            &server.addr.to_string(),
            "--seconds",
            &seconds,
            "--round",
            &round.to_string(),
        ];
        let half = beside(&server, &buyers, pinned(&attacker), span).await;
        println!(
            "round {round}: beside the attack {}, attacker {} permille of a core",
            half.latencies.summary(),
            half.beside_permille
        );
        memory_peak_kib = memory_peak_kib.max(half.memory_peak_kib);
        let burner =
            ["burn", "--seconds", &seconds, "--permille", &half.beside_permille.to_string()];
        attacked.extend(half.latencies);
        let half = beside(&server, &buyers, pinned(&burner), span).await;
        println!(
            "round {round}: beside the burner {}, burner {} permille of a core",
            half.latencies.summary(),
            half.beside_permille
        );
        compared.extend(half.latencies);
    }
    let growth_kib = memory_peak_kib.saturating_sub(memory_before_kib);
    let ratio = attacked.p99().as_secs_f64() / compared.p99().as_secs_f64();
    println!("all rounds: attacked {}; compared {}", attacked.summary(), compared.summary());
    println!(
        "p99 ratio {ratio:.2} (at most {P99_RATIO_MAX}); memory {memory_before_kib} KiB before, {memory_peak_kib} KiB at most"
    );
    for failure in attacked.failures.iter().chain(&compared.failures) {
        println!("failed: {failure}");
    }
    assert!(
        attacked.count() > 0 && compared.count() > 0,
        "the ordinary client sent requests in both halves"
    );
    assert!(
        attacked.failures.is_empty() && compared.failures.is_empty(),
        "no ordinary request fails"
    );
    assert!(ratio <= P99_RATIO_MAX, "p99 ratio {ratio:.2}");
    assert!(growth_kib <= MEMORY_GROWTH_KIB_MAX, "memory grew by {growth_kib} KiB");
}

/// Runs the ordinary load beside another process.
async fn beside(server: &Server, buyers: &[Buyer], mut other: Child, span: Duration) -> Half {
    let (peak, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let sampled = {
        let (peak, over, pid) = (Arc::clone(&peak), Arc::clone(&over), server.pid());
        tokio::task::spawn_blocking(move || {
            while !over.load(Ordering::Relaxed) {
                peak.fetch_max(resident_kib(pid), Ordering::Relaxed);
                std::thread::sleep(MEMORY_SAMPLE_EVERY);
            }
        })
    };
    let began = Instant::now();
    let latencies = ordinary::buy(buyers, span).await;
    let spent = cpu_time(other.id());
    let elapsed = began.elapsed();
    over.store(true, Ordering::Relaxed);
    sampled.await.expect("the sampler does not panic");
    let status = tokio::task::spawn_blocking(move || other.wait())
        .await
        .expect("waiting does not panic")
        .expect("a child can be waited for");
    assert!(status.success(), "the other process ended with {status}");
    let beside_permille = u64::try_from(spent.as_millis() * 1000 / elapsed.as_millis().max(1))
        .unwrap_or(1000)
        .min(1000);
    Half { latencies, memory_peak_kib: peak.load(Ordering::Relaxed), beside_permille }
}

/// Starts this program in another role on the first core.
fn pinned(arguments: &[&str]) -> Child {
    let this = std::env::current_exe().expect("this program has a path");
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", "0"]).arg(this).args(arguments).stdin(Stdio::null());
    command.spawn().expect("taskset of util-linux is installed")
}

/// Starts a server with default limits and few file descriptors.
async fn start(home: &Home) -> Server {
    let mut command = Command::new("bash");
    command.args([
        "-c",
        &format!("ulimit -n {SERVER_DESCRIPTORS}; exec \"$0\" serve"),
        env!("CARGO_BIN_EXE_gittix"),
    ]);
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command
        .env("GITTIX_ADDR", "127.0.0.1:0")
        .env("GITTIX_DATA_DIR", home.data())
        .env("GITTIX_LOG_FORMAT", "json");
    if let Some(uri) = home.mongodb_uri() {
        command.env("MONGODB_URI", uri);
    }
    let server = Server::spawn(command).await;
    server.ready().await;
    server
}

/// Returns the resident memory of a process in KiB, or 0 if it has ended.
fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|kib| kib.parse().ok()).unwrap_or(0)
}

/// Returns the CPU time of a process so far: fields 14 and 15 of `/proc/<pid>/stat`
/// (proc_pid_stat(5)), in ticks of 10 ms.
fn cpu_time(pid: u32) -> Duration {
    const TICK: Duration = Duration::from_millis(10);
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks: u32 = after_name
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<u32>().ok())
        .sum();
    TICK * ticks
}

/// Alternates between computing and sleeping, ten times a second.
#[expect(clippy::disallowed_methods, reason = "it measures its own time")]
fn burn(span: Duration, permille: u64) {
    const PERIOD: Duration = Duration::from_millis(100);
    let busy = PERIOD
        .mul_f64(f64::from(u32::try_from(permille.min(1000)).expect("at most 1000")) / 1000.0);
    let began = std::time::Instant::now();
    let mut number = 1u64;
    while began.elapsed() < span {
        let period = std::time::Instant::now();
        while period.elapsed() < busy {
            for _ in 0..1_000 {
                number = std::hint::black_box(
                    number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1),
                );
            }
        }
        std::thread::sleep(PERIOD.saturating_sub(period.elapsed()));
    }
}
