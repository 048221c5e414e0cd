//! I1 to I8: what must hold after every run, whoever crashed. One set of predicates for property tests, the model and the
//! checker that reads a database afterwards.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    CancelReason, Charge, ChargeStatus, ChargeStep, Decision, Event, Millis, Order, OrderId, OrderStatus, Policy, Sale, Ticket, TicketId,
    TicketState, Timestamp, UserId, Version,
};

/// Everything that a store and a payment processor hold at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Snapshot {
    pub tickets: Vec<Ticket>,
    pub orders: Vec<Order>,
    pub charges: Vec<Charge>,
    /// What is counted per user: the locks that the store believes they hold.
    pub slots: Vec<(UserId, OrderId)>,
    /// The processor's ledger.
    pub payments: Vec<LedgerEntry>,
}

impl Snapshot {
    /// A ticket with what hangs on its lock: what a store's reload must be, whatever happened before.
    pub fn sale(&self, id: TicketId) -> Option<Sale> {
        let ticket = self.tickets.iter().find(|ticket| ticket.id == id)?.clone();
        let holder = ticket.lock().map(|lock| lock.order);
        let order = self.orders.iter().find(|order| Some(order.id) == holder).cloned();
        let runs =
            |charge: &&Charge| Some(charge.order) == holder && !matches!(charge.step, ChargeStep::Final | ChargeStep::Reversing { .. });
        let charge = self.charges.iter().find(runs).cloned();
        Some(Sale { ticket, order, charge })
    }
}

/// What the processor has of one charge, in minor units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LedgerEntry {
    pub order: OrderId,
    pub user: UserId,
    pub captured: u64,
    pub refunded: u64,
}

/// A broken invariant: its name, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{invariant}: {detail}")]
pub struct Violation {
    pub invariant: &'static str,
    pub detail: String,
}

fn broken(invariant: &'static str, detail: String) -> Result<(), Violation> {
    Err(Violation { invariant, detail })
}

/// I1: at most one active or completed order per ticket, and it is the one that the ticket names.
pub fn one_order_per_ticket(world: &Snapshot) -> Result<(), Violation> {
    const NAME: &str = "I1 one order per ticket";
    let named: BTreeMap<TicketId, Option<OrderId>> = world.tickets.iter().map(|ticket| (ticket.id, ticket.order())).collect();
    let mut holders: BTreeMap<TicketId, OrderId> = BTreeMap::new();
    for order in world.orders.iter().filter(|order| order.status != OrderStatus::Cancelled) {
        if let Some(other) = holders.insert(order.ticket.id, order.id) {
            return broken(NAME, format!("{} is held by {other} and {}", order.ticket.id, order.id));
        }
        if named.get(&order.ticket.id) != Some(&Some(order.id)) {
            return broken(NAME, format!("{} is {:?}, but {} does not name it", order.id, order.status, order.ticket.id));
        }
    }
    for ticket in &world.tickets {
        if let TicketState::Sold { order } = ticket.state
            && !world.orders.iter().any(|o| o.id == order && o.status == OrderStatus::Completed)
        {
            return broken(NAME, format!("{} is sold to {order}, which is not Completed", ticket.id));
        }
        // A lock outlives its order's payment window, but neither its sale nor its cancellation.
        if let Some(lock) = ticket.lock()
            && !world.orders.iter().any(|o| o.id == lock.order && (o.is_active() || o.cancel_reason == Some(CancelReason::Expired)))
        {
            return broken(NAME, format!("{} is locked by {}, which cannot hold it", ticket.id, lock.order));
        }
    }
    Ok(())
}

/// I2: per user, captured minus refunded equals the sum of completed orders. Holds when nothing is in flight.
pub fn money_matches_orders(world: &Snapshot) -> Result<(), Violation> {
    let mut kept: BTreeMap<UserId, i128> = BTreeMap::new();
    for entry in &world.payments {
        *kept.entry(entry.user).or_default() += i128::from(entry.captured) - i128::from(entry.refunded);
    }
    let mut owed: BTreeMap<UserId, i128> = BTreeMap::new();
    for order in world.orders.iter().filter(|order| order.status == OrderStatus::Completed) {
        *owed.entry(order.buyer).or_default() += i128::from(order.price.minor());
    }
    for user in kept.keys().chain(owed.keys()) {
        let (kept, owed) = (kept.get(user).copied().unwrap_or(0), owed.get(user).copied().unwrap_or(0));
        if kept != owed {
            return broken("I2 money matches orders", format!("{user} paid {kept} for orders of {owed}"));
        }
    }
    Ok(())
}

