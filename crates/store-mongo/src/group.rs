//! Processing of a group of commits, from its first attempt to its last answer.

use std::time::Duration;

use mongodb::Database;
use tokio::time::{Instant, sleep};

use super::{
    abandoned_transactions,
    connection::MongoConnection,
    diagnosis::read_preconditions,
    fault::describe,
    pending::{PendingCommit, StoredVersions},
    transaction::{TransactionOutcome, attempt},
};
use gittix_runtime::metrics::METRICS;
use gittix_store::CommitError;

/// Base of the pause between two attempts. It is doubled with each attempt, and a random part of it
/// is used.
const PAUSE_MIN: Duration = Duration::from_millis(4);
const PAUSE_MAX: Duration = Duration::from_millis(250);
/// Number of attempts after which a group is halved, so that conflicts on one document do not delay
/// the other commits.
const ATTEMPTS_WHOLE_MAX: u32 = 3;
/// Number of attempts after which abandoned transactions are searched for. Running replicas
/// conflict once or twice; after more conflicts the other process may have ended.
const ATTEMPTS_BEFORE_ABORTING_IDLE: u32 = 3;

/// Writes `group`, as one transaction if possible, and answers each of its commits. Returns the
/// versions that were found to be stored.
pub(super) async fn write(
    connection: MongoConnection,
    group: Vec<PendingCommit>,
) -> StoredVersions {
    let mut stored_versions = StoredVersions::new();
    let mut groups = vec![group];
    while let Some(group) = groups.pop() {
        groups.extend(write_one(&connection, group, &mut stored_versions).await);
    }
    stored_versions
}

/// Tries until every commit of `group` is answered, or returns the group in two halves that are to
/// be tried separately.
async fn write_one(
    connection: &MongoConnection,
    mut group: Vec<PendingCommit>,
    stored_versions: &mut StoredVersions,
) -> Vec<Vec<PendingCommit>> {
    let mut attempts = 0;
    loop {
        group = refuse_late(group);
        let Some(deadline) = group.iter().map(PendingCommit::deadline).min() else {
            return Vec::new();
        };
        attempts += 1;
        match attempt(&connection.db, &group, deadline).await {
            TransactionOutcome::Done => {
                acknowledge(group, stored_versions);
                return Vec::new();
            }
            TransactionOutcome::Unknown(why) => {
                for waiting in group {
                    waiting.answer(Err(CommitError::OutcomeUnknown(why.clone())));
                }
                return Vec::new();
            }
            TransactionOutcome::ServerError(why) if group.len() == 1 => {
                for waiting in group {
                    waiting.answer(Err(CommitError::Unavailable(why.clone())));
                }
                return Vec::new();
            }
            TransactionOutcome::ServerError(_) => return halves(group),
            TransactionOutcome::PreconditionFailed => {
                let before = group.len();
                group = reject_failed(&connection.db, group, stored_versions).await;
                if group.len() < before {
                    continue;
                }
            }
            TransactionOutcome::Transient(why) => {
                tracing::debug!(
                    why,
                    attempts,
                    commits = group.len(),
                    "a transaction is tried again"
                );
                if attempts >= ATTEMPTS_BEFORE_ABORTING_IDLE {
                    abandoned_transactions::abort_idle(connection).await;
                }
            }
        }
        if attempts >= ATTEMPTS_WHOLE_MAX && group.len() > 1 {
            return halves(group);
        }
        sleep(pause(attempts)).await;
    }
}

/// Answers the commits whose time to start has passed, and returns the others.
fn refuse_late(group: Vec<PendingCommit>) -> Vec<PendingCommit> {
    let now = Instant::now();
    let (late, rest): (Vec<_>, Vec<_>) =
        group.into_iter().partition(|waiting| waiting.start_by() <= now);
    for waiting in late {
        waiting.answer(Err(CommitError::Unavailable(
            "MongoDB did not accept the commit in time".into(),
        )));
    }
    rest
}

fn acknowledge(group: Vec<PendingCommit>, stored_versions: &mut StoredVersions) {
    // The size of a group is at most some hundred, which an f64 holds exactly.
    METRICS.commit_batch.observe(f64::from(u32::try_from(group.len()).unwrap_or(u32::MAX)));
    for waiting in group {
        stored_versions.extend(waiting.commit.versions.iter().copied());
        waiting.answer(Ok(()));
    }
}

/// Answers the commits whose preconditions do not hold, and returns the others.
async fn reject_failed(
    db: &Database,
    group: Vec<PendingCommit>,
    stored_versions: &mut StoredVersions,
) -> Vec<PendingCommit> {
    let findings = match read_preconditions(db, group.iter().map(|waiting| &waiting.commit)).await {
        Ok(findings) => findings,
        Err(error) => {
            tracing::debug!(
                error = describe(&error),
                "a precondition of a transaction failed, and its documents cannot be read; the group is tried again"
            );
            return group;
        }
    };
    let mut rest = Vec::with_capacity(group.len());
    for waiting in group {
        match findings.check(&waiting.commit) {
            Err(error) => {
                stored_versions.extend(findings.versions(&waiting.commit));
                waiting.answer(Err(error));
            }
            Ok(()) => rest.push(waiting),
        }
    }
    rest
}

fn halves(mut group: Vec<PendingCommit>) -> Vec<Vec<PendingCommit>> {
    let second = group.split_off(group.len() / 2);
    // `write` takes the last group first, so the older half is last.
    vec![second, group]
}

fn pause(attempts: u32) -> Duration {
    let longest = PAUSE_MIN.saturating_mul(1 << attempts.min(10)).min(PAUSE_MAX);
    longest.mul_f64(rand::random_range(0.25..1.0))
}
