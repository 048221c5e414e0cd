//! The embedded store: redb, one file, one process.
//!
//! | file | contents |
//! | --- | --- |
//! | `tables` | tables of the file, and the encoding of documents |
//! | `opening` | opening a file: its layout, epoch and recent events |
//! | `queue`, `writer` | group commit |
//! | `file` | the open database, and its recovery after a storage error |
//! | `validate`, `apply`, `purge` | the steps of one transaction |
//! | `reads` | reads |
//! | `counters` | counters of hits, in memory |
//!
//! A commit is on the disk before it is acknowledged.

mod apply;
mod counters;
mod file;
mod opening;
mod purge;
mod queue;
mod reads;
mod tables;
#[cfg(test)]
mod tests;
mod validate;
mod writer;

use std::{fmt, path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use redb::{Database, ReadTransaction, StorageBackend, backends::InMemoryBackend};
use tokio::{task::spawn_blocking, time::timeout};

pub use opening::OpenError;

use self::{
    counters::ExpiringCounters,
    file::{DatabaseFile, Reopen, Reopening},
    queue::WriteQueue,
    tables::StorageFault,
    writer::{Done, Work, Writer},
};
use gittix_domain::{
    Charge, ChargeId, Delivery, DomainEvent, Email, IdempotencyRecord, Mail, MailId, Millis, Order,
    OrderId, Sale, Session, SessionDigest, Ticket, TicketId, Timestamp, User, UserId,
    invariants::Snapshot,
};
use gittix_runtime::{
    clock::{Clock, wall_clock},
    metrics::METRICS,
};
use gittix_store::{
    Commit, CommitError, CounterValue, FeedLog, Inspect, MailCounts, OrderScope, Store, Unavailable,
};

/// Time limit for an answer of the writer and for a long read. A healthy disk needs a thousandth of
/// it. A client usually has its own time-out before this one.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// A [`Store`] in one file, or in memory.
pub struct EmbeddedStore {
    file: Arc<DatabaseFile>,
    feed: FeedLog,
    queue: Arc<WriteQueue>,
    counters: ExpiringCounters,
    /// Clock of a store in memory, which stops while tokio's time is paused. `None` for a store in
    /// a file: it uses the wall clock of the machine, which continues while the machine is
    /// suspended and may be corrected while the server runs.
    clock: Option<Clock>,
}

impl fmt::Debug for EmbeddedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedStore")
            .field("cursor", &self.feed.cursor())
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}

impl EmbeddedStore {
    /// Opens `gittix.redb` in `folder`. Creates the folder and the file if they do not exist.
    ///
    /// # Errors
    /// [`OpenError`]: another process has the file open, or the file or folder cannot be used.
    pub fn open(folder: &Path) -> Result<Arc<Self>, OpenError> {
        let again = folder.to_owned();
        let reopen: Reopen = Box::new(move || opening::database_in(&again));
        Self::start_with(opening::database(folder)?, Some(reopen), None, WriteQueue::with_thread)
    }

    /// Creates an empty store for tests, which is dropped with its last handle. Commits run on the
    /// caller's thread, so that the store works in a runtime whose time is paused.
    ///
    /// # Errors
    /// [`OpenError`]: the system provides no random bytes.
    pub fn in_memory() -> Result<Arc<Self>, OpenError> {
        let clock = Clock::starting_at(wall_clock());
        Self::start_with(Self::on(InMemoryBackend::new())?, None, Some(clock), |writer| {
            Ok(WriteQueue::inline(writer))
        })
    }

    fn on(backend: impl StorageBackend) -> Result<Database, OpenError> {
        opening::builder()
            .create_with_backend(backend)
            .map_err(|error| OpenError::Unreadable(error.to_string()))
    }

    fn start_with(
        database: Database,
        reopen: Option<Reopen>,
        clock: Option<Clock>,
        queue: impl FnOnce(Writer) -> std::io::Result<WriteQueue>,
    ) -> Result<Arc<Self>, OpenError> {
        let opening::OpenedDatabase { epoch, number, feed } =
            opening::initialize(&database, wall_clock())?;
        let file = Arc::new(DatabaseFile::new(database));
        let writer = Writer {
            file: Arc::clone(&file),
            reopening: reopen.map(Reopening::new),
            feed: feed.clone(),
            epoch,
            number,
        };
        let queue = Arc::new(queue(writer).map_err(OpenError::Writer)?);
        METRICS.feed_live.set(1);
        Ok(Arc::new(Self { file, feed, queue, counters: ExpiringCounters::default(), clock }))
    }