/// I3: no captured money without a sold ticket or a refund. Holds when nothing is in flight.
pub fn no_money_for_nothing(world: &Snapshot) -> Result<(), Violation> {
    const NAME: &str = "I3 no money for nothing";
    for entry in world.payments.iter().filter(|entry| entry.captured > entry.refunded) {
        let sold = world.tickets.iter().any(|ticket| ticket.state == TicketState::Sold { order: entry.order });
        if !sold {
            return broken(NAME, format!("{} of {} kept for {}", entry.captured - entry.refunded, entry.user, entry.order));
        }
    }
    for charge in world.charges.iter().filter(|charge| charge.status == ChargeStatus::Completed) {
        if !world.payments.iter().any(|entry| entry.order == charge.order && entry.captured >= u64::from(charge.amount.minor())) {
            return broken(NAME, format!("{} is Completed, but nothing was captured", charge.id));
        }
    }
    Ok(())
}

/// I4: no lock outlives its time by more than `sweep`, but for a settling one, within its grace.
pub fn no_lock_left_over(world: &Snapshot, policy: &Policy, sweep: Millis, now: Timestamp) -> Result<(), Violation> {
    for ticket in &world.tickets {
        let Some(lock) = ticket.lock() else { continue };
        let settling = world.orders.iter().any(|order| order.id == lock.order && order.settling.is_some());
        let grace = if settling { policy.settle_grace } else { Millis(0) };
        if now > lock.unlocks_at + grace + sweep {
            return broken("I4 no lock left over", format!("{} is locked {} after its time", ticket.id, now - lock.unlocks_at));
        }
    }
    Ok(())
}

/// I5: every acknowledged change is still there: whatever was acknowledged at some version has at least that version.
pub fn nothing_lost(world: &Snapshot, acknowledged: &BTreeMap<uuid::Uuid, Version>) -> Result<(), Violation> {
    let tickets = world.tickets.iter().map(|ticket| (ticket.id.uuid(), ticket.version));
    let orders = world.orders.iter().map(|order| (order.id.uuid(), order.version));
    let charges = world.charges.iter().map(|charge| (charge.id.uuid(), charge.version));
    let stored: BTreeMap<uuid::Uuid, Version> = tickets.chain(orders).chain(charges).collect();
    for (id, version) in acknowledged {
        match stored.get(id) {
            Some(found) if found >= version => {}
            found => return broken("I5 nothing lost", format!("{id} was acknowledged at version {version}, found {found:?}")),
        }
    }
    Ok(())
}

/// I6: versions and cursors never go backwards. `seen` is what one observer saw, in its order.
pub fn never_backwards<T: PartialOrd + std::fmt::Debug>(seen: &[T]) -> Result<(), Violation> {
    match seen.windows(2).find(|pair| pair[1] < pair[0]) {
        Some(pair) => broken("I6 never backwards", format!("{:?} came after {:?}", pair[1], pair[0])),
        None => Ok(()),
    }
}

