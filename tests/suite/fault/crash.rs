//! A few seeded rounds of the same test that `scripts/prove-crash` runs 200 times: kill -9 under
//! load, restart, check.

use crate::{
    app::{Backend, on_both_stores},
    fault::rounds::{Plan, run},
};

on_both_stores!(invariants_hold_after_a_kill_under_load);

async fn invariants_hold_after_a_kill_under_load(store: Backend) {
    let tally = run(&Plan { store, seed: 20_260_101, rounds: 0..4 }, |_| {}).await;
    assert!(
        tally.acknowledged > 80 && tally.sold > 0 && tally.released > 0,
        "the load changed too little: {tally:?}"
    );
}
