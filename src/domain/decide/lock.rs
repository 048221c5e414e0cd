//! The lock's life: taken, given up, lapsed.

use super::{Decision, Refusal, SlotChange, payment, selling};
use crate::domain::{
    CancelReason, Charge, ChargeFailure, Event, Lapse, Lock, Money, Order, OrderId, OrderStatus, Policy, ReplicaName, Sale, Ticket,
    TicketSnapshot, TicketState, Timestamp, UserId, Version,
};

/// What a buyer asks for.
pub(super) struct LockRequest<'a> {
    pub order: OrderId,
    pub buyer: UserId,
    pub expected_price: Option<Money>,
    pub expected_version: Option<Version>,
    pub replica: &'a ReplicaName,
}

pub(super) fn take(sale: &Sale, wish: LockRequest<'_>, policy: &Policy, now: Timestamp) -> Result<Decision, Refusal> {
    let seen = &sale.ticket;
    if seen.seller == wish.buyer {
        return Err(Refusal::OwnTicket);
    }
    match seen.state {
        TicketState::Available => {}
        TicketState::Locked { .. } => return Err(Refusal::TicketLocked),
        TicketState::Sold { .. } => return Err(Refusal::TicketSold),
        TicketState::Deleted => return Err(Refusal::NotFound),
    }
    if wish.expected_price.is_some_and(|price| price != seen.price) {
        return Err(Refusal::PriceChanged);
    }
    if wish.expected_version.is_some_and(|version| !seen.has_details_of(version)) {
        return Err(Refusal::TicketChanged);
    }
    if let Some(until) = seen.relock_wait_until(wish.buyer, policy, now) {
        return Err(Refusal::TooManyLocks { retry_after: until - now });
    }
    let lock = Lock { order: wish.order, buyer: wish.buyer, unlocks_at: policy.unlocks_at(now), replica: wish.replica.clone() };
    let ticket = Ticket { state: TicketState::Locked { lock: Box::new(lock) }, ..selling::next(seen, now) };
    let order = Order {
        id: wish.order,
        buyer: wish.buyer,
        status: OrderStatus::Created,
        cancel_reason: None,
        ticket: TicketSnapshot::from(&ticket),
        price: ticket.price,
        currency: ticket.currency,
        expires_at: policy.expires_at(now),
        unlocks_at: policy.unlocks_at(now),
        settling: None,
        declines: 0,
        version: 0,
        created_at: now,
        updated_at: now,
    };
    Ok(Decision {
        ticket: Some(ticket.clone()),
        order: Some(order.clone()),
        charges: Vec::new(),
        declined: None,
        slot: Some(SlotChange::Take { user: wish.buyer, order: wish.order, locks_max: policy.locks_max }),
        events: vec![Event::TicketUpdated { ticket }, Event::OrderCreated { order }],
    })
}

pub(super) fn cancel(sale: &Sale, order: OrderId, by: UserId, policy: &Policy, now: Timestamp) -> Result<Decision, Refusal> {
    let order = held(sale, order)?;
    if order.buyer != by {
        return Err(Refusal::NotOwner);
    }
    match order.status {
        OrderStatus::Cancelled => return Err(Refusal::Stale),
        OrderStatus::Completed => return Err(Refusal::OrderCompleted),
        OrderStatus::Created | OrderStatus::AwaitingPayment => {}
    }
    if sale.charge.as_ref().is_some_and(Charge::is_in_flight) {
        return Err(Refusal::PaymentInFlight);
    }
    let cancelled = Order { status: OrderStatus::Cancelled, cancel_reason: Some(CancelReason::Buyer), ..next(order, now) };
    let told = Event::OrderCancelled { order: cancelled.clone() };
    Ok(free(sale, cancelled, vec![told], ChargeFailure::cancelled(), policy, now))
}

pub(super) fn deadline_passed(sale: &Sale, order: OrderId, policy: &Policy, now: Timestamp) -> Result<Decision, Refusal> {
    let deadline = sale.deadline(policy).filter(|deadline| deadline.order == order && deadline.at <= now);
    if deadline.is_none() {
        return Err(Refusal::Stale);
    }
    let held = held(sale, order).map_err(|_| Refusal::Stale)?;
    if now >= held.unlocks_at || policy.early_release {
        return Ok(release(sale, held, policy, now));
    }
    let expired = expire(held, now);
    Ok(Decision { order: Some(expired.clone()), events: vec![Event::OrderExpired { order: expired }], ..Decision::default() })
}

/// Nothing but the versions changes. What is told is the state as it was: of a ticket that is gone, that it is gone.
pub(super) fn fence(sale: &Sale, now: Timestamp) -> Decision {
    let ticket = selling::next(&sale.ticket, now);
    let told = match ticket.is_deleted() {
        true => Event::TicketDeleted { ticket: ticket.id, seller: ticket.seller, version: ticket.version },
        false => Event::TicketUpdated { ticket: ticket.clone() },
    };
    Decision {
        ticket: Some(ticket),
        order: sale.order.as_ref().map(|order| next(order, now)),
        charges: sale.charge.iter().map(|charge| payment::next(charge, now)).collect(),
        slot: None,
        declined: None,
        events: vec![told],
    }
}

/// The lock's time is over: the order lapses unless it did before, the ticket is free, and a charge that is still open
/// has lost.
pub(super) fn release(sale: &Sale, held: &Order, policy: &Policy, now: Timestamp) -> Decision {
    let (order, told) = if held.is_active() {
        let expired = expire(held, now);
        (expired.clone(), vec![Event::OrderExpired { order: expired }])
    } else {
        // It lapsed at `expiresAt` already. Its version grows all the same: whoever saw it hold the lock must not win now.
        (next(held, now), Vec::new())
    };
    free(sale, order, told, ChargeFailure::lock_lost(), policy, now)
}

fn expire(order: &Order, now: Timestamp) -> Order {
    Order { status: OrderStatus::Cancelled, cancel_reason: Some(CancelReason::Expired), settling: None, ..next(order, now) }
}

/// Frees the ticket from `order`, whose next state is given. The order's event comes first, then the ticket's.
fn free(sale: &Sale, order: Order, mut events: Vec<Event>, failure: ChargeFailure, policy: &Policy, now: Timestamp) -> Decision {
    let lapse = Lapse { user: order.buyer, at: now };
    let ticket =
        Ticket { state: TicketState::Available, lapses: sale.ticket.lapses_with(lapse, policy), ..selling::next(&sale.ticket, now) };
    events.push(Event::TicketUpdated { ticket: ticket.clone() });
    let charges = sale.charge.iter().map(|charge| payment::reversing(charge, failure.clone(), now)).collect();
    let slot = Some(SlotChange::Free { user: order.buyer, order: order.id });
    Decision { ticket: Some(ticket), order: Some(order), charges, slot, declined: None, events }
}

/// The order, if it is the one that holds the ticket.
pub(super) fn held(sale: &Sale, order: OrderId) -> Result<&Order, Refusal> {
    sale.order.as_ref().filter(|held| held.id == order).ok_or(Refusal::OrderGone)
}

/// The same order, one version on.
pub(super) fn next(order: &Order, now: Timestamp) -> Order {
    Order { version: order.version + 1, updated_at: now.max(order.updated_at), ..order.clone() }
}
