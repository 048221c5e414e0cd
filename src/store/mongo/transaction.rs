//! One attempt to write a group of commits as one transaction, and what came of it.
//!
//! Nothing here is ever cancelled half-way. A statement whose future is dropped may still reach the server and begin a
//! transaction there that the driver knows nothing of, so that nobody would end it. So an attempt is a task of its own
//! that runs to its end whoever stopped waiting for it; a [`CommitGate`] between the two settles, once, whether it may still
//! commit.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use bson::{Document, raw::cstr};
use mongodb::{
    Client, ClientSession, Database,
    error::{Error, TRANSIENT_TRANSACTION_ERROR, UNKNOWN_TRANSACTION_COMMIT_RESULT},
    options::{Acknowledgment, ReadConcern, WriteConcern},
};
use tokio::{
    sync::Notify,
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{
    committer::PendingCommit,
    fault::describe,
    statements::{TransactionStep, steps},
};

/// How long the server may work on one statement (`maxTimeMS`) or on the commit.
const STATEMENT_MAX: Duration = Duration::from_secs(2);
/// A statement that has had no answer for so long will not get one: whoever was the primary is out of reach, and another may
/// have been elected. A little more than the server itself may work on it.
const ANSWER_MAX: Duration = Duration::from_millis(2250);
/// How long a majority of the members may take to have a commit (`wtimeout`).
const MAJORITY_WAIT_MAX: Duration = Duration::from_secs(3);
/// How long one `commitTransaction` may go without an answer before it is repeated.
const COMMIT_ANSWER_MAX: Duration = Duration::from_millis(1500);
/// Between two `commitTransaction` of the same transaction.
const COMMIT_RETRY_PAUSE: Duration = Duration::from_millis(20);
/// How long to wait for an abort. It is a courtesy to others: what is not committed never will be.
const ABORT_MAX: Duration = Duration::from_secs(1);
/// MongoDB ends a transaction by itself after this time (`transactionLifetimeLimitSeconds`), so that then nothing is left
/// to abort and the task may be dropped.
const SERVER_FORGETS_AFTER: Duration = Duration::from_secs(60);
/// MongoDB's code for a key that is there already.
const DUPLICATE_KEY: i32 = 11000;

/// What came of an attempt.
#[derive(Debug)]
pub(super) enum TransactionOutcome {
    Done,
    /// Nothing was written: a statement did not match, or a key is there already.
    PreconditionFailed,
    /// Nothing was written; another attempt may well succeed.
    Transient(String),
    /// Nothing was written, and another attempt would fare no better.
    Refused(String),
    /// It may have been written, or may be yet.
    Unknown(String),
}

/// Whether an attempt may commit: settled once, by the attempt or by whoever gave up waiting.
#[derive(Debug, Default)]
struct CommitGate {
    state: AtomicU8,
    /// Rung by each answer of the server.
    answered: Notify,
}

impl CommitGate {
    const OPEN: u8 = 0;
    const COMMITTING: u8 = 1;
    const ABANDONED: u8 = 2;

    /// `false` if it was abandoned: then it must abort.
    fn begin_commit(&self) -> bool {
        self.settle(Self::COMMITTING)
    }

    /// `false` if a commit was, or may have been, sent.
    fn abandon(&self) -> bool {
        self.settle(Self::ABANDONED)
    }

    fn is_abandoned(&self) -> bool {
        self.state.load(Ordering::Acquire) == Self::ABANDONED
    }

    fn settle(&self, to: u8) -> bool {
        self.state.compare_exchange(Self::OPEN, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

/// Writes `group` as one transaction; the answer comes by `deadline`, and sooner if the server stopped answering before
/// anything was to be committed: then there is time for another attempt.
pub(super) async fn attempt(db: &Database, group: &[PendingCommit], deadline: Instant) -> TransactionOutcome {
    let gate = Arc::new(CommitGate::default());
    let run = run(db.clone(), steps(group), Arc::clone(&gate), deadline);
    let mut task = tokio::spawn(timeout(SERVER_FORGETS_AFTER, run));
    let mut overdue = deadline.min(Instant::now() + ANSWER_MAX);
    let why = loop {
        tokio::select! {
            ended = &mut task => match ended {
                Ok(Ok(outcome)) => return outcome,
                Ok(Err(_)) => break "MongoDB did not answer in time",
                Err(_) => break "the attempt was interrupted",
            },
            () = gate.answered.notified() => overdue = deadline.min(Instant::now() + ANSWER_MAX),
            () = sleep_until(overdue) => {
                if overdue == deadline || gate.abandon() {
                    break "MongoDB did not answer in time";
                }
                // It is being committed, which is repeated until the deadline.
                overdue = deadline;
            }
        }
    };
    if gate.abandon() || gate.is_abandoned() { TransactionOutcome::Transient(why.into()) } else { TransactionOutcome::Unknown(why.into()) }
}

async fn run(db: Database, steps: Vec<TransactionStep>, gate: Arc<CommitGate>, deadline: Instant) -> TransactionOutcome {
    let mut session = match begin(db.client()).await {
        Ok(session) => session,
        Err(error) => return TransactionOutcome::Transient(describe(&error)),
    };
    for step in steps {
        // Whoever gave up waiting may be writing the same by now.
        let done = if gate.is_abandoned() {
            Err(TransactionOutcome::Transient("abandoned".into()))
        } else {
            execute(&db, &mut session, step).await
        };
        if let Err(outcome) = done {
            abort(session).await;
            return outcome;
        }
        gate.answered.notify_one();
    }
    fail::fail_point!("store::before_commit", |_| TransactionOutcome::Refused("failpoint".into()));
    if !gate.begin_commit() {
        abort(session).await;
        return TransactionOutcome::Transient("abandoned".into());
    }
    let outcome = commit(&mut session, deadline).await;
    fail::fail_point!("store::after_commit", |_| TransactionOutcome::Unknown("failpoint".into()));
    outcome
}

async fn begin(client: &Client) -> Result<ClientSession, Error> {
    let mut session = client.start_session().await?;
    let durable = WriteConcern::builder().w(Acknowledgment::Majority).w_timeout(MAJORITY_WAIT_MAX).build();
    session.start_transaction().read_concern(ReadConcern::snapshot()).write_concern(durable).max_commit_time(STATEMENT_MAX).await?;
    Ok(session)
}

async fn abort(mut session: ClientSession) {
    // Its outcome changes nothing: without a commit the server drops the transaction in the end.
    let _ = timeout(ABORT_MAX, session.abort_transaction()).await;
}

async fn execute(db: &Database, session: &mut ClientSession, mut step: TransactionStep) -> Result<(), TransactionOutcome> {
    step.command.append(cstr!("maxTimeMS"), i64::try_from(STATEMENT_MAX.as_millis()).expect("a constant of seconds"));
    let reply = db.run_raw_command(step.command).session(session).await.map_err(|error| {
        if error.contains_label(TRANSIENT_TRANSACTION_ERROR) {
            TransactionOutcome::Transient(describe(&error))
        } else {
            TransactionOutcome::Refused(describe(&error))
        }
    })?;
    if let Ok(errors) = reply.get_array("writeErrors") {
        let codes: Vec<i32> = errors.iter().filter_map(|error| error.as_document()?.get_i32("code").ok()).collect();
        return Err(if codes.contains(&DUPLICATE_KEY) {
            TransactionOutcome::PreconditionFailed
        } else {
            TransactionOutcome::Refused(format!("write errors {codes:?}"))
        });
    }
    match step.matches {
        Some(expected) if matched(&reply) != expected => Err(TransactionOutcome::PreconditionFailed),
        _ => Ok(()),
    }
}

fn matched(reply: &Document) -> i64 {
    reply.get_i32("n").map(i64::from).or_else(|_| reply.get_i64("n")).unwrap_or(-1)
}

/// `commitTransaction` is idempotent: repeated until the answer is definite, or until the deadline.
async fn commit(session: &mut ClientSession, deadline: Instant) -> TransactionOutcome {
    loop {
        // Dropping this future is safe: the driver marks the transaction as committed before it sends anything, and sends
        // the same command again when it is asked again.
        let why = match timeout(COMMIT_ANSWER_MAX, session.commit_transaction()).await {
            Ok(Ok(())) => return TransactionOutcome::Done,
            Ok(Err(error)) if is_definitely_aborted(&error) => return TransactionOutcome::Transient(describe(&error)),
            Ok(Err(error)) => describe(&error),
            Err(_) => "no answer to commitTransaction".into(),
        };
        if Instant::now() + COMMIT_RETRY_PAUSE >= deadline {
            return TransactionOutcome::Unknown(why);
        }
        sleep(COMMIT_RETRY_PAUSE).await;
    }
}

/// The server labels a failed commit so when the transaction is gone for good (also after earlier tries whose outcome was
/// unknown: it makes sure by a majority write first). An error with neither label is taken for unknown, to be safe.
fn is_definitely_aborted(error: &Error) -> bool {
    error.contains_label(TRANSIENT_TRANSACTION_ERROR) && !error.contains_label(UNKNOWN_TRANSACTION_COMMIT_RESULT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_commit_and_abandon_only_the_first_succeeds() {
        let gate = CommitGate::default();
        assert!(gate.begin_commit());
        assert!(!gate.abandon(), "what may have been sent is not abandoned");
        let gate = CommitGate::default();
        assert!(gate.abandon());
        assert!(!gate.begin_commit(), "what was answered as not written is not sent");
    }
}
