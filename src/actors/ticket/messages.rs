//! The messages of a ticket actor, and its answers.

use std::sync::atomic::AtomicBool;

use actix::Message;
use tokio::sync::oneshot;

use crate::{
    actors::ActorError,
    domain::{Decision, IdempotencyKey, Outcome, Sale, TicketCommand, Version},
};

/// Requests that one command is decided and, if the rules accept it, committed.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(in crate::actors) struct ActorRequest {
    pub command: TicketCommand,
    /// The request's Idempotency-Key. Its record is written in the same commit.
    pub key: Option<IdempotencyKey>,
    /// Sends the answer. `None` for the actor's own commands. The receiver is closed if its caller
    /// no longer waits.
    pub reply: Option<oneshot::Sender<Result<Committed, ActorError>>>,
}

/// The ticket has at least this version now. Another replica may have changed it.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(in crate::actors) struct NewerVersion(pub Version);

/// Discards the state in memory, reads it from the store, and runs the ticket's deadline if it has
/// passed. An actor that is loading or committing ignores it. The fact that a commit has an unknown
/// outcome is kept.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(in crate::actors) struct Reload;

/// A committed decision and the state after it.
#[derive(Debug)]
pub(in crate::actors) struct Committed {
    pub sale: Sale,
    pub decision: Decision,
}

/// The part of an actor's state that the registry reads without a message.
#[derive(Debug, Default)]
pub(in crate::actors) struct ActorStatus {
    /// Set whenever the queue was handled as far as possible: true if no load or commit is running
    /// and no timer is armed. A message without a reply ([`NewerVersion`], [`Reload`]) changes it
    /// only when the load that it starts has ended.
    pub idle: AtomicBool,
}

/// Returns the outcome that a retry under the same key replays, or `None` for commands that no
/// client sends.
pub(super) fn outcome_of(command: &TicketCommand, decision: &Decision) -> Option<Outcome> {
    match command {
        TicketCommand::Edit { .. } => {
            Some(Outcome::TicketUpdated { ticket: decision.ticket.clone()? })
        }
        TicketCommand::Delist { .. } => Some(Outcome::TicketDeleted),
        TicketCommand::Lock { .. } => {
            Some(Outcome::OrderCreated { order: decision.order.clone()? })
        }
        TicketCommand::Cancel { .. } => Some(Outcome::OrderCancelled),
        TicketCommand::SubmitPayment { charge, .. }
        | TicketCommand::ConfirmPayment { charge, .. } => Some(Outcome::Charge { charge: *charge }),
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

pub(super) fn answer(request: ActorRequest, result: Result<Committed, ActorError>) {
    if let Some(reply) = request.reply {
        // The client may have disconnected. The commit stands all the same.
        let _ = reply.send(result);
    }
}
