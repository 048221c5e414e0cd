//! The feed: one change stream on the events of all replicas, which fills the [`FeedLog`] of this
//! process.
//!
//! A cursor consists of the store's epoch, the cluster time of the transaction, and the index of
//! the event in its document. It is the same on every replica. Clients do not get resume tokens,
//! because MongoDB accepts a truncated token without an error.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bson::{
    RawDocumentBuf, Timestamp as ClusterTime, deserialize_from_slice, doc, oid::ObjectId,
    serialize_to_document,
};
use fail::fail_point;
use mongodb::{
    Database,
    change_stream::{ChangeStream, event::ResumeToken},
    error::{Error, ErrorKind},
};
use serde::Deserialize;
use tokio::{
    sync::Mutex,
    time::{sleep, timeout},
};

use super::{
    fault::{describe, fault},
    schema::{self, EVENTS, Epoch},
};
use gittix_domain::{DomainEvent, Timestamp};
use gittix_runtime::metrics::METRICS;
use gittix_store::{Cursor, FeedLog, RecordedEvent, feed::FeedLimits};

/// Seconds of history that are read at the start. Clients can resume within this time, unless more
/// events happened than [`FeedLimits::EVENTS_MAX`].
const HISTORY_SECS: u32 = 5 * 60;
/// Time that the server waits for a new event before it sends an empty reply, which is the
/// heartbeat. A session that another replica revoked must stop working within 1 s, and the feed
/// carries the revocation, so this is far below 1 s.
const HEARTBEAT: Duration = Duration::from_millis(400);
/// Maximum time without a reply, after which the feed is not live. Also the time limit of one
/// reply.
const SILENCE_MAX: Duration = Duration::from_secs(5);
/// Time limit for reading the history at the start.
const FILL_MAX: Duration = Duration::from_secs(60);
/// Maximum distance by which another replica's cursor may be ahead: 10 s in cluster time.
const AHEAD_MAX: u64 = 10 << 32;
/// First pause between two attempts to open the stream again. It doubles up to the maximum.
const REOPEN_PAUSE_MIN: Duration = Duration::from_millis(20);
const REOPEN_PAUSE_MAX: Duration = Duration::from_secs(1);

/// MongoDB's error codes for a position that the oplog does not contain: CappedPositionLost,
/// InvalidResumeToken, ChangeStreamFatalError, ChangeStreamHistoryLost, and the two checks of
/// resume tokens.
const HISTORY_LOST: [i32; 6] = [136, 260, 280, 286, 40585, 40615];

/// The stored document with the events of one transaction.
#[derive(Debug, Deserialize)]
pub(super) struct EventsDocument {
    #[serde(rename = "_id")]
    pub id: ObjectId,
    /// Cluster time of the insert, which is before the commit.
    pub written: ClusterTime,
    pub commits: Vec<CommitEvents>,
}

/// The events of one commit.
#[derive(Debug, Deserialize)]
pub(super) struct CommitEvents {
    pub at: Timestamp,
    pub events: Vec<DomainEvent>,
}

/// An event of the change stream.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ChangeStreamEvent {
    #[serde(rename = "_id")]
    token: ResumeToken,
    operation_type: String,
    cluster_time: ClusterTime,
    full_document: Option<RawDocumentBuf>,
}

/// Position at which a stream begins.
#[derive(Debug, Clone)]
enum StreamStart {
    Time(ClusterTime),
    Token(ResumeToken),
}

/// Reader of the change stream, which pushes its events into the log.
pub(super) struct FeedFollower {
    db: Database,
    epoch: u32,
    log: FeedLog,
    stream: ChangeStream<RawDocumentBuf>,
    /// Position after the last pushed event.
    start: StreamStart,
    /// How often [`FeedFollower::follow`] was started without a successful read in between.
    starts: u32,
}

