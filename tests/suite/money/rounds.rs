//! Rounds of a server that dies at a named step of a payment: kill -9 while a request to the processor is held, or the end of
//! the process at a point in its own code. Each is followed by a start, and by an audit once all is settled.
//!
//! All choices come from the seed; what the kernel makes of them does not, so a round that failed keeps its store.

use std::{collections::BTreeMap, fmt, str::FromStr, sync::Arc, time::Duration};

use gittix::domain::{ChargeStatus, Millis, OrderId, OrderStatus, Policy};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::time::{Instant, sleep, timeout};

use super::{
    audit,
    buying::{Buyer, Memory, Way},
    stage::processor,
};
use crate::{
    app::{Backend, Client, TestApp, world::Found},
    fake_stripe::{FakeStripe, Held, Kind, Manner, Odds, Side, Verdict},
};

/// Where the server dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    /// Killed while the processor holds a request: before it was done, or before it is answered.
    At(Side, Kind),
    /// At a failpoint.
    Within(&'static str),
}

/// Every kind of death, and what it is called.
pub const DEATHS: [(&str, Death); 18] = [
    ("before open", Death::At(Side::Before, Kind::Create)),
    ("after open", Death::At(Side::After, Kind::Create)),
    ("before authorize", Death::At(Side::Before, Kind::Confirm)),
    ("after authorize", Death::At(Side::After, Kind::Confirm)),
    ("before claim", Death::Within("settlement::before_claim")),
    ("after claim", Death::Within("settlement::claimed")),
    ("before capture", Death::At(Side::Before, Kind::Capture)),
    ("after capture", Death::At(Side::After, Kind::Capture)),
    ("before final commit", Death::Within("settlement::captured")),
    ("after final commit", Death::Within("settlement::final")),
    ("before webhook", Death::Within("webhook::before_handle")),
    ("webhook handled", Death::Within("webhook::handled")),
    ("after webhook", Death::Within("webhook::recorded")),
    ("before void", Death::At(Side::Before, Kind::Cancel)),
    ("after void", Death::At(Side::After, Kind::Cancel)),
    ("before refund", Death::At(Side::Before, Kind::Refund)),
    ("after refund", Death::At(Side::After, Kind::Refund)),
    ("after reversal", Death::Within("settlement::reversed")),
];

/// Which rounds to run, one after the other on stores of their own.
#[derive(Debug, Clone)]
pub struct Plan {
    pub store: Backend,
    pub seed: u64,
    pub rounds: Vec<u64>,
}

/// What one round came to. As a text: its numbers in their order, for whoever goes on later.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Round {
    pub number: u64,
    /// Whether the server died where it was meant to; else it was killed at rest.
    pub reached: bool,
    pub counts: Counts,
    /// From the start of the server to the end of the last payment.
    pub settled_ms: u64,
}

/// What a store and its ledger have, or got in one round.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Charges.
    pub completed: u64,
    /// Payments of the processor's.
    pub voided: u64,
    pub refunded: u64,
    /// Requests to the processor that something was done to.
    pub faults: u64,
    /// Deliveries that were answered.
    pub webhooks: u64,
}

impl Round {
    /// What the server died of.
    pub fn death(&self) -> &'static str {
        death_of(self.number).0
    }
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { completed, voided, refunded, faults, webhooks } = self.counts;
        let (number, reached, settled) = (self.number, u8::from(self.reached), self.settled_ms);
        write!(f, "{number} {reached} {completed} {voided} {refunded} {faults} {webhooks} {settled}")
    }
}

