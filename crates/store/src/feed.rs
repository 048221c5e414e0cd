//! The feed: the newest committed events, in commit order, in one bounded ring for each process.
//!
//! The store is the only writer. Each reader (hub shard, connection that replays, catalog, session
//! cache) holds its own position. A slow reader does not delay the writer or other readers. A
//! reader whose position has left the ring receives [`FeedStep::Reset`].

use std::{
    any::Any,
    collections::VecDeque,
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use parking_lot::RwLock;
use tokio::{sync::watch, time::Instant};

use super::Cursor;
use gittix_domain::{DomainEvent, Timestamp};

/// One committed event.
pub struct RecordedEvent {
    pub cursor: Cursor,
    pub at: Timestamp,
    pub event: DomainEvent,
    derived: OnceLock<Box<dyn Any + Send + Sync>>,
}

impl RecordedEvent {
    pub fn new(cursor: Cursor, at: Timestamp, event: DomainEvent) -> Self {
        Self { cursor, at, event, derived: OnceLock::new() }
    }

    /// Returns what `derive` makes of the event. It is made once for all readers of this process,
    /// and kept as long as the event.
    ///
    /// # Panics
    /// If another type was derived from this event before.
    pub fn derived<T: Send + Sync + 'static>(&self, derive: impl FnOnce(&Self) -> T) -> &T {
        let derived = self.derived.get_or_init(|| Box::new(derive(self)));
        derived.downcast_ref().expect("one type is derived from an event")
    }
}

impl fmt::Debug for RecordedEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cursor, at, event, derived: _ } = self;
        let mut debug = f.debug_struct("RecordedEvent");
        debug.field("cursor", cursor).field("at", at).field("event", event).finish_non_exhaustive()
    }
}

/// Bounds of a [`FeedLog`].
#[derive(Debug, Clone, Copy)]
pub struct FeedLimits {
    pub events_max: usize,
    /// Maximum time without an event or a heartbeat, after which the feed is not live. `None`: the
    /// feed is always live.
    pub silence_max: Option<Duration>,
    /// Maximum distance of a resumable cursor beyond [`FeedLog::cursor`], in units of
    /// [`Cursor::time`]. A cursor from a replica that is slightly ahead of this one is valid.
    pub ahead_max: u64,
}

impl FeedLimits {
    /// At most about 200 MB, with the data that is derived from the events. Holds five minutes of
    /// 430 events per second.
    pub const EVENTS_MAX: usize = 131_072;
}

#[derive(Debug)]
struct EventRing {
    /// Number of events that have left the ring. This is the sequence number of `events[0]`.
    first: u64,
    events: VecDeque<Arc<RecordedEvent>>,
    /// Cursor directly before `events[0]`. The ring contains all events after it.
    base: Cursor,
    /// Cursor up to which the ring contains all events of the store. It also advances while no
    /// event is committed, so that a cursor that a client receives is recent and can be resumed on
    /// every replica.
    scanned_to: Cursor,
    /// Number of times that history was lost.
    generation: u64,
    /// Time of the last event, heartbeat or reset.
    heartbeat: Instant,
}

/// The ring of events, with a notification for waiting readers.
#[derive(Debug, Clone)]
pub struct FeedLog {
    ring: Arc<RwLock<EventRing>>,
    notify: Arc<watch::Sender<()>>,
    limits: FeedLimits,
}

/// A reader of the feed, with its own position.
#[derive(Debug)]
pub struct FeedReader {
    log: FeedLog,
    next: u64,
    generation: u64,
    /// Cursor of the last event that was read or skipped.
    after: Cursor,
    notify: watch::Receiver<()>,
}

/// Result of one read of the feed.
#[derive(Debug)]
pub enum FeedStep {
    /// The next events in commit order, without a gap. Never empty.
    Events(Vec<Arc<RecordedEvent>>),
    /// History was lost. The reader must take a new snapshot. The next events follow the current
    /// end of the feed.
    Reset,
}

impl FeedLog {
    /// Creates an empty log whose history begins at `base`.
    pub fn new(base: Cursor, limits: FeedLimits) -> Self {
        let ring = EventRing {
            first: 0,
            events: VecDeque::new(),
            base,
            scanned_to: base,
            generation: 0,
            heartbeat: Instant::now(),
        };
        Self { ring: Arc::new(RwLock::new(ring)), notify: Arc::new(watch::Sender::new(())), limits }
    }

    /// Appends events. Drops events whose cursor does not ascend, as in a replay after a reconnect.
    pub fn push(&self, recorded: impl IntoIterator<Item = RecordedEvent>) {
        {
            let mut ring = self.ring.write();
            ring.heartbeat = Instant::now();
            for event in recorded {
                if event.cursor <= ring.last() {
                    continue;
                }
                if ring.events.len() >= self.limits.events_max
                    && let Some(oldest) = ring.events.pop_front()
                {
                    ring.first += 1;
                    ring.base = oldest.cursor;
                }
                ring.events.push_back(Arc::new(event));
            }
        }
        self.notify.send_replace(());
    }

