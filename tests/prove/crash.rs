//! The driver of `scripts/prove-crash`: many rounds of kill -9 under load, bounded, resumable, printing seed and counts.
//!
//! Not run by `cargo test`: the suite has a few rounds of the same in it.

#![allow(dead_code, unused_imports, unused_macros, reason = "it uses a part of the suite's support")]
#![allow(clippy::print_stdout, reason = "its output is what it is for")]

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

/// Kills a server under load, starts it again and holds its store against the invariants I1 to I8.
#[derive(Debug, Parser)]
struct Arguments {
    #[arg(long, value_enum)]
    store: Store,
    #[arg(long, default_value_t = 200)]
    rounds: u64,
    /// All choices of the load come from it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where the next round's number is kept, so that an interrupted run goes on.
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
    println!("store {:?}, seed {}, rounds {first} to {}", arguments.store, arguments.seed, arguments.rounds);
    let plan = Plan { store, seed: arguments.seed, rounds: first..arguments.rounds };
    let tally = run(&plan, |tally| {
        let next = first + tally.rounds;
        fs::write(&arguments.state, format!("{} {next}\n", arguments.seed)).expect("the state can be written");
        if next % 10 == 0 {
            report(next, tally);
        }
    })
    .await;
    report(first + tally.rounds, &tally);
    println!("all invariants held after each of {} rounds", tally.rounds);
    let _ = fs::remove_file(&arguments.state);
}

/// The round to go on with: the state's, if it is of this seed.
fn resume(arguments: &Arguments) -> u64 {
    let state = fs::read_to_string(&arguments.state).unwrap_or_default();
    let mut numbers = state.split_whitespace().map(str::parse::<u64>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(seed)), Some(Ok(next))) if seed == arguments.seed && next < arguments.rounds => next,
        _ => 0,
    }
}

fn report(round: u64, tally: &Tally) {
    println!(
        "round {round}: {} requests and {} acknowledged changes, {} sold, {} refunded and {} lapsed on the present store; \
         slowest release {} ms after its time, slowest start {} ms",
        tally.requests, tally.acknowledged, tally.sold, tally.refunded, tally.released, tally.release_lag_ms_max, tally.restart_ms_max
    );
}
