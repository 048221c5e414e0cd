//! The feed: one change stream on the events of all replicas, poured into this process's [`FeedLog`].
//!
//! A cursor is the cluster time of the transaction and the event's place in its document, the same on every replica. A
//! resume token stays in this process and never meets a client: MongoDB silently accepts a truncated one.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bson::{RawDocumentBuf, Timestamp as ClusterTime, deserialize_from_slice, doc, oid::ObjectId, serialize_to_document};
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
    schema::EVENTS,
};
use crate::{
    domain::{Event, Timestamp},
    metrics::METRICS,
    store::{Cursor, FeedLog, RecordedEvent, feed::FeedLimits},
};

/// How much of the past is read at the start: what the contract lets clients resume.
const HISTORY_SECS: u32 = 5 * 60;
/// How long the server waits for something new before it answers with nothing: the heartbeat. Well below the second within
/// which a session that was revoked elsewhere is not believed any more.
const HEARTBEAT: Duration = Duration::from_millis(400);
/// Silence for longer means that the feed is not live. Also how long one answer may take.
const SILENCE_MAX: Duration = Duration::from_secs(5);
/// How long reading the past may take before the start gives up.
const FILL_MAX: Duration = Duration::from_secs(60);
/// How far another replica's cursor may be ahead, in cluster time.
const AHEAD_MAX: u64 = 10 << 32;
/// Between two attempts to open the stream again; it doubles.
const REOPEN_PAUSE_MIN: Duration = Duration::from_millis(20);
const REOPEN_PAUSE_MAX: Duration = Duration::from_secs(1);

/// MongoDB's codes for "that place in history is gone, or never was": CappedPositionLost, InvalidResumeToken,
/// ChangeStreamFatalError, ChangeStreamHistoryLost, and the resume token's own checks.
const HISTORY_LOST: [i32; 6] = [136, 260, 280, 286, 40585, 40615];

/// The document of events of one transaction.
#[derive(Debug, Deserialize)]
pub(super) struct EventsDocument {
    #[serde(rename = "_id")]
    pub id: ObjectId,
    /// A cluster time before that of the commit.
    pub written: ClusterTime,
    pub commits: Vec<CommitEvents>,
}

/// The events of one commit.
#[derive(Debug, Deserialize)]
pub(super) struct CommitEvents {
    pub at: Timestamp,
    pub events: Vec<Event>,
}

/// What the change stream says.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ChangeStreamEvent {
    #[serde(rename = "_id")]
    token: ResumeToken,
    operation_type: String,
    cluster_time: ClusterTime,
    full_document: Option<RawDocumentBuf>,
}

/// Where a stream begins.
#[derive(Debug, Clone)]
enum From {
    Time(ClusterTime),
    Token(ResumeToken),
}

/// The reading end of the change stream.
pub(super) struct FeedFollower {
    db: Database,
    epoch: u32,
    log: FeedLog,
    stream: ChangeStream<RawDocumentBuf>,
    /// After everything that was pushed.
    from: From,
    /// Starts of [`FeedFollower::follow`] since something was last read.
    starts: u32,
}

impl FeedFollower {
    /// Opens the stream and reads the last five minutes, or as much of them as the oplog still has.
    pub async fn open(db: Database, epoch: u32) -> Result<Self, Error> {
        let now = operation_time(&db).await?;
        match timeout(FILL_MAX, Self::filled(&db, epoch, past(now), now)).await {
            Ok(Err(error)) if is_history_lost(&error) => {
                tracing::warn!("the oplog does not reach five minutes back: the feed begins now");
                Self::filled(&db, epoch, now, now).await
            }
            Ok(result) => result,
            Err(_) => Err(fault("reading the last events took too long")),
        }
    }

    async fn filled(db: &Database, epoch: u32, since: ClusterTime, until: ClusterTime) -> Result<Self, Error> {
        let from = From::Time(since);
        let limits = FeedLimits { events_max: FeedLimits::EVENTS_MAX, silence_max: Some(SILENCE_MAX), ahead_max: AHEAD_MAX };
        let log = FeedLog::new(before(epoch, pack(since)), limits);
        let mut tail = Self { stream: watch(db, &from).await?, db: db.clone(), epoch, log, from, starts: 0 };
        // The stream has passed `until` once its own place is there: an answer that is merely empty does not prove it.
        while tail.place().is_none_or(|place| place < pack(until)) {
            tail.advance().await?;
        }
        METRICS.feed_live.set(1);
        Ok(tail)
    }

    pub fn log(&self) -> &FeedLog {
        &self.log
    }

