//! Every change of a ticket's sale, as one pure function.
//!
//! [`decide()`] never changes anything: a [`Decision`] holds the next state of what changes and the events that tell of it.
//! It is persisted by one commit, on the condition that each document still has the version before the one in the
//! decision. Its callers hold stale copies, repeat themselves and come late; whatever no longer fits is refused here.

mod lock;
mod payment;
mod selling;
#[cfg(test)]
mod tests;

use super::{
    Charge, ChargeFailure, ChargeId, Event, Millis, Money, Order, OrderId, PaymentId, Policy, RefundId, ReplicaName, Sale, Ticket,
    TicketId, Timestamp, Title, TokenDigest, UserId, Version,
};

/// What somebody, the payment processor or the clock wants of one ticket.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TicketCommand {
    /// The seller changes title and price.
    Edit { by: UserId, title: Title, price: Money, if_match: Option<Version> },
    /// The seller takes the ticket off sale.
    Delist { by: UserId, if_match: Option<Version> },
    /// A buyer wants the ticket; `order` is the id of the order that this makes.
    Lock { order: OrderId, buyer: UserId, expected_price: Option<Money>, expected_version: Option<Version>, replica: ReplicaName },
    /// The buyer gives the lock up.
    Cancel { order: OrderId, by: UserId },
    /// The buyer submits a payment token; `charge` is the id of the charge that this makes.
    SubmitPayment { order: OrderId, by: UserId, charge: ChargeId, token: TokenDigest },
    /// The buyer says that they acted (3-D Secure).
    ConfirmPayment { charge: ChargeId, by: UserId },
    /// The processor holds the money: claim the lock for the capture.
    PaymentAuthorized { charge: ChargeId, payment: PaymentId },
    /// The processor wants the buyer to act.
    ActionRequired { charge: ChargeId, payment: PaymentId },
    /// The processor declined, at once or after the buyer acted. Nothing is held.
    PaymentDeclined { charge: ChargeId, payment: Option<PaymentId>, failure: ChargeFailure },
    /// The processor does not know the token: as if it had never been submitted.
    TokenRefused { charge: ChargeId },
    /// The attempt was cut off or refused, and the processor has nothing of it so far. It may still arrive there: the payment
    /// is closed at the processor first, and then the charge has Failed, for this reason.
    PaymentInterrupted { charge: ChargeId, failure: ChargeFailure },
    /// The processor waits for the buyer no longer: the payment was closed over there.
    WaitingEnded { charge: ChargeId, failure: ChargeFailure },
    /// The money is captured.
    PaymentCaptured { charge: ChargeId },
    /// The processor will never capture this payment.
    CaptureFailed { charge: ChargeId, failure: ChargeFailure },
    /// Time passed. Which deadline of the lock that was, if any, follows from the state.
    DeadlinePassed { order: OrderId },
    /// It is not known whether an earlier commit was written, and it may yet be: move every document on that it could
    /// have named, so that it is either seen already or can never land.
    Fence,
}

/// Why a command changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    #[error("there is no such ticket")]
    NotFound,
    #[error("it belongs to somebody else")]
    NotOwner,
    #[error("a seller cannot buy their own ticket")]
    OwnTicket,
    #[error("the ticket changed since it was read")]
    VersionMismatch,
    #[error("another order holds the ticket")]
    TicketLocked,
    #[error("the ticket is sold")]
    TicketSold,
    #[error("the price is another by now")]
    PriceChanged,
    /// Its title is another than at the version that the buyer saw.
    #[error("the ticket is another by now")]
    TicketChanged,
    #[error("too many locks; the next one may be taken in {retry_after}")]
    TooManyLocks { retry_after: Millis },
    #[error("the order lapsed")]
    OrderExpired,
    #[error("the order was cancelled by its buyer")]
    OrderNotPayable,
    #[error("the order is paid")]
    OrderCompleted,
    #[error("a call to the payment processor is running")]
    PaymentInFlight,
    #[error("too many payments were declined; the next one may be submitted in {retry_after}")]
    TooManyDeclines { retry_after: Millis },
    /// The same token waits for the buyer already: answer with this charge.
    #[error("the charge waits for its buyer already")]
    AwaitingAction { charge: ChargeId },
    /// The order does not hold the ticket (any more): its own document tells how it ended.
    #[error("the order does not hold the ticket")]
    OrderGone,
    /// The command is late, early or repeated: nothing is wrong, and nothing is to be done.
    #[error("nothing to do")]
    Stale,
}

/// The number of locks that a user holds, changed in the same commit; the store refuses a `Take` beyond the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SlotChange {
    Take { user: UserId, order: OrderId, locks_max: u32 },
    Free { user: UserId, order: OrderId },
}

