//! Stripe as a [`Processor`]: one PaymentIntent for a charge, for cards, confirmed by the server
//! and captured in a separate call.
//!
//! | file | holds |
//! | --- | --- |
//! | `attempt` | authorizing with a token, and after the buyer acted |
//! | `client` | one request and its definite answer |
//! | `config` | the settings |
//! | `integration` | what the program takes from them: the processor, the webhook, the form in the pages |
//! | `objects` | Stripe's objects |
//! | `reversal` | voiding and refunding |
//! | `webhook` | signatures and events |
//!
//! Repetition is safe because a PaymentIntent can be authorized, captured and cancelled only once.
//! Idempotency keys (charge and step) return the original answer if it was lost. If Stripe stored a
//! server error under a key, the PaymentIntent is read, and the missing step is requested with
//! another key. [`Processor::open`] uses another key only after an error that Stripe reports as
//! stored; otherwise there could be two PaymentIntents. See docs/adr/0006. This module has no rules
//! about orders or locks, and it stores nothing but the mark of live payments ([`LiveMark`]).

mod attempt;
mod client;
pub mod config;
mod integration;
mod objects;
mod reversal;
#[cfg(test)]
mod tests;
pub mod webhook;

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::{sync::OnceCell, time::Instant};
use uuid::Uuid;

use super::{
    Authorization, PaymentState, PaymentToken, Processor, ProcessorError, Reversal, failing, keyed,
    processor_config::{LiveMark, Mode},
    record_outcome,
};
use client::{Operation, Request, StripeClient, StripeError};
use config::StripeConfig;
use gittix_domain::{
    Charge, ChargeFailure, ChargeId, Millis, PaymentId, ProcessorName, TokenDigest,
};
use gittix_runtime::{clock::Clock, metrics::METRICS};
use objects::{CHARGE, PaymentIntent, Status, StripeList};

/// Maximum age of a charge whose payment is opened without a search. Stripe keeps an idempotency
/// key for at least 24 hours. If an older charge's payment is opened, an existing payment is
/// searched for first. The difference to 24 hours is for the delay of Stripe's search index.
const KEY_TRUSTED: Millis = Millis::from_mins(20 * 60);
/// Maximum number of tries of a step. It is tried again with another key after a server error or a
/// rejection of Stripe, if the step was not executed.
const TRIES_MAX: usize = 3;
/// Maximum number of idempotency keys with which a charge's payment is opened. A key is used up by
/// an error that Stripe stored.
const KEYS_MAX: u32 = 3;

/// The Stripe processor. Clones share their connections.
#[derive(Clone)]
pub struct Stripe {
    client: StripeClient,
    /// The key of token digests.
    key: [u8; 32],
    clock: Clock,
    timeout: Duration,
    has_element: bool,
    /// The mark, in live mode only.
    live_mark: Option<Arc<MarkOnce>>,
}

/// A mark that is set once in a process.
#[derive(Debug)]
struct MarkOnce {
    mark: Arc<dyn LiveMark>,
    is_set: OnceCell<()>,
}

impl fmt::Debug for Stripe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stripe").field("client", &self.client).finish_non_exhaustive()
    }
}

impl Stripe {
    /// The name of the processor in charges, addresses and the store.
    pub const NAME: &str = "stripe";

    /// Creates the processor without sending a request. `digest_key` is used for token digests; all
    /// replicas must have the same key. In live mode, `live_mark` is set before the first payment
    /// is opened.
    ///
    /// # Errors
    /// A text of one line, if the settings cannot be used.
    pub fn new(
        config: &StripeConfig,
        digest_key: [u8; 32],
        live_mark: Arc<dyn LiveMark>,
        clock: Clock,
    ) -> Result<Self, String> {
        let is_live = config.mode() == Some(Mode::Live);
        Ok(Self {
            client: StripeClient::new(config)?,
            key: digest_key,
            clock,
            timeout: config.timeout.to_duration(),
            has_element: config.publishable_key.is_some(),
            live_mark: is_live
                .then(|| Arc::new(MarkOnce { mark: live_mark, is_set: OnceCell::new() })),
        })
    }

