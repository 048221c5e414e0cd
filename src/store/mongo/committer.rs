//! Group commit: the queue in front of the database, and the one task that decides what goes into which transaction.
//!
//! Whatever waits when a transaction may start goes into it; with none running, nothing ever waits for more to come. Two
//! transactions run at once at most, and the second only for a group that is worth it. Commits that have a document in
//! common are written one after the other, in the order of their arrival: never in one transaction, and never in two at
//! once, so that a process does not conflict with itself.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use fail::fail_point;
use tokio::{
    sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    task::{Id, JoinError, JoinSet},
    time::{Instant, sleep_until},
};

use super::{connection::MongoConnection, group, prepare::ConflictKey, prepare::Prepared};
use crate::{domain::Version, metrics::METRICS, store::CommitError, tasks::supervise};

/// From a commit's submission to its answer, whatever happens.
pub(super) const COMMIT_DEADLINE: Duration = Duration::from_secs(5);
/// A commit that did not get into a transaction for so long is answered Unavailable, while enough is left of its deadline
/// to find out what became of a transaction.
pub(super) const START_WITHIN: Duration = Duration::from_secs(3);
/// Commits that may wait or be written at once. The next one is refused at once.
const COMMITS_MAX: usize = 4096;
/// Commits of one transaction. More would make a conflict, which is tried again as a whole, cost more.
const GROUP_MAX: usize = 64;
/// The same when the queue is deep: with a thousand in line, 256 to a transaction bring two fifths more than 64.
const GROUP_DEEP_MAX: usize = 256;
/// Deeper than this, nobody's answer comes sooner from a smaller group.
const DEEP: usize = 512;
/// Bytes of one transaction: far below the 16 MiB that a command or a document of events may have.
const GROUP_BYTES_MAX: usize = 4 << 20;
/// A single commit beyond this is refused; the largest that a decision makes has some 20 KiB.
const COMMIT_BYTES_MAX: usize = 12 << 20;
/// Transactions at once: the second is prepared while the first waits for the journal. `benches/mongo_commits.rs` compares.
const TRANSACTIONS_MAX: usize = 2;
/// Beside a running transaction another one begins only for so many commits: fewer would take the server as long as many,
/// and gain little over going with the next.
const BESIDE_MIN: usize = 24;
/// Or for one that has waited so long: the running transaction is held up by something that need not hold up others.
const BESIDE_AFTER: Duration = Duration::from_millis(20);

/// A commit on its way.
#[derive(Debug)]
pub(super) struct PendingCommit {
    pub commit: Prepared,
    pub submitted: Instant,
    answer: oneshot::Sender<Result<(), CommitError>>,
    _place: QueuePermit,
}

/// A place in the queue, counted while it is held.
#[derive(Debug)]
struct QueuePermit(#[expect(dead_code, reason = "it is there to be dropped")] OwnedSemaphorePermit);

impl Drop for QueuePermit {
    fn drop(&mut self) {
        METRICS.commits_waiting.dec();
    }
}

impl PendingCommit {
    /// The last moment for a transaction that it is part of to begin.
    pub fn start_by(&self) -> Instant {
        self.submitted + START_WITHIN
    }

    pub fn deadline(&self) -> Instant {
        self.submitted + COMMIT_DEADLINE
    }

    /// Answers its caller, who may have gone.
    pub fn answer(self, result: Result<(), CommitError>) {
        let _ = self.answer.send(result);
    }
}

/// The way in. Dropping it ends the committer, once everything in it was answered.
#[derive(Debug)]
pub(super) struct CommitQueue {
    sender: mpsc::UnboundedSender<PendingCommit>,
    places: Arc<Semaphore>,
}

impl CommitQueue {
    /// The queue, and the committer to spawn.
    pub fn new(connection: MongoConnection) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (sender, receiver) = mpsc::unbounded_channel();
        // A committer that panicked leaves nothing that another could go on with: dropping it answers the commits that it had
        // (their outcome is unknown). Conditions on versions keep what its transactions still do apart from what follows.
        let receiver = Arc::new(Mutex::new(receiver));
        let committer = supervise("committer", move || Committer::new(connection.clone()).run(Arc::clone(&receiver)));
        (Self { sender, places: Arc::new(Semaphore::new(COMMITS_MAX)) }, committer)
    }

    /// Puts a commit in line. A dropped receiver of its answer means that it may or may not have been written.
    ///
    /// # Errors
    /// [`CommitError::Unavailable`] at once, if the queue is full or the store is closed.
    pub fn submit(&self, commit: Prepared) -> Result<oneshot::Receiver<Result<(), CommitError>>, CommitError> {
        if commit.bytes > COMMIT_BYTES_MAX {
            return Err(CommitError::Unavailable(format!("a commit of {} bytes is too large", commit.bytes)));
        }
        let Ok(permit) = Arc::clone(&self.places).try_acquire_owned() else {
            METRICS.requests_rejected.with_label_values(&["store"]).inc();
            return Err(CommitError::Unavailable("too many commits are waiting".into()));
        };
        METRICS.commits_waiting.inc();
        let (answer, answered) = oneshot::channel();
        let waiting = PendingCommit { commit, submitted: Instant::now(), answer, _place: QueuePermit(permit) };
        self.sender.send(waiting).map_err(|_| CommitError::Unavailable("the store is closed".into()))?;
        Ok(answered)
    }
}

