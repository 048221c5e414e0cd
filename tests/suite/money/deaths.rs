//! Some of what `scripts/prove-money` does five hundred times: a server that dies at a step of a payment, and the race for
//! the second at which a lock ends.

use super::{race, rounds};
use crate::{
    app::{Backend, on_both_stores},
    fake_stripe::Deceit,
};

on_both_stores!(whichever_step_a_server_dies_at_all_money_is_accounted_for, an_answer_as_the_lock_ends_loses_nothing_and_keeps_nothing);

const SEED: u64 = 20_261_122;

async fn whichever_step_a_server_dies_at_all_money_is_accounted_for(store: Backend) {
    // By their place in `rounds::DEATHS`: after authorize, before claim, after capture, before final commit, webhook handled;
    // on a store whose locks outlive a start, so that a busy machine has time to sell something.
    let deaths = [3, 4, 7, 8, 11].map(|death| rounds::DEATHS.len() as u64 + death);
    let runs = deaths.map(|death| async move { rounds::run(&rounds::Plan { store, seed: SEED, rounds: vec![death] }, |_| true).await });
    let rounds = futures_util::future::join_all(runs).await.concat();
    let sum = |count: fn(&rounds::Counts) -> u64| rounds.iter().map(|round| count(&round.counts)).sum::<u64>();
    let load = [sum(|counts| counts.completed), sum(|counts| counts.voided), sum(|counts| counts.faults)];
    assert!(rounds.len() == 5 && !load.contains(&0), "the load was no load: {rounds:?}");
    let died: Vec<&str> = rounds.iter().filter(|round| round.reached).map(rounds::Round::death).collect();
    assert!(died.len() >= 3, "servers did not die where they were meant to, but only {died:?}");
}

async fn an_answer_as_the_lock_ends_loses_nothing_and_keeps_nothing(store: Backend) {
    let plan = race::Plan { store, seed: SEED, races: 24, together: 24 };
    let outcome = race::run(&plan, None, |_| {}).await.unwrap_or_else(|wrong| panic!("{wrong:#?}"));
    assert_eq!((outcome.races, outcome.won + outcome.voided + outcome.refunded), (24, 24), "{outcome:?}");
    assert!(outcome.won > 0 && outcome.won < 24, "nobody raced: {outcome:?}");
}

/// The control: with a processor that keeps what it should give back, the very same race is found out.
#[tokio::test]
async fn a_processor_that_keeps_the_money_of_a_lost_race_is_found_out() {
    let plan = race::Plan { store: Backend::Embedded, seed: SEED, races: 24, together: 24 };
    let wrong = race::run(&plan, Some(Deceit::KeepsTheMoney), |_| {}).await.expect_err("some of them lost, and were not paid back");
    assert!(wrong.iter().any(|wrong| wrong.starts_with("I2 ") || wrong.starts_with("I3 ") || wrong.contains("still holds")), "{wrong:#?}");
}