    /// Follows the feed until it is cancelled, whatever happens to the connection. May be called again after a panic: the
    /// stream is opened again after the last event that was pushed. If nothing could be read since the last start, the next
    /// change may be what panics, so that the feed is reset.
    pub async fn follow(tail: Arc<Mutex<Self>>) {
        let mut tail = tail.lock().await;
        let starts = tail.starts;
        tail.starts = starts.saturating_add(1);
        if starts > 0 {
            tail.interrupted(starts > 1).await;
        }
        loop {
            match tail.advance().await {
                Ok(()) => tail.starts = 1,
                Err(error) => {
                    tracing::warn!(error = describe(&error), "the feed was interrupted");
                    tail.interrupted(is_history_lost(&error)).await;
                }
            }
        }
    }

    async fn interrupted(&mut self, lost: bool) {
        METRICS.feed_live.set(0);
        self.reopen(lost).await;
        METRICS.feed_live.set(1);
    }

    /// Waits for one document of events, or for a heartbeat.
    async fn advance(&mut self) -> Result<(), Error> {
        let change = timeout(SILENCE_MAX, self.stream.next_if_any()).await.map_err(|_| fault("no answer in time"))??;
        match change {
            Some(change) => self.push(&change)?,
            None if !self.stream.is_alive() => return Err(HistoryLost::because("the stream ended", &"its cursor is closed").into()),
            None => {
                match self.place() {
                    // At that very time something may still come.
                    Some(place) => self.log.heartbeat_at(before(self.epoch, place)),
                    None => self.log.heartbeat(),
                }
                if let Some(token) = self.stream.resume_token() {
                    self.from = From::Token(token);
                }
            }
        }
        Ok(())
    }

    fn push(&mut self, change: &RawDocumentBuf) -> Result<(), Error> {
        fail_point!("mongo::feed_push");
        let change: ChangeStreamEvent =
            deserialize_from_slice(change.as_bytes()).map_err(|error| HistoryLost::because("a change cannot be read", &error))?;
        let Some(document) = change.full_document else {
            return Err(HistoryLost::because("the events' collection is gone", &change.operation_type).into());
        };
        let batch: EventsDocument =
            deserialize_from_slice(document.as_bytes()).map_err(|error| HistoryLost::because("events cannot be read", &error))?;
        let cursor = |ordinal| Cursor { epoch: self.epoch, time: pack(change.cluster_time), ordinal };
        let events = batch.commits.into_iter().flat_map(|entry| entry.events.into_iter().map(move |event| (entry.at, event)));
        let recorded: Vec<_> = (0..).zip(events).map(|(ordinal, (at, event))| RecordedEvent::new(cursor(ordinal), at, event)).collect();
        METRICS.feed_events.inc_by(recorded.len() as u64);
        self.log.push(recorded);
        self.from = From::Token(change.token);
        Ok(())
    }

    /// Opens the stream again, after the last event that was pushed; if that place is lost, at the present.
    async fn reopen(&mut self, mut lost: bool) {
        let mut pause = REOPEN_PAUSE_MIN;
        loop {
            let opened = if lost { self.start_anew().await } else { self.resume().await };
            match opened {
                Ok(()) => return,
                Err(error) => {
                    lost |= is_history_lost(&error);
                    tracing::debug!(error = describe(&error), lost, "the feed cannot be opened");
                }
            }
            sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
            pause = (pause * 2).min(REOPEN_PAUSE_MAX);
        }
    }

    async fn resume(&mut self) -> Result<(), Error> {
        self.stream = in_time(watch(&self.db, &self.from)).await?;
        Ok(())
    }

    /// First the stream, then the reset: who takes a new snapshot at the reset misses nothing in between.
    async fn start_anew(&mut self) -> Result<(), Error> {
        let now = in_time(majority_time(&self.db)).await?;
        // After `now`, not at it: the very document that cannot be read may be the latest write.
        let from = From::Time(ClusterTime { increment: now.increment.saturating_add(1), ..now });
        self.stream = in_time(watch(&self.db, &from)).await?;
        self.from = from;
        METRICS.feed_resets.inc();
        tracing::warn!("the feed lost its history and begins anew");
        let base = Cursor { epoch: self.epoch, time: pack(now), ordinal: u32::MAX };
        self.log.reset(base.max(self.log.cursor()));
        Ok(())
    }

    /// The cluster time up to which the stream has looked.
    fn place(&self) -> Option<u64> {
        match self.stream.resume_token() {
            Some(token) => token_time(&token),
            None => None,
        }
    }
}

/// An error after which the stream cannot be resumed.
#[derive(Debug)]
struct HistoryLost;

impl HistoryLost {
    fn because(what: &'static str, why: &dyn std::fmt::Display) -> Self {
        tracing::error!(%why, what);
        Self
    }
}

