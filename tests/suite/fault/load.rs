//! A load that does everything at once: sellers, buyers who pay, are declined, authenticate, cancel or let their lock lapse.
//! It remembers what it was told, so that a checker can ask for it afterwards.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use gittix::domain::Version;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use uuid::Uuid;

use crate::app::{Answer, Client};

/// What clients were told, by all their answers.
#[derive(Debug, Default)]
pub struct Told {
    /// Tickets and orders, with the greatest version that was shown.
    pub versions: BTreeMap<Uuid, Version>,
    /// Orders that are Completed for ever.
    pub completed: BTreeSet<String>,
    /// Orders that are Cancelled for ever.
    pub cancelled: BTreeSet<String>,
    /// Tickets that were taken off sale.
    pub deleted: BTreeSet<String>,
    /// Orders for which a payment was attempted, answered or not, with whoever did.
    pub attempted: Vec<(usize, String)>,
    pub requests: u64,
    pub acknowledged: u64,
}

/// Shared by everybody who makes up the load.
pub type Ledger = Arc<Mutex<Told>>;

impl Told {
    fn answered(&mut self, answer: &Answer) {
        self.requests += 1;
        let changed = matches!(answer.status, 200..=204) && !answer.asked.starts_with("GET ");
        self.acknowledged += u64::from(changed);
        if let (Ok(id), Some(version)) = (Uuid::try_parse(answer["id"].as_str().unwrap_or_default()), answer["version"].as_u64()) {
            let greatest = self.versions.entry(id).or_default();
            *greatest = version.max(*greatest);
        }
    }
}

/// One person of the load.
#[derive(Debug, Clone)]
pub struct Actor {
    pub number: usize,
    pub client: Client,
    pub told: Ledger,
}

/// The server is gone.
#[derive(Debug)]
struct Gone;

impl Actor {
    async fn ask(&self, call: crate::app::Call) -> Result<Answer, Gone> {
        let answer = call.attempt().await.map_err(|_| Gone)?;
        self.told.lock().expect("no holder panics").answered(&answer);
        Ok(answer)
    }

    fn note(&self, note: impl FnOnce(&mut Told)) {
        note(&mut self.told.lock().expect("no holder panics"));
    }

    /// Lists, edits and delists until the server is gone.
    pub async fn sells(self, seed: u64) {
        let mut random = StdRng::seed_from_u64(seed);
        while self.sell_once(&mut random).await.is_ok() {}
    }

    /// Orders whatever is there until the server is gone.
    pub async fn buys(self, seed: u64) {
        let mut random = StdRng::seed_from_u64(seed);
        while self.buy_once(&mut random).await.is_ok() {}
    }

    async fn sell_once(&self, random: &mut StdRng) -> Result<(), Gone> {
        let listed = self.ask(self.client.list_ticket("Row", random.random_range(1..500)).key(&Uuid::now_v7().to_string())).await?;
        if listed.status != 201 {
            return Ok(());
        }
        let ticket = listed.id();
        match random.random_range(0..10) {
            0 => drop(self.ask(self.client.edit_ticket(&ticket, "Better row", random.random_range(1..500))).await?),
            1 => {
                let gone = self.ask(self.client.delist_ticket(&ticket)).await?;
                if gone.status == 204 {
                    self.note(|told| told.deleted.extend([ticket]));
                }
            }
            _ => {}
        }
        Ok(())
    }

    async fn buy_once(&self, random: &mut StdRng) -> Result<(), Gone> {
        let found = self.ask(self.client.tickets("?status=Available&limit=8")).await?;
        let count = found.body.as_array().map_or(0, Vec::len);
        if count == 0 {
            return Ok(());
        }
        let ticket = found.body[random.random_range(0..count)]["id"].as_str().unwrap_or_default().to_owned();
        let ordered = self.ask(self.client.place_order(&ticket).key(&Uuid::now_v7().to_string())).await?;
        if ordered.status != 201 {
            return Ok(());
        }
        let order = ordered.id();
        match random.random_range(0..10) {
            0..=4 => self.pay(&order, "pm_card_visa").await,
            5 => {
                self.pay(&order, "pm_card_chargeDeclined").await?;
                self.pay(&order, "tok_visa").await
            }
            6 => self.authenticate(&order, random.random_bool(0.7)).await,
            7 => {
                let gone = self.ask(self.client.cancel_order(&order)).await?;
                if gone.status == 204 {
                    self.note(|told| told.cancelled.extend([order]));
                }
                Ok(())
            }
            // The lock lapses by itself.
            _ => Ok(()),
        }
    }

    async fn pay(&self, order: &str, token: &str) -> Result<(), Gone> {
        self.note(|told| told.attempted.push((self.number, order.to_owned())));
        let paid = self.ask(self.client.pay(order, token).key(&Uuid::now_v7().to_string())).await?;
        self.completed(order, &paid);
        Ok(())
    }

    async fn authenticate(&self, order: &str, confirms: bool) -> Result<(), Gone> {
        self.note(|told| told.attempted.push((self.number, order.to_owned())));
        let waiting = self.ask(self.client.pay(order, "pm_card_authenticationRequired")).await?;
        if waiting.status == 202 && confirms {
            let paid = self.ask(self.client.confirm(&waiting.id())).await?;
            self.completed(order, &paid);
        }
        Ok(())
    }

    fn completed(&self, order: &str, paid: &Answer) {
        if matches!(paid.status, 200 | 201) && paid["status"] == "Completed" {
            self.note(|told| told.completed.extend([order.to_owned()]));
        }
    }
}