impl FeedFollower {
    /// Opens the stream and reads the events of the last five minutes. If the oplog does not
    /// contain all of them, the feed begins at the present.
    pub async fn open(db: Database) -> Result<Self, Error> {
        let now = operation_time(&db).await?;
        let Epoch { number: epoch, since } = schema::epoch(&db, now).await?;
        match timeout(FILL_MAX, Self::open_at(&db, epoch, history_start(now, since), now)).await {
            Ok(Err(error)) if is_history_lost(&error) => {
                tracing::warn!(
                    "the oplog holds less than five minutes, so clients load everything again; enlarge the oplog if this repeats"
                );
                Self::open_at(&db, epoch, now, now).await
            }
            Ok(result) => result,
            Err(_) => Err(fault("reading the events of the last five minutes took too long")),
        }
    }

    async fn open_at(
        db: &Database,
        epoch: u32,
        since: ClusterTime,
        until: ClusterTime,
    ) -> Result<Self, Error> {
        let start = StreamStart::Time(since);
        let limits = FeedLimits {
            events_max: FeedLimits::EVENTS_MAX,
            silence_max: Some(SILENCE_MAX),
            ahead_max: AHEAD_MAX,
        };
        let log = FeedLog::new(before(epoch, pack(since)), limits);
        let mut follower =
            Self { stream: watch(db, &start).await?, db: db.clone(), epoch, log, start, starts: 0 };
        // The position of the stream proves that it has passed `until`. An empty reply does not
        // prove it.
        while follower.position().is_none_or(|position| position < pack(until)) {
            follower.advance().await?;
        }
        METRICS.feed_live.set(1);
        Ok(follower)
    }

    pub fn log(&self) -> &FeedLog {
        &self.log
    }

    /// Reads the stream until the task is cancelled, and reconnects after errors. May be called
    /// again after a panic: it opens the stream again after the last pushed event. If nothing was
    /// read since the last start, the next change may be the cause of the panic, so the feed is
    /// reset.
    pub async fn follow(follower: Arc<Mutex<Self>>) {
        let mut follower = follower.lock().await;
        let starts = follower.starts;
        follower.starts = starts.saturating_add(1);
        if starts > 0 {
            follower.interrupted(starts > 1).await;
        }
        loop {
            match follower.advance().await {
                Ok(()) => follower.starts = 1,
                Err(error) => {
                    tracing::warn!(
                        error = describe(&error),
                        "the change stream was interrupted and is opened again; if this repeats, check the connection to MongoDB"
                    );
                    follower.interrupted(is_history_lost(&error)).await;
                }
            }
        }
    }

    async fn interrupted(&mut self, lost: bool) {
        METRICS.feed_live.set(0);
        self.reopen(lost).await;
        METRICS.feed_live.set(1);
    }

    /// Reads one document of events or one heartbeat.
    async fn advance(&mut self) -> Result<(), Error> {
        let change = timeout(SILENCE_MAX, self.stream.next_if_any())
            .await
            .map_err(|_| fault("no answer in time"))??;
        match change {
            Some(change) => self.push(&change)?,
            None if !self.stream.is_alive() => {
                return Err(HistoryLost::because(
                    "the change stream ended",
                    &"its cursor is closed",
                )
                .into());
            }
            None => {
                match self.position() {
                    // Another event may have exactly the time of the position.
                    Some(position) => self.log.heartbeat_at(before(self.epoch, position)),
                    None => self.log.heartbeat(),
                }
                if let Some(token) = self.stream.resume_token() {
                    self.start = StreamStart::Token(token);
                }
            }
        }
        Ok(())
    }

