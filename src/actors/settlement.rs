//! Settlement: takes a charge from whatever step it is at to its end, one processor call and one commit at a time.
//!
//! The same code serves the request that pays, the buyer who confirms, the lock that lapsed, and the reconciliation after
//! a crash: each step is named by the charge's own state, and every processor call may be repeated. What the tickets'
//! rules say to an answer of the processor is decided by the ticket's actor; only charges that no lock knows any more are
//! committed here.

use std::{collections::HashSet, sync::Arc, time::Duration};

use fail::fail_point;
use parking_lot::Mutex;
use rand::RngExt;

use super::{ActorError, Tickets, context::ActorContext};
use crate::{
    domain::{Charge, ChargeFailure, ChargeId, ChargeStatus, ChargeStep, PaymentId, Refusal, TicketCommand, decide},
    metrics::METRICS,
    payments::{Authorization, ClientSecret, PaymentState, PaymentToken, ProcessorError, Reversal},
    store::{Commit, CommitError},
};

/// A charge as it stands: Completed, Failed, or Created (with a secret if the buyer must act).
#[derive(Debug, Clone)]
pub struct PaymentResult {
    pub charge: Charge,
    pub client_secret: Option<ClientSecret>,
}

/// What may be done about an `Authorizing` charge.
#[derive(Debug)]
pub(super) enum AuthorizeWith {
    /// The buyer sent this token.
    Token(PaymentToken),
    /// The buyer says that they acted.
    Resume,
    /// Nobody knows what was asked of the processor: find out.
    Recover,
}

/// Drives charges to their end.
#[derive(Debug, Clone)]
pub(super) struct Settlement {
    context: Arc<ActorContext>,
    tickets: Tickets,
    /// Charges that are being driven by this process: two drivers would do no harm, but twice the work.
    in_progress: Arc<Mutex<HashSet<ChargeId>>>,
}

/// What became of one step.
enum Progress {
    /// The charge moved on.
    On(Charge),
    /// It rests here until the buyer acts.
    Rests(PaymentResult),
}

impl Settlement {
    /// How often one step is tried before it is left to reconciliation.
    const TRIES_MAX: u32 = 6;
    /// Between two tries; doubled each time, with jitter.
    const BACKOFF: Duration = Duration::from_millis(100);
    /// A charge takes at most authorize, claim, capture and reverse; more steps than this are a loop.
    const STEPS_MAX: usize = 16;
    /// Whoever reads a waiting charge waits so long for its client secret.
    const SECRET_WITHIN: Duration = Duration::from_secs(5);

    pub(super) fn new(context: Arc<ActorContext>, tickets: Tickets) -> Self {
        Self { context, tickets, in_progress: Arc::default() }
    }

    /// Goes on with a charge until it is final or rests. `Err(Busy)` while somebody else in this process does so.
    ///
    /// # Errors
    /// When a step could not be done in several tries: reconciliation goes on with it later.
    pub(super) async fn advance(&self, charge: Charge, attempt: AuthorizeWith) -> Result<PaymentResult, ActorError> {
        let id = charge.id;
        if !self.in_progress.lock().insert(id) {
            return Err(ActorError::Busy("payment"));
        }
        let _guard = InProgressGuard { in_progress: Arc::clone(&self.in_progress), id };
        let mut charge = charge;
        let mut attempt = Some(attempt);
        for _ in 0..Self::STEPS_MAX {
            match self.step(&charge, &mut attempt).await? {
                Progress::On(next) => charge = next,
                Progress::Rests(paid) => return Ok(paid),
            }
        }
        tracing::error!(charge = %id, "settlement went round in circles");
        Err(ActorError::Busy("payment"))
    }

    async fn step(&self, charge: &Charge, attempt: &mut Option<AuthorizeWith>) -> Result<Progress, ActorError> {
        match &charge.step {
            ChargeStep::Authorizing => self.authorize(charge, attempt.take().unwrap_or(AuthorizeWith::Recover)).await,
            ChargeStep::AwaitingAction => self.await_action(charge).await,
            ChargeStep::Capturing => self.capture(charge).await,
            ChargeStep::Reversing { .. } => self.reverse(charge).await,
            ChargeStep::Final => Ok(Progress::Rests(PaymentResult { charge: charge.clone(), client_secret: None })),
        }
    }

