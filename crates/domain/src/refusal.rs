//! The reasons why a command is refused.

use super::{ChargeId, Millis};

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
    /// The details of the ticket, without its price, differ from those at the version that the
    /// buyer saw.
    #[error("the details of the ticket have changed")]
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
