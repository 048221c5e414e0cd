//! The open database, whether it can be used, and the way back after it failed.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use parking_lot::{Mutex, RwLock};
use redb::{Database, ReadTransaction, ReadableDatabase, WriteTransaction};
use tokio::{sync::watch, time::Instant};

use super::{opening::OpenError, tables::StorageFault};
use crate::{metrics::METRICS, store::Unavailable};

/// Opens the database of the same file once more.
pub(super) type Reopen = Box<dyn FnMut() -> Result<Database, OpenError> + Send>;

/// The database, and whether it may be used. After a storage error redb refuses everything, and the file's true state is
/// known only when it is opened again (redb repairs it then). Until then everything is refused, reads included: a read that
/// shows less than the disk holds would deny a commit whose outcome was unknown.
#[derive(Debug)]
pub(super) struct DatabaseFile {
    /// `None` while it is being opened again.
    database: RwLock<Option<Database>>,
    has_failed: AtomicBool,
    reason: Mutex<String>,
    /// Why it will not be opened again.
    file_failed: watch::Sender<Option<String>>,
}

impl DatabaseFile {
    pub(super) fn new(database: Database) -> Self {
        Self {
            database: RwLock::new(Some(database)),
            has_failed: AtomicBool::new(false),
            reason: Mutex::default(),
            file_failed: watch::Sender::new(None),
        }
    }

    /// Refuses everything from now on. The first reason stays.
    pub(super) fn fail(&self, reason: String) {
        let mut kept = self.reason.lock();
        if !self.has_failed() {
            tracing::error!(reason, "the embedded store failed; it refuses everything until its file was opened again");
            METRICS.feed_live.set(0);
            *kept = reason;
            self.has_failed.store(true, Ordering::Release);
        }
    }

    pub(super) fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Acquire)
    }

    /// # Errors
    /// Why nothing can be read or written.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.has_failed() { Err(format!("failed, and not opened again since: {}", self.reason.lock())) } else { Ok(()) }
    }

    /// Nothing here will work again in this process.
    pub(super) fn give_up(&self, reason: String) {
        self.fail(reason.clone());
        self.file_failed.send_replace(Some(reason));
    }

    /// Waits until the store was given up; why it was.
    pub(super) async fn file_failed(&self) -> String {
        let mut file_failed = self.file_failed.subscribe();
        let reason = file_failed.wait_for(Option::is_some).await.ok().and_then(|reason| reason.clone());
        reason.unwrap_or_default()
    }

    pub(super) fn begin_write(&self) -> Result<WriteTransaction, StorageFault> {
        self.with(|database| Ok(database.begin_write()?))
    }

    /// Runs `read` over a snapshot.
    pub(super) fn read<T>(&self, read: impl FnOnce(&ReadTransaction) -> Result<T, StorageFault>) -> Result<T, Unavailable> {
        self.check().map_err(Unavailable)?;
        let snapshot = self.with(|database| Ok(database.begin_read()?));
        snapshot.and_then(|snapshot| read(&snapshot)).map_err(|fault| Unavailable(fault.to_string()))
    }

    fn with<T>(&self, work: impl FnOnce(&Database) -> Result<T, StorageFault>) -> Result<T, StorageFault> {
        let database = self.database.read();
        database.as_ref().map_or_else(|| Err(StorageFault::Storage(redb::Error::DatabaseClosed)), work)
    }

    /// Closes the database, so that its file can be opened once more.
    fn close(&self) {
        // Taken out under the lock, and closed outside of it.
        let closed = self.database.write().take();
        drop(closed);
    }

    fn put_back(&self, database: Database) {
        *self.database.write() = Some(database);
        self.has_failed.store(false, Ordering::Release);
        METRICS.feed_live.set(1);
    }
}

/// When a failed database is opened again, and when it is given up.
pub(super) struct Reopening {
    reopen: Reopen,
    next: Option<Instant>,
    /// Since when it fails for another reason than a full disk.
    broken_since: Option<Instant>,
    tries: u32,
}

impl std::fmt::Debug for Reopening {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reopening").field("next", &self.next).field("tries", &self.tries).finish_non_exhaustive()
    }
}

impl Reopening {
    const EVERY: Duration = Duration::from_millis(500);
    /// A full disk is waited for as long as it takes. After any other failure the process has to be started again.
    const GIVE_UP_AFTER: Duration = Duration::from_secs(10);
    /// One failure in this many is logged.
    const LOGGED_FAILURE: u32 = 20;

    pub(super) fn new(reopen: Reopen) -> Self {
        Self { reopen, next: None, broken_since: None, tries: 0 }
    }

    /// How long until the next attempt.
    pub(super) fn due_in(&mut self) -> Duration {
        let next = *self.next.get_or_insert_with(|| Instant::now() + Self::EVERY);
        next.saturating_duration_since(Instant::now())
    }

    /// Opens the file again; `resume` makes sure that it can be written to, and takes over what was missed.
    pub(super) fn attempt(&mut self, file: &DatabaseFile, resume: impl FnOnce(&Database) -> Result<(), OpenError>) {
        file.close();
        let opened = (self.reopen)().and_then(|database| resume(&database).map(|()| database));
        match opened {
            Ok(database) => {
                file.put_back(database);
                (self.next, self.broken_since, self.tries) = (None, None, 0);
                tracing::warn!("the embedded store works again: its file was opened once more");
            }
            Err(error) => {
                if self.tries.is_multiple_of(Self::LOGGED_FAILURE) {
                    tracing::warn!(%error, "the embedded store's file cannot be opened yet; trying again");
                }
                self.tries = self.tries.wrapping_add(1);
                self.next = Some(Instant::now() + Self::EVERY);
                self.broken_since = if error.is_disk_full() { None } else { self.broken_since.or_else(|| Some(Instant::now())) };
                if self.broken_since.is_some_and(|since| since.elapsed() > Self::GIVE_UP_AFTER) {
                    file.give_up(error.to_string());
                }
            }
        }
    }
}
