//! Rounds of faults under load. After them I1 to I8 must hold, no watcher may have missed an event,
//! every answer must have been within its bound, and all processes must have recovered without
//! help.
//!
//! Several rounds share one database and one load, so that a fault meets the remains of earlier
//! ones; then the load stops and the store is checked. All choices come from the seed; the timing
//! of the kernel does not.

use std::{ops::Range, time::Duration};

use gittix::domain::{Millis, Policy, TicketState, Timestamp};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

use super::{
    faults::{ActiveFault, Fault},
    fleet::{Endpoints, Fleet},
    load::{LoadClient, SharedRecord, has_open_charge},
    members::Members,
    network::Network,
    shoppers::{AnyReplica, LoadControl, Pair},
    tally::Tally,
    watchers::{LastTicket, Watcher},
};
use crate::app::{
    Client, Home, PATIENCE,
    world::{Found, Release, seed_users},
};

/// Rounds to run.
#[derive(Debug, Clone)]
pub struct Plan {
    pub seed: u64,
    pub rounds: Range<u64>,
    /// Time without a heartbeat from the primary after which MongoDB elects another one.
    pub election: Duration,
}

/// Number of rounds that share one database.
pub const ROUNDS_PER_LEG: u64 = 5;
const SELLERS: usize = 2;
const BUYERS: usize = 5;
/// Two pairs of seller and buyer for the load, and one that checks on each replica whether it has
/// recovered.
const PAIRS: usize = 3;
const WATCHERS: usize = 4;
/// Time that a watcher stays connected to one replica.
const STAY_MS: Range<u64> = 500..4_000;
/// Time without a fault before the next fault.
const PAUSE_MS: Range<u64> = 200..900;
/// Bound of every answer: a payment is answered after 20 s, finished or not, and the steps before
/// and after it wait for the store for some seconds each.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// The contract: after a replica has failed, another releases its locks within 5 s of their end.
const RELEASE_LAG_MAX: Millis = Millis(5_000);
/// Maximum time in which reconciliation settles every payment that a fault interrupted.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);

