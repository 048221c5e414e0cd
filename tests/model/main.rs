//! A model of the whole market with production's `decide`: two replicas that may have stale copies,
//! a store that only checks versions, a payment processor with a ledger of its own, timers that
//! fire late or twice, crashes and lost answers. Every reachable state within the bounds is checked
//! with `domain::invariants`.
//!
//! Each negative control turns one guard off and must find the violation that the guard prevents.
//! Otherwise the model proves nothing.
//!
//! The test suite explores small bounds completely. `GITTIX_MODEL_STEPS=<maximum number of steps
//! per market>` adds the large bounds; `scripts/prove-model` sets it.

#![expect(clippy::print_stdout, reason = "the number of explored states is the result")]

mod documents;
mod market;
mod processor;
mod properties;
mod state;

use documents::Guards;
use gittix::domain::{Millis, Policy};
use market::{Bounds, Market};
use state::Rules;
use stateright::{Checker, HasDiscoveries, Model};
use tokio::time::Instant;

/// The rules with a clock of few steps: one step to pay, one more until `unlocksAt`, one of grace.
fn rules() -> Rules {
    let policy = Policy {
        payment_window: Millis(1),
        lock_duration: Millis(2),
        settle_grace: Millis(1),
        early_release: false,
        locks_max: 1,
        relock_wait: Millis(0),
        ..Policy::default()
    };
    Rules {
        policy,
        guards: Guards { versions: true, slots: true },
        claim: true,
        closes_interrupted: true,
    }
}

/// One ticket, two orders, one payment and one crash, until the end of the grace.
fn paying() -> Bounds {
    Bounds {
        tickets: 1,
        orders_max: 2,
        charges_max: 1,
        edits_max: 0,
        confirms_max: 1,
        crashes_max: 1,
        losses_max: 0,
        time_max: 3,
        lag: 0,
        eager: false,
    }
}

/// One order with a second payment: after a decline, after a refused token, or in place of a
/// payment that waits.
fn retrying() -> Bounds {
    Bounds { orders_max: 1, charges_max: 2, crashes_max: 0, ..paying() }
}

/// Two tickets that are edited, locked and cancelled, without payments.
fn locking() -> Bounds {
    Bounds { tickets: 2, orders_max: 2, charges_max: 0, edits_max: 1, time_max: 2, ..paying() }
}

/// Returns the maximum number of steps of a large market, if large markets are requested.
fn steps_max() -> Option<usize> {
    let steps = std::env::var("GITTIX_MODEL_STEPS").ok()?;
    Some(steps.parse().expect("GITTIX_MODEL_STEPS is a number of steps"))
}

/// Checks that all required conditions hold, and that all states that must be possible occur: in
/// all states, or in those within the first `steps_max` steps.
fn prove(name: &str, market: Market, steps_max: Option<usize>) {
    let started = Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let checker = market.checker().finish_when(HasDiscoveries::AnyFailures).threads(threads);
    let checker = checker.target_state_count(steps_max.unwrap_or(0)).spawn_dfs().join();
    let (states, steps, depth) =
        (checker.unique_state_count(), checker.state_count(), checker.max_depth());
    let extent = if steps_max.is_some_and(|max| steps >= max) {
        "stopped at the maximum"
    } else {
        "complete"
    };
    println!(
        "{name}: {states} states ({extent}), {steps} steps, depth {depth}, {:.1} s",
        started.elapsed().as_secs_f64()
    );
    checker.assert_properties();
}

/// Checks that the property is violated, and prints the shortest violation. Equal replicas may swap
/// their numbers, so a replica's number is meaningful only within its action.
fn refute(name: &str, market: Market, property: &'static str) {
    let market = Market { properties: properties::safety, ..market };
    for actions_max in 1..=CONTROL_ACTIONS_MAX {
        let sought = HasDiscoveries::AnyOf([property].into());
        // The checker counts states instead of actions, and it does not check the states of the
        // last depth.
        let checker = market
            .checker()
            .finish_when(sought)
            .target_max_depth(actions_max + 2)
            .spawn_bfs()
            .join();
        if let Some(found) = checker.discovery(property) {
            let (states, actions) = (checker.unique_state_count(), found.into_actions());
            println!(
                "{name}: \"{property}\" is violated after {} actions ({states} states): {actions:?}",
                actions.len()
            );
            return;
        }
    }
    panic!("{name}: no counterexample within {CONTROL_ACTIONS_MAX} actions");
}

