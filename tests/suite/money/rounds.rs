//! Rounds in which a server crashes at a named step of a payment: kill -9 while the fake processor
//! holds a request, or an exit at a failpoint. After each crash the server starts again, and the
//! audit runs when all payments are settled.
//!
//! All choices come from the seed; the timing of the kernel does not, so a failed round keeps its
//! store.

use std::{collections::BTreeMap, fmt, str::FromStr, sync::Arc, time::Duration};

use gittix::domain::{ChargeStatus, Millis, OrderId, OrderStatus, Policy};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::time::{Instant, sleep, timeout};

use super::{
    audit,
    buying::{Buyer, PaymentFlow, SharedRecord},
    stage::processor_settings,
};
use crate::{
    app::{Backend, Client, TestApp, world::Found},
    fake_stripe::{FakeStripe, Held, Kind, Manner, Odds, Side, Verdict},
};

/// Place at which the server crashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrashPoint {
    /// Killed while the processor holds a request: before it is done, or before it is answered.
    DuringRequest(Side, Kind),
    /// Exits at a failpoint.
    AtFailpoint(&'static str),
}

/// Every crash point, with its name.
pub const DEATHS: [(&str, CrashPoint); 18] = [
    ("before open", CrashPoint::DuringRequest(Side::Before, Kind::Create)),
    ("after open", CrashPoint::DuringRequest(Side::After, Kind::Create)),
    ("before authorize", CrashPoint::DuringRequest(Side::Before, Kind::Confirm)),
    ("after authorize", CrashPoint::DuringRequest(Side::After, Kind::Confirm)),
    ("before claim", CrashPoint::AtFailpoint("settlement::before_claim")),
    ("after claim", CrashPoint::AtFailpoint("settlement::claimed")),
    ("before capture", CrashPoint::DuringRequest(Side::Before, Kind::Capture)),
    ("after capture", CrashPoint::DuringRequest(Side::After, Kind::Capture)),
    ("before final commit", CrashPoint::AtFailpoint("settlement::captured")),
    ("after final commit", CrashPoint::AtFailpoint("settlement::final")),
    ("before webhook", CrashPoint::AtFailpoint("webhook::before_handle")),
    ("webhook handled", CrashPoint::AtFailpoint("webhook::handled")),
    ("after webhook", CrashPoint::AtFailpoint("webhook::recorded")),
    ("before void", CrashPoint::DuringRequest(Side::Before, Kind::Cancel)),
    ("after void", CrashPoint::DuringRequest(Side::After, Kind::Cancel)),
    ("before refund", CrashPoint::DuringRequest(Side::Before, Kind::Refund)),
    ("after refund", CrashPoint::DuringRequest(Side::After, Kind::Refund)),
    ("after reversal", CrashPoint::AtFailpoint("settlement::reversed")),
];

/// Rounds to run, one after another; each group of rounds has its own store.
#[derive(Debug, Clone)]
pub struct Plan {
    pub store: Backend,
    pub seed: u64,
    pub rounds: Vec<u64>,
}

/// Result of one round. Its text form is its numbers in this order, so that an interrupted run can
/// be continued.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Round {
    pub number: u64,
    /// Whether the server crashed at its crash point; otherwise it was killed after the load.
    pub reached: bool,
    pub counts: Counts,
    /// Time from the start of the server to the end of the last payment.
    pub settled_ms: u64,
}

/// Counts of a store and its ledger, in total or for one round.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Charges.
    pub completed: u64,
    /// Payments in the processor's ledger.
    pub voided: u64,
    pub refunded: u64,
    /// Requests to the processor that a fault affected.
    pub faults: u64,
    /// Deliveries that were answered.
    pub webhooks: u64,
}

impl Round {
    /// Returns the name of the crash point.
    pub fn death(&self) -> &'static str {
        crash_point_of(self.number).0
    }
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { completed, voided, refunded, faults, webhooks } = self.counts;
        let (number, reached, settled) = (self.number, u8::from(self.reached), self.settled_ms);
        write!(
            f,
            "{number} {reached} {completed} {voided} {refunded} {faults} {webhooks} {settled}"
        )
    }
}

