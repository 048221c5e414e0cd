//! Settlement: advances a charge from its present step to its end, one step and one commit at a
//! time.
//!
//! [`Settlement::step`] calls one method for each state that is not final. ARCHITECTURE.md ("The
//! states of a charge") has the diagram.
//!
//! The same code runs for a payment, a confirmation, an expired lock, a webhook event and
//! reconciliation after a crash. The charge's stored state names its next step, and every processor
//! call may be repeated. The ticket's actor decides what the processor's answer means for the
//! ticket, and commits it. This module commits only steps on which no lock depends: reversals, and
//! charges whose lock is gone.

use std::{sync::Arc, time::Duration};

use fail::fail_point;

use super::{
    ActorError, Tickets,
    context::ActorContext,
    in_flight::InFlight,
    processor_retry::{
        BACKOFF, TRIES_MAX, call_until_accepted, call_until_definite, pause, refused,
    },
};
use crate::{
    domain::{
        Charge, ChargeFailure, ChargeId, ChargeState, FailureCode, PaymentId, Refusal,
        TicketCommand, decide,
    },
    metrics::METRICS,
    payments::{Authorization, ClientSecret, PaymentState, PaymentToken, Processor, Reversal},
    store::{Commit, CommitError},
};

/// Maximum time that a read of a charge waits for its client secret.
const SECRET_WITHIN: Duration = Duration::from_secs(5);

/// The present state of a charge: Completed, Failed, or Created. If the buyer must act, has the
/// client secret, unless the processor did not give it in time.
#[derive(Debug, Clone)]
pub struct PaymentResult {
    pub charge: Charge,
    pub client_secret: Option<ClientSecret>,
}

/// How a charge in the step `Authorizing` is authorized.
#[derive(Debug)]
pub(super) enum AuthorizationMode {
    /// The buyer sent this token.
    Token(PaymentToken),
    /// The buyer has confirmed that they acted.
    Resume,
    /// The token is lost, and the processor may have received it or not. The processor's state is
    /// read.
    Recover,
}

/// Advances charges to their end.
#[derive(Debug)]
pub(super) struct Settlement {
    context: Arc<ActorContext>,
    tickets: Tickets,
    /// Charges that this process is advancing. If two tasks advanced one charge, no harm would
    /// result, but the work would be done twice.
    in_progress: InFlight<ChargeId>,
}

/// The result of one step.
enum Progress {
    /// The charge has a next step, or is final.
    Advanced(Charge),
    /// The charge is final or waits for the buyer.
    Stopped(PaymentResult),
}

impl Settlement {
    /// Maximum number of steps. A charge needs at most five steps. [`Self::STEPS_MAX`] steps
    /// without an end are a loop.
    const STEPS_MAX: usize = 16;

    pub(super) fn new(context: Arc<ActorContext>, tickets: Tickets) -> Self {
        Self { context, tickets, in_progress: InFlight::default() }
    }

    /// Advances a charge until it is final or waits for the buyer.
    ///
    /// # Errors
    /// [`ActorError::Busy`] if another task of this process is advancing the charge, if the
    /// ticket's actor could not commit the processor's answer in [`TRIES_MAX`] tries, or
    /// after [`Self::STEPS_MAX`] steps. Other errors if the processor or the store did not answer.
    /// In each case reconciliation continues the charge later.
    pub(super) async fn advance(
        &self,
        charge: Charge,
        authorize_with: AuthorizationMode,
    ) -> Result<PaymentResult, ActorError> {
        let id = charge.id;
        let begun = self.in_progress.begin_if(id, (), <[()]>::is_empty);
        let _guard = begun.ok_or(ActorError::Busy("payment"))?;
        let mut charge = charge;
        let mut authorize_with = Some(authorize_with);
        for _ in 0..Self::STEPS_MAX {
            match self.step(&charge, &mut authorize_with).await? {
                Progress::Advanced(next) => charge = next,
                Progress::Stopped(result) => {
                    count(&result.charge);
                    return Ok(result);
                }
            }
        }
        tracing::error!(charge = %id, "a payment took too many steps without an end; report this bug");
        Err(ActorError::Busy("payment"))
    }

