//! Rounds of faults under load, and what must be true after them: I1 to I8, nobody who watched missed anything, every
//! answer was bounded, and all of it recovered by itself.
//!
//! Some rounds share one database and one load, so that a fault finds what earlier ones left; after them all comes to rest
//! and is checked. All choices come from the seed; what the kernel makes of them does not.

use std::{collections::BTreeMap, fmt, ops::Range, time::Duration};

use gittix::domain::{Millis, Policy, TicketState, Timestamp};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

use super::{
    faults::{Begun, Fault},
    fleet::{Doors, Fleet},
    load::{Actor, Ledger},
    members::Members,
    network::Network,
    shoppers::{AnyReplica, Floor, Pair},
    watchers::{Last, Watcher},
};
use crate::app::{
    Client, Home, PATIENCE,
    world::{Found, Release, seed_users},
};

/// Which rounds to run.
#[derive(Debug, Clone)]
pub struct Plan {
    pub seed: u64,
    pub rounds: Range<u64>,
    /// How long MongoDB's primary may be silent before another one is elected.
    pub election: Duration,
}

/// What the rounds came to.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    pub rounds: u64,
    pub faults: BTreeMap<Fault, u64>,
    pub requests: u64,
    pub acknowledged: u64,
    pub unavailable: u64,
    pub unanswered: u64,
    pub purchases: usize,
    pub sold: usize,
    pub refunded: usize,
    pub released: usize,
    /// Among the locks that lapsed while at least one replica could write.
    pub release_lag_ms_max: i64,
    pub connections: u64,
    pub resets: u64,
    /// The longest time without a completed purchase, of buyers who ask the next replica after two seconds.
    pub outage_max: Worst,
    /// From the end of a fault until purchases succeeded on every replica.
    pub recovery_max: Worst,
    pub answer_max: Worst,
}

/// The worst of its kind, and when it happened.
#[derive(Debug, Clone, Default)]
pub struct Worst {
    pub millis: u128,
    pub what: String,
}

impl fmt::Display for Worst {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms ({})", self.millis, self.what)
    }
}

/// Counts and figures, in two lines.
impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { requests, unavailable, unanswered, acknowledged, purchases, sold, refunded, released, connections, resets, .. } = self;
        writeln!(
            f,
            "{requests} requests ({unavailable} told to come again, {unanswered} without an answer), {acknowledged} acknowledged changes, \
             {purchases} purchases by the stopwatch, {sold} sold, {refunded} refunded, {released} lapsed; {connections} connections of \
             watchers, {resets} resets"
        )?;
        write!(
            f,
            "  longest without a purchase {}; longest recovery of all replicas {}; slowest answer {}; latest release while a replica could \
             write {} ms",
            self.outage_max, self.recovery_max, self.answer_max, self.release_lag_ms_max
        )
    }
}

impl Worst {
    fn at_least(&mut self, took: Duration, what: impl FnOnce() -> String) {
        if took.as_millis() > self.millis {
            *self = Self { millis: took.as_millis(), what: what() };
        }
    }
}

/// How many rounds share one database.
pub const ROUNDS_PER_LEG: u64 = 5;
const SELLERS: usize = 2;
const BUYERS: usize = 5;
/// Two pairs of seller and buyer, and one who asks each replica whether it has recovered.
const PAIRS: usize = 3;
const WATCHERS: usize = 4;
/// How long a watcher stays with one replica.
const STAY_MS: Range<u64> = 500..4_000;
/// All is well for so long before the next fault.
const CALM_MS: Range<u64> = 200..900;
/// No answer may take longer: a payment is answered after 20 s, finished or not, and what comes before and after it waits
/// for the store for some seconds each.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// The contract: the lock of a replica that is gone is released within 5 s of its time by another.
const RELEASE_LAG_MAX: Millis = Millis(5_000);
/// How long reconciliation may take to end every payment that a fault interrupted.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);

