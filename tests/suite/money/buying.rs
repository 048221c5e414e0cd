//! A load of buyers that each follow another payment flow and record the answers.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use gittix::domain::{Millis, Timestamp, Version};
use uuid::Uuid;

use crate::{
    app::{Answer, Call, Client, millis},
    fake_stripe::{FakeStripe, Kind, Timing},
};

/// Facts that clients received in all their answers.
#[derive(Debug, Default)]
pub struct ClientRecord {
    /// Greatest version received of each document.
    pub versions: BTreeMap<Uuid, Version>,
    /// Orders that were Completed, which is final.
    pub completed: BTreeSet<String>,
    /// Orders for which a payment was attempted, with the number of the buyer.
    pub attempted: Vec<(usize, String)>,
}

/// Record shared by all buyers.
pub type SharedRecord = Arc<Mutex<ClientRecord>>;

/// Payment flow of a buyer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PaymentFlow {
    Card,
    Token,
    DeclinedFirst,
    /// The buyer authenticates and confirms the charge at GitTix.
    ConfirmedByClient,
    /// The buyer authenticates; the webhook completes the payment.
    ConfirmedByWebhook,
    /// The buyer authenticates and then cancels the order.
    AuthenticatesAndCancels,
    /// The capture is done in time, but answered after the settle grace.
    CaptureAnsweredLate,
}

impl PaymentFlow {
    pub const ALL: [Self; 7] = [
        Self::Card,
        Self::ConfirmedByClient,
        Self::DeclinedFirst,
        Self::AuthenticatesAndCancels,
        Self::Token,
        Self::ConfirmedByWebhook,
        Self::CaptureAnsweredLate,
    ];
}

/// The server has exited.
#[derive(Debug)]
pub struct ServerExited;

/// One buyer.
#[derive(Debug)]
pub struct Buyer<'a> {
    pub number: usize,
    pub client: Client,
    pub stripe: &'a FakeStripe,
    pub record: SharedRecord,
    /// Time from a lock's end until the lock is finally released.
    pub grace: Millis,
}

impl Buyer<'_> {
    /// Time that a buyer waits for the effect of a webhook, which may never arrive.
    const WEBHOOK_WITHIN: Duration = Duration::from_millis(800);

    async fn ask(&self, call: Call) -> Result<Answer, ServerExited> {
        let answer = call.attempt().await.map_err(|_| ServerExited)?;
        if let (Ok(id), Some(version)) =
            (Uuid::try_parse(answer["id"].as_str().unwrap_or_default()), answer["version"].as_u64())
        {
            self.note(|record| {
                let greatest = record.versions.entry(id).or_default();
                *greatest = version.max(*greatest);
            });
        }
        Ok(answer)
    }

    fn note(&self, note: impl FnOnce(&mut ClientRecord)) {
        note(&mut self.record.lock().expect("no holder panics"));
    }

    /// Orders the ticket and pays for it with this flow, as long as the server runs.
    ///
    /// # Errors
    /// If the server exits before the end.
    pub async fn buys(&self, ticket: &str, flow: PaymentFlow) -> Result<(), ServerExited> {
        let ordered = self.ask(self.client.place_order(ticket)).await?;
        if ordered.status != 201 {
            return Ok(());
        }
        let order = ordered.id();
        self.note(|record| record.attempted.push((self.number, order.clone())));
        match flow {
            PaymentFlow::Card => self.pays(&order, "pm_card_visa").await,
            PaymentFlow::Token => self.pays(&order, "tok_visa").await,
            PaymentFlow::DeclinedFirst => {
                self.pays(&order, "pm_card_visa_chargeDeclined").await?;
                self.pays(&order, "pm_card_mastercard").await
            }
            PaymentFlow::CaptureAnsweredLate => {
                let unlocks = Timestamp(millis(&ordered["unlocksAt"]));
                let timing = Timing {
                    done_at: Timestamp(0),
                    answered_at: unlocks + self.grace + Millis(100),
                };
                self.stripe.time(&order, Kind::Capture, timing);
                self.pays(&order, "pm_card_visa").await
            }
            PaymentFlow::ConfirmedByClient
            | PaymentFlow::ConfirmedByWebhook
            | PaymentFlow::AuthenticatesAndCancels => self.authenticates(&order, flow).await,
        }
    }

    async fn pays(&self, order: &str, token: &str) -> Result<(), ServerExited> {
        let paid = self.ask(self.client.pay(order, token).key(&Uuid::now_v7().to_string())).await?;
        self.completed(order, &paid);
        Ok(())
    }

    async fn authenticates(&self, order: &str, flow: PaymentFlow) -> Result<(), ServerExited> {
        let waiting = self.ask(self.client.pay(order, "pm_card_authenticationRequired")).await?;
        let Some(intent) = waiting["stripeId"].as_str().filter(|_| waiting.status == 202) else {
            return Ok(());
        };
        // A 202 may also mean that GitTix does not know the outcome at the processor yet.
        if !self.stripe.try_act(intent, true).await {
            return Ok(());
        }
        match flow {
            PaymentFlow::ConfirmedByClient => {
                let paid = self.ask(self.client.confirm(&waiting.id())).await?;
                self.completed(order, &paid);
            }
            PaymentFlow::AuthenticatesAndCancels => {
                drop(self.ask(self.client.cancel_order(order)).await?)
            }
            _ => {
                let until = tokio::time::Instant::now() + Self::WEBHOOK_WITHIN;
                while tokio::time::Instant::now() < until {
                    let seen = self.ask(self.client.charge(&waiting.id())).await?;
                    self.completed(order, &seen);
                    if seen["status"] != "Created" {
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
        Ok(())
    }

    fn completed(&self, order: &str, paid: &Answer) {
        if matches!(paid.status, 200 | 201) && paid["status"] == "Completed" {
            self.note(|record| record.completed.extend([order.to_owned()]));
        }
    }
}
