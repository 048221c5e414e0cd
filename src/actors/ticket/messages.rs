//! What a ticket actor is told, and how it answers.

use std::sync::atomic::AtomicBool;

use actix::Message;
use tokio::sync::{mpsc, oneshot};

use crate::{
    actors::ActorError,
    domain::{Decision, IdempotencyKey, Outcome, Sale, TicketCommand, TicketId, Version},
};

/// Wants one command decided and, if it changes anything, committed.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(in crate::actors) struct ActorRequest {
    pub command: TicketCommand,
    /// Recorded in the same commit, if the request had one.
    pub key: Option<IdempotencyKey>,
    /// Gone when nobody waits: a timer's command, or a client that left.
    pub reply: Option<oneshot::Sender<Result<Done, ActorError>>>,
}

/// Somebody else may have changed the ticket: it has at least this version now.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(in crate::actors) struct Outdated(pub Version);

/// Look at the clock: something may be due.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(in crate::actors) struct Reload;

/// A committed decision, and the state after it.
#[derive(Debug)]
pub(in crate::actors) struct Done {
    pub sale: Sale,
    pub decision: Decision,
}

/// Seen by the registry without asking: whether the actor has anything on its hands.
#[derive(Debug, Default)]
pub(in crate::actors) struct ActorStatus {
    pub idle: AtomicBool,
}

/// Told of a ticket whose actor was torn down by a panic.
pub(in crate::actors) type PanicReports = mpsc::UnboundedSender<TicketId>;

/// What a retry under the same key is answered from; `None` for what no client asks for.
pub(super) fn outcome_of(command: &TicketCommand, decision: &Decision) -> Option<Outcome> {
    match command {
        TicketCommand::Edit { .. } => Some(Outcome::TicketUpdated { ticket: decision.ticket.clone()? }),
        TicketCommand::Delist { .. } => Some(Outcome::TicketDeleted),
        TicketCommand::Lock { .. } => Some(Outcome::OrderCreated { order: decision.order.clone()? }),
        TicketCommand::Cancel { .. } => Some(Outcome::OrderCancelled),
        TicketCommand::SubmitPayment { charge, .. } | TicketCommand::ConfirmPayment { charge, .. } => {
            Some(Outcome::Charge { charge: *charge })
        }
        TicketCommand::PaymentAuthorized { .. }
        | TicketCommand::ActionRequired { .. }
        | TicketCommand::PaymentDeclined { .. }
        | TicketCommand::TokenRefused { .. }
        | TicketCommand::PaymentInterrupted { .. }
        | TicketCommand::WaitingEnded { .. }
        | TicketCommand::PaymentCaptured { .. }
        | TicketCommand::CaptureFailed { .. }
        | TicketCommand::DeadlinePassed { .. }
        | TicketCommand::Fence => None,
    }
}

pub(super) fn internal(command: TicketCommand) -> ActorRequest {
    ActorRequest { command, key: None, reply: None }
}

pub(super) fn answer(ask: ActorRequest, result: Result<Done, ActorError>) {
    if let Some(reply) = ask.reply {
        // The one who asked may be gone; what was committed stays committed.
        let _ = reply.send(result);
    }
}
