//! The possible next actions of a buyer, a seller, the clock, the processor, the network, and
//! crashes.

use gittix::domain::{
    ChargeState, Money, OrderStatus, ProcessorName, ReplicaName, TicketCommand, TicketDetails,
    TokenDigest, VersionCondition, samples,
};
use stateright::{Model, Property};

use crate::{
    processor::{Outcome, Request},
    properties,
    state::{self, Call, Rules, State, buyer, charge_id, order_id},
};

/// Buyers differ only in their order.
const BUYERS: usize = 2;
const REPLICAS: usize = 2;

/// The bounds that make the number of states finite.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    pub tickets: usize,
    pub orders_max: usize,
    pub charges_max: usize,
    pub edits_max: u8,
    /// The number of confirmations by buyers. The processor decides whether the buyer acted.
    pub confirms_max: u8,
    pub crashes_max: u8,
    /// The number of calls to the processor that are lost, in either direction, without a crash.
    pub losses_max: u8,
    pub time_max: i64,
    /// The number of steps by which the second replica's clock is behind the first one's.
    pub lag: i64,
    /// Whether a charge is processed although another replica's call about it is still running.
    pub eager: bool,
}

#[derive(Debug, Clone, Copy)]
pub struct Market {
    pub bounds: Bounds,
    pub rules: Rules,
    /// Whether slots are counted by an earlier read: a negative control.
    pub counts_slots: bool,
    pub properties: fn() -> Vec<Property<Market>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    Tick,
    Crash {
        replica: usize,
    },
    Load {
        replica: usize,
        ticket: usize,
    },
    CountSlots {
        replica: usize,
        buyer: usize,
    },
    Lock {
        replica: usize,
        ticket: usize,
        buyer: usize,
    },
    Cancel {
        replica: usize,
        ticket: usize,
    },
    Pay {
        replica: usize,
        ticket: usize,
    },
    Confirm {
        replica: usize,
        ticket: usize,
    },
    Edit {
        replica: usize,
        ticket: usize,
    },
    Delist {
        replica: usize,
        ticket: usize,
    },
    Deadline {
        replica: usize,
        ticket: usize,
    },
    /// A replica processes a charge according to its step: right after its own commit, or as
    /// reconciliation.
    Drive {
        replica: usize,
        charge: usize,
    },
    Arrive {
        replica: usize,
        call: Call,
        outcome: Outcome,
    },
    ArriveLate {
        charge: usize,
        request: Request,
        outcome: Outcome,
    },
    Handle {
        replica: usize,
        call: Call,
    },
    Lose {
        replica: usize,
        call: Call,
    },
}

impl Model for Market {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::new(self.bounds.tickets, self.bounds.lag).canonical()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.now < self.bounds.time_max {
            actions.push(Action::Tick);
        }
        for (replica, holds) in state.replicas.iter().enumerate() {
            let knows_something = !holds.calls.is_empty() || holds.seen.iter().any(Option::is_some);
            if state.crashes < self.bounds.crashes_max && knows_something {
                actions.push(Action::Crash { replica });
            }
            for ticket in 0..self.bounds.tickets {
                if !state.is_current(replica, ticket) {
                    actions.push(Action::Load { replica, ticket });
                }
                self.wishes(state, replica, ticket, actions);
            }
            for charge in 0..state.world.charges.len() {
                if self.may_drive(state, replica, charge) {
                    actions.push(Action::Drive { replica, charge });
                }
            }
            for &call in &holds.calls {
                match call {
                    Call::Sent(charge, request) => {
                        let outcomes = state.ledger[charge].outcomes(request).iter();
                        actions.extend(outcomes.map(|&outcome| Action::Arrive {
                            replica,
                            call,
                            outcome,
                        }));
                    }
                    Call::Replied(..) => actions.push(Action::Handle { replica, call }),
                }
                if state.losses < self.bounds.losses_max {
                    actions.push(Action::Lose { replica, call });
                }
            }
        }
        for &(charge, request) in &state.orphans {
            let outcomes = state.ledger[charge].outcomes(request).iter();
            actions.extend(outcomes.map(|&outcome| Action::ArriveLate {
                charge,
                request,
                outcome,
            }));
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut next = last.clone();
        self.step(&mut next, action)?;
        let next = next.canonical();
        (next != *last).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        (self.properties)()
    }