    async fn step(
        &self,
        charge: &Charge,
        authorize_with: &mut Option<AuthorizationMode>,
    ) -> Result<Progress, ActorError> {
        match &charge.state {
            ChargeState::Authorizing { .. } => {
                self.authorize(charge, authorize_with.take().unwrap_or(AuthorizationMode::Recover))
                    .await
            }
            ChargeState::AwaitingAction { payment } => self.await_action(charge, payment).await,
            ChargeState::Capturing { payment } => self.capture(charge, payment).await,
            ChargeState::Reversing { .. } => self.reverse(charge).await,
            ChargeState::Failed { .. } | ChargeState::Completed { .. } => {
                Ok(Progress::Stopped(PaymentResult { charge: charge.clone(), client_secret: None }))
            }
        }
    }

    async fn authorize(
        &self,
        charge: &Charge,
        authorize_with: AuthorizationMode,
    ) -> Result<Progress, ActorError> {
        let processor = processor_of(&self.context, charge)?;
        // After `authorize_timeout` and a margin, reconciliation takes over the attempt. The
        // time-out ensures that the attempt has ended by then.
        let answered = tokio::time::timeout(
            processor.authorize_timeout(),
            self.ask_processor(&**processor, charge, &authorize_with),
        )
        .await;
        let (command, client_secret) = answered.unwrap_or_else(|_| {
            Err(ActorError::Unavailable("the payment processor did not answer in time".into()))
        })?;
        if matches!(command, TicketCommand::PaymentAuthorized { .. }) {
            fail_point!("settlement::before_claim", |_| std::process::abort());
        }
        let charge = self.apply(charge, command).await?;
        match charge.state {
            ChargeState::AwaitingAction { .. } => {
                Ok(Progress::Stopped(PaymentResult { charge, client_secret }))
            }
            _ => Ok(Progress::Advanced(charge)),
        }
    }

    /// Asks the processor for an authorization, or for the state of one. Returns the command that
    /// its answer stands for, and the client secret if the buyer must act.
    async fn ask_processor(
        &self,
        processor: &dyn Processor,
        charge: &Charge,
        authorize_with: &AuthorizationMode,
    ) -> Result<(TicketCommand, Option<ClientSecret>), ActorError> {
        let id = charge.id;
        let payment = match (call_until_definite(|| processor.open(charge)).await?, authorize_with)
        {
            (Ok(payment), _) => payment,
            // The processor has no payment of this charge, so that there is nothing to reverse.
            (Err(failure), AuthorizationMode::Token(_)) => {
                return Ok((
                    TicketCommand::PaymentDeclined { charge: id, payment: None, failure },
                    None,
                ));
            }
            (Err(failure), AuthorizationMode::Resume | AuthorizationMode::Recover) => {
                return Err(refused(&failure));
            }
        };
        fail_point!("settlement::opened", |_| std::process::abort());
        let answer = match authorize_with {
            AuthorizationMode::Token(token) => {
                call_until_definite(|| processor.authorize(charge, &payment, token))
                    .await?
                    .map(Some)
            }
            AuthorizationMode::Resume => {
                call_until_definite(|| processor.resume(charge, &payment)).await?.map(Some)
            }
            AuthorizationMode::Recover => recover(processor, charge, &payment).await?,
        };
        Ok(match answer {
            Ok(Some(Authorization::Authorized)) => {
                (TicketCommand::PaymentAuthorized { charge: id, payment }, None)
            }
            Ok(Some(Authorization::ActionRequired { client_secret })) => {
                (TicketCommand::ActionRequired { charge: id, payment }, Some(client_secret))
            }
            Ok(Some(Authorization::Declined { failure })) => (
                TicketCommand::PaymentDeclined { charge: id, payment: Some(payment), failure },
                None,
            ),
            Ok(Some(Authorization::InvalidToken)) => {
                (TicketCommand::TokenRefused { charge: id }, None)
            }
            Ok(None) => (
                TicketCommand::PaymentInterrupted {
                    charge: id,
                    failure: ChargeFailure::interrupted(),
                },
                None,
            ),
            // If the processor has authorized the payment all the same, it is reversed.
            Err(failure) => (TicketCommand::PaymentInterrupted { charge: id, failure }, None),
        })
    }