impl FromStr for Round {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let numbers: Vec<u64> =
            text.split_whitespace().map(str::parse).collect::<Result<_, _>>().map_err(|_| ())?;
        let [number, reached, completed, voided, refunded, faults, webhooks, settled_ms] =
            numbers[..]
        else {
            return Err(());
        };
        let counts = Counts { completed, voided, refunded, faults, webhooks };
        Ok(Self { number, reached: reached == 1, counts, settled_ms })
    }
}

impl Counts {
    fn since(self, before: Self) -> Self {
        Self {
            completed: self.completed - before.completed,
            voided: self.voided - before.voided,
            refunded: self.refunded - before.refunded,
            faults: self.faults - before.faults,
            webhooks: self.webhooks - before.webhooks,
        }
    }
}

fn crash_point_of(round: u64) -> (&'static str, CrashPoint) {
    DEATHS[usize::try_from(round % ROUNDS_PER_STORE).expect("few")]
}

/// Number of rounds that share one store: one for each crash point.
const ROUNDS_PER_STORE: u64 = DEATHS.len() as u64;
/// Maximum number of times that the crash point is passed before the crash.
const PASSES_MAX: u32 = 2;
const LOAD_MAX: Duration = Duration::from_secs(12);
/// Maximum wait for the crash point after the load has finished: webhooks are late.
const LATE_EVENTS_MAX: Duration = Duration::from_secs(2);
/// Delay after the start until a delayed request of the previous process arrives.
const DELAYED_BY: Duration = Duration::from_millis(300);
/// Maximum time until every interrupted payment is settled.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);

/// Durations of a store's locks.
#[derive(Debug, Clone, Copy)]
struct Lengths {
    window: Millis,
    lock: Millis,
    grace: Millis,
}

/// Locks that end while a payment is interrupted, and locks that are longer than a restart.
const LENGTHS: [Lengths; 2] = [
    Lengths { window: Millis(600), lock: Millis(900), grace: Millis(600) },
    Lengths { window: Millis(2_000), lock: Millis(3_500), grace: Millis(1_000) },
];

/// One store, its server, its processor, and its buyers.
struct Scenario {
    app: TestApp,
    stripe: Arc<FakeStripe>,
    people: Vec<Client>,
    record: SharedRecord,
    lengths: Lengths,
    /// Request of a process that has exited, which is to arrive after the next process has started.
    delayed_request: Option<Held>,
    counted: Counts,
}

/// Runs the rounds as long as `keep_going` returns true for the round that was finished.
///
/// # Panics
/// If a check fails; the message names the seed and the round.
pub async fn run(plan: &Plan, mut keep_going: impl FnMut(&Round) -> bool) -> Vec<Round> {
    let mut finished = Vec::new();
    let mut scenario: Option<(u64, Scenario)> = None;
    for number in plan.rounds.iter().copied() {
        let store = number / ROUNDS_PER_STORE;
        if scenario.as_ref().is_none_or(|(of, _)| *of != store) {
            scenario = Some((store, Scenario::new(plan, store).await));
        }
        let (_, scenario) = scenario.as_mut().expect("the scenario was created above");
        match scenario.round(plan.seed.wrapping_add(number), number).await {
            Ok(round) => finished.push(round),
            Err(violations) => {
                scenario.app.home.keep();
                let log = scenario.app.server.log();
                let tail = &log[log.len().saturating_sub(40)..];
                panic!(
                    "seed {} round {number}: {violations:#?}; the store is kept in {:?}; the log ends with {tail:#?}",
                    plan.seed, scenario.app.home
                );
            }
        }
        if !finished.last().is_some_and(&mut keep_going) {
            break;
        }
    }
    // Dropping the database takes time; a blocking thread lets other runs proceed.
    tokio::task::spawn_blocking(move || drop(scenario)).await.expect("a store can be removed");
    finished
}