    /// A state with a violation is not explored further, so that the first counterexample is the
    /// shortest.
    fn within_boundary(&self, state: &State) -> bool {
        state.world.orders.len() <= self.bounds.orders_max
    }
}

impl Market {
    /// The production rules with every guard.
    pub fn new(bounds: Bounds, rules: Rules) -> Self {
        Self { bounds, rules, counts_slots: false, properties: properties::all }
    }

    /// The commands of people and timers about a ticket that are possible according to this
    /// replica's copy.
    fn wishes(&self, state: &State, replica: usize, ticket: usize, actions: &mut Vec<Action>) {
        let Some(seen) = &state.replicas[replica].seen[ticket] else { return };
        if seen.ticket.lock().is_some() {
            actions.push(Action::Deadline { replica, ticket });
        } else if seen.ticket.status().is_some()
            && state.world.orders.len() < self.bounds.orders_max
        {
            let known = (state.world.orders.len() + 1).min(BUYERS);
            for buyer in 0..known {
                if self.counts_slots {
                    actions.push(Action::CountSlots { replica, buyer });
                }
                actions.push(Action::Lock { replica, ticket, buyer });
            }
        }
        let edits = state.edits < self.bounds.edits_max && seen.ticket.order().is_none();
        if edits {
            actions.extend([Action::Edit { replica, ticket }, Action::Delist { replica, ticket }]);
        }
        let Some(order) = &seen.order else { return };
        if order.status() == OrderStatus::Cancelled {
            return;
        }
        actions.push(Action::Cancel { replica, ticket });
        if state.world.charges.len() < self.bounds.charges_max {
            actions.push(Action::Pay { replica, ticket });
        }
        let confirms = state.confirms < self.bounds.confirms_max;
        if confirms
            && seen
                .charge
                .as_ref()
                .is_some_and(|charge| matches!(charge.state, ChargeState::AwaitingAction { .. }))
        {
            actions.push(Action::Confirm { replica, ticket });
        }
    }

    fn may_drive(&self, state: &State, replica: usize, charge: usize) -> bool {
        let busy =
            |holder: usize| state.replicas[holder].calls.iter().any(|call| call.charge() == charge);
        let driven = &state.world.charges[charge];
        let waits = matches!(driven.state, ChargeState::AwaitingAction { .. });
        let needs_it = driven.is_open() && !waits;
        needs_it && !busy(replica) && (self.bounds.eager || !(0..REPLICAS).any(busy))
    }

