//! The driver of `scripts/prove-crash`: many rounds of `kill -9` under load. The run is bounded and
//! resumable, and prints its seed and counts.
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

#[path = "../suite/fault/load.rs"]
mod load;
#[path = "../suite/fault/rounds.rs"]
mod rounds;

use std::{fs, path::PathBuf};

use clap::{Parser, ValueEnum};

use app::Backend;
use rounds::{Plan, Tally, run};

/// Kills a server under load, restarts it and checks its store with the invariants I1 to I8.
#[derive(Debug, Parser)]
struct Arguments {
    #[arg(long, value_enum)]
    store: Store,
    #[arg(long, default_value_t = 200)]
    rounds: u64,
    /// The seed of all random choices of the load.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The file with the number of the next round, from which an interrupted run continues.
    #[arg(long)]
    state: PathBuf,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Store {
    Embedded,
    Mongodb,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let arguments = Arguments::parse();
    let store = match arguments.store {
        Store::Embedded => Backend::Embedded,
        Store::Mongodb => Backend::MongoDb,
    };
    let first = resume(&arguments);
    println!(
        "store {:?}, seed {}, rounds {first} to {}",
        arguments.store, arguments.seed, arguments.rounds
    );
    let plan = Plan { store, seed: arguments.seed, rounds: first..arguments.rounds };
    let tally = run(&plan, |tally| {
        let next = first + tally.rounds;
        fs::write(&arguments.state, format!("{} {next}\n", arguments.seed))
            .expect("the state can be written");
        if next.is_multiple_of(10) {
            report(next, tally);
        }
    })
    .await;
    report(first + tally.rounds, &tally);
    println!("all invariants held after each of {} rounds", tally.rounds);
    let _ = fs::remove_file(&arguments.state);
}

/// Returns the next round: the one in the state file, if the file has the same seed.
fn resume(arguments: &Arguments) -> u64 {
    let state = fs::read_to_string(&arguments.state).unwrap_or_default();
    let mut numbers = state.split_whitespace().map(str::parse::<u64>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(seed)), Some(Ok(next))) if seed == arguments.seed && next < arguments.rounds => {
            next
        }
        _ => 0,
    }
}

fn report(round: u64, tally: &Tally) {
    println!(
        "round {round}: {} requests and {} acknowledged changes, {} sold, {} refunded and {} expired on the present store; \
         slowest release {} ms after its time, slowest start {} ms",
        tally.requests,
        tally.acknowledged,
        tally.sold,
        tally.refunded,
        tally.released,
        tally.release_lag_ms_max,
        tally.restart_ms_max
    );
}
