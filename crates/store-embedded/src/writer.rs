//! The only writer of the store. Commits that wait at the same time share one transaction, and so
//! one flush to the disk.
//!
//! A commit is acknowledged only after its transaction is durable and its events are in the feed.
//! The answer to a commit does not depend on which commits share its transaction: each is validated
//! after the commits before it.

use std::{sync::Arc, time::Duration};

use redb::ReadableTable;
use tokio::{sync::oneshot, time::Instant};

use super::{
    apply::apply,
    file::{DatabaseFile, Reopening},
    opening,
    purge::{Purged, purge},
    tables::{StorageFault, Tables},
    validate::{Rejection, validate},
};
use gittix_domain::Timestamp;
use gittix_runtime::metrics::METRICS;
use gittix_store::{Commit, CommitError, Cursor, FeedLog, RecordedEvent};

/// A request to the writer.
#[derive(Debug)]
pub(super) enum Work {
    Commit(Commit),
    /// Returns the secret of this name, and creates it if it does not exist.
    Secret(&'static str),
    /// Runs one purge step for this time.
    Purge(Timestamp),
}

/// Result of a [`Work`].
#[derive(Debug)]
pub(super) enum Done {
    Committed,
    Secret([u8; 32]),
    Purged(Purged),
}

pub(super) type WriteResult = Result<Done, CommitError>;

/// A request with the channel for its result. It is processed also if the receiver was dropped.
#[derive(Debug)]
pub(super) struct WriteJob {
    pub work: Work,
    pub submitted: Instant,
    pub answer: oneshot::Sender<WriteResult>,
}

/// Owner of all write transactions after the store was opened.
#[derive(Debug)]
pub(super) struct Writer {
    pub file: Arc<DatabaseFile>,
    /// Reopening of the file after a storage error. `None`: the file is not opened again.
    pub reopening: Option<Reopening>,
    pub feed: FeedLog,
    pub epoch: u32,
    /// The number of the last transaction that carried events.
    pub number: u64,
}

/// Results of one transaction before it is durable.
#[derive(Default)]
struct WriteBatch {
    answers: Vec<WriteResult>,
    recorded: Vec<RecordedEvent>,
    commits: u32,
    /// Whether the transaction changed anything.
    changed: bool,
}

impl Writer {
    /// Processes `jobs` in one transaction and answers each of them.
    pub(super) fn write(&mut self, jobs: Vec<WriteJob>) {
        let (work, waiting): (Vec<Work>, Vec<PendingReply>) =
            jobs.into_iter().map(WriteJob::split).unzip();
        match self.transact(work) {
            Ok(answers) => {
                answers.into_iter().zip(waiting).for_each(|(answer, waiting)| waiting.reply(answer))
            }
            Err(error) => waiting.into_iter().for_each(|waiting| waiting.reply(Err(error.clone()))),
        }
    }

    /// Returns the time until the next attempt to open the file again. `None` if the file works or
    /// cannot be opened again.
    pub(super) fn reopens_in(&mut self) -> Option<Duration> {
        let has_failed = self.file.has_failed();
        self.reopening.as_mut().filter(|_| has_failed).map(Reopening::due_in)
    }

    /// Opens the file again after a failure. Pushes the events of commits of unknown outcome that
    /// were written into the feed.
    pub(super) fn reopen(&mut self) {
        let Some(reopening) = &mut self.reopening else { return };
        reopening.attempt(&self.file, |database| {
            let missed = opening::resume(database, &self.feed)?;
            METRICS.feed_events.inc_by(missed.len() as u64);
            self.feed.push(missed);
            self.number = self.number.max(self.feed.cursor().time);
            Ok(())
        });
    }

    fn transact(&mut self, work: Vec<Work>) -> Result<Vec<WriteResult>, CommitError> {
        self.file.check().map_err(CommitError::Unavailable)?;
        let unwritten = |fault: StorageFault| {
            self.file.fail(fault.to_string());
            CommitError::Unavailable(fault.to_string())
        };
        // A dropped transaction is aborted, so the early returns below write nothing.
        let transaction = self.file.begin_write().map_err(unwritten)?;
        let batch = Tables::open(&transaction)
            .map_err(StorageFault::from)
            .and_then(|mut tables| self.fill(&mut tables, work))
            .map_err(unwritten)?;
        if !batch.changed {
            return Ok(batch.answers);
        }
        before_commit()?;
        // With redb's default durability the transaction is on the disk when `commit` returns.
        transaction.commit().map_err(|error| {
            self.file.fail(error.to_string());
            CommitError::OutcomeUnknown(error.to_string())
        })?;
        METRICS.commit_batch.observe(f64::from(batch.commits));
        METRICS.feed_events.inc_by(batch.recorded.len() as u64);
        if let Some(last) = batch.recorded.last() {
            self.number = last.cursor.time;
            self.feed.push(batch.recorded);
        }
        after_commit()?;
        Ok(batch.answers)
    }