    /// After a crash between the mark and the payment, the store has a mark without a payment. Such
    /// a store requires a live key although it has no live payment, which is harmless.
    async fn set_live_mark(&self) -> Result<(), ProcessorError> {
        let Some(MarkOnce { mark, is_set }) = self.live_mark.as_deref() else { return Ok(()) };
        is_set.get_or_try_init(|| mark.set()).await.map(drop).map_err(ProcessorError::Unknown)
    }

    /// Returns the deadline of a call that begins now.
    fn deadline(&self) -> Instant {
        Instant::now() + self.timeout * 2
    }

    async fn intent(&self, payment: &PaymentId, by: Instant) -> Result<PaymentIntent, StripeError> {
        self.client
            .send(&Request::get(Operation::Fetch, format!("payment_intents/{payment}")), by)
            .await
    }

    /// Returns the PaymentIntent of `charge`.
    async fn intent_of(
        &self,
        charge: &Charge,
        payment: &PaymentId,
        by: Instant,
    ) -> Result<PaymentIntent, ProcessorError> {
        let intent = self.intent(payment, by).await?;
        checked(intent.check(charge), charge, payment)?;
        Ok(intent)
    }

    async fn do_open(&self, charge: &Charge) -> Result<PaymentId, ProcessorError> {
        if let Some(payment) = charge.payment() {
            return Ok(payment.clone());
        }
        self.set_live_mark().await?;
        let by = self.deadline();
        failing("stripe::before_open", None)?;
        if self.clock.now() - charge.created_at >= KEY_TRUSTED
            && let Some(found) = self.search(charge, by).await?
        {
            return Ok(found);
        }
        let intent = match self.create(charge, by).await {
            Ok(intent) => intent,
            // Another version of this program opened the payment with other parameters. The payment
            // is found by its metadata.
            Err(StripeError::Rejected(rejection)) if rejection.is_key_reused() => {
                let found = self.search(charge, by).await?;
                return found.ok_or_else(|| {
                    ProcessorError::Unknown("the payment was opened with other parameters and is not in Stripe's search index yet".into())
                });
            }
            Err(error) => return Err(error.into()),
        };
        let payment = intent.id();
        checked(intent.check(charge), charge, &payment)?;
        failing("stripe::after_open", Some(&payment))?;
        Ok(payment)
    }

    /// Creates the PaymentIntent, with the first of the charge's keys that has no stored error.
    ///
    /// Stripe returns a stored error for a day, and in that time the charge could be neither paid
    /// nor ended. The next key is used only after a stored error, so every caller uses the same
    /// keys and gets the same PaymentIntent. A PaymentIntent of a failed creation is harmless: its
    /// id was given to no client, so it holds no money. After an error that is not reported as
    /// stored, no other key is used, because the first key may still create a PaymentIntent.
    async fn create(&self, charge: &Charge, by: Instant) -> Result<PaymentIntent, StripeError> {
        let mut number = 1;
        let mut asked_again = false;
        loop {
            match self.client.send(&creation(charge, number), by).await {
                // The first answer with an error does not state whether the error was stored. The
                // second answer does.
                Err(StripeError::ServerError { is_stored: false, .. }) if !asked_again => {
                    asked_again = true
                }
                Err(StripeError::ServerError { is_stored: true, .. }) if number < KEYS_MAX => {
                    number += 1;
                    asked_again = false;
                }
                answer => return answer,
            }
        }
    }

    /// Finds the payment of a charge by its metadata. Stripe's search index is behind by up to a
    /// minute, and longer during an outage.
    async fn search(
        &self,
        charge: &Charge,
        by: Instant,
    ) -> Result<Option<PaymentId>, ProcessorError> {
        let query = format!("metadata['{}']:'{}'", CHARGE, charge.id);
        let request =
            Request::get(Operation::Search, "payment_intents/search".into()).with("query", query);
        let found: StripeList<PaymentIntent> = self.client.send(&request, by).await?;
        let ours = found.data.iter().find(|intent| intent.charge() == Some(charge.id));
        let Some(intent) = ours else { return Ok(None) };
        checked(intent.check(charge), charge, &intent.id())?;
        Ok(Some(intent.id()))
    }

