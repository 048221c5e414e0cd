//! Stripe behind [`Processor`]: one PaymentIntent for a charge, authorized by us, captured by hand, for cards.
//!
//! | file | holds |
//! | --- | --- |
//! | `attempt` | authorizing with a token, and after the buyer acted |
//! | `client` | one request and its definite answer |
//! | `objects` | Stripe's objects |
//! | `reversal` | voiding and refunding |
//! | `webhook` | signatures and events |
//!
//! What makes repeating safe is the PaymentIntent itself: it can be authorized, captured and cancelled once. Idempotency
//! keys (charge and step) make a lost answer come back as it was; where Stripe keeps a failure under a key, the PaymentIntent
//! is looked at, and what it lacks is asked for under another key. Only [`Processor::open`] takes another key for nothing but a
//! failure that is known to be kept: else there could be two PaymentIntents. See docs/adr/0006. No rule about orders or locks lives here, and nothing is stored.

mod attempt;
mod client;
mod objects;
mod reversal;
#[cfg(test)]
mod tests;
pub mod webhook;

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use reqwest::Url;
use tokio::{sync::OnceCell, time::Instant};
use uuid::Uuid;

use super::{Authorization, PaymentState, PaymentToken, Processor, ProcessorError, Reversal, counted, failing, keyed};
use crate::{
    clock::Clock,
    domain::{Charge, ChargeFailure, ChargeId, Millis, PaymentId, TokenDigest},
    metrics::METRICS,
};
use client::{Operation, Request, StripeClient, Trouble};
use objects::{CHARGE, PaymentIntent, Status, StripeList};

/// Stripe keeps what it did under an idempotency key for 24 hours at least. A charge that is older than this when its
/// payment is opened is searched for first; the rest of the day is for Stripe's search index to catch up.
const KEY_TRUSTED: Millis = Millis::from_mins(20 * 60);
/// How often a step is asked for anew, under another key, because Stripe failed at it and did not do it.
const TRIES_MAX: usize = 3;
/// How many keys a charge has to open its payment under. Each is used up by a failure that Stripe kept.
const KEYS_MAX: u32 = 3;

/// How to reach Stripe.
#[derive(Clone)]
pub struct StripeSettings {
    /// `sk_…` or `rk_…`.
    pub secret_key: String,
    /// With a slash at its end.
    pub api_base: Url,
    pub api_version: String,
    /// For one request. A call of [`Processor`] takes at most twice that, an attempt to pay three times.
    pub timeout: Duration,
    /// Whether it is on this machine, where no proxy leads to.
    pub is_local: bool,
    /// Whether buyers act in pages that have Stripe's own script, rather than where a link leads them.
    pub has_element: bool,
}

impl fmt::Debug for StripeSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("api_base", &self.api_base.as_str())
            .field("api_version", &self.api_version)
            .finish_non_exhaustive()
    }
}

/// The durable mark that a live payment may have been taken.
#[async_trait]
pub trait LiveMark: fmt::Debug + Send + Sync + 'static {
    /// Sets the mark. Repeating it does nothing.
    ///
    /// # Errors
    /// Why it may not be set; then no payment is opened.
    async fn set(&self) -> Result<(), String>;
}

/// A mark that is set once in a process.
#[derive(Debug)]
struct MarkOnce {
    mark: Box<dyn LiveMark>,
    is_set: OnceCell<()>,
}

/// Stripe. Clones share their connections.
#[derive(Clone)]
pub struct Stripe {
    client: StripeClient,
    /// Of token digests.
    key: [u8; 32],
    clock: Clock,
    timeout: Duration,
    has_element: bool,
    /// In live mode, until it was set once.
    live_mark: Option<Arc<MarkOnce>>,
}

impl fmt::Debug for Stripe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stripe").field("client", &self.client).finish_non_exhaustive()
    }
}

impl Stripe {
    /// `key` makes token digests; the same on all replicas.
    ///
    /// # Errors
    /// One line, if the settings cannot be used. Nothing is sent.
    pub fn new(settings: &StripeSettings, key: [u8; 32], clock: Clock) -> Result<Self, String> {
        Ok(Self {
            client: StripeClient::new(settings)?,
            key,
            clock,
            timeout: settings.timeout,
            has_element: settings.has_element,
            live_mark: None,
        })
    }

    /// Has `mark` set before the first payment is opened.
    pub fn marking(mut self, mark: impl LiveMark) -> Self {
        self.live_mark = Some(Arc::new(MarkOnce { mark: Box::new(mark), is_set: OnceCell::new() }));
        self
    }

    /// A crash after this and before the payment leaves a mark without a payment: such a store asks for a live key once too
    /// often, which is harmless.
    async fn set_live_mark(&self) -> Result<(), ProcessorError> {
        let Some(MarkOnce { mark, is_set }) = self.live_mark.as_deref() else { return Ok(()) };
        is_set.get_or_try_init(|| mark.set()).await.map(drop).map_err(ProcessorError::Unknown)
    }

    /// When a call that begins now has to be over.
    fn deadline(&self) -> Instant {
        Instant::now() + self.timeout * 2
    }