    async fn authorize(&self, charge: &Charge, attempt: AuthorizeWith) -> Result<Progress, ActorError> {
        // What takes longer is taken over by reconciliation, which must not meet an attempt that is still running.
        let asked = tokio::time::timeout(self.context.processor.authorize_timeout(), self.ask(charge, &attempt)).await;
        let (command, client_secret) =
            asked.unwrap_or_else(|_| Err(ActorError::Unavailable("the payment processor takes too long".into())))?;
        if matches!(command, TicketCommand::PaymentAuthorized { .. }) {
            fail_point!("settlement::before_claim", |_| std::process::abort());
        }
        let charge = self.apply(charge, command).await?;
        match charge.step {
            ChargeStep::AwaitingAction => Ok(Progress::Rests(PaymentResult { charge, client_secret })),
            _ => Ok(Progress::On(charge)),
        }
    }

    /// Asks the processor for an authorization, or after one; what its answer means for the ticket's rules.
    async fn ask(&self, charge: &Charge, attempt: &AuthorizeWith) -> Result<(TicketCommand, Option<ClientSecret>), ActorError> {
        let (id, processor) = (charge.id, &self.context.processor);
        let payment = match (self.call_with_retry_or_decline(|| processor.open(charge)).await?, attempt) {
            (Ok(payment), _) => payment,
            // Nothing was asked of it before, so there is nothing to send back.
            (Err(failure), AuthorizeWith::Token(_)) => {
                return Ok((TicketCommand::PaymentDeclined { charge: id, payment: None, failure }, None));
            }
            (Err(failure), AuthorizeWith::Resume | AuthorizeWith::Recover) => return Err(refused(&failure)),
        };
        fail_point!("settlement::opened", |_| std::process::abort());
        let answer = match attempt {
            AuthorizeWith::Token(token) => {
                self.call_with_retry_or_decline(|| processor.authorize(charge, &payment, token)).await?.map(Some)
            }
            AuthorizeWith::Resume => self.call_with_retry_or_decline(|| processor.resume(charge, &payment)).await?.map(Some),
            AuthorizeWith::Recover => self.recover(charge, &payment).await?,
        };
        Ok(match answer {
            Ok(Some(Authorization::Authorized)) => (TicketCommand::PaymentAuthorized { charge: id, payment }, None),
            Ok(Some(Authorization::ActionRequired { client_secret })) => {
                (TicketCommand::ActionRequired { charge: id, payment }, Some(client_secret))
            }
            Ok(Some(Authorization::Declined { failure })) => {
                (TicketCommand::PaymentDeclined { charge: id, payment: Some(payment), failure }, None)
            }
            Ok(Some(Authorization::InvalidToken)) => (TicketCommand::TokenRefused { charge: id }, None),
            Ok(None) => (TicketCommand::PaymentInterrupted { charge: id, failure: ChargeFailure::interrupted() }, None),
            // Whatever the processor has of it all the same goes back.
            Err(failure) => (TicketCommand::PaymentInterrupted { charge: id, failure }, None),
        })
    }

    /// What an attempt came to whose caller is gone; `None` if the processor has nothing of it so far. The token is gone
    /// with the caller, so what was not authorized by now may only be stopped.
    async fn recover(&self, charge: &Charge, payment: &PaymentId) -> Result<Result<Option<Authorization>, ChargeFailure>, ActorError> {
        let state = self.call_with_retry_or_decline(|| self.context.processor.fetch(charge, payment)).await?;
        Ok(state.map(|state| match state {
            PaymentState::Authorized | PaymentState::Captured => Some(Authorization::Authorized),
            PaymentState::ActionRequired { client_secret } => Some(Authorization::ActionRequired { client_secret }),
            PaymentState::Open { declined: Some(failure) } => Some(Authorization::Declined { failure }),
            PaymentState::Open { declined: None } | PaymentState::Voided | PaymentState::Refunded { .. } => None,
        }))
    }