    async fn ask(&self, work: Work) -> Result<Done, CommitError> {
        let answer = self.queue.submit(work)?;
        match timeout(WAIT_MAX, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => {
                Err(CommitError::OutcomeUnknown("the writer of the embedded store stopped".into()))
            }
            Err(_) => Err(CommitError::OutcomeUnknown(format!("no answer within {WAIT_MAX:?}"))),
        }
    }

    /// Reads a few rows on the caller's thread. This takes microseconds if the rows are in redb's
    /// cache, and otherwise one read of a few pages. A change of threads would take longer.
    fn read<T>(
        &self,
        read: impl FnOnce(&ReadTransaction) -> Result<T, StorageFault>,
    ) -> Result<T, Unavailable> {
        self.file.read(read)
    }

    /// Reads many rows on a thread for blocking work.
    async fn scan<T: Send + 'static>(
        &self,
        read: impl FnOnce(&ReadTransaction) -> Result<T, StorageFault> + Send + 'static,
    ) -> Result<T, Unavailable> {
        let file = Arc::clone(&self.file);
        match timeout(WAIT_MAX, spawn_blocking(move || file.read(read))).await {
            Ok(Ok(read)) => read,
            Ok(Err(error)) => Err(Unavailable(error.to_string())),
            Err(_) => Err(Unavailable(format!("no answer within {WAIT_MAX:?}"))),
        }
    }
}

#[cfg(test)]
impl EmbeddedStore {
    /// Opens a store on the database of a test. The store does not reopen the database after a
    /// failure.
    fn start(
        database: Database,
        queue: impl FnOnce(Writer) -> std::io::Result<WriteQueue>,
    ) -> Result<Arc<Self>, OpenError> {
        Self::start_with(database, None, None, queue)
    }
}

#[cfg(any(test, feature = "test-util"))]
impl EmbeddedStore {
    /// Changes the time of a store in memory, as a correction of a clock does.
    ///
    /// # Panics
    /// If the store is on disk.
    pub fn step_time(&self, by: Millis) {
        let clock = self.clock.as_ref().expect("a store in memory has its own clock");
        clock.measured(Timestamp(clock.now().0 + by.0), tokio::time::Instant::now());
    }
}

impl Drop for EmbeddedStore {
    /// Waits for the writer, so that the file can be opened again.
    fn drop(&mut self) {
        self.queue.close();
    }
}

#[async_trait]
impl Store for EmbeddedStore {
    async fn commit(&self, commit: Commit) -> Result<(), CommitError> {
        self.ask(Work::Commit(commit)).await.map(|_| ())
    }

    fn feed(&self) -> &FeedLog {
        &self.feed
    }

    async fn time(&self) -> Result<Timestamp, Unavailable> {
        self.file.check().map_err(Unavailable)?;
        Ok(self.clock.as_ref().map_or_else(wall_clock, Clock::now))
    }

    async fn secret(&self, name: &'static str) -> Result<[u8; 32], Unavailable> {
        if let Some(secret) = self.read(|snapshot| reads::secret(snapshot, name))? {
            return Ok(secret);
        }
        match self.ask(Work::Secret(name)).await? {
            Done::Secret(secret) => Ok(secret),
            other => Err(Unavailable(format!("the writer answered {other:?}"))),
        }
    }

    async fn has_mark(&self, name: &'static str) -> Result<bool, Unavailable> {
        Ok(self.read(|snapshot| reads::secret(snapshot, name))?.is_some())
    }

    async fn ticket(&self, id: TicketId) -> Result<Option<Ticket>, Unavailable> {
        self.read(|snapshot| reads::document(snapshot, tables::TICKETS, id.uuid().as_u128()))
    }

    async fn sale(&self, id: TicketId) -> Result<Option<Sale>, Unavailable> {
        self.read(|snapshot| reads::sale(snapshot, id))
    }

    async fn tickets_after(
        &self,
        after: Option<TicketId>,
        limit: usize,
    ) -> Result<Vec<Ticket>, Unavailable> {
        self.scan(move |snapshot| reads::tickets_after(snapshot, after, limit)).await
    }

    async fn sales(&self, ids: &[TicketId]) -> Result<Vec<Sale>, Unavailable> {
        let ids = ids.to_vec();
        self.scan(move |snapshot| reads::sales(snapshot, &ids)).await
    }

    async fn tickets_overdue(
        &self,
        cutoff: Timestamp,
        limit: usize,
    ) -> Result<Vec<TicketId>, Unavailable> {
        self.scan(move |snapshot| reads::tickets_overdue(snapshot, cutoff, limit)).await
    }

