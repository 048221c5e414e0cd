//! Opening of a database: checks its layout, reads its epoch, and reads the events of the last
//! minutes.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use redb::{Builder, Database, DatabaseError, ReadableTable, Table, backends::FileBackend};

use super::tables::{self, StorageFault, StoredEvent, Tables, decode, meta};
use gittix_domain::{Millis, Timestamp};
use gittix_runtime::data_folder;
use gittix_store::{
    Cursor, RecordedEvent,
    feed::{FeedLimits, FeedLog},
};

/// Name of the file in the data folder.
const FILE: &str = "gittix.redb";

/// Size of redb's cache, which holds the inner pages of the trees and the latest writes. Other
/// pages come from the kernel's cache of the file. With a million tickets a lock takes the same
/// time with 16 MiB as with 128 MiB (`scripts/bench growth-tickets`).
const CACHE_BYTES: usize = 32 << 20;

/// Age up to which the feed resumes a client's cursor after a restart. The API promises this time.
const HISTORY: Millis = Millis::from_mins(5);

/// The reason why the embedded store cannot be opened, as one line for the operator.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the data folder {} cannot be used: {error}", folder.display())]
    Folder { folder: PathBuf, error: io::Error },
    #[error("{} is in use by another process", file.display())]
    InUse { file: PathBuf },
    #[error("{} cannot be opened: {error}", file.display())]
    File { file: PathBuf, error: DatabaseError },
    #[error(
        "the store has layout {found}, but this program supports only layout {}",
        tables::SCHEMA
    )]
    Layout { found: u64 },
    #[error("the store cannot be read: {0}")]
    Unreadable(String),
    #[error("the store cannot be read: {0}")]
    Storage(#[source] redb::Error),
    #[error("the file contains another store: its epoch was {expected} and is now {found}")]
    Epoch { expected: u32, found: u32 },
    #[error("the writer thread of the store cannot be started: {0}")]
    Writer(#[source] io::Error),
}

impl From<StorageFault> for OpenError {
    fn from(fault: StorageFault) -> Self {
        match fault {
            StorageFault::Storage(error) => Self::Storage(error),
            StorageFault::Document(_) => Self::Unreadable(fault.to_string()),
        }
    }
}

impl OpenError {
    /// Returns whether the disk or the quota is full. Only free space solves this.
    pub(super) fn is_disk_full(&self) -> bool {
        let kind = match self {
            Self::Folder { error, .. } => error.kind(),
            Self::File { error: DatabaseError::Storage(redb::StorageError::Io(error)), .. }
            | Self::Storage(redb::Error::Io(error)) => error.kind(),
            _ => return false,
        };
        matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }
}

/// State of a database after it was opened.
#[derive(Debug)]
pub(super) struct OpenedDatabase {
    pub epoch: u32,
    /// The number of the last transaction that carried events.
    pub number: u64,
    /// Feed that contains the events of the last minutes.
    pub feed: FeedLog,
}

pub(super) fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

/// Opens the database in `folder`. Creates the folder and the file if they do not exist.
pub(super) fn database(folder: &Path) -> Result<Database, OpenError> {
    data_folder::prepare(folder)
        .map_err(|error| OpenError::Folder { folder: folder.to_owned(), error })?;
    database_in(folder)
}

/// Opens the database in an existing folder. Creates the file if it does not exist.
pub(super) fn database_in(folder: &Path) -> Result<Database, OpenError> {
    let unusable = |error| OpenError::Folder { folder: folder.to_owned(), error };
    let file = folder.join(FILE);
    let opened = data_folder::open_file(&file)
        .map_err(|error| OpenError::File { file: file.clone(), error: error.into() })?;
    let database = FileBackend::new(opened)
        .and_then(|file| builder().create_with_backend(file))
        .map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => OpenError::InUse { file: file.clone() },
            error => OpenError::File { file: file.clone(), error },
        })?;
    // A new file is durable only after its folder entry is on the disk.
    fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(unusable)?;
    Ok(database)
}

