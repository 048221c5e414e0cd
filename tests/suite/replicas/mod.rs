//! Several server processes on one MongoDB: what each of them knows of the others, and what remains true while any of
//! them, or MongoDB, is killed, stopped, slowed down or cut off.
//!
//! The promises of the contract about replicas are tested one by one on whatever MongoDB the suite has. The rounds at
//! random need a replica set of three and a network of their own, hence root on Linux: a few of them are in the suite,
//! the many are `scripts/prove-replicas`.

mod election;
pub mod faults;
pub mod fleet;
pub mod members;
pub mod network;
mod promises;
mod rolling;
pub mod rounds;
pub mod shoppers;
mod trouble;
pub mod watchers;

use std::{io::Write, time::Duration};

use crate::fault::load;

/// # Panics
/// In CI, where nothing may be left out.
pub fn left_out(what: &str, why: &str) {
    assert!(std::env::var("CI").is_err(), "{what} cannot be left out in CI: {why}");
    // Past the capture of the tests' output: whoever runs them is to see it.
    let _ = writeln!(std::io::stderr(), "\nLEFT OUT: {what}: {why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_rounds_of_random_faults_every_invariant_holds_and_nobody_missed_anything() {
    if let Err(why) = network::is_possible() {
        return left_out("rounds of faults among three replicas on a replica set of three", &why);
    }
    let plan = rounds::Plan { seed: 20_260_105, rounds: 0..3, election: Duration::from_secs(2) };
    let tally = rounds::run(&plan, |_| {}).await;
    println!("{tally}");
    assert!(tally.acknowledged > 50 && tally.purchases > 10, "the load was no load: {tally:?}");
}
