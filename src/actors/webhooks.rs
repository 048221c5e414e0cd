//! Processing of the payment processor's webhook events: finding the charge of an event, and
//! advancing it.
//!
//! An event says that something happened to a payment. Only the id of the payment is used: where an
//! action is needed, the payment is read from the processor. So an event may come twice, late or in
//! any order. It is recorded as handled when its effect is durable. It is also recorded if the
//! charge is open and another task, or reconciliation, will advance it. If the process crashes
//! before the record is written, the processor sends the event again, and nothing is left to do.
//!
//! Open charges do not depend on events: reconciliation reads their payments a little later.
//! Changes of a payment whose charge is final are found by events alone: an authorization after the
//! charge failed, a failed refund, a second payment.

use std::{sync::Arc, time::Duration};

use fail::fail_point;
use tokio::sync::oneshot;

use super::{ActorError, Orders, admission::Admission, context::ActorContext};
use crate::{
    domain::{Charge, ChargeState, Delivery, PaymentId, RefundId, decide},
    metrics::METRICS,
    payments::{PaymentState, ProcessorError, Reversal},
    store::{Commit, CommitError, Write},
};

/// The outcome of a webhook event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WebhookOutcome {
    /// The charge has the state of its payment, or another task is advancing it.
    Handled,
    /// The event was handled before.
    Duplicate,
    /// The event's payment belongs to no charge in this store.
    Unknown,
}

/// A handle for the processing of webhook events. Clones share one admission.
#[derive(Debug, Clone)]
pub struct Webhooks {
    context: Arc<ActorContext>,
    orders: Orders,
    admission: Admission,
}

impl Webhooks {
    /// Maximum number of events that are processed at once. More are rejected, and the processor
    /// sends them again.
    const ADMITTED_MAX: usize = 64;
    /// Maximum time until an event is answered. Stripe does not document its time-out; users report
    /// 10 s to 20 s.
    const ANSWER_WITHIN: Duration = Duration::from_secs(8);

    pub(super) fn new(context: Arc<ActorContext>, orders: Orders) -> Self {
        Self { context, orders, admission: Admission::new(Self::ADMITTED_MAX, "webhook") }
    }