/// The next state of whatever changes, each with a version one above the one that was seen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Decision {
    pub ticket: Option<Ticket>,
    pub order: Option<Order>,
    pub charges: Vec<Charge>,
    pub slot: Option<SlotChange>,
    /// The user whose payment was declined: counted in the same commit, at its time.
    pub declined: Option<UserId>,
    pub events: Vec<Event>,
}

impl Decision {
    /// Whether it leaves everything as it is.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Decides `command` over what was seen of the ticket at `now`.
///
/// # Errors
/// The first [`Refusal`] that applies, in the order of the contract: 404, 403, 412, 409, 429.
pub fn decide(sale: &Sale, command: &TicketCommand, policy: &Policy, now: Timestamp) -> Result<Decision, Refusal> {
    // Orders outlive the ticket that they were for, so that what concerns an order is answered by its document.
    let about_ticket = matches!(command, TicketCommand::Edit { .. } | TicketCommand::Delist { .. } | TicketCommand::Lock { .. });
    if about_ticket && sale.ticket.is_deleted() {
        return Err(Refusal::NotFound);
    }
    match command {
        TicketCommand::Edit { by, title, price, if_match } => selling::edit(sale, *by, title, *price, *if_match, now),
        TicketCommand::Delist { by, if_match } => selling::delist(sale, *by, *if_match, now),
        TicketCommand::Lock { order, buyer, expected_price, expected_version, replica } => {
            let (expected_price, expected_version) = (*expected_price, *expected_version);
            lock::take(sale, lock::LockRequest { order: *order, buyer: *buyer, expected_price, expected_version, replica }, policy, now)
        }
        TicketCommand::Cancel { order, by } => lock::cancel(sale, *order, *by, policy, now),
        TicketCommand::DeadlinePassed { order } => lock::deadline_passed(sale, *order, policy, now),
        TicketCommand::SubmitPayment { order, by, charge, token } => {
            payment::submit(sale, payment::Submission { order: *order, by: *by, charge: *charge, token }, policy, now)
        }
        TicketCommand::ConfirmPayment { charge, by } => payment::confirm(sale, *charge, *by, now),
        TicketCommand::PaymentAuthorized { charge, payment } => payment::authorized(sale, *charge, payment, policy, now),
        TicketCommand::ActionRequired { charge, payment } => payment::action_required(sale, *charge, payment, policy, now),
        TicketCommand::PaymentDeclined { charge, payment, failure } => payment::declined(sale, *charge, payment.as_ref(), failure, now),
        TicketCommand::TokenRefused { charge } => payment::token_refused(sale, *charge, now),
        TicketCommand::PaymentInterrupted { charge, failure } => payment::interrupted(sale, *charge, failure, now),
        TicketCommand::WaitingEnded { charge, failure } => payment::waiting_ended(sale, *charge, failure, now),
        TicketCommand::PaymentCaptured { charge } => payment::captured(sale, *charge, policy, now),
        TicketCommand::CaptureFailed { charge, failure } => payment::capture_failed(sale, *charge, failure, policy, now),
        TicketCommand::Fence => Ok(lock::fence(sale, now)),
    }
}

/// Puts a new ticket on sale.
pub fn list_ticket(id: TicketId, seller: UserId, title: Title, price: Money, now: Timestamp) -> Decision {
    selling::list(id, seller, title, price, now)
}

/// A charge that no lock knows any more will have to be reversed.
///
/// # Errors
/// [`Refusal::Stale`] if it is final or on its way back already.
pub fn abandon_charge(charge: &Charge, failure: ChargeFailure, now: Timestamp) -> Result<Decision, Refusal> {
    payment::abandon(charge, failure, now)
}

/// The processor has nothing of a losing charge any more: it was voided, or refunded as `refund`.
///
/// # Errors
/// [`Refusal::Stale`] if the charge is not on its way back.
pub fn charge_reversed(
    charge: &Charge,
    payment: Option<&PaymentId>,
    refund: Option<&RefundId>,
    now: Timestamp,
) -> Result<Decision, Refusal> {
    payment::reversed(charge, payment, refund, now)
}

/// Money of a charge that had Failed before was sent back by `refund`: one that was believed to be back was not, or what
/// was believed not to be taken was.
///
/// # Errors
/// [`Refusal::Stale`] if the charge has not Failed for good, or names this refund already.
pub fn refunded_later(charge: &Charge, refund: &RefundId, now: Timestamp) -> Result<Decision, Refusal> {
    payment::refunded_later(charge, refund, now)
}

impl Sale {
    /// The state after `decision` was committed.
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