    async fn do_fetch(
        &self,
        charge: &Charge,
        payment: &PaymentId,
    ) -> Result<PaymentState, ProcessorError> {
        let by = self.deadline();
        let mut intent = self.intent_of(charge, payment, by).await?;
        Ok(match intent.status {
            Status::RequiresPaymentMethod => PaymentState::Open {
                declined: intent.last_payment_error.as_ref().map(objects::ErrorBody::decline),
            },
            // A payment method is attached and not confirmed, so no money is held.
            Status::RequiresConfirmation => PaymentState::Open { declined: None },
            Status::RequiresAction => PaymentState::ActionRequired {
                client_secret: intent.client_secret.take().ok_or_else(without_secret)?,
            },
            Status::RequiresCapture => PaymentState::Authorized,
            Status::Canceled => PaymentState::Voided,
            Status::Succeeded => {
                match self.refunds(payment, by).await?.settled(intent.taken(charge)) {
                    Some(refund) => PaymentState::Refunded { refund },
                    None => PaymentState::Captured,
                }
            }
            Status::Processing | Status::Other => return Err(undecided(&intent)),
        })
    }

    async fn do_capture(&self, charge: &Charge, payment: &PaymentId) -> Result<(), ProcessorError> {
        let by = self.deadline();
        failing("stripe::before_capture", Some(payment))?;
        let mut key = format!("{}:capture", charge.id);
        let mut rejection = None;
        for _ in 0..TRIES_MAX {
            // Never captures more than the charge's amount, even if more was authorized.
            let request = Request::post(
                Operation::Capture,
                format!("payment_intents/{payment}/capture"),
                key,
            )
            .with("amount_to_capture", charge.amount.minor().to_string());
            match self.client.send::<PaymentIntent>(&request, by).await {
                Ok(intent) if intent.status == Status::Succeeded => {
                    failing("stripe::after_capture", Some(payment))?;
                    return checked(intent.check_captured(charge), charge, payment);
                }
                Ok(_) | Err(StripeError::ServerError { .. }) => {}
                Err(StripeError::Rejected(no)) if !no.is_about_access() => rejection = Some(no),
                Err(error) => return Err(error.into()),
            }
            // The payment may have been captured before, voided in the meantime, or not captured.
            // So its state is read.
            let intent = self.intent_of(charge, payment, by).await?;
            match intent.status {
                Status::Succeeded => {
                    failing("stripe::after_capture", Some(payment))?;
                    checked(intent.check_captured(charge), charge, payment)?;
                    return match self.refunds(payment, by).await?.first_valid() {
                        Some(_) => Err(ChargeFailure::new(
                            "payment_refunded",
                            "The payment was refunded before the sale was completed.",
                        )
                        .into()),
                        None => Ok(()),
                    };
                }
                Status::RequiresCapture => key = retry_key(charge, "capture"),
                Status::Canceled => return Err(voided().into()),
                Status::Processing | Status::Other => return Err(undecided(&intent)),
                Status::RequiresPaymentMethod
                | Status::RequiresConfirmation
                | Status::RequiresAction => {
                    return Err(ChargeFailure::new(
                        "not_authorized",
                        "The payment is no longer authorized.",
                    )
                    .into());
                }
            }
        }
        Err(match rejection {
            Some(rejection) => StripeError::Rejected(rejection).into(),
            None => {
                ProcessorError::Unknown("Stripe answered each capture with a server error".into())
            }
        })
    }
}

