//! What the payment processor says by itself: which charge it is about, and what is to be done for it.
//!
//! A notice is a hint that something happened to a payment, never a statement of what: the payment is asked for again and
//! believed instead. So a notice may come twice, late or in any order. It is recorded as dealt with only after what it led
//! to is durable; whoever dies in between gets it once more, and finds nothing to do. Nothing depends on a notice: without
//! it, reconciliation finds out a little later.

use std::{sync::Arc, time::Duration};

use fail::fail_point;
use tokio::sync::{Semaphore, oneshot};

use super::{
    ActorError,
    context::ActorContext,
    settlement::{self, AuthorizeWith, Settlement},
};
use crate::{
    domain::{Charge, ChargeStatus, ChargeStep, Delivery, PaymentId, RefundId, decide},
    metrics::METRICS,
    payments::{PaymentState, ProcessorError, Reversal},
    store::{Commit, CommitError, Write},
};

/// What became of a notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WebhookOutcome {
    /// Its charge is where the processor says it is, or whoever is at it will bring it there.
    Handled,
    /// It was dealt with before.
    Duplicate,
    /// It is about no charge of ours.
    Unknown,
}

/// A handle for those who bring notices.
#[derive(Debug, Clone)]
pub struct Webhooks {
    context: Arc<ActorContext>,
    settlement: Settlement,
    admitted: Arc<Semaphore>,
}

impl Webhooks {
    /// Notices that are looked into at once; more are shed, and come again.
    const ADMITTED_MAX: usize = 64;
    /// Whoever brings a notice waits so long. Stripe's patience is said to be ten seconds, its libraries' twenty.
    const HEARD_WITHIN: Duration = Duration::from_secs(8);

    pub(super) fn new(context: Arc<ActorContext>, settlement: Settlement) -> Self {
        Self { context, settlement, admitted: Arc::new(Semaphore::new(Self::ADMITTED_MAX)) }
    }

    /// Looks into the payment that the processor's `event` was about. Goes on when the caller leaves.
    ///
    /// # Errors
    /// [`ActorError::Busy`], [`ActorError::Unavailable`] and [`ActorError::OutcomeUnknown`]: the notice should come again.
    pub async fn process(&self, event: String, payment: PaymentId) -> Result<WebhookOutcome, ActorError> {
        let Ok(admission) = Arc::clone(&self.admitted).try_acquire_owned() else {
            return Err(ActorError::Busy("webhook"));
        };
        let this = self.clone();
        let (done, heard) = oneshot::channel();
        actix::spawn(async move {
            let _admission = admission;
            // Whoever waited may have gone; what was done stays done.
            let _ = done.send(this.look_into(event, payment).await);
        });
        match tokio::time::timeout(Self::HEARD_WITHIN, heard).await {
            Ok(Ok(heard)) => heard,
            Ok(Err(_)) => Err(ActorError::OutcomeUnknown),
            Err(_) => Err(ActorError::Unavailable("what the processor told of is not dealt with yet".into())),
        }
    }

    async fn look_into(&self, event: String, payment: PaymentId) -> Result<WebhookOutcome, ActorError> {
        fail_point!("webhook::before_handle", |_| std::process::abort());
        if self.context.store.delivery(&event).await?.is_some() {
            return Ok(WebhookOutcome::Duplicate);
        }
        let Some(id) = self.context.processor.charge_of(&payment).await.map_err(unanswered)? else {
            return Ok(WebhookOutcome::Unknown);
        };
        let Some(charge) = self.context.store.charge(id).await? else {
            // Another marketplace on the same account, or another store of this one.
            tracing::warn!(charge = %id, %payment, "the processor has a payment of a charge that is not here");
            return Ok(WebhookOutcome::Unknown);
        };
        if charge.stripe_id.as_ref().is_some_and(|own| *own != payment) {
            self.reverse(&charge, &payment, "a charge has a second payment").await?;
        } else {
            self.follow(charge, &payment).await?;
        }
        fail_point!("webhook::handled", |_| std::process::abort());
        let at = self.context.now();
        let record = Commit { writes: vec![Write::Delivery(Delivery { event, at })], events: Vec::new(), at };
        let recorded = self.context.store.commit(record).await;
        fail_point!("webhook::recorded", |_| std::process::abort());
        match recorded {
            Ok(()) => Ok(WebhookOutcome::Handled),
            Err(CommitError::KeyUsed) => Ok(WebhookOutcome::Duplicate),
            Err(error) => Err(error.into()),
        }
    }

