//! The replay of missed events to one connection.
//!
//! A client that reconnects asks to resume from a cursor. The connection then reads the feed by
//! itself, at its own pace, until it has reached the present. Then it is live: the shard delivers
//! new events to it. Both happen on one thread, so no event is missed between the two.

use std::sync::Arc;

use super::{
    protocol::{self, ServerFrame},
    replay_budget::ReplayMeter,
    send_queue::{FrameKind, SendQueue},
    watch::Watch,
};
use crate::{
    domain::UserId,
    metrics::METRICS,
    store::{Cursor, FeedLog, FeedReader, FeedStep, RecordedEvent},
};

/// The cursor from which a client asks to resume, and the budget of its replay.
#[derive(Debug)]
pub struct ReplayRequest {
    pub cursor: Cursor,
    pub meter: ReplayMeter,
}

/// The replay of one connection: its own reader of the feed, and the budget for the replayed bytes.
#[derive(Debug)]
pub struct Replay {
    reader: FeedReader,
    /// Events that were read and are not queued yet.
    unqueued: std::vec::IntoIter<Arc<RecordedEvent>>,
    /// Cursor of the last event that was queued or skipped.
    position: Cursor,
    meter: ReplayMeter,
}

impl Replay {
    /// Maximum number of steps of the replay before other tasks run; nearly every step queues one
    /// event.
    const SLICE: usize = 64;
    /// Minimum that a replay takes from the budget, in bytes: about half a slice. A replay starts
    /// only if the budget has this much left, so that it is not ended at once.
    const BYTES_MIN: usize = 16 * 1024;

    /// Starts a replay. Returns `None` if the feed does not hold all missed events any more, or if
    /// the budget is used up.
    pub fn start(feed: &FeedLog, request: ReplayRequest) -> Option<Self> {
        let ReplayRequest { cursor, meter } = request;
        let reader = feed.resume(cursor)?;
        // A client that missed no event needs no budget.
        let has_missed = cursor < feed.cursor();
        if has_missed && !meter.take(Self::BYTES_MIN) {
            METRICS.replays_refused.inc();
            return None;
        }
        Some(Self { reader, unqueued: Vec::new().into_iter(), position: cursor, meter })
    }

    /// Returns the cursor of the last event that was queued or skipped.
    pub fn position(&self) -> Cursor {
        self.position
    }

    /// Queues the next slice of the missed events for a connection of `user` that watches `watch`.
    /// Returns whether the replay is finished.
    pub fn enqueue_slice(
        &mut self,
        user: Option<UserId>,
        watch: &Watch,
        send_queue: &mut SendQueue,
    ) -> bool {
        let (mut bytes, mut is_finished) = (0, false);
        for _ in 0..Self::SLICE {
            if let Some(recorded) = self.unqueued.next() {
                self.position = recorded.cursor;
                if let Some((kind, frame)) = protocol::frame_for(&recorded, user, watch) {
                    bytes += frame.len();
                    send_queue.enqueue_unbounded(kind, frame.clone());
                }
                continue;
            }
            match self.reader.try_next() {
                Some(FeedStep::Events(events)) => self.unqueued = events.into_iter(),
                Some(FeedStep::Reset) => enqueue_reset(send_queue),
                None => {
                    is_finished = true;
                    break;
                }
            }
        }
        METRICS.replayed_bytes.inc_by(bytes as u64);
        let is_within_budget = self.meter.take(bytes);
        if !is_finished && is_within_budget {
            return false;
        }
        // The frames of the last slice are queued already. If the budget is too small for them, a
        // later replay is refused instead.
        if !is_finished {
            // The address has used up its budget: the client fetches a snapshot, and gets new
            // events from here on.
            METRICS.replays_refused.inc();
            self.reader.skip_to_present();
            enqueue_reset(send_queue);
        }
        self.position = self.reader.cursor();
        true
    }
}

fn enqueue_reset(send_queue: &mut SendQueue) {
    send_queue.enqueue_unbounded(FrameKind::Reset, ServerFrame::Reset {}.to_bytes());
}