    /// Looks whether the buyer has acted without telling us, unless the lock is gone.
    async fn await_action(&self, charge: &Charge) -> Result<Progress, ActorError> {
        let held = self.context.store.order(charge.order).await?.is_some_and(|order| order.is_active());
        let Some(payment) = charge.stripe_id.clone().filter(|_| held) else {
            return self.abandon(charge, ChargeFailure::lock_lost()).await.map(Progress::On);
        };
        let id = charge.id;
        let command = match self.call_with_retry_or_decline(|| self.context.processor.fetch(charge, &payment)).await? {
            Ok(PaymentState::ActionRequired { client_secret }) => {
                return Ok(Progress::Rests(PaymentResult { charge: charge.clone(), client_secret: Some(client_secret) }));
            }
            Ok(PaymentState::Authorized | PaymentState::Captured) => TicketCommand::PaymentAuthorized { charge: id, payment },
            Ok(PaymentState::Open { declined: Some(failure) }) => {
                TicketCommand::PaymentDeclined { charge: id, payment: Some(payment), failure }
            }
            Err(failure) => TicketCommand::WaitingEnded { charge: id, failure },
            Ok(PaymentState::Open { declined: None } | PaymentState::Voided | PaymentState::Refunded { .. }) => {
                TicketCommand::WaitingEnded { charge: id, failure: ChargeFailure::interrupted() }
            }
        };
        self.apply(charge, command).await.map(Progress::On)
    }

    /// The secret that the buyer's browser needs, if the processor still waits for them and says so at once: a charge can
    /// be read without it.
    pub(super) async fn client_secret(&self, charge: &Charge) -> Option<ClientSecret> {
        let payment = charge.stripe_id.as_ref().filter(|_| charge.step == ChargeStep::AwaitingAction)?;
        let asked = tokio::time::timeout(Self::SECRET_WITHIN, self.context.processor.fetch(charge, payment)).await;
        match asked {
            Ok(Ok(PaymentState::ActionRequired { client_secret })) => Some(client_secret),
            Ok(Ok(_)) => None,
            Ok(Err(error)) => {
                tracing::warn!(charge = %charge.id, %error, "a waiting charge is shown without its client secret");
                None
            }
            Err(_) => {
                tracing::warn!(charge = %charge.id, "a waiting charge is shown without its client secret: no answer in time");
                None
            }
        }
    }

    async fn capture(&self, charge: &Charge) -> Result<Progress, ActorError> {
        fail_point!("settlement::claimed", |_| std::process::abort());
        let processor = &self.context.processor;
        let payment = self.call_with_retry(|| processor.open(charge)).await?;
        let command = match self.call_with_retry_or_decline(|| processor.capture(charge, &payment)).await? {
            Ok(()) => TicketCommand::PaymentCaptured { charge: charge.id },
            Err(failure) => TicketCommand::CaptureFailed { charge: charge.id, failure },
        };
        fail_point!("settlement::captured", |_| std::process::abort());
        let settled = self.apply(charge, command).await?;
        fail_point!("settlement::final", |_| std::process::abort());
        Ok(Progress::On(settled))
    }

    async fn reverse(&self, charge: &Charge) -> Result<Progress, ActorError> {
        let processor = &self.context.processor;
        let payment = self.call_with_retry(|| processor.open(charge)).await?;
        let refund = match self.call_with_retry(|| processor.reverse(charge, &payment)).await? {
            Reversal::Voided => None,
            Reversal::Refunded { refund } => Some(refund),
        };
        fail_point!("settlement::reversed", |_| std::process::abort());
        let now = self.context.now();
        let decision = decide::charge_reversed(charge, Some(&payment), refund.as_ref(), now);
        self.commit(charge, decision).await.map(Progress::On)
    }

    /// Tells the ticket's actor what the processor said, and returns where the charge is now.
    async fn apply(&self, charge: &Charge, command: TicketCommand) -> Result<Charge, ActorError> {
        let mut backoff = Self::BACKOFF;
        for _ in 0..Self::TRIES_MAX {
            match self.tickets.ask(charge.ticket, command.clone(), None).await {
                Ok(done) => {
                    let told = done.decision.charges.into_iter().find(|told| told.id == charge.id);
                    return told.map_or_else(|| Err(ActorError::NotFound), Ok);
                }
                Err(ActorError::Refused(_)) => return self.moved_on(charge).await,
                Err(fault) => {
                    tracing::warn!(charge = %charge.id, %fault, "a payment's step is tried again");
                    pause(&mut backoff).await;
                }
            }
        }
        Err(ActorError::Busy("payment"))
    }

