//! The payment of an order: authorize, then claim the lock, then capture. A payment that completes
//! too late is voided or refunded.

use super::{Decision, SlotChange, lock};
use crate::{
    Charge, ChargeFailure, ChargeId, ChargeState, Order, OrderId, OrderState, PaymentId, Policy,
    ProcessorName, RefundId, Refusal, Sale, Ticket, TicketState, Timestamp, TokenDigest, UserId,
};

/// A payment that a buyer submits.
pub(super) struct Submission<'a> {
    pub order: OrderId,
    pub by: UserId,
    pub charge: ChargeId,
    pub token: &'a TokenDigest,
    pub processor: &'a ProcessorName,
}

pub(super) fn submit(
    sale: &Sale,
    submission: Submission<'_>,
    policy: &Policy,
    now: Timestamp,
) -> Result<Decision, Refusal> {
    let Submission { order, by, charge, token, processor } = submission;
    let held = sale.held(order)?;
    if held.buyer != by {
        return Err(Refusal::NotOwner);
    }
    held.check_payable(now)?;
    let mut charges = Vec::new();
    if let Some(running) = &sale.charge {
        if running.is_in_flight() {
            return Err(Refusal::PaymentInFlight);
        }
        if running.token == *token {
            return Err(Refusal::AwaitingAction { charge: running.id });
        }
        charges.push(running.reversing(ChargeFailure::superseded(), now));
    }
    if policy.limits_declines && held.declines >= Policy::DECLINES_PER_ORDER_MAX {
        // The buyer may lock the ticket again with another order after this one has ended.
        return Err(Refusal::TooManyDeclines { retry_after: held.unlocks_at - now });
    }
    charges.push(Charge {
        id: charge,
        order: held.id,
        ticket: held.ticket.id,
        buyer: held.buyer,
        state: ChargeState::Authorizing { payment: None },
        amount: held.price,
        currency: held.currency,
        token: token.clone(),
        processor: Some(processor.clone()),
        first_attempt: held.state == OrderState::Created,
        version: 0,
        created_at: now,
        updated_at: now,
    });
    let order = held.changed_to(OrderState::AwaitingPayment, now);
    Ok(Decision { order: Some(order), charges, ..Decision::default() })
}

pub(super) fn confirm(
    sale: &Sale,
    charge: ChargeId,
    by: UserId,
    now: Timestamp,
) -> Result<Decision, Refusal> {
    let (charge, order) = running(sale, charge)?;
    if charge.buyer != by {
        return Err(Refusal::NotOwner);
    }
    order.check_payable(now)?;
    match &charge.state {
        ChargeState::AwaitingAction { payment } => {
            let state = ChargeState::Authorizing { payment: Some(payment.clone()) };
            Ok(charge_only(charge.changed_to(state, now)))
        }
        ChargeState::Authorizing { .. } | ChargeState::Capturing { .. } => {
            Err(Refusal::PaymentInFlight)
        }
        ChargeState::Reversing { .. }
        | ChargeState::Failed { .. }
        | ChargeState::Completed { .. } => Err(Refusal::NothingToDo),
    }
}

/// Claims the lock for the capture. Until the capture has an answer, the lock ends only at the end
/// of the grace.
///
/// A charge that waits for its buyer is claimed too. The buyer may have acted without a report to
/// this server, or an answer from before the action arrived last.
pub(super) fn authorized(
    sale: &Sale,
    charge: ChargeId,
    payment: &PaymentId,
    policy: &Policy,
    now: Timestamp,
) -> Result<Decision, Refusal> {
    let (charge, order) = not_capturing(sale, charge)?;
    if now >= order.unlocks_at {
        return Ok(lock::release(sale, order, policy, now));
    }
    let order = order.changed_to(OrderState::Capturing { charge: charge.id }, now);
    let charge = charge.changed_to(ChargeState::Capturing { payment: payment.clone() }, now);
    Ok(Decision { order: Some(order), charges: vec![charge], ..Decision::default() })
}

