//! Commits that wait for their answer.

use std::{collections::HashMap, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, oneshot},
    time::Instant,
};

use super::prepare::{ConflictKey, Prepared};
use gittix_domain::Version;
use gittix_runtime::metrics::METRICS;
use gittix_store::CommitError;

/// Time from the submission of a commit to the end of its last attempt. Its caller waits up to
/// `ANSWER_GRACE` longer.
pub(super) const COMMIT_DEADLINE: Duration = Duration::from_secs(5);

/// Time within which a commit must get into a transaction; otherwise it is answered with
/// Unavailable. The rest of its deadline is for finding out the outcome of the transaction.
pub(super) const START_WITHIN: Duration = Duration::from_secs(3);

/// A commit that waits for its answer.
#[derive(Debug)]
pub(super) struct PendingCommit {
    pub commit: Prepared,
    pub submitted: Instant,
    pub answer: oneshot::Sender<Result<(), CommitError>>,
    pub _permit: QueuePermit,
}

/// A permit for one commit in the queue. The metric counts permits that are held.
#[derive(Debug)]
pub(super) struct QueuePermit(
    #[expect(dead_code, reason = "dropping it releases the permit")] pub OwnedSemaphorePermit,
);

impl Drop for QueuePermit {
    fn drop(&mut self) {
        METRICS.commits_waiting.dec();
    }
}

impl PendingCommit {
    /// Returns the time by which a transaction with this commit must start.
    pub fn start_by(&self) -> Instant {
        self.submitted + START_WITHIN
    }

    pub fn deadline(&self) -> Instant {
        self.submitted + COMMIT_DEADLINE
    }

    /// Sends the result to the caller. The receiver may have been dropped.
    pub fn answer(self, result: Result<(), CommitError>) {
        let _ = self.answer.send(result);
    }
}

/// Newest stored version of each document that a finished group has written or read.
pub(super) type StoredVersions = HashMap<ConflictKey, Version>;