    /// Records that the feed is live although no event was committed.
    pub fn heartbeat(&self) {
        self.ring.write().heartbeat = Instant::now();
    }

    /// Records a heartbeat, and that no further event will have a cursor up to `scanned_to`.
    pub fn heartbeat_at(&self, scanned_to: Cursor) {
        let mut ring = self.ring.write();
        ring.heartbeat = Instant::now();
        ring.scanned_to = ring.scanned_to.max(scanned_to);
    }

    /// Discards the history and begins a new one at `base`. Every reader receives
    /// [`FeedStep::Reset`].
    pub fn reset(&self, base: Cursor) {
        {
            let mut ring = self.ring.write();
            ring.first += ring.events.len() as u64;
            ring.events.clear();
            ring.base = base;
            ring.scanned_to = base;
            ring.generation += 1;
            ring.heartbeat = Instant::now();
        }
        self.notify.send_replace(());
    }

    /// Returns whether an event or a heartbeat arrived within the limit
    /// [`FeedLimits::silence_max`].
    pub fn is_live(&self) -> bool {
        self.limits.silence_max.is_none_or(|max| self.ring.read().heartbeat.elapsed() <= max)
    }

    /// Returns whether an event or a heartbeat arrived within `max`. A feed that is behind also
    /// counts as fresh, because each pushed event counts whatever its age.
    pub fn heard_within(&self, max: Duration) -> bool {
        self.limits.silence_max.is_none() || self.ring.read().heartbeat.elapsed() <= max
    }

    /// Returns the cursor up to which the ring is complete: that of the newest event, or a later
    /// one.
    pub fn cursor(&self) -> Cursor {
        self.ring.read().complete_to()
    }

    /// Returns a reader of the events that are pushed after this call.
    pub fn subscribe(&self) -> FeedReader {
        let notify = self.notify.subscribe();
        let ring = self.ring.read();
        FeedReader {
            log: self.clone(),
            next: ring.end(),
            generation: ring.generation,
            after: ring.complete_to(),
            notify,
        }
    }

    /// Returns a reader of the events after `cursor`, or `None` if the ring does not contain all of
    /// them.
    pub fn resume(&self, cursor: Cursor) -> Option<FeedReader> {
        let notify = self.notify.subscribe();
        let ring = self.ring.read();
        let newest = ring.complete_to();
        let is_covered = cursor.epoch == newest.epoch
            && cursor >= ring.base
            && cursor.time.saturating_sub(newest.time) <= self.limits.ahead_max;
        // `ahead_max` counts times. With 0, a later ordinal of the newest time is not valid either.
        if !is_covered || (self.limits.ahead_max == 0 && cursor > newest) {
            return None;
        }
        let skipped = ring.events.partition_point(|event| event.cursor <= cursor);
        Some(FeedReader {
            log: self.clone(),
            next: ring.first + skipped as u64,
            generation: ring.generation,
            after: cursor,
            notify,
        })
    }
}

impl EventRing {
    fn last(&self) -> Cursor {
        self.events.back().map_or(self.base, |event| event.cursor)
    }

    fn complete_to(&self) -> Cursor {
        self.scanned_to.max(self.last())
    }

    fn end(&self) -> u64 {
        self.first + self.events.len() as u64
    }
}

impl FeedReader {
    /// Maximum number of events of one [`FeedStep`].
    pub const STEP_MAX: usize = 1024;

    /// Waits for the next events or for a reset. Cancel-safe.
    pub async fn next(&mut self) -> FeedStep {
        loop {
            self.notify.mark_unchanged();
            if let Some(step) = self.try_next() {
                return step;
            }
            if self.notify.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Returns the next events or a reset, or `None` if the reader would have to wait.
    pub fn try_next(&mut self) -> Option<FeedStep> {
        let ring = self.log.ring.read();
        if ring.generation != self.generation || self.next < ring.first {
            self.generation = ring.generation;
            self.next = ring.end();
            self.after = ring.complete_to();
            return Some(FeedStep::Reset);
        }
        while self.next < ring.end() {
            let from = usize::try_from(self.next - ring.first).ok()?;
            let events: Vec<_> = ring.events.range(from..).take(Self::STEP_MAX).cloned().collect();
            self.next += events.len() as u64;
            let fresh: Vec<_> =
                events.into_iter().filter(|event| event.cursor > self.after).collect();
            if let Some(last) = fresh.last() {
                self.after = last.cursor;
                return Some(FeedStep::Events(fresh));
            }
        }
        None
    }

    /// Returns the cursor of the last event that was read or skipped.
    pub fn cursor(&self) -> Cursor {
        self.after
    }

    /// Skips all events that are in the ring.
    pub fn skip_to_present(&mut self) {
        let ring = self.log.ring.read();
        self.generation = ring.generation;
        self.next = ring.end();
        self.after = ring.complete_to();
    }
}

#[cfg(test)]
mod tests;
