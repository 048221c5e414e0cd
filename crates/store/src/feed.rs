//! The feed: the newest committed events, in commit order, in one bounded ring for each process.
//!
//! The store is the only writer. Each reader (hub shard, catalog, session cache) holds its own position. A slow reader does
//! not delay the writer or other readers. A reader whose position has left the ring receives [`FeedStep::Reset`].

use std::{
    collections::VecDeque,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use parking_lot::RwLock;
use tokio::{sync::watch, time::Instant};

use super::Cursor;
use gittix_domain::{Event, TicketId, Timestamp, UserId};

/// One committed event.
#[derive(Debug)]
pub struct RecordedEvent {
    pub cursor: Cursor,
    pub at: Timestamp,
    pub event: Event,
    /// WebSocket frames of the event. The first reader that needs them renders them, so that they are rendered once for all
    /// watchers.
    pub frames: OnceLock<Frames>,
}

/// Rendered WebSocket messages of one event.
#[derive(Debug, Clone, Default)]
pub struct Frames {
    /// Ticket whose watchers receive `public`.
    pub ticket: Option<TicketId>,
    pub public: Option<Bytes>,
    /// The only user who receives `private`. This user does not receive `public`.
    pub owner: Option<UserId>,
    pub private: Option<Bytes>,
}

impl RecordedEvent {
    pub fn new(cursor: Cursor, at: Timestamp, event: Event) -> Self {
        Self { cursor, at, event, frames: OnceLock::new() }
    }
}

/// Bounds of a [`FeedLog`].
#[derive(Debug, Clone, Copy)]
pub struct FeedLimits {
    pub events_max: usize,
    /// Maximum time without an event or a heartbeat, after which the feed is not live. `None`: the feed is always live.
    pub silence_max: Option<Duration>,
    /// Maximum distance of a resumable cursor beyond [`FeedLog::cursor`], in units of [`Cursor::time`]. A cursor from a
    /// replica that is slightly ahead of this one is valid.
    pub ahead_max: u64,
}

impl FeedLimits {
    /// About 200 MB of frames at most. Holds five minutes of 430 events per second.
    pub const EVENTS_MAX: usize = 131_072;
}

#[derive(Debug)]
struct EventRing {
    /// Number of events that have left the ring. This is the sequence number of `events[0]`.
    first: u64,
    events: VecDeque<Arc<RecordedEvent>>,
    /// Cursor directly before `events[0]`. The ring contains all events after it.
    base: Cursor,
    /// Cursor up to which the ring contains all events of the store. It also advances while no event is committed, so that
    /// a cursor that a client receives is recent and can be resumed on every replica.
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
    /// History was lost. The reader must take a new snapshot. The next events follow the current end of the feed.
    Reset,
}

impl FeedLog {
    /// Creates an empty log whose history begins at `base`.
    pub fn new(base: Cursor, limits: FeedLimits) -> Self {
        let ring = EventRing { first: 0, events: VecDeque::new(), base, scanned_to: base, generation: 0, heartbeat: Instant::now() };
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

    /// Discards the history and begins a new one at `base`. Every reader receives [`FeedStep::Reset`].
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

    /// Returns whether an event or a heartbeat arrived within the limit [`FeedLimits::silence_max`].
    pub fn is_live(&self) -> bool {
        self.limits.silence_max.is_none_or(|max| self.ring.read().heartbeat.elapsed() <= max)
    }

    /// Returns whether an event or a heartbeat arrived within `max`. A feed that is behind also counts as fresh, because
    /// each pushed event counts whatever its age.
    pub fn heard_within(&self, max: Duration) -> bool {
        self.limits.silence_max.is_none() || self.ring.read().heartbeat.elapsed() <= max
    }

    /// Returns the cursor up to which the ring is complete: that of the newest event, or a later one.
    pub fn cursor(&self) -> Cursor {
        self.ring.read().complete_to()
    }

    /// Returns a reader of the events that are pushed after this call.
    pub fn subscribe(&self) -> FeedReader {
        let notify = self.notify.subscribe();
        let ring = self.ring.read();
        FeedReader { log: self.clone(), next: ring.end(), generation: ring.generation, after: ring.complete_to(), notify }
    }

    /// Returns a reader of the events after `cursor`, or `None` if the ring does not contain all of them.
    pub fn resume(&self, cursor: Cursor) -> Option<FeedReader> {
        let notify = self.notify.subscribe();
        let ring = self.ring.read();
        let newest = ring.complete_to();
        let is_covered =
            cursor.epoch == newest.epoch && cursor >= ring.base && cursor.time.saturating_sub(newest.time) <= self.limits.ahead_max;
        // `ahead_max` counts times. With 0, a later ordinal of the newest time is not valid either.
        if !is_covered || (self.limits.ahead_max == 0 && cursor > newest) {
            return None;
        }
        let skipped = ring.events.partition_point(|event| event.cursor <= cursor);
        Some(FeedReader { log: self.clone(), next: ring.first + skipped as u64, generation: ring.generation, after: cursor, notify })
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
            let fresh: Vec<_> = events.into_iter().filter(|event| event.cursor > self.after).collect();
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
mod tests {
    use super::*;
    use gittix_domain::{TicketId, UserId};

    const LIMITS: FeedLimits = FeedLimits { events_max: 4, silence_max: None, ahead_max: 0 };

    fn cursor(time: u64) -> Cursor {
        Cursor { epoch: 7, time, ordinal: 0 }
    }

    fn event(time: u64) -> RecordedEvent {
        let id = uuid::Uuid::from_u128(time.into());
        let event = Event::TicketDeleted { ticket: TicketId::new(id), seller: UserId::new(id), version: 0 };
        RecordedEvent::new(cursor(time), Timestamp(0), event)
    }

    /// Creates a log into which events 1 to `newest` were pushed. It contains the last four of them.
    fn log(newest: u64) -> FeedLog {
        let log = FeedLog::new(cursor(0), LIMITS);
        log.push((1..=newest).map(event));
        log
    }

    /// Returns the cursor times of the events that a reader gets without waiting; `None` for a reset.
    fn step(reader: &mut FeedReader) -> Option<Vec<u64>> {
        match reader.try_next() {
            Some(FeedStep::Events(events)) => Some(events.iter().map(|event| event.cursor.time).collect()),
            Some(FeedStep::Reset) => None,
            None => Some(Vec::new()),
        }
    }

    #[test]
    fn reader_resumes_at_the_base_in_the_middle_and_at_the_end() {
        let log = log(6);
        for (from, expected) in [(2, vec![3, 4, 5, 6]), (4, vec![5, 6]), (6, vec![])] {
            let mut reader = log.resume(cursor(from)).expect("the cursor is in the ring");
            assert_eq!(step(&mut reader), Some(expected), "after {from}");
            assert_eq!(reader.cursor(), cursor(6));
        }
    }

    #[test]
    fn cursor_before_the_ring_of_another_epoch_or_of_the_future_is_not_resumed() {
        let log = log(6);
        assert!(log.resume(cursor(1)).is_none(), "event 2 has left the ring");
        assert!(log.resume(Cursor { epoch: 6, ..cursor(4) }).is_none());
        assert!(log.resume(Cursor { epoch: 8, ..cursor(4) }).is_none());
        assert!(log.resume(cursor(7)).is_none());
        assert!(log.resume(Cursor { ordinal: 1, ..cursor(6) }).is_none());
    }

    #[test]
    fn cursor_from_a_replica_slightly_ahead_skips_the_events_before_it() {
        let log = FeedLog::new(cursor(0), FeedLimits { ahead_max: 2, ..LIMITS });
        log.push((1..=3).map(event));
        assert!(log.resume(cursor(6)).is_none(), "too far ahead");
        let mut reader = log.resume(cursor(5)).expect("a little ahead");
        log.push((4..=6).map(event));
        assert_eq!(step(&mut reader), Some(vec![6]));
    }

    #[test]
    fn cursor_taken_without_new_events_is_resumed_on_another_replica() {
        let (first, second) = (log(1), FeedLog::new(cursor(50), LIMITS));
        first.heartbeat_at(cursor(60));
        second.heartbeat_at(cursor(61));
        assert_eq!(first.cursor(), cursor(60));
        let taken = first.subscribe().cursor();
        // The history of the second replica begins long after the last event.
        let mut reader = second.resume(taken).expect("the history of the second replica begins before this cursor");
        second.push([event(62)]);
        assert_eq!(step(&mut reader), Some(vec![62]));
        assert!(second.resume(cursor(1)).is_none(), "the cursor is before its history");
    }

    #[test]
    fn reader_behind_the_ring_is_reset_once_and_continues_at_the_end() {
        let log = log(1);
        let mut reader = log.resume(cursor(0)).expect("the cursor is in the ring");
        log.push((2..=5).map(event));
        assert_eq!(step(&mut reader), None);
        assert_eq!(step(&mut reader), Some(vec![]));
        assert_eq!(reader.cursor(), cursor(5));
        log.push([event(6)]);
        assert_eq!(step(&mut reader), Some(vec![6]));
    }

    #[test]
    fn reader_at_the_oldest_event_of_the_ring_loses_no_event() {
        let log = log(1);
        let mut reader = log.resume(cursor(1)).expect("the cursor is in the ring");
        log.push((2..=5).map(event));
        assert_eq!(step(&mut reader), Some(vec![2, 3, 4, 5]));
    }

    #[test]
    fn lost_history_resets_every_reader_and_ends_earlier_cursors() {
        let log = log(3);
        let (mut behind, mut at_the_end) = (log.resume(cursor(1)).expect("the cursor is in the ring"), log.subscribe());
        log.reset(cursor(10));
        assert_eq!((step(&mut behind), step(&mut at_the_end)), (None, None));
        assert!(log.resume(cursor(3)).is_none());
        assert!(log.resume(cursor(10)).is_some());
        log.push([event(11)]);
        assert_eq!((step(&mut behind), step(&mut at_the_end)), (Some(vec![11]), Some(vec![11])));
    }

    #[test]
    fn event_whose_cursor_does_not_ascend_is_dropped() {
        let log = log(3);
        let mut reader = log.subscribe();
        log.push([event(2), event(3), event(4), event(4)]);
        assert_eq!(step(&mut reader), Some(vec![4]));
        assert_eq!(log.cursor(), cursor(4));
    }

    #[test]
    fn step_is_bounded_and_the_next_step_continues_after_it() {
        let log = FeedLog::new(cursor(0), FeedLimits { events_max: 3 * FeedReader::STEP_MAX, ..LIMITS });
        let mut reader = log.subscribe();
        let count = FeedReader::STEP_MAX as u64 + 1;
        log.push((1..=count).map(event));
        assert_eq!(step(&mut reader).map(|events| events.len()), Some(FeedReader::STEP_MAX));
        assert_eq!(step(&mut reader), Some(vec![count]));
    }

    #[tokio::test]
    async fn waiting_reader_receives_an_event_and_a_reset() {
        let log = log(0);
        let mut reader = log.subscribe();
        let waiting = tokio::spawn(async move {
            let first = matches!(reader.next().await, FeedStep::Events(events) if events.len() == 1);
            (first, matches!(reader.next().await, FeedStep::Reset))
        });
        // On this single-threaded runtime each yield runs the reader until it waits.
        tokio::task::yield_now().await;
        log.push([event(1)]);
        tokio::task::yield_now().await;
        log.reset(cursor(5));
        assert_eq!(waiting.await.expect("no panic"), (true, true));
    }

    #[tokio::test(start_paused = true)]
    async fn feed_after_a_silence_is_not_live_until_the_next_heartbeat() {
        let silence_max = Some(Duration::from_secs(5));
        let log = FeedLog::new(cursor(0), FeedLimits { silence_max, ..LIMITS });
        tokio::time::advance(Duration::from_secs(5)).await;
        assert!(log.is_live());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!log.is_live());
        log.heartbeat();
        assert!(log.is_live());
    }
}
