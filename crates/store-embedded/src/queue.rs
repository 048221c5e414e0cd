//! The bounded queue of the writer. The writer of a file has its own thread; that of a store in
//! memory uses the caller's.

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
use gittix_runtime::{metrics::METRICS, tasks::EssentialTask};
use gittix_store::CommitError;

/// Maximum number of waiting jobs. They are 16 transactions, which a disk with a flush time of 0.6
/// s completes within the time-out of a commit (10 s).
pub(super) const QUEUE_MAX: usize = 4_096;

/// Maximum number of jobs of one transaction. In a larger transaction the last job would wait
/// longer for the jobs before it than for the flush.
pub(super) const BATCH_MAX: usize = 256;

/// The queue of the writer.
#[derive(Debug)]
pub(super) enum WriteQueue {
    /// For a file: a flush takes milliseconds and must not block an async worker.
    Thread { jobs: RwLock<Option<SyncSender<WriteJob>>>, thread: Mutex<Option<JoinHandle<()>>> },
    /// For a store in memory: a transaction takes microseconds and runs on the caller's thread.
    /// This also keeps tests deterministic: a runtime with paused time advances its clock while its
    /// tasks wait for another thread.
    Inline(Mutex<Option<Writer>>),
}

impl WriteQueue {
    /// Starts the writer on its own thread.
    ///
    /// # Errors
    /// The system cannot start another thread.
    pub(super) fn with_thread(writer: Writer) -> io::Result<Self> {
        let (jobs, queue) = sync_channel(QUEUE_MAX);
        let thread = thread::Builder::new()
            .name("gittix-store".into())
            .spawn(move || run(writer, &queue))?;
        Ok(Self::Thread { jobs: RwLock::new(Some(jobs)), thread: Mutex::new(Some(thread)) })
    }

    pub(super) fn inline(writer: Writer) -> Self {
        Self::Inline(Mutex::new(Some(writer)))
    }

    /// Enqueues `work` without waiting.
    ///
    /// # Errors
    /// [`CommitError::Unavailable`] if the queue is full or closed.
    pub(super) fn submit(&self, work: Work) -> Result<oneshot::Receiver<WriteResult>, CommitError> {
        let is_commit = matches!(work, Work::Commit(_));
        let (answer, waiting) = oneshot::channel();
        let submitted = self.enqueue(WriteJob { work, submitted: Instant::now(), answer });
        if is_commit && let Err(error) = &submitted {
            count_failure(error);
        }
        submitted.map(|()| waiting)
    }

    fn enqueue(&self, job: WriteJob) -> Result<(), CommitError> {
        let closed = || CommitError::Unavailable("the store is closed".into());
        match self {
            Self::Inline(writer) => {
                writer.lock().as_mut().ok_or_else(closed)?.write(vec![job]);
                Ok(())
            }
            Self::Thread { jobs, .. } => {
                let jobs = jobs.read();
                // Counted before it is sent, because the writer may take the job at once.
                METRICS.commits_waiting.inc();
                let sent = jobs.as_ref().ok_or_else(closed).and_then(|jobs| {
                    jobs.try_send(job).map_err(|error| match error {
                        TrySendError::Full(_) => {
                            METRICS.requests_rejected.with_label_values(&["store"]).inc();
                            CommitError::Unavailable(format!(
                                "the queue is full: {QUEUE_MAX} commits are waiting"
                            ))
                        }
                        TrySendError::Disconnected(_) => CommitError::Unavailable(
                            "the writer of the embedded store stopped".into(),
                        ),
                    })
                });
                sent.inspect_err(|_| METRICS.commits_waiting.dec())
            }
        }
    }

    /// Refuses new jobs, and blocks until the waiting jobs are done. A second call does nothing.
    pub(super) fn close(&self) {
        match self {
            Self::Inline(writer) => drop(writer.lock().take()),
            Self::Thread { jobs, thread } => {
                drop(jobs.write().take());
                let thread = thread.lock().take();
                if thread.is_some_and(|thread| thread.join().is_err()) {
                    tracing::error!(
                        "the embedded store's writer panicked before the store was closed"
                    );
                }
            }
        }
    }
}

/// Runs the writer. Each transaction takes the jobs that already wait; it does not wait for more.
fn run(mut writer: Writer, queue: &Receiver<WriteJob>) {
    let _guard = WriterPanicGuard(Arc::clone(&writer.file));
    // A panic in a transaction ends the process, because redb repairs the file only when it is
    // opened again.
    let essential = EssentialTask::new("embedded store's writer");
    while let Some(first) = next(&mut writer, queue) {
        let mut batch = vec![first];
        batch.extend(queue.try_iter().take(BATCH_MAX - 1));
        METRICS.commits_waiting.sub(i64::try_from(batch.len()).unwrap_or(0));
        writer.write(batch);
    }
    essential.release();
}

/// Waits for the next job. If the file failed, tries to open it again in the meantime. Returns
/// `None` if the queue is closed.
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

/// Marks the store as failed for good if the writer's thread panics.
struct WriterPanicGuard(Arc<DatabaseFile>);

impl Drop for WriterPanicGuard {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.give_up("the embedded store's writer panicked".into());
        }
    }
}
