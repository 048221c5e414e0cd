//! Supervision: the handling of panics in tasks and threads.
//!
//! There are three ways, each used where it is safe:
//!
//! - **Contain**: one piece of work fails, and its task or thread continues ([`contain`]).
//! - **Restart**: the task begins again from durable state ([`supervise`], [`keep_running`]).
//! - **End the process**: the state in memory may be wrong, so that only a new process, which reads
//!   the store again, is safe ([`EssentialTask`]). The program exits with an error, and its
//!   orchestrator starts it again.
//!
//! actix's `Supervisor` is none of them: it never restarts an actor that panicked. The panic drops
//! the actor.
//!
//! | task or thread | after a panic |
//! | --- | --- |
//! | `catalog`, `cache_updates`, `sweep`, `clock_sync`, `purge`, `reconcile`, `charge_counts` | restarted; each works on what it reads from the store, or resets its caches first |
//! | `mail_sender` | restarted; a mail that it had claimed is sent when its claim has ended |
//! | `timer_recovery` (once after a start) | restarted until it has run to its end; the sweep finds overdue locks meanwhile |
//! | follower of MongoDB's change stream | restarted: resumes after the last event; if that panics again, resets the feed |
//! | MongoDB group committer | restarted; the callers of the commits that it had taken from the queue get `outcome_unknown` |
//! | a group of MongoDB commits | fails alone: its callers get `outcome_unknown` |
//! | a MongoDB transaction | tried again, or fails with `outcome_unknown` if it may have been committed |
//! | driver thread of MongoDB | ends the process |
//! | writer thread of the embedded store | ends the process: redb repairs its file when it is opened again |
//! | ledger thread of the sandbox | ends the process, for the same reason |
//! | ticket registry | one message fails (`outcome_unknown`); if the registry ends all the same, the process ends |
//! | order and user registry | one request fails (`outcome_unknown`), since actix runs its future apart from the actor; if the registry ends all the same, the process ends |
//! | ticket actor | dropped; its report makes the ticket registry start a new actor, a limited number of times in a row |
//! | thread of ticket actors, if it ends | ends the process: a ticket's thread follows from its id |
//! | payment in progress, round of reconciliation | fails alone; the next round of reconciliation continues |
//! | password thread | one password fails (503); the thread continues |
//! | WebSocket shard | its connections are closed; started again for the next connection |
//! | WebSocket connection | fails alone |
//! | HTTP request | answered with 500 by the middleware |
//! | HTTP server | ends the process |

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::LazyLock,
    time::Duration,
};

use futures_util::FutureExt;
use tokio::sync::watch;

/// Pause before a task that panicked is started again.
const RESTART_AFTER: Duration = Duration::from_secs(1);

/// Runs the futures that `start` returns, one after the other, until one of them completes. A
/// future that panics is logged and replaced after a pause.
pub async fn supervise<F, T>(name: &'static str, mut start: F)
where
    F: FnMut() -> T,
    T: Future<Output = ()>,
{
    while contain_future(name, async { start().await }).await.is_none() {
        tokio::time::sleep(RESTART_AFTER).await;
    }
}

/// Runs the future that `start` returns on the current arbiter, and starts it again if it panics or
/// completes. The task ends with the arbiter.
pub fn keep_running<F, T>(name: &'static str, start: F)
where
    F: Fn() -> T + 'static,
    T: Future<Output = ()> + 'static,
{
    actix::spawn(async move {
        loop {
            supervise(name, &start).await;
            tracing::error!(
                task = name,
                "a background task ended by mistake; it is started again; report this bug"
            );
            tokio::time::sleep(RESTART_AFTER).await;
        }
    });
}

/// Runs `work`. Returns `None` if it panics. The panic hook has logged the place.
pub fn contain<T>(name: &'static str, work: impl FnOnce() -> T) -> Option<T> {
    // The caller makes sure that the state that `work` leaves after a panic is usable.
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| report(name)).ok()
}

/// Does the same as [`contain`] for a future.
async fn contain_future<T>(name: &'static str, work: impl Future<Output = T>) -> Option<T> {
    AssertUnwindSafe(work).catch_unwind().await.map_err(|_| report(name)).ok()
}

fn report(name: &'static str) {
    tracing::error!(task = name, "a task panicked; report this bug");
}

/// The name of the first essential task that ended.
type Ended = watch::Sender<Option<&'static str>>;

static ENDED: LazyLock<Ended> = LazyLock::new(|| Ended::new(None));

/// Guard held by a task or thread that cannot be restarted. Dropping it ends the process, unless
/// [`EssentialTask::release`] was called.
#[derive(Debug)]
pub struct EssentialTask {
    name: Option<&'static str>,
    ended: &'static Ended,
}

impl EssentialTask {
    pub fn new(name: &'static str) -> Self {
        Self { name: Some(name), ended: &ENDED }
    }

    /// Allows the task to end: the process continues.
    pub fn release(mut self) {
        self.name = None;
    }
}

impl Drop for EssentialTask {
    fn drop(&mut self) {
        if let Some(name) = self.name {
            // The guard is dropped also when the process shuts down. Nothing reads the name then.
            self.ended.send_if_modified(|ended| ended.is_none() && ended.replace(name).is_none());
        }
    }
}

/// Waits until an essential task has ended. Returns its name.
pub async fn essential_ended() -> &'static str {
    first_of(&ENDED).await
}

async fn first_of(ended: &Ended) -> &'static str {
    let mut ended = ended.subscribe();
    loop {
        if let Some(name) = *ended.borrow_and_update() {
            return name;
        }
        // The sender is static, so that `changed` never fails.
        let _ = ended.changed().await;
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, rc::Rc};

    use super::*;

    #[actix::test]
    async fn task_that_panics_is_started_again() {
        tokio::time::pause();
        let starts = Rc::new(Cell::new(0));
        let counted = Rc::clone(&starts);
        keep_running("test", move || {
            counted.set(counted.get() + 1);
            let first = counted.get() == 1;
            async move {
                assert!(!first, "panic of the test");
                std::future::pending().await
            }
        });
        tokio::time::sleep(RESTART_AFTER * 3).await;
        assert_eq!(starts.get(), 2, "one start by the test, and one after the panic");
    }

    #[tokio::test(start_paused = true)]
    async fn supervised_task_runs_until_it_completes() {
        let mut starts = 0;
        supervise("test", || {
            starts += 1;
            let panics = starts < 3;
            async move { assert!(!panics, "panic of the test") }
        })
        .await;
        assert_eq!(starts, 3);
    }

    #[tokio::test]
    async fn essential_task_that_ends_is_reported_unless_it_was_released() {
        let ended: &'static Ended = Box::leak(Box::new(Ended::new(None)));
        let guard = |name| EssentialTask { name: Some(name), ended };
        guard("released").release();
        assert_eq!(*ended.borrow(), None);
        let panics = || {
            let _guard = guard("worker");
            panic!("panic of the test")
        };
        assert_eq!(contain("worker", panics), None::<()>);
        assert_eq!(first_of(ended).await, "worker");
    }
}