    /// Reads from the processor whether the buyer has acted. Abandons the charge if its order has
    /// lost the lock.
    async fn await_action(
        &self,
        charge: &Charge,
        payment: &PaymentId,
    ) -> Result<Progress, ActorError> {
        let order = self.context.store.order(charge.order).await?;
        if !order.is_some_and(|order| order.is_active()) {
            return self.abandon(charge, ChargeFailure::lock_lost()).await.map(Progress::Advanced);
        }
        let processor = processor_of(&self.context, charge)?;
        let (id, payment) = (charge.id, payment.clone());
        let command = match call_until_definite(|| processor.fetch(charge, &payment)).await? {
            Ok(PaymentState::ActionRequired { client_secret }) => {
                return Ok(Progress::Stopped(PaymentResult {
                    charge: charge.clone(),
                    client_secret: Some(client_secret),
                }));
            }
            Ok(PaymentState::Authorized | PaymentState::Captured) => {
                TicketCommand::PaymentAuthorized { charge: id, payment }
            }
            Ok(PaymentState::Open { declined: Some(failure) }) => {
                TicketCommand::PaymentDeclined { charge: id, payment: Some(payment), failure }
            }
            Err(failure) => TicketCommand::WaitingEnded { charge: id, failure },
            Ok(
                PaymentState::Open { declined: None }
                | PaymentState::Voided
                | PaymentState::Refunded { .. },
            ) => TicketCommand::WaitingEnded { charge: id, failure: ChargeFailure::interrupted() },
        };
        self.apply(charge, command).await.map(Progress::Advanced)
    }

    async fn capture(&self, charge: &Charge, payment: &PaymentId) -> Result<Progress, ActorError> {
        fail_point!("settlement::claimed", |_| std::process::abort());
        let processor = processor_of(&self.context, charge)?;
        let command = match call_until_definite(|| processor.capture(charge, payment)).await? {
            Ok(()) => TicketCommand::PaymentCaptured { charge: charge.id },
            Err(failure) => TicketCommand::CaptureFailed { charge: charge.id, failure },
        };
        fail_point!("settlement::captured", |_| std::process::abort());
        let settled = self.apply(charge, command).await?;
        fail_point!("settlement::final", |_| std::process::abort());
        Ok(Progress::Advanced(settled))
    }

    async fn reverse(&self, charge: &Charge) -> Result<Progress, ActorError> {
        let processor = processor_of(&self.context, charge)?;
        let payment = call_until_accepted(|| processor.open(charge)).await?;
        let refund = match call_until_accepted(|| processor.reverse(charge, &payment)).await? {
            Reversal::Voided => None,
            Reversal::Refunded { refund } => Some(refund),
        };
        fail_point!("settlement::reversed", |_| std::process::abort());
        let now = self.context.now();
        let decision = decide::charge_reversed(charge, Some(&payment), refund.as_ref(), now);
        self.commit(charge, decision).await.map(Progress::Advanced)
    }

    /// Gives the command of the processor's answer to the ticket's actor, and returns the charge
    /// after it.
    async fn apply(&self, charge: &Charge, command: TicketCommand) -> Result<Charge, ActorError> {
        let mut backoff = BACKOFF;
        for _ in 0..TRIES_MAX {
            match self.tickets.execute(charge.ticket, command.clone(), None).await {
                Ok(done) => {
                    let updated =
                        done.decision.charges.into_iter().find(|updated| updated.id == charge.id);
                    return updated.map_or_else(|| Err(ActorError::NotFound), Ok);
                }
                Err(ActorError::Refused(_)) => return self.reload_or_abandon(charge).await,
                Err(error) => {
                    tracing::warn!(charge = %charge.id, %error, "a step of a payment failed and is tried again");
                    pause(&mut backoff).await;
                }
            }
        }
        Err(ActorError::Busy("payment"))
    }

    /// Handles a refusal by the rules. Returns the stored charge if another task has changed it
    /// meanwhile. Abandons the charge otherwise, since it has lost its lock.
    async fn reload_or_abandon(&self, charge: &Charge) -> Result<Charge, ActorError> {
        let stored = self.reload(charge.id).await?;
        if stored.version > charge.version {
            Ok(stored)
        } else {
            self.abandon(&stored, ChargeFailure::lock_lost()).await
        }
    }

    async fn abandon(&self, charge: &Charge, failure: ChargeFailure) -> Result<Charge, ActorError> {
        self.commit(charge, decide::abandon_charge(charge, failure, self.context.now())).await
    }

