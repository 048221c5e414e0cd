//! The state of a connection: its send queue, its position in the feed, and the phases of its end.
//! The socket is not part of it.

use std::{sync::LazyLock, task::Waker};

use actix_http::ws::CloseReason;
use bytes::Bytes;
use prometheus::IntCounter;
use tokio::time::Instant;

use crate::{
    domain::UserId,
    metrics::METRICS,
    store::Cursor,
    ws::{
        SocketLimits,
        closing::{self, DisconnectReason},
        liveness::{Liveness, LivenessStatus},
        replay::Replay,
        send_queue::{FrameKind, Reduction, SendQueue},
        watch::Watch,
    },
};

/// The state of one connection. Its socket, its number and its user are in
/// [`Connection`](super::Connection).
#[derive(Debug)]
pub struct ConnectionState {
    pub send_queue: SendQueue,
    pub watch: Watch,
    pub liveness: Liveness,
    /// Events up to this cursor are skipped: each was queued already, or is older than the
    /// connection.
    after: Cursor,
    /// `Some` while the connection replays missed events; afterwards it is live.
    replay: Option<Box<Replay>>,
    pub(super) phase: ConnectionPhase,
    /// Deadline of the closing handshake, set when the handshake begins. At the deadline the
    /// connection is ended, whatever its phase is.
    pub(super) ends_by: Option<Instant>,
    /// Wakes the connection's task.
    waker: Option<Waker>,
    /// The socket did not accept all bytes. Queued frames wait until the task finds it writable.
    pub(super) is_full: bool,
    /// The connection is in the shard's list of pending writes.
    pub(super) is_pending: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ConnectionPhase {
    Open,
    /// The server's close frame is queued or sent, and the peer's close frame is awaited.
    Closing,
    /// The queue holds the last frames. The peer sent its close frame, or its input cannot be
    /// parsed any more.
    Ending,
    /// The queue is written and the write side is shut down. Input is read and dropped until the
    /// peer closes too: closing the socket at once could make the peer's kernel drop the close
    /// frame (RFC 9112 §9.6).
    Draining,
    Over,
}

/// The frame of an event, for all connections that receive it.
#[derive(Debug, Clone, Copy)]
pub struct EventFrame<'a> {
    pub cursor: Cursor,
    pub kind: FrameKind,
    pub frame: &'a Bytes,
}

impl ConnectionState {
    /// Creates the state of an open connection that watches all tickets. `number`, `head`, `after`
    /// and `replay` are those of [`NewConnection`](super::NewConnection).
    pub(super) fn new(
        number: u64,
        head: Bytes,
        after: Cursor,
        replay: Option<Replay>,
        limits: &SocketLimits,
    ) -> Self {
        let mut send_queue = SendQueue::new(limits);
        send_queue.put_back(head);
        Self {
            send_queue,
            watch: Watch::All,
            liveness: Liveness::new(Instant::now(), number, limits),
            after,
            replay: replay.map(Box::new),
            phase: ConnectionPhase::Open,
            ends_by: None,
            waker: None,
            is_full: false,
            is_pending: false,
        }
    }

    pub(super) fn is_live(&self) -> bool {
        self.replay.is_none()
    }

    /// Returns the cursor up to which events were queued, when the shard has delivered everything
    /// up to `position`.
    pub(super) fn position(&self, position: Cursor) -> Cursor {
        if self.is_live() { self.after.max(position) } else { self.after }
    }

    /// Queues the frame of an event. Returns `None`, and queues nothing, if the client has the
    /// frame already or the connection is not open.
    pub(super) fn enqueue(&mut self, event: EventFrame<'_>, reset: &Bytes) -> Option<Reduction> {
        let EventFrame { cursor, kind, frame } = event;
        if self.after >= cursor || self.phase != ConnectionPhase::Open {
            return None;
        }
        Some(self.send_queue.enqueue(kind, frame.clone(), reset))
    }

