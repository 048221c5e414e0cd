//! The open database, its state after a storage error, and its reopening.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use parking_lot::{Mutex, RwLock};
use redb::{Database, ReadTransaction, ReadableDatabase, WriteTransaction};
use tokio::{sync::watch, time::Instant};

use super::{opening::OpenError, tables::StorageFault};
use gittix_runtime::metrics::METRICS;
use gittix_store::Unavailable;

/// Opens the database of the same file again.
pub(super) type Reopen = Box<dyn FnMut() -> Result<Database, OpenError> + Send>;

/// The database, with a flag that says whether it failed.
///
/// After a storage error redb refuses every operation. The state of the file is known only after it
/// was opened again, when redb repairs it. Until then every operation is refused, also reads: a
/// read that returned less than the file contains would wrongly show that a commit of unknown
/// outcome was not written.
#[derive(Debug)]
pub(super) struct DatabaseFile {
    /// `None` while the file is being opened again.
    database: RwLock<Option<Database>>,
    has_failed: AtomicBool,
    reason: Mutex<String>,
    /// Reason why the file will not be opened again in this process.
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

    /// Refuses every operation until the file is opened again. Keeps the first reason.
    pub(super) fn fail(&self, reason: String) {
        let mut kept = self.reason.lock();
        if !self.has_failed() {
            tracing::error!(
                reason,
                "the embedded store failed and refuses all calls until its file is opened again; check the disk of the data folder"
            );
            METRICS.feed_live.set(0);
            *kept = reason;
            self.has_failed.store(true, Ordering::Release);
        }
    }

    pub(super) fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Acquire)
    }

    /// Returns an error while the file cannot be used.
    ///
    /// # Errors
    /// The reason why the file cannot be read or written.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.has_failed() {
            Err(format!("the store failed and was not opened again yet: {}", self.reason.lock()))
        } else {
            Ok(())
        }
    }

    /// Ends the attempts to open the file again. Only a restart of the process helps.
    pub(super) fn give_up(&self, reason: String) {
        self.fail(reason.clone());
        self.file_failed.send_replace(Some(reason));
    }

    /// Waits until [`DatabaseFile::give_up`] is called, and returns the reason.
    pub(super) async fn file_failed(&self) -> String {
        let mut file_failed = self.file_failed.subscribe();
        let reason =
            file_failed.wait_for(Option::is_some).await.ok().and_then(|reason| reason.clone());
        reason.unwrap_or_default()
    }

    pub(super) fn begin_write(&self) -> Result<WriteTransaction, StorageFault> {
        self.with(|database| Ok(database.begin_write()?))
    }

    /// Runs `read` on a snapshot.
    pub(super) fn read<T>(
        &self,
        read: impl FnOnce(&ReadTransaction) -> Result<T, StorageFault>,
    ) -> Result<T, Unavailable> {
        self.check().map_err(Unavailable)?;
        let snapshot = self.with(|database| Ok(database.begin_read()?));
        snapshot
            .and_then(|snapshot| read(&snapshot))
            .map_err(|fault| Unavailable(fault.to_string()))
    }

    fn with<T>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, StorageFault>,
    ) -> Result<T, StorageFault> {
        let database = self.database.read();
        database
            .as_ref()
            .map_or_else(|| Err(StorageFault::Storage(redb::Error::DatabaseClosed)), work)
    }

    /// Closes the database, so that its file can be opened again.
    fn close(&self) {
        // The database is taken out under the lock and dropped after the lock was released.
        let closed = self.database.write().take();
        drop(closed);
    }

    fn set_reopened(&self, database: Database) {
        *self.database.write() = Some(database);
        self.has_failed.store(false, Ordering::Release);
        METRICS.feed_live.set(1);
    }
}

/// Schedule of the attempts to open a failed database again.
pub(super) struct Reopening {
    reopen: Reopen,
    next: Option<Instant>,
    /// Time since which the attempts fail for another reason than a full disk.
    broken_since: Option<Instant>,
    tries: u32,
}

impl std::fmt::Debug for Reopening {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reopening")
            .field("next", &self.next)
            .field("tries", &self.tries)
            .finish_non_exhaustive()
    }
}

impl Reopening {
    const EVERY: Duration = Duration::from_millis(500);
    /// Time after which attempts that fail for another reason than a full disk end. The process
    /// must then be restarted. With a full disk the attempts do not end.
    const GIVE_UP_AFTER: Duration = Duration::from_secs(10);
    /// One of this many failures is logged.
    const LOGGED_FAILURE: u32 = 20;

    pub(super) fn new(reopen: Reopen) -> Self {
        Self { reopen, next: None, broken_since: None, tries: 0 }
    }

    /// Returns the time until the next attempt.
    pub(super) fn due_in(&mut self) -> Duration {
        let next = *self.next.get_or_insert_with(|| Instant::now() + Self::EVERY);
        next.saturating_duration_since(Instant::now())
    }

    /// Opens the file again. `resume` checks that the file can be written to, and adds missed
    /// events to the feed.
    pub(super) fn attempt(
        &mut self,
        file: &DatabaseFile,
        resume: impl FnOnce(&Database) -> Result<(), OpenError>,
    ) {
        file.close();
        let opened = (self.reopen)().and_then(|database| resume(&database).map(|()| database));
        match opened {
            Ok(database) => {
                file.set_reopened(database);
                (self.next, self.broken_since, self.tries) = (None, None, 0);
                tracing::warn!("the embedded store works again: its file was opened");
            }
            Err(error) => {
                if self.tries.is_multiple_of(Self::LOGGED_FAILURE) {
                    tracing::warn!(%error, "the embedded store cannot be opened and is tried again every 0.5 s; check its disk");
                }
                self.tries = self.tries.wrapping_add(1);
                self.next = Some(Instant::now() + Self::EVERY);
                self.broken_since = if error.is_disk_full() {
                    None
                } else {
                    self.broken_since.or_else(|| Some(Instant::now()))
                };
                if self.broken_since.is_some_and(|since| since.elapsed() > Self::GIVE_UP_AFTER) {
                    file.give_up(error.to_string());
                }
            }
        }
    }
}