    fn push(&mut self, change: &RawDocumentBuf) -> Result<(), Error> {
        fail_point!("mongo::feed_push");
        let change: ChangeStreamEvent =
            deserialize_from_slice(change.as_bytes()).map_err(|error| {
                HistoryLost::because("an event of the change stream cannot be decoded", &error)
            })?;
        let Some(document) = change.full_document else {
            return Err(HistoryLost::because(
                "the collection of events was dropped or renamed",
                &change.operation_type,
            )
            .into());
        };
        let batch: EventsDocument =
            deserialize_from_slice(document.as_bytes()).map_err(|error| {
                HistoryLost::because("a document of events cannot be decoded", &error)
            })?;
        let cursor =
            |ordinal| Cursor { epoch: self.epoch, time: pack(change.cluster_time), ordinal };
        let events = batch
            .commits
            .into_iter()
            .flat_map(|entry| entry.events.into_iter().map(move |event| (entry.at, event)));
        let recorded: Vec<_> = (0..)
            .zip(events)
            .map(|(ordinal, (at, event))| RecordedEvent::new(cursor(ordinal), at, event))
            .collect();
        METRICS.feed_events.inc_by(recorded.len() as u64);
        self.log.push(recorded);
        self.start = StreamStart::Token(change.token);
        Ok(())
    }

    /// Opens the stream again after the last pushed event. If that position is lost, opens it at
    /// the present.
    async fn reopen(&mut self, mut lost: bool) {
        let mut pause = REOPEN_PAUSE_MIN;
        loop {
            let opened = if lost { self.restart_at_present().await } else { self.resume().await };
            match opened {
                Ok(()) => return,
                Err(error) => {
                    lost |= is_history_lost(&error);
                    tracing::debug!(
                        error = describe(&error),
                        lost,
                        "the change stream cannot be opened; the next attempt follows"
                    );
                }
            }
            sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
            pause = (pause * 2).min(REOPEN_PAUSE_MAX);
        }
    }

    async fn resume(&mut self) -> Result<(), Error> {
        self.stream = in_time(watch(&self.db, &self.start)).await?;
        Ok(())
    }

    /// Opens the stream at the present and resets the feed. The stream is opened first, so that a
    /// reader that takes a new snapshot after the reset misses no event.
    async fn restart_at_present(&mut self) -> Result<(), Error> {
        let now = in_time(majority_time(&self.db)).await?;
        // The stream starts after `now`, because the document that cannot be decoded may be the
        // latest write.
        let start =
            StreamStart::Time(ClusterTime { increment: now.increment.saturating_add(1), ..now });
        self.stream = in_time(watch(&self.db, &start)).await?;
        self.start = start;
        METRICS.feed_resets.inc();
        tracing::warn!(
            "the feed lost its history and continues at the present; clients load everything again"
        );
        let base = Cursor { epoch: self.epoch, time: pack(now), ordinal: u32::MAX };
        self.log.reset(base.max(self.log.cursor()));
        Ok(())
    }

    /// Returns the cluster time up to which the stream has read.
    fn position(&self) -> Option<u64> {
        match self.stream.resume_token() {
            Some(token) => token_time(&token),
            None => None,
        }
    }
}

/// Error after which the stream cannot be resumed.
#[derive(Debug)]
struct HistoryLost;

impl HistoryLost {
    fn because(what: &'static str, why: &dyn std::fmt::Display) -> Self {
        tracing::error!(%why, what);
        Self
    }
}

impl From<HistoryLost> for Error {
    fn from(lost: HistoryLost) -> Self {
        Self::custom(lost)
    }
}

fn is_history_lost(error: &Error) -> bool {
    error.get_custom::<HistoryLost>().is_some()
        || error.contains_label("NonResumableChangeStreamError")
        || matches!(&*error.kind, ErrorKind::Command(command) if HISTORY_LOST.contains(&command.code))
}

async fn in_time<T>(call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    timeout(SILENCE_MAX, call).await.unwrap_or_else(|_| Err(fault("no answer in time")))
}