const SETTINGS: [(&str, &str); 4] = [
    ("GITTIX_PAYMENT_WINDOW", "1s"),
    ("GITTIX_LOCK_DURATION", "2s"),
    ("GITTIX_SETTLE_GRACE", "2s"),
    // Nobody waits between locks: waiting is no load.
    ("GITTIX_RELOCK_WAIT", "1ms"),
];

fn policy() -> Policy {
    Policy {
        payment_window: Millis(1_000),
        lock_duration: Millis(2_000),
        settle_grace: Millis(2_000),
        relock_wait: Millis(1),
        ..Policy::default()
    }
}

/// All processes, and the network between them. In this order they go.
pub struct Scene {
    fleet: Fleet,
    members: Members,
    _network: Network,
}

/// What shares one database.
struct Leg {
    home: Home,
    people: Vec<Client>,
    told: Ledger,
    floor: Floor,
    last: Last,
    /// When no replica may have been able to write, by the store's clock: until five seconds after the recovery.
    outages: Vec<(Timestamp, Timestamp)>,
}

/// Runs the rounds one after the other.
///
/// # Panics
/// With the seed and the rounds, if anything that was promised does not hold.
pub async fn run(plan: &Plan, mut done: impl FnMut(&Tally)) -> Tally {
    let mut scene = Scene::new(plan.election).await;
    let mut tally = Tally::default();
    let mut first = plan.rounds.start;
    while first < plan.rounds.end {
        let rounds = first..plan.rounds.end.min(first + ROUNDS_PER_LEG);
        first = rounds.end;
        if let Err(violations) = scene.leg(plan.seed, rounds.clone(), &mut tally).await {
            panic!("seed {} rounds {rounds:?}: {violations:#?}", plan.seed);
        }
        done(&tally);
    }
    tally
}

impl Scene {
    pub async fn new(election: Duration) -> Self {
        let mut network = Network::new();
        let members = Members::start(&mut network, election).await;
        let fleet = Fleet::apart(&mut network);
        Self { fleet, members, _network: network }
    }

    async fn leg(&mut self, seed: u64, rounds: Range<u64>, tally: &mut Tally) -> Result<(), Vec<String>> {
        let mut leg = self.begin().await;
        let mut random = StdRng::seed_from_u64(seed.wrapping_add(rounds.start));
        // First those who have to be told of everything.
        let watchers = leg.watchers(&self.fleet, &mut random).await;
        let load = leg.load(&self.fleet, &mut random);
        let mut violations = Vec::new();
        for round in rounds {
            let fault = Fault::of_round(seed, round);
            violations.extend(self.round(&mut leg, fault, &mut random, tally).await);
            tally.rounds += 1;
        }
        leg.floor.close();
        for actor in load {
            actor.await.expect("nobody of the load panics");
        }
        self.settle(&leg).await;
        let last = leg.people[0].at_addr(self.fleet.doors()[0].addr).sells("The last of all").await;
        leg.last.set(last).expect("it is set once");
        let mut watched = Vec::new();
        for watcher in watchers {
            watched.push(watcher.await.expect("no watcher panics"));
        }
        for number in 0..Fleet::COUNT {
            self.fleet.kill(number);
        }
        let found = Found::read(&leg.home).await;
        violations.extend(leg.check(&found, tally));
        for watcher in &watched {
            tally.connections += watcher.seen().connections;
            tally.resets += watcher.seen().resets;
            violations.extend(watcher.missed(&found));
        }
        if violations.is_empty() { Ok(()) } else { Err(violations) }
    }

    /// A database with people in it, and all replicas on it.
    async fn begin(&mut self) -> Leg {
        let home = Home::on(&self.members.uri());
        let seeded = seed_users(&home, SELLERS + BUYERS + 2 * PAIRS).await;
        self.fleet.start(&home, &SETTINGS).await;
        let people = Client::seeded(self.fleet.doors()[0].addr, seeded).await;
        Leg { home, people, told: Ledger::default(), floor: Floor::default(), last: Last::default(), outages: Vec::new() }
    }

