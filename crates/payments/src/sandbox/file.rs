//! The ledger of a single server: a redb file beside the file of the embedded store.
//!
//! One thread writes. Writes that arrive during the flush of a transaction share the next
//! transaction, so that many concurrent payments need few flushes. A write is answered only after
//! the flush.
//!
//! After an I/O error, mostly because of a full disk, redb refuses all calls until the file is
//! reopened. Opening the file also repairs incomplete writes. The writer tries to reopen the file
//! at short intervals. Calls fail in the meantime, and their callers repeat them.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use async_trait::async_trait;
use parking_lot::RwLock;
use redb::{
    Database, ReadTransaction, ReadableDatabase, ReadableTable, Table, TableDefinition,
    WriteTransaction, backends::FileBackend,
};
use tokio::sync::{
    mpsc::{self, error::TryRecvError},
    oneshot,
};

use super::{
    ledger::{Ledger, LedgerError},
    payment::SandboxPayment,
};
use gittix_domain::PaymentId;
use gittix_runtime::{data_folder, tasks::EssentialTask};

/// Payment id -> the payment as JSON.
const PAYMENTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("payments");

/// Maximum number of queued writes. If the queue is full, callers wait.
const QUEUE_MAX: usize = 1024;

/// Maximum number of writes in one transaction.
const BATCH_MAX: usize = 256;

/// Size of redb's page cache, in bytes. Payments are small, and old payments are rarely read.
const CACHE_BYTES: usize = 16 << 20;

/// Time between two attempts to reopen the file.
const REOPEN_EVERY: Duration = Duration::from_millis(250);

/// The ledger in the file `sandbox.redb`.
#[derive(Debug)]
pub struct FileLedger {
    file: Arc<LedgerFile>,
    /// `None` only during `drop`.
    queue: Option<mpsc::Sender<LedgerJob>>,
    writer: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct LedgerJob {
    payment: SandboxPayment,
    kind: LedgerWrite,
    answer: oneshot::Sender<Result<Written, LedgerError>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LedgerWrite {
    Open,
    Replace,
}

/// The payment in the ledger after the write, and whether this write changed it.
#[derive(Debug)]
struct Written {
    payment: SandboxPayment,
    changed: bool,
}

impl FileLedger {
    /// The file's name in the data directory.
    pub const FILE: &'static str = "sandbox.redb";

    /// Opens the ledger in the existing directory `data_dir`, or creates it.
    ///
    /// # Errors
    /// Fails if the file cannot be opened, or if another process has it open.
    pub fn open(data_dir: &Path) -> Result<Self, LedgerError> {
        let path = data_dir.join(Self::FILE);
        let database = RwLock::new(Some(open_database(&path)?));
        let file = Arc::new(LedgerFile { path, database, has_failed: AtomicBool::new(false) });
        let (queue, jobs) = mpsc::channel(QUEUE_MAX);
        let writer = std::thread::Builder::new().name("sandbox-ledger".into());
        let for_writer = Arc::clone(&file);
        let writer = writer.spawn(move || write_all(&for_writer, jobs)).map_err(failed)?;
        Ok(Self { file, queue: Some(queue), writer: Some(writer) })
    }

    async fn write(
        &self,
        payment: SandboxPayment,
        kind: LedgerWrite,
    ) -> Result<Written, LedgerError> {
        let (answer, answered) = oneshot::channel();
        let queue = self.queue.as_ref().expect("the queue exists until the ledger is dropped");
        queue.send(LedgerJob { payment, kind, answer }).await.map_err(failed)?;
        answered.await.map_err(failed)?
    }

    fn read<T>(
        &self,
        look: impl FnOnce(&redb::ReadOnlyTable<&str, &[u8]>) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        let transaction = self.file.begin_read()?;
        look(&transaction.open_table(PAYMENTS).map_err(failed)?)
    }
}

/// The open database file of the ledger.
#[derive(Debug)]
struct LedgerFile {
    path: PathBuf,
    /// `None` while the file is being reopened.
    database: RwLock<Option<Database>>,
    /// Whether a write failed and the file was not reopened since.
    has_failed: AtomicBool,
}

impl LedgerFile {
    fn begin_read(&self) -> Result<ReadTransaction, LedgerError> {
        // After a write of unknown outcome, a read must fail: the write may or may not have been
        // stored.
        if self.has_failed.load(Ordering::Acquire) {
            return Err(LedgerError("a write failed, and the file is not reopened yet".into()));
        }
        self.database.read().as_ref().ok_or_else(closed)?.begin_read().map_err(failed)
    }

    fn begin_write(&self) -> Result<WriteTransaction, LedgerError> {
        self.database.read().as_ref().ok_or_else(closed)?.begin_write().map_err(failed)
    }

    fn reopen(&self) -> Result<(), LedgerError> {
        let old = self.database.write().take();
        // The old database holds the lock of the file, so it is closed before the file is reopened.
        drop(old);
        let database = open_database(&self.path)?;
        *self.database.write() = Some(database);
        self.has_failed.store(false, Ordering::Release);
        Ok(())
    }
}

/// Opens or creates the file, and checks that it can be written.
fn open_database(path: &Path) -> Result<Database, LedgerError> {
    let file = data_folder::open_file(path).map_err(failed)?;
    let file = FileBackend::new(file).map_err(failed)?;
    let database = Database::builder()
        .set_cache_size(CACHE_BYTES)
        .create_with_backend(file)
        .map_err(failed)?;
    let first = database.begin_write().map_err(failed)?;
    first.open_table(PAYMENTS).map_err(failed)?;
    first.commit().map_err(failed)?;
    Ok(database)
}

impl Drop for FileLedger {
    /// Waits until the queued writes are done. Then the file can be opened again.
    fn drop(&mut self) {
        self.queue = None;
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!(
                "the writer thread of the sandbox ledger panicked; the log line of the panic shows why"
            );
        }
    }
}

#[async_trait]
impl Ledger for FileLedger {
    async fn open(&self, payment: SandboxPayment) -> Result<SandboxPayment, LedgerError> {
        // Most payments are opened once. A payment that exists needs no write and no flush.
        match self.find(&payment.id).await? {
            Some(known) => Ok(known),
            None => Ok(self.write(payment, LedgerWrite::Open).await?.payment),
        }
    }