/// Returns the request that creates a PaymentIntent. Its parameters must stay the same while a
/// charge is open, because Stripe rejects other parameters with the same key. `number` counts the
/// keys from 1.
fn creation(charge: &Charge, number: u32) -> Request {
    let key = if number == 1 {
        format!("{}:open", charge.id)
    } else {
        format!("{}:open:{number}", charge.id)
    };
    Request::post(Operation::Open, "payment_intents".into(), key)
        .with("amount", charge.amount.minor().to_string())
        .with("currency", charge.currency.code())
        .with("capture_method", "manual")
        // Only payment methods that do not redirect the buyer away from the page are used.
        .with("payment_method_types[0]", "card")
        .with("metadata[charge]", charge.id.to_string())
        .with("metadata[order]", charge.order.to_string())
        .with("metadata[ticket]", charge.ticket.to_string())
}

/// Returns the key with which a step is repeated after a server error of Stripe, if the step was
/// not executed.
fn retry_key(charge: &Charge, step: &str) -> String {
    format!("{}:{step}:{}", charge.id, Uuid::now_v7())
}

/// Logs a payment that does not match its charge. The operator has to find the cause.
fn checked(
    found: Result<(), ChargeFailure>,
    charge: &Charge,
    payment: &PaymentId,
) -> Result<(), ProcessorError> {
    found.map_err(|failure| {
        METRICS.payment_mismatches.inc();
        tracing::error!(charge = %charge.id, %payment, "a payment at Stripe does not match its charge; compare both in the dashboard");
        failure.into()
    })
}

fn voided() -> ChargeFailure {
    ChargeFailure::new("payment_intent_canceled", "The authorization was voided or has expired.")
}

fn undecided(intent: &PaymentIntent) -> ProcessorError {
    ProcessorError::Unknown(format!("the payment has no result at Stripe yet: {:?}", intent.status))
}

fn without_secret() -> ProcessorError {
    ProcessorError::Unknown(
        "Stripe requires an action of the buyer, but gave no client secret".into(),
    )
}

#[async_trait]
impl Processor for Stripe {
    fn name(&self) -> ProcessorName {
        ProcessorName::new("stripe")
    }

    async fn token_exists(&self, token: &PaymentToken) -> Result<bool, ProcessorError> {
        record_outcome(
            self.do_token_exists(token).await,
            |known| if *known { "ok" } else { "refused" },
        )
    }

    async fn open(&self, charge: &Charge) -> Result<PaymentId, ProcessorError> {
        record_outcome(self.do_open(charge).await, |_| "ok")
    }

    async fn authorize(
        &self,
        charge: &Charge,
        payment: &PaymentId,
        token: &PaymentToken,
    ) -> Result<Authorization, ProcessorError> {
        record_outcome(self.do_authorize(charge, payment, token).await, Authorization::outcome)
    }

    async fn resume(
        &self,
        charge: &Charge,
        payment: &PaymentId,
    ) -> Result<Authorization, ProcessorError> {
        record_outcome(self.do_resume(charge, payment).await, Authorization::outcome)
    }

    async fn fetch(
        &self,
        charge: &Charge,
        payment: &PaymentId,
    ) -> Result<PaymentState, ProcessorError> {
        record_outcome(self.do_fetch(charge, payment).await, |_| "ok")
    }

    async fn capture(&self, charge: &Charge, payment: &PaymentId) -> Result<(), ProcessorError> {
        record_outcome(self.do_capture(charge, payment).await, |()| "ok")
    }

    async fn reverse(
        &self,
        charge: &Charge,
        payment: &PaymentId,
    ) -> Result<Reversal, ProcessorError> {
        record_outcome(self.do_reverse(charge, payment).await, |_| "ok")
    }

    async fn charge_of(&self, payment: &PaymentId) -> Result<Option<ChargeId>, ProcessorError> {
        let found = match self.intent(payment, self.deadline()).await {
            Ok(intent) => Ok(intent.charge()),
            Err(StripeError::Rejected(rejection)) if rejection.is_missing() => Ok(None),
            Err(error) => Err(error.into()),
        };
        record_outcome(found, |_| "ok")
    }

    fn digest(&self, token: &PaymentToken) -> TokenDigest {
        TokenDigest::new(&keyed(&self.key, "token", token.expose()))
    }

    fn authorize_timeout(&self) -> Duration {
        self.timeout * 3
    }
}
