//! The driver of `scripts/prove-money`: many servers that are killed at a step of a payment, and
//! many races with the second in which a lock ends. The run is bounded and resumable, and prints
//! its seed and counts.
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
    collections::BTreeSet,
    fs,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use clap::{Parser, Subcommand, ValueEnum};

use tokio::time::Instant;

use app::Backend;
use rounds::{Counts, DEATHS, Round};

/// Compares the tickets that GitTix sold with the money that its payment processor captured.
#[derive(Debug, Parser)]
struct Arguments {
    #[arg(long, value_enum)]
    store: Store,
    /// The seed of all random choices.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(subcommand)]
    proof: Proof,
}

#[derive(Debug, Subcommand)]
enum Proof {
    /// Servers that are killed at each step of a payment.
    Deaths {
        #[arg(long, default_value_t = 250)]
        rounds: u64,
        /// Number of concurrent lanes, each with stores of its own. A round mostly waits for locks
        /// to end.
        #[arg(long, default_value_t = 4)]
        lanes: u64,
        /// The file with the completed rounds, from which an interrupted run continues.
        #[arg(long)]
        state: PathBuf,
        /// No round begins after this time; the next run continues.
        #[arg(long, default_value_t = 7_200)]
        within_secs: u64,
    },
    /// Answers that arrive when a lock ends.
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
        Proof::Deaths { rounds, lanes, state, within_secs } => {
            let progress =
                Progress::resume(state, arguments.seed, Duration::from_secs(within_secs));
            kills(store, arguments.seed, rounds, lanes, progress).await;
        }
        Proof::Race { races, together } => race(store, arguments.seed, races, together).await,
    }
}

/// The completed rounds, written to disk after each round, so that an interrupted run can continue.
struct Progress {
    state: PathBuf,
    seed: u64,
    over: Vec<Round>,
    until: Instant,
    failed: bool,
}

impl Progress {
    fn resume(state: PathBuf, seed: u64, within: Duration) -> Self {
        let text = fs::read_to_string(&state).unwrap_or_default();
        let mut lines = text.lines();
        let same = lines.next().and_then(|line| line.parse::<u64>().ok()) == Some(seed);
        let over = lines.filter(|_| same).filter_map(|line| line.parse().ok()).collect();
        Self { state, seed, over, until: Instant::now() + within, failed: false }
    }

    /// Whether another round may begin.
    fn ended(&mut self, round: &Round) -> bool {
        self.over.push(*round);
        let lines: String = self.over.iter().map(|round| format!("{round}\n")).collect();
        fs::write(&self.state, format!("{}\n{lines}", self.seed))
            .expect("the state can be written");
        if self.over.len().is_multiple_of(25) {
            println!("{} rounds are completed", self.over.len());
        }
        !self.failed && Instant::now() < self.until
    }
}

async fn kills(store: Backend, seed: u64, rounds: u64, lanes: u64, progress: Progress) {
    let before: BTreeSet<u64> = progress.over.iter().map(|round| round.number).collect();
    println!(
        "{store:?}, seed {seed}: {rounds} rounds, of which {} were completed before",
        before.len()
    );
    let progress = Arc::new(Mutex::new(progress));
    let running: Vec<_> = (0..lanes)
        .map(|lane| {
            // Each lane has whole stores, so that a store has kills at every step.
            let of_lane = |round: &u64| {
                round / DEATHS.len() as u64 % lanes == lane && !before.contains(round)
            };
            let plan = rounds::Plan { store, seed, rounds: (0..rounds).filter(of_lane).collect() };
            let progress = Arc::clone(&progress);
            tokio::spawn(async move {
                rounds::run(&plan, |round| {
                    progress.lock().expect("no thread panics while it holds the lock").ended(round)
                })
                .await
            })
        })
        .collect();
    // A failed lane has printed its message. The other lanes finish their present round, so that
    // their servers are stopped.
    let watched = running.into_iter().map(|lane| async {
        if lane.await.is_err() {
            progress.lock().expect("no thread panics while it holds the lock").failed = true;
        }
    });
    futures_util::future::join_all(watched).await;
    let progress = progress.lock().expect("no thread panics while it holds the lock");
    report(&progress.over);
    if progress.failed {
        println!("a round failed; its message is above");
        std::process::exit(1);
    }
    if progress.over.len() as u64 >= rounds {
        let _ = fs::remove_file(&progress.state);
    }
}

fn report(over: &[Round]) {
    for (name, _) in DEATHS {
        let of_name: Vec<&Round> = over.iter().filter(|round| round.death() == name).collect();
        let reached = of_name.iter().filter(|round| round.reached).count();
        println!(
            "{name:>20}: killed at this step {reached} times, killed while idle {} times",
            of_name.len() - reached
        );
    }
    let sum =
        |count: fn(&Counts) -> u64| over.iter().map(|round| count(&round.counts)).sum::<u64>();
    println!(
        "{} rounds: {} charges completed, {} authorizations voided, {} captures refunded, {} faulty answers, {} webhooks taken; \
         slowest start and settlement {} ms; I1 to I8 except I6 held, and the ledger agreed, after each",
        over.len(),
        sum(|counts| counts.completed),
        sum(|counts| counts.voided),
        sum(|counts| counts.refunded),
        sum(|counts| counts.faults),
        sum(|counts| counts.webhooks),
        over.iter().map(|round| round.settled_ms).max().unwrap_or_default()
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
