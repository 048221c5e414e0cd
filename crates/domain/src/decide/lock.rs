//! The changes of a lock: taking it, cancelling it, and its expiry.

use super::{Decision, SlotChange};
use crate::{
    CancelReason, Charge, ChargeFailure, Lapse, Lock, Money, Order, OrderId, OrderState, Policy,
    Refusal, ReplicaName, Sale, Ticket, TicketSnapshot, TicketState, Timestamp, UserId, Version,
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
    seen.check_lockable(request.buyer)?;
    if request.expected_price.is_some_and(|price| price != seen.details.price) {
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
    let ticket = Ticket { state: TicketState::Locked { lock: Box::new(lock) }, ..seen.next(now) };
    let order = Order {
        id: request.order,
        buyer: request.buyer,
        state: OrderState::Created,
        ticket: TicketSnapshot::from(&ticket),
        price: ticket.details.price,
        currency: ticket.currency,
        expires_at: policy.expires_at(now),
        unlocks_at: policy.unlocks_at(now),
        declines: 0,
        version: 0,
        created_at: now,
        updated_at: now,
    };
    let (user, order_id, locks_max) = (request.buyer, request.order, policy.locks_max);
    Ok(Decision {
        ticket: Some(ticket),
        order: Some(order),
        slot: Some(SlotChange::Take { user, order: order_id, locks_max }),
        ..Decision::default()
    })
}

pub(super) fn cancel(
    sale: &Sale,
    order: OrderId,
    by: UserId,
    policy: &Policy,
    now: Timestamp,
) -> Result<Decision, Refusal> {
    let order = sale.held(order)?;
    if order.buyer != by {
        return Err(Refusal::NotOwner);
    }
    match order.state {
        OrderState::Cancelled { .. } => return Err(Refusal::NothingToDo),
        OrderState::Completed => return Err(Refusal::OrderCompleted),
        OrderState::Created | OrderState::AwaitingPayment | OrderState::Capturing { .. } => {}
    }
    if sale.charge.as_ref().is_some_and(Charge::is_in_flight) {
        return Err(Refusal::PaymentInFlight);
    }
    let cancelled = order.changed_to(OrderState::Cancelled { reason: CancelReason::Buyer }, now);
    Ok(free(sale, cancelled, &ChargeFailure::cancelled(), policy, now))
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
    let held = sale.held(order).map_err(|_| Refusal::NothingToDo)?;
    if now >= held.unlocks_at || policy.early_release {
        return Ok(release(sale, held, policy, now));
    }
    Ok(Decision { order: Some(expire(held, now)), ..Decision::default() })
}

/// Changes only the versions and `updated_at`. The event carries the unchanged state, or reports
/// again that a deleted ticket is deleted.
pub(super) fn fence(sale: &Sale, now: Timestamp) -> Decision {
    Decision {
        ticket: Some(sale.ticket.next(now)),
        order: sale.order.as_ref().map(|order| order.next(now)),
        charges: sale.charge.iter().map(|charge| charge.next(now)).collect(),
        ..Decision::default()
    }
}

/// Ends the lock because its time is over. An active order expires, the ticket becomes Available,
/// and an open charge has to be reversed.
pub(super) fn release(sale: &Sale, held: &Order, policy: &Policy, now: Timestamp) -> Decision {
    // An order that expired at `expiresAt` is not changed. Its version is incremented
    // nevertheless, so that a commit based on a copy in which the order holds the lock fails.
    let order = if held.is_active() { expire(held, now) } else { held.next(now) };
    free(sale, order, &ChargeFailure::lock_lost(), policy, now)
}

fn expire(order: &Order, now: Timestamp) -> Order {
    order.changed_to(OrderState::Cancelled { reason: CancelReason::Expired }, now)
}

/// Frees the ticket. `order` is the next state of the order that held it.
fn free(
    sale: &Sale,
    order: Order,
    failure: &ChargeFailure,
    policy: &Policy,
    now: Timestamp,
) -> Decision {
    let lapse = Lapse { user: order.buyer, at: now };
    let lapses = sale.ticket.lapses_with(lapse, policy);
    let ticket = Ticket { state: TicketState::Available, lapses, ..sale.ticket.next(now) };
    Decision {
        ticket: Some(ticket),
        charges: sale.charge.iter().map(|charge| charge.reversing(failure.clone(), now)).collect(),
        slot: Some(SlotChange::Free { user: order.buyer, order: order.id }),
        order: Some(order),
        ..Decision::default()
    }
}
