//! A load with all kinds of requests at once: sellers, and buyers who pay, are declined,
//! authenticate, cancel or let their lock expire. The clients record all answers, so that a checker
//! can compare them with the store.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    sync::{Arc, Mutex},
};

use gittix::domain::{OrderId, OrderStatus, Ticket, Version};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use uuid::Uuid;

use crate::app::{Answer, Call, Client, world::Found};

/// Facts that clients received in all their answers.
#[derive(Debug, Default)]
pub struct ClientRecord {
    /// Greatest version received of each ticket and order.
    pub versions: BTreeMap<Uuid, Version>,
    /// Orders that were Completed, which is final.
    pub completed: BTreeSet<String>,
    /// Orders that were Cancelled, which is final.
    pub cancelled: BTreeSet<String>,
    /// Tickets that were delisted.
    pub deleted: BTreeSet<String>,
    /// Orders for which a payment was attempted, answered or not, with the number of the buyer.
    pub attempted: Vec<(usize, String)>,
    pub requests: u64,
    pub acknowledged: u64,
}

/// Returns whether a payment of the order is not finished yet.
pub async fn has_open_charge(buyer: &Client, order: &str) -> bool {
    let charges = buyer.charges_of(order).await.expect(200);
    charges.items().iter().any(|charge| charge["status"] == "Created")
}

/// Record shared by all clients of the load.
pub type SharedRecord = Arc<Mutex<ClientRecord>>;

impl ClientRecord {
    pub fn answered(&mut self, answer: &Answer) {
        self.requests += 1;
        let changed = matches!(answer.status, 200..=204) && !answer.asked.starts_with("GET ");
        self.acknowledged += u64::from(changed);
        if let (Ok(id), Some(version)) =
            (Uuid::try_parse(answer["id"].as_str().unwrap_or_default()), answer["version"].as_u64())
        {
            let greatest = self.versions.entry(id).or_default();
            *greatest = version.max(*greatest);
        }
    }
}

impl ClientRecord {
    /// Returns the final outcomes that the store does not contain (I5).
    pub fn lost_outcomes(&self, found: &Found) -> Vec<String> {
        let states: BTreeMap<OrderId, OrderStatus> =
            found.world.orders.iter().map(|order| (order.id, order.status())).collect();
        let state =
            |order: &String| order.parse().ok().and_then(|id: OrderId| states.get(&id).copied());
        let completed =
            self.completed.iter().filter(|order| state(order) != Some(OrderStatus::Completed));
        let cancelled =
            self.cancelled.iter().filter(|order| state(order) != Some(OrderStatus::Cancelled));
        let deleted = self.deleted.iter().filter(|ticket| {
            let ticket =
                found.world.tickets.iter().find(|stored| stored.id.to_string() == **ticket);
            !ticket.is_some_and(Ticket::is_deleted)
        });
        let what = completed
            .map(|id| (id, "was paid"))
            .chain(cancelled.map(|id| (id, "was cancelled")))
            .chain(deleted.map(|id| (id, "was delisted")));
        what.map(|(id, what)| format!("I5: {id} {what}, and is {:?}", state(id))).collect()
    }
}

/// Way of a request to a server.
pub trait Route: Send {
    /// Sends the request that `make` builds and returns the answer, or `None` when no server is
    /// left. `make` is called again for each attempt; all attempts have one Idempotency-Key.
    fn ask(
        &mut self,
        make: impl Fn(&Client) -> Call + Send + Sync,
    ) -> impl Future<Output = Option<Answer>> + Send;
}

/// Sends each request once, to the only server.
#[derive(Debug, Clone)]
pub struct SingleServer(pub Client);

impl Route for SingleServer {
    async fn ask(&mut self, make: impl Fn(&Client) -> Call + Send + Sync) -> Option<Answer> {
        make(&self.0).key(&Uuid::now_v7().to_string()).attempt().await.ok()
    }
}

