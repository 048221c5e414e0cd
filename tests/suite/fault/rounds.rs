//! Rounds of kill -9 under load. After each round I1 to I8 must hold, and every lock must have been
//! released in time.
//!
//! Several rounds share one store, so that a start finds the remains of earlier crashes. All
//! choices come from the seed. The timing of kernel and disk does not, so a failed round keeps its
//! store for examination.

use std::{collections::BTreeMap, ops::Range, time::Duration};

use gittix::domain::{Millis, Policy, Ticket, TicketState, Timestamp, invariants::never_backwards};
use gittix::store::Cursor;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::time::Instant;

use super::load::{LoadClient, SharedRecord, SingleServer, has_open_charge};
use crate::app::{
    Backend, Client, Socket, TestApp,
    world::{Found, Release},
};

/// Rounds to run.
#[derive(Debug, Clone)]
pub struct Plan {
    pub store: Backend,
    pub seed: u64,
    pub rounds: Range<u64>,
}

/// Results of the rounds.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    pub rounds: u64,
    pub requests: u64,
    /// Number of acknowledged changes; all were found again.
    pub acknowledged: u64,
    pub sold: usize,
    pub refunded: usize,
    /// Number of released expired locks; the next field is the greatest delay among those that no
    /// restart delayed.
    pub released: usize,
    pub release_lag_ms_max: i64,
    /// Longest time from the start of the process to its readiness.
    pub restart_ms_max: u128,
}

/// Number of rounds that share one store.
const ROUNDS_PER_STORE: u64 = 20;
const BUYERS: usize = 6;
const SELLERS: usize = 2;
/// Number of acknowledged changes before the kill; the kill may fall anywhere in the load.
const CHANGES_BEFORE_KILL: Range<u64> = 20..250;
/// Maximum length of a round's load on a slow machine.
const LOAD_MAX: Duration = Duration::from_secs(5);
/// Bounds of the contract.
const RELEASE_LAG_MAX: i64 = 1_000;
const OVERDUE_RELEASE_MAX: Duration = Duration::from_secs(5);
/// Maximum time in which reconciliation settles every payment that a crash interrupted.
const SETTLED_WITHIN: Duration = Duration::from_secs(30);

