//! A group of commits from its first attempt to the last answer.

use std::time::Duration;

use mongodb::Database;
use tokio::time::{Instant, sleep};

use super::{
    abandoned_transactions,
    committer::{PendingCommit, StoredVersions},
    connection::MongoConnection,
    diagnosis::{Diagnosis, read_preconditions},
    fault::describe,
    transaction::{TransactionOutcome, attempt},
};
use crate::{metrics::METRICS, store::CommitError};

/// The first pause between two attempts; it doubles, and a random part of it is taken.
const PAUSE_MIN: Duration = Duration::from_millis(4);
const PAUSE_MAX: Duration = Duration::from_millis(250);
/// A group that conflicts with other replicas so often is halved, so that one hot document does not hold up the others.
const ATTEMPTS_WHOLE_MAX: u32 = 3;
/// Replicas that are alive conflict once or twice; more often, and the other one may be dead.
const ATTEMPTS_BEFORE_LOOKING: u32 = 3;

/// Writes `group`, as one transaction if that works, and answers every commit of it.
pub(super) async fn write(connection: MongoConnection, group: Vec<PendingCommit>) -> StoredVersions {
    let mut known = StoredVersions::new();
    let mut groups = vec![group];
    while let Some(group) = groups.pop() {
        groups.extend(write_one(&connection, group, &mut known).await);
    }
    known
}

/// Tries until all of `group` is answered, or returns it in parts that fare better alone.
async fn write_one(connection: &MongoConnection, mut group: Vec<PendingCommit>, known: &mut StoredVersions) -> Vec<Vec<PendingCommit>> {
    let mut attempts = 0;
    loop {
        group = in_time(group);
        let Some(deadline) = group.iter().map(PendingCommit::deadline).min() else { return Vec::new() };
        attempts += 1;
        match attempt(&connection.db, &group, deadline).await {
            TransactionOutcome::Done => {
                acknowledge(group, known);
                return Vec::new();
            }
            TransactionOutcome::Unknown(why) => {
                for waiting in group {
                    waiting.answer(Err(CommitError::OutcomeUnknown(why.clone())));
                }
                return Vec::new();
            }
            TransactionOutcome::Refused(why) if group.len() == 1 => {
                for waiting in group {
                    waiting.answer(Err(CommitError::Unavailable(why.clone())));
                }
                return Vec::new();
            }
            TransactionOutcome::Refused(_) => return halves(group),
            TransactionOutcome::PreconditionFailed => {
                let before = group.len();
                group = reject_failed(&connection.db, group, known).await;
                if group.len() < before {
                    continue;
                }
            }
            TransactionOutcome::Transient(why) => {
                tracing::debug!(why, attempts, commits = group.len(), "a transaction is tried again");
                if attempts >= ATTEMPTS_BEFORE_LOOKING {
                    abandoned_transactions::end(connection).await;
                }
            }
        }
        if attempts >= ATTEMPTS_WHOLE_MAX && group.len() > 1 {
            return halves(group);
        }
        sleep(pause(attempts)).await;
    }
}

/// Answers those for whom it is too late to begin.
fn in_time(group: Vec<PendingCommit>) -> Vec<PendingCommit> {
    let now = Instant::now();
    let (late, rest): (Vec<_>, Vec<_>) = group.into_iter().partition(|waiting| waiting.start_by() <= now);
    for waiting in late {
        waiting.answer(Err(CommitError::Unavailable("MongoDB did not take it in time".into())));
    }
    rest
}

fn acknowledge(group: Vec<PendingCommit>, known: &mut StoredVersions) {
    // A batch has a few dozen commits: exact in an f64.
    METRICS.commit_batch.observe(f64::from(u32::try_from(group.len()).unwrap_or(u32::MAX)));
    for waiting in group {
        known.extend(waiting.commit.versions.iter().copied());
        waiting.answer(Ok(()));
    }
}

/// Answers the commits whose conditions do not hold; returns the others.
async fn reject_failed(db: &Database, group: Vec<PendingCommit>, known: &mut StoredVersions) -> Vec<PendingCommit> {
    let findings = match read_preconditions(db, group.iter().map(|waiting| &waiting.commit)).await {
        Ok(findings) => findings,
        Err(error) => {
            tracing::debug!(error = describe(&error), "a transaction missed, and its documents cannot be read");
            return group;
        }
    };
    let mut rest = Vec::with_capacity(group.len());
    for mut waiting in group {
        match findings.diagnose(&waiting.commit) {
            Diagnosis::Fails(error) => {
                known.extend(findings.versions(&waiting.commit));
                waiting.answer(Err(error));
            }
            Diagnosis::Holds => rest.push(waiting),
            Diagnosis::HoldsAmended { needless, holders } => {
                waiting.commit.amend(&needless, holders);
                rest.push(waiting);
            }
        }
    }
    rest
}

fn halves(mut group: Vec<PendingCommit>) -> Vec<Vec<PendingCommit>> {
    let second = group.split_off(group.len() / 2);
    // The next to be written is taken from the end: the older first.
    vec![second, group]
}

fn pause(attempts: u32) -> Duration {
    let longest = PAUSE_MIN.saturating_mul(1 << attempts.min(10)).min(PAUSE_MAX);
    longest.mul_f64(rand::random_range(0.25..1.0))
}
