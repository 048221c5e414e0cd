//! The changes of a lock: taking it, cancelling it, and its expiry.

use super::{Decision, Refusal, SlotChange, payment, selling};
use crate::{
    CancelReason, Charge, ChargeFailure, Event, Lapse, Lock, Money, Order, OrderId, OrderStatus,
    Policy, ReplicaName, Sale, Ticket, TicketSnapshot, TicketState, Timestamp, UserId, Version,
};

/// A buyer's request to lock a ticket.
pub(super) struct LockRequest<'a> {
    pub order: OrderId,
    pub buyer: UserId,
    pub expected_price: Option<Money>,
    pub expected_version: Option<Version>,
    pub replica: &'a ReplicaName,
}

pub(super) fn take(
    sale: &Sale,
    request: LockRequest<'_>,
    policy: &Policy,
    now: Timestamp,
) -> Result<Decision, Refusal> {
    let seen = &sale.ticket;
    if seen.seller == request.buyer {
        return Err(Refusal::OwnTicket);
    }
    match seen.state {
        TicketState::Available => {}
        TicketState::Locked { .. } => return Err(Refusal::TicketLocked),
        TicketState::Sold { .. } => return Err(Refusal::TicketSold),
        TicketState::Deleted => return Err(Refusal::NotFound),
    }
    if request.expected_price.is_some_and(|price| price != seen.price) {
        return Err(Refusal::PriceChanged);
    }
    if request.expected_version.is_some_and(|version| !seen.has_details_of(version)) {
        return Err(Refusal::TicketChanged);
    }
    if let Some(until) = seen.relock_wait_until(request.buyer, policy, now) {
        return Err(Refusal::TooManyLocks { retry_after: until - now });
    }
    let lock = Lock {
        order: request.order,
        buyer: request.buyer,
        unlocks_at: policy.unlocks_at(now),
        replica: request.replica.clone(),
    };
    let ticket =
        Ticket { state: TicketState::Locked { lock: Box::new(lock) }, ..selling::next(seen, now) };
    let order = Order {
        id: request.order,
        buyer: request.buyer,
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
        slot: Some(SlotChange::Take {
            user: request.buyer,
            order: request.order,
            locks_max: policy.locks_max,
        }),
        events: vec![Event::TicketUpdated { ticket }, Event::OrderCreated { order }],
    })
}

pub(super) fn cancel(
    sale: &Sale,
    order: OrderId,
    by: UserId,
    policy: &Policy,
    now: Timestamp,
) -> Result<Decision, Refusal> {
    let order = held(sale, order)?;
    if order.buyer != by {
        return Err(Refusal::NotOwner);
    }
    match order.status {
        OrderStatus::Cancelled => return Err(Refusal::NothingToDo),
        OrderStatus::Completed => return Err(Refusal::OrderCompleted),
        OrderStatus::Created | OrderStatus::AwaitingPayment => {}
    }
    if sale.charge.as_ref().is_some_and(Charge::is_in_flight) {
        return Err(Refusal::PaymentInFlight);
    }
    let cancelled = Order {
        status: OrderStatus::Cancelled,
        cancel_reason: Some(CancelReason::Buyer),
        ..next(order, now)
    };
    let event = Event::OrderCancelled { order: cancelled.clone() };
    Ok(free(sale, cancelled, vec![event], ChargeFailure::cancelled(), policy, now))
}

pub(super) fn deadline_passed(
    sale: &Sale,
    order: OrderId,
    policy: &Policy,
    now: Timestamp,
) -> Result<Decision, Refusal> {
    let deadline =
        sale.deadline(policy).filter(|deadline| deadline.order == order && deadline.at <= now);
    if deadline.is_none() {
        return Err(Refusal::NothingToDo);
    }
    let held = held(sale, order).map_err(|_| Refusal::NothingToDo)?;
    if now >= held.unlocks_at || policy.early_release {
        return Ok(release(sale, held, policy, now));
    }
    let expired = expire(held, now);
    Ok(Decision {
        order: Some(expired.clone()),
        events: vec![Event::OrderExpired { order: expired }],
        ..Decision::default()
    })
}

/// Changes only the versions and `updated_at`. The event carries the unchanged state, or reports
/// again that a deleted ticket is deleted.
pub(super) fn fence(sale: &Sale, now: Timestamp) -> Decision {
    let ticket = selling::next(&sale.ticket, now);
    let event = match ticket.is_deleted() {
        true => Event::TicketDeleted {
            ticket: ticket.id,
            seller: ticket.seller,
            version: ticket.version,
        },
        false => Event::TicketUpdated { ticket: ticket.clone() },
    };
    Decision {
        ticket: Some(ticket),
        order: sale.order.as_ref().map(|order| next(order, now)),
        charges: sale.charge.iter().map(|charge| payment::next(charge, now)).collect(),
        slot: None,
        declined: None,
        events: vec![event],
    }
}

/// Ends the lock because its time is over. An active order expires, the ticket becomes Available,
/// and an open charge has to be reversed.
pub(super) fn release(sale: &Sale, held: &Order, policy: &Policy, now: Timestamp) -> Decision {
    let (order, events) = if held.is_active() {
        let expired = expire(held, now);
        (expired.clone(), vec![Event::OrderExpired { order: expired }])
    } else {
        // The order expired at `expiresAt`. Its version is incremented nevertheless, so that a
        // commit based on a copy in which the order holds the lock fails.
        (next(held, now), Vec::new())
    };
    free(sale, order, events, ChargeFailure::lock_lost(), policy, now)
}

fn expire(order: &Order, now: Timestamp) -> Order {
    Order {
        status: OrderStatus::Cancelled,
        cancel_reason: Some(CancelReason::Expired),
        settling: None,
        ..next(order, now)
    }
}

/// Frees the ticket. `order` is the next state of the order that held it. The event of the order
/// comes first, then the event of the ticket.
fn free(
    sale: &Sale,
    order: Order,
    mut events: Vec<Event>,
    failure: ChargeFailure,
    policy: &Policy,
    now: Timestamp,
) -> Decision {
    let lapse = Lapse { user: order.buyer, at: now };
    let ticket = Ticket {
        state: TicketState::Available,
        lapses: sale.ticket.lapses_with(lapse, policy),
        ..selling::next(&sale.ticket, now)
    };
    events.push(Event::TicketUpdated { ticket: ticket.clone() });
    let charges =
        sale.charge.iter().map(|charge| payment::reversing(charge, failure.clone(), now)).collect();
    let slot = Some(SlotChange::Free { user: order.buyer, order: order.id });
    Decision { ticket: Some(ticket), order: Some(order), charges, slot, declined: None, events }
}

/// Returns the order with this id if it holds the ticket.
pub(super) fn held(sale: &Sale, order: OrderId) -> Result<&Order, Refusal> {
    sale.order.as_ref().filter(|held| held.id == order).ok_or(Refusal::OrderGone)
}

/// Returns a copy of the order with the next version.
pub(super) fn next(order: &Order, now: Timestamp) -> Order {
    Order { version: order.version + 1, updated_at: now.max(order.updated_at), ..order.clone() }
}
