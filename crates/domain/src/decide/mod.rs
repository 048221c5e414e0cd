//! The state changes of tickets, orders and charges, as pure functions.
//!
//! [`decide()`] returns a [`Decision`], which holds the next state of each changed document and the
//! events that report the changes. [`list_ticket`], [`abandon_charge`], [`charge_reversed`] and
//! [`refunded_later`] do the same for a new ticket, and for charges that no lock refers to.
//!
//! One commit stores a decision, on the condition that each stored document has the version before
//! the one in the decision. Callers may hold stale copies, repeat commands and send them late. A
//! command that does not fit the state is refused here.

mod events;
mod lock;
mod payment;
mod selling;
#[cfg(test)]
mod tests;

use super::{
    Charge, ChargeFailure, ChargeId, DomainEvent, Money, Order, OrderId, PaymentId, Policy,
    ProcessorName, RefundId, Refusal, ReplicaName, Sale, Ticket, TicketDetails, TicketId,
    Timestamp, TokenDigest, UserId, Version,
};
use events::Before;

/// The condition of a change on the ticket's version (RFC 9110 §13.1.1, `If-Match`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum VersionCondition {
    /// Any version.
    Any,
    /// This version only.
    Is(Version),
    /// No version: the ticket has none of the versions that the client named.
    Never,
}

impl VersionCondition {
    fn holds_for(self, version: Version) -> bool {
        match self {
            Self::Any => true,
            Self::Is(expected) => expected == version,
            Self::Never => false,
        }
    }
}

/// A request of a user, of the payment processor or of the clock about one ticket.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TicketCommand {
    /// The seller changes what they say about the ticket.
    Edit { by: UserId, details: TicketDetails, if_match: VersionCondition },
    /// The seller takes the ticket off sale.
    Delist { by: UserId, if_match: VersionCondition },
    /// A buyer locks the ticket. `order` is the id of the new order.
    Lock {
        order: OrderId,
        buyer: UserId,
        expected_price: Option<Money>,
        expected_version: Option<Version>,
        replica: ReplicaName,
    },
    /// The buyer cancels the order, which ends the lock.
    Cancel { order: OrderId, by: UserId },
    /// The buyer submits a payment token. `charge` is the id of the new charge.
    SubmitPayment {
        order: OrderId,
        by: UserId,
        charge: ChargeId,
        token: TokenDigest,
        processor: ProcessorName,
    },
    /// The buyer reports that they acted (3-D Secure).
    ConfirmPayment { charge: ChargeId, by: UserId },
    /// The processor authorized the payment. The lock is claimed for the capture.
    PaymentAuthorized { charge: ChargeId, payment: PaymentId },
    /// The processor requires an action of the buyer.
    ActionRequired { charge: ChargeId, payment: PaymentId },
    /// The processor declined the payment, at once or after the buyer acted. No money is held.
    PaymentDeclined { charge: ChargeId, payment: Option<PaymentId>, failure: ChargeFailure },
    /// The token does not exist at the processor. The charge becomes Failed. If it was the order's
    /// first attempt, the order is Created again, so that its payment window applies again.
    TokenRefused { charge: ChargeId },
    /// The attempt was interrupted or refused, and the processor has no result of it so far. The
    /// attempt may still reach the processor. So the payment is closed at the processor first, and
    /// then the charge becomes Failed with `failure`.
    PaymentInterrupted { charge: ChargeId, failure: ChargeFailure },
    /// The payment cannot be completed by the buyer any more: it was closed at the processor, or it
    /// waits for nothing.
    WaitingEnded { charge: ChargeId, failure: ChargeFailure },
    /// The money is captured.
    PaymentCaptured { charge: ChargeId },
    /// The processor will never capture this payment.
    CaptureFailed { charge: ChargeId, failure: ChargeFailure },
    /// A deadline of the lock may have passed. Which one it is follows from the state.
    DeadlinePassed { order: OrderId },
    /// The outcome of an earlier commit is unknown, and the commit may still be written. This
    /// command increments the versions of the stored ticket, its held order and its running charge.
    /// Afterwards the commit either is visible or can never be written.
    Fence,
}

/// A change of the set of locks that a user holds. It is stored in the same commit; the store
/// refuses a `Take` beyond `locks_max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SlotChange {
    Take { user: UserId, order: OrderId, locks_max: u32 },
    Free { user: UserId, order: OrderId },
}

/// The next state of each changed document. The version of a changed document is one above the
/// version that was seen; a new document has version 0.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Decision {
    pub ticket: Option<Ticket>,
    pub order: Option<Order>,
    pub charges: Vec<Charge>,
    pub slot: Option<SlotChange>,
    /// The user whose payment was declined. The decline is counted in the same commit, with the
    /// time of the decision.
    pub declined: Option<UserId>,
    /// The events that report the changes, derived from the documents before and after them.
    pub events: Vec<DomainEvent>,
}

impl Decision {
    /// Adds the events that report the changes.
    fn with_events(self, before: Before<'_>) -> Self {
        Self { events: events::of(&self, before), ..self }
    }

    /// Returns the next state of the charge that the decision is about.
    ///
    /// # Panics
    /// Panics if the decision does not change this charge, which is a bug of the caller.
    pub fn into_charge(self, id: ChargeId) -> Charge {
        let mut charges = self.charges.into_iter();
        charges.find(|charge| charge.id == id).expect("the decision changes the charge")
    }

