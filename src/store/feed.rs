//! The feed: what was committed, in commit order, kept for a while in one bounded ring per process.
//!
//! A store is its only writer. Readers (hub shards, catalog, session cache) each hold a place of their own and never
//! block the writer or each other; one that falls out of the ring is told so by [`FeedStep::Reset`].

use std::{
    collections::VecDeque,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use parking_lot::RwLock;
use tokio::{sync::watch, time::Instant};

use super::Cursor;
use crate::domain::{Event, TicketId, Timestamp, UserId};

/// One committed event.
#[derive(Debug)]
pub struct RecordedEvent {
    pub cursor: Cursor,
    pub at: Timestamp,
    pub event: Event,
    /// What the hub makes of it, rendered by whichever shard comes first, so that it is rendered once however many watch.
    pub frames: OnceLock<Frames>,
}

/// An event as WebSocket text, ready to be written.
#[derive(Debug, Clone, Default)]
pub struct Frames {
    /// The ticket whose watchers get `public`.
    pub ticket: Option<TicketId>,
    pub public: Option<Bytes>,
    /// The one user who gets `private`, in place of `public` if there are both.
    pub owner: Option<UserId>,
    pub private: Option<Bytes>,
}

impl RecordedEvent {
    pub fn new(cursor: Cursor, at: Timestamp, event: Event) -> Self {
        Self { cursor, at, event, frames: OnceLock::new() }
    }
}

/// How a [`FeedLog`] is bounded.
#[derive(Debug, Clone, Copy)]
pub struct FeedLimits {
    pub events_max: usize,
    /// A feed that was not heard of for longer is not live; `None`: it lives as long as the process.
    pub silence_max: Option<Duration>,
    /// How far beyond the newest event a cursor may lie, in units of [`Cursor::time`]: one taken on a replica that is a
    /// little ahead of this one is not a forgery.
    pub ahead_max: u64,
}

impl FeedLimits {
    /// Some 200 MB of frames at the most; five minutes of 430 events a second.
    pub const EVENTS_MAX: usize = 131_072;
}

#[derive(Debug)]
struct EventRing {
    /// Counts the events ever pushed; the position of `events[0]` is `first`.
    first: u64,
    events: VecDeque<Arc<RecordedEvent>>,
    /// The place before `events[0]`: all that came after it is in the ring.
    base: Cursor,
    /// The store has nothing up to here that is not in the ring: where nothing happens, this moves on all the same, so that
    /// a place that is taken now is as young as it is, on every replica.
    scanned_to: Cursor,
    /// Counts the times that history was lost.
    generation: u64,
    heartbeat: Instant,
}

/// The ring and its bell.
#[derive(Debug, Clone)]
pub struct FeedLog {
    ring: Arc<RwLock<EventRing>>,
    notify: Arc<watch::Sender<()>>,
    limits: FeedLimits,
}

/// A place in the feed that moves on.
#[derive(Debug)]
pub struct FeedReader {
    log: FeedLog,
    next: u64,
    generation: u64,
    /// Events up to here are skipped.
    after: Cursor,
    notify: watch::Receiver<()>,
}

/// What a reader gets next.
#[derive(Debug)]
pub enum FeedStep {
    /// In commit order, without a gap; never empty.
    Events(Vec<Arc<RecordedEvent>>),
    /// History was lost: take a new snapshot. What comes next follows the present.
    Reset,
}

impl FeedLog {
    /// An empty log whose history begins at `base`.
    pub fn new(base: Cursor, limits: FeedLimits) -> Self {
        let ring = EventRing { first: 0, events: VecDeque::new(), base, scanned_to: base, generation: 0, heartbeat: Instant::now() };
        Self { ring: Arc::new(RwLock::new(ring)), notify: Arc::new(watch::Sender::new(())), limits }
    }

    /// Appends events; cursors must ascend, and those that do not (a replay after a reconnect) are dropped.
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

    /// Says that the feed is alive though nothing happened.
    pub fn heartbeat(&self) {
        self.ring.write().heartbeat = Instant::now();
    }

    /// Says the same, and that nothing is to come any more up to `scanned_to`.
    pub fn heartbeat_at(&self, scanned_to: Cursor) {
        let mut ring = self.ring.write();
        ring.heartbeat = Instant::now();
        ring.scanned_to = ring.scanned_to.max(scanned_to);
    }

    /// History was lost; it begins again at `base`. Every reader gets a [`FeedStep::Reset`].
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

    /// Whether what it says is at most a few seconds old.
    pub fn is_live(&self) -> bool {
        self.limits.silence_max.is_none_or(|max| self.ring.read().heartbeat.elapsed() <= max)
    }

    /// Whether it was heard of within `max`: what was committed before that is known.
    pub fn heard_within(&self, max: Duration) -> bool {
        self.limits.silence_max.is_none() || self.ring.read().heartbeat.elapsed() <= max
    }

    /// The place up to which everything is known: that of the newest event, or a later one.
    pub fn cursor(&self) -> Cursor {
        self.ring.read().place()
    }

    /// A reader of what comes from now on.
    pub fn subscribe(&self) -> FeedReader {
        let notify = self.notify.subscribe();
        let ring = self.ring.read();
        FeedReader { log: self.clone(), next: ring.end(), generation: ring.generation, after: ring.place(), notify }
    }

    /// A reader of what came after `cursor`, or `None` if that is not known completely.
    pub fn resume(&self, cursor: Cursor) -> Option<FeedReader> {
        let notify = self.notify.subscribe();
        let ring = self.ring.read();
        let newest = ring.place();
        let known = cursor.epoch == newest.epoch && cursor >= ring.base && cursor.time.saturating_sub(newest.time) <= self.limits.ahead_max;
        if !known || (self.limits.ahead_max == 0 && cursor > newest) {
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

    fn place(&self) -> Cursor {
        self.scanned_to.max(self.last())
    }

    fn end(&self) -> u64 {
        self.first + self.events.len() as u64
    }
}

impl FeedReader {
    /// How many events one [`FeedStep`] holds at most.
    pub const STEP_MAX: usize = 1024;

    /// Waits for what comes next. Cancel-safe.
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

    /// What is there already, without waiting.
    pub fn try_next(&mut self) -> Option<FeedStep> {
        let ring = self.log.ring.read();
        if ring.generation != self.generation || self.next < ring.first {
            self.generation = ring.generation;
            self.next = ring.end();
            self.after = ring.place();
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

    /// The place up to which everything was read.
    pub fn cursor(&self) -> Cursor {
        self.after
    }

    /// Leaves out all that is known already.
    pub fn skip_to_present(&mut self) {
        let ring = self.log.ring.read();
        self.generation = ring.generation;
        self.next = ring.end();
        self.after = ring.place();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{TicketId, UserId};

    const LIMITS: FeedLimits = FeedLimits { events_max: 4, silence_max: None, ahead_max: 0 };

    fn cursor(time: u64) -> Cursor {
        Cursor { epoch: 7, time, ordinal: 0 }
    }

    fn event(time: u64) -> RecordedEvent {
        let id = uuid::Uuid::from_u128(time.into());
        let event = Event::TicketDeleted { ticket: TicketId::new(id), seller: UserId::new(id), version: 0 };
        RecordedEvent::new(cursor(time), Timestamp(0), event)
    }

    /// A log that has heard of events 1 to `newest`, and still has the last four.
    fn log(newest: u64) -> FeedLog {
        let log = FeedLog::new(cursor(0), LIMITS);
        log.push((1..=newest).map(event));
        log
    }

    /// The times of what a reader gets at once; `None` for a reset.
    fn step(reader: &mut FeedReader) -> Option<Vec<u64>> {
        match reader.try_next() {
            Some(FeedStep::Events(events)) => Some(events.iter().map(|event| event.cursor.time).collect()),
            Some(FeedStep::Reset) => None,
            None => Some(Vec::new()),
        }
    }

    #[test]
    fn a_reader_resumes_at_the_base_in_the_middle_and_at_the_tail() {
        let log = log(6);
        for (from, expected) in [(2, vec![3, 4, 5, 6]), (4, vec![5, 6]), (6, vec![])] {
            let mut reader = log.resume(cursor(from)).expect("known");
            assert_eq!(step(&mut reader), Some(expected), "after {from}");
            assert_eq!(reader.cursor(), cursor(6));
        }
    }

    #[test]
    fn a_place_that_left_the_ring_another_epoch_and_the_future_are_not_known() {
        let log = log(6);
        assert!(log.resume(cursor(1)).is_none(), "event 2 is gone");
        assert!(log.resume(Cursor { epoch: 6, ..cursor(4) }).is_none());
        assert!(log.resume(Cursor { epoch: 8, ..cursor(4) }).is_none());
        assert!(log.resume(cursor(7)).is_none());
        assert!(log.resume(Cursor { ordinal: 1, ..cursor(6) }).is_none());
    }

    #[test]
    fn a_cursor_from_a_replica_that_is_a_little_ahead_skips_what_it_saw() {
        let log = FeedLog::new(cursor(0), FeedLimits { ahead_max: 2, ..LIMITS });
        log.push((1..=3).map(event));
        assert!(log.resume(cursor(6)).is_none(), "too far ahead");
        let mut reader = log.resume(cursor(5)).expect("a little ahead");
        log.push((4..=6).map(event));
        assert_eq!(step(&mut reader), Some(vec![6]));
    }

    #[test]
    fn a_place_taken_while_nothing_happens_is_as_young_as_the_last_look() {
        let (here, elsewhere) = (log(1), FeedLog::new(cursor(50), LIMITS));
        here.heartbeat_at(cursor(60));
        elsewhere.heartbeat_at(cursor(61));
        assert_eq!(here.cursor(), cursor(60));
        let taken = here.subscribe().cursor();
        // The other one began to look long after the last event.
        let mut reader = elsewhere.resume(taken).expect("it has looked on from before that");
        elsewhere.push([event(62)]);
        assert_eq!(step(&mut reader), Some(vec![62]));
        assert!(elsewhere.resume(cursor(1)).is_none(), "of that time it knows nothing");
    }

    #[test]
    fn a_reader_that_falls_out_of_the_ring_is_reset_once_and_follows_the_present() {
        let log = log(1);
        let mut reader = log.resume(cursor(0)).expect("known");
        log.push((2..=5).map(event));
        assert_eq!(step(&mut reader), None);
        assert_eq!(step(&mut reader), Some(vec![]));
        assert_eq!(reader.cursor(), cursor(5));
        log.push([event(6)]);
        assert_eq!(step(&mut reader), Some(vec![6]));
    }

    #[test]
    fn a_reader_at_the_rings_oldest_event_loses_nothing() {
        let log = log(1);
        let mut reader = log.resume(cursor(1)).expect("known");
        log.push((2..=5).map(event));
        assert_eq!(step(&mut reader), Some(vec![2, 3, 4, 5]));
    }

    #[test]
    fn lost_history_resets_every_reader_and_forgets_every_place_before() {
        let log = log(3);
        let (mut behind, mut at_the_tail) = (log.resume(cursor(1)).expect("known"), log.subscribe());
        log.reset(cursor(10));
        assert_eq!((step(&mut behind), step(&mut at_the_tail)), (None, None));
        assert!(log.resume(cursor(3)).is_none());
        assert!(log.resume(cursor(10)).is_some());
        log.push([event(11)]);
        assert_eq!((step(&mut behind), step(&mut at_the_tail)), (Some(vec![11]), Some(vec![11])));
    }

    #[test]
    fn what_does_not_ascend_is_dropped() {
        let log = log(3);
        let mut reader = log.subscribe();
        log.push([event(2), event(3), event(4), event(4)]);
        assert_eq!(step(&mut reader), Some(vec![4]));
        assert_eq!(log.cursor(), cursor(4));
    }

    #[test]
    fn a_step_is_bounded_and_the_next_one_goes_on() {
        let log = FeedLog::new(cursor(0), FeedLimits { events_max: 3 * FeedReader::STEP_MAX, ..LIMITS });
        let mut reader = log.subscribe();
        let count = FeedReader::STEP_MAX as u64 + 1;
        log.push((1..=count).map(event));
        assert_eq!(step(&mut reader).map(|events| events.len()), Some(FeedReader::STEP_MAX));
        assert_eq!(step(&mut reader), Some(vec![count]));
    }

    #[tokio::test]
    async fn a_waiting_reader_is_woken_by_an_event_and_by_a_reset() {
        let log = log(0);
        let mut reader = log.subscribe();
        let waiting = tokio::spawn(async move {
            let first = matches!(reader.next().await, FeedStep::Events(events) if events.len() == 1);
            (first, matches!(reader.next().await, FeedStep::Reset))
        });
        // On this runtime the reader gets its turn, and waits, at each yield.
        tokio::task::yield_now().await;
        log.push([event(1)]);
        tokio::task::yield_now().await;
        log.reset(cursor(5));
        assert_eq!(waiting.await.expect("no panic"), (true, true));
    }

    #[tokio::test(start_paused = true)]
    async fn a_feed_that_fell_silent_is_not_live_until_it_beats_again() {
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
