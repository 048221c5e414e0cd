//! I1 to I8: the conditions that hold after every run, including runs with crashes. Property tests,
//! the model and the checker that reads a database after a test use the same predicates.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    CancelReason, Charge, ChargeStatus, DomainEvent, EventSubject, Millis, Order, OrderId,
    OrderState, OrderStatus, Policy, Sale, Ticket, TicketId, TicketState, Timestamp, UserId,
    Version,
};

/// The tickets, orders, charges and lock slots of a store, and the processor's ledger, at one time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Snapshot {
    pub tickets: Vec<Ticket>,
    pub orders: Vec<Order>,
    pub charges: Vec<Charge>,
    /// The locks that the store counts for each user.
    pub slots: Vec<(UserId, OrderId)>,
    /// The processor's ledger.
    pub payments: Vec<LedgerEntry>,
}

impl Snapshot {
    /// Returns a ticket with the order and the charge of its lock. A reload from the store must
    /// return the same.
    pub fn sale(&self, id: TicketId) -> Option<Sale> {
        let ticket = self.tickets.iter().find(|ticket| ticket.id == id)?.clone();
        let holder = ticket.lock().map(|lock| lock.order);
        let order = self.orders.iter().find(|order| Some(order.id) == holder).cloned();
        let runs = |charge: &&Charge| Some(charge.order) == holder && charge.is_running();
        let charge = self.charges.iter().find(runs).cloned();
        Some(Sale { ticket, order, charge })
    }
}

/// Amounts of one charge in the processor's ledger, in minor units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LedgerEntry {
    pub order: OrderId,
    pub user: UserId,
    pub captured: u64,
    pub refunded: u64,
}

/// A violated invariant: its name, and the documents that violate it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{invariant}: {detail}")]
pub struct Violation {
    pub invariant: &'static str,
    pub detail: String,
}

fn violated(invariant: &'static str, detail: String) -> Result<(), Violation> {
    Err(Violation { invariant, detail })
}

/// I1: at most one active or completed order per ticket, and it is the one that the ticket names.
pub fn one_order_per_ticket(snapshot: &Snapshot) -> Result<(), Violation> {
    const NAME: &str = "I1 one order per ticket";
    let named: BTreeMap<TicketId, Option<OrderId>> =
        snapshot.tickets.iter().map(|ticket| (ticket.id, ticket.order())).collect();
    let mut holders: BTreeMap<TicketId, OrderId> = BTreeMap::new();
    for order in snapshot.orders.iter().filter(|order| order.status() != OrderStatus::Cancelled) {
        if let Some(other) = holders.insert(order.ticket.id, order.id) {
            return violated(
                NAME,
                format!("{} is held by {other} and {}", order.ticket.id, order.id),
            );
        }
        if named.get(&order.ticket.id) != Some(&Some(order.id)) {
            return violated(
                NAME,
                format!(
                    "{} is {:?}, but {} does not name it",
                    order.id, order.state, order.ticket.id
                ),
            );
        }
    }
    for ticket in &snapshot.tickets {
        if let TicketState::Sold { order } = ticket.state
            && !snapshot
                .orders
                .iter()
                .any(|o| o.id == order && o.status() == OrderStatus::Completed)
        {
            return violated(
                NAME,
                format!("{} is sold to {order}, which is not Completed", ticket.id),
            );
        }
        const EXPIRED: OrderState = OrderState::Cancelled { reason: CancelReason::Expired };
        // A lock may outlive its order's payment window. It does not outlive the sale or a
        // cancellation.
        if let Some(lock) = ticket.lock()
            && !snapshot
                .orders
                .iter()
                .any(|o| o.id == lock.order && (o.is_active() || o.state == EXPIRED))
        {
            return violated(
                NAME,
                format!("{} is locked by {}, which cannot hold it", ticket.id, lock.order),
            );
        }
    }
    Ok(())
}