    /// Calm, a fault, its end, and the wait until everything is well again.
    async fn round(&mut self, leg: &mut Leg, fault: Fault, random: &mut StdRng, tally: &mut Tally) -> Vec<String> {
        sleep(Duration::from_millis(random.random_range(CALM_MS))).await;
        let (broken, broken_at) = (Instant::now(), gittix::clock::wall_clock());
        let begun = fault.begin(&mut self.fleet, &mut self.members, random).await;
        sleep(fault.lasts(random)).await;
        let mut violations = self.health(&begun, leg).await;
        begun.end(&mut self.fleet, &mut self.members).await;
        let healed = Instant::now();
        self.members.whole().await;
        self.fleet.all_ready().await;
        for number in 0..Fleet::COUNT {
            if !leg.purchase_at(&self.fleet, number).await {
                violations.push(format!("{fault:?}: no purchase through replica {number} within {PATIENCE:?} of its end"));
            }
        }
        tally.recovery_max.at_least(healed.elapsed(), || format!("{fault:?}"));
        if fault.hits_store() {
            leg.outages.push((broken_at, gittix::clock::wall_clock() + RELEASE_LAG_MAX));
        }
        tally.outage_max.at_least(leg.longest_gap_since(broken), || format!("{fault:?}"));
        *tally.faults.entry(fault).or_default() += 1;
        violations
    }

    /// While something is broken: whoever runs says that it is alive, and who has no store says that it is not ready.
    async fn health(&self, begun: &Begun, leg: &Leg) -> Vec<String> {
        const ANSWERS_WITHIN: Duration = Duration::from_secs(5);
        let cut_off = begun.cut_off(&self.fleet);
        let mut wrong = Vec::new();
        for number in (0..Fleet::COUNT).filter(|number| !begun.is_gone(*number)) {
            let guest = leg.people[0].at_addr(self.fleet.doors()[number].addr);
            let status = async |path: &str| guest.get(path).within(ANSWERS_WITHIN).attempt().await.map(|answer| answer.status).ok();
            let alive = status("/healthz").await;
            if alive != Some(200) {
                wrong.push(format!("{:?}: /healthz of replica {number} answered {alive:?}", begun.fault));
            }
            let ready = status("/readyz").await;
            if cut_off == Some(number) && ready != Some(503) {
                wrong.push(format!("{:?}: /readyz of replica {number}, which has no store, answered {ready:?}", begun.fault));
            }
        }
        wrong
    }

