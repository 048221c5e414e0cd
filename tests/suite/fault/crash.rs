//! A few seeded rounds of what `scripts/prove-crash` does two hundred times: kill -9 under load, start again, check.

use crate::{
    app::{Backend, on_both_stores},
    fault::rounds::{Plan, run},
};

on_both_stores!(after_a_kill_under_load_every_invariant_holds);

async fn after_a_kill_under_load_every_invariant_holds(store: Backend) {
    let tally = run(&Plan { store, seed: 20_260_101, rounds: 0..4 }, |_| {}).await;
    assert!(tally.acknowledged > 80 && tally.sold > 0 && tally.released > 0, "the load was no load: {tally:?}");
}
