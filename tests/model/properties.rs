//! The conditions that hold in every state, which are at least as strong as the predicates of
//! `domain::invariants`; and the events that must occur at least once, because otherwise the model
//! proves nothing.

use std::collections::{BTreeMap, BTreeSet};

use gittix::domain::{
    CancelReason, ChargeFailure, ChargeState, ChargeStatus, FailureCode, Millis, OrderState,
    OrderStatus, TicketCommand, TicketState, Timestamp, UserId, invariants,
};
use stateright::Property;

use crate::{
    market::Market,
    processor::{Outcome, Payment},
    state::{Call, State},
};

pub const ONE_ORDER: &str = "I1 one order per ticket";
pub const SOLD_ONCE: &str = "no ticket is sold twice";
pub const MONEY_IS_ATTENDED: &str =
    "money at the processor belongs to a charge that completes or is reversed";
pub const MONEY: &str = "I2, I3 in quiet states";
pub const SLOTS: &str = "I8 slots match locks";
pub const LIMIT: &str = "no user holds more locks than the limit";
pub const STEPS: &str = "captured money stays until the grace is over";
pub const RECOVERS: &str = "from every state, one replica alone completes all open work";

/// Returns the conditions that must always hold.
pub fn safety() -> Vec<Property<Market>> {
    vec![
        Property::always(ONE_ORDER, |_, state: &State| {
            invariants::one_order_per_ticket(&state.world).is_ok()
        }),
        Property::always(SOLD_ONCE, |_, state: &State| sold_once(state)),
        Property::always(SLOTS, |_, state: &State| {
            invariants::slots_match_locks(&state.world).is_ok()
        }),
        Property::always(LIMIT, within_limit),
        Property::always(STEPS, |_, state: &State| state.broken.is_none()),
        Property::always(MONEY_IS_ATTENDED, |_, state: &State| money_is_attended(state)),
        Property::always(MONEY, |_, state: &State| !is_quiet(state) || money_is_right(state)),
        Property::always(RECOVERS, recovers),
    ]
}

/// Returns the conditions, and the events that must be reachable in markets with payments.
pub fn all() -> Vec<Property<Market>> {
    let mut properties = safety();
    properties.extend([
        Property::sometimes("a ticket is sold", |_, state: &State| {
            is_quiet(state)
                && state
                    .world
                    .tickets
                    .iter()
                    .any(|ticket| matches!(ticket.state, TicketState::Sold { .. }))
        }),
        Property::sometimes("an unpaid order expires", |_, state: &State| {
            state.world.charges.is_empty()
                && state.world.orders.iter().any(|order| order.state == EXPIRED)
        }),
        Property::sometimes("captured money is refunded as lock_lost", |_, state: &State| {
            state.world.charges.iter().any(|charge| {
                charge.refund().is_some()
                    && charge.failure().is_some_and(|failure| failure.code == FailureCode::LockLost)
            })
        }),
        Property::sometimes("a claim at the last moment outlives unlocksAt", |_, state: &State| {
            state
                .world
                .orders
                .iter()
                .any(|order| order.is_capturing() && state.now >= order.unlocks_at.0)
        }),
        Property::sometimes(
            "an interrupted attempt fails and arrives too late",
            |_, state: &State| {
                let interrupted = ChargeFailure::interrupted();
                state.world.charges.iter().any(|charge| charge.failure() == Some(&interrupted))
                    && !state.orphans.is_empty()
            },
        ),
        Property::sometimes(
            "one buyer's payment is reversed while another buyer holds the ticket",
            |_, state: &State| {
                let holds = state.world.orders.iter().find(|order| order.is_active());
                let on_its_way_back =
                    |state: &ChargeState| matches!(state, ChargeState::Reversing { .. });
                holds.is_some_and(|order| {
                    state
                        .world
                        .charges
                        .iter()
                        .any(|charge| charge.buyer != order.buyer && on_its_way_back(&charge.state))
                })
            },
        ),
    ]);
    properties
}

/// Returns the properties of markets in which an order has a second payment.
pub fn retries() -> Vec<Property<Market>> {
    let mut properties = safety();
    properties.extend([
        Property::sometimes(
            "a payment replaces a waiting one and completes the order",
            |_, state: &State| {
                state.world.charges.len() == 2
                    && state.world.charges[0].failure() == Some(&ChargeFailure::superseded())
                    && state.world.charges[1].status() == ChargeStatus::Completed
            },
        ),
        Property::sometimes(
            "a payment completes the order after another was declined",
            |_, state: &State| {
                state.world.charges.len() == 2
                    && state.ledger[0] == Payment::Declined
                    && state.world.charges[1].status() == ChargeStatus::Completed
            },
        ),
        Property::sometimes(
            "an order whose only token was refused expires as an unpaid order",
            |_, state: &State| {
                state.world.charges.len() == 1
                    && state.world.charges[0].failure() == Some(&ChargeFailure::invalid_token())
                    && state.world.orders.iter().any(|order| order.state == EXPIRED)
                    && state.world.tickets.iter().any(|ticket| ticket.lock().is_some())
            },
        ),
    ]);
    properties
}