    /// Until no lock is held and no payment is open.
    async fn settle(&self, leg: &Leg) {
        let deadline = Instant::now() + SETTLED_WITHIN;
        let addr = self.fleet.doors()[0].addr;
        let guest = leg.people[0].at_addr(addr);
        while !guest.tickets("?status=Locked&limit=1").await.expect(200).items().is_empty() {
            assert!(Instant::now() < deadline, "locks are left over; the logs: {:#?}", self.fleet.logs());
            sleep(Duration::from_millis(20)).await;
        }
        let attempted = std::mem::take(&mut leg.told.lock().expect("no holder panics").attempted);
        for (person, order) in attempted {
            let buyer = leg.people[person].at_addr(addr);
            while buyer.charges_of(&order).await.expect(200).items().iter().any(|charge| charge["status"] == "Created") {
                assert!(Instant::now() < deadline, "a charge of {order} is left open; the logs: {:#?}", self.fleet.logs());
                sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

impl Leg {
    /// Sellers, buyers, and those who buy by the stopwatch.
    fn load(&self, fleet: &Fleet, random: &mut StdRng) -> Vec<JoinHandle<()>> {
        let mut load = Vec::new();
        for number in 0..SELLERS + BUYERS {
            let route = AnyReplica::new(self.people[number].clone(), fleet.doors(), self.floor.clone(), random.random());
            let actor = Actor { number, route, told: self.told.clone() };
            let seed = random.random();
            load.push(if number < SELLERS { tokio::spawn(actor.sells(seed)) } else { tokio::spawn(actor.buys(seed)) });
        }
        // The last pair asks after recoveries.
        load.extend((0..PAIRS - 1).map(|number| tokio::spawn(self.pair(number, fleet.doors()).trade())));
        load
    }

    fn pair(&self, number: usize, doors: Doors) -> Pair {
        let (seller, buyer) = (SELLERS + BUYERS + 2 * number, SELLERS + BUYERS + 2 * number + 1);
        let both = [self.people[seller].clone(), self.people[buyer].clone()];
        Pair::new(both, buyer, doors, self.floor.clone(), self.told.clone())
    }

    /// Half of them are buyers who are signed in.
    async fn watchers(&self, fleet: &Fleet, random: &mut StdRng) -> Vec<JoinHandle<Watcher>> {
        let mut watching = Vec::new();
        for number in 0..WATCHERS {
            let is_signed_in = number.is_multiple_of(2);
            let client = if is_signed_in { self.people[SELLERS + number].clone() } else { self.people[0].stranger() };
            let watcher = Watcher::new(client, is_signed_in, fleet.doors(), self.last.clone(), random.random(), STAY_MS);
            watching.push(tokio::spawn(watcher.arrive().await.watch()));
        }
        watching
    }

    /// Whether a purchase succeeds through this very replica, sooner or later.
    async fn purchase_at(&self, fleet: &Fleet, number: usize) -> bool {
        let mut pair = self.pair(PAIRS - 1, fleet.only(number));
        let succeeded = async { while pair.purchase().await.is_err() {} };
        timeout(PATIENCE, succeeded).await.is_ok()
    }

    /// The longest time without a completed purchase between `since` and now.
    fn longest_gap_since(&self, since: Instant) -> Duration {
        let now = Instant::now();
        self.floor.measured(|measured| {
            let after = measured.purchases.iter().copied().filter(|at| *at > since);
            let (mut before, mut longest) = (since, Duration::ZERO);
            for at in after.chain([now]) {
                longest = longest.max(at - before);
                before = at;
            }
            longest
        })
    }

    fn check(&self, found: &Found, tally: &mut Tally) -> Vec<String> {
        let told = self.told.lock().expect("no holder panics");
        let mut violations = found.violations(&policy(), RELEASE_LAG_MAX, &told.versions);
        violations.extend(told.forgotten(found));
        let releases = found.releases();
        let excused = |release: &Release| {
            self.outages.iter().any(|(from, to)| release.due + RELEASE_LAG_MAX + policy().settle_grace >= *from && release.at <= *to)
        };
        for release in releases.iter().filter(|release| !excused(release)) {
            tally.release_lag_ms_max = tally.release_lag_ms_max.max(release.lag().0);
            if release.lag().0 > RELEASE_LAG_MAX.0 + policy().settle_grace.0 {
                violations.push(format!("I4: {} was released {} ms after its time", release.ticket, release.lag().0));
            }
        }
        tally.released += releases.len();
        tally.requests += told.requests;
        tally.acknowledged += told.acknowledged;
        tally.sold += found.world.tickets.iter().filter(|ticket| matches!(ticket.state, TicketState::Sold { .. })).count();
        tally.refunded += found.world.payments.iter().filter(|entry| entry.refunded > 0).count();
        self.floor.measured(|measured| {
            let (took, what) = &measured.slowest_answer;
            tally.answer_max.at_least(*took, || what.clone());
            tally.purchases += measured.purchases.len();
            tally.unanswered += measured.unanswered;
            tally.unavailable += measured.unavailable;
            if *took > ANSWER_MAX {
                violations.push(format!("an answer took {took:?}: {what}"));
            }
        });
        violations
    }
}
