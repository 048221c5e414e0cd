//! What a ticket actor is told, and how it answers.

use std::sync::atomic::AtomicBool;

use actix::Message;
use tokio::sync::{mpsc, oneshot};

use crate::{
    actors::Fault,
    domain::{Command, Decision, IdempotencyKey, Outcome, Sale, TicketId, Version},
};

/// Wants one command decided and, if it changes anything, committed.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(in crate::actors) struct Ask {
    pub command: Command,
    /// Recorded in the same commit, if the request had one.
    pub key: Option<IdempotencyKey>,
    /// Gone when nobody waits: a timer's command, or a client that left.
    pub reply: Option<oneshot::Sender<Result<Done, Fault>>>,
}

/// Somebody else may have changed the ticket: it has at least this version now.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(in crate::actors) struct Outdated(pub Version);

/// Look at the clock: something may be due.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(in crate::actors) struct Wake;

/// A committed decision, and the state after it.
#[derive(Debug)]
pub(in crate::actors) struct Done {
    pub sale: Sale,
    pub decision: Decision,
}

/// Seen by the registry without asking: whether the actor has anything on its hands.
#[derive(Debug, Default)]
pub(in crate::actors) struct Presence {
    pub idle: AtomicBool,
}

/// Told of a ticket whose actor was torn down by a panic.
pub(in crate::actors) type Graves = mpsc::UnboundedSender<TicketId>;

/// What a retry under the same key is answered from; `None` for what no client asks for.
pub(super) fn outcome_of(command: &Command, decision: &Decision) -> Option<Outcome> {
    match command {
        Command::Edit { .. } => Some(Outcome::TicketUpdated { ticket: decision.ticket.clone()? }),
        Command::Delist { .. } => Some(Outcome::TicketDeleted),
        Command::Lock { .. } => Some(Outcome::OrderCreated { order: decision.order.clone()? }),
        Command::Cancel { .. } => Some(Outcome::OrderCancelled),
        Command::SubmitPayment { charge, .. } | Command::ConfirmPayment { charge, .. } => Some(Outcome::Charge { charge: *charge }),
        Command::PaymentAuthorized { .. }
        | Command::ActionRequired { .. }
        | Command::PaymentDeclined { .. }
        | Command::TokenRefused { .. }
        | Command::PaymentInterrupted { .. }
        | Command::WaitingEnded { .. }
        | Command::PaymentCaptured { .. }
        | Command::CaptureFailed { .. }
        | Command::DeadlinePassed { .. }
        | Command::Fence => None,
    }
}

pub(super) fn internal(command: Command) -> Ask {
    Ask { command, key: None, reply: None }
}

pub(super) fn answer(ask: Ask, result: Result<Done, Fault>) {
    if let Some(reply) = ask.reply {
        // The one who asked may be gone; what was committed stays committed.
        let _ = reply.send(result);
    }
}