    /// Commits a decision about a charge on which no lock depends. Returns the stored charge if it
    /// was changed meanwhile.
    async fn commit(
        &self,
        charge: &Charge,
        decision: Result<decide::Decision, Refusal>,
    ) -> Result<Charge, ActorError> {
        let Ok(decision) = decision else { return self.reload(charge.id).await };
        match self.context.store.commit(Commit::of(decision.clone(), self.context.now())).await {
            Ok(()) => Ok(decision.into_charge(charge.id)),
            Err(CommitError::Stale) => self.reload(charge.id).await,
            Err(error) => Err(error.into()),
        }
    }

    async fn reload(&self, id: ChargeId) -> Result<Charge, ActorError> {
        self.context.store.charge(id).await?.ok_or(ActorError::NotFound)
    }
}

/// Reads the processor's state of an attempt whose task has ended. Returns `None` if the payment is
/// neither authorized nor declined and does not wait for the buyer. Only that task had the token,
/// so that an attempt without an authorization can only be stopped.
async fn recover(
    processor: &dyn Processor,
    charge: &Charge,
    payment: &PaymentId,
) -> Result<Result<Option<Authorization>, ChargeFailure>, ActorError> {
    let state = call_until_definite(|| processor.fetch(charge, payment)).await?;
    Ok(state.map(|state| match state {
        PaymentState::Authorized | PaymentState::Captured => Some(Authorization::Authorized),
        PaymentState::ActionRequired { client_secret } => {
            Some(Authorization::ActionRequired { client_secret })
        }
        PaymentState::Open { declined: Some(failure) } => Some(Authorization::Declined { failure }),
        PaymentState::Open { declined: None }
        | PaymentState::Voided
        | PaymentState::Refunded { .. } => None,
    }))
}

/// Returns the processor that has the payment of `charge`.
///
/// # Errors
/// [`ActorError::Unavailable`] if this server has another one: its settings were changed while
/// the charge was open. The charge is continued when the settings are changed back.
fn processor_of<'a>(
    context: &'a ActorContext,
    charge: &Charge,
) -> Result<&'a Arc<dyn Processor>, ActorError> {
    let processor = &context.processor;
    match &charge.processor {
        Some(name) if *name != processor.name() => {
            tracing::error!(charge = %charge.id, processor = %name, "a payment is at another processor than the configured one; configure that one until the payment is finished");
            Err(ActorError::Unavailable(format!("the payment is at the processor {name}")))
        }
        _ => Ok(processor),
    }
}

/// Returns the secret that the buyer's browser needs. Returns `None` if the processor does not
/// wait for the buyer or does not answer within [`SECRET_WITHIN`]: a charge can be read
/// without the secret.
pub(super) async fn client_secret(context: &ActorContext, charge: &Charge) -> Option<ClientSecret> {
    let ChargeState::AwaitingAction { payment } = &charge.state else { return None };
    let processor = processor_of(context, charge).ok()?;
    let fetched = processor.fetch(charge, payment);
    match tokio::time::timeout(SECRET_WITHIN, fetched).await {
        Ok(Ok(PaymentState::ActionRequired { client_secret })) => Some(client_secret),
        Ok(Ok(_)) => None,
        Ok(Err(error)) => {
            tracing::warn!(charge = %charge.id, %error, "a charge is shown without its client secret");
            None
        }
        Err(_) => {
            tracing::warn!(charge = %charge.id, "a charge is shown without its client secret: the processor did not answer in time");
            None
        }
    }
}

/// Counts the outcome of a charge in the metrics. An open charge is not counted.
fn count(charge: &Charge) {
    let outcome = match &charge.state {
        ChargeState::Completed { .. } => "completed",
        ChargeState::Failed { refund: Some(_), .. } => "refunded",
        ChargeState::Failed { failure, .. } if failure.code == FailureCode::LockLost => "lock_lost",
        ChargeState::Failed { .. } => "declined",
        ChargeState::Authorizing { .. }
        | ChargeState::AwaitingAction { .. }
        | ChargeState::Capturing { .. }
        | ChargeState::Reversing { .. } => return,
    };
    METRICS.charges.with_label_values(&[outcome]).inc();
}
