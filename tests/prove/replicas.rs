//! The driver of `scripts/prove-replicas`: many rounds of faults among three replicas on a MongoDB
//! replica set of three. The run is bounded and resumable, and prints its seed, counts and figures.
//!
//! `cargo test` does not run this driver; the test suite has a few such rounds.

#![allow(
    dead_code,
    unused_imports,
    unused_macros,
    reason = "this program uses a part of the test support"
)]
#![allow(clippy::print_stdout, reason = "its output is its result")]

#[path = "../suite/app/mod.rs"]
mod app;

#[path = "../suite/replicas/faults.rs"]
mod faults;
#[path = "../suite/replicas/fleet.rs"]
mod fleet;
#[path = "../suite/fault/load.rs"]
mod load;
#[path = "../suite/replicas/members.rs"]
mod members;
#[path = "../suite/replicas/network.rs"]
mod network;
#[path = "../suite/replicas/rounds.rs"]
mod rounds;
#[path = "../suite/replicas/shoppers.rs"]
mod shoppers;
#[path = "../suite/replicas/tally.rs"]
mod tally;
#[path = "../suite/replicas/watchers.rs"]
mod watchers;

use std::{fs, path::PathBuf, time::Duration};

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use rounds::{Plan, ROUNDS_PER_LEG, run};

/// Causes faults of servers, network links and MongoDB under load, and checks the result with the
/// invariants I1 to I8.
#[derive(Debug, Parser)]
struct Arguments {
    #[arg(long, default_value_t = 100)]
    rounds: u64,
    /// The seed of all random choices.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Maximum number of rounds in this run; the next run continues.
    #[arg(long, default_value_t = u64::MAX)]
    at_once: u64,
    /// Time for which MongoDB's primary may be unreachable before an election, in milliseconds
    /// (MongoDB's default: 10000).
    #[arg(long, default_value_t = 2_000)]
    election_ms: u64,
    /// The file with the number of the next round, from which an interrupted run continues.
    #[arg(long)]
    state: PathBuf,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let arguments = Arguments::parse();
    if let Err(why) = network::is_possible() {
        panic!("this proof needs root on Linux, network namespaces and nft: {why}");
    }
    let first = resume(&arguments);
    let end = arguments.rounds.min(first.saturating_add(arguments.at_once));
    println!(
        "seed {}, rounds {first} to {end} of {}, elections after {} ms",
        arguments.seed, arguments.rounds, arguments.election_ms
    );
    if !fleet::has_faketime() {
        println!(
            "LEFT OUT: wall clocks that differ by a minute; install libfaketime to include them"
        );
    }
    let plan = Plan {
        seed: arguments.seed,
        rounds: first..end,
        election: Duration::from_millis(arguments.election_ms),
    };
    let rounds = run(&plan, |tally| {
        let next = first + tally.rounds;
        fs::write(&arguments.state, format!("{} {next}\n", arguments.seed))
            .expect("the state can be written");
        println!("round {next}: {tally}");
    });
    // An interruption also ends the processes and removes the namespaces, because the rounds are
    // dropped.
    let mut terminated = signal(SignalKind::terminate()).expect("signals can be received");
    let tally = tokio::select! {
        tally = rounds => tally,
        _ = terminated.recv() => return println!("interrupted: the next run continues"),
        _ = tokio::signal::ctrl_c() => return println!("interrupted: the next run continues"),
    };
    println!("faults: {:?}", tally.faults);
    println!(
        "all invariants held, and all observers received every event, over {} rounds",
        tally.rounds
    );
    if end == arguments.rounds {
        let _ = fs::remove_file(&arguments.state);
    }
}

/// Returns the next round: the one in the state file, if the file has the same seed. Rounds that
/// share a database begin together.
fn resume(arguments: &Arguments) -> u64 {
    let state = fs::read_to_string(&arguments.state).unwrap_or_default();
    let mut numbers = state.split_whitespace().map(str::parse::<u64>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(seed)), Some(Ok(next))) if seed == arguments.seed && next < arguments.rounds => {
            next - next % ROUNDS_PER_LEG
        }
        _ => 0,
    }
}