/// What a finished group learned: the newest version of a document that is known to be stored.
pub(super) type StoredVersions = HashMap<ConflictKey, Version>;

struct Committer {
    connection: MongoConnection,
    /// In the order of arrival.
    pending: VecDeque<PendingCommit>,
    /// What the running transactions touch.
    busy: HashSet<ConflictKey>,
    running: JoinSet<StoredVersions>,
    /// The keys of each running transaction, kept here so that one that panics gives them back too.
    keys: HashMap<Id, Vec<ConflictKey>>,
}

impl Committer {
    fn new(connection: MongoConnection) -> Self {
        Self { connection, pending: VecDeque::new(), busy: HashSet::new(), running: JoinSet::new(), keys: HashMap::new() }
    }

    async fn run(mut self, queue: Arc<Mutex<mpsc::UnboundedReceiver<PendingCommit>>>) {
        let mut queue = queue.lock().await;
        let mut open = true;
        while open || !self.pending.is_empty() || !self.running.is_empty() {
            self.expire();
            self.start();
            let next_look = self.next_look();
            tokio::select! {
                finished = self.running.join_next_with_id(), if !self.running.is_empty() => self.finish(finished),
                arrived = queue.recv(), if open => match arrived {
                    Some(first) => {
                        self.pending.push_back(first);
                        while let Ok(next) = queue.try_recv() {
                            self.pending.push_back(next);
                        }
                        fail_point!("mongo::committer");
                    }
                    None => open = false,
                },
                () = sleep_until(next_look.unwrap_or_else(Instant::now)), if next_look.is_some() => {}
            }
        }
    }

    fn expire(&mut self) {
        let now = Instant::now();
        while self.pending.front().is_some_and(|oldest| oldest.start_by() <= now) {
            if let Some(late) = self.pending.pop_front() {
                late.answer(Err(CommitError::Unavailable("MongoDB is too slow".into())));
            }
        }
    }

    fn start(&mut self) {
        while self.running.len() < TRANSACTIONS_MAX {
            if !self.running.is_empty() && !self.is_worth_another() {
                return;
            }
            let group = self.next_group();
            if group.is_empty() {
                return;
            }
            let keys: Vec<ConflictKey> = group.iter().flat_map(|waiting| waiting.commit.keys.iter().copied()).collect();
            self.busy.extend(&keys);
            let task = self.running.spawn(group::write(self.connection.clone(), group));
            self.keys.insert(task.id(), keys);
        }
    }

    fn is_worth_another(&self) -> bool {
        let waits_long = |oldest: &PendingCommit| oldest.submitted + BESIDE_AFTER <= Instant::now();
        self.pending.len() >= BESIDE_MIN || self.pending.front().is_some_and(waits_long)
    }

    /// When time alone changes what is to be done with the oldest: the only one to look at.
    fn next_look(&self) -> Option<Instant> {
        let oldest = self.pending.front()?;
        let beside = oldest.submitted + BESIDE_AFTER;
        Some(if beside > Instant::now() { beside } else { oldest.start_by() })
    }

    /// The oldest commits that touch neither what is being written, nor each other, nor what an older one waits for.
    fn next_group(&mut self) -> Vec<PendingCommit> {
        let group_max = if self.pending.len() > DEEP { GROUP_DEEP_MAX } else { GROUP_MAX };
        let mut group = Vec::new();
        let mut bytes = 0;
        let mut taken: HashSet<ConflictKey> = HashSet::new();
        let mut left = Vec::new();
        while let Some(waiting) = self.pending.pop_front() {
            let keys = &waiting.commit.keys;
            let free = keys.iter().all(|key| !self.busy.contains(key) && !taken.contains(key));
            let fits = group.is_empty() || bytes + waiting.commit.bytes <= GROUP_BYTES_MAX;
            taken.extend(keys);
            if free && fits {
                bytes += waiting.commit.bytes;
                group.push(waiting);
                if group.len() == group_max {
                    break;
                }
            } else {
                left.push(waiting);
            }
        }
        for waiting in left.into_iter().rev() {
            self.pending.push_front(waiting);
        }
        group
    }

    fn finish(&mut self, finished: Option<Result<(Id, StoredVersions), JoinError>>) {
        let (id, known) = match finished {
            None => return,
            Some(Ok(finished)) => finished,
            // Its commits were dropped with it: their callers are told that the outcome is unknown.
            Some(Err(error)) => (error.id(), StoredVersions::new()),
        };
        for key in self.keys.remove(&id).unwrap_or_default() {
            self.busy.remove(&key);
        }
        self.refuse_outdated(&known);
    }

    /// Versions only grow: who wants to write one that is known to be stored already is late, and need not ask MongoDB.
    /// This is what a thousand buyers of one ticket cost: one transaction, not a thousand.
    fn refuse_outdated(&mut self, known: &StoredVersions) {
        if known.is_empty() {
            return;
        }
        let pending = std::mem::take(&mut self.pending);
        for waiting in pending {
            let outdated = waiting.commit.versions.iter().any(|(key, version)| known.get(key).is_some_and(|stored| stored >= version));
            if outdated {
                waiting.answer(Err(CommitError::Stale));
            } else {
                self.pending.push_back(waiting);
            }
        }
    }
}