    /// The read is done on the calling thread, because it is short: it is mostly served by the page
    /// cache.
    async fn find(&self, id: &PaymentId) -> Result<Option<SandboxPayment>, LedgerError> {
        self.read(|payments| {
            payments
                .get(id.as_str())
                .map_err(failed)?
                .map(|found| decoded(found.value()))
                .transpose()
        })
    }

    async fn replace(&self, payment: SandboxPayment) -> Result<bool, LedgerError> {
        Ok(self.write(payment, LedgerWrite::Replace).await?.changed)
    }

    async fn all(&self) -> Result<Vec<SandboxPayment>, LedgerError> {
        self.read(|payments| {
            payments
                .iter()
                .map_err(failed)?
                .map(|entry| decoded(entry.map_err(failed)?.1.value()))
                .collect()
        })
    }
}

/// Runs the writer thread until the ledger is dropped and the queue is empty.
fn write_all(file: &LedgerFile, mut jobs: mpsc::Receiver<LedgerJob>) {
    // Only reopening the file repairs a transaction that a panic interrupted.
    let essential = EssentialTask::new("sandbox ledger");
    while let Some(first) = jobs.blocking_recv() {
        let mut batch = vec![first];
        while batch.len() < BATCH_MAX
            && let Ok(next) = jobs.try_recv()
        {
            batch.push(next);
        }
        let (payments, answers): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|job| ((job.payment, job.kind), job.answer)).unzip();
        // The send fails if the caller no longer waits, which needs no action.
        match write_batch(file, payments) {
            Ok(written) => answers
                .into_iter()
                .zip(written)
                .for_each(|(answer, written)| drop(answer.send(Ok(written)))),
            Err(error) => {
                file.has_failed.store(true, Ordering::Release);
                tracing::error!(%error, "the sandbox ledger failed; reopening its file (check free disk space)");
                answers.into_iter().for_each(|answer| drop(answer.send(Err(error.clone()))));
                recover(file, &mut jobs);
            }
        }
    }
    essential.release();
}

/// Reopens the file, with retries until that succeeds, and refuses calls in the meantime. Returns
/// early when the ledger is dropped.
fn recover(file: &LedgerFile, jobs: &mut mpsc::Receiver<LedgerJob>) {
    while let Err(error) = file.reopen() {
        loop {
            match jobs.try_recv() {
                Ok(job) => drop(job.answer.send(Err(error.clone()))),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return,
            }
        }
        std::thread::sleep(REOPEN_EVERY);
    }
    tracing::warn!("the sandbox ledger's file is reopened");
}

