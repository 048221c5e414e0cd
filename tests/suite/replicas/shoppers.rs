//! Clients of the replicas during faults: a load that sends each request to any replica and, if
//! that one does not help, to the next, as clients behind a load balancer do; and timed pairs,
//! whose consecutive purchases measure unavailability.

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
    fleet::{Endpoint, Endpoints},
    load::{RESERVED, Route, SharedRecord},
};
use crate::app::{Answer, Call, Client};

/// Maximum pause between two requests of one user.
const PAUSE_MS_MAX: u64 = 60;
/// Pause before the request is sent to the next replica.
const RETRY_PAUSE: Duration = Duration::from_millis(20);
/// Request timeout of the load. It is long, because the slowest answer is measured with it.
const LOAD_TIMEOUT: Duration = Duration::from_secs(45);
/// Request timeout of the timed pairs, after which they try the next replica.
const PURCHASE_TIMEOUT: Duration = Duration::from_secs(2);

const UNANSWERED: &str = "no answer before the end";

/// Measurements of all clients together.
#[derive(Debug, Clone, Default)]
pub struct Measured {
    /// Longest duration of an answer whose replica was not interrupted meanwhile, and the request.
    pub slowest_answer: (Duration, String),
    /// Number of requests without an answer.
    pub unanswered: u64,
    /// Number of requests that were answered with 503.
    pub unavailable: u64,
    /// Last answers of purchases that did not succeed on any replica.
    pub failed: Vec<String>,
    /// Times at which purchases were completed.
    pub purchases: Vec<Instant>,
}

/// State that all clients of the load share.
#[derive(Debug, Clone, Default)]
pub struct LoadControl {
    measured: Arc<Mutex<Measured>>,
    is_over: Arc<AtomicBool>,
}

impl LoadControl {
    pub fn measured<T>(&self, access: impl FnOnce(&mut Measured) -> T) -> T {
        access(&mut self.measured.lock().expect("no holder panics"))
    }

    /// Ends the load: no client sends a further request.
    pub fn close(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    pub fn is_closed(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }
}

/// Route of one user to any replica that answers.
#[derive(Debug)]
pub struct AnyReplica {
    pub client: Client,
    pub endpoints: Endpoints,
    pub control: LoadControl,
    random: StdRng,
    next: usize,
    timeout: Duration,
    pauses: bool,
}

impl AnyReplica {
    pub fn new(client: Client, endpoints: Endpoints, control: LoadControl, seed: u64) -> Self {
        Self {
            client,
            endpoints,
            control,
            random: StdRng::seed_from_u64(seed),
            next: 0,
            timeout: LOAD_TIMEOUT,
            pauses: true,
        }
    }

    /// Returns a route that tries the next replica after a short timeout and makes no pauses.
    fn with_short_timeout(client: Client, endpoints: Endpoints, control: LoadControl) -> Self {
        Self {
            timeout: PURCHASE_TIMEOUT,
            pauses: false,
            ..Self::new(client, endpoints, control, 0)
        }
    }

    async fn attempt(&self, endpoint: &Endpoint, call: Call) -> Option<Answer> {
        let before = endpoint.interruptions();
        let asked = Instant::now();
        let answered = call.within(self.timeout).attempt().await;
        let took = asked.elapsed();
        let uninterrupted = endpoint.interruptions() == before;
        self.control.measured(|measured| match &answered {
            Ok(answer) => {
                measured.unavailable += u64::from(answer.status == 503);
                if uninterrupted && took > measured.slowest_answer.0 {
                    measured.slowest_answer =
                        (took, format!("{} -> {}", answer.asked, answer.status));
                }
            }
            Err(_) => {
                measured.unanswered += 1;
                // No answer within the whole timeout counts as the slowest answer.
                if uninterrupted && took >= LOAD_TIMEOUT {
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
        if self.pauses {
            sleep(Duration::from_millis(self.random.random_range(0..PAUSE_MS_MAX))).await;
            self.next = self.random.random_range(0..self.endpoints.len());
        }
        while !self.control.is_closed() {
            let endpoint = &self.endpoints[self.next % self.endpoints.len()];
            let answer =
                self.attempt(endpoint, make(&self.client.at_addr(endpoint.addr)).key(&key)).await;
            match answer {
                Some(answer)
                    if answer.status != 503 && answer.code() != "idempotency_in_flight" =>
                {
                    return Some(answer);
                }
                _ => self.next += 1,
            }
            sleep(RETRY_PAUSE).await;
        }
        None
    }
}

/// Seller and buyer who trade tickets that no other client orders.
#[derive(Debug)]
pub struct Pair {
    seller: AnyReplica,
    buyer: AnyReplica,
    number: usize,
    record: SharedRecord,
}

impl Pair {
    /// `number` is the buyer's, by which the orders are looked up afterwards.
    pub fn new(
        [seller, buyer]: [Client; 2],
        number: usize,
        endpoints: Endpoints,
        control: LoadControl,
        record: SharedRecord,
    ) -> Self {
        let with_short_timeout =
            |client| AnyReplica::with_short_timeout(client, endpoints.clone(), control.clone());
        Self {
            seller: with_short_timeout(seller),
            buyer: with_short_timeout(buyer),
            number,
            record,
        }
    }

    /// Makes one purchase after another until the load ends.
    pub async fn trade(mut self) {
        while !self.buyer.control.is_closed() {
            let bought = self.purchase().await;
            let is_over = self.buyer.control.is_closed();
            self.buyer.control.measured(|measured| match bought {
                Ok(_) => measured.purchases.push(Instant::now()),
                Err(_) if is_over => {}
                Err(answer) => measured.failed.push(answer),
            });
        }
    }

    /// Lists, locks and pays a ticket; returns the order's id.
    ///
    /// # Errors
    /// The last answer if the purchase failed, for example because it took longer than the lock.
    pub async fn purchase(&mut self) -> Result<String, String> {
        let ticket =
            created(self.seller.ask(|seller| seller.list_ticket(RESERVED, 20)).await)?.id();
        let ordered = created(self.buyer.ask(|buyer| buyer.place_order(&ticket)).await)?;
        let order = ordered.id();
        self.record.lock().expect("no holder panics").attempted.push((self.number, order.clone()));
        let mut paid =
            self.buyer.ask(|buyer| buyer.pay(&order, "pm_card_visa")).await.ok_or(UNANSWERED)?;
        // A retry on another replica under the same key gets the charge that the first replica is
        // processing. The charge is read again until it is settled.
        while paid["status"] == "Created" {
            sleep(RETRY_PAUSE).await;
            let charge = paid.id();
            paid = self.buyer.ask(|buyer| buyer.charge(&charge)).await.ok_or(UNANSWERED)?;
        }
        let mut record = self.record.lock().expect("no holder panics");
        record.answered(&ordered);
        record.answered(&paid);
        let completed = paid["status"] == "Completed";
        if completed {
            record.completed.extend([order.clone()]);
        }
        if completed { Ok(order) } else { Err(format!("{paid:?}")) }
    }
}

fn created(answer: Option<Answer>) -> Result<Answer, String> {
    let answer = answer.ok_or(UNANSWERED)?;
    if answer.status == 201 { Ok(answer) } else { Err(format!("{answer:?}")) }
}