    async fn intent(&self, payment: &PaymentId, by: Instant) -> Result<PaymentIntent, Trouble> {
        self.client.send(&Request::get(Operation::Fetch, format!("payment_intents/{payment}")), by).await
    }

    /// The intent of `charge`.
    async fn intent_of(&self, charge: &Charge, payment: &PaymentId, by: Instant) -> Result<PaymentIntent, ProcessorError> {
        let intent = self.intent(payment, by).await?;
        checked(intent.check(charge), charge, payment)?;
        Ok(intent)
    }

    async fn do_open(&self, charge: &Charge) -> Result<PaymentId, ProcessorError> {
        if let Some(payment) = &charge.stripe_id {
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
            // A version of this program that asks in other words opened it before: it is found by what both call it.
            Err(Trouble::Rejected(rejection)) if rejection.is_key_reused() => {
                let found = self.search(charge, by).await?;
                return found.ok_or_else(|| ProcessorError::Unknown("a payment was opened in other words, and is not found yet".into()));
            }
            Err(trouble) => return Err(trouble.into()),
        };
        let payment = intent.id();
        checked(intent.check(charge), charge, &payment)?;
        failing("stripe::after_open", Some(&payment))?;
        Ok(payment)
    }

    /// Makes the intent, under the first of the charge's keys of which something can come.
    ///
    /// A failure that Stripe kept is answered under its key for a day, so the charge could neither be paid nor given up that
    /// long. The next key always follows the same kept failure, so every caller is led to the same intent; what a failed
    /// creation may have left behind was told to nobody, so nothing is ever held by it. A failure that is not known to be
    /// kept leads nowhere: under the same key an intent may still come of it.
    async fn create(&self, charge: &Charge, by: Instant) -> Result<PaymentIntent, Trouble> {
        let mut number = 1;
        let mut asked_again = false;
        loop {
            match self.client.send(&creation(charge, number), by).await {
                // The first of a failure's answers does not say whether it was kept. The second does.
                Err(Trouble::Broken { is_kept: false, .. }) if !asked_again => asked_again = true,
                Err(Trouble::Broken { is_kept: true, .. }) if number < KEYS_MAX => {
                    number += 1;
                    asked_again = false;
                }
                answer => return answer,
            }
        }
    }

    /// The payment of a charge by its metadata. Stripe's index is behind by a minute, in bad hours by more.
    async fn search(&self, charge: &Charge, by: Instant) -> Result<Option<PaymentId>, ProcessorError> {
        let query = format!("metadata['{}']:'{}'", CHARGE, charge.id);
        let request = Request::get(Operation::Search, "payment_intents/search".into()).with("query", query);
        let found: StripeList<PaymentIntent> = self.client.send(&request, by).await?;
        let ours = found.data.iter().find(|intent| intent.charge() == Some(charge.id));
        let Some(intent) = ours else { return Ok(None) };
        checked(intent.check(charge), charge, &intent.id())?;
        Ok(Some(intent.id()))
    }

    async fn do_fetch(&self, charge: &Charge, payment: &PaymentId) -> Result<PaymentState, ProcessorError> {
        let by = self.deadline();
        let mut intent = self.intent_of(charge, payment, by).await?;
        Ok(match intent.status {
            Status::RequiresPaymentMethod => {
                PaymentState::Open { declined: intent.last_payment_error.as_ref().map(objects::ErrorBody::decline) }
            }
            // Attached and not tried: nothing is held.
            Status::RequiresConfirmation => PaymentState::Open { declined: None },
            Status::RequiresAction => {
                PaymentState::ActionRequired { client_secret: intent.client_secret.take().ok_or_else(without_secret)? }
            }
            Status::RequiresCapture => PaymentState::Authorized,
            Status::Canceled => PaymentState::Voided,
            Status::Succeeded => match self.refunds(payment, by).await?.settled(intent.taken(charge)) {
                Some(refund) => PaymentState::Refunded { refund },
                None => PaymentState::Captured,
            },
            Status::Processing | Status::Other => return Err(undecided(&intent)),
        })
    }