async fn watch(db: &Database, start: &StreamStart) -> Result<ChangeStream<RawDocumentBuf>, Error> {
    let events = db.collection::<RawDocumentBuf>(EVENTS);
    // The filter also selects operations that end the stream. It does not select deletions of
    // expired events.
    let wanted = doc! { "$match": { "operationType": { "$in": ["insert", "drop", "rename", "dropDatabase", "invalidate"] } } };
    let watch = events.watch().pipeline([wanted]).max_await_time(HEARTBEAT);
    let stream = match start {
        StreamStart::Time(time) => watch.start_at_operation_time(*time).await?,
        StreamStart::Token(token) => watch.resume_after(token.clone()).await?,
    };
    Ok(stream.with_type())
}

/// Returns the cluster time of the latest write on the primary.
async fn operation_time(db: &Database) -> Result<ClusterTime, Error> {
    let reply = db.run_command(doc! { "ping": 1 }).await?;
    reply.get_timestamp("operationTime").map_err(|_| {
        fault("MongoDB returned no operation time: an election or an initial sync is not finished")
    })
}

/// Returns the commit times of the transactions of the last five minutes, by the ids of their
/// documents of events. A stored document does not contain the commit time of its transaction.
/// Older transactions are missing. If the oplog is shorter than five minutes, the result is empty.
pub(super) async fn commit_times(db: &Database) -> Result<HashMap<ObjectId, ClusterTime>, Error> {
    let now = operation_time(db).await?;
    let mut times = HashMap::new();
    let mut stream = match watch(
        db,
        &StreamStart::Time(history_start(now, schema::epoch(db, now).await?.since)),
    )
    .await
    {
        Err(error) if is_history_lost(&error) => return Ok(times),
        stream => stream?,
    };
    while stream
        .resume_token()
        .and_then(|token| token_time(&token))
        .is_none_or(|position| position < pack(now))
    {
        if let Some(change) = stream.next_if_any().await? {
            let id = change.get_document("documentKey").and_then(|key| key.get_object_id("_id"))?;
            times.insert(id, change.get_timestamp("clusterTime")?);
        }
    }
    Ok(times)
}

/// Returns the cluster time from which the events of the last five minutes are read: not before
/// `since`, because the oplog has the writes of all databases, and MongoDB reads each of them.
fn history_start(now: ClusterTime, since: Option<ClusterTime>) -> ClusterTime {
    let five_minutes_ago =
        ClusterTime { time: now.time.saturating_sub(HISTORY_SECS), increment: 0 };
    since.map_or(five_minutes_ago, |since| since.min(now).max(five_minutes_ago))
}

/// Returns a cluster time up to which a read with read concern `majority` returns every write.
async fn majority_time(db: &Database) -> Result<ClusterTime, Error> {
    let hello = db.run_command(doc! { "hello": 1 }).await?;
    let written =
        hello.get_document("lastWrite").and_then(|write| write.get_document("majorityOpTime"));
    match written.and_then(|optime| optime.get_timestamp("ts")) {
        Ok(time) => Ok(time),
        // The reply of a mongos does not contain it.
        Err(_) => operation_time(db).await,
    }
}

/// Returns the cursor directly before all events at the cluster time `position`.
fn before(epoch: u32, position: u64) -> Cursor {
    Cursor { epoch, time: position.saturating_sub(1), ordinal: u32::MAX }
}

fn pack(time: ClusterTime) -> u64 {
    u64::from(time.time) << 32 | u64::from(time.increment)
}

/// Returns the cluster time at the beginning of a resume token. `_data` is a hexadecimal KeyString
/// that begins with the tag of a timestamp (0x82) and its eight bytes (MongoDB's
/// `src/mongo/db/pipeline/resume_token.h`).
fn token_time(token: &ResumeToken) -> Option<u64> {
    let document = serialize_to_document(token).ok()?;
    let time = document.get_str("_data").ok()?.strip_prefix("82")?.get(..16)?;
    u64::from_str_radix(time, 16).ok()
}

impl std::fmt::Debug for FeedFollower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FeedFollower").field("start", &self.start).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
