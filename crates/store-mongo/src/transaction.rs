//! One attempt to write a group of commits as one transaction, and its outcome.
//!
//! A statement whose future is dropped may still reach the server and begin a transaction there.
//! The driver would not know of that transaction and would not abort it. An attempt is therefore a
//! separate task, and its statements are not cancelled when the caller stops waiting. The task is
//! dropped only after MongoDB has ended the transaction itself (60 s). A [`CommitGate`] lets the
//! task and the caller determine exactly once whether the attempt may still commit.

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
    fault::describe,
    pending::PendingCommit,
    steps::{TransactionStep, steps},
};

/// Time limit of the server for one statement (`maxTimeMS`) and for the commit.
const STATEMENT_MAX: Duration = Duration::from_secs(2);
/// Time without a reply to a statement after which the attempt is abandoned: the primary is
/// probably out of reach, and another may have been elected. It is slightly longer than the time
/// limit of the server.
const ANSWER_MAX: Duration = Duration::from_millis(2250);
/// Time limit for the majority acknowledgment of a commit (`wtimeout`).
const MAJORITY_WAIT_MAX: Duration = Duration::from_secs(3);
/// Time without a reply after which `commitTransaction` is sent again.
const COMMIT_ANSWER_MAX: Duration = Duration::from_millis(1500);
/// Pause between two `commitTransaction` commands of the same transaction.
const COMMIT_RETRY_PAUSE: Duration = Duration::from_millis(20);
/// Time limit for an abort. The abort only frees documents for other writers earlier: without a
/// commit nothing is written.
const ABORT_MAX: Duration = Duration::from_secs(1);
/// Time after which MongoDB ends a transaction itself (`transactionLifetimeLimitSeconds`). Nothing
/// is left to abort then, so the task may be dropped.
const SERVER_FORGETS_AFTER: Duration = Duration::from_secs(60);
/// MongoDB's error code for a duplicate key.
const DUPLICATE_KEY: i32 = 11000;

/// Outcome of an attempt.
#[derive(Debug)]
pub(super) enum TransactionOutcome {
    /// The transaction is committed.
    Done,
    /// Nothing was written: a statement did not match, or a key already exists.
    PreconditionFailed,
    /// Nothing was written. Another attempt may succeed.
    Transient(String),
    /// Nothing was written. Another attempt would fail too.
    ServerError(String),
    /// The transaction may have been committed, or may still be committed.
    Unknown(String),
}

/// Decision whether an attempt may commit. It is made once, by the attempt or by the caller that
/// stops waiting.
#[derive(Debug, Default)]
struct CommitGate {
    state: AtomicU8,
    /// Notified after each reply of the server.
    answered: Notify,
}

impl CommitGate {
    const OPEN: u8 = 0;
    const COMMITTING: u8 = 1;
    const ABANDONED: u8 = 2;

    /// Begins the commit. Returns `false` if the attempt was abandoned and must abort.
    fn begin_commit(&self) -> bool {
        self.decide(Self::COMMITTING)
    }

    /// Abandons the attempt. Returns `false` if it was abandoned before, or if a commit may have
    /// been sent.
    fn abandon(&self) -> bool {
        self.decide(Self::ABANDONED)
    }

    fn is_abandoned(&self) -> bool {
        self.state.load(Ordering::Acquire) == Self::ABANDONED
    }