impl Scenario {
    async fn new(plan: &Plan, number: u64) -> Self {
        let stripe = Arc::new(FakeStripe::start_with(plan.seed ^ number, Odds::bad_day(), 0));
        stripe.deliver(Manner::BAD_DAY);
        let lengths = LENGTHS[usize::try_from(number % 2).expect("0 or 1")];
        let millis = |length: Millis| format!("{}ms", length.0);
        let (window, lock, grace, base) =
            (millis(lengths.window), millis(lengths.lock), millis(lengths.grace), stripe.base());
        let mut settings = processor_settings(&base).to_vec();
        settings.extend([
            ("GITTIX_PAYMENT_WINDOW", window.as_str()),
            ("GITTIX_LOCK_DURATION", &lock),
            ("GITTIX_SETTLE_GRACE", &grace),
            ("GITTIX_RELOCK_WAIT", "1ms"),
            ("STRIPE_TIMEOUT", "500ms"),
        ]);
        let (app, people) =
            TestApp::start_with_people(plan.store, &settings, PaymentFlow::ALL.len() + 1).await;
        Self {
            app,
            stripe,
            people,
            record: SharedRecord::default(),
            lengths,
            delayed_request: None,
            counted: Counts::default(),
        }
    }

    fn policy(&self) -> Policy {
        let Lengths { window, lock, grace } = self.lengths;
        Policy {
            payment_window: window,
            lock_duration: lock,
            settle_grace: grace,
            relock_wait: Millis(1),
            ..Policy::default()
        }
    }

    /// Starts the server, runs the load until the crash; starts again, waits until all is settled,
    /// and audits.
    async fn round(&mut self, seed: u64, number: u64) -> Result<Round, Vec<String>> {
        let mut random = StdRng::seed_from_u64(seed);
        let reached = self.run_until_crash(crash_point_of(number).1, &mut random).await;
        let started = Instant::now();
        self.start("").await;
        if let Some(delayed_request) = self.delayed_request.take() {
            sleep(DELAYED_BY).await;
            delayed_request.let_go(Verdict::Do);
        }
        self.settle().await?;
        let settled_ms = u64::try_from(started.elapsed().as_millis()).expect("seconds");
        self.app.crash();
        let counts = self.audit().await?;
        Ok(Round { number, reached, counts, settled_ms })
    }

    async fn start(&mut self, failpoints: &str) {
        self.app.set("FAILPOINTS", failpoints);
        self.app.restart().await;
        self.stripe.deliver_to(self.app.server.addr);
    }

    /// Runs the load until the crash; returns whether the server crashed at its crash point.
    async fn run_until_crash(&mut self, death: CrashPoint, random: &mut StdRng) -> bool {
        let passes = random.random_range(0..=PASSES_MAX);
        let point = match death {
            CrashPoint::DuringRequest(..) => String::new(),
            // Few requests reach a failpoint, so it is passed at most once.
            CrashPoint::AtFailpoint(point) if passes == 0 => format!("{point}=return"),
            CrashPoint::AtFailpoint(point) => format!("{point}=1*off->return"),
        };
        self.start(&point).await;
        let held = match death {
            CrashPoint::DuringRequest(side, kind) => Some(self.stripe.hold(
                side,
                kind,
                if matches!(kind, Kind::Refund) { 0 } else { passes },
            )),
            CrashPoint::AtFailpoint(_) => None,
        };
        let load = self.load(random).await;
        let load_end = timeout(LOAD_MAX, load);
        let Some(held) = held else {
            let _ = load_end.await;
            let gone = timeout(LATE_EVENTS_MAX, self.app.server.gone()).await.is_ok();
            self.app.crash();
            return gone;
        };
        let held = tokio::select! {
            held = held => held.ok(),
            _ = async { let _ = load_end.await; sleep(LATE_EVENTS_MAX).await } => None,
        };
        self.app.crash();
        let reached = held.is_some();
        if let Some(held) = held {
            match random.random_range(0..3) {
                0 => held.let_go(Verdict::Forget),
                1 => held.let_go(Verdict::Do),
                _ => self.delayed_request = Some(held),
            }
        }
        reached
    }

