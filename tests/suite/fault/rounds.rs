//! Rounds of kill -9 under load, and what must be true after each: I1 to I8, and every lock released in its time.
//!
//! Several rounds share one store, so that a start finds what earlier crashes left. All choices come from the seed; what
//! the kernel and the disk make of them does not, so a round that failed keeps its store for whoever wants to look.

use std::{collections::BTreeMap, ops::Range, time::Duration};

use gittix::domain::{Millis, Policy, Ticket, TicketState, Timestamp, invariants::never_backwards};
use gittix::store::Cursor;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::time::Instant;

use super::load::{Actor, Ledger, Straight};
use crate::app::{
    Backend, Client, Socket, TestApp,
    world::{Found, Release},
};

/// Which rounds to run.
#[derive(Debug, Clone)]
pub struct Plan {
    pub store: Backend,
    pub seed: u64,
    pub rounds: Range<u64>,
}

/// What the rounds came to.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    pub rounds: u64,
    pub requests: u64,
    /// Changes that were acknowledged, and found again.
    pub acknowledged: u64,
    pub sold: usize,
    pub refunded: usize,
    /// Locks that lapsed, and the greatest delay among those that no restart held up.
    pub released: usize,
    pub release_lag_ms_max: i64,
    /// From the start of the process to its readiness.
    pub restart_ms_max: u128,
}

/// How many rounds share one store.
const ROUNDS_PER_STORE: u64 = 20;
const BUYERS: usize = 6;
const SELLERS: usize = 2;
/// Any moment of the load may be its last.
const CHANGES_BEFORE_KILL: Range<u64> = 20..250;
/// How long a round's load lasts at most, should the machine be very slow.
const LOAD_MAX: Duration = Duration::from_secs(5);
/// The contract's bounds.
const RELEASE_LAG_MAX: i64 = 1_000;
const OVERDUE_RELEASE_MAX: Duration = Duration::from_secs(5);
/// How long reconciliation may take to end every payment that a crash interrupted.
const SETTLED_WITHIN: Duration = Duration::from_secs(30);

const SETTINGS: [(&str, &str); 4] = [
    ("GITTIX_PAYMENT_WINDOW", "300ms"),
    ("GITTIX_LOCK_DURATION", "500ms"),
    ("GITTIX_SETTLE_GRACE", "2s"),
    // Nobody waits between locks: waiting is no load.
    ("GITTIX_RELOCK_WAIT", "1ms"),
];

fn policy() -> Policy {
    Policy {
        payment_window: Millis(300),
        lock_duration: Millis(500),
        settle_grace: Millis::from_secs(2),
        relock_wait: Millis(1),
        ..Policy::default()
    }
}

/// One store, its server, and those who use it.
struct Scene {
    app: TestApp,
    people: Vec<Client>,
    told: Ledger,
    /// When a process was not there to release anything, by the wall clock: from its kill to five seconds after its
    /// successor was ready.
    outages: Vec<(Timestamp, Timestamp)>,
    observed: Observed,
}

/// What one socket saw, over all crashes.
#[derive(Debug, Default)]
struct Observed {
    cursors: Vec<Cursor>,
    versions: BTreeMap<String, Vec<u64>>,
}

/// Runs the rounds one after the other.
///
/// # Panics
/// With the seed and the round, if an invariant does not hold.
pub async fn run(plan: &Plan, mut done: impl FnMut(&Tally)) -> Tally {
    let mut tally = Tally::default();
    let mut scene = None;
    for round in plan.rounds.clone() {
        if round % ROUNDS_PER_STORE == 0 {
            scene = None;
        }
        let scene = match &mut scene {
            Some(scene) => scene,
            empty => empty.insert(Scene::new(plan.store).await),
        };
        scene.round(plan.seed.wrapping_add(round), &mut tally).await;
        if let Err(violations) = scene.check(&mut tally).await {
            scene.app.home.keep();
            panic!("seed {} round {round}: {violations:#?}; the store is kept in {:?}", plan.seed, scene.app.home);
        }
        tally.rounds += 1;
        done(&tally);
        scene.app.restart().await;
    }
    tally
}

impl Scene {
    async fn new(store: Backend) -> Self {
        let (app, people) = TestApp::start_with_people(store, &SETTINGS, BUYERS + SELLERS).await;
        Self { app, people, told: Ledger::default(), outages: Vec::new(), observed: Observed::default() }
    }

    /// Load, kill, start again, and wait until all that was interrupted is over; then kill once more.
    async fn round(&mut self, seed: u64, tally: &mut Tally) {
        let mut random = StdRng::seed_from_u64(seed);
        let mut watcher = self.app.socket().await;
        let load = self.load(&mut random);
        self.until_acknowledged(random.random_range(CHANGES_BEFORE_KILL)).await;
        let killed = gittix::clock::wall_clock();
        self.app.crash();
        for actor in load {
            actor.await.expect("nobody of the load panics");
        }
        let cursor = self.observed.all_of(&mut watcher).await;
        let started = Instant::now();
        self.app.restart().await;
        tally.restart_ms_max = tally.restart_ms_max.max(started.elapsed().as_millis());
        let grace = Millis::from(OVERDUE_RELEASE_MAX);
        self.outages.push((killed, gittix::clock::wall_clock() + grace));
        let mut watcher = self.app.guest().socket_at(&format!("?after={cursor}")).await;
        assert_eq!(watcher.expect("Hello").await["resumed"], true, "what was missed meanwhile is replayed");
        self.settle().await;
        // What is listed last is told last: who was told of it was told of all before it.
        let last = self.people[0].at(&self.app.server).sells("The last of its round").await;
        watcher.until(|frame| frame["ticket"]["id"] == last.as_str()).await;
        self.app.crash();
        self.observed.all_of(&mut watcher).await;
    }

