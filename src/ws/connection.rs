//! A WebSocket connection and its state, shared by its task and its shard. Both run on the same
//! thread.

use std::{
    cell::{Ref, RefCell, RefMut},
    io::ErrorKind,
    net::Shutdown,
    rc::Rc,
    sync::LazyLock,
    task::{Context, Poll, Waker},
};

use actix_http::ws::CloseReason;
use actix_web::rt::net::TcpStream;
use bytes::{Bytes, BytesMut};
use prometheus::IntCounter;
use socket2::SockRef;
use tokio::time::Instant;

use super::{
    SocketLimits, Viewer,
    closing::{self, DisconnectReason},
    liveness::{Liveness, LivenessStatus},
    protocol::{self, Frames, ServerFrame},
    replay::CatchUp,
    send_queue::{FrameKind, Reduction, SendQueue},
    watch::Watch,
};
use crate::{
    domain::Timestamp,
    metrics::METRICS,
    store::{Cursor, FeedStep},
};

#[derive(Debug)]
pub struct Connection {
    /// Number of the connection on its shard, in the order of arrival.
    pub number: u64,
    /// The signed-in user; `None` for a client without a session, which gets public frames only.
    pub viewer: Option<Viewer>,
    socket: TcpStream,
    state: RefCell<ConnectionState>,
}

#[derive(Debug)]
pub struct ConnectionState {
    pub send_queue: SendQueue,
    pub watch: Watch,
    pub liveness: Liveness,
    /// Events up to this cursor are skipped: each was queued already, or is older than the
    /// connection.
    after: Cursor,
    /// `Some` while the connection replays missed events. It then reads the feed itself, at its own
    /// pace.
    catch_up: Option<Box<CatchUp>>,
    phase: ConnectionPhase,
    /// Deadline of the closing handshake, set when it begins; then the connection is ended in any
    /// phase.
    ends_by: Option<Instant>,
    /// Wakes the connection's task.
    waker: Option<Waker>,
    /// The socket did not accept all bytes. Queued frames wait until the task finds it writable.
    is_full: bool,
    /// The connection is in the shard's list of connections to write to.
    is_due: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ConnectionPhase {
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

/// The next action of a connection's task.
#[derive(Debug, PartialEq, Eq)]
pub enum NextStep {
    /// Read again, because the new phase treats input differently.
    Read,
    /// Let other tasks run, then continue the replay.
    Yield,
    /// Add the connection to the live connections, because the replay is finished.
    CaughtUp,
    Wait,
    Over,
}

/// The result of one read from the socket.
#[derive(Debug, PartialEq, Eq)]
pub enum SocketRead {
    Received(usize),
    /// The bytes were dropped, or the socket was not readable after all: read again.
    Ignored,
    /// The socket has no input, or input is not wanted in this phase.
    Nothing,
}

impl Connection {
    /// Creates an open connection. `head`: bytes to send before all frames.
    pub fn new(
        number: u64,
        viewer: Option<Viewer>,
        (socket, head): (TcpStream, Bytes),
        after: Cursor,
        catch_up: Option<CatchUp>,
        limits: &SocketLimits,
    ) -> Self {
        let mut send_queue = SendQueue::new(limits);
        send_queue.put_back(head);
        let state = ConnectionState {
            send_queue,
            watch: Watch::All,
            liveness: Liveness::new(Instant::now(), number, limits),
            after,
            catch_up: catch_up.map(Box::new),
            phase: ConnectionPhase::Open,
            ends_by: None,
            waker: None,
            is_full: false,
            is_due: false,
        };
        Self { number, viewer, socket, state: RefCell::new(state) }
    }

    pub fn state(&self) -> Ref<'_, ConnectionState> {
        self.state.borrow()
    }

    pub fn state_mut(&self) -> RefMut<'_, ConnectionState> {
        self.state.borrow_mut()
    }

    /// Returns whether the shard delivers new events to the connection.
    pub fn has_caught_up(&self) -> bool {
        self.state().catch_up.is_none()
    }

    /// Returns whether the connection's user owns the private frame in `frames`.
    pub fn is_owner(&self, frames: &Frames) -> bool {
        frames.owner.is_some() && self.viewer.as_ref().map(|viewer| viewer.user) == frames.owner
    }

    /// Queues the frame of an event, unless the client has it already, and returns whether it did.
    /// The caller must call [`Connection::write`] for each connection in `due`. Adds the merged and
    /// dropped frames to `reduction`.
    pub fn enqueue(
        self: &Rc<Self>,
        cursor: Cursor,
        kind: FrameKind,
        frame: &Bytes,
        reset: &Bytes,
        reduction: &mut Reduction,
        due: &mut Due,
    ) -> bool {
        let mut state = self.state_mut();
        if state.after >= cursor || state.phase != ConnectionPhase::Open {
            return false;
        }
        let cost = state.send_queue.push(kind, frame.clone(), reset);
        reduction.merged += cost.merged;
        reduction.dropped |= cost.dropped;
        if !state.is_full && !std::mem::replace(&mut state.is_due, true) {
            due.push(Rc::clone(self));
        }
        true
    }

