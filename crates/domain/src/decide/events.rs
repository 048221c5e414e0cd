//! The events of a decision, derived from the documents before and after it.
//!
//! Every version of a ticket has an event. An order has an event when it is created and when it is
//! cancelled; its sale is reported by its charge and its ticket. A charge has an event when it is
//! created, when it ends, and when its refund becomes known.

use super::Decision;
use crate::{
    CancelReason, Charge, ChargeStatus, DomainEvent, Order, OrderState, Ticket, TicketState,
};

/// The order and the charge that a decision may change, as they were before. Other documents in a
/// decision are new.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Before<'a> {
    pub order: Option<&'a Order>,
    pub charge: Option<&'a Charge>,
}

/// Returns the events that report the changes of `decision`: of charges first, then the end of an
/// order, then of the ticket, then a new order.
pub(super) fn of(decision: &Decision, before: Before<'_>) -> Vec<DomainEvent> {
    let mut events = Vec::new();
    for charge in &decision.charges {
        of_charge(charge, before.charge.filter(|before| before.id == charge.id), &mut events);
    }
    let order = decision.order.as_ref();
    let order_before =
        before.order.filter(|before| order.is_some_and(|order| before.id == order.id));
    events.extend(order.and_then(|order| of_cancelled(order, order_before)));
    events.extend(decision.ticket.as_ref().map(of_ticket));
    if let (Some(order), None) = (order, order_before) {
        events.push(DomainEvent::OrderCreated { order: order.clone() });
    }
    events
}

fn of_charge(charge: &Charge, before: Option<&Charge>, events: &mut Vec<DomainEvent>) {
    let Some(before) = before else {
        return events.push(DomainEvent::ChargeCreated { charge: charge.clone() });
    };
    match charge.status() {
        status if status == before.status() => {}
        ChargeStatus::Created => {}
        ChargeStatus::Failed => events.push(DomainEvent::ChargeFailed { charge: charge.clone() }),
        ChargeStatus::Completed => {
            events.push(DomainEvent::ChargeCompleted { charge: charge.clone() })
        }
    }
    // A second refund that replaces a reported one is not reported again.
    if charge.refund().is_some() && before.refund().is_none() {
        events.push(DomainEvent::ChargeRefunded { charge: charge.clone() });
    }
}

fn of_cancelled(order: &Order, before: Option<&Order>) -> Option<DomainEvent> {
    let OrderState::Cancelled { reason } = order.state else { return None };
    if before.is_none_or(|before| !before.is_active()) {
        return None;
    }
    let order = order.clone();
    Some(match reason {
        CancelReason::Expired => DomainEvent::OrderExpired { order },
        CancelReason::Buyer => DomainEvent::OrderCancelled { order },
    })
}

fn of_ticket(ticket: &Ticket) -> DomainEvent {
    match ticket.state {
        TicketState::Deleted => DomainEvent::TicketDeleted {
            ticket: ticket.id,
            seller: ticket.seller,
            version: ticket.version,
        },
        _ if ticket.version == 0 => DomainEvent::TicketCreated { ticket: ticket.clone() },
        _ => DomainEvent::TicketUpdated { ticket: ticket.clone() },
    }
}
