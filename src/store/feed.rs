//! The feed: what was committed, in commit order, kept for a while in one bounded ring per process.
//!
//! A store is its only writer. Readers (hub shards, catalog, session cache) each hold a place of their own and never
//! block the writer or each other; one that falls out of the ring is told so by [`Step::Reset`].

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
pub struct Recorded {
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

impl Recorded {
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
struct Ring {
    /// Counts the events ever pushed; the position of `events[0]` is `first`.
    first: u64,
    events: VecDeque<Arc<Recorded>>,
    /// The place before `events[0]`: all that came after it is in the ring.
    base: Cursor,
    /// Counts the times that history was lost.
    generation: u64,
    beat: Instant,
}

/// The ring and its bell.
#[derive(Debug, Clone)]
pub struct FeedLog {
    ring: Arc<RwLock<Ring>>,
    bell: Arc<watch::Sender<()>>,
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
    bell: watch::Receiver<()>,
}

/// What a reader gets next.
#[derive(Debug)]
pub enum Step {
    /// In commit order, without a gap; never empty.
    Events(Vec<Arc<Recorded>>),
    /// History was lost: take a new snapshot. What comes next follows the present.
    Reset,
}

impl FeedLog {
    /// An empty log whose history begins at `base`.
    pub fn new(base: Cursor, limits: FeedLimits) -> Self {
        let ring = Ring { first: 0, events: VecDeque::new(), base, generation: 0, beat: Instant::now() };
        Self { ring: Arc::new(RwLock::new(ring)), bell: Arc::new(watch::Sender::new(())), limits }
    }

    /// Appends events; cursors must ascend, and those that do not (a replay after a reconnect) are dropped.
    pub fn push(&self, recorded: impl IntoIterator<Item = Recorded>) {
        {
            let mut ring = self.ring.write();
            ring.beat = Instant::now();
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
        self.bell.send_replace(());
    }

    /// Says that the feed is alive though nothing happened.
    pub fn beat(&self) {
        self.ring.write().beat = Instant::now();
    }

    /// History was lost; it begins again at `base`. Every reader gets a [`Step::Reset`].
    pub fn reset(&self, base: Cursor) {
        {
            let mut ring = self.ring.write();
            ring.first += ring.events.len() as u64;
            ring.events.clear();
            ring.base = base;
            ring.generation += 1;
            ring.beat = Instant::now();
        }
        self.bell.send_replace(());
    }

    /// Whether what it says is at most a few seconds old.
    pub fn is_live(&self) -> bool {
        self.limits.silence_max.is_none_or(|max| self.ring.read().beat.elapsed() <= max)
    }

    /// The place of the newest event.
    pub fn cursor(&self) -> Cursor {
        self.ring.read().last()
    }

    /// A reader of what comes from now on.
    pub fn subscribe(&self) -> FeedReader {
        let bell = self.bell.subscribe();
        let ring = self.ring.read();
        FeedReader { log: self.clone(), next: ring.end(), generation: ring.generation, after: ring.last(), bell }
    }

    /// A reader of what came after `cursor`, or `None` if that is not known completely.
    pub fn resume(&self, cursor: Cursor) -> Option<FeedReader> {
        let bell = self.bell.subscribe();
        let ring = self.ring.read();
        let newest = ring.last();
        let known = cursor.epoch == newest.epoch && cursor >= ring.base && cursor.time.saturating_sub(newest.time) <= self.limits.ahead_max;
        if !known || (self.limits.ahead_max == 0 && cursor > newest) {
            return None;
        }
        let skipped = ring.events.partition_point(|event| event.cursor <= cursor);
        Some(FeedReader { log: self.clone(), next: ring.first + skipped as u64, generation: ring.generation, after: cursor, bell })
    }
}

impl Ring {
    fn last(&self) -> Cursor {
        self.events.back().map_or(self.base, |event| event.cursor)
    }

    fn end(&self) -> u64 {
        self.first + self.events.len() as u64
    }
}

impl FeedReader {
    /// How many events one [`Step`] holds at most.
    pub const STEP_MAX: usize = 1024;

    /// Waits for what comes next. Cancel-safe.
    pub async fn next(&mut self) -> Step {
        loop {
            self.bell.mark_unchanged();
            if let Some(step) = self.try_next() {
                return step;
            }
            if self.bell.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// What is there already, without waiting.
    pub fn try_next(&mut self) -> Option<Step> {
        let ring = self.log.ring.read();
        if ring.generation != self.generation || self.next < ring.first {
            self.generation = ring.generation;
            self.next = ring.end();
            self.after = ring.last();
            return Some(Step::Reset);
        }
        while self.next < ring.end() {
            let from = usize::try_from(self.next - ring.first).ok()?;
            let events: Vec<_> = ring.events.range(from..).take(Self::STEP_MAX).cloned().collect();
            self.next += events.len() as u64;
            let fresh: Vec<_> = events.into_iter().filter(|event| event.cursor > self.after).collect();
            if let Some(last) = fresh.last() {
                self.after = last.cursor;
                return Some(Step::Events(fresh));
            }
        }
        None
    }

    /// The place up to which everything was read.
    pub fn cursor(&self) -> Cursor {
        self.after
    }
}