/// One client of the load.
#[derive(Debug, Clone)]
pub struct LoadClient<R> {
    pub number: usize,
    pub route: R,
    pub record: SharedRecord,
}

/// No server is left that answers.
#[derive(Debug)]
struct NoServer;

/// Title of tickets that the buyers of the load never order; other checks rely on them.
pub const RESERVED: &str = "Reserved";

impl<R: Route> LoadClient<R> {
    async fn ask(
        &mut self,
        make: impl Fn(&Client) -> Call + Send + Sync,
    ) -> Result<Answer, NoServer> {
        let answer = self.route.ask(make).await.ok_or(NoServer)?;
        self.record.lock().expect("no holder panics").answered(&answer);
        Ok(answer)
    }

    fn note(&self, note: impl FnOnce(&mut ClientRecord)) {
        note(&mut self.record.lock().expect("no holder panics"));
    }

    /// Lists, edits and delists until no server answers.
    pub async fn sells(mut self, seed: u64) {
        let mut random = StdRng::seed_from_u64(seed);
        while self.sell_once(&mut random).await.is_ok() {}
    }

    /// Orders available tickets until no server answers.
    pub async fn buys(mut self, seed: u64) {
        let mut random = StdRng::seed_from_u64(seed);
        while self.buy_once(&mut random).await.is_ok() {}
    }

    async fn sell_once(&mut self, random: &mut StdRng) -> Result<(), NoServer> {
        let (price, better) = (random.random_range(1..500), random.random_range(1..500));
        let listed = self.ask(|seller| seller.list_ticket("Row", price)).await?;
        if listed.status != 201 {
            return Ok(());
        }
        let ticket = listed.id();
        match random.random_range(0..10) {
            0 => drop(self.ask(|seller| seller.edit_ticket(&ticket, "Better row", better)).await?),
            1 => {
                let gone = self.ask(|seller| seller.delist_ticket(&ticket)).await?;
                if gone.status == 204 {
                    self.note(|record| record.deleted.extend([ticket]));
                }
            }
            _ => {}
        }
        Ok(())
    }

    async fn buy_once(&mut self, random: &mut StdRng) -> Result<(), NoServer> {
        let found = self.ask(|buyer| buyer.tickets("?status=Available&limit=8")).await?;
        let none = Vec::new();
        let on_sale: Vec<_> = found
            .body
            .as_array()
            .unwrap_or(&none)
            .iter()
            .filter(|ticket| ticket["title"] != RESERVED)
            .collect();
        if on_sale.is_empty() {
            return Ok(());
        }
        let ticket = on_sale[random.random_range(0..on_sale.len())]["id"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let ordered = self.ask(|buyer| buyer.place_order(&ticket)).await?;
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
                let gone = self.ask(|buyer| buyer.cancel_order(&order)).await?;
                if gone.status == 204 {
                    self.note(|record| record.cancelled.extend([order]));
                }
                Ok(())
            }
            // The lock expires without a further request.
            _ => Ok(()),
        }
    }

    async fn pay(&mut self, order: &str, token: &str) -> Result<(), NoServer> {
        self.note(|record| record.attempted.push((self.number, order.to_owned())));
        let paid = self.ask(|buyer| buyer.pay(order, token)).await?;
        self.completed(order, &paid);
        Ok(())
    }

    async fn authenticate(&mut self, order: &str, confirms: bool) -> Result<(), NoServer> {
        self.note(|record| record.attempted.push((self.number, order.to_owned())));
        let waiting = self.ask(|buyer| buyer.pay(order, "pm_card_authenticationRequired")).await?;
        if waiting.status == 202 && confirms {
            let charge = waiting.id();
            let paid = self.ask(|buyer| buyer.confirm(&charge)).await?;
            self.completed(order, &paid);
        }
        Ok(())
    }

    fn completed(&self, order: &str, paid: &Answer) {
        if matches!(paid.status, 200 | 201) && paid["status"] == "Completed" {
            self.note(|record| record.completed.extend([order.to_owned()]));
        }
    }
}