    /// Writes the queued frames to the socket with few system calls. The task writes the bytes that
    /// did not fit.
    pub fn write(&self, scratch: &mut BytesMut) {
        let mut state = self.state_mut();
        state.is_due = false;
        while !state.is_full
            && let Some(first) = state.send_queue.take()
        {
            let piece = if state.send_queue.is_empty() {
                first
            } else {
                state.send_queue.take_after(first, scratch)
            };
            let written = match self.socket.try_write(&piece) {
                Ok(written) => written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                Err(_) => return state.end(),
            };
            if written > 0 {
                state.liveness.progressed();
            }
            if written < piece.len() {
                state.send_queue.put_back(piece.slice(written..));
                state.is_full = true;
                state.wake();
            }
        }
    }

    /// Queues an answer, a ping or a pong, and writes the queue.
    pub fn answer(&self, frame: Bytes) {
        let mut state = self.state_mut();
        if state.phase == ConnectionPhase::Open {
            CONTROL_FRAMES.inc();
            state.send_queue.append(FrameKind::Control, frame);
            drop(state);
            self.write(&mut BytesMut::new());
        }
    }

    /// Queues a `Reset` frame because the feed lost events. Live events follow from `position`.
    pub fn reset(&self, position: Cursor, reset: &Bytes) {
        let mut state = self.state_mut();
        state.after = position;
        if state.phase == ConnectionPhase::Open {
            state.send_queue.append(FrameKind::Reset, reset.clone());
            drop(state);
            self.write(&mut BytesMut::new());
        }
    }

    /// Returns the cursor up to which events were queued, when the shard has delivered everything
    /// up to `position`.
    pub fn position(&self, position: Cursor) -> Cursor {
        let state = self.state();
        if state.catch_up.is_some() { state.after } else { state.after.max(position) }
    }

    /// Starts the closing handshake: queues the close frame. Drops the queue first, unless `cause`
    /// keeps it.
    pub fn close(&self, cause: DisconnectReason, limits: &SocketLimits) {
        let mut state = self.state_mut();
        if state.phase == ConnectionPhase::Closing && cause.peer_unparsable() {
            // The peer's answer to our close frame cannot be parsed any more.
            state.phase = ConnectionPhase::Ending;
            return state.wake();
        }
        if state.phase != ConnectionPhase::Open {
            return;
        }
        count(cause);
        if !cause.keeps_queue() {
            state.send_queue.clear();
        }
        state.catch_up = None;
        state.send_queue.append(FrameKind::Control, cause.frame());
        state.phase = if cause.peer_unparsable() {
            ConnectionPhase::Ending
        } else {
            ConnectionPhase::Closing
        };
        state.ends_by = Some(Instant::now() + limits.close_wait_max);
        state.wake();
    }

    /// Handles a close frame from the peer, and answers it if the server sent none.
    pub fn peer_closes(&self, reason: Option<&CloseReason>, limits: &SocketLimits) {
        let mut state = self.state_mut();
        if state.phase == ConnectionPhase::Open {
            state.send_queue.clear();
            state.catch_up = None;
            state.send_queue.append(FrameKind::Control, closing::echo(reason));
        }
        state.phase = ConnectionPhase::Ending;
        state.ends_by.get_or_insert(Instant::now() + limits.close_wait_max);
        state.wake();
    }

    /// Ends the connection at once, without reading or writing more.
    pub fn abort(&self) {
        self.state_mut().end();
    }

    /// Runs the periodic checks: pings the peer, and closes or ends the connection when a deadline
    /// has passed.
    pub fn check(&self, now: Instant, time: Timestamp, limits: &SocketLimits) {
        let ends_by = self.state().ends_by;
        if let Some(ends_by) = ends_by {
            if now >= ends_by {
                self.abort();
            }
            return;
        }
        if self.viewer.as_ref().is_some_and(|viewer| viewer.expires_at <= time) {
            return self.close(DisconnectReason::SessionExpired, limits);
        }
        let status = {
            let mut state = self.state_mut();
            let has_queued = !state.send_queue.is_empty();
            state.liveness.check(now, has_queued, limits)
        };
        match status {
            LivenessStatus::Healthy => {}
            LivenessStatus::PingDue => self.answer(protocol::PING),
            LivenessStatus::Silent => self.close(DisconnectReason::Silent, limits),
            LivenessStatus::Stalled => {
                count(DisconnectReason::Stalled);
                self.abort();
            }
        }
    }

