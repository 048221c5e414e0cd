//! The delivery of events: queues the frames of each event for the connections that receive them,
//! and then writes to each of these connections once.

use bytes::{Bytes, BytesMut};
use prometheus::IntCounter;

use super::{
    connection::{EventFrame, PendingWrites},
    protocol::{self, Frames, ServerFrame},
    send_queue::FrameKind,
    subscriptions::Subscriptions,
};
use crate::{metrics::METRICS, store::RecordedEvent};

/// The delivery of one shard. It is used for one step of the feed after the other, and keeps its
/// buffers in between.
#[derive(Debug)]
pub struct EventDelivery {
    /// Empty between two steps.
    pending: PendingWrites,
    /// Number of public frames that were queued in this step.
    public: u64,
    /// Number of private frames that were queued in this step.
    private: u64,
    scratch: BytesMut,
    counters: DeliveryCounters,
}

/// Counters of delivered frames, looked up once: a lookup by label costs as much as a delivery.
#[derive(Debug)]
struct DeliveryCounters {
    public: IntCounter,
    private: IntCounter,
}

impl EventDelivery {
    pub fn new() -> Self {
        let counter = |kind| METRICS.frames.with_label_values(&[kind]);
        Self {
            pending: PendingWrites::new(ServerFrame::Reset {}.to_bytes()),
            public: 0,
            private: 0,
            scratch: BytesMut::new(),
            counters: DeliveryCounters { public: counter("public"), private: counter("private") },
        }
    }

    /// Queues the frames of an event for all live connections that receive it. The caller must call
    /// [`Self::write`] after the last event of the step.
    pub fn enqueue(&mut self, recorded: &RecordedEvent, subscriptions: &Subscriptions) {
        let frames = protocol::frames_of(recorded);
        self.enqueue_for_watchers(recorded, frames, subscriptions);
        self.enqueue_for_owner(recorded, frames, subscriptions);
    }

    /// Queues the public frame for all connections that watch the ticket, except those of an owner
    /// who gets a private frame.
    fn enqueue_for_watchers(
        &mut self,
        recorded: &RecordedEvent,
        frames: &Frames,
        subscriptions: &Subscriptions,
    ) {
        let (Some(ticket), Some(frame)) = (frames.ticket, &frames.public) else { return };
        // Each thread makes its own copy. With a shared one, the threads would contend for its
        // reference count, twice for each delivery.
        let frame = &Bytes::copy_from_slice(frame);
        let kind = protocol::public_kind(&recorded.event, ticket);
        let event = EventFrame { cursor: recorded.cursor, kind, frame };
        let has_private = frames.private.is_some();
        for connection in subscriptions.watchers(ticket) {
            if !(has_private && frames.is_private_to(connection.user())) {
                self.public += u64::from(connection.enqueue(event, &mut self.pending));
            }
        }
    }

    /// Queues the private frame for the live connections of its owner.
    fn enqueue_for_owner(
        &mut self,
        recorded: &RecordedEvent,
        frames: &Frames,
        subscriptions: &Subscriptions,
    ) {
        let (Some(owner), Some(frame)) = (frames.private_to, &frames.private) else { return };
        let event = EventFrame { cursor: recorded.cursor, kind: FrameKind::Private, frame };
        for connection in subscriptions.of_user(owner).filter(|connection| connection.is_live()) {
            self.private += u64::from(connection.enqueue(event, &mut self.pending));
        }
    }

    /// Writes to each connection for which frames were queued, and counts the frames.
    pub fn write(&mut self) {
        for connection in self.pending.connections.drain(..) {
            connection.write(&mut self.scratch);
        }
        self.counters.public.inc_by(std::mem::take(&mut self.public));
        self.counters.private.inc_by(std::mem::take(&mut self.private));
        METRICS.frames_merged.inc_by(std::mem::take(&mut self.pending.merged));
    }

    /// Drops what is left of a step that panicked: the list would keep the sockets open.
    pub fn clear(&mut self) {
        self.pending.connections.clear();
        (self.public, self.private, self.pending.merged) = (0, 0, 0);
    }
}