/// Maximum number of actions of a violation that a negative control finds.
const CONTROL_ACTIONS_MAX: usize = 14;

#[test]
fn ticket_is_sold_at_most_once_and_unsold_money_is_returned() {
    prove("one ticket, two buyers, a payment and a crash", Market::new(paying(), rules()), None);
}

#[test]
fn one_of_two_payments_for_an_order_is_kept_at_most() {
    let market = Market { properties: properties::retries, ..Market::new(retrying(), rules()) };
    prove("one order, two payments", market, None);
}

#[test]
fn buyer_never_holds_more_locks_than_the_limit() {
    let market = Market { properties: properties::locks_only, ..Market::new(locking(), rules()) };
    prove("two tickets, locked and edited", market, None);
}

/// This is one test, so that the large markets do not use the machine's memory at the same time.
#[test]
fn large_markets_hold_if_they_are_requested() {
    let Some(max) = steps_max() else { return };
    let early = Rules { policy: Policy { early_release: true, ..rules().policy }, ..rules() };
    let two_locks = Rules { policy: Policy { locks_max: 2, ..rules().policy }, ..rules() };
    let again = Bounds { charges_max: 2, ..paying() };
    for (name, bounds, rules) in [
        ("one replica's clock is behind", Bounds { lag: 1, ..paying() }, rules()),
        ("calls are lost", Bounds { losses_max: 1, ..paying() }, rules()),
        ("both replicas process one charge", Bounds { eager: true, ..paying() }, rules()),
        ("two crashes", Bounds { crashes_max: 2, ..paying() }, rules()),
        ("a longer time", Bounds { time_max: 5, ..paying() }, rules()),
        ("early release", paying(), early),
        ("two payments and a crash", again, rules()),
        ("a seller who edits", Bounds { edits_max: 1, ..paying() }, rules()),
        (
            "everything at once",
            Bounds { losses_max: 1, eager: true, lag: 1, crashes_max: 2, time_max: 5, ..again },
            rules(),
        ),
        ("two tickets, paid for", Bounds { tickets: 2, ..paying() }, two_locks),
    ] {
        prove(
            name,
            Market { properties: properties::safety, ..Market::new(bounds, rules) },
            Some(max),
        );
    }
}

#[test]
fn control_without_version_checks_ticket_is_held_twice() {
    let rules = Rules { guards: Guards { versions: false, slots: true }, ..rules() };
    refute("without the commit's condition", Market::new(paying(), rules), properties::ONE_ORDER);
}

#[test]
fn control_without_version_checks_ticket_is_sold_twice() {
    let rules = Rules { guards: Guards { versions: false, slots: true }, ..rules() };
    let bounds =
        Bounds { charges_max: 2, confirms_max: 0, crashes_max: 0, time_max: 0, ..paying() };
    refute("without the commit's condition", Market::new(bounds, rules), properties::SOLD_ONCE);
}

#[test]
fn control_without_the_claim_paid_ticket_is_lost() {
    let rules = Rules { claim: false, ..rules() };
    refute("without the claim", Market::new(paying(), rules), properties::STEPS);
}

#[test]
fn control_with_slots_counted_by_a_read_limit_is_exceeded() {
    let rules = Rules { guards: Guards { versions: true, slots: false }, ..rules() };
    let market = Market { counts_slots: true, ..Market::new(locking(), rules) };
    refute("slots counted by a read", market, properties::LIMIT);
}

#[test]
fn control_with_interrupted_attempt_failed_at_once_money_is_held_for_ever() {
    let rules = Rules { closes_interrupted: false, ..rules() };
    refute(
        "cut-off attempts failed at once",
        Market::new(paying(), rules),
        properties::MONEY_IS_ATTENDED,
    );
}
