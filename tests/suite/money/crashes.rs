//! A few rounds of the same tests that `scripts/prove-money` runs 500 times: a server that crashes
//! at a step of a payment, and the race for the second at which a lock ends.

use super::{race, rounds};
use crate::{
    app::{Backend, on_both_stores},
    fake_stripe::Deceit,
};

on_both_stores!(
    money_is_accounted_for_after_a_crash_at_any_payment_step,
    answer_at_the_end_of_the_lock_gives_a_sale_or_a_refund
);

const SEED: u64 = 20_261_122;

async fn money_is_accounted_for_after_a_crash_at_any_payment_step(store: Backend) {
    // Indexes into `rounds::DEATHS`: after authorize, before claim, after capture, before final
    // commit, webhook handled. The offset selects a store whose locks are longer than a restart, so
    // that a busy machine has time to sell something.
    let numbers = [3, 4, 7, 8, 11].map(|number| rounds::DEATHS.len() as u64 + number);
    let runs = numbers.map(|number| async move {
        rounds::run(&rounds::Plan { store, seed: SEED, rounds: vec![number] }, |_| true).await
    });
    let rounds = futures_util::future::join_all(runs).await.concat();
    let sum = |count: fn(&rounds::Counts) -> u64| {
        rounds.iter().map(|round| count(&round.counts)).sum::<u64>()
    };
    let load =
        [sum(|counts| counts.completed), sum(|counts| counts.voided), sum(|counts| counts.faults)];
    assert!(rounds.len() == 5 && !load.contains(&0), "the load did too little: {rounds:?}");
    let crashed: Vec<&str> =
        rounds.iter().filter(|round| round.reached).map(rounds::Round::death).collect();
    assert!(crashed.len() >= 3, "too few servers crashed at their crash point, only {crashed:?}");
}

async fn answer_at_the_end_of_the_lock_gives_a_sale_or_a_refund(store: Backend) {
    let plan = race::Plan { store, seed: SEED, races: 24, together: 24 };
    let outcome = race::run(&plan, None, |_| {}).await.unwrap_or_else(|wrong| panic!("{wrong:#?}"));
    assert_eq!(
        (outcome.races, outcome.won + outcome.voided + outcome.refunded),
        (24, 24),
        "{outcome:?}"
    );
    assert!(
        outcome.won > 0 && outcome.won < 24,
        "the answers did not fall on both sides of the lock's end: {outcome:?}"
    );
}

/// Negative control: with a processor that keeps money that it must refund, the same race is
/// reported.
#[tokio::test]
async fn processor_that_keeps_the_money_of_a_lost_race_is_reported() {
    let plan = race::Plan { store: Backend::Embedded, seed: SEED, races: 24, together: 24 };
    let wrong = race::run(&plan, Some(Deceit::KeepsTheMoney), |_| {})
        .await
        .expect_err("a lost race without a refund is reported");
    assert!(
        wrong.iter().any(|wrong| wrong.starts_with("I2 ")
            || wrong.starts_with("I3 ")
            || wrong.contains("still holds")),
        "{wrong:#?}"
    );
}