    /// Waits for some changes of this round: so a slow machine's rounds are as full as a fast one's.
    async fn until_acknowledged(&self, changes: u64) {
        let acknowledged = || self.told.lock().expect("no holder panics").acknowledged;
        let deadline = Instant::now() + LOAD_MAX;
        let due = acknowledged() + changes;
        while acknowledged() < due && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    fn load(&self, random: &mut StdRng) -> Vec<tokio::task::JoinHandle<()>> {
        let actors = self.people.iter().enumerate().map(|(number, person)| {
            let actor = Actor { number, route: Straight(person.at(&self.app.server)), told: self.told.clone() };
            let seed = random.random();
            if number < SELLERS { tokio::spawn(actor.sells(seed)) } else { tokio::spawn(actor.buys(seed)) }
        });
        actors.collect()
    }

    /// Until no lock is held and no payment is open.
    async fn settle(&self) {
        let deadline = Instant::now() + SETTLED_WITHIN;
        let attempted = std::mem::take(&mut self.told.lock().expect("no holder panics").attempted);
        let guest = self.app.guest();
        while !guest.tickets("?status=Locked&limit=1").await.expect(200).items().is_empty() {
            assert!(Instant::now() < deadline, "locks are left over; the log: {:#?}", self.app.server.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        for (person, order) in attempted {
            let buyer = self.people[person].at(&self.app.server);
            while buyer.charges_of(&order).await.expect(200).items().iter().any(|charge| charge["status"] == "Created") {
                assert!(Instant::now() < deadline, "a charge of {order} is left open; the log: {:#?}", self.app.server.log());
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    /// Reads the store that no process uses now.
    async fn check(&self, tally: &mut Tally) -> Result<(), Vec<String>> {
        let found = Found::read(&self.app.home).await;
        let told = self.told.lock().expect("no holder panics");
        let mut violations = found.violations(&policy(), Millis(RELEASE_LAG_MAX), &told.versions);
        violations.extend(told.forgotten(&found));
        violations.extend(self.late(&found, tally));
        violations.extend(self.observed.backwards());
        violations.extend(self.observed.missed(&found));
        tally.requests = told.requests;
        tally.acknowledged = told.acknowledged;
        tally.sold = found.world.tickets.iter().filter(|ticket| matches!(ticket.state, TicketState::Sold { .. })).count();
        tally.refunded = found.world.payments.iter().filter(|entry| entry.refunded > 0).count();
        if violations.is_empty() { Ok(()) } else { Err(violations) }
    }

    /// Locks that were released after their time, though a process was there all the while.
    fn late(&self, found: &Found, tally: &mut Tally) -> Vec<String> {
        let releases = found.releases();
        tally.released = releases.len();
        let excused =
            |release: &Release| self.outages.iter().any(|(from, to)| release.due + Millis(RELEASE_LAG_MAX) >= *from && release.at <= *to);
        let judged: Vec<Release> = releases.into_iter().filter(|release| !excused(release)).collect();
        tally.release_lag_ms_max = judged.iter().map(|release| release.lag().0).fold(tally.release_lag_ms_max, i64::max);
        let late = judged.iter().filter(|release| release.lag().0 > RELEASE_LAG_MAX + policy().settle_grace.0);
        late.map(|release| format!("I4: {} was released {} ms after its time", release.ticket, release.lag().0)).collect()
    }
}

impl Observed {
    /// Takes over all frames that a socket got before its server died; the last cursor.
    async fn all_of(&mut self, socket: &mut Socket) -> String {
        socket.drain().await;
        for frame in &socket.frames {
            if let Some(cursor) = frame["cursor"].as_str().and_then(|cursor| cursor.parse().ok()) {
                self.cursors.push(cursor);
            }
            let (id, version) = match frame["type"].as_str() {
                Some("TicketDeleted") => (&frame["ticketId"], &frame["version"]),
                _ => (&frame["ticket"]["id"], &frame["ticket"]["version"]),
            };
            if let (Some(id), Some(version)) = (id.as_str(), version.as_u64()) {
                self.versions.entry(id.to_owned()).or_default().push(version);
            }
        }
        socket.last_cursor()
    }

    /// I6: cursors and versions only ever grow.
    fn backwards(&self) -> Vec<String> {
        let cursors = never_backwards(&self.cursors).err();
        let versions = self.versions.values().filter_map(|versions| never_backwards(versions).err());
        cursors.into_iter().chain(versions).map(|violation| violation.to_string()).collect()
    }

    /// Tickets of whose newest state the observer was not told, though all was over before the last kill.
    fn missed(&self, found: &Found) -> Vec<String> {
        let newest = |ticket: &Ticket| self.versions.get(&ticket.id.to_string()).and_then(|versions| versions.last().copied());
        let missed = found.world.tickets.iter().filter(|ticket| newest(ticket).is_none_or(|seen| seen < ticket.version));
        missed.map(|ticket| format!("I6: {} has version {}, the observer saw {:?}", ticket.id, ticket.version, newest(ticket))).collect()
    }
}
