//! Tests of the rules of a sale, one for each rule, and random walks over all rules.
//!
//! Every step in these tests goes through [`Play::at`], which persists a decision under the same
//! conditions as a store and then checks the invariants.

mod clock;
mod paying;
mod refusals;
mod settling;
mod walk;

use uuid::Uuid;

use super::*;
use crate::{
    ChargeState, ChargeStatus, Millis, OrderState, OrderStatus, TicketState,
    invariants::{self, Snapshot},
};

const TICKET: TicketId = TicketId::new(Uuid::from_u128(1));
const SELLER: UserId = UserId::new(Uuid::from_u128(10));
const BUYER: UserId = UserId::new(Uuid::from_u128(11));
const OTHER: UserId = UserId::new(Uuid::from_u128(12));
/// The time at which the first lock of a test is taken, unless the test sets another time.
const T0: Timestamp = Timestamp(1_800_000_000_000);

fn order(n: u128) -> OrderId {
    OrderId::new(Uuid::from_u128(0x0100 + n))
}

fn charge(n: u128) -> ChargeId {
    ChargeId::new(Uuid::from_u128(0x0200 + n))
}

fn payment(n: u128) -> PaymentId {
    PaymentId::new(&format!("pi_{n}"))
}

fn token(name: &str) -> TokenDigest {
    TokenDigest::new(name)
}

fn processor() -> ProcessorName {
    ProcessorName::new("sandbox")
}

fn price(minor: u64) -> Money {
    Money::from_minor(minor).expect("a price within the limits")
}

fn details(text: &str, minor: u64) -> TicketDetails {
    TicketDetails { price: price(minor), ..crate::samples::details(text) }
}

fn condition(if_match: Option<Version>) -> VersionCondition {
    if_match.map_or(VersionCondition::Any, VersionCondition::Is)
}

fn mins(minutes: i64) -> Timestamp {
    T0 + Millis::from_mins(minutes)
}

fn just_before(time: Timestamp) -> Timestamp {
    time - Millis(1)
}

/// One ticket, the documents that a store would hold, and all reported events.
#[derive(Debug, Clone)]
struct Play {
    sale: Sale,
    policy: Policy,
    world: Snapshot,
    events: Vec<DomainEvent>,
}

impl Play {
    /// Returns a play in which SELLER has just listed the ticket.
    fn new() -> Self {
        Self::under(Policy::default())
    }

    fn under(policy: Policy) -> Self {
        let listed =
            list_ticket(TICKET, SELLER, details("Front row", 2000), T0 - Millis::from_mins(60));
        let ticket = listed.ticket.clone().expect("listing creates a ticket");
        let mut play = Self {
            sale: Sale::unlocked(ticket),
            policy,
            world: Snapshot::default(),
            events: Vec::new(),
        };
        play.persist(&listed);
        play
    }

    /// Decides a command and persists the decision. The invariants are checked after each decision.
    fn at(&mut self, now: Timestamp, command: TicketCommand) -> Result<Decision, Refusal> {
        let decision = decide(&self.sale, &command, &self.policy, now)?;
        assert!(!decision.is_empty(), "{command:?} was accepted and changed nothing");
        self.sale = self.sale.clone().after(&decision);
        self.persist(&decision);
        self.check();
        Ok(decision)
    }

    /// Returns the reason why a charge is Reversing.
    fn reversal(&self, id: ChargeId) -> Option<&ChargeFailure> {
        match &self.charge(id).state {
            ChargeState::Reversing { failure, .. } => Some(failure),
            _ => None,
        }
    }

    /// Records that the processor holds no money of a losing charge.
    fn reversed(
        &mut self,
        id: ChargeId,
        refund: Option<&RefundId>,
        now: Timestamp,
    ) -> Result<Decision, Refusal> {
        let decision = charge_reversed(self.charge(id), Some(&payment(0)), refund, now)?;
        self.sale = self.sale.clone().after(&decision);
        self.persist(&decision);
        self.check();
        Ok(decision)
    }

    fn check(&self) {
        assert_eq!(
            self.world.sale(TICKET).as_ref(),
            Some(&self.sale),
            "Sale::after differs from a reload of what was written"
        );
        invariants::one_order_per_ticket(&self.world).expect("I1");
        invariants::events_match_changes(&self.world, &self.events).expect("I7");
        invariants::slots_match_locks(&self.world).expect("I8");
        let Some(deadline) = self.sale.deadline(&self.policy) else {
            assert!(self.sale.ticket.lock().is_none(), "a lock without a deadline would never end");
            return;
        };
        let passed = TicketCommand::DeadlinePassed { order: deadline.order };
        decide(&self.sale, &passed, &self.policy, deadline.at)
            .expect("the deadline has an effect when it is due");
        assert_eq!(
            decide(&self.sale, &passed, &self.policy, just_before(deadline.at)),
            Err(Refusal::NothingToDo),
            "and none before"
        );
    }

