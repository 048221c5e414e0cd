//! The driver of `scripts/prove-money`: many servers that die at a step of a payment, and many races for the second at which
//! a lock ends. Bounded, resumable, printing seed and counts.
//!
//! Not run by `cargo test`: the suite has a few of the same in it.

#![allow(dead_code, unused_imports, unused_macros, reason = "it uses a part of the suite's support")]
#![allow(clippy::print_stdout, reason = "its output is what it is for")]

#[path = "../suite/app/mod.rs"]
mod app;
#[path = "../suite/money/audit.rs"]
mod audit;
#[path = "../suite/money/buying.rs"]
mod buying;
#[path = "../fake_stripe/mod.rs"]
mod fake_stripe;
#[path = "../suite/money/race.rs"]
mod race;
#[path = "../suite/money/rounds.rs"]
mod rounds;
#[path = "../suite/money/stage.rs"]
mod stage;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use clap::{Parser, Subcommand, ValueEnum};

use app::Backend;
use rounds::{DEATHS, Tally};

/// Holds what GitTix sold against what its payment processor took.
#[derive(Debug, Parser)]
struct Arguments {
    #[arg(long, value_enum)]
    store: Store,
    /// All choices come from it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(subcommand)]
    proof: Proof,
}

#[derive(Debug, Subcommand)]
enum Proof {
    /// Servers that die at each step of a payment.
    Deaths {
        #[arg(long, default_value_t = 250)]
        rounds: u64,
        /// Side by side, each on stores of its own: most of a round is waiting for locks to end.
        #[arg(long, default_value_t = 4)]
        lanes: u64,
        /// Where the rounds that are done are kept, so that an interrupted run goes on.
        #[arg(long)]
        state: PathBuf,
    },
    /// Answers that come as a lock ends.
    Race {
        #[arg(long, default_value_t = 1_000)]
        races: usize,
        #[arg(long, default_value_t = 50)]
        together: usize,
    },
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
    match arguments.proof {
        Proof::Deaths { rounds, lanes, state } => deaths(store, arguments.seed, rounds, lanes, &state).await,
        Proof::Race { races, together } => race(store, arguments.seed, races, together).await,
    }
}

async fn deaths(store: Backend, seed: u64, rounds: u64, lanes: u64, state: &Path) {
    let done_before = resume(state, seed);
    println!("{store:?}, seed {seed}: {rounds} rounds, of which {} were done before", done_before.len());
    let done = Arc::new(Mutex::new(done_before.clone()));
    let sum = Arc::new(Mutex::new(Tally::default()));
    let running = (0..lanes).map(|lane| {
        // Whole stores to each lane, so that a store sees every kind of death.
        let of_lane = |round: &u64| round / DEATHS.len() as u64 % lanes == lane && !done_before.contains(round);
        let plan = rounds::Plan { store, seed, rounds: (0..rounds).filter(of_lane).collect() };
        let (done, sum, state) = (Arc::clone(&done), Arc::clone(&sum), state.to_owned());
        tokio::spawn(async move {
            let tally = rounds::run(&plan, |round, _| {
                let mut done = done.lock().expect("no holder panics");
                done.push(round);
                let numbers: Vec<String> = done.iter().map(ToString::to_string).collect();
                fs::write(&state, format!("{seed}\n{}\n", numbers.join(" "))).expect("the state can be written");
                if done.len().is_multiple_of(25) {
                    println!("{} rounds done", done.len());
                }
            })
            .await;
            sum.lock().expect("no holder panics").add(&tally);
        })
    });
    for lane in running.collect::<Vec<_>>() {
        if let Err(error) = lane.await {
            // The panic has said what does not hold; the other lanes must not hide it.
            println!("a lane failed: {error}");
            std::process::exit(1);
        }
    }
    report(&sum.lock().expect("no holder panics"));
    let _ = fs::remove_file(state);
}

/// The rounds that were done, if they were of this seed.
fn resume(state: &Path, seed: u64) -> Vec<u64> {
    let text = fs::read_to_string(state).unwrap_or_default();
    let mut lines = text.lines();
    let same = lines.next().and_then(|line| line.parse::<u64>().ok()) == Some(seed);
    let numbers = lines.next().filter(|_| same).unwrap_or_default();
    numbers.split_whitespace().filter_map(|number| number.parse().ok()).collect()
}

fn report(tally: &Tally) {
    for (name, _) in DEATHS {
        let (reached, missed) = tally.deaths.get(name).copied().unwrap_or_default();
        println!("{name:>20}: died there {reached} times, at rest {missed} times");
    }
    println!(
        "{} rounds: {} charges completed, {} authorizations voided, {} captures refunded, {} faulty answers, {} webhooks taken; \
         slowest start and settlement {} ms; I1 to I8 held and the ledger agreed after each",
        tally.rounds, tally.completed, tally.voided, tally.refunded, tally.faults, tally.webhooks, tally.settled_ms_max
    );
}

async fn race(store: Backend, seed: u64, races: usize, together: usize) {
    println!("{store:?}, seed {seed}: {races} races, {together} at a time");
    let plan = race::Plan { store, seed, races, together };
    let outcome = race::run(&plan, None, |outcome| println!("{} races run", outcome.races)).await;
    match outcome {
        Ok(outcome) => println!(
            "{} races: {} won by their buyer, {} lost and voided, {} lost and refunded, {} tickets bought by a rival in their stead; \
             no sale lost, none doubled, no money kept for nothing",
            outcome.races, outcome.won, outcome.voided, outcome.refunded, outcome.rivals
        ),
        Err(wrong) => {
            println!("{wrong:#?}");
            std::process::exit(1);
        }
    }
}