    /// Each buyer buys another ticket; the future completes when all are finished, or when the
    /// server has exited.
    async fn load(&self, random: &mut StdRng) -> impl Future<Output = ()> + Send + use<> {
        let seller = self.people[0].at(&self.app.server);
        let mut buying = Vec::new();
        for (index, flow) in PaymentFlow::ALL.into_iter().enumerate() {
            let Ok(listed) = seller.list_ticket("Row", random.random_range(1..500)).attempt().await
            else {
                break;
            };
            let Some(ticket) = listed["id"].as_str().map(str::to_owned) else { break };
            let (number, stripe, record) =
                (index + 1, Arc::clone(&self.stripe), self.record.clone());
            let (client, grace) = (self.people[number].at(&self.app.server), self.lengths.grace);
            buying.push(tokio::spawn(async move {
                let buyer = Buyer { number, client, stripe: &stripe, record, grace };
                // The server may crash meanwhile, which is the subject of this test.
                let _ = buyer.buys(&ticket, flow).await;
            }));
        }
        async move {
            for buyer in buying {
                buyer.await.expect("no buyer panics");
            }
        }
    }

    /// Waits until no ticket is locked and no payment is open.
    async fn settle(&self) -> Result<(), Vec<String>> {
        let deadline = Instant::now() + SETTLED_WITHIN;
        let attempted =
            std::mem::take(&mut self.record.lock().expect("no holder panics").attempted);
        let guest = self.app.guest();
        while !guest.tickets("?status=Locked&limit=1").await.expect(200).items().is_empty() {
            if Instant::now() > deadline {
                return Err(vec!["locks remain".into()]);
            }
            sleep(Duration::from_millis(20)).await;
        }
        for (person, order) in attempted {
            let buyer = self.people[person].at(&self.app.server);
            while let Some(open) = self.open_charge(&buyer, &order).await {
                if Instant::now() > deadline {
                    return Err(vec![format!("a charge remains open: {open}")]);
                }
                sleep(Duration::from_millis(20)).await;
            }
        }
        Ok(())
    }

    async fn open_charge(&self, buyer: &Client, order: &str) -> Option<String> {
        let charges = buyer.charges_of(order).await.expect(200);
        charges.items().iter().find(|charge| charge["status"] == "Created").map(ToString::to_string)
    }

    /// Reads the store, which no process uses now, and compares it with the ledger.
    async fn audit(&mut self) -> Result<Counts, Vec<String>> {
        let mut found = Found::read(&self.app.home).await;
        let record = self.record.lock().expect("no holder panics");
        let mut violations =
            audit::violations(&mut found, &self.stripe, &self.policy(), &record.versions);
        let states: BTreeMap<OrderId, OrderStatus> =
            found.world.orders.iter().map(|order| (order.id, order.status())).collect();
        let state =
            |order: &String| order.parse().ok().and_then(|id: OrderId| states.get(&id).copied());
        let lost =
            record.completed.iter().filter(|order| state(order) != Some(OrderStatus::Completed));
        violations.extend(
            lost.map(|order| {
                format!("I5: {order} was answered as paid, but is {:?}", state(order))
            }),
        );
        drop(record);
        let accounts = self.stripe.accounts();
        let count = |count: usize| u64::try_from(count).expect("few");
        let now = Counts {
            completed: count(
                found
                    .world
                    .charges
                    .iter()
                    .filter(|charge| charge.status() == ChargeStatus::Completed)
                    .count(),
            ),
            voided: count(accounts.values().filter(|account| account.voided > 0).count()),
            refunded: count(accounts.values().filter(|account| account.refunded > 0).count()),
            faults: self.stripe.faults(),
            webhooks: count(self.stripe.delivered().len()),
        };
        let before = std::mem::replace(&mut self.counted, now);
        if violations.is_empty() { Ok(now.since(before)) } else { Err(violations) }
    }
}