    fn decide(&self, to: u8) -> bool {
        self.state.compare_exchange(Self::OPEN, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

/// Writes `group` as one transaction. Returns by `deadline`, or earlier if the server stops
/// replying before the commit, so that there is time for another attempt.
pub(super) async fn attempt(
    db: &Database,
    group: &[PendingCommit],
    deadline: Instant,
) -> TransactionOutcome {
    let gate = Arc::new(CommitGate::default());
    let run = run(db.clone(), steps(group), Arc::clone(&gate), deadline);
    let mut task = tokio::spawn(timeout(SERVER_FORGETS_AFTER, run));
    let mut give_up_at = deadline.min(Instant::now() + ANSWER_MAX);
    let why = loop {
        tokio::select! {
            ended = &mut task => match ended {
                Ok(Ok(outcome)) => return outcome,
                Ok(Err(_)) => break "MongoDB did not answer in time",
                Err(_) => break "the attempt was interrupted",
            },
            () = gate.answered.notified() => give_up_at = deadline.min(Instant::now() + ANSWER_MAX),
            () = sleep_until(give_up_at) => {
                if give_up_at == deadline || gate.abandon() {
                    break "MongoDB did not answer in time";
                }
                // The commit has begun. The attempt repeats it until the deadline.
                give_up_at = deadline;
            }
        }
    };
    if gate.abandon() || gate.is_abandoned() {
        TransactionOutcome::Transient(why.into())
    } else {
        TransactionOutcome::Unknown(why.into())
    }
}

async fn run(
    db: Database,
    steps: Vec<TransactionStep>,
    gate: Arc<CommitGate>,
    deadline: Instant,
) -> TransactionOutcome {
    let mut session = match begin(db.client()).await {
        Ok(session) => session,
        Err(error) => return TransactionOutcome::Transient(describe(&error)),
    };
    for step in steps {
        // The caller may already write the same group in another attempt.
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
    fail::fail_point!("store::before_commit", |_| TransactionOutcome::ServerError(
        "failpoint".into()
    ));
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
    let durable =
        WriteConcern::builder().w(Acknowledgment::Majority).w_timeout(MAJORITY_WAIT_MAX).build();
    session
        .start_transaction()
        .read_concern(ReadConcern::snapshot())
        .write_concern(durable)
        .max_commit_time(STATEMENT_MAX)
        .await?;
    Ok(session)
}

async fn abort(mut session: ClientSession) {
    // The result does not matter: without a commit the server ends the transaction itself.
    let _ = timeout(ABORT_MAX, session.abort_transaction()).await;
}

async fn execute(
    db: &Database,
    session: &mut ClientSession,
    mut step: TransactionStep,
) -> Result<(), TransactionOutcome> {
    step.command.append(
        cstr!("maxTimeMS"),
        i64::try_from(STATEMENT_MAX.as_millis()).expect("a constant of seconds"),
    );
    let reply = db.run_raw_command(step.command).session(session).await.map_err(|error| {
        if error.contains_label(TRANSIENT_TRANSACTION_ERROR) {
            TransactionOutcome::Transient(describe(&error))
        } else {
            TransactionOutcome::ServerError(describe(&error))
        }
    })?;
    if let Ok(errors) = reply.get_array("writeErrors") {
        let codes: Vec<i32> =
            errors.iter().filter_map(|error| error.as_document()?.get_i32("code").ok()).collect();
        return Err(if codes.contains(&DUPLICATE_KEY) {
            TransactionOutcome::PreconditionFailed
        } else {
            TransactionOutcome::ServerError(format!("write errors {codes:?}"))
        });
    }
    match step.matches {
        Some(expected) if matched(&reply) != expected => {
            Err(TransactionOutcome::PreconditionFailed)
        }
        _ => Ok(()),
    }
}

fn matched(reply: &Document) -> i64 {
    reply.get_i32("n").map(i64::from).or_else(|_| reply.get_i64("n")).unwrap_or(-1)
}

/// Commits the transaction. `commitTransaction` is idempotent and is repeated until the reply is
/// definite or the deadline is reached.
async fn commit(session: &mut ClientSession, deadline: Instant) -> TransactionOutcome {
    loop {
        // Dropping this future is safe: the driver marks the transaction as committed before it
        // sends the command, and a second call sends the same command again.
        let why = match timeout(COMMIT_ANSWER_MAX, session.commit_transaction()).await {
            Ok(Ok(())) => return TransactionOutcome::Done,
            Ok(Err(error)) if is_definitely_aborted(&error) => {
                return TransactionOutcome::Transient(describe(&error));
            }
            Ok(Err(error)) => describe(&error),
            Err(_) => "no answer to commitTransaction".into(),
        };
        if Instant::now() + COMMIT_RETRY_PAUSE >= deadline {
            return TransactionOutcome::Unknown(why);
        }
        sleep(COMMIT_RETRY_PAUSE).await;
    }
}

/// Returns whether a failed commit proves that the transaction will never be committed. The server
/// then labels the error as transient, also after earlier attempts of unknown outcome: it first
/// makes sure by a majority write. An error with neither label counts as unknown, to be safe.
fn is_definitely_aborted(error: &Error) -> bool {
    error.contains_label(TRANSIENT_TRANSACTION_ERROR)
        && !error.contains_label(UNKNOWN_TRANSACTION_COMMIT_RESULT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commit_gate_accepts_only_the_first_of_commit_and_abandon() {
        let gate = CommitGate::default();
        assert!(gate.begin_commit());
        assert!(!gate.abandon(), "a commit that may have been sent cannot be abandoned");
        let gate = CommitGate::default();
        assert!(gate.abandon());
        assert!(!gate.begin_commit(), "an abandoned attempt does not send its commit");
    }
}