impl FromStr for Round {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let numbers: Vec<u64> = text.split_whitespace().map(str::parse).collect::<Result<_, _>>().map_err(|_| ())?;
        let [number, reached, completed, voided, refunded, faults, webhooks, settled_ms] = numbers[..] else { return Err(()) };
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

fn death_of(round: u64) -> (&'static str, Death) {
    DEATHS[usize::try_from(round % ROUNDS_PER_STORE).expect("few")]
}

/// How many rounds share one store: as many as there are deaths.
const ROUNDS_PER_STORE: u64 = DEATHS.len() as u64;
/// The point that is died at may be the first of its kind, or one of the next.
const PASSING_MAX: u32 = 2;
const LOAD_MAX: Duration = Duration::from_secs(12);
/// How long a point may be waited for once the load is over: webhooks are late.
const STRAGGLERS_MAX: Duration = Duration::from_secs(2);
/// How long after the start a request of the process before it arrives, if it is late.
const LATE_BY: Duration = Duration::from_millis(300);
/// Until every payment that was interrupted is over.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);

/// The clock of a store's locks.
#[derive(Debug, Clone, Copy)]
struct Lengths {
    window: Millis,
    lock: Millis,
    grace: Millis,
}

/// Locks that end while a payment is interrupted, and locks that outlive the restart.
const LENGTHS: [Lengths; 2] = [
    Lengths { window: Millis(600), lock: Millis(900), grace: Millis(600) },
    Lengths { window: Millis(2_000), lock: Millis(3_500), grace: Millis(1_000) },
];

/// One store, its server, its processor, and those who buy.
struct Scene {
    app: TestApp,
    stripe: Arc<FakeStripe>,
    people: Vec<Client>,
    told: Memory,
    lengths: Lengths,
    /// A request of a server that is gone, which is to arrive when its successor is at work.
    late: Option<Held>,
    counted: Counts,
}

/// Runs the rounds, as long as `goes_on` says so to each that is over.
///
/// # Panics
/// With the seed and the round, if something does not hold.
pub async fn run(plan: &Plan, mut goes_on: impl FnMut(&Round) -> bool) -> Vec<Round> {
    let mut over = Vec::new();
    let mut scene: Option<(u64, Scene)> = None;
    for number in plan.rounds.iter().copied() {
        let store = number / ROUNDS_PER_STORE;
        if scene.as_ref().is_none_or(|(of, _)| *of != store) {
            scene = Some((store, Scene::new(plan, store).await));
        }
        let (_, scene) = scene.as_mut().expect("just made");
        match scene.round(plan.seed.wrapping_add(number), number).await {
            Ok(round) => over.push(round),
            Err(wrong) => {
                scene.app.home.keep();
                let log = scene.app.server.log();
                let tail = &log[log.len().saturating_sub(40)..];
                panic!(
                    "seed {} round {number}: {wrong:#?}; the store is kept in {:?}; the log ends with {tail:#?}",
                    plan.seed, scene.app.home
                );
            }
        }
        if !over.last().is_some_and(&mut goes_on) {
            break;
        }
    }
    // Its database is dropped, which takes its time: other runs go on meanwhile.
    tokio::task::spawn_blocking(move || drop(scene)).await.expect("a store can be removed");
    over
}

impl Scene {
    async fn new(plan: &Plan, number: u64) -> Self {
        let stripe = Arc::new(FakeStripe::start_with(plan.seed ^ number, Odds::bad_day(), 0));
        stripe.deliver(Manner::BAD_DAY);
        let lengths = LENGTHS[usize::try_from(number % 2).expect("0 or 1")];
        let millis = |length: Millis| format!("{}ms", length.0);
        let (window, lock, grace, base) = (millis(lengths.window), millis(lengths.lock), millis(lengths.grace), stripe.base());
        let mut settings = processor(&base).to_vec();
        settings.extend([
            ("GITTIX_PAYMENT_WINDOW", window.as_str()),
            ("GITTIX_LOCK_DURATION", &lock),
            ("GITTIX_SETTLE_GRACE", &grace),
            ("GITTIX_RELOCK_WAIT", "1ms"),
            ("STRIPE_TIMEOUT", "500ms"),
        ]);
        let (app, people) = TestApp::start_with_people(plan.store, &settings, Way::ALL.len() + 1).await;
        Self { app, stripe, people, told: Memory::default(), lengths, late: None, counted: Counts::default() }
    }

    fn policy(&self) -> Policy {
        let Lengths { window, lock, grace } = self.lengths;
        Policy { payment_window: window, lock_duration: lock, settle_grace: grace, relock_wait: Millis(1), ..Policy::default() }
    }

