//! What one decision is made over: a ticket, with the order that holds it and that order's running charge.

use super::{Charge, Millis, Order, OrderId, OrderStatus, Policy, Ticket, Timestamp};

/// A ticket and all that hangs on its lock. A ticket actor's whole state; loaded from the store as one snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Sale {
    pub ticket: Ticket,
    /// The order that holds the lock. It may be Cancelled already, when only its payment window is over.
    pub order: Option<Order>,
    /// The order's charge that is neither final nor on its way back.
    pub charge: Option<Charge>,
}

/// The next moment at which time alone changes something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline {
    /// The lock that it belongs to: a timer whose lock is gone does nothing.
    pub order: OrderId,
    pub at: Timestamp,
}

impl Sale {
    /// A ticket that nobody holds.
    pub fn unlocked(ticket: Ticket) -> Self {
        Self { ticket, order: None, charge: None }
    }

    /// When [`super::TicketCommand::DeadlinePassed`] will have an effect next; `None` while the ticket is not locked.
    pub fn deadline(&self, policy: &Policy) -> Option<Deadline> {
        let lock = self.ticket.lock()?;
        let order = lock.order;
        let at = match &self.order {
            Some(held) if held.settling.is_some() => lock.unlocks_at + policy.settle_grace,
            Some(held) if held.status == OrderStatus::Created => held.expires_at.min(lock.unlocks_at),
            _ => lock.unlocks_at,
        };
        Some(Deadline { order, at })
    }

    /// How long ago the deadline passed at `now`, or `None` if it did not.
    pub fn overdue(&self, policy: &Policy, now: Timestamp) -> Option<Millis> {
        let deadline = self.deadline(policy)?;
        (deadline.at <= now).then(|| now - deadline.at)
    }
}