impl std::convert::From<HistoryLost> for Error {
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

async fn watch(db: &Database, from: &From) -> Result<ChangeStream<RawDocumentBuf>, Error> {
    let events = db.collection::<RawDocumentBuf>(EVENTS);
    // What ends the stream is wanted too; the expiry of old events is not.
    let wanted = doc! { "$match": { "operationType": { "$in": ["insert", "drop", "rename", "dropDatabase", "invalidate"] } } };
    let watch = events.watch().pipeline([wanted]).max_await_time(HEARTBEAT);
    let stream = match from {
        From::Time(time) => watch.start_at_operation_time(*time).await?,
        From::Token(token) => watch.resume_after(token.clone()).await?,
    };
    Ok(stream.with_type())
}

/// The cluster time of the latest write on the primary.
async fn operation_time(db: &Database) -> Result<ClusterTime, Error> {
    let reply = db.run_command(doc! { "ping": 1 }).await?;
    reply.get_timestamp("operationTime").map_err(|_| fault("MongoDB gives no operation time: an election or an initial sync is not over"))
}

/// When the transactions of the last five minutes were committed, by their documents of events: what is stored in a
/// document cannot tell when its transaction ended. Of older ones, or if the oplog is shorter, nothing is known.
pub(super) async fn commit_times(db: &Database) -> Result<HashMap<ObjectId, ClusterTime>, Error> {
    let now = operation_time(db).await?;
    let mut times = HashMap::new();
    let mut stream = match watch(db, &From::Time(past(now))).await {
        Err(error) if is_history_lost(&error) => return Ok(times),
        stream => stream?,
    };
    while stream.resume_token().and_then(|token| token_time(&token)).is_none_or(|place| place < pack(now)) {
        if let Some(change) = stream.next_if_any().await? {
            let id = change.get_document("documentKey").and_then(|key| key.get_object_id("_id"))?;
            times.insert(id, change.get_timestamp("clusterTime")?);
        }
    }
    Ok(times)
}

fn past(now: ClusterTime) -> ClusterTime {
    ClusterTime { time: now.time.saturating_sub(HISTORY_SECS), increment: 0 }
}

/// The cluster time up to which every majority read sees everything.
async fn majority_time(db: &Database) -> Result<ClusterTime, Error> {
    let hello = db.run_command(doc! { "hello": 1 }).await?;
    let written = hello.get_document("lastWrite").and_then(|write| write.get_document("majorityOpTime"));
    match written.and_then(|optime| optime.get_timestamp("ts")) {
        Ok(time) => Ok(time),
        // A mongos does not say.
        Err(_) => operation_time(db).await,
    }
}

/// The place just before everything at the cluster time `place`.
fn before(epoch: u32, place: u64) -> Cursor {
    Cursor { epoch, time: place.saturating_sub(1), ordinal: u32::MAX }
}

fn pack(time: ClusterTime) -> u64 {
    u64::from(time.time) << 32 | u64::from(time.increment)
}

/// The cluster time at the head of a resume token: `_data` is a hexadecimal KeyString that begins with the tag of a
/// timestamp (0x82) and its eight bytes (MongoDB's `src/mongo/db/pipeline/resume_token.h`).
fn token_time(token: &ResumeToken) -> Option<u64> {
    let document = serialize_to_document(token).ok()?;
    let time = document.get_str("_data").ok()?.strip_prefix("82")?.get(..16)?;
    u64::from_str_radix(time, 16).ok()
}

impl std::fmt::Debug for FeedFollower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tail").field("from", &self.from).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use bson::{deserialize_from_document, doc};

    use super::*;

    fn token(data: &str) -> ResumeToken {
        deserialize_from_document(doc! { "token": { "_data": data } }).map(|Holder { token }| token).expect("a token is any document")
    }

    #[derive(Deserialize)]
    struct Holder {
        token: ResumeToken,
    }

    #[test]
    fn a_resume_token_begins_with_its_cluster_time() {
        let time = ClusterTime { time: 0x6561_A1B2, increment: 3 };
        assert_eq!(token_time(&token("826561A1B2000000032B0229296E04")), Some(pack(time)));
    }

    #[test]
    fn a_token_of_another_make_tells_no_time() {
        for data in ["", "82", "8265", "816561A1B2000000032B0229296E04", "82zz61A1B2000000032B0229296E04"] {
            assert_eq!(token_time(&token(data)), None, "{data}");
        }
    }

    #[test]
    fn cursors_ascend_with_cluster_time() {
        let (one, other) = (ClusterTime { time: 7, increment: u32::MAX }, ClusterTime { time: 8, increment: 0 });
        assert!(pack(one) < pack(other));
        assert!(before(1, pack(other)) < Cursor { epoch: 1, time: pack(other), ordinal: 0 });
    }
}
