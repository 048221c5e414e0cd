//! The input of one decision: a ticket, the order that holds it, and that order's running charge.

use super::{Charge, Millis, Order, OrderId, OrderState, Policy, Refusal, Ticket, Timestamp};

/// A ticket, the order that holds its lock, and that order's charge: the whole state of a ticket
/// actor. The store loads it as one snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Sale {
    pub ticket: Ticket,
    /// The order that holds the lock. If its payment window ended without a payment it is
    /// Cancelled, and by default it still holds the lock until the lock ends (see
    /// [`super::Policy`]).
    pub order: Option<Order>,
    /// The order's charge, unless it has ended or is Reversing.
    pub charge: Option<Charge>,
}

/// The next time at which a state changes without a command from a user or the processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline {
    /// The order whose lock has this deadline. A timer has no effect if another order or no order
    /// holds the lock.
    pub order: OrderId,
    pub at: Timestamp,
}

impl Sale {
    /// Returns the state of a ticket that is not locked.
    pub fn unlocked(ticket: Ticket) -> Self {
        Self { ticket, order: None, charge: None }
    }

    /// Returns the order with this id if it holds the ticket.
    ///
    /// # Errors
    /// [`Refusal::OrderGone`].
    pub(super) fn held(&self, order: OrderId) -> Result<&Order, Refusal> {
        self.order.as_ref().filter(|held| held.id == order).ok_or(Refusal::OrderGone)
    }

    /// Returns the next time at which [`super::TicketCommand::DeadlinePassed`] has an effect, or
    /// `None` if the ticket is not locked.
    pub fn deadline(&self, policy: &Policy) -> Option<Deadline> {
        let lock = self.ticket.lock()?;
        let order = lock.order;
        let at = match &self.order {
            Some(held) if held.is_capturing() => lock.unlocks_at + policy.settle_grace,
            Some(held) if held.state == OrderState::Created => held.expires_at.min(lock.unlocks_at),
            _ => lock.unlocks_at,
        };
        Some(Deadline { order, at })
    }

    /// Returns the time between the deadline and `now`, or `None` if the deadline is after `now`.
    pub fn overdue(&self, policy: &Policy, now: Timestamp) -> Option<Millis> {
        let deadline = self.deadline(policy)?;
        (deadline.at <= now).then(|| now - deadline.at)
    }
}
