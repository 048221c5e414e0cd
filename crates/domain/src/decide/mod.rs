//! The state changes of tickets, orders and charges, as pure functions.
//!
//! [`decide()`] returns a [`Decision`], which holds the next state of each changed document and the
//! events that report the changes. [`list_ticket`], [`abandon_charge`], [`charge_reversed`] and
//! [`refunded_later`] do the same for a new ticket, and for charges that no lock refers to.
//!
//! One commit stores a decision, on the condition that each stored document has the version before
//! the one in the decision. Callers may hold stale copies, repeat commands and send them late. A
//! command that does not fit the state is refused here.

mod lock;
mod payment;
mod selling;
#[cfg(test)]
mod tests;

use super::{
    Charge, ChargeFailure, ChargeId, Event, Millis, Money, Order, OrderId, PaymentId, Policy,
    RefundId, ReplicaName, Sale, Ticket, TicketId, Timestamp, Title, TokenDigest, UserId, Version,
};

/// A request of a user, of the payment processor or of the clock about one ticket.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TicketCommand {
    /// The seller changes title and price.
    Edit { by: UserId, title: Title, price: Money, if_match: Option<Version> },
    /// The seller takes the ticket off sale.
    Delist { by: UserId, if_match: Option<Version> },
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
    SubmitPayment { order: OrderId, by: UserId, charge: ChargeId, token: TokenDigest },
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
    /// command increments the version of every document that the commit could name. Afterwards the
    /// commit either is visible or can never be written.
    Fence,
}

/// The reason why a command changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    #[error("there is no such ticket")]
    NotFound,
    #[error("it belongs to another user")]
    NotOwner,
    #[error("a seller cannot buy their own ticket")]
    OwnTicket,
    #[error("the ticket was changed after it was read")]
    VersionMismatch,
    #[error("another order holds the ticket")]
    TicketLocked,
    #[error("the ticket is sold")]
    TicketSold,
    #[error("the price has changed")]
    PriceChanged,
    /// The title differs from the title at the version that the buyer saw.
    #[error("the title has changed")]
    TicketChanged,
    #[error("too many locks; the next one may be taken in {retry_after}")]
    TooManyLocks { retry_after: Millis },
    #[error("the order expired")]
    OrderExpired,
    #[error("the order was cancelled by its buyer")]
    OrderNotPayable,
    #[error("the order is paid")]
    OrderCompleted,
    #[error("a call to the payment processor is running")]
    PaymentInFlight,
    #[error("too many payments were declined; the next one may be submitted in {retry_after}")]
    TooManyDeclines { retry_after: Millis },
    /// The same token already waits for the buyer's action. The answer shows this charge.
    #[error("the charge already waits for its buyer")]
    AwaitingAction { charge: ChargeId },
    /// The order does not hold the ticket, or no longer holds it. The order's own document shows
    /// how it ended.
    #[error("the order does not hold the ticket")]
    OrderGone,
    /// The command is late, early or repeated. It is not an error, and it changes nothing.
    #[error("nothing to do")]
    NothingToDo,
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
    pub events: Vec<Event>,
}

impl Decision {
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
    match command {
        TicketCommand::Edit { by, title, price, if_match } => {
            selling::edit(sale, *by, title, *price, *if_match, now)
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
        TicketCommand::SubmitPayment { order, by, charge, token } => payment::submit(
            sale,
            payment::Submission { order: *order, by: *by, charge: *charge, token },
            policy,
            now,
        ),
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
    }
}

/// Returns the decision that puts a new ticket on sale.
pub fn list_ticket(
    id: TicketId,
    seller: UserId,
    title: Title,
    price: Money,
    now: Timestamp,
) -> Decision {
    selling::list(id, seller, title, price, now)
}

/// Marks a charge that no lock refers to as to be reversed.
///
/// # Errors
/// [`Refusal::NothingToDo`] if the charge is Final or Reversing.
pub fn abandon_charge(
    charge: &Charge,
    failure: ChargeFailure,
    now: Timestamp,
) -> Result<Decision, Refusal> {
    payment::abandon(charge, failure, now)
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
    payment::reversed(charge, payment, refund, now)
}

/// Records that `refund` returned money of a charge that had Failed before. Either an earlier
/// refund did not succeed, or the money was taken although the charge had Failed.
///
/// # Errors
/// [`Refusal::NothingToDo`] if the charge is not Failed and Final, or if it already names this refund.
pub fn refunded_later(
    charge: &Charge,
    refund: &RefundId,
    now: Timestamp,
) -> Result<Decision, Refusal> {
    payment::refunded_later(charge, refund, now)
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
            match charge.step {
                super::ChargeStep::Final | super::ChargeStep::Reversing { .. } => {
                    self.charge = self.charge.filter(|mine| mine.id != charge.id);
                }
                _ => self.charge = Some(charge.clone()),
            }
        }
        self.charge = self.charge.filter(|charge| Some(charge.order) == order);
        self
    }
}