    /// A start, a load, a death; a start, rest, and the audit.
    async fn round(&mut self, seed: u64, number: u64) -> Result<Round, Vec<String>> {
        let mut random = StdRng::seed_from_u64(seed);
        let reached = self.dies(death_of(number).1, &mut random).await;
        let started = Instant::now();
        self.start("").await;
        if let Some(late) = self.late.take() {
            sleep(LATE_BY).await;
            late.let_go(Verdict::Do);
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

    /// Whether the server died where it was meant to.
    async fn dies(&mut self, death: Death, random: &mut StdRng) -> bool {
        let passing = random.random_range(0..=PASSING_MAX);
        let point = match death {
            Death::At(..) => String::new(),
            // Not reached so often: then the first of them.
            Death::Within(point) if passing == 0 => format!("{point}=return"),
            Death::Within(point) => format!("{point}=1*off->return"),
        };
        self.start(&point).await;
        let held = match death {
            Death::At(side, kind) => Some(self.stripe.hold(side, kind, if matches!(kind, Kind::Refund) { 0 } else { passing })),
            Death::Within(_) => None,
        };
        let load = self.load(random).await;
        let over = timeout(LOAD_MAX, load);
        let Some(held) = held else {
            let _ = over.await;
            let gone = timeout(STRAGGLERS_MAX, self.app.server.gone()).await.is_ok();
            self.app.crash();
            return gone;
        };
        let held = tokio::select! {
            held = held => held.ok(),
            _ = async { let _ = over.await; sleep(STRAGGLERS_MAX).await } => None,
        };
        self.app.crash();
        let reached = held.is_some();
        if let Some(held) = held {
            match random.random_range(0..3) {
                0 => held.let_go(Verdict::Forget),
                1 => held.let_go(Verdict::Do),
                _ => self.late = Some(held),
            }
        }
        reached
    }

    /// Everybody buys a ticket of their own; the future ends when all are done, or the server is gone.
    async fn load(&self, random: &mut StdRng) -> impl Future<Output = ()> + Send + use<> {
        let seller = self.people[0].at(&self.app.server);
        let mut buying = Vec::new();
        for (index, way) in Way::ALL.into_iter().enumerate() {
            let Ok(listed) = seller.list_ticket("Row", random.random_range(1..500)).attempt().await else { break };
            let Some(ticket) = listed["id"].as_str().map(str::to_owned) else { break };
            let (number, stripe, told) = (index + 1, Arc::clone(&self.stripe), self.told.clone());
            let (client, grace) = (self.people[number].at(&self.app.server), self.lengths.grace);
            buying.push(tokio::spawn(async move {
                let buyer = Buyer { number, client, stripe: &stripe, told, grace };
                // Its server may die meanwhile: that is what this is about.
                let _ = buyer.buys(&ticket, way).await;
            }));
        }
        async move {
            for buyer in buying {
                buyer.await.expect("no buyer panics");
            }
        }
    }

    /// Until no lock is held and no payment is open.
    async fn settle(&self) -> Result<(), Vec<String>> {
        let deadline = Instant::now() + SETTLED_WITHIN;
        let attempted = std::mem::take(&mut self.told.lock().expect("no holder panics").attempted);
        let guest = self.app.guest();
        while !guest.tickets("?status=Locked&limit=1").await.expect(200).items().is_empty() {
            if Instant::now() > deadline {
                return Err(vec!["locks are left over".into()]);
            }
            sleep(Duration::from_millis(20)).await;
        }
        for (person, order) in attempted {
            let buyer = self.people[person].at(&self.app.server);
            while let Some(open) = self.open_charge(&buyer, &order).await {
                if Instant::now() > deadline {
                    return Err(vec![format!("a charge is left open: {open}")]);
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

    /// Reads the store that no process uses now, and holds it against the ledger.
    async fn audit(&mut self) -> Result<Counts, Vec<String>> {
        let mut found = Found::read(&self.app.home).await;
        let told = self.told.lock().expect("no holder panics");
        let mut wrong = audit::violations(&mut found, &self.stripe, &self.policy(), &told.versions);
        let states: BTreeMap<OrderId, OrderStatus> = found.world.orders.iter().map(|order| (order.id, order.status)).collect();
        let state = |order: &String| order.parse().ok().and_then(|id: OrderId| states.get(&id).copied());
        let lost = told.completed.iter().filter(|order| state(order) != Some(OrderStatus::Completed));
        wrong.extend(lost.map(|order| format!("I5: {order} was paid, and is {:?}", state(order))));
        drop(told);
        let accounts = self.stripe.accounts();
        let count = |count: usize| u64::try_from(count).expect("few");
        let now = Counts {
            completed: count(found.world.charges.iter().filter(|charge| charge.status == ChargeStatus::Completed).count()),
            voided: count(accounts.values().filter(|account| account.voided > 0).count()),
            refunded: count(accounts.values().filter(|account| account.refunded > 0).count()),
            faults: self.stripe.faults(),
            webhooks: count(self.stripe.delivered().len()),
        };
        let before = std::mem::replace(&mut self.counted, now);
        if wrong.is_empty() { Ok(now.since(before)) } else { Err(wrong) }
    }
}