/// Returns the stored events that are not in the feed yet: a commit of unknown outcome may have
/// been written. Writes to the file, so that success proves that the file can be written to again.
pub(super) fn resume(database: &Database, feed: &FeedLog) -> Result<Vec<RecordedEvent>, OpenError> {
    let transaction = database.begin_write().map_err(StorageFault::from)?;
    let missed = {
        let mut tables = Tables::open(&transaction).map_err(StorageFault::from)?;
        tables.meta.insert(meta::SCHEMA, tables::SCHEMA).map_err(StorageFault::from)?;
        let last = feed.cursor();
        let found = epoch(&mut tables)?;
        if found != last.epoch {
            return Err(OpenError::Epoch { expected: last.epoch, found });
        }
        let mut missed = Vec::new();
        for entry in tables.events.range((last.time, last.ordinal)..)? {
            let (place, bytes) = entry?;
            let (time, ordinal) = place.value();
            let cursor = Cursor { epoch: last.epoch, time, ordinal };
            if cursor != last {
                let StoredEvent { at, event } = decode(bytes.value())?;
                missed.push(RecordedEvent::new(cursor, at, event));
            }
        }
        missed
    };
    transaction.commit().map_err(StorageFault::from)?;
    Ok(missed)
}

/// Creates the tables of a new database, refuses a database of another layout, and reads the events
/// of the last minutes before `now`.
pub(super) fn initialize(database: &Database, now: Timestamp) -> Result<OpenedDatabase, OpenError> {
    let transaction = database.begin_write().map_err(StorageFault::from)?;
    let opened = {
        // The layout is checked before the other tables are opened, because another layout may use
        // their names for other types.
        let layout = match transaction.open_table(tables::META) {
            Ok(meta) => number(&meta, meta::SCHEMA)?,
            Err(error) => return Err(StorageFault::from(error).into()),
        };
        if let Some(found) = layout.filter(|found| *found != tables::SCHEMA) {
            return Err(OpenError::Layout { found });
        }
        let mut tables = Tables::open(&transaction).map_err(StorageFault::from)?;
        tables.meta.insert(meta::SCHEMA, tables::SCHEMA).map_err(StorageFault::from)?;
        let epoch = epoch(&mut tables)?;
        read_back(&tables, epoch, now - HISTORY)?
    };
    transaction.commit().map_err(StorageFault::from)?;
    Ok(opened)
}

fn number(meta: &Table<'_, &'static str, u64>, name: &str) -> Result<Option<u64>, StorageFault> {
    Ok(meta.get(name)?.map(|value| value.value()))
}

/// Returns the epoch of the file. It is drawn when the file is created, so that a cursor of another
/// file is not accepted. A copy of the file has the same epoch.
fn epoch(tables: &mut Tables<'_>) -> Result<u32, OpenError> {
    if let Some(epoch) = number(&tables.meta, meta::EPOCH)? {
        return u32::try_from(epoch)
            .map_err(|_| OpenError::Unreadable("the stored epoch is out of range".into()));
    }
    let epoch = getrandom::u32().map_err(|error| {
        OpenError::Unreadable(format!("the system provides no random bytes: {error}"))
    })?;
    tables.meta.insert(meta::EPOCH, u64::from(epoch)).map_err(StorageFault::from)?;
    Ok(epoch)
}

/// Reads the events since `since` into a feed, at most as many as the ring holds. The base of the
/// feed is the cursor directly before the first of them.
fn read_back(
    tables: &Tables<'_>,
    epoch: u32,
    since: Timestamp,
) -> Result<OpenedDatabase, StorageFault> {
    let ordinal = number(&tables.meta, meta::PURGED_ORDINAL)?.unwrap_or(0);
    let purged = Cursor {
        epoch,
        time: number(&tables.meta, meta::PURGED_TIME)?.unwrap_or(0),
        ordinal: u32::try_from(ordinal).unwrap_or(u32::MAX),
    };
    let mut recent = Vec::new();
    let mut base = purged;
    for entry in tables.events.iter()?.rev() {
        let (place, bytes) = entry?;
        let (time, ordinal) = place.value();
        let cursor = Cursor { epoch, time, ordinal };
        let StoredEvent { at, event } = decode(bytes.value())?;
        if at < since || recent.len() >= FeedLimits::EVENTS_MAX {
            base = cursor;
            break;
        }
        recent.push(RecordedEvent::new(cursor, at, event));
    }
    // The store pushes events in this process, so the feed is always live. There is no other
    // replica that could be ahead.
    let limits = FeedLimits { events_max: FeedLimits::EVENTS_MAX, silence_max: None, ahead_max: 0 };
    let feed = FeedLog::new(base, limits);
    feed.push(recent.into_iter().rev());
    Ok(OpenedDatabase { epoch, number: feed.cursor().time, feed })
}

impl From<redb::StorageError> for OpenError {
    fn from(error: redb::StorageError) -> Self {
        StorageFault::from(error).into()
    }
}