    fn fill(&self, tables: &mut Tables<'_>, work: Vec<Work>) -> Result<WriteBatch, StorageFault> {
        let mut batch = WriteBatch::default();
        for work in work {
            let answer = match work {
                Work::Commit(commit) => self.commit(tables, commit, &mut batch)?,
                Work::Secret(name) => secret(tables, name, &mut batch)?,
                Work::Purge(now) => {
                    let purged = purge(tables, now)?;
                    batch.changed |= purged.removed > 0;
                    Ok(Done::Purged(purged))
                }
            };
            batch.answers.push(answer);
        }
        Ok(batch)
    }

    fn commit(
        &self,
        tables: &mut Tables<'_>,
        commit: Commit,
        batch: &mut WriteBatch,
    ) -> Result<WriteResult, StorageFault> {
        let plan = match validate(tables, &commit) {
            Ok(plan) => plan,
            Err(Rejection::Precondition(error)) => return Ok(Err(error)),
            Err(Rejection::Storage(fault)) => return Err(fault),
        };
        let (number, ordinal) =
            (self.number + 1, u32::try_from(batch.recorded.len()).unwrap_or(u32::MAX));
        apply(tables, &plan, number, ordinal)?;
        let cursors =
            (ordinal..).map(|ordinal| Cursor { epoch: self.epoch, time: number, ordinal });
        batch.recorded.extend(
            cursors
                .zip(commit.events)
                .map(|(cursor, event)| RecordedEvent::new(cursor, commit.at, event)),
        );
        batch.commits += 1;
        batch.changed |= !commit.writes.is_empty() || !plan.events.is_empty();
        Ok(Ok(Done::Committed))
    }
}

fn secret(
    tables: &mut Tables<'_>,
    name: &'static str,
    batch: &mut WriteBatch,
) -> Result<WriteResult, StorageFault> {
    if let Some(secret) = tables.secrets.get(name)? {
        return Ok(Ok(Done::Secret(*secret.value())));
    }
    let mut secret = [0; 32];
    if let Err(error) = getrandom::fill(&mut secret) {
        return Ok(Err(CommitError::Unavailable(format!(
            "the system provides no random bytes: {error}"
        ))));
    }
    tables.secrets.insert(name, &secret)?;
    batch.changed = true;
    Ok(Ok(Done::Secret(secret)))
}

/// Failpoint before the transaction is durable. A fault here loses the whole transaction. `return`
/// makes it fail.
fn before_commit() -> Result<(), CommitError> {
    fail::fail_point!("store::before_commit", |_| Err(CommitError::Unavailable(
        "failpoint".into()
    )));
    Ok(())
}

/// Failpoint after the transaction is durable and before the answers. A fault here loses only the
/// answers. `return` makes the outcome unknown.
fn after_commit() -> Result<(), CommitError> {
    fail::fail_point!("store::after_commit", |_| Err(CommitError::OutcomeUnknown(
        "failpoint".into()
    )));
    Ok(())
}

/// The channel for the result of one job.
struct PendingReply {
    is_commit: bool,
    submitted: Instant,
    answer: oneshot::Sender<WriteResult>,
}

impl WriteJob {
    fn split(self) -> (Work, PendingReply) {
        let is_commit = matches!(self.work, Work::Commit(_));
        (self.work, PendingReply { is_commit, submitted: self.submitted, answer: self.answer })
    }
}

impl PendingReply {
    fn reply(self, answer: WriteResult) {
        if self.is_commit {
            match &answer {
                Ok(_) => {
                    METRICS.commits.inc();
                    METRICS.commit_seconds.observe(self.submitted.elapsed().as_secs_f64());
                }
                Err(error) => count_failure(error),
            }
        }
        // The receiver may have been dropped. The result is then discarded.
        let _ = self.answer.send(answer);
    }
}

pub(super) fn count_failure(error: &CommitError) {
    METRICS.commits_failed.with_label_values(&[error.reason()]).inc();
}