    fn step(&self, state: &mut State, action: Action) -> Option<()> {
        match action {
            Action::Tick => state.now += 1,
            Action::Crash { replica } => {
                state.crash(replica);
                state.crashes += 1;
            }
            Action::Load { replica, ticket } => state.load(replica, ticket),
            Action::CountSlots { replica, buyer: n } => {
                let count = state.world.slots.iter().filter(|(user, _)| *user == buyer(n)).count();
                state.replicas[replica].counted = Some((n, count));
            }
            Action::Lock { replica, ticket, buyer } => self.lock(state, replica, ticket, buyer)?,
            Action::Cancel { replica, ticket } => {
                let order = state.replicas[replica].seen[ticket].as_ref()?.order.clone()?;
                state.command(
                    replica,
                    ticket,
                    &TicketCommand::Cancel { order: order.id, by: order.buyer },
                    &self.rules,
                )?;
            }
            Action::Pay { replica, ticket } => self.pay(state, replica, ticket)?,
            Action::Confirm { replica, ticket } => {
                let charge = state.replicas[replica].seen[ticket].as_ref()?.charge.clone()?;
                state.command(
                    replica,
                    ticket,
                    &TicketCommand::ConfirmPayment { charge: charge.id, by: charge.buyer },
                    &self.rules,
                )?;
                let n = state.world.charges.iter().position(|known| known.id == charge.id)?;
                state.replicas[replica].calls.insert(Call::Sent(n, Request::Authorize));
                state.confirms += 1;
            }
            Action::Edit { replica, ticket } => {
                let price =
                    Money::from_minor(3000 + u64::from(state.edits)).expect("the price is valid");
                let edit = TicketCommand::Edit {
                    by: state::SELLER,
                    details: TicketDetails { price, ..samples::details("Back row") },
                    if_match: VersionCondition::Any,
                };
                state.command(replica, ticket, &edit, &self.rules)?;
                state.edits += 1;
            }
            Action::Delist { replica, ticket } => {
                state.command(
                    replica,
                    ticket,
                    &TicketCommand::Delist { by: state::SELLER, if_match: VersionCondition::Any },
                    &self.rules,
                )?;
                state.edits += 1;
            }
            Action::Deadline { replica, ticket } => {
                let order = state.replicas[replica].seen[ticket].as_ref()?.ticket.lock()?.order;
                state.command(
                    replica,
                    ticket,
                    &TicketCommand::DeadlinePassed { order },
                    &self.rules,
                )?;
            }
            Action::Drive { replica, charge } => state.drive(replica, charge)?,
            Action::Arrive { replica, call, outcome } => {
                let Call::Sent(charge, request) = call else { return None };
                let reply = state.ledger[charge].land(request, outcome);
                state.replicas[replica].calls.remove(&call);
                state.replicas[replica].calls.insert(Call::Replied(charge, reply));
            }
            Action::ArriveLate { charge, request, outcome } => {
                state.ledger[charge].land(request, outcome);
                state.orphans.remove(&(charge, request));
            }
            Action::Handle { replica, call } => state.handle(replica, call, &self.rules)?,
            Action::Lose { replica, call } => {
                // A sender that stopped waiting cannot know whether its call still arrives.
                if let Call::Sent(charge, request) = call {
                    state.orphans.insert((charge, request));
                }
                state.replicas[replica].calls.remove(&call);
                state.losses += 1;
            }
        }
        Some(())
    }

    fn lock(&self, state: &mut State, replica: usize, ticket: usize, n: usize) -> Option<()> {
        if self.counts_slots {
            let (_, count) =
                state.replicas[replica].counted.take().filter(|(counted, _)| *counted == n)?;
            if count >= usize::try_from(self.rules.policy.locks_max).expect("the limit is small") {
                return None;
            }
        }
        let lock = TicketCommand::Lock {
            order: order_id(state.world.orders.len()),
            buyer: buyer(n),
            expected_price: None,
            expected_version: None,
            // Two processes may have the same name. In the model they do, so that they are equal.
            replica: ReplicaName::new("r"),
        };
        state.command(replica, ticket, &lock, &self.rules).map(|_| ())
    }

    fn pay(&self, state: &mut State, replica: usize, ticket: usize) -> Option<()> {
        let order = state.replicas[replica].seen[ticket].as_ref()?.order.clone()?;
        let n = state.world.charges.len();
        let token = TokenDigest::new(["a", "b", "c", "d"][n % 4]);
        let submit = TicketCommand::SubmitPayment {
            order: order.id,
            by: order.buyer,
            charge: charge_id(n),
            token,
            processor: ProcessorName::new("sandbox"),
        };
        state.command(replica, ticket, &submit, &self.rules)?;
        // The superseded charge is written first, but it existed before. The new one is the last.
        state.replicas[replica].calls.insert(Call::Sent(n, Request::Authorize));
        Some(())
    }
}
