//! Sending money back: cancelling what is only held, refunding what was taken, and what a refund that failed means.
//!
//! A refund that is pending is not believed yet, and one that failed sent nothing back: a charge is reversed only when
//! Stripe says that a refund succeeded. After [`REFUNDS_MAX`] failures somebody has to look into it; a refund that is made
//! by hand counts like our own.

use tokio::time::Instant;

use super::{
    Stripe, TRIES_MAX,
    client::{Operation, Request, Trouble},
    objects::{PaymentIntent, Refund, RefundStatus, Status, StripeList},
    once_key, undecided,
};
use crate::{
    domain::{Charge, ChargeFailure, PaymentId, RefundId},
    metrics::METRICS,
    payments::{ProcessorError, Reversal, failing},
};

/// How many refunds of one charge may fail before no other is tried. A bank that refused two will refuse the next.
const REFUNDS_MAX: usize = 3;
/// Nobody refunds one payment so often.
const PAGE: &str = "100";

/// All refunds of one payment.
#[derive(Debug)]
pub(super) struct Refunds(Vec<Refund>);

impl Refunds {
    /// The first that is not known to have sent nothing back.
    pub fn any(&self) -> Option<RefundId> {
        self.alive().next().map(Refund::id)
    }

    /// The newest of those by which all that was `taken` went back, once it did. In minor units.
    pub fn settled(&self, taken: i64) -> Option<RefundId> {
        let back: i64 = self.succeeded().map(|refund| refund.amount).sum();
        self.succeeded().next().map(Refund::id).filter(|_| back >= taken)
    }

    /// What of `taken` no refund was made for yet. A failed one is none.
    fn open_amount(&self, taken: i64) -> i64 {
        taken - self.alive().map(|refund| refund.amount).sum::<i64>()
    }

    fn failed(&self) -> usize {
        self.0.iter().filter(|refund| is_dead(refund)).count()
    }

    fn alive(&self) -> impl Iterator<Item = &Refund> {
        self.0.iter().filter(|refund| !is_dead(refund))
    }

    fn succeeded(&self) -> impl Iterator<Item = &Refund> {
        self.0.iter().filter(|refund| refund.status == RefundStatus::Succeeded)
    }
}

fn is_dead(refund: &Refund) -> bool {
    matches!(refund.status, RefundStatus::Failed | RefundStatus::Canceled)
}

impl Stripe {
    /// Every refund of a payment, newest first.
    pub(super) async fn refunds(&self, payment: &PaymentId, by: Instant) -> Result<Refunds, ProcessorError> {
        let request = Request::get(Operation::ListRefunds, "refunds".into()).with("payment_intent", payment.as_str()).with("limit", PAGE);
        let page: StripeList<Refund> = self.client.send(&request, by).await?;
        if page.has_more {
            return Err(ChargeFailure::new("too_many_refunds", "The payment has more refunds than can be looked through.").into());
        }
        Ok(Refunds(page.data))
    }

    pub(super) async fn do_reverse(&self, charge: &Charge, payment: &PaymentId) -> Result<Reversal, ProcessorError> {
        let by = self.deadline();
        failing("stripe::before_reverse", Some(payment))?;
        let mut key = format!("{}:cancel", charge.id);
        for _ in 0..TRIES_MAX {
            // Not held against the charge's amount: whatever was taken goes back.
            let intent = self.intent(payment, by).await?;
            if intent.charge() != Some(charge.id) {
                return Err(ChargeFailure::new("resource_missing", "The payment is another charge's.").into());
            }
            match intent.status {
                Status::Canceled => {
                    failing("stripe::after_reverse", Some(payment))?;
                    return Ok(Reversal::Voided);
                }
                Status::Succeeded => {
                    let refund = self.refund(charge, payment, intent.taken(charge), by).await?;
                    failing("stripe::after_reverse", Some(payment))?;
                    return Ok(Reversal::Refunded { refund });
                }
                // It will be something that can be reversed soon.
                Status::Processing | Status::Other => return Err(undecided(&intent)),
                Status::RequiresPaymentMethod | Status::RequiresConfirmation | Status::RequiresAction | Status::RequiresCapture => {
                    let request = Request::post(Operation::Cancel, format!("payment_intents/{payment}/cancel"), key);
                    match self.client.send::<PaymentIntent>(&request, by).await {
                        Ok(intent) if intent.status == Status::Canceled => {
                            failing("stripe::after_reverse", Some(payment))?;
                            return Ok(Reversal::Voided);
                        }
                        // A capture was faster, or the buyer's bank is at it, or it was done all the same: look again.
                        Ok(_) | Err(Trouble::Broken { .. }) => {}
                        Err(Trouble::Rejected(no)) if !no.is_about_access() => {}
                        Err(trouble) => return Err(trouble.into()),
                    }
                    key = once_key(charge, "cancel");
                }
            }
        }
        Err(ProcessorError::Unknown("Stripe neither cancels nor captures the payment".into()))
    }

    /// Refunds what was `taken` (in minor units) and did not go back yet.
    async fn refund(&self, charge: &Charge, payment: &PaymentId, taken: i64, by: Instant) -> Result<RefundId, ProcessorError> {
        let refunds = self.refunds(payment, by).await?;
        let open = refunds.open_amount(taken);
        if open <= 0 {
            return refunds.settled(taken).ok_or_else(pending);
        }
        let failed = refunds.failed();
        if failed >= REFUNDS_MAX {
            tracing::error!(charge = %charge.id, %payment, failed, "refunds of this charge fail again and again: refund it by hand");
            return Err(ChargeFailure::new("refund_failed", "The refund failed too often.").into());
        }
        if failed > 0 {
            METRICS.refund_failures.inc();
            tracing::error!(charge = %charge.id, %payment, failed, "a refund failed; trying another");
        }
        let mut key = format!("{}:refund:{failed}", charge.id);
        for _ in 0..TRIES_MAX {
            let request = Request::post(Operation::Refund, "refunds".into(), key)
                .with("payment_intent", payment.as_str())
                .with("amount", open.to_string())
                .with("metadata[charge]", charge.id.to_string());
            match self.client.send::<Refund>(&request, by).await {
                Ok(refund) => match refund.status {
                    RefundStatus::Succeeded => return Ok(refund.id()),
                    RefundStatus::Undecided => return Err(pending()),
                    RefundStatus::Failed | RefundStatus::Canceled => {
                        METRICS.refund_failures.inc();
                        return Err(ProcessorError::Unknown("a refund failed at once".into()));
                    }
                },
                Err(Trouble::Broken { .. }) => {}
                Err(Trouble::Rejected(no)) if !no.is_about_access() => {}
                Err(trouble) => return Err(trouble.into()),
            }
            // It may be there all the same; a second one is made only when it is not.
            let refunds = self.refunds(payment, by).await?;
            if refunds.open_amount(taken) <= 0 {
                return refunds.settled(taken).ok_or_else(pending);
            }
            key = once_key(charge, "refund");
        }
        Err(ProcessorError::Unknown("Stripe does not refund".into()))
    }
}

fn pending() -> ProcessorError {
    ProcessorError::Unknown("a refund is pending at Stripe".into())
}
