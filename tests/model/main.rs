//! A model of the whole market over the very `decide` of production: two replicas that may believe something overtaken, a
//! store that only has versions, a payment processor with a ledger of its own, timers that come late or twice, crashes and
//! lost answers. Every reachable state within the bounds is checked against `domain::invariants`.
//!
//! Each control takes one guard out and must find what it prevents, or the model proves nothing.
//!
//! The suite goes through small bounds to the last state. `GITTIX_MODEL_STEPS=<at most, per market>` adds the large ones;
//! `scripts/prove-model` sets it.

#![expect(clippy::print_stdout, reason = "how much was gone through is the result")]

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

/// Time is counted in steps of its own: one to pay, one more until unlocksAt, one of grace.
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
    Rules { policy, guards: Guards { versions: true, slots: true }, claim: true, closes_interrupted: true }
}

/// One ticket, two orders, one payment, one crash, up to the end of the grace.
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

/// One order that is paid for again: after a decline, a refused token, or in place of a payment that waits.
fn retrying() -> Bounds {
    Bounds { orders_max: 1, charges_max: 2, crashes_max: 0, ..paying() }
}

/// Two tickets, edited, locked and given up, but not paid for.
fn locking() -> Bounds {
    Bounds { tickets: 2, orders_max: 2, charges_max: 0, edits_max: 1, time_max: 2, ..paying() }
}

/// How many steps a large market may take, if large ones are asked for.
fn steps_max() -> Option<usize> {
    let steps = std::env::var("GITTIX_MODEL_STEPS").ok()?;
    Some(steps.parse().expect("GITTIX_MODEL_STEPS is a number of steps"))
}

/// All that must hold does, and all that must be possible is: in every state there is, or in those that the first `steps_max` steps lead to.
fn prove(name: &str, market: Market, steps_max: Option<usize>) {
    let started = Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let checker = market.checker().finish_when(HasDiscoveries::AnyFailures).threads(threads);
    let checker = checker.target_state_count(steps_max.unwrap_or(0)).spawn_dfs().join();
    let (states, steps, depth) = (checker.unique_state_count(), checker.state_count(), checker.max_depth());
    let extent = if steps_max.is_some_and(|max| steps >= max) { "stopped there" } else { "all there are" };
    println!("{name}: {states} states ({extent}), {steps} steps, depth {depth}, {:.1} s", started.elapsed().as_secs_f64());
    checker.assert_properties();
}

/// The property must break; the shortest way to break it is told. Replicas are alike and their numbers change places, so a
/// number in it means something within its action only.
fn refute(name: &str, market: Market, property: &'static str) {
    let market = Market { properties: properties::safety, ..market };
    for actions_max in 1..=CONTROL_ACTIONS_MAX {
        let sought = HasDiscoveries::AnyOf([property].into());
        // The checker counts states, not actions, and drops those of the last depth unseen.
        let checker = market.checker().finish_when(sought).target_max_depth(actions_max + 2).spawn_bfs().join();
        if let Some(found) = checker.discovery(property) {
            let (states, actions) = (checker.unique_state_count(), found.into_actions());
            println!("{name}: \"{property}\" breaks after {} actions ({states} states): {actions:?}", actions.len());
            return;
        }
    }
    panic!("{name}: no counterexample within {CONTROL_ACTIONS_MAX} actions");
}

/// Every control breaks its property sooner than this.
const CONTROL_ACTIONS_MAX: usize = 14;

#[test]
fn one_ticket_is_never_sold_twice_and_no_money_is_kept_for_nothing() {
    prove("one ticket, two buyers, a payment and a crash", Market::new(paying(), rules()), None);
}

#[test]
fn of_two_payments_for_one_order_at_most_one_is_kept() {
    let market = Market { properties: properties::retries, ..Market::new(retrying(), rules()) };
    prove("one order, two payments", market, None);
}

#[test]
fn two_tickets_never_give_a_buyer_more_locks_than_they_may_hold() {
    let market = Market { properties: properties::locks_only, ..Market::new(locking(), rules()) };
    prove("two tickets, locked and edited", market, None);
}

/// One test, so that the large markets do not share the machine's memory.
#[test]
fn larger_markets_hold_as_well_when_they_are_asked_for() {
    let Some(max) = steps_max() else { return };
    let early = Rules { policy: Policy { early_release: true, ..rules().policy }, ..rules() };
    let two_locks = Rules { policy: Policy { locks_max: 2, ..rules().policy }, ..rules() };
    let again = Bounds { charges_max: 2, ..paying() };
    for (name, bounds, rules) in [
        ("one replica's clock is behind", Bounds { lag: 1, ..paying() }, rules()),
        ("calls get lost", Bounds { losses_max: 1, ..paying() }, rules()),
        ("both replicas look after one charge", Bounds { eager: true, ..paying() }, rules()),
        ("two crashes", Bounds { crashes_max: 2, ..paying() }, rules()),
        ("a longer time", Bounds { time_max: 5, ..paying() }, rules()),
        ("early release", paying(), early),
        ("two payments and a crash", again, rules()),
        ("a seller who edits", Bounds { edits_max: 1, ..paying() }, rules()),
        ("everything at once", Bounds { losses_max: 1, eager: true, lag: 1, crashes_max: 2, time_max: 5, ..again }, rules()),
        ("two tickets, paid for", Bounds { tickets: 2, ..paying() }, two_locks),
    ] {
        prove(name, Market { properties: properties::safety, ..Market::new(bounds, rules) }, Some(max));
    }
}

#[test]
fn control_without_the_versions_a_ticket_is_held_twice() {
    let rules = Rules { guards: Guards { versions: false, slots: true }, ..rules() };
    refute("without the commit's condition", Market::new(paying(), rules), properties::ONE_ORDER);
}

#[test]
fn control_without_the_versions_a_ticket_is_sold_twice() {
    let rules = Rules { guards: Guards { versions: false, slots: true }, ..rules() };
    let bounds = Bounds { charges_max: 2, confirms_max: 0, crashes_max: 0, time_max: 0, ..paying() };
    refute("without the commit's condition", Market::new(bounds, rules), properties::SOLD_ONCE);
}

#[test]
fn control_without_the_claim_a_paid_ticket_is_lost() {
    let rules = Rules { claim: false, ..rules() };
    refute("without the claim", Market::new(paying(), rules), properties::STEPS);
}

#[test]
fn control_with_slots_counted_beforehand_the_limit_is_passed() {
    let rules = Rules { guards: Guards { versions: true, slots: false }, ..rules() };
    let market = Market { counts_slots: true, ..Market::new(locking(), rules) };
    refute("slots counted by a read", market, properties::LIMIT);
}

#[test]
fn control_with_a_cut_off_attempt_failed_at_once_money_is_held_for_ever() {
    let rules = Rules { closes_interrupted: false, ..rules() };
    refute("cut-off attempts failed at once", Market::new(paying(), rules), properties::ON_ITS_WAY);
}
