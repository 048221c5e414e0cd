//! The rules of the marketplace.
//!
//! The functions of this crate are pure: no clock, no I/O, no randomness, no actor framework, no
//! database.
//!
//! Input is parsed once, where it enters the program, into types that satisfy its rules ([`Money`],
//! [`Email`], [`Title`]). Stored values are not checked again. [`decide()`] computes the next
//! states of a ticket, its order and its charge, and the events that report the change, from the
//! state that was seen, a command and the time. The module [`decide`](mod@decide) has further
//! functions for new tickets and for charges without a lock.
//!
//! The conditions that hold on every replica, also after a crash, are in [`invariants`].

mod account;
mod charge;
pub mod decide;
mod domain_event;
mod email;
mod failure;
mod id;
pub mod invariants;
mod mail;
mod money;
mod order;
mod outcome;
mod password;
mod policy;
mod refusal;
mod sale;
#[cfg(any(test, feature = "test-util"))]
pub mod samples;
mod text;
mod ticket;
mod time;
mod title;
mod user;

pub use account::{AccountToken, AccountTokenDigest, TokenNonce, TokenPurpose};
pub use charge::{
    Charge, ChargeState, ChargeStatus, PaymentId, ProcessorName, RefundId, TokenDigest,
};
pub use decide::{Decision, SlotChange, TicketCommand, VersionCondition, decide};
pub use domain_event::{DomainEvent, EventSubject};
pub use email::{Email, EmailError};
pub use failure::{ChargeFailure, DeclineCode, FailureCode};
pub use id::{ChargeId, IdError, MailId, OrderId, TicketId, UserId};
pub use mail::{Mail, MailContent, MailState};
pub use money::{Currency, Money, MoneyError};
pub use order::{CancelReason, Order, OrderState, OrderStatus, TicketSnapshot};
pub use outcome::{Delivery, IdempotencyKey, IdempotencyRecord, Outcome};
pub use password::{NewPassword, PasswordError, normalized as normalized_password};
pub use policy::Policy;
pub use refusal::Refusal;
pub use sale::{Deadline, Sale};
pub use text::{TextError, visible_text};
pub use ticket::{Lapse, Lock, ReplicaName, Ticket, TicketDetails, TicketState, TicketStatus};
pub use time::{Millis, Timestamp};
pub use title::Title;
pub use user::{PublicUser, Session, SessionDigest, User};

/// The number of changes of one ticket, order, charge or user. The first state has version 0, and
/// every change adds one. A write that carries version `v` is valid only over version `v - 1`.
pub type Version = u64;
