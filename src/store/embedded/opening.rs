//! Opening a database: is it ours, which life of it is this, and what happened in its last minutes.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use redb::{Builder, Database, DatabaseError, ReadableTable, Table, backends::FileBackend};

use super::tables::{self, StorageFault, StoredEvent, Tables, decode, meta};
use crate::{
    data_folder,
    domain::{Millis, Timestamp},
    store::{
        Cursor, RecordedEvent,
        feed::{FeedLimits, FeedLog},
    },
};

/// The file's name in its folder.
const FILE: &str = "gittix.redb";

/// Pages that redb keeps in memory: the trees' inner pages and what was written last. What is beyond comes from the kernel's
/// own cache of the file: with a million tickets a lock costs the same with 16 MiB as with 128 (`scripts/bench growth-tickets`).
const CACHE_BYTES: usize = 32 << 20;

/// How far back a client's cursor can be resumed after a restart, as the contract promises.
const HISTORY: Millis = Millis::from_mins(5);

/// Why the embedded store cannot be opened: one line for whoever starts the server.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the data folder {} cannot be used: {error}", folder.display())]
    Folder { folder: PathBuf, error: io::Error },
    #[error("{} is in use by another process", file.display())]
    InUse { file: PathBuf },
    #[error("{} cannot be opened: {error}", file.display())]
    File { file: PathBuf, error: DatabaseError },
    #[error("the store has layout {found}, this program knows only layout {}", tables::SCHEMA)]
    Layout { found: u64 },
    #[error("the store cannot be read: {0}")]
    Unreadable(String),
    #[error("the store cannot be read: {0}")]
    Storage(#[source] redb::Error),
    #[error("the store is another one than before: its epoch was {expected}, and is {found}")]
    Epoch { expected: u32, found: u32 },
    #[error("the store's writer cannot be started: {0}")]
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
    /// Whether there is no room on the disk: what nothing but room helps against.
    pub(super) fn is_disk_full(&self) -> bool {
        let kind = match self {
            Self::Folder { error, .. } => error.kind(),
            Self::File { error: DatabaseError::Storage(redb::StorageError::Io(error)), .. } | Self::Storage(redb::Error::Io(error)) => {
                error.kind()
            }
            _ => return false,
        };
        matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }
}

/// What an opened database begins with.
#[derive(Debug)]
pub(super) struct Beginning {
    pub epoch: u32,
    /// The number of the last transaction that carried events.
    pub number: u64,
    /// Holds the last minutes already.
    pub feed: FeedLog,
}

pub(super) fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

/// The database in `folder`; what is not there is created.
pub(super) fn database(folder: &Path) -> Result<Database, OpenError> {
    data_folder::prepare(folder).map_err(|error| OpenError::Folder { folder: folder.to_owned(), error })?;
    database_in(folder)
}

/// The database in a folder that is there.
pub(super) fn database_in(folder: &Path) -> Result<Database, OpenError> {
    let unusable = |error| OpenError::Folder { folder: folder.to_owned(), error };
    let file = folder.join(FILE);
    let opened = data_folder::open_file(&file).map_err(|error| OpenError::File { file: file.clone(), error: error.into() })?;
    let database = FileBackend::new(opened).and_then(|file| builder().create_with_backend(file)).map_err(|error| match error {
        DatabaseError::DatabaseAlreadyOpen => OpenError::InUse { file: file.clone() },
        error => OpenError::File { file: file.clone(), error },
    })?;
    // A new file is durable only with its entry in the folder.
    fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(unusable)?;
    Ok(database)
}

/// What a database holds that the feed does not yet: a commit whose outcome was unknown may have been written. Writes to the
/// file, so that success means that it can be written to again.
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

/// Makes the tables of a new database, refuses one of another layout, and reads the feed's last minutes before `now`.
pub(super) fn begin(database: &Database, now: Timestamp) -> Result<Beginning, OpenError> {
    let transaction = database.begin_write().map_err(StorageFault::from)?;
    let beginning = {
        // Before the other tables are opened: another layout may have others of the same name.
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
    Ok(beginning)
}

fn number(meta: &Table<'_, &'static str, u64>, name: &str) -> Result<Option<u64>, StorageFault> {
    Ok(meta.get(name)?.map(|value| value.value()))
}

/// This life of the store: made with the file, so that a cursor of another one is known for a stranger.
fn epoch(tables: &mut Tables<'_>) -> Result<u32, OpenError> {
    if let Some(epoch) = number(&tables.meta, meta::EPOCH)? {
        return u32::try_from(epoch).map_err(|_| OpenError::Unreadable("its epoch is out of range".into()));
    }
    let epoch = getrandom::u32().map_err(|error| OpenError::Unreadable(format!("no randomness: {error}")))?;
    tables.meta.insert(meta::EPOCH, u64::from(epoch)).map_err(StorageFault::from)?;
    Ok(epoch)
}

/// The events since `since`, as far as the ring holds them; its base is the place before the first of them.
fn read_back(tables: &Tables<'_>, epoch: u32, since: Timestamp) -> Result<Beginning, StorageFault> {
    let ordinal = number(&tables.meta, meta::PURGED_ORDINAL)?.unwrap_or(0);
    let purged =
        Cursor { epoch, time: number(&tables.meta, meta::PURGED_TIME)?.unwrap_or(0), ordinal: u32::try_from(ordinal).unwrap_or(u32::MAX) };
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
    // A feed in the same process cannot fall silent, and has no other replica that could be ahead of it.
    let limits = FeedLimits { events_max: FeedLimits::EVENTS_MAX, silence_max: None, ahead_max: 0 };
    let feed = FeedLog::new(base, limits);
    feed.push(recent.into_iter().rev());
    Ok(Beginning { epoch, number: feed.cursor().time, feed })
}

impl From<redb::StorageError> for OpenError {
    fn from(error: redb::StorageError) -> Self {
        StorageFault::from(error).into()
    }
}