    /// Queues an answer, a ping or a pong, and returns whether the connection is open.
    pub(super) fn enqueue_control(&mut self, frame: Bytes) -> bool {
        let is_open = self.phase == ConnectionPhase::Open;
        if is_open {
            CONTROL_FRAMES.inc();
            self.send_queue.enqueue_unbounded(FrameKind::Control, frame);
        }
        is_open
    }

    /// Skips the events up to `position`, queues a `Reset` frame, and returns whether the
    /// connection is open.
    pub(super) fn enqueue_reset(&mut self, position: Cursor, frame: Bytes) -> bool {
        self.after = position;
        let is_open = self.phase == ConnectionPhase::Open;
        if is_open {
            self.send_queue.enqueue_unbounded(FrameKind::Reset, frame);
        }
        is_open
    }

    /// Queues the next slice of the missed events, and returns whether the replay is finished: then
    /// the connection is live.
    pub(super) fn enqueue_replay(&mut self, user: Option<UserId>) -> bool {
        let Some(replay) = &mut self.replay else { return true };
        let is_finished = replay.enqueue_slice(user, &self.watch, &mut self.send_queue);
        self.after = replay.position();
        if is_finished {
            self.replay = None;
        }
        is_finished
    }

    /// Starts the closing handshake: queues the close frame. Drops the queue first, unless `reason`
    /// keeps it.
    pub(super) fn close(&mut self, reason: DisconnectReason, limits: &SocketLimits) {
        if self.phase == ConnectionPhase::Closing && reason.stops_reading() {
            // The peer's answer to our close frame cannot be parsed any more.
            self.phase = ConnectionPhase::Ending;
            return self.wake();
        }
        if self.phase != ConnectionPhase::Open {
            return;
        }
        count(reason);
        if !reason.keeps_queue() {
            self.send_queue.clear();
        }
        self.replay = None;
        self.send_queue.enqueue_unbounded(FrameKind::Control, reason.frame());
        self.phase =
            if reason.stops_reading() { ConnectionPhase::Ending } else { ConnectionPhase::Closing };
        self.ends_by = Some(Instant::now() + limits.close_wait_max);
        self.wake();
    }

    /// Handles a close frame from the peer, and answers it if the server sent none.
    pub(super) fn on_close_frame(&mut self, reason: Option<&CloseReason>, limits: &SocketLimits) {
        if self.phase == ConnectionPhase::Open {
            self.send_queue.clear();
            self.replay = None;
            self.send_queue.enqueue_unbounded(FrameKind::Control, closing::echo(reason));
        }
        self.phase = ConnectionPhase::Ending;
        self.ends_by.get_or_insert(Instant::now() + limits.close_wait_max);
        self.wake();
    }

    /// Ends the connection at once, without reading or writing more.
    pub(super) fn abort(&mut self) {
        self.send_queue.clear_all();
        self.replay = None;
        self.phase = ConnectionPhase::Over;
        self.wake();
    }

    /// Ends the connection at once because the peer does not read, or does not answer a ping.
    pub(super) fn abort_stalled(&mut self) {
        count(DisconnectReason::Stalled);
        self.abort();
    }

    pub(super) fn check_liveness(&mut self, now: Instant, limits: &SocketLimits) -> LivenessStatus {
        self.liveness.check(now, !self.send_queue.is_empty(), limits)
    }

    /// Sets the waker of the connection's task.
    pub fn set_waker(&mut self, waker: &Waker) {
        if !self.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            self.waker = Some(waker.clone());
        }
    }

    pub(super) fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }
}

/// The series is looked up once, not for each frame.
static CONTROL_FRAMES: LazyLock<IntCounter> =
    LazyLock::new(|| METRICS.frames.with_label_values(&["control"]));

fn count(reason: DisconnectReason) {
    if let Some(label) = reason.label() {
        METRICS.sockets_closed.with_label_values(&[label]).inc();
    }
}
