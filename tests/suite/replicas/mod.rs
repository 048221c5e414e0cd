//! Several server processes on one MongoDB: which state they share, and what holds while any of
//! them, or MongoDB, is killed, stopped, slowed down or cut off.
//!
//! The rules of the contract about replicas are tested one by one on the MongoDB of the suite. The
//! random rounds need a replica set of three and a separate network, hence root on Linux: the suite
//! runs a few of them, and `scripts/prove-replicas` runs many.

mod election;
pub mod faults;
pub mod fleet;
pub mod members;
pub mod network;
mod promises;
mod rolling;
pub mod rounds;
pub mod shoppers;
mod store_faults;
pub mod tally;
pub mod watchers;

use std::{io::Write, time::Duration};

use crate::fault::load;

/// Reports on stderr that a test was skipped.
///
/// # Panics
/// In CI, where no test may be skipped.
pub fn report_skipped(what: &str, why: &str) {
    assert!(std::env::var("CI").is_err(), "{what} cannot be skipped in CI: {why}");
    // Writes to stderr directly, past the capture of the tests' output, so that the message is
    // always visible.
    let _ = writeln!(std::io::stderr(), "\nSKIPPED: {what}: {why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invariants_hold_and_no_event_is_missed_after_rounds_of_random_faults() {
    if let Err(why) = network::is_possible() {
        return report_skipped(
            "rounds of faults among three replicas on a replica set of three",
            &why,
        );
    }
    let plan = rounds::Plan { seed: 20_260_105, rounds: 0..3, election: Duration::from_secs(2) };
    let tally = rounds::run(&plan, |_| {}).await;
    println!("{tally}");
    assert!(
        tally.acknowledged > 50 && tally.purchases > 10,
        "the load changed too little: {tally:?}"
    );
}