/// I2: for each user, captured minus refunded equals the sum of completed orders. Holds when no
/// payment is in progress.
pub fn money_matches_orders(snapshot: &Snapshot) -> Result<(), Violation> {
    let mut kept: BTreeMap<UserId, i128> = BTreeMap::new();
    for entry in &snapshot.payments {
        *kept.entry(entry.user).or_default() +=
            i128::from(entry.captured) - i128::from(entry.refunded);
    }
    let mut owed: BTreeMap<UserId, i128> = BTreeMap::new();
    for order in snapshot.orders.iter().filter(|order| order.status() == OrderStatus::Completed) {
        *owed.entry(order.buyer).or_default() += i128::from(order.price.minor());
    }
    for user in kept.keys().chain(owed.keys()) {
        let (kept, owed) =
            (kept.get(user).copied().unwrap_or(0), owed.get(user).copied().unwrap_or(0));
        if kept != owed {
            return violated(
                "I2 money matches orders",
                format!("{user} paid {kept} for completed orders of {owed}"),
            );
        }
    }
    Ok(())
}

/// I3: captured money belongs to a sold ticket or was refunded. Holds when no payment is in
/// progress.
pub fn no_money_for_nothing(snapshot: &Snapshot) -> Result<(), Violation> {
    const NAME: &str = "I3 no money for nothing";
    for entry in snapshot.payments.iter().filter(|entry| entry.captured > entry.refunded) {
        let sold = snapshot
            .tickets
            .iter()
            .any(|ticket| ticket.state == TicketState::Sold { order: entry.order });
        if !sold {
            return violated(
                NAME,
                format!(
                    "{} of {} kept for {}",
                    entry.captured - entry.refunded,
                    entry.user,
                    entry.order
                ),
            );
        }
    }
    for charge in
        snapshot.charges.iter().filter(|charge| charge.status() == ChargeStatus::Completed)
    {
        if !snapshot.payments.iter().any(|entry| {
            entry.order == charge.order && entry.captured >= u64::from(charge.amount.minor())
        }) {
            return violated(NAME, format!("{} is Completed, but nothing was captured", charge.id));
        }
    }
    Ok(())
}

/// I4: no lock lasts longer than `unlocks_at` plus `sweep`. The lock of an order that is being
/// captured may last for the settle grace in addition.
pub fn no_lock_left_over(
    snapshot: &Snapshot,
    policy: &Policy,
    sweep: Millis,
    now: Timestamp,
) -> Result<(), Violation> {
    for ticket in &snapshot.tickets {
        let Some(lock) = ticket.lock() else { continue };
        let capturing =
            snapshot.orders.iter().any(|order| order.id == lock.order && order.is_capturing());
        let grace = if capturing { policy.settle_grace } else { Millis(0) };
        if now > lock.unlocks_at + grace + sweep {
            return violated(
                "I4 no lock left over",
                format!("{} is locked {} after its time", ticket.id, now - lock.unlocks_at),
            );
        }
    }
    Ok(())
}

/// I5: every acknowledged change is stored. Each document has at least the version that was
/// acknowledged.
pub fn nothing_lost(
    snapshot: &Snapshot,
    acknowledged: &BTreeMap<uuid::Uuid, Version>,
) -> Result<(), Violation> {
    let tickets = snapshot.tickets.iter().map(|ticket| (ticket.id.uuid(), ticket.version));
    let orders = snapshot.orders.iter().map(|order| (order.id.uuid(), order.version));
    let charges = snapshot.charges.iter().map(|charge| (charge.id.uuid(), charge.version));
    let stored: BTreeMap<uuid::Uuid, Version> = tickets.chain(orders).chain(charges).collect();
    for (id, version) in acknowledged {
        match stored.get(id) {
            Some(found) if found >= version => {}
            found => {
                return violated(
                    "I5 nothing lost",
                    format!("{id} was acknowledged at version {version}, found {found:?}"),
                );
            }
        }
    }
    Ok(())
}

/// I6: versions and cursors never decrease. `seen` holds the values that one observer saw, in that
/// order.
pub fn never_backwards<T: PartialOrd + std::fmt::Debug>(seen: &[T]) -> Result<(), Violation> {
    match seen.windows(2).find(|pair| pair[1] < pair[0]) {
        Some(pair) => {
            violated("I6 never backwards", format!("{:?} came after {:?}", pair[1], pair[0]))
        }
        None => Ok(()),
    }
}