    /// Brings a charge to where its payment is.
    async fn follow(&self, charge: Charge, payment: &PaymentId) -> Result<(), ActorError> {
        match (&charge.step, charge.status) {
            // Whoever asked gets the answer; should they be gone, reconciliation asks. To ask in between would be to take an
            // attempt for lost that has not even begun.
            (ChargeStep::Authorizing, _) => Ok(()),
            (ChargeStep::AwaitingAction | ChargeStep::Capturing | ChargeStep::Reversing { .. }, _) => {
                match self.settlement.advance(charge, AuthorizeWith::Recover).await {
                    Ok(paid) => {
                        settlement::count(&paid.charge);
                        Ok(())
                    }
                    // Somebody is at it.
                    Err(ActorError::Busy(_)) => Ok(()),
                    Err(fault) => Err(fault),
                }
            }
            (ChargeStep::Final, ChargeStatus::Failed) => self.look_after_failed(&charge, payment).await,
            (ChargeStep::Final, ChargeStatus::Completed | ChargeStatus::Created) => Ok(()),
        }
    }

    /// A charge that has Failed keeps nothing: not what its buyer had authorized afterwards with the secret that they still
    /// have, nor what a refund did not send back that was believed to have.
    async fn look_after_failed(&self, charge: &Charge, payment: &PaymentId) -> Result<(), ActorError> {
        match self.context.processor.fetch(charge, payment).await {
            Ok(PaymentState::Open { .. } | PaymentState::Voided) => Ok(()),
            // Perhaps by somebody who died before they could write it down.
            Ok(PaymentState::Refunded { refund }) => self.record(charge, &refund).await,
            Ok(PaymentState::ActionRequired { .. } | PaymentState::Authorized) => {
                self.send_back(charge, payment, "a charge that has failed was authorized afterwards").await
            }
            Ok(PaymentState::Captured) => self.send_back(charge, payment, "a charge that has failed was not refunded after all").await,
            Err(ProcessorError::Refused(_)) => {
                self.send_back(charge, payment, "a charge that has failed has a payment of another amount").await
            }
            Err(error) => Err(unanswered(error)),
        }
    }

    /// Sends back what a failed charge's own payment holds or kept, and records the refund.
    async fn send_back(&self, charge: &Charge, payment: &PaymentId, why: &str) -> Result<(), ActorError> {
        match self.reverse(charge, payment, why).await? {
            Reversal::Voided => Ok(()),
            Reversal::Refunded { refund } => self.record(charge, &refund).await,
        }
    }

    async fn record(&self, charge: &Charge, refund: &RefundId) -> Result<(), ActorError> {
        let now = self.context.now();
        let Ok(decision) = decide::refunded_later(charge, refund, now) else { return Ok(()) };
        match self.context.store.commit(Commit::of(decision, now)).await {
            // Another replica heard of it too.
            Ok(()) | Err(CommitError::Stale) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn reverse(&self, charge: &Charge, payment: &PaymentId, why: &str) -> Result<Reversal, ActorError> {
        tracing::error!(charge = %charge.id, %payment, "{why}: sending the money back");
        METRICS.unmatched_payments.inc();
        self.context.processor.reverse(charge, payment).await.map_err(unanswered)
    }
}

fn unanswered(error: ProcessorError) -> ActorError {
    ActorError::Unavailable(error.to_string())
}