    /// Whether the decision changes nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Decides `command` at `now`, based on the state `sale`, which may be stale.
///
/// # Errors
/// The first [`Refusal`] that applies, in the order of the public API: 404, 403, 412, 409, 429.
pub fn decide(
    sale: &Sale,
    command: &TicketCommand,
    policy: &Policy,
    now: Timestamp,
) -> Result<Decision, Refusal> {
    // Orders outlive their tickets, so commands about an order are answered from the order's
    // document.
    let about_ticket = matches!(
        command,
        TicketCommand::Edit { .. } | TicketCommand::Delist { .. } | TicketCommand::Lock { .. }
    );
    if about_ticket && sale.ticket.is_deleted() {
        return Err(Refusal::NotFound);
    }
    let decision = match command {
        TicketCommand::Edit { by, details, if_match } => {
            selling::edit(sale, *by, details, *if_match, now)
        }
        TicketCommand::Delist { by, if_match } => selling::delist(sale, *by, *if_match, now),
        TicketCommand::Lock { order, buyer, expected_price, expected_version, replica } => {
            let (expected_price, expected_version) = (*expected_price, *expected_version);
            lock::take(
                sale,
                lock::LockRequest {
                    order: *order,
                    buyer: *buyer,
                    expected_price,
                    expected_version,
                    replica,
                },
                policy,
                now,
            )
        }
        TicketCommand::Cancel { order, by } => lock::cancel(sale, *order, *by, policy, now),
        TicketCommand::DeadlinePassed { order } => lock::deadline_passed(sale, *order, policy, now),
        TicketCommand::SubmitPayment { order, by, charge, token, processor } => {
            let (order, by, charge) = (*order, *by, *charge);
            let submission = payment::Submission { order, by, charge, token, processor };
            payment::submit(sale, submission, policy, now)
        }
        TicketCommand::ConfirmPayment { charge, by } => payment::confirm(sale, *charge, *by, now),
        TicketCommand::PaymentAuthorized { charge, payment } => {
            payment::authorized(sale, *charge, payment, policy, now)
        }
        TicketCommand::ActionRequired { charge, payment } => {
            payment::action_required(sale, *charge, payment, policy, now)
        }
        TicketCommand::PaymentDeclined { charge, payment, failure } => {
            payment::declined(sale, *charge, payment.as_ref(), failure, now)
        }
        TicketCommand::TokenRefused { charge } => payment::token_refused(sale, *charge, now),
        TicketCommand::PaymentInterrupted { charge, failure } => {
            payment::interrupted(sale, *charge, failure, now)
        }
        TicketCommand::WaitingEnded { charge, failure } => {
            payment::waiting_ended(sale, *charge, failure, now)
        }
        TicketCommand::PaymentCaptured { charge } => payment::captured(sale, *charge, policy, now),
        TicketCommand::CaptureFailed { charge, failure } => {
            payment::capture_failed(sale, *charge, failure, policy, now)
        }
        TicketCommand::Fence => Ok(lock::fence(sale, now)),
    }?;
    let before = Before { order: sale.order.as_ref(), charge: sale.charge.as_ref() };
    Ok(decision.with_events(before))
}

/// Returns the decision that puts a new ticket on sale.
pub fn list_ticket(
    id: TicketId,
    seller: UserId,
    details: TicketDetails,
    now: Timestamp,
) -> Decision {
    selling::list(id, seller, details, now).with_events(Before::default())
}

/// Marks a charge that no lock refers to as to be reversed.
///
/// # Errors
/// [`Refusal::NothingToDo`] if the charge has ended or is Reversing.
pub fn abandon_charge(
    charge: &Charge,
    failure: ChargeFailure,
    now: Timestamp,
) -> Result<Decision, Refusal> {
    let decision = payment::abandon(charge, failure, now)?;
    Ok(decision.with_events(Before { order: None, charge: Some(charge) }))
}

/// Records that the processor holds no money of a losing charge: the payment was voided, or
/// refunded as `refund`.
///
/// # Errors
/// [`Refusal::NothingToDo`] if the charge is not Reversing.
pub fn charge_reversed(
    charge: &Charge,
    payment: Option<&PaymentId>,
    refund: Option<&RefundId>,
    now: Timestamp,
) -> Result<Decision, Refusal> {
    let decision = payment::reversed(charge, payment, refund, now)?;
    Ok(decision.with_events(Before { order: None, charge: Some(charge) }))
}

/// Records that `refund` returned money of a charge that had Failed before. Either an earlier
/// refund did not succeed, or the money was taken although the charge had Failed.
///
/// # Errors
/// [`Refusal::NothingToDo`] if the charge is not Failed, or if it already names this refund.
pub fn refunded_later(
    charge: &Charge,
    refund: &RefundId,
    now: Timestamp,
) -> Result<Decision, Refusal> {
    let decision = payment::refunded_later(charge, refund, now)?;
    Ok(decision.with_events(Before { order: None, charge: Some(charge) }))
}

impl Sale {
    /// Returns the state after the commit of `decision`.
    pub fn after(mut self, decision: &Decision) -> Self {
        if let Some(ticket) = &decision.ticket {
            self.ticket = ticket.clone();
        }
        if let Some(order) = &decision.order {
            self.order = Some(order.clone());
        }
        let holder = self.ticket.lock().map(|lock| lock.order);
        self.order = self.order.filter(|order| Some(order.id) == holder);
        let order = self.order.as_ref().map(|order| order.id);
        for charge in &decision.charges {
            if charge.is_running() {
                self.charge = Some(charge.clone());
            } else {
                self.charge = self.charge.filter(|mine| mine.id != charge.id);
            }
        }
        self.charge = self.charge.filter(|charge| Some(charge.order) == order);
        self
    }
}