/// I7: every version of a ticket has one event; so have the creation and the cancellation or expiry
/// of an order, and the creation, the final status and the refund of a charge. Every event has its
/// change. Holds for a complete history, from which no event was purged.
pub fn events_match_changes(snapshot: &Snapshot, events: &[DomainEvent]) -> Result<(), Violation> {
    const NAME: &str = "I7 events match changes";
    let mut ticket_versions: BTreeMap<TicketId, BTreeSet<Version>> = BTreeMap::new();
    let mut orders: BTreeMap<OrderId, BTreeSet<&'static str>> = BTreeMap::new();
    let mut charges: BTreeMap<super::ChargeId, BTreeSet<&'static str>> = BTreeMap::new();
    for event in events {
        let is_new = match event.subject() {
            EventSubject::Ticket { id, version, .. } => {
                ticket_versions.entry(id).or_default().insert(version)
            }
            EventSubject::Order(order) => orders.entry(order.id).or_default().insert(event.name()),
            EventSubject::Charge(charge) => {
                charges.entry(charge.id).or_default().insert(event.name())
            }
            EventSubject::User(_) => true,
        };
        if !is_new {
            return violated(NAME, format!("reported twice: {event:?}"));
        }
    }
    for ticket in &snapshot.tickets {
        let versions = ticket_versions.remove(&ticket.id).unwrap_or_default();
        if !versions.iter().copied().eq(0..=ticket.version) {
            return violated(
                NAME,
                format!("{} has version {}, reported were {versions:?}", ticket.id, ticket.version),
            );
        }
    }
    for order in &snapshot.orders {
        let mut expected = BTreeSet::from(["OrderCreated"]);
        if let OrderState::Cancelled { reason } = order.state {
            expected.insert(match reason {
                CancelReason::Expired => "OrderExpired",
                CancelReason::Buyer => "OrderCancelled",
            });
        }
        let found = orders.remove(&order.id).unwrap_or_default();
        if found != expected {
            return violated(
                NAME,
                format!("{} is {:?}, reported was {found:?}", order.id, order.state),
            );
        }
    }
    for charge in &snapshot.charges {
        let mut expected = BTreeSet::from(["ChargeCreated"]);
        match charge.status() {
            ChargeStatus::Created => false,
            ChargeStatus::Failed => expected.insert("ChargeFailed"),
            ChargeStatus::Completed => expected.insert("ChargeCompleted"),
        };
        expected.extend(charge.refund().map(|_| "ChargeRefunded"));
        let found = charges.remove(&charge.id).unwrap_or_default();
        if found != expected {
            return violated(
                NAME,
                format!("{} is {:?}, reported was {found:?}", charge.id, charge.state),
            );
        }
    }
    if let Some(ticket) = ticket_versions.keys().next() {
        return violated(NAME, format!("{ticket} was reported, but does not exist"));
    }
    if !orders.is_empty() || !charges.is_empty() {
        return violated(NAME, format!("reported, but do not exist: {orders:?} {charges:?}"));
    }
    Ok(())
}

/// I8: the lock slots of each user equal the locks that exist.
pub fn slots_match_locks(snapshot: &Snapshot) -> Result<(), Violation> {
    let held: BTreeSet<(UserId, OrderId)> = snapshot
        .tickets
        .iter()
        .filter_map(|ticket| ticket.lock())
        .map(|lock| (lock.buyer, lock.order))
        .collect();
    let counted: BTreeSet<(UserId, OrderId)> = snapshot.slots.iter().copied().collect();
    if held != counted || counted.len() != snapshot.slots.len() {
        let difference: Vec<_> = held.symmetric_difference(&counted).collect();
        return violated(
            "I8 slots match locks",
            format!(
                "{} locks, {} slots, different: {difference:?}",
                held.len(),
                snapshot.slots.len()
            ),
        );
    }
    Ok(())
}
