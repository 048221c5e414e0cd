//! The payment of an order: authorize, then claim the lock, then capture. A payment that completes
//! too late is voided or refunded.

use super::{Decision, Refusal, SlotChange, lock, selling};
use crate::{
    CancelReason, Charge, ChargeFailure, ChargeId, ChargeStatus, ChargeStep, Event, Order, OrderId,
    OrderStatus, PaymentId, Policy, RefundId, Sale, Ticket, TicketState, Timestamp, TokenDigest,
    UserId,
};

/// A payment that a buyer submits.
pub(super) struct Submission<'a> {
    pub order: OrderId,
    pub by: UserId,
    pub charge: ChargeId,
    pub token: &'a TokenDigest,
}

pub(super) fn submit(
    sale: &Sale,
    submission: Submission<'_>,
    policy: &Policy,
    now: Timestamp,
) -> Result<Decision, Refusal> {
    let Submission { order, by, charge, token } = submission;
    let held = lock::held(sale, order)?;
    if held.buyer != by {
        return Err(Refusal::NotOwner);
    }
    check_payable(held, now)?;
    let mut charges = Vec::new();
    if let Some(running) = &sale.charge {
        if running.is_in_flight() {
            return Err(Refusal::PaymentInFlight);
        }
        if running.token == *token {
            return Err(Refusal::AwaitingAction { charge: running.id });
        }
        charges.push(reversing(running, ChargeFailure::superseded(), now));
    }
    if policy.limits_declines && held.declines >= Policy::DECLINES_PER_ORDER_MAX {
        // The buyer may lock the ticket again with another order after this one has ended.
        return Err(Refusal::TooManyDeclines { retry_after: held.unlocks_at - now });
    }
    let first_attempt = held.status == OrderStatus::Created;
    let order = Order { status: OrderStatus::AwaitingPayment, ..lock::next(held, now) };
    let charge = Charge {
        id: charge,
        order: order.id,
        ticket: order.ticket.id,
        buyer: order.buyer,
        status: ChargeStatus::Created,
        step: ChargeStep::Authorizing,
        amount: order.price,
        currency: order.currency,
        token: token.clone(),
        first_attempt,
        stripe_id: None,
        stripe_refund_id: None,
        failure: None,
        version: 0,
        created_at: now,
        updated_at: now,
    };
    charges.push(charge.clone());
    Ok(Decision {
        order: Some(order),
        charges,
        events: vec![Event::ChargeCreated { charge }],
        ..Decision::default()
    })
}