const SETTINGS: [(&str, &str); 4] = [
    ("GITTIX_PAYMENT_WINDOW", "300ms"),
    ("GITTIX_LOCK_DURATION", "500ms"),
    ("GITTIX_SETTLE_GRACE", "2s"),
    // Buyers do not wait between locks, because a waiting buyer puts no load on the server.
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

/// One store, its server, and its users.
struct Scenario {
    app: TestApp,
    people: Vec<Client>,
    record: SharedRecord,
    /// Periods in which no process was there to release locks, by the wall clock: from a kill to
    /// five seconds after the next process was ready.
    outages: Vec<(Timestamp, Timestamp)>,
    observed: Observed,
}

/// Frames that one socket received, over all crashes.
#[derive(Debug, Default)]
struct Observed {
    cursors: Vec<Cursor>,
    versions: BTreeMap<String, Vec<u64>>,
}

/// Runs the rounds one after another.
///
/// # Panics
/// If an invariant does not hold; the message names the seed and the round.
pub async fn run(plan: &Plan, mut done: impl FnMut(&Tally)) -> Tally {
    let mut tally = Tally::default();
    let mut scenario = None;
    for round in plan.rounds.clone() {
        if round % ROUNDS_PER_STORE == 0 {
            scenario = None;
        }
        let scenario = match &mut scenario {
            Some(scenario) => scenario,
            empty => empty.insert(Scenario::new(plan.store).await),
        };
        scenario.round(plan.seed.wrapping_add(round), &mut tally).await;
        if let Err(violations) = scenario.check(&mut tally).await {
            scenario.app.home.keep();
            panic!(
                "seed {} round {round}: {violations:#?}; the store is kept in {:?}",
                plan.seed, scenario.app.home
            );
        }
        tally.rounds += 1;
        done(&tally);
        scenario.app.restart().await;
    }
    tally
}

impl Scenario {
    async fn new(store: Backend) -> Self {
        let (app, people) = TestApp::start_with_people(store, &SETTINGS, BUYERS + SELLERS).await;
        Self {
            app,
            people,
            record: SharedRecord::default(),
            outages: Vec::new(),
            observed: Observed::default(),
        }
    }

    /// Runs load, kills the server, starts it again, and waits until all interrupted work is
    /// finished; then kills the server once more.
    async fn round(&mut self, seed: u64, tally: &mut Tally) {
        let mut random = StdRng::seed_from_u64(seed);
        let mut watcher = self.app.socket().await;
        let load = self.load(&mut random);
        self.until_acknowledged(random.random_range(CHANGES_BEFORE_KILL)).await;
        let killed = gittix::clock::wall_clock();
        self.app.crash();
        for client in load {
            client.await.expect("no load client panics");
        }
        let cursor = self.observed.record_remaining(&mut watcher).await;
        let started = Instant::now();
        self.app.restart().await;
        tally.restart_ms_max = tally.restart_ms_max.max(started.elapsed().as_millis());
        let grace = Millis::from(OVERDUE_RELEASE_MAX);
        self.outages.push((killed, gittix::clock::wall_clock() + grace));
        let mut watcher = self.app.guest().socket_at(&format!("?after={cursor}")).await;
        assert_eq!(
            watcher.expect("Hello").await["resumed"],
            true,
            "the missed events are not replayed"
        );
        self.settle().await;
        // Events arrive in commit order: an observer that receives the ticket listed last has
        // received all events before it.
        let last = self.people[0].at(&self.app.server).sells("The last of its round").await;
        watcher.until(|frame| frame["ticket"]["id"] == last.as_str()).await;
        self.app.crash();
        self.observed.record_remaining(&mut watcher).await;
    }

    /// Waits for a number of changes in this round, so that rounds on a slow machine are as full as
    /// on a fast one.
    async fn until_acknowledged(&self, changes: u64) {
        let acknowledged = || self.record.lock().expect("no holder panics").acknowledged;
        let deadline = Instant::now() + LOAD_MAX;
        let due = acknowledged() + changes;
        while acknowledged() < due && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    fn load(&self, random: &mut StdRng) -> Vec<tokio::task::JoinHandle<()>> {
        let clients = self.people.iter().enumerate().map(|(number, person)| {
            let client = LoadClient {
                number,
                route: SingleServer(person.at(&self.app.server)),
                record: self.record.clone(),
            };
            let seed = random.random();
            if number < SELLERS {
                tokio::spawn(client.sells(seed))
            } else {
                tokio::spawn(client.buys(seed))
            }
        });
        clients.collect()
    }

    /// Waits until no ticket is locked and no payment is open.
    async fn settle(&self) {
        let deadline = Instant::now() + SETTLED_WITHIN;
        let attempted =
            std::mem::take(&mut self.record.lock().expect("no holder panics").attempted);
        let guest = self.app.guest();
        while !guest.tickets("?status=Locked&limit=1").await.expect(200).items().is_empty() {
            assert!(
                Instant::now() < deadline,
                "locks remain; the log: {:#?}",
                self.app.server.log()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        for (person, order) in attempted {
            let buyer = self.people[person].at(&self.app.server);
            while has_open_charge(&buyer, &order).await {
                assert!(
                    Instant::now() < deadline,
                    "a charge of {order} remains open; the log: {:#?}",
                    self.app.server.log()
                );
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    /// Reads the store, which no process uses now, and checks it.
    async fn check(&self, tally: &mut Tally) -> Result<(), Vec<String>> {
        let found = Found::read(&self.app.home).await;
        let record = self.record.lock().expect("no holder panics");
        let mut violations = found.violations(&policy(), Millis(RELEASE_LAG_MAX), &record.versions);
        violations.extend(record.lost_outcomes(&found));
        violations.extend(self.late_releases(&found, tally));
        violations.extend(self.observed.order_violations());
        violations.extend(self.observed.missed(&found));
        tally.requests = record.requests;
        tally.acknowledged = record.acknowledged;
        tally.sold = found
            .world
            .tickets
            .iter()
            .filter(|ticket| matches!(ticket.state, TicketState::Sold { .. }))
            .count();
        tally.refunded = found.world.payments.iter().filter(|entry| entry.refunded > 0).count();
        if violations.is_empty() { Ok(()) } else { Err(violations) }
    }

    /// Returns the locks that were released late_releases although a process was running
    /// throughout.
    fn late_releases(&self, found: &Found, tally: &mut Tally) -> Vec<String> {
        let releases = found.releases();
        tally.released = releases.len();
        let delayed_by_restart = |release: &Release| {
            self.outages.iter().any(|(from, to)| {
                release.due + Millis(RELEASE_LAG_MAX) >= *from && release.at <= *to
            })
        };
        let counted: Vec<Release> =
            releases.into_iter().filter(|release| !delayed_by_restart(release)).collect();
        tally.release_lag_ms_max =
            counted.iter().map(|release| release.lag().0).fold(tally.release_lag_ms_max, i64::max);
        let late_releases = counted
            .iter()
            .filter(|release| release.lag().0 > RELEASE_LAG_MAX + policy().settle_grace.0);
        late_releases
            .map(|release| {
                format!("I4: {} was released {} ms after its time", release.ticket, release.lag().0)
            })
            .collect()
    }
}

impl Observed {
    /// Reads the remaining frames of a socket whose server has exited; returns the last cursor.
    async fn record_remaining(&mut self, socket: &mut Socket) -> String {
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

    /// I6: returns the places where cursors or versions do not increase.
    fn order_violations(&self) -> Vec<String> {
        let cursors = never_backwards(&self.cursors).err();
        let versions =
            self.versions.values().filter_map(|versions| never_backwards(versions).err());
        cursors.into_iter().chain(versions).map(|violation| violation.to_string()).collect()
    }

    /// Returns the tickets whose newest state the observer did not receive, although all work was
    /// finished before the last kill.
    fn missed(&self, found: &Found) -> Vec<String> {
        let newest = |ticket: &Ticket| {
            self.versions.get(&ticket.id.to_string()).and_then(|versions| versions.last().copied())
        };
        let missed = found
            .world
            .tickets
            .iter()
            .filter(|ticket| newest(ticket).is_none_or(|seen| seen < ticket.version));
        missed
            .map(|ticket| {
                format!(
                    "I6: {} has version {}, the observer saw {:?}",
                    ticket.id,
                    ticket.version,
                    newest(ticket)
                )
            })
            .collect()
    }
}