/// I7: every event has its change, and every change its event, within the events' lifetime.
pub fn events_match_changes(world: &Snapshot, events: &[Event]) -> Result<(), Violation> {
    const NAME: &str = "I7 events match changes";
    let mut told: BTreeMap<TicketId, BTreeSet<Version>> = BTreeMap::new();
    let mut orders: BTreeMap<OrderId, BTreeSet<&'static str>> = BTreeMap::new();
    let mut charges: BTreeMap<super::ChargeId, BTreeSet<&'static str>> = BTreeMap::new();
    for event in events {
        let fresh = match event {
            Event::TicketCreated { ticket } | Event::TicketUpdated { ticket } => told.entry(ticket.id).or_default().insert(ticket.version),
            Event::TicketDeleted { ticket, version, .. } => told.entry(*ticket).or_default().insert(*version),
            Event::OrderCreated { order } | Event::OrderCancelled { order } | Event::OrderExpired { order } => {
                orders.entry(order.id).or_default().insert(event.name())
            }
            Event::ChargeCreated { charge }
            | Event::ChargeCompleted { charge }
            | Event::ChargeFailed { charge }
            | Event::ChargeRefunded { charge } => charges.entry(charge.id).or_default().insert(event.name()),
            Event::UserCreated { .. } | Event::UserUpdated { .. } | Event::SessionRevoked { .. } | Event::SessionsRevoked { .. } => true,
        };
        if !fresh {
            return broken(NAME, format!("told twice: {event:?}"));
        }
    }
    for ticket in &world.tickets {
        let versions = told.remove(&ticket.id).unwrap_or_default();
        if !versions.iter().copied().eq(0..=ticket.version) {
            return broken(NAME, format!("{} has version {}, told were {versions:?}", ticket.id, ticket.version));
        }
    }
    for order in &world.orders {
        let mut due = BTreeSet::from(["OrderCreated"]);
        due.extend(order.cancel_reason.map(|reason| match reason {
            CancelReason::Expired => "OrderExpired",
            CancelReason::Buyer => "OrderCancelled",
        }));
        let found = orders.remove(&order.id).unwrap_or_default();
        if found != due {
            return broken(NAME, format!("{} is {:?}, told was {found:?}", order.id, order.status));
        }
    }
    for charge in &world.charges {
        let mut due = BTreeSet::from(["ChargeCreated"]);
        match charge.status {
            ChargeStatus::Created => false,
            ChargeStatus::Failed => due.insert("ChargeFailed"),
            ChargeStatus::Completed => due.insert("ChargeCompleted"),
        };
        due.extend(charge.stripe_refund_id.as_ref().map(|_| "ChargeRefunded"));
        let found = charges.remove(&charge.id).unwrap_or_default();
        if found != due {
            return broken(NAME, format!("{} is {:?}, told was {found:?}", charge.id, charge.status));
        }
    }
    if let Some(ticket) = told.keys().next() {
        return broken(NAME, format!("{ticket} was told of, but is not there"));
    }
    if !orders.is_empty() || !charges.is_empty() {
        return broken(NAME, format!("told of, but not there: {orders:?} {charges:?}"));
    }
    Ok(())
}

/// I7 for one decision, made while `held` held the lock: it tells of exactly what it changes, in the state it gives it.
pub fn every_change_is_told(held: Option<&Order>, decision: &Decision) -> Result<(), Violation> {
    let mut due = Vec::new();
    if let Some(order) = &decision.order {
        let was_active = held.is_none_or(|before| before.id == order.id && before.is_active());
        match order.cancel_reason {
            _ if order.version == 0 => due.push(Event::OrderCreated { order: order.clone() }),
            Some(CancelReason::Expired) if was_active => due.push(Event::OrderExpired { order: order.clone() }),
            Some(CancelReason::Buyer) if was_active => due.push(Event::OrderCancelled { order: order.clone() }),
            _ => {}
        }
    }
    for charge in &decision.charges {
        match charge.status {
            _ if charge.version == 0 => due.push(Event::ChargeCreated { charge: charge.clone() }),
            ChargeStatus::Created => {}
            ChargeStatus::Failed => due.push(Event::ChargeFailed { charge: charge.clone() }),
            ChargeStatus::Completed => due.push(Event::ChargeCompleted { charge: charge.clone() }),
        }
        due.extend(charge.stripe_refund_id.as_ref().map(|_| Event::ChargeRefunded { charge: charge.clone() }));
    }
    due.extend(decision.ticket.clone().map(|ticket| match ticket.state {
        TicketState::Deleted => Event::TicketDeleted { ticket: ticket.id, seller: ticket.seller, version: ticket.version },
        _ if ticket.version == 0 => Event::TicketCreated { ticket },
        _ => Event::TicketUpdated { ticket },
    }));
    let missing = due.iter().find(|event| !decision.events.contains(event));
    if missing.is_some() || due.len() != decision.events.len() {
        return broken("I7 every change is told", format!("due were {due:?}, told are {:?}", decision.events));
    }
    Ok(())
}

/// I8: what is counted per user equals what is there.
pub fn slots_match_locks(world: &Snapshot) -> Result<(), Violation> {
    let held: BTreeSet<(UserId, OrderId)> =
        world.tickets.iter().filter_map(|ticket| ticket.lock()).map(|lock| (lock.buyer, lock.order)).collect();
    let counted: BTreeSet<(UserId, OrderId)> = world.slots.iter().copied().collect();
    if held != counted || counted.len() != world.slots.len() {
        let difference: Vec<_> = held.symmetric_difference(&counted).collect();
        return broken("I8 slots match locks", format!("{} locks, {} slots, different: {difference:?}", held.len(), world.slots.len()));
    }
    Ok(())
}
