//! Group commit: the queue in front of the database, and the task that distributes commits to
//! transactions.
//!
//! A transaction takes the waiting commits, up to a bound. If no transaction is running, the next
//! one starts at once and does not wait for more commits. At most two transactions run at the same
//! time, and the second starts only if at least 24 commits wait, or if the oldest one has waited
//! for 20 ms. Commits with a [`ConflictKey`] in common are written one after the other, in the
//! order of their arrival: never in one transaction, and never in two at the same time, so that a
//! process seldom conflicts with itself. A conflict remains possible after an attempt was
//! abandoned, and between [`gittix_store::Write::CloseSession`] and
//! [`gittix_store::Write::CloseSessions`], whose keys differ.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use fail::fail_point;
use tokio::{
    sync::{Mutex, Semaphore, mpsc, oneshot},
    task::{Id, JoinError, JoinSet},
    time::{Instant, sleep_until},
};

use super::{
    connection::MongoConnection,
    group,
    pending::{PendingCommit, QueuePermit, START_WITHIN, StoredVersions},
    prepare::{ConflictKey, Prepared},
};
use gittix_runtime::{metrics::METRICS, tasks::supervise};
use gittix_store::CommitError;

/// Maximum number of commits that wait or are being written. Further commits are refused at once.
const COMMITS_MAX: usize = 4096;
/// Maximum number of commits of one transaction. After a conflict the whole group is tried again,
/// so a larger group makes a conflict more expensive.
const GROUP_MAX: usize = 64;
/// Maximum number of commits of one transaction while the queue is deep. With a thousand waiting
/// commits, groups of 256 give two fifths more throughput than groups of 64.
const GROUP_DEEP_MAX: usize = 256;
/// Number of waiting commits above which the queue is deep: then smaller groups answer no commit
/// earlier.
const DEEP: usize = 512;
/// Maximum size in bytes of a transaction of several commits: far below the 16 MiB limit of a
/// command and of a document.
const GROUP_BYTES_MAX: usize = 4 << 20;
/// Maximum size in bytes of one commit; a larger one is refused. The largest commit of a decision
/// has about 20 KiB.
const COMMIT_BYTES_MAX: usize = 12 << 20;
/// Maximum number of concurrent transactions: the second is prepared while the first waits for the
/// journal. `benches/mongo_commits.rs` compares the numbers.
const TRANSACTIONS_MAX: usize = 2;
/// Minimum number of waiting commits for a second transaction. A smaller group would take the
/// server as long as a larger one, and would be hardly faster than the next transaction.
const SECOND_TRANSACTION_COMMITS_MIN: usize = 24;
/// Waiting time of a commit after which a second transaction starts for a group of any size: a
/// running transaction that is delayed does not delay the others.
const SECOND_TRANSACTION_AFTER: Duration = Duration::from_millis(20);

/// The queue of commits. After it is dropped, the committer ends when all its commits are answered.
#[derive(Debug)]
pub(super) struct CommitQueue {
    sender: mpsc::UnboundedSender<PendingCommit>,
    permits: Arc<Semaphore>,
}

impl CommitQueue {
    /// Returns the queue, and the future of the committer, which the caller must spawn.
    pub fn new(connection: MongoConnection) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (sender, receiver) = mpsc::unbounded_channel();
        // If the committer panics, a new one starts. The commits that the old one had taken from
        // the channel are dropped, and their callers get an unknown outcome. Conditions on versions
        // protect later commits from its running transactions.
        let receiver = Arc::new(Mutex::new(receiver));
        let committer = supervise("committer", move || {
            Committer::new(connection.clone()).run(Arc::clone(&receiver))
        });
        (Self { sender, permits: Arc::new(Semaphore::new(COMMITS_MAX)) }, committer)
    }

    /// Enqueues a commit. If its answer never arrives because the sender was dropped, its outcome
    /// is unknown.
    ///
    /// # Errors
    /// [`CommitError::Unavailable`] at once, if the commit is too large, the queue is full or the
    /// store is closed.
    pub fn submit(
        &self,
        commit: Prepared,
    ) -> Result<oneshot::Receiver<Result<(), CommitError>>, CommitError> {
        if commit.bytes > COMMIT_BYTES_MAX {
            return Err(CommitError::Unavailable(format!(
                "a commit of {} bytes is too large",
                commit.bytes
            )));
        }
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
            METRICS.requests_rejected.with_label_values(&["store"]).inc();
            return Err(CommitError::Unavailable("too many commits are waiting".into()));
        };
        METRICS.commits_waiting.inc();
        let (answer, answered) = oneshot::channel();
        let waiting = PendingCommit {
            commit,
            submitted: Instant::now(),
            answer,
            _permit: QueuePermit(permit),
        };
        self.sender
            .send(waiting)
            .map_err(|_| CommitError::Unavailable("the store is closed".into()))?;
        Ok(answered)
    }
}