pub(super) fn action_required(
    sale: &Sale,
    charge: ChargeId,
    payment: &PaymentId,
    policy: &Policy,
    now: Timestamp,
) -> Result<Decision, Refusal> {
    let (charge, order) = authorizing(sale, charge)?;
    if now >= order.unlocks_at {
        return Ok(lock::release(sale, order, policy, now));
    }
    let state = ChargeState::AwaitingAction { payment: payment.clone() };
    Ok(charge_only(charge.changed_to(state, now)))
}

/// Records a decline. If the payment waited for the buyer's action before, it becomes Reversing
/// instead of Failed: the buyer has the payment's client secret and can still authorize it without
/// this server. So the payment is closed at the processor first.
pub(super) fn declined(
    sale: &Sale,
    charge: ChargeId,
    payment: Option<&PaymentId>,
    failure: &ChargeFailure,
    now: Timestamp,
) -> Result<Decision, Refusal> {
    let (charge, order) = not_capturing(sale, charge)?;
    let has_waited = charge.payment().is_some();
    let charge = match has_waited {
        true => charge.reversing(failure.clone(), now),
        false => failed(charge, payment, failure, None, now),
    };
    let order = Order { declines: order.declines.saturating_add(1), ..order.next(now) };
    let declined = Some(order.buyer);
    Ok(Decision { declined, order: Some(order), charges: vec![charge], ..Decision::default() })
}

pub(super) fn token_refused(
    sale: &Sale,
    charge: ChargeId,
    now: Timestamp,
) -> Result<Decision, Refusal> {
    let (charge, order) = authorizing(sale, charge)?;
    // If this was the first attempt, no attempt was made, so the payment window applies again. If
    // the window is over, its deadline is due at once.
    let order = charge.first_attempt.then(|| order.changed_to(OrderState::Created, now));
    let charge = failed(charge, None, &ChargeFailure::invalid_token(), None, now);
    Ok(Decision { order, charges: vec![charge], ..Decision::default() })
}

/// Marks an interrupted attempt as to be reversed. It does not become Failed at once, because
/// reconciliation ignores a charge that has ended, and a payment that arrives at the processor
/// later would stay there.
pub(super) fn interrupted(
    sale: &Sale,
    charge: ChargeId,
    failure: &ChargeFailure,
    now: Timestamp,
) -> Result<Decision, Refusal> {
    let (charge, _) = authorizing(sale, charge)?;
    Ok(charge_only(charge.reversing(failure.clone(), now)))
}

/// Marks a charge whose wait for the buyer ended as to be reversed. The reason is the same as after
/// a decline: the buyer has the payment's client secret.
pub(super) fn waiting_ended(
    sale: &Sale,
    charge: ChargeId,
    failure: &ChargeFailure,
    now: Timestamp,
) -> Result<Decision, Refusal> {
    let (charge, _) = running(sale, charge)?;
    match charge.state {
        ChargeState::AwaitingAction { .. } => {
            Ok(charge_only(charge.reversing(failure.clone(), now)))
        }
        _ => Err(Refusal::NothingToDo),
    }
}

/// Completes charge, order and ticket in one decision. After the grace there is no sale. The result
/// depends on `now` only: it is the same whether the processor's answer or the lock's timer comes
/// first.
pub(super) fn captured(
    sale: &Sale,
    charge: ChargeId,
    policy: &Policy,
    now: Timestamp,
) -> Result<Decision, Refusal> {
    let (charge, order, payment) = capturing(sale, charge)?;
    if now >= order.unlocks_at + policy.settle_grace {
        return Ok(lock::release(sale, order, policy, now));
    }
    let ticket = Ticket {
        state: TicketState::Sold { order: order.id },
        lapses: Vec::new(),
        ..sale.ticket.next(now)
    };
    let charge = charge.changed_to(ChargeState::Completed { payment: payment.clone() }, now);
    Ok(Decision {
        slot: Some(SlotChange::Free { user: order.buyer, order: order.id }),
        ticket: Some(ticket),
        order: Some(order.changed_to(OrderState::Completed, now)),
        charges: vec![charge],
        ..Decision::default()
    })
}