    async fn do_capture(&self, charge: &Charge, payment: &PaymentId) -> Result<(), ProcessorError> {
        let by = self.deadline();
        failing("stripe::before_capture", Some(payment))?;
        let mut key = format!("{}:capture", charge.id);
        let mut rejection = None;
        for _ in 0..TRIES_MAX {
            // Never more than the charge's amount, whatever was authorized.
            let request = Request::post(Operation::Capture, format!("payment_intents/{payment}/capture"), key)
                .with("amount_to_capture", charge.amount.minor().to_string());
            match self.client.send::<PaymentIntent>(&request, by).await {
                Ok(intent) if intent.status == Status::Succeeded => {
                    failing("stripe::after_capture", Some(payment))?;
                    return checked(intent.check_captured(charge), charge, payment);
                }
                Ok(_) | Err(Trouble::Broken { .. }) => {}
                Err(Trouble::Rejected(no)) if !no.is_about_access() => rejection = Some(no),
                Err(trouble) => return Err(trouble.into()),
            }
            // Captured before, voided meanwhile, or not done: the payment itself tells.
            let intent = self.intent_of(charge, payment, by).await?;
            match intent.status {
                Status::Succeeded => {
                    failing("stripe::after_capture", Some(payment))?;
                    checked(intent.check_captured(charge), charge, payment)?;
                    return match self.refunds(payment, by).await?.any() {
                        Some(_) => Err(ChargeFailure::new("payment_refunded", "The payment was refunded before the sale was done.").into()),
                        None => Ok(()),
                    };
                }
                Status::RequiresCapture => key = once_key(charge, "capture"),
                Status::Canceled => return Err(voided().into()),
                Status::Processing | Status::Other => return Err(undecided(&intent)),
                Status::RequiresPaymentMethod | Status::RequiresConfirmation | Status::RequiresAction => {
                    return Err(ChargeFailure::new("not_authorized", "The payment is not authorized any more.").into());
                }
            }
        }
        Err(match rejection {
            Some(rejection) => Trouble::Rejected(rejection).into(),
            None => ProcessorError::Unknown("Stripe does not capture".into()),
        })
    }
}

/// Nothing in it may change while a charge is open: under its key, other words are an error. `number` counts the keys from 1.
fn creation(charge: &Charge, number: u32) -> Request {
    let key = if number == 1 { format!("{}:open", charge.id) } else { format!("{}:open:{number}", charge.id) };
    Request::post(Operation::Open, "payment_intents".into(), key)
        .with("amount", charge.amount.minor().to_string())
        .with("currency", charge.currency.code())
        .with("capture_method", "manual")
        // No payment method that leads the buyer away from the page.
        .with("payment_method_types[0]", "card")
        .with("metadata[charge]", charge.id.to_string())
        .with("metadata[order]", charge.order.to_string())
        .with("metadata[ticket]", charge.ticket.to_string())
}

/// For a step that Stripe failed at under its own key, and did not do.
fn once_key(charge: &Charge, step: &str) -> String {
    format!("{}:{step}:{}", charge.id, Uuid::now_v7())
}

/// A payment that is not its charge's is a fault somewhere that somebody has to look into.
fn checked(found: Result<(), ChargeFailure>, charge: &Charge, payment: &PaymentId) -> Result<(), ProcessorError> {
    found.map_err(|failure| {
        METRICS.payment_mismatches.inc();
        tracing::error!(charge = %charge.id, %payment, "a payment at Stripe is not over its charge's amount and currency, or is another charge's");
        failure.into()
    })
}

fn voided() -> ChargeFailure {
    ChargeFailure::new("payment_intent_canceled", "The authorization was voided or has run out.")
}

fn undecided(intent: &PaymentIntent) -> ProcessorError {
    ProcessorError::Unknown(format!("Stripe is at it still: {:?}", intent.status))
}

fn without_secret() -> ProcessorError {
    ProcessorError::Unknown("Stripe wants the buyer to act, and gives no client secret".into())
}

#[async_trait]
impl Processor for Stripe {
    async fn token_exists(&self, token: &PaymentToken) -> Result<bool, ProcessorError> {
        counted(self.do_knows(token).await, |known| if *known { "ok" } else { "refused" })
    }

    async fn open(&self, charge: &Charge) -> Result<PaymentId, ProcessorError> {
        counted(self.do_open(charge).await, |_| "ok")
    }

    async fn authorize(&self, charge: &Charge, payment: &PaymentId, token: &PaymentToken) -> Result<Authorization, ProcessorError> {
        counted(self.do_authorize(charge, payment, token).await, Authorization::outcome)
    }

    async fn resume(&self, charge: &Charge, payment: &PaymentId) -> Result<Authorization, ProcessorError> {
        counted(self.do_resume(charge, payment).await, Authorization::outcome)
    }

    async fn fetch(&self, charge: &Charge, payment: &PaymentId) -> Result<PaymentState, ProcessorError> {
        counted(self.do_fetch(charge, payment).await, |_| "ok")
    }

    async fn capture(&self, charge: &Charge, payment: &PaymentId) -> Result<(), ProcessorError> {
        counted(self.do_capture(charge, payment).await, |()| "ok")
    }

    async fn reverse(&self, charge: &Charge, payment: &PaymentId) -> Result<Reversal, ProcessorError> {
        counted(self.do_reverse(charge, payment).await, |_| "ok")
    }

    async fn charge_of(&self, payment: &PaymentId) -> Result<Option<ChargeId>, ProcessorError> {
        let found = match self.intent(payment, self.deadline()).await {
            Ok(intent) => Ok(intent.charge()),
            Err(Trouble::Rejected(rejection)) if rejection.is_missing() => Ok(None),
            Err(trouble) => Err(trouble.into()),
        };
        counted(found, |_| "ok")
    }

    fn digest(&self, token: &PaymentToken) -> TokenDigest {
        TokenDigest::new(&keyed(&self.key, "token", token.expose()))
    }

    fn authorize_timeout(&self) -> Duration {
        self.timeout * 3
    }
}
