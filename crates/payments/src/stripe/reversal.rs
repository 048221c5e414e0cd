//! Reversals: cancelling an authorization, refunding captured money, and handling failed refunds.
//!
//! A captured payment counts as reversed only when Stripe reports that its refund succeeded. A
//! payment that was not captured is cancelled. A pending refund may still fail, and a failed refund
//! returned no money. After [`REFUNDS_MAX`] failures an operator has to act. A refund that the
//! operator makes by hand counts like one of this program.

use tokio::time::Instant;

use super::{
    Stripe, TRIES_MAX,
    client::{Operation, Request, StripeError},
    objects::{PaymentIntent, Refund, RefundStatus, Status, StripeList},
    retry_key, undecided,
};
use crate::{ProcessorError, Reversal, failing};
use gittix_domain::{Charge, ChargeFailure, PaymentId, RefundId};
use gittix_runtime::metrics::METRICS;

/// Maximum number of failed refunds of one charge. After that many, no further refund is tried,
/// because a bank that refused three will probably refuse the next.
const REFUNDS_MAX: usize = 3;
/// Maximum number of refunds of one payment that are read. No payment is refunded that often in
/// practice.
const PAGE: &str = "100";

/// All refunds of one payment.
#[derive(Debug)]
pub(super) struct Refunds(Vec<Refund>);

impl Refunds {
    /// Returns the first refund that has not failed.
    pub fn first_valid(&self) -> Option<RefundId> {
        self.valid().next().map(Refund::id)
    }

    /// Returns the newest successful refund, if the successful refunds add up to `taken`. `taken`
    /// is in minor units.
    pub fn settled(&self, taken: i64) -> Option<RefundId> {
        let back: i64 = self.succeeded().map(|refund| refund.amount).sum();
        self.succeeded().next().map(Refund::id).filter(|_| back >= taken)
    }

    /// Returns the part of `taken` for which no refund exists. A failed refund does not count.
    fn open_amount(&self, taken: i64) -> i64 {
        taken - self.valid().map(|refund| refund.amount).sum::<i64>()
    }

    fn failed(&self) -> usize {
        self.0.iter().filter(|refund| has_failed(refund)).count()
    }

    fn valid(&self) -> impl Iterator<Item = &Refund> {
        self.0.iter().filter(|refund| !has_failed(refund))
    }

    fn succeeded(&self) -> impl Iterator<Item = &Refund> {
        self.0.iter().filter(|refund| refund.status == RefundStatus::Succeeded)
    }
}

fn has_failed(refund: &Refund) -> bool {
    matches!(refund.status, RefundStatus::Failed | RefundStatus::Canceled)
}

impl Stripe {
    /// Returns every refund of a payment, newest first.
    pub(super) async fn refunds(
        &self,
        payment: &PaymentId,
        by: Instant,
    ) -> Result<Refunds, ProcessorError> {
        let request = Request::get(Operation::ListRefunds, "refunds".into())
            .with("payment_intent", payment.as_str())
            .with("limit", PAGE);
        let page: StripeList<Refund> = self.client.send(&request, by).await?;
        if page.has_more {
            return Err(ChargeFailure::new(
                "too_many_refunds",
                "The payment has too many refunds to read.",
            )
            .into());
        }
        Ok(Refunds(page.data))
    }

    pub(super) async fn do_reverse(
        &self,
        charge: &Charge,
        payment: &PaymentId,
    ) -> Result<Reversal, ProcessorError> {
        let by = self.deadline();
        failing("stripe::before_reverse", Some(payment))?;
        let mut key = format!("{}:cancel", charge.id);
        for _ in 0..TRIES_MAX {
            // Amount and currency are not compared with the charge: whatever was captured is
            // refunded.
            let intent = self.intent(payment, by).await?;
            if intent.charge() != Some(charge.id) {
                return Err(ChargeFailure::new(
                    "resource_missing",
                    "The payment belongs to another charge.",
                )
                .into());
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
                // The bank is processing the payment; it can be reversed later.
                Status::Processing | Status::Other => return Err(undecided(&intent)),
                Status::RequiresPaymentMethod
                | Status::RequiresConfirmation
                | Status::RequiresAction
                | Status::RequiresCapture => {
                    let request = Request::post(
                        Operation::Cancel,
                        format!("payment_intents/{payment}/cancel"),
                        key,
                    );
                    match self.client.send::<PaymentIntent>(&request, by).await {
                        Ok(intent) if intent.status == Status::Canceled => {
                            failing("stripe::after_reverse", Some(payment))?;
                            return Ok(Reversal::Voided);
                        }
                        // The payment was captured in the meantime, or the bank is processing it,
                        // or it was cancelled. So its state is read again.
                        Ok(_) | Err(StripeError::ServerError { .. }) => {}
                        Err(StripeError::Rejected(no)) if !no.is_about_access() => {}
                        Err(error) => return Err(error.into()),
                    }
                    key = retry_key(charge, "cancel");
                }
            }
        }
        Err(ProcessorError::Unknown(
            "Stripe could not cancel the payment and reports no captured money".into(),
        ))
    }

    /// Refunds the part of `taken` (in minor units) that was not refunded yet.
    async fn refund(
        &self,
        charge: &Charge,
        payment: &PaymentId,
        taken: i64,
        by: Instant,
    ) -> Result<RefundId, ProcessorError> {
        let refunds = self.refunds(payment, by).await?;
        let open = refunds.open_amount(taken);
        if open <= 0 {
            return refunds.settled(taken).ok_or_else(pending);
        }
        let failed = refunds.failed();
        if failed >= REFUNDS_MAX {
            tracing::error!(charge = %charge.id, %payment, failed, "the refunds of this charge failed repeatedly; refund it by hand");
            return Err(ChargeFailure::new("refund_failed", "The refund failed too often.").into());
        }
        if failed > 0 {
            METRICS.refund_failures.inc();
            tracing::error!(charge = %charge.id, %payment, failed, "a refund failed; making another one");
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
                        return Err(ProcessorError::Unknown("a refund failed immediately".into()));
                    }
                },
                Err(StripeError::ServerError { .. }) => {}
                Err(StripeError::Rejected(no)) if !no.is_about_access() => {}
                Err(error) => return Err(error.into()),
            }
            // The refund may have been made nevertheless. A second refund is made only if it was
            // not.
            let refunds = self.refunds(payment, by).await?;
            if refunds.open_amount(taken) <= 0 {
                return refunds.settled(taken).ok_or_else(pending);
            }
            key = retry_key(charge, "refund");
        }
        Err(ProcessorError::Unknown("Stripe made no refund in three tries".into()))
    }
}

fn pending() -> ProcessorError {
    ProcessorError::Unknown("a refund is pending at Stripe".into())
}