/// Checks that the order may be paid at `now`.
fn check_payable(order: &Order, now: Timestamp) -> Result<(), Refusal> {
    match (order.status, order.cancel_reason) {
        (OrderStatus::Completed, _) => Err(Refusal::OrderCompleted),
        (OrderStatus::Cancelled, Some(CancelReason::Buyer)) => Err(Refusal::OrderNotPayable),
        (OrderStatus::Cancelled, _) => Err(Refusal::OrderExpired),
        // This also applies after `unlocks_at`: an order whose capture has no answer has not
        // expired.
        (OrderStatus::Created | OrderStatus::AwaitingPayment, _) if order.settling.is_some() => {
            Err(Refusal::PaymentInFlight)
        }
        (OrderStatus::Created, _) if now >= order.expires_at => Err(Refusal::OrderExpired),
        (OrderStatus::Created | OrderStatus::AwaitingPayment, _) if now >= order.unlocks_at => {
            Err(Refusal::OrderExpired)
        }
        (OrderStatus::Created | OrderStatus::AwaitingPayment, _) => Ok(()),
    }
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
    check_payable(order, now)?;
    match charge.step {
        ChargeStep::AwaitingAction => {
            Ok(charge_only(Charge { step: ChargeStep::Authorizing, ..next(charge, now) }))
        }
        ChargeStep::Authorizing | ChargeStep::Capturing => Err(Refusal::PaymentInFlight),
        ChargeStep::Reversing { .. } | ChargeStep::Final => Err(Refusal::NothingToDo),
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
    let (charge, order) = running(sale, charge)?;
    if charge.step == ChargeStep::Capturing {
        return Err(Refusal::NothingToDo);
    }
    if now >= order.unlocks_at {
        return Ok(lock::release(sale, order, policy, now));
    }
    let order = Order { settling: Some(charge.id), ..lock::next(order, now) };
    let charge = Charge {
        step: ChargeStep::Capturing,
        stripe_id: Some(payment.clone()),
        ..next(charge, now)
    };
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
    Ok(charge_only(Charge {
        step: ChargeStep::AwaitingAction,
        stripe_id: Some(payment.clone()),
        ..next(charge, now)
    }))
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
    let (charge, order) = running(sale, charge)?;
    if charge.step == ChargeStep::Capturing {
        return Err(Refusal::NothingToDo);
    }
    let waited = charge.stripe_id.is_some();
    let decision = if waited {
        charge_only(reversing(charge, failure.clone(), now))
    } else {
        failed(charge, payment, failure, now)
    };
    let order = Order { declines: order.declines.saturating_add(1), ..lock::next(order, now) };
    Ok(Decision { declined: Some(order.buyer), order: Some(order), ..decision })
}

pub(super) fn token_refused(
    sale: &Sale,
    charge: ChargeId,
    now: Timestamp,
) -> Result<Decision, Refusal> {
    let (charge, order) = authorizing(sale, charge)?;
    let mut decision = failed(charge, None, &ChargeFailure::invalid_token(), now);
    if charge.first_attempt {
        // No attempt was made, so the payment window applies again. If the window is over, its
        // deadline is due at once.
        decision.order = Some(Order { status: OrderStatus::Created, ..lock::next(order, now) });
    }
    Ok(decision)
}

/// Marks an interrupted attempt as to be reversed. It does not become Failed at once, because
/// reconciliation ignores a Final charge, and a payment that arrives at the processor later would
/// stay there.
pub(super) fn interrupted(
    sale: &Sale,
    charge: ChargeId,
    failure: &ChargeFailure,
    now: Timestamp,
) -> Result<Decision, Refusal> {
    let (charge, _) = authorizing(sale, charge)?;
    Ok(charge_only(reversing(charge, failure.clone(), now)))
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
    match charge.step {
        ChargeStep::AwaitingAction => Ok(charge_only(reversing(charge, failure.clone(), now))),
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
    let (charge, order) = capturing(sale, charge)?;
    if now >= order.unlocks_at + policy.settle_grace {
        return Ok(lock::release(sale, order, policy, now));
    }
    let ticket = Ticket {
        state: TicketState::Sold { order: order.id },
        lapses: Vec::new(),
        ..selling::next(&sale.ticket, now)
    };
    let order = Order { status: OrderStatus::Completed, settling: None, ..lock::next(order, now) };
    let charge =
        Charge { status: ChargeStatus::Completed, step: ChargeStep::Final, ..next(charge, now) };
    Ok(Decision {
        slot: Some(SlotChange::Free { user: order.buyer, order: order.id }),
        events: vec![
            Event::ChargeCompleted { charge: charge.clone() },
            Event::TicketUpdated { ticket: ticket.clone() },
        ],
        ticket: Some(ticket),
        order: Some(order),
        charges: vec![charge],
        declined: None,
    })
}

pub(super) fn capture_failed(
    sale: &Sale,
    charge: ChargeId,
    failure: &ChargeFailure,
    policy: &Policy,
    now: Timestamp,
) -> Result<Decision, Refusal> {
    let (charge, order) = capturing(sale, charge)?;
    if now >= order.unlocks_at {
        return Ok(lock::release(sale, order, policy, now));
    }
    let order = Order { settling: None, ..lock::next(order, now) };
    Ok(Decision {
        order: Some(order),
        charges: vec![reversing(charge, failure.clone(), now)],
        ..Decision::default()
    })
}

pub(super) fn abandon(
    charge: &Charge,
    failure: ChargeFailure,
    now: Timestamp,
) -> Result<Decision, Refusal> {
    match charge.step {
        ChargeStep::Reversing { .. } | ChargeStep::Final => Err(Refusal::NothingToDo),
        ChargeStep::Authorizing | ChargeStep::AwaitingAction | ChargeStep::Capturing => {
            Ok(charge_only(reversing(charge, failure, now)))
        }
    }
}

pub(super) fn reversed(
    charge: &Charge,
    payment: Option<&PaymentId>,
    refund: Option<&RefundId>,
    now: Timestamp,
) -> Result<Decision, Refusal> {
    let ChargeStep::Reversing { failure } = &charge.step else {
        return Err(Refusal::NothingToDo);
    };
    let mut decision = failed(charge, payment, failure, now);
    if let Some(refund) = refund {
        for charge in &mut decision.charges {
            charge.stripe_refund_id = Some(refund.clone());
        }
        decision.events = decision
            .charges
            .iter()
            .flat_map(|charge| {
                [
                    Event::ChargeFailed { charge: charge.clone() },
                    Event::ChargeRefunded { charge: charge.clone() },
                ]
            })
            .collect();
    }
    Ok(decision)
}

/// Records a later refund. The buyer gets one `ChargeRefunded` event, even if a second refund
/// replaces the one that was reported.
pub(super) fn refunded_later(
    charge: &Charge,
    refund: &RefundId,
    now: Timestamp,
) -> Result<Decision, Refusal> {
    let has_failed = charge.status == ChargeStatus::Failed && charge.step == ChargeStep::Final;
    if !has_failed || charge.stripe_refund_id.as_ref() == Some(refund) {
        return Err(Refusal::NothingToDo);
    }
    let was_reported = charge.stripe_refund_id.is_some();
    let charge = Charge { stripe_refund_id: Some(refund.clone()), ..next(charge, now) };
    let events = if was_reported {
        Vec::new()
    } else {
        vec![Event::ChargeRefunded { charge: charge.clone() }]
    };
    Ok(Decision { charges: vec![charge], events, ..Decision::default() })
}

/// Returns the charge in step Reversing. It becomes Failed when the processor holds no money of it.
pub(super) fn reversing(charge: &Charge, failure: ChargeFailure, now: Timestamp) -> Charge {
    Charge { step: ChargeStep::Reversing { failure }, ..next(charge, now) }
}

fn failed(
    charge: &Charge,
    payment: Option<&PaymentId>,
    failure: &ChargeFailure,
    now: Timestamp,
) -> Decision {
    let charge = Charge {
        status: ChargeStatus::Failed,
        step: ChargeStep::Final,
        stripe_id: payment.cloned().or_else(|| charge.stripe_id.clone()),
        failure: Some(failure.clone()),
        ..next(charge, now)
    };
    Decision {
        charges: vec![charge.clone()],
        events: vec![Event::ChargeFailed { charge }],
        ..Decision::default()
    }
}

fn charge_only(charge: Charge) -> Decision {
    Decision { charges: vec![charge], ..Decision::default() }
}

/// Returns the charge with this id and its order, if the charge is the running one.
fn running(sale: &Sale, charge: ChargeId) -> Result<(&Charge, &Order), Refusal> {
    let charge =
        sale.charge.as_ref().filter(|running| running.id == charge).ok_or(Refusal::NothingToDo)?;
    let order = lock::held(sale, charge.order).map_err(|_| Refusal::NothingToDo)?;
    Ok((charge, order))
}

fn authorizing(sale: &Sale, charge: ChargeId) -> Result<(&Charge, &Order), Refusal> {
    running(sale, charge).and_then(|found| {
        if found.0.step == ChargeStep::Authorizing { Ok(found) } else { Err(Refusal::NothingToDo) }
    })
}

fn capturing(sale: &Sale, charge: ChargeId) -> Result<(&Charge, &Order), Refusal> {
    let (charge, order) = running(sale, charge)?;
    if charge.step == ChargeStep::Capturing && order.settling == Some(charge.id) {
        Ok((charge, order))
    } else {
        Err(Refusal::NothingToDo)
    }
}

/// Returns a copy of the charge with the next version.
pub(super) fn next(charge: &Charge, now: Timestamp) -> Charge {
    Charge { version: charge.version + 1, updated_at: now.max(charge.updated_at), ..charge.clone() }
}