/// Returns the properties of markets without payments.
pub fn locks_only() -> Vec<Property<Market>> {
    let mut properties = safety();
    properties.extend([
        Property::sometimes("both buyers hold the maximum number of locks", |_, state: &State| {
            state.world.slots.len() == 2 && state.world.slots[0].0 != state.world.slots[1].0
        }),
        Property::sometimes("an edited ticket is locked for its new price", |_, state: &State| {
            state.edits > 0
                && state
                    .world
                    .orders
                    .iter()
                    .any(|order| order.is_active() && order.price.minor() >= 3000)
        }),
        Property::sometimes(
            "a ticket is taken off sale after its lock expired",
            |_, state: &State| {
                state.world.tickets.iter().any(|ticket| ticket.is_deleted() && ticket.version > 2)
            },
        ),
    ]);
    properties
}

const EXPIRED: OrderState = OrderState::Cancelled { reason: CancelReason::Expired };

fn sold_once(state: &State) -> bool {
    let completed =
        state.world.orders.iter().filter(|order| order.status() == OrderStatus::Completed);
    let tickets: Vec<_> = completed.map(|order| order.ticket.id).collect();
    tickets.iter().collect::<BTreeSet<_>>().len() == tickets.len()
}

fn within_limit(market: &Market, state: &State) -> bool {
    let mut held: BTreeMap<UserId, u32> = BTreeMap::new();
    for (user, _) in &state.world.slots {
        *held.entry(*user).or_default() += 1;
    }
    held.values().all(|count| *count <= market.rules.policy.locks_max)
}

/// Stronger than I3, because it holds while calls are running: for all money at the processor, a
/// document shows that it will be processed.
fn money_is_attended(state: &State) -> bool {
    state.ledger.iter().zip(&state.world.charges).all(|(payment, charge)| match payment {
        Payment::Open | Payment::Declined | Payment::Voided | Payment::Refunded => {
            charge.status() != ChargeStatus::Completed
        }
        Payment::NeedsAction | Payment::Held => charge.is_open(),
        Payment::Captured => match charge.state {
            ChargeState::Capturing { .. }
            | ChargeState::Reversing { .. }
            | ChargeState::Completed { .. } => true,
            ChargeState::Authorizing { .. }
            | ChargeState::AwaitingAction { .. }
            | ChargeState::Failed { .. } => false,
        },
    })
}

fn is_quiet(state: &State) -> bool {
    state.world.charges.iter().all(|charge| !charge.is_open())
        && state.replicas.iter().all(|replica| replica.calls.is_empty())
}

fn money_is_right(state: &State) -> bool {
    let world = state.audited();
    invariants::money_matches_orders(&world).is_ok()
        && invariants::no_money_for_nothing(&world).is_ok()
}

/// A liveness property, checked in each state: both processes crash, and one restarts. It executes
/// all open steps and timers, at the present time and after all deadlines. Then the calls that were
/// still running arrive. No open work may be left.
fn recovers(market: &Market, state: &State) -> bool {
    let busy = state.world.tickets.iter().any(|ticket| ticket.lock().is_some()) || !is_quiet(state);
    if !busy && state.orphans.is_empty() {
        return true;
    }
    let mut state = state.clone();
    for replica in 0..state.replicas.len() {
        state.crash(replica);
        state.replicas[replica].lag = 0;
    }
    settle(market, &mut state);
    let policy = &market.rules.policy;
    state.now += policy.lock_duration.0 + policy.settle_grace.0;
    settle(market, &mut state);
    for (charge, request) in std::mem::take(&mut state.orphans) {
        state.ledger[charge].land(request, Outcome::Hold);
    }
    let unlocked = state.world.tickets.iter().all(|ticket| ticket.lock().is_none());
    let decided = state
        .world
        .orders
        .iter()
        .all(|order| matches!(order.status(), OrderStatus::Completed | OrderStatus::Cancelled));
    let nothing_held =
        state.ledger.iter().all(|payment| !matches!(payment, Payment::Held | Payment::NeedsAction));
    unlocked
        && decided
        && nothing_held
        && is_quiet(&state)
        && money_is_right(&state)
        && state.broken.is_none()
        && invariants::one_order_per_ticket(&state.world).is_ok()
        && invariants::slots_match_locks(&state.world).is_ok()
        && invariants::no_lock_left_over(&state.world, policy, Millis(0), Timestamp(state.now))
            .is_ok()
}

/// Lets one replica do all possible work at the present time.
fn settle(market: &Market, state: &mut State) {
    const REPLICA: usize = 0;
    for ticket in 0..state.world.tickets.len() {
        state.load(REPLICA, ticket);
        let lock = state.replicas[REPLICA].seen[ticket]
            .as_ref()
            .and_then(|seen| seen.ticket.lock().cloned());
        if let Some(lock) = lock {
            let _ = state.command(
                REPLICA,
                ticket,
                &TicketCommand::DeadlinePassed { order: lock.order },
                &market.rules,
            );
        }
    }
    for charge in 0..state.world.charges.len() {
        // Each round advances a charge by at least one step; the longest path has four steps.
        for _round in 0..4 {
            if state.drive(REPLICA, charge).is_none() {
                break;
            }
            while let Some(call) = state.replicas[REPLICA].calls.pop_first() {
                let call = match call {
                    Call::Sent(n, request) => {
                        Call::Replied(n, state.ledger[n].land(request, Outcome::Hold))
                    }
                    replied @ Call::Replied(..) => replied,
                };
                let _ = state.handle(REPLICA, call, &market.rules);
            }
        }
    }
}
