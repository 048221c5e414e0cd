//! Who uses the replicas while things break: a load that asks any replica and, when one does not help, the next, as people
//! behind a load balancer do; and purchases one after the other, by which unavailability is measured.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::{
    fleet::{Doors, WebhookVerifier},
    load::{Ledger, RESERVED, Route},
};
use crate::app::{Answer, Call, Client};

/// Between two requests of one person.
const THINKS_MS_MAX: u64 = 60;
/// Before the next replica is asked.
const MOVES_ON_AFTER: Duration = Duration::from_millis(20);
/// The load waits for as long as it takes: this is what the slowest answer is measured with.
const LOAD_PATIENCE: Duration = Duration::from_secs(45);
/// Who buys by the stopwatch asks the next replica after this long.
const PURCHASE_PATIENCE: Duration = Duration::from_secs(2);

const UNANSWERED: &str = "no answer before the end";

/// What is measured, by all together.
#[derive(Debug, Clone, Default)]
pub struct Measured {
    /// The longest that an answer took whose replica was neither killed nor stopped meanwhile, and what was asked.
    pub slowest_answer: (Duration, String),
    /// Requests that got none.
    pub unanswered: u64,
    /// Requests that were told to try again.
    pub unavailable: u64,
    /// The answers at which purchases ended that were begun and did not succeed, whoever was asked again.
    pub failed: Vec<String>,
    /// When purchases were completed.
    pub purchases: Vec<Instant>,
}

/// What all who make up the load share.
#[derive(Debug, Clone, Default)]
pub struct Floor {
    measured: Arc<Mutex<Measured>>,
    is_over: Arc<AtomicBool>,
}

impl Floor {
    pub fn measured<T>(&self, look: impl FnOnce(&mut Measured) -> T) -> T {
        look(&mut self.measured.lock().expect("no holder panics"))
    }

    /// Nobody asks for anything more.
    pub fn close(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    pub fn is_closed(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }
}

/// A person's way to whichever replica helps.
#[derive(Debug)]
pub struct AnyReplica {
    pub client: Client,
    pub doors: Doors,
    pub floor: Floor,
    random: StdRng,
    next: usize,
    patience: Duration,
    thinks: bool,
}

impl AnyReplica {
    pub fn new(client: Client, doors: Doors, floor: Floor, seed: u64) -> Self {
        Self { client, doors, floor, random: StdRng::seed_from_u64(seed), next: 0, patience: LOAD_PATIENCE, thinks: true }
    }

    /// Asks the next replica soon, and never rests.
    fn hurried(client: Client, doors: Doors, floor: Floor) -> Self {
        Self { patience: PURCHASE_PATIENCE, thinks: false, ..Self::new(client, doors, floor, 0) }
    }

    async fn attempt(&self, door: &WebhookVerifier, call: Call) -> Option<Answer> {
        let before = door.disturbances();
        let asked = Instant::now();
        let answered = call.within(self.patience).attempt().await;
        let took = asked.elapsed();
        let undisturbed = door.disturbances() == before;
        self.floor.measured(|measured| match &answered {
            Ok(answer) => {
                measured.unavailable += u64::from(answer.status == 503);
                if undisturbed && took > measured.slowest_answer.0 {
                    measured.slowest_answer = (took, format!("{} -> {}", answer.asked, answer.status));
                }
            }
            Err(_) => {
                measured.unanswered += 1;
                // No answer within all that patience is the slowest of all.
                if undisturbed && took >= LOAD_PATIENCE {
                    measured.slowest_answer = (took, "no answer at all".into());
                }
            }
        });
        answered.ok()
    }
}

impl Route for AnyReplica {
    async fn ask(&mut self, make: impl Fn(&Client) -> Call + Send + Sync) -> Option<Answer> {
        let key = Uuid::now_v7().to_string();
        if self.thinks {
            sleep(Duration::from_millis(self.random.random_range(0..THINKS_MS_MAX))).await;
            self.next = self.random.random_range(0..self.doors.len());
        }
        while !self.floor.is_closed() {
            let door = &self.doors[self.next % self.doors.len()];
            let answer = self.attempt(door, make(&self.client.at_addr(door.addr)).key(&key)).await;
            match answer {
                Some(answer) if answer.status != 503 && answer.code() != "idempotency_in_flight" => return Some(answer),
                _ => self.next += 1,
            }
            sleep(MOVES_ON_AFTER).await;
        }
        None
    }
}

/// A seller and a buyer who make purchases of tickets that nobody else wants.
#[derive(Debug)]
pub struct Pair {
    seller: AnyReplica,
    buyer: AnyReplica,
    number: usize,
    told: Ledger,
}

impl Pair {
    /// `number` is the buyer's, by which their orders are looked up afterwards.
    pub fn new([seller, buyer]: [Client; 2], number: usize, doors: Doors, floor: Floor, told: Ledger) -> Self {
        let hurried = |client| AnyReplica::hurried(client, doors.clone(), floor.clone());
        Self { seller: hurried(seller), buyer: hurried(buyer), number, told }
    }

    /// One purchase after the other until the floor is closed.
    pub async fn trade(mut self) {
        while !self.buyer.floor.is_closed() {
            let bought = self.purchase().await;
            let is_over = self.buyer.floor.is_closed();
            self.buyer.floor.measured(|measured| match bought {
                Ok(_) => measured.purchases.push(Instant::now()),
                Err(_) if is_over => {}
                Err(answer) => measured.failed.push(answer),
            });
        }
    }

    /// A ticket is listed, locked and paid; the last answer if that did not work, for example because it took longer than the
    /// lock.
    pub async fn purchase(&mut self) -> Result<String, String> {
        let ticket = created(self.seller.ask(|seller| seller.list_ticket(RESERVED, 20)).await)?.id();
        let ordered = created(self.buyer.ask(|buyer| buyer.place_order(&ticket)).await)?;
        let order = ordered.id();
        self.told.lock().expect("no holder panics").attempted.push((self.number, order.clone()));
        let mut paid = self.buyer.ask(|buyer| buyer.pay(&order, "pm_card_visa")).await.ok_or(UNANSWERED)?;
        // Who asks another replica under the same key is shown the charge that the first has in hand, and looks again.
        while paid["status"] == "Created" {
            sleep(MOVES_ON_AFTER).await;
            let charge = paid.id();
            paid = self.buyer.ask(|buyer| buyer.charge(&charge)).await.ok_or(UNANSWERED)?;
        }
        let mut told = self.told.lock().expect("no holder panics");
        told.answered(&ordered);
        told.answered(&paid);
        let completed = paid["status"] == "Completed";
        if completed {
            told.completed.extend([order.clone()]);
        }
        if completed { Ok(order) } else { Err(format!("{paid:?}")) }
    }
}

fn created(answer: Option<Answer>) -> Result<Answer, String> {
    let answer = answer.ok_or(UNANSWERED)?;
    if answer.status == 201 { Ok(answer) } else { Err(format!("{answer:?}")) }
}