struct Committer {
    connection: MongoConnection,
    /// Waiting commits in their order of arrival.
    pending: VecDeque<PendingCommit>,
    /// Keys of the running transactions.
    busy: HashSet<ConflictKey>,
    running: JoinSet<StoredVersions>,
    /// Keys of each running transaction. The committer keeps them so that they are also released
    /// after a panic.
    keys: HashMap<Id, Vec<ConflictKey>>,
}

impl Committer {
    fn new(connection: MongoConnection) -> Self {
        Self {
            connection,
            pending: VecDeque::new(),
            busy: HashSet::new(),
            running: JoinSet::new(),
            keys: HashMap::new(),
        }
    }

    async fn run(mut self, queue: Arc<Mutex<mpsc::UnboundedReceiver<PendingCommit>>>) {
        let mut queue = queue.lock().await;
        let mut open = true;
        while open || !self.pending.is_empty() || !self.running.is_empty() {
            self.expire();
            self.start();
            let next_deadline = self.next_deadline();
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
                () = sleep_until(next_deadline.unwrap_or_else(Instant::now)), if next_deadline.is_some() => {}
            }
        }
    }

    fn expire(&mut self) {
        let now = Instant::now();
        while self.pending.front().is_some_and(|oldest| oldest.start_by() <= now) {
            if let Some(late) = self.pending.pop_front() {
                late.answer(Err(CommitError::Unavailable(format!(
                    "no transaction started for the commit within {START_WITHIN:?}"
                ))));
            }
        }
    }

    fn start(&mut self) {
        while self.running.len() < TRANSACTIONS_MAX {
            if !self.running.is_empty() && !self.may_start_second() {
                return;
            }
            let group = self.next_group();
            if group.is_empty() {
                return;
            }
            let keys: Vec<ConflictKey> =
                group.iter().flat_map(|waiting| waiting.commit.keys.iter().copied()).collect();
            self.busy.extend(&keys);
            let task = self.running.spawn(group::write(self.connection.clone(), group));
            self.keys.insert(task.id(), keys);
        }
    }

    fn may_start_second(&self) -> bool {
        let has_waited_long =
            |oldest: &PendingCommit| oldest.submitted + SECOND_TRANSACTION_AFTER <= Instant::now();
        self.pending.len() >= SECOND_TRANSACTION_COMMITS_MIN
            || self.pending.front().is_some_and(has_waited_long)
    }

    /// Returns the next time at which the oldest commit starts a second transaction or expires.
    fn next_deadline(&self) -> Option<Instant> {
        let oldest = self.pending.front()?;
        let second_after = oldest.submitted + SECOND_TRANSACTION_AFTER;
        Some(if second_after > Instant::now() { second_after } else { oldest.start_by() })
    }

    /// Takes the oldest commits that share no key with a running transaction, with each other, or
    /// with an older commit that keeps waiting.
    fn next_group(&mut self) -> Vec<PendingCommit> {
        let group_max = if self.pending.len() > DEEP { GROUP_DEEP_MAX } else { GROUP_MAX };
        let mut group = Vec::new();
        let mut bytes = 0;
        let mut taken: HashSet<ConflictKey> = HashSet::new();
        let mut skipped = Vec::new();
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
                skipped.push(waiting);
            }
        }
        for waiting in skipped.into_iter().rev() {
            self.pending.push_front(waiting);
        }
        group
    }

    fn finish(&mut self, finished: Option<Result<(Id, StoredVersions), JoinError>>) {
        let (id, stored_versions) = match finished {
            None => return,
            Some(Ok(finished)) => finished,
            // The commits of the panicked group were dropped, so their callers get an unknown
            // outcome.
            Some(Err(error)) => (error.id(), StoredVersions::new()),
        };
        for key in self.keys.remove(&id).unwrap_or_default() {
            self.busy.remove(&key);
        }
        self.refuse_outdated(&stored_versions);
    }

    /// Answers [`CommitError::Stale`] to waiting commits that would write a version that is already
    /// stored. Versions only grow, so these commits need no transaction. A thousand buyers of one
    /// ticket therefore take one transaction, not a thousand.
    fn refuse_outdated(&mut self, stored_versions: &StoredVersions) {
        if stored_versions.is_empty() {
            return;
        }
        let pending = std::mem::take(&mut self.pending);
        for waiting in pending {
            let outdated = waiting.commit.versions.iter().any(|(key, version)| {
                stored_versions.get(key).is_some_and(|stored| stored >= version)
            });
            if outdated {
                waiting.answer(Err(CommitError::Stale));
            } else {
                self.pending.push_back(waiting);
            }
        }
    }
}
