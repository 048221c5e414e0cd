//! The bounded way to the writer: a thread of its own for a file, the caller's turn for memory.

use std::{
    io,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    thread::{self, JoinHandle},
};

use parking_lot::{Mutex, RwLock};
use tokio::{sync::oneshot, time::Instant};

use super::{
    file::DatabaseFile,
    writer::{Work, WriteJob, WriteResult, Writer, count_failure},
};
use crate::{metrics::METRICS, store::CommitError, tasks::EssentialTask};

/// Jobs that may wait: what a disk that flushes in a second can still work off within a commit's time-out.
pub(super) const QUEUE_MAX: usize = 4_096;

/// Jobs that share one transaction at most: with more, the last waits longer for its turn than for the flush.
pub(super) const BATCH_MAX: usize = 256;

/// The way to the writer.
#[derive(Debug)]
pub(super) enum WriteQueue {
    /// Flushing takes milliseconds, which no async worker may be blocked for.
    Thread { jobs: RwLock<Option<SyncSender<WriteJob>>>, thread: Mutex<Option<JoinHandle<()>>> },
    /// In memory a transaction takes microseconds. Done in the caller's turn, it also keeps tests deterministic: a
    /// runtime whose time is paused takes the wait for another thread for idleness, and moves its clock on.
    Inline(Mutex<Option<Writer>>),
}

impl WriteQueue {
    /// # Errors
    /// The system gives no more threads.
    pub(super) fn with_thread(writer: Writer) -> io::Result<Self> {
        let (jobs, queue) = sync_channel(QUEUE_MAX);
        let thread = thread::Builder::new().name("gittix-store".into()).spawn(move || run(writer, &queue))?;
        Ok(Self::Thread { jobs: RwLock::new(Some(jobs)), thread: Mutex::new(Some(thread)) })
    }

    pub(super) fn inline(writer: Writer) -> Self {
        Self::Inline(Mutex::new(Some(writer)))
    }

    /// Hands `work` over without waiting.
    ///
    /// # Errors
    /// [`CommitError::Unavailable`] if the queue is full or closed.
    pub(super) fn submit(&self, work: Work) -> Result<oneshot::Receiver<WriteResult>, CommitError> {
        let is_commit = matches!(work, Work::Commit(_));
        let (answer, waiting) = oneshot::channel();
        let submitted = self.hand_over(WriteJob { work, submitted: Instant::now(), answer });
        if is_commit && let Err(error) = &submitted {
            count_failure(error);
        }
        submitted.map(|()| waiting)
    }

    fn hand_over(&self, job: WriteJob) -> Result<(), CommitError> {
        let closed = || CommitError::Unavailable("closed".into());
        match self {
            Self::Inline(writer) => {
                writer.lock().as_mut().ok_or_else(closed)?.write(vec![job]);
                Ok(())
            }
            Self::Thread { jobs, .. } => {
                let jobs = jobs.read();
                // Counted first: the writer may take it before this line is over.
                METRICS.commits_waiting.inc();
                let sent = jobs.as_ref().ok_or_else(closed).and_then(|jobs| {
                    jobs.try_send(job).map_err(|error| match error {
                        TrySendError::Full(_) => {
                            METRICS.requests_rejected.with_label_values(&["store"]).inc();
                            CommitError::Unavailable(format!("{QUEUE_MAX} commits wait already"))
                        }
                        TrySendError::Disconnected(_) => CommitError::Unavailable("its writer stopped".into()),
                    })
                });
                sent.inspect_err(|_| METRICS.commits_waiting.dec())
            }
        }
    }

    /// Takes no more jobs, and returns when those that wait are done. Blocks; repeating it does nothing.
    pub(super) fn close(&self) {
        match self {
            Self::Inline(writer) => drop(writer.lock().take()),
            Self::Thread { jobs, thread } => {
                drop(jobs.write().take());
                let thread = thread.lock().take();
                if thread.is_some_and(|thread| thread.join().is_err()) {
                    tracing::error!("the store's writer had panicked");
                }
            }
        }
    }
}

/// Batches what waits, and never waits to batch.
fn run(mut writer: Writer, queue: &Receiver<WriteJob>) {
    let _alarm = Alarm(Arc::clone(&writer.file));
    // A transaction that a panic interrupts is repaired when the file is opened again, and by nothing else.
    let essential = EssentialTask::new("embedded store's writer");
    while let Some(first) = next(&mut writer, queue) {
        let mut batch = vec![first];
        batch.extend(queue.try_iter().take(BATCH_MAX - 1));
        METRICS.commits_waiting.sub(i64::try_from(batch.len()).unwrap_or(0));
        writer.write(batch);
    }
    essential.release();
}

/// Waits for the next job, and opens the file again meanwhile if it failed. `None`: the queue is closed.
fn next(writer: &mut Writer, queue: &Receiver<WriteJob>) -> Option<WriteJob> {
    loop {
        match writer.reopens_in() {
            None => return queue.recv().ok(),
            Some(wait) if wait.is_zero() => writer.reopen(),
            Some(wait) => match queue.recv_timeout(wait) {
                Ok(job) => return Some(job),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return None,
            },
        }
    }
}

/// Gives the store up when the writer's thread ends by a panic.
struct Alarm(Arc<DatabaseFile>);

impl Drop for Alarm {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.give_up("its writer panicked".into());
        }
    }
}