const SETTINGS: [(&str, &str); 4] = [
    ("GITTIX_PAYMENT_WINDOW", "1s"),
    ("GITTIX_LOCK_DURATION", "2s"),
    ("GITTIX_SETTLE_GRACE", "2s"),
    // Buyers do not wait between locks, because a waiting buyer puts no load on the server.
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

/// All processes, and the network between them. The fields are dropped in this order.
pub struct Cluster {
    fleet: Fleet,
    members: Members,
    _network: Network,
}

/// State of the rounds that share one database.
struct Leg {
    home: Home,
    people: Vec<Client>,
    record: SharedRecord,
    control: LoadControl,
    last: LastTicket,
    /// Periods in which perhaps no replica could write, by the wall clock of the test: from the
    /// start of a fault to five seconds after the recovery.
    outages: Vec<(Timestamp, Timestamp)>,
}

/// Runs the rounds one after another.
///
/// # Panics
/// If a rule of the contract does not hold; the message names the seed and the rounds.
pub async fn run(plan: &Plan, mut done: impl FnMut(&Tally)) -> Tally {
    let mut cluster = Cluster::new(plan.election).await;
    let mut tally = Tally::default();
    let mut first = plan.rounds.start;
    while first < plan.rounds.end {
        let rounds = first..plan.rounds.end.min(first + ROUNDS_PER_LEG);
        first = rounds.end;
        if let Err(violations) = cluster.leg(plan.seed, rounds.clone(), &mut tally).await {
            panic!("seed {} rounds {rounds:?}: {violations:#?}", plan.seed);
        }
        done(&tally);
    }
    tally
}

impl Cluster {
    pub async fn new(election: Duration) -> Self {
        let mut network = Network::new();
        let members = Members::start(&mut network, election).await;
        let fleet = Fleet::in_namespaces(&mut network);
        Self { fleet, members, _network: network }
    }

    async fn leg(
        &mut self,
        seed: u64,
        rounds: Range<u64>,
        tally: &mut Tally,
    ) -> Result<(), Vec<String>> {
        let mut leg = self.begin().await;
        let mut random = StdRng::seed_from_u64(seed.wrapping_add(rounds.start));
        // The watchers connect first: they must receive every event.
        let watchers = leg.watchers(&self.fleet, &mut random).await;
        let load = leg.load(&self.fleet, &mut random);
        let mut violations = Vec::new();
        for round in rounds {
            let fault = Fault::of_round(seed, round);
            violations.extend(self.round(&mut leg, fault, &mut random, tally).await);
            tally.rounds += 1;
        }
        leg.control.close();
        for client in load {
            client.await.expect("no load client panics");
        }
        self.settle(&leg).await;
        let last =
            leg.people[0].at_addr(self.fleet.endpoints()[0].addr).sells("The last of all").await;
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

    /// Creates a database with users and starts all replicas on it.
    async fn begin(&mut self) -> Leg {
        let home = Home::on(&self.members.uri());
        let seeded = seed_users(&home, SELLERS + BUYERS + 2 * PAIRS).await;
        self.fleet.start(&home, &SETTINGS).await;
        let people = Client::seeded(self.fleet.endpoints()[0].addr, seeded).await;
        Leg {
            home,
            people,
            record: SharedRecord::default(),
            control: LoadControl::default(),
            last: LastTicket::default(),
            outages: Vec::new(),
        }
    }

    /// Waits, applies a fault, ends it, and waits until everything has recovered.
    async fn round(
        &mut self,
        leg: &mut Leg,
        fault: Fault,
        random: &mut StdRng,
        tally: &mut Tally,
    ) -> Vec<String> {
        sleep(Duration::from_millis(random.random_range(PAUSE_MS))).await;
        let (broken, broken_at) = (Instant::now(), gittix::clock::wall_clock());
        let active = fault.begin(&mut self.fleet, &mut self.members, random).await;
        sleep(fault.duration(random)).await;
        let mut violations = self.failed_probes(&active, leg).await;
        active.end(&mut self.fleet, &mut self.members).await;
        let healed = Instant::now();
        self.members.wait_until_healthy().await;
        self.fleet.all_ready().await;
        for number in 0..Fleet::COUNT {
            if !leg.purchase_succeeds_at(&self.fleet, number).await {
                violations.push(format!(
                    "{fault:?}: no purchase through replica {number} within {PATIENCE:?} of its end"
                ));
            }
        }
        tally.recovery_max.record_if_longer(healed.elapsed(), || format!("{fault:?}"));
        if fault.hits_store() {
            leg.outages.push((broken_at, gittix::clock::wall_clock() + RELEASE_LAG_MAX));
        }
        tally.outage_max.record_if_longer(leg.longest_gap_since(broken), || format!("{fault:?}"));
        *tally.faults.entry(fault).or_default() += 1;
        violations
    }

    /// Probes the servers during a fault: each running server must answer `/healthz`, and a server
    /// without a store must not be ready.
    async fn failed_probes(&self, active: &ActiveFault, leg: &Leg) -> Vec<String> {
        const ANSWERS_WITHIN: Duration = Duration::from_secs(5);
        let cut_off = active.cut_off(&self.fleet);
        let mut wrong = Vec::new();
        for number in (0..Fleet::COUNT).filter(|number| !active.is_down(*number)) {
            let guest = leg.people[0].at_addr(self.fleet.endpoints()[number].addr);
            let status = async |path: &str| {
                guest
                    .get(path)
                    .within(ANSWERS_WITHIN)
                    .attempt()
                    .await
                    .map(|answer| answer.status)
                    .ok()
            };
            let alive = status("/healthz").await;
            if alive != Some(200) {
                wrong.push(format!(
                    "{:?}: /healthz of replica {number} answered {alive:?}",
                    active.fault
                ));
            }
            let ready = status("/readyz").await;
            if cut_off == Some(number) && ready != Some(503) {
                wrong.push(format!(
                    "{:?}: /readyz of replica {number}, which has no store, answered {ready:?}",
                    active.fault
                ));
            }
        }
        wrong
    }

    /// Waits until no ticket is locked and no payment is open.
    async fn settle(&self, leg: &Leg) {
        let deadline = Instant::now() + SETTLED_WITHIN;
        let addr = self.fleet.endpoints()[0].addr;
        let guest = leg.people[0].at_addr(addr);
        while !guest.tickets("?status=Locked&limit=1").await.expect(200).items().is_empty() {
            assert!(Instant::now() < deadline, "locks remain; the logs: {:#?}", self.fleet.logs());
            sleep(Duration::from_millis(20)).await;
        }
        let attempted = std::mem::take(&mut leg.record.lock().expect("no holder panics").attempted);
        for (person, order) in attempted {
            let buyer = leg.people[person].at_addr(addr);
            while has_open_charge(&buyer, &order).await {
                assert!(
                    Instant::now() < deadline,
                    "a charge of {order} remains open; the logs: {:#?}",
                    self.fleet.logs()
                );
                sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

impl Leg {
    /// Starts the sellers, the buyers, and the timed pairs.
    fn load(&self, fleet: &Fleet, random: &mut StdRng) -> Vec<JoinHandle<()>> {
        let mut load = Vec::new();
        for number in 0..SELLERS + BUYERS {
            let route = AnyReplica::new(
                self.people[number].clone(),
                fleet.endpoints(),
                self.control.clone(),
                random.random(),
            );
            let client = LoadClient { number, route, record: self.record.clone() };
            let seed = random.random();
            load.push(if number < SELLERS {
                tokio::spawn(client.sells(seed))
            } else {
                tokio::spawn(client.buys(seed))
            });
        }
        // The last pair is reserved for the recovery check.
        load.extend(
            (0..PAIRS - 1).map(|number| tokio::spawn(self.pair(number, fleet.endpoints()).trade())),
        );
        load
    }

    fn pair(&self, number: usize, endpoints: Endpoints) -> Pair {
        let (seller, buyer) = (SELLERS + BUYERS + 2 * number, SELLERS + BUYERS + 2 * number + 1);
        let both = [self.people[seller].clone(), self.people[buyer].clone()];
        Pair::new(both, buyer, endpoints, self.control.clone(), self.record.clone())
    }

    /// Starts the watchers; half of them are signed in as buyers.
    async fn watchers(&self, fleet: &Fleet, random: &mut StdRng) -> Vec<JoinHandle<Watcher>> {
        let mut watching = Vec::new();
        for number in 0..WATCHERS {
            let is_signed_in = number.is_multiple_of(2);
            let client = if is_signed_in {
                self.people[SELLERS + number].clone()
            } else {
                self.people[0].stranger()
            };
            let watcher = Watcher::new(
                client,
                is_signed_in,
                fleet.endpoints(),
                self.last.clone(),
                random.random(),
                STAY_MS,
            );
            watching.push(tokio::spawn(watcher.connect_first().await.watch()));
        }
        watching
    }

    /// Returns whether a purchase through this replica succeeds within the timeout.
    async fn purchase_succeeds_at(&self, fleet: &Fleet, number: usize) -> bool {
        let mut pair = self.pair(PAIRS - 1, fleet.only(number));
        let succeeded = async { while pair.purchase().await.is_err() {} };
        timeout(PATIENCE, succeeded).await.is_ok()
    }

    /// Returns the longest time without a completed purchase between `since` and now.
    fn longest_gap_since(&self, since: Instant) -> Duration {
        let now = Instant::now();
        self.control.measured(|measured| {
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
        let record = self.record.lock().expect("no holder panics");
        let mut violations = found.violations(&policy(), RELEASE_LAG_MAX, &record.versions);
        violations.extend(record.lost_outcomes(found));
        let releases = found.releases();
        let delayed_by_outage = |release: &Release| {
            self.outages.iter().any(|(from, to)| {
                release.due + RELEASE_LAG_MAX + policy().settle_grace >= *from && release.at <= *to
            })
        };
        for release in releases.iter().filter(|release| !delayed_by_outage(release)) {
            tally.release_lag_ms_max = tally.release_lag_ms_max.max(release.lag().0);
            if release.lag().0 > RELEASE_LAG_MAX.0 + policy().settle_grace.0 {
                violations.push(format!(
                    "I4: {} was released {} ms after its time",
                    release.ticket,
                    release.lag().0
                ));
            }
        }
        tally.released += releases.len();
        tally.requests += record.requests;
        tally.acknowledged += record.acknowledged;
        tally.sold += found
            .world
            .tickets
            .iter()
            .filter(|ticket| matches!(ticket.state, TicketState::Sold { .. }))
            .count();
        tally.refunded += found.world.payments.iter().filter(|entry| entry.refunded > 0).count();
        self.control.measured(|measured| {
            let (took, what) = &measured.slowest_answer;
            tally.answer_max.record_if_longer(*took, || what.clone());
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
