//! The ledger of a single server: redb, a file of its own beside the embedded store's.
//!
//! One thread writes. What waits while a transaction is being flushed shares the next one, so that many payments at once
//! cost few flushes; an answer is given only after the flush.

use std::{path::Path, sync::Arc, thread::JoinHandle};

use async_trait::async_trait;
use redb::{Database, ReadableDatabase, ReadableTable, Table, TableDefinition};
use tokio::sync::{mpsc, oneshot};

use super::{
    ledger::{Ledger, LedgerError},
    payment::Payment,
};
use crate::{domain::PaymentId, tasks::Essential};

/// Payment id -> the payment as JSON.
const PAYMENTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("payments");

/// Writes that may wait; beyond, callers wait for a place.
const QUEUE_MAX: usize = 1024;

/// Writes of one transaction.
const BATCH_MAX: usize = 256;

/// redb's page cache: payments are small, and old ones are rarely looked at.
const CACHE_BYTES: usize = 16 << 20;

/// `sandbox.redb`.
#[derive(Debug)]
pub struct FileLedger {
    database: Arc<Database>,
    /// `None` only while it is dropped.
    queue: Option<mpsc::Sender<Job>>,
    writer: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Job {
    payment: Payment,
    kind: Kind,
    answer: oneshot::Sender<Result<Written, LedgerError>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Open,
    Replace,
}

/// What is in the ledger afterwards, and whether this write put it there.
#[derive(Debug)]
struct Written {
    payment: Payment,
    done: bool,
}

impl FileLedger {
    /// The file's name in the data directory.
    pub const FILE: &'static str = "sandbox.redb";

    /// Opens the ledger in `data_dir`, which must be there, or begins one.
    ///
    /// # Errors
    /// If the file cannot be opened, or another process has it open.
    pub fn open(data_dir: &Path) -> Result<Self, LedgerError> {
        let database = Database::builder().set_cache_size(CACHE_BYTES).create(data_dir.join(Self::FILE)).map_err(failed)?;
        let first = database.begin_write().map_err(failed)?;
        first.open_table(PAYMENTS).map_err(failed)?;
        first.commit().map_err(failed)?;
        let database = Arc::new(database);
        let (queue, jobs) = mpsc::channel(QUEUE_MAX);
        let writer = std::thread::Builder::new().name("sandbox-ledger".into());
        let for_writer = Arc::clone(&database);
        let writer = writer.spawn(move || write_all(&for_writer, jobs)).map_err(failed)?;
        Ok(Self { database, queue: Some(queue), writer: Some(writer) })
    }

    async fn write(&self, payment: Payment, kind: Kind) -> Result<Written, LedgerError> {
        let (answer, answered) = oneshot::channel();
        let queue = self.queue.as_ref().expect("there is a queue until it is dropped");
        queue.send(Job { payment, kind, answer }).await.map_err(failed)?;
        answered.await.map_err(failed)?
    }

    fn read<T>(&self, look: impl FnOnce(&redb::ReadOnlyTable<&str, &[u8]>) -> Result<T, LedgerError>) -> Result<T, LedgerError> {
        let transaction = self.database.begin_read().map_err(failed)?;
        look(&transaction.open_table(PAYMENTS).map_err(failed)?)
    }
}

impl Drop for FileLedger {
    /// Waits until what was queued is written, and the file can be opened again.
    fn drop(&mut self) {
        self.queue = None;
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the writer of the sandbox's ledger panicked");
        }
    }
}

#[async_trait]
impl Ledger for FileLedger {
    async fn open(&self, payment: Payment) -> Result<Payment, LedgerError> {
        // Most are opened once; what is there already needs no flush.
        match self.find(&payment.id).await? {
            Some(known) => Ok(known),
            None => Ok(self.write(payment, Kind::Open).await?.payment),
        }
    }

    /// From the page cache, as a rule: too short to be sent to another thread.
    async fn find(&self, id: &PaymentId) -> Result<Option<Payment>, LedgerError> {
        self.read(|payments| payments.get(id.as_str()).map_err(failed)?.map(|found| decoded(found.value())).transpose())
    }

    async fn replace(&self, payment: Payment) -> Result<bool, LedgerError> {
        Ok(self.write(payment, Kind::Replace).await?.done)
    }

    async fn all(&self) -> Result<Vec<Payment>, LedgerError> {
        self.read(|payments| payments.iter().map_err(failed)?.map(|entry| decoded(entry.map_err(failed)?.1.value())).collect())
    }
}

/// The writer's thread: until the ledger is dropped and the queue is empty.
fn write_all(database: &Database, mut jobs: mpsc::Receiver<Job>) {
    // A transaction that a panic interrupts is repaired when the file is opened again, and by nothing else.
    let essential = Essential::new("sandbox ledger");
    while let Some(first) = jobs.blocking_recv() {
        let mut batch = vec![first];
        while batch.len() < BATCH_MAX
            && let Ok(next) = jobs.try_recv()
        {
            batch.push(next);
        }
        let (payments, answers): (Vec<_>, Vec<_>) = batch.into_iter().map(|job| ((job.payment, job.kind), job.answer)).unzip();
        // Who no longer waits for an answer does not need one.
        match write_batch(database, payments) {
            Ok(written) => answers.into_iter().zip(written).for_each(|(answer, written)| drop(answer.send(Ok(written)))),
            Err(error) => answers.into_iter().for_each(|answer| drop(answer.send(Err(error.clone())))),
        }
    }
    essential.release();
}

fn write_batch(database: &Database, batch: Vec<(Payment, Kind)>) -> Result<Vec<Written>, LedgerError> {
    // The default durability of a redb transaction is `Immediate`: `commit` returns after the flush.
    let transaction = database.begin_write().map_err(failed)?;
    let written = {
        let mut payments = transaction.open_table(PAYMENTS).map_err(failed)?;
        batch.into_iter().map(|(payment, kind)| write_one(&mut payments, payment, kind)).collect::<Result<_, _>>()?
    };
    transaction.commit().map_err(failed)?;
    Ok(written)
}

fn write_one(payments: &mut Table<'_, &str, &[u8]>, payment: Payment, kind: Kind) -> Result<Written, LedgerError> {
    let known = payments.get(payment.id.as_str()).map_err(failed)?.map(|found| decoded(found.value())).transpose()?;
    let fits = match (&known, kind) {
        (known, Kind::Open) => known.is_none(),
        (Some(known), Kind::Replace) => known.version + 1 == payment.version,
        (None, Kind::Replace) => false,
    };
    if fits {
        let bytes = serde_json::to_vec(&payment).map_err(failed)?;
        payments.insert(payment.id.as_str(), bytes.as_slice()).map_err(failed)?;
        return Ok(Written { payment, done: true });
    }
    Ok(Written { payment: known.unwrap_or(payment), done: false })
}

fn decoded(bytes: &[u8]) -> Result<Payment, LedgerError> {
    serde_json::from_slice(bytes).map_err(failed)
}

fn failed(error: impl std::fmt::Display) -> LedgerError {
    LedgerError(error.to_string())
}
