//! A load of buyers who each pay in a way of their own, and remember what they were told.

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

/// What clients were told.
#[derive(Debug, Default)]
pub struct Told {
    /// Documents, with the greatest version that was shown.
    pub versions: BTreeMap<Uuid, Version>,
    /// Orders that are Completed for ever.
    pub completed: BTreeSet<String>,
    /// Orders that were attempted to be paid, with whoever did.
    pub attempted: Vec<(usize, String)>,
}

/// Shared by all buyers.
pub type Memory = Arc<Mutex<Told>>;

/// How somebody pays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Card,
    Token,
    DeclinedFirst,
    /// Acts, and tells GitTix.
    Confirms,
    /// Acts, and leaves it to the webhook.
    LeavesItToTheWebhook,
    /// Acts, and cancels the order all the same.
    ActsAndCancels,
    /// Their capture is done in time and answered after the lock's grace.
    AnsweredTooLate,
}

impl Way {
    pub const ALL: [Self; 7] = [
        Self::Card,
        Self::Confirms,
        Self::DeclinedFirst,
        Self::ActsAndCancels,
        Self::Token,
        Self::LeavesItToTheWebhook,
        Self::AnsweredTooLate,
    ];
}

/// The server is gone.
#[derive(Debug)]
pub struct Gone;

/// One buyer.
#[derive(Debug)]
pub struct Buyer<'a> {
    pub number: usize,
    pub client: Client,
    pub stripe: &'a FakeStripe,
    pub told: Memory,
    /// From a lock's end until it is given up for good.
    pub grace: Millis,
}

impl Buyer<'_> {
    /// How long a buyer waits for a webhook to do its work. It is no promise: it may never come.
    const WEBHOOK_WITHIN: Duration = Duration::from_millis(800);

    async fn ask(&self, call: Call) -> Result<Answer, Gone> {
        let answer = call.attempt().await.map_err(|_| Gone)?;
        if let (Ok(id), Some(version)) = (Uuid::try_parse(answer["id"].as_str().unwrap_or_default()), answer["version"].as_u64()) {
            self.note(|told| {
                let greatest = told.versions.entry(id).or_default();
                *greatest = version.max(*greatest);
            });
        }
        Ok(answer)
    }

    fn note(&self, note: impl FnOnce(&mut Told)) {
        note(&mut self.told.lock().expect("no holder panics"));
    }

    /// Orders the ticket and pays for it in this way, as far as the server lives.
    ///
    /// # Errors
    /// If it does not live to the end of it.
    pub async fn buys(&self, ticket: &str, way: Way) -> Result<(), Gone> {
        let ordered = self.ask(self.client.place_order(ticket)).await?;
        if ordered.status != 201 {
            return Ok(());
        }
        let order = ordered.id();
        self.note(|told| told.attempted.push((self.number, order.clone())));
        match way {
            Way::Card => self.pays(&order, "pm_card_visa").await,
            Way::Token => self.pays(&order, "tok_visa").await,
            Way::DeclinedFirst => {
                self.pays(&order, "pm_card_visa_chargeDeclined").await?;
                self.pays(&order, "pm_card_mastercard").await
            }
            Way::AnsweredTooLate => {
                let unlocks = Timestamp(millis(&ordered["unlocksAt"]));
                let timing = Timing { done_at: Timestamp(0), answered_at: unlocks + self.grace + Millis(100) };
                self.stripe.time(&order, Kind::Capture, timing);
                self.pays(&order, "pm_card_visa").await
            }
            Way::Confirms | Way::LeavesItToTheWebhook | Way::ActsAndCancels => self.authenticates(&order, way).await,
        }
    }

    async fn pays(&self, order: &str, token: &str) -> Result<(), Gone> {
        let paid = self.ask(self.client.pay(order, token).key(&Uuid::now_v7().to_string())).await?;
        self.completed(order, &paid);
        Ok(())
    }

    async fn authenticates(&self, order: &str, way: Way) -> Result<(), Gone> {
        let waiting = self.ask(self.client.pay(order, "pm_card_authenticationRequired")).await?;
        let Some(intent) = waiting["stripeId"].as_str().filter(|_| waiting.status == 202) else { return Ok(()) };
        // An answer of 202 may also mean that GitTix does not know yet what its processor knows.
        if !self.stripe.try_act(intent, true).await {
            return Ok(());
        }
        match way {
            Way::Confirms => {
                let paid = self.ask(self.client.confirm(&waiting.id())).await?;
                self.completed(order, &paid);
            }
            Way::ActsAndCancels => drop(self.ask(self.client.cancel_order(order)).await?),
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
            self.note(|told| told.completed.extend([order.to_owned()]));
        }
    }
}