    /// Processes the processor's `event` about `payment`. Processing continues if the caller's
    /// future is dropped.
    ///
    /// # Errors
    /// [`ActorError::Busy`], [`ActorError::Unavailable`] and [`ActorError::OutcomeUnknown`]: the
    /// processor should send the event again.
    pub async fn process(
        &self,
        event: String,
        payment: PaymentId,
    ) -> Result<WebhookOutcome, ActorError> {
        let permit = self.admission.admit()?;
        let this = self.clone();
        let (done, outcome) = oneshot::channel();
        actix::spawn(async move {
            let _permit = permit;
            // The caller may have stopped waiting. The effect of the event remains.
            let _ = done.send(this.process_event(event, payment).await);
        });
        match tokio::time::timeout(Self::ANSWER_WITHIN, outcome).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(ActorError::OutcomeUnknown),
            Err(_) => Err(ActorError::Unavailable("the event is not handled yet".into())),
        }
    }

    async fn process_event(
        &self,
        event: String,
        payment: PaymentId,
    ) -> Result<WebhookOutcome, ActorError> {
        fail_point!("webhook::before_handle", |_| std::process::abort());
        if self.context.store.delivery(&event).await?.is_some() {
            return Ok(WebhookOutcome::Duplicate);
        }
        let Some(id) = self.context.processor.charge_of(&payment).await.map_err(unanswered)? else {
            return Ok(WebhookOutcome::Unknown);
        };
        let Some(charge) = self.context.store.charge(id).await? else {
            // The payment belongs to another marketplace on the same account, or to another store
            // of this one.
            tracing::warn!(charge = %id, %payment, "a webhook event is about a charge of another store; check which stores use this account");
            return Ok(WebhookOutcome::Unknown);
        };
        if charge.payment().is_some_and(|own| *own != payment) {
            self.reverse(&charge, &payment, "a charge has a second payment").await?;
        } else {
            self.advance(charge, &payment).await?;
        }
        fail_point!("webhook::handled", |_| std::process::abort());
        let at = self.context.now();
        let record = Commit {
            writes: vec![Write::Delivery(Delivery { event, at })],
            events: Vec::new(),
            at,
        };
        let recorded = self.context.store.commit(record).await;
        fail_point!("webhook::recorded", |_| std::process::abort());
        match recorded {
            Ok(()) => Ok(WebhookOutcome::Handled),
            Err(CommitError::KeyUsed) => Ok(WebhookOutcome::Duplicate),
            Err(error) => Err(error.into()),
        }
    }

    /// Advances a charge to the state of its payment.
    async fn advance(&self, charge: Charge, payment: &PaymentId) -> Result<(), ActorError> {
        match &charge.state {
            // The task of the request gets the processor's answer. If that task has ended,
            // reconciliation reads the payment. If it were read now, an attempt that has not sent
            // its token yet could fail. A completed charge needs nothing.
            ChargeState::Authorizing { .. } | ChargeState::Completed { .. } => Ok(()),
            ChargeState::AwaitingAction { .. }
            | ChargeState::Capturing { .. }
            | ChargeState::Reversing { .. } => {
                match self.orders.settle(charge).await {
                    // Busy: another task is advancing the charge, or reconciliation continues it.
                    Ok(_) | Err(ActorError::Busy(_)) => Ok(()),
                    Err(error) => Err(error),
                }
            }
            ChargeState::Failed { .. } => self.reverse_failed(&charge, payment).await,
        }
    }

    /// Reverses what the payment of a Failed charge holds: an authorization that the buyer made
    /// later with the client secret, which they still have, or a captured amount whose refund was
    /// recorded but failed later.
    async fn reverse_failed(&self, charge: &Charge, payment: &PaymentId) -> Result<(), ActorError> {
        match self.context.processor.fetch(charge, payment).await {
            Ok(PaymentState::Open { .. } | PaymentState::Voided) => Ok(()),
            // Possibly by a process that crashed before it recorded the refund.
            Ok(PaymentState::Refunded { refund }) => self.record_refund(charge, &refund).await,
            Ok(PaymentState::ActionRequired { .. } | PaymentState::Authorized) => {
                self.reverse_and_record(
                    charge,
                    payment,
                    "a payment of a failed charge is authorized or waits for its buyer",
                )
                .await
            }
            Ok(PaymentState::Captured) => {
                self.reverse_and_record(
                    charge,
                    payment,
                    "the refund of a failed charge did not succeed",
                )
                .await
            }
            Err(ProcessorError::Refused(_)) => {
                self.reverse_and_record(
                    charge,
                    payment,
                    "the payment of a failed charge does not match the charge",
                )
                .await
            }
            Err(error) => Err(unanswered(error)),
        }
    }

    /// Reverses a failed charge's own payment, and records the refund.
    async fn reverse_and_record(
        &self,
        charge: &Charge,
        payment: &PaymentId,
        why: &str,
    ) -> Result<(), ActorError> {
        match self.reverse(charge, payment, why).await? {
            Reversal::Voided => Ok(()),
            Reversal::Refunded { refund } => self.record_refund(charge, &refund).await,
        }
    }

    async fn record_refund(&self, charge: &Charge, refund: &RefundId) -> Result<(), ActorError> {
        let now = self.context.now();
        let Ok(decision) = decide::refunded_later(charge, refund, now) else { return Ok(()) };
        match self.context.store.commit(Commit::of(decision, now)).await {
            // Stale: another replica has recorded the same event.
            Ok(()) | Err(CommitError::Stale) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn reverse(
        &self,
        charge: &Charge,
        payment: &PaymentId,
        why: &str,
    ) -> Result<Reversal, ActorError> {
        tracing::error!(charge = %charge.id, %payment, "{why}; the payment is being reversed");
        METRICS.unmatched_payments.inc();
        self.context.processor.reverse(charge, payment).await.map_err(unanswered)
    }
}

fn unanswered(error: ProcessorError) -> ActorError {
    ActorError::Unavailable(error.to_string())
}