pub(super) fn capture_failed(
    sale: &Sale,
    charge: ChargeId,
    failure: &ChargeFailure,
    policy: &Policy,
    now: Timestamp,
) -> Result<Decision, Refusal> {
    let (charge, order, _) = capturing(sale, charge)?;
    if now >= order.unlocks_at {
        return Ok(lock::release(sale, order, policy, now));
    }
    let charge = charge.reversing(failure.clone(), now);
    let order = order.changed_to(OrderState::AwaitingPayment, now);
    Ok(Decision { order: Some(order), charges: vec![charge], ..Decision::default() })
}

pub(super) fn abandon(
    charge: &Charge,
    failure: ChargeFailure,
    now: Timestamp,
) -> Result<Decision, Refusal> {
    match charge.is_running() {
        true => Ok(charge_only(charge.reversing(failure, now))),
        false => Err(Refusal::NothingToDo),
    }
}

pub(super) fn reversed(
    charge: &Charge,
    payment: Option<&PaymentId>,
    refund: Option<&RefundId>,
    now: Timestamp,
) -> Result<Decision, Refusal> {
    let ChargeState::Reversing { failure, .. } = &charge.state else {
        return Err(Refusal::NothingToDo);
    };
    Ok(charge_only(failed(charge, payment, failure, refund, now)))
}

/// Records a later refund, which replaces an earlier one.
pub(super) fn refunded_later(
    charge: &Charge,
    later: &RefundId,
    now: Timestamp,
) -> Result<Decision, Refusal> {
    match &charge.state {
        ChargeState::Failed { payment, failure, refund } if refund.as_ref() != Some(later) => {
            Ok(charge_only(failed(charge, payment.as_ref(), failure, Some(later), now)))
        }
        _ => Err(Refusal::NothingToDo),
    }
}

fn failed(
    charge: &Charge,
    payment: Option<&PaymentId>,
    failure: &ChargeFailure,
    refund: Option<&RefundId>,
    now: Timestamp,
) -> Charge {
    let state = ChargeState::Failed {
        payment: payment.or(charge.payment()).cloned(),
        failure: failure.clone(),
        refund: refund.cloned(),
    };
    charge.changed_to(state, now)
}

fn charge_only(charge: Charge) -> Decision {
    Decision { charges: vec![charge], ..Decision::default() }
}

/// Returns the charge with this id and its order, if the charge is the running one.
fn running(sale: &Sale, charge: ChargeId) -> Result<(&Charge, &Order), Refusal> {
    let running = sale.charge.as_ref().filter(|running| running.id == charge);
    let charge = running.ok_or(Refusal::NothingToDo)?;
    let order = sale.held(charge.order).map_err(|_| Refusal::NothingToDo)?;
    Ok((charge, order))
}

/// Returns the running charge and its order, if the lock is not claimed for it.
fn not_capturing(sale: &Sale, charge: ChargeId) -> Result<(&Charge, &Order), Refusal> {
    let (charge, order) = running(sale, charge)?;
    match charge.state {
        ChargeState::Capturing { .. } => Err(Refusal::NothingToDo),
        _ => Ok((charge, order)),
    }
}

/// Returns the running charge and its order, if the charge is Authorizing.
fn authorizing(sale: &Sale, charge: ChargeId) -> Result<(&Charge, &Order), Refusal> {
    let (charge, order) = running(sale, charge)?;
    match charge.state {
        ChargeState::Authorizing { .. } => Ok((charge, order)),
        _ => Err(Refusal::NothingToDo),
    }
}

/// Returns the running charge, its order and its payment, if the lock is claimed for it.
fn capturing(sale: &Sale, charge: ChargeId) -> Result<(&Charge, &Order, &PaymentId), Refusal> {
    let (charge, order) = running(sale, charge)?;
    match &charge.state {
        ChargeState::Capturing { payment }
            if order.state == (OrderState::Capturing { charge: charge.id }) =>
        {
            Ok((charge, order, payment))
        }
        _ => Err(Refusal::NothingToDo),
    }
}
