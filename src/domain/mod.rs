//! The rules of the marketplace, and nothing else.
//!
//! Everything here is pure: no clock, no I/O, no randomness, no actix, no database. Values are parsed once, at the edge,
//! into types that cannot be wrong ([`Money`], [`Email`], [`Title`]); what may happen to a ticket is one function,
//! [`decide()`], from the state that was seen, a command and the time to the next state and the events that tell of it.
//!
//! What must never be true, whoever runs this code and however they crash, is named in [`invariants`].

mod charge;
pub mod decide;
mod email;
mod event;
mod id;
pub mod invariants;
mod money;
mod order;
mod outcome;
mod password;
mod policy;
mod sale;
mod text;
mod ticket;
mod time;
mod title;
mod user;

pub use charge::{Charge, ChargeFailure, ChargeStatus, ChargeStep, PaymentId, RefundId, TokenDigest};
pub use decide::{Decision, Refusal, SlotChange, TicketCommand, decide};
pub use email::{Email, EmailError};
pub use event::Event;
pub use id::{ChargeId, IdError, OrderId, TicketId, UserId};
pub use money::{Currency, Money, MoneyError};
pub use order::{CancelReason, Order, OrderStatus, TicketSnapshot};
pub use outcome::{Delivery, IdempotencyKey, IdempotencyRecord, Outcome};
pub use password::{NewPassword, PasswordError, normalized as normalized_password};
pub use policy::Policy;
pub use sale::{Deadline, Sale};
pub use text::{TextError, visible_text};
pub use ticket::{Lapse, Lock, ReplicaName, Ticket, TicketState, TicketStatus};
pub use time::{Millis, Timestamp};
pub use title::Title;
pub use user::{PublicUser, Session, SessionDigest, User};

/// Counts the changes of one ticket, order, charge or user. 0 is the first state; every change adds one, so a write that
/// carries version `v` is valid only over version `v - 1`.
pub type Version = u64;