    /// Persists a decision under the conditions of a store: version `v` only over version `v - 1`,
    /// and version 0 only for a new document.
    fn persist(&mut self, decision: &Decision) {
        if let Some(ticket) = &decision.ticket {
            let old = self.world.tickets.iter().position(|old| old.id == ticket.id);
            put(&mut self.world.tickets, old, ticket.clone(), |ticket| ticket.version);
        }
        if let Some(order) = &decision.order {
            let old = self.world.orders.iter().position(|old| old.id == order.id);
            put(&mut self.world.orders, old, order.clone(), |order| order.version);
        }
        for charge in &decision.charges {
            let old = self.world.charges.iter().position(|old| old.id == charge.id);
            put(&mut self.world.charges, old, charge.clone(), |charge| charge.version);
        }
        match decision.slot {
            Some(SlotChange::Take { user, order, .. }) => self.world.slots.push((user, order)),
            Some(SlotChange::Free { user, order }) => {
                self.world.slots.retain(|slot| *slot != (user, order))
            }
            None => {}
        }
        self.events.extend(decision.events.iter().cloned());
    }

    fn order(&self, n: u128) -> &Order {
        self.world.orders.iter().find(|found| found.id == order(n)).expect("an order of this test")
    }

    fn charge(&self, id: ChargeId) -> &Charge {
        self.world.charges.iter().find(|charge| charge.id == id).expect("a charge of this test")
    }

    fn is_available(&self) -> bool {
        self.sale.ticket.state == TicketState::Available
    }

    /// BUYER locks the ticket with order 1 at T0.
    fn locked() -> Self {
        let mut play = Self::new();
        play.at(T0, lock(1, BUYER)).expect("a free ticket can be locked");
        play
    }

    /// In addition, BUYER submits charge 1 at T0 + 1 min.
    fn authorizing() -> Self {
        let mut play = Self::locked();
        play.at(mins(1), pay(1, 1, "a")).expect("the payment window is open");
        play
    }

    /// In addition, the processor requires 3-D Secure for charge 1.
    fn waiting_for_buyer() -> Self {
        let mut play = Self::authorizing();
        play.at(mins(2), TicketCommand::ActionRequired { charge: charge(1), payment: payment(1) })
            .expect("the charge was Authorizing");
        play
    }

    /// In addition, the processor authorizes charge 1 and the lock is claimed, at `now`.
    fn capturing_since(now: Timestamp) -> Self {
        let mut play = Self::authorizing();
        play.at(now, authorized(1)).expect("the lock is still held");
        play
    }
}

fn put<T>(documents: &mut Vec<T>, old: Option<usize>, new: T, version: impl Fn(&T) -> Version) {
    match old {
        None => {
            assert_eq!(version(&new), 0, "the first version is 0");
            documents.push(new);
        }
        Some(at) => {
            assert_eq!(
                version(&new),
                version(&documents[at]) + 1,
                "a version increases by exactly one"
            );
            documents[at] = new;
        }
    }
}

fn lock(n: u128, buyer: UserId) -> TicketCommand {
    TicketCommand::Lock {
        order: order(n),
        buyer,
        expected_price: None,
        expected_version: None,
        replica: ReplicaName::new("a"),
    }
}

fn cancel(n: u128, by: UserId) -> TicketCommand {
    TicketCommand::Cancel { order: order(n), by }
}

/// BUYER submits a payment for an order with a token.
fn pay(n: u128, charge_n: u128, with: &str) -> TicketCommand {
    TicketCommand::SubmitPayment {
        order: order(n),
        by: BUYER,
        charge: charge(charge_n),
        token: token(with),
        processor: processor(),
    }
}

fn authorized(n: u128) -> TicketCommand {
    TicketCommand::PaymentAuthorized { charge: charge(n), payment: payment(n) }
}

fn declined(n: u128) -> TicketCommand {
    TicketCommand::PaymentDeclined {
        charge: charge(n),
        payment: Some(payment(n)),
        failure: ChargeFailure::new("card_declined", "Declined."),
    }
}

fn passed(n: u128) -> TicketCommand {
    TicketCommand::DeadlinePassed { order: order(n) }
}

fn names(decision: &Decision) -> Vec<&'static str> {
    decision.events.iter().map(DomainEvent::name).collect()
}