    /// The rules had no use for the answer: somebody else took the charge on, or no lock knows it any more.
    async fn moved_on(&self, charge: &Charge) -> Result<Charge, ActorError> {
        let stored = self.reload(charge.id).await?;
        if stored.version > charge.version { Ok(stored) } else { self.abandon(&stored, ChargeFailure::lock_lost()).await }
    }

    async fn abandon(&self, charge: &Charge, failure: ChargeFailure) -> Result<Charge, ActorError> {
        self.commit(charge, decide::abandon_charge(charge, failure, self.context.now())).await
    }

    /// Commits a decision about a charge that no lock knows.
    async fn commit(&self, charge: &Charge, decision: Result<decide::Decision, Refusal>) -> Result<Charge, ActorError> {
        let Ok(decision) = decision else { return self.reload(charge.id).await };
        match self.context.store.commit(Commit::of(decision.clone(), self.context.now())).await {
            Ok(()) => decision.charges.into_iter().find(|next| next.id == charge.id).ok_or(ActorError::NotFound),
            Err(CommitError::Stale) => self.reload(charge.id).await,
            Err(error) => Err(error.into()),
        }
    }

    async fn reload(&self, id: ChargeId) -> Result<Charge, ActorError> {
        self.context.store.charge(id).await?.ok_or(ActorError::NotFound)
    }

    /// Asks the processor until it gives a definite answer; a refusal is one that should not come here.
    async fn call_with_retry<T, F>(&self, call: impl Fn() -> F) -> Result<T, ActorError>
    where
        F: Future<Output = Result<T, ProcessorError>>,
    {
        self.call_with_retry_or_decline(call).await?.map_err(|failure| refused(&failure))
    }

    async fn call_with_retry_or_decline<T, F>(&self, call: impl Fn() -> F) -> Result<Result<T, ChargeFailure>, ActorError>
    where
        F: Future<Output = Result<T, ProcessorError>>,
    {
        let mut backoff = Self::BACKOFF;
        for _ in 0..Self::TRIES_MAX {
            match call().await {
                Ok(answer) => return Ok(Ok(answer)),
                Err(ProcessorError::Refused(failure)) => return Ok(Err(failure)),
                Err(ProcessorError::Unknown(detail)) => {
                    tracing::warn!(%detail, "the payment processor gave no definite answer; asking again");
                    pause(&mut backoff).await;
                }
            }
        }
        Err(ActorError::Unavailable("the payment processor does not answer".into()))
    }
}

/// A refusal where none should come: somebody has to look into it.
fn refused(failure: &ChargeFailure) -> ActorError {
    tracing::error!(code = %failure.code, "the payment processor refused what it should not");
    ActorError::Unavailable("the payment processor refused".into())
}

/// Waits a little, and longer the next time.
async fn pause(backoff: &mut Duration) {
    let jitter = rand::rng().random_range(0.5..1.5);
    tokio::time::sleep(backoff.mul_f64(jitter)).await;
    *backoff *= 2;
}

/// The charge is being driven until this is dropped.
struct InProgressGuard {
    in_progress: Arc<Mutex<HashSet<ChargeId>>>,
    id: ChargeId,
}

impl Drop for InProgressGuard {
    fn drop(&mut self) {
        self.in_progress.lock().remove(&self.id);
    }
}

/// Finishes a charge for which nobody waits.
pub(super) async fn finish(settlement: &Settlement, charge: Charge) {
    let id = charge.id;
    match settlement.advance(charge, AuthorizeWith::Recover).await {
        Ok(paid) => count(&paid.charge),
        Err(ActorError::Busy(_)) => {}
        Err(fault) => tracing::warn!(charge = %id, %fault, "a charge could not be settled yet"),
    }
}

/// Counts how a charge ended, if it did.
pub(super) fn count(charge: &Charge) {
    if charge.is_open() {
        return;
    }
    let outcome = match (charge.status, &charge.failure) {
        (ChargeStatus::Completed, _) => "completed",
        (ChargeStatus::Failed, _) if charge.stripe_refund_id.is_some() => "refunded",
        (ChargeStatus::Failed, Some(failure)) if failure.code == ChargeFailure::LOCK_LOST => "lock_lost",
        (ChargeStatus::Failed, Some(_)) => "declined",
        (ChargeStatus::Failed | ChargeStatus::Created, _) => "other",
    };
    METRICS.charges.with_label_values(&[outcome]).inc();
}