    /// Reads from the socket. Reads nothing while the last frames are being written.
    pub fn read(&self, bytes: &mut [u8], cx: &mut Context<'_>) -> SocketRead {
        let phase = self.state().phase;
        if matches!(phase, ConnectionPhase::Ending | ConnectionPhase::Over) {
            return SocketRead::Nothing;
        }
        let Poll::Ready(ready) = self.socket.poll_read_ready(cx) else {
            return SocketRead::Nothing;
        };
        match ready.and_then(|()| self.socket.try_read(bytes)) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => SocketRead::Ignored,
            // The peer left without a close frame, so no close frame is sent to it.
            Ok(0) | Err(_) => {
                self.abort();
                SocketRead::Nothing
            }
            Ok(_) if phase == ConnectionPhase::Draining => SocketRead::Ignored,
            Ok(count) => SocketRead::Received(count),
        }
    }

    /// Writes the queued frames, as far as the socket accepts them, and returns the task's next
    /// action.
    pub fn next(&self, cx: &mut Context<'_>) -> NextStep {
        while !self.state().send_queue.is_empty() {
            if self.state().is_full {
                match self.socket.poll_write_ready(cx) {
                    Poll::Pending => return NextStep::Wait,
                    Poll::Ready(Ok(())) => self.state_mut().is_full = false,
                    Poll::Ready(Err(_)) => self.abort(),
                }
            }
            self.write(&mut BytesMut::new());
        }
        let mut state = self.state_mut();
        match state.phase {
            ConnectionPhase::Ending => {
                // An error means that the peer has closed already, and then nothing is left to do.
                let _ = SockRef::from(&self.socket).shutdown(Shutdown::Write);
                state.phase = ConnectionPhase::Draining;
                NextStep::Read
            }
            ConnectionPhase::Over => NextStep::Over,
            ConnectionPhase::Open if state.catch_up.is_some() => self.replay(&mut state),
            ConnectionPhase::Open | ConnectionPhase::Closing | ConnectionPhase::Draining => {
                NextStep::Wait
            }
        }
    }

    /// Queues the next slice of the missed events.
    fn replay(&self, state: &mut ConnectionState) -> NextStep {
        let ConnectionState { send_queue, catch_up, after, watch, .. } = state;
        let Some(missed) = catch_up else { return NextStep::CaughtUp };
        let mut bytes = 0;
        for _ in 0..CatchUp::SLICE {
            let Some(recorded) = missed.step.next() else {
                match missed.reader.try_next() {
                    Some(FeedStep::Events(events)) => missed.step = events.into_iter(),
                    Some(FeedStep::Reset) => {
                        send_queue.append(FrameKind::Reset, ServerFrame::Reset {}.to_bytes())
                    }
                    None => {
                        METRICS.replayed_bytes.inc_by(bytes as u64);
                        // The result is ignored, since these frames are queued already: a later
                        // replay is refused instead.
                        missed.meter.take(bytes);
                        *after = missed.reader.cursor();
                        *catch_up = None;
                        return NextStep::CaughtUp;
                    }
                }
                continue;
            };
            *after = recorded.cursor;
            let frames = protocol::frames_of(&recorded);
            let (kind, frame) = match (&frames.private, &frames.public, frames.ticket) {
                (Some(private), ..) if self.is_owner(frames) => (FrameKind::Private, private),
                (_, Some(public), Some(ticket)) if watch.wants(ticket) => {
                    (protocol::public_kind(&recorded.event, ticket), public)
                }
                _ => continue,
            };
            bytes += frame.len();
            send_queue.append(kind, frame.clone());
        }
        METRICS.replayed_bytes.inc_by(bytes as u64);
        if missed.meter.take(bytes) {
            return NextStep::Yield;
        }
        // The address has used up its budget: the client fetches a snapshot, and gets new events
        // from here on.
        METRICS.replays_refused.inc();
        missed.reader.skip_to_present();
        send_queue.append(FrameKind::Reset, ServerFrame::Reset {}.to_bytes());
        *after = missed.reader.cursor();
        *catch_up = None;
        NextStep::CaughtUp
    }
}

impl ConnectionState {
    pub fn will_wake(&mut self, waker: &Waker) {
        if !self.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            self.waker = Some(waker.clone());
        }
    }

    fn end(&mut self) {
        self.send_queue.clear_all();
        self.catch_up = None;
        self.phase = ConnectionPhase::Over;
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }
}

/// The series is looked up once, not for each frame.
static CONTROL_FRAMES: LazyLock<IntCounter> =
    LazyLock::new(|| METRICS.frames.with_label_values(&["control"]));

fn count(cause: DisconnectReason) {
    if let Some(label) = cause.label() {
        METRICS.sockets_closed.with_label_values(&[label]).inc();
    }
}

/// Connections with frames to write to their sockets.
pub type Due = Vec<Rc<Connection>>;

/// Connections by their number, so that events are delivered in the order of arrival.
pub type Group = std::collections::BTreeMap<u64, Rc<Connection>>;