    async fn order(&self, id: OrderId) -> Result<Option<Order>, Unavailable> {
        self.read(|snapshot| reads::document(snapshot, tables::ORDERS, id.uuid().as_u128()))
    }

    async fn orders_of(
        &self,
        buyer: UserId,
        scope: OrderScope,
        after: Option<OrderId>,
        limit: usize,
    ) -> Result<Vec<Order>, Unavailable> {
        match scope {
            // A user has at most as many active orders as locks.
            OrderScope::Active => {
                self.read(|snapshot| reads::orders_of(snapshot, buyer, scope, after, limit))
            }
            OrderScope::All => {
                self.scan(move |snapshot| reads::orders_of(snapshot, buyer, scope, after, limit))
                    .await
            }
        }
    }

    async fn charge(&self, id: ChargeId) -> Result<Option<Charge>, Unavailable> {
        self.read(|snapshot| reads::document(snapshot, tables::CHARGES, id.uuid().as_u128()))
    }

    async fn charges_of(&self, order: OrderId) -> Result<Vec<Charge>, Unavailable> {
        self.read(|snapshot| reads::charges_of(snapshot, order))
    }

    async fn charges_open(
        &self,
        cutoff: Timestamp,
        after: Option<ChargeId>,
        limit: usize,
    ) -> Result<Vec<Charge>, Unavailable> {
        self.scan(move |snapshot| reads::charges_open(snapshot, cutoff, after, limit)).await
    }

    async fn user(&self, id: UserId) -> Result<Option<User>, Unavailable> {
        self.read(|snapshot| reads::document(snapshot, tables::USERS, id.uuid().as_u128()))
    }

    async fn user_by_email(&self, email: &Email) -> Result<Option<User>, Unavailable> {
        self.read(|snapshot| reads::user_by_email(snapshot, email.as_str()))
    }

    async fn mails_due(&self, now: Timestamp, limit: usize) -> Result<Vec<Mail>, Unavailable> {
        self.scan(move |snapshot| reads::mails_due(snapshot, now, limit)).await
    }

    async fn mail_counts(&self) -> Result<MailCounts, Unavailable> {
        self.read(reads::mail_counts)
    }

    async fn session(&self, digest: &SessionDigest) -> Result<Option<Session>, Unavailable> {
        self.read(|snapshot| reads::session(snapshot, digest.as_str()))
    }

    async fn idempotency(
        &self,
        user: UserId,
        key: &str,
    ) -> Result<Option<IdempotencyRecord>, Unavailable> {
        self.read(|snapshot| reads::idempotency(snapshot, user, key))
    }

    async fn delivery(&self, event: &str) -> Result<Option<Delivery>, Unavailable> {
        self.read(|snapshot| reads::delivery(snapshot, event))
    }

    async fn declines_of(&self, user: UserId) -> Result<Vec<Timestamp>, Unavailable> {
        self.read(|snapshot| reads::declines_of(snapshot, user))
    }

    async fn count_hit(
        &self,
        key: &str,
        window: Millis,
        now: Timestamp,
    ) -> Result<u64, Unavailable> {
        Ok(self.counters.hit(key, window, now))
    }

    async fn count(&self, key: &str, now: Timestamp) -> Result<CounterValue, Unavailable> {
        Ok(self.counters.count(key, now))
    }

    async fn clear_count(&self, key: &str) -> Result<(), Unavailable> {
        self.counters.clear(key);
        Ok(())
    }

    async fn purge(&self, now: Timestamp) -> Result<(), Unavailable> {
        self.counters.purge(now);
        // Each transaction removes a bounded number of records, so that commits can run between
        // them.
        while let Done::Purged(purged) = self.ask(Work::Purge(now)).await? {
            if !purged.more {
                break;
            }
        }
        Ok(())
    }

    async fn file_failed(&self) -> String {
        self.file.file_failed().await
    }

    async fn close(&self) {
        let queue = Arc::clone(&self.queue);
        if let Err(error) = spawn_blocking(move || queue.close()).await {
            tracing::error!(%error, "the embedded store could not be closed: its closing task panicked or was cancelled");
        }
    }
}

#[async_trait]
impl Inspect for EmbeddedStore {
    async fn mail(&self, id: MailId) -> Result<Option<Mail>, Unavailable> {
        self.read(|snapshot| reads::document(snapshot, tables::MAILS, id.uuid().as_u128()))
    }

    async fn dump(&self) -> Result<(Snapshot, Vec<DomainEvent>), Unavailable> {
        self.scan(reads::dump).await
    }
}