fn write_batch(
    file: &LedgerFile,
    batch: Vec<(SandboxPayment, LedgerWrite)>,
) -> Result<Vec<Written>, LedgerError> {
    // The default durability of a redb transaction is `Immediate`: `commit` returns after the
    // flush.
    let transaction = file.begin_write()?;
    let written = {
        let mut payments = transaction.open_table(PAYMENTS).map_err(failed)?;
        batch
            .into_iter()
            .map(|(payment, kind)| write_one(&mut payments, payment, kind))
            .collect::<Result<_, _>>()?
    };
    transaction.commit().map_err(failed)?;
    Ok(written)
}

fn write_one(
    payments: &mut Table<'_, &str, &[u8]>,
    payment: SandboxPayment,
    kind: LedgerWrite,
) -> Result<Written, LedgerError> {
    let known = payments
        .get(payment.id.as_str())
        .map_err(failed)?
        .map(|found| decoded(found.value()))
        .transpose()?;
    let fits = match (&known, kind) {
        (known, LedgerWrite::Open) => known.is_none(),
        (Some(known), LedgerWrite::Replace) => known.version + 1 == payment.version,
        (None, LedgerWrite::Replace) => false,
    };
    if fits {
        let bytes = serde_json::to_vec(&payment).map_err(failed)?;
        payments.insert(payment.id.as_str(), bytes.as_slice()).map_err(failed)?;
        return Ok(Written { payment, changed: true });
    }
    Ok(Written { payment: known.unwrap_or(payment), changed: false })
}

fn decoded(bytes: &[u8]) -> Result<SandboxPayment, LedgerError> {
    serde_json::from_slice(bytes).map_err(failed)
}

fn closed() -> LedgerError {
    LedgerError("the file is being reopened".into())
}

fn failed(error: impl std::fmt::Display) -> LedgerError {
    LedgerError(error.to_string())
}

#[cfg(test)]
mod tests {
    use redb::{StorageBackend, backends::InMemoryBackend};

    use super::*;

    /// A disk that becomes full during the test.
    #[derive(Debug, Default)]
    struct Disk {
        memory: InMemoryBackend,
        is_full: Arc<AtomicBool>,
    }

    impl Disk {
        fn write_or_fail(&self) -> std::io::Result<()> {
            if self.is_full.load(Ordering::SeqCst) {
                Err(std::io::ErrorKind::StorageFull.into())
            } else {
                Ok(())
            }
        }
    }

    impl StorageBackend for Disk {
        fn len(&self) -> Result<u64, std::io::Error> {
            self.memory.len()
        }

        fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), std::io::Error> {
            self.memory.read(offset, out)
        }

        fn set_len(&self, len: u64) -> Result<(), std::io::Error> {
            self.write_or_fail()?;
            self.memory.set_len(len)
        }

        fn sync_data(&self) -> Result<(), std::io::Error> {
            self.write_or_fail()?;
            self.memory.sync_data()
        }

        fn write(&self, offset: u64, data: &[u8]) -> Result<(), std::io::Error> {
            self.write_or_fail()?;
            self.memory.write(offset, data)
        }
    }

    fn payment(number: u128) -> SandboxPayment {
        SandboxPayment::of(&super::super::tests::charge(number))
    }

    #[tokio::test]
    async fn ledger_recovers_after_its_disk_was_full() {
        let folder = std::env::temp_dir().join(format!("gittix-ledger-{}", std::process::id()));
        data_folder::prepare(&folder).expect("the folder is created");
        let ledger = FileLedger::open(&folder).expect("the ledger opens");
        ledger.open(payment(1)).await.expect("the payment opens");
        // The database is now on a disk that becomes full. The file is reopened from its path.
        let is_full = Arc::new(AtomicBool::new(false));
        let disk = Disk { is_full: Arc::clone(&is_full), ..Disk::default() };
        let database =
            Database::builder().create_with_backend(disk).expect("the database is created");
        let first = database.begin_write().expect("the transaction begins");
        first.open_table(PAYMENTS).expect("the table is created");
        first.commit().expect("the transaction commits");
        *ledger.file.database.write() = Some(database);
        is_full.store(true, Ordering::SeqCst);

        ledger.open(payment(2)).await.expect_err("the disk is full");
        let works = async {
            while ledger.find(&payment(1).id).await.is_err() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), works).await.expect("the ledger recovers");
        assert_eq!(
            ledger.find(&payment(1).id).await,
            Ok(Some(payment(1))),
            "the acknowledged payment is stored"
        );
        ledger.open(payment(2)).await.expect("the disk has room");
        drop(ledger);
        std::fs::remove_dir_all(&folder).expect("the folder is removed");
    }
}
