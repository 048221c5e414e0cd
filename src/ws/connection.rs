//! One socket and its state, shared by its task and its shard. Both live on one thread.

use std::{
    cell::{Ref, RefCell, RefMut},
    collections::HashSet,
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
    protocol::{self, ServerFrame},
    replay::CatchUp,
    send_queue::{Bounded, FrameKind, SendQueue},
};
use crate::{
    domain::{TicketId, Timestamp},
    metrics::METRICS,
    store::{Cursor, FeedStep, feed::Frames},
};

/// One socket.
#[derive(Debug)]
pub struct Connection {
    /// Ascends with the time of its arrival on its shard.
    pub number: u64,
    /// Who it belongs to; `None`: somebody who only watches.
    pub viewer: Option<Viewer>,
    socket: TcpStream,
    state: RefCell<ConnectionState>,
}

/// What changes about it.
#[derive(Debug)]
pub struct ConnectionState {
    pub send_queue: SendQueue,
    pub watch: Watch,
    pub liveness: Liveness,
    /// Everything up to here was told, or was known before it came.
    after: Cursor,
    /// There while it is behind the present: it reads the feed by itself, at its own pace.
    catch_up: Option<Box<CatchUp>>,
    phase: ConnectionPhase,
    /// From the end's beginning on: when it is cut off, however far that has come.
    ends_by: Option<Instant>,
    /// Its task, to be woken when there is something to do for it.
    waker: Option<Waker>,
    /// The socket did not take all that it was given: what is queued waits until its task finds that it takes more.
    is_full: bool,
    /// It stands in the shard's list of those to be written to.
    is_due: bool,
}

/// Which tickets' public frames are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Watch {
    All,
    These(HashSet<TicketId>),
}

/// How far a connection is from its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ConnectionPhase {
    Open,
    /// A close frame is queued or sent, and the peer's answer is waited for.
    Closing,
    /// What is queued is the last, and the peer has said its last word, or cannot be understood any more.
    Ending,
    /// All is written and our side closed. What still comes is thrown away until the peer closes too: to close on it at
    /// once would make its kernel throw our close frame away (RFC 9112 §9.6).
    Draining,
    Over,
}

/// What its task is to do after it has written what it could.
#[derive(Debug, PartialEq, Eq)]
pub enum NextStep {
    /// Read again: what comes is looked at in another way now.
    Read,
    /// More is to come; others should have their turn.
    Yield,
    /// It has reached the present and belongs among the live connections.
    CaughtUp,
    Wait,
    Over,
}

/// What a look at the socket brought.
#[derive(Debug, PartialEq, Eq)]
pub enum SocketRead {
    Received(usize),
    /// Something came that nobody wants to know any more.
    Ignored,
    /// Nothing is there, or is to be read.
    Nothing,
}

impl Connection {
    /// `head`: what goes before all frames.
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

    /// Whether events of the present are delivered to it.
    pub fn is_live(&self) -> bool {
        self.state().catch_up.is_none()
    }

    pub fn is_owner(&self, frames: &Frames) -> bool {
        frames.owner.is_some() && self.viewer.as_ref().map(|viewer| viewer.user) == frames.owner
    }

    /// Queues an event's frame, unless it is known already; [`Connection::write`] is to follow when `due` holds it. The costs
    /// of bounding the queue are counted in `bounded`.
    pub fn enqueue(
        self: &Rc<Self>,
        cursor: Cursor,
        kind: FrameKind,
        frame: &Bytes,
        reset: &Bytes,
        bounded: &mut Bounded,
        due: &mut Due,
    ) -> bool {
        let mut state = self.state_mut();
        if state.after >= cursor || state.phase != ConnectionPhase::Open {
            return false;
        }
        let cost = state.send_queue.push(kind, frame.clone(), reset);
        bounded.merged += cost.merged;
        bounded.dropped |= cost.dropped;
        if !state.is_full && !std::mem::replace(&mut state.is_due, true) {
            due.push(Rc::clone(self));
        }
        true
    }

    /// Writes what is queued to the socket, in as few pieces as it makes; what does not fit waits for the task.
    pub fn write(&self, scratch: &mut BytesMut) {
        let mut state = self.state_mut();
        state.is_due = false;
        while !state.is_full
            && let Some(first) = state.send_queue.take()
        {
            let piece = if state.send_queue.is_empty() { first } else { gathered(first, &mut state.send_queue, scratch) };
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

    /// Queues an answer, a ping or a pong.
    pub fn answer(&self, frame: Bytes) {
        let mut state = self.state_mut();
        if state.phase == ConnectionPhase::Open {
            CONTROL_FRAMES.inc();
            state.send_queue.append(FrameKind::Control, frame);
            drop(state);
            self.write(&mut BytesMut::new());
        }
    }

    /// History was lost at the present, which now begins anew at `position`.
    pub fn reset(&self, position: Cursor, reset: &Bytes) {
        let mut state = self.state_mut();
        state.after = position;
        if state.phase == ConnectionPhase::Open {
            state.send_queue.append(FrameKind::Reset, reset.clone());
            drop(state);
            self.write(&mut BytesMut::new());
        }
    }

    /// The place up to which this connection was told, if the shard has told of everything up to `position`.
    pub fn position(&self, position: Cursor) -> Cursor {
        let state = self.state();
        if state.catch_up.is_some() { state.after } else { state.after.max(position) }
    }

    /// Begins the end: what is queued is dropped, unless it is still true; the close frame follows.
    pub fn close(&self, cause: DisconnectReason, limits: &SocketLimits) {
        let mut state = self.state_mut();
        if state.phase == ConnectionPhase::Closing && cause.peer_unparsable() {
            // Its answer to our close frame will not be understood any more.
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
        state.phase = if cause.peer_unparsable() { ConnectionPhase::Ending } else { ConnectionPhase::Closing };
        state.ends_by = Some(Instant::now() + limits.close_wait_max);
        state.wake();
    }

    /// The peer sent a close frame: an answer to ours, or one that we answer.
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

    /// Ends the connection at once: nothing more is read or written.
    pub fn cut(&self) {
        self.state_mut().end();
    }

    /// Looks after the connection: pings it, and ends what has had its time.
    pub fn look_after(&self, now: Instant, time: Timestamp, limits: &SocketLimits) {
        let ends_by = self.state().ends_by;
        if let Some(ends_by) = ends_by {
            if now >= ends_by {
                self.cut();
            }
            return;
        }
        if self.viewer.as_ref().is_some_and(|viewer| viewer.expires_at <= time) {
            return self.close(DisconnectReason::SessionExpired, limits);
        }
        let verdict = {
            let mut state = self.state_mut();
            let waiting = !state.send_queue.is_empty();
            state.liveness.check(now, waiting, limits)
        };
        match verdict {
            LivenessStatus::Well => {}
            LivenessStatus::PingDue => self.answer(protocol::PING),
            LivenessStatus::Silent => self.close(DisconnectReason::Silent, limits),
            LivenessStatus::Stalled => {
                count(DisconnectReason::Stalled);
                self.cut();
            }
        }
    }

    /// Looks what the peer says. Nothing is read while the last words are being written.
    pub fn read(&self, bytes: &mut [u8], cx: &mut Context<'_>) -> SocketRead {
        let phase = self.state().phase;
        if matches!(phase, ConnectionPhase::Ending | ConnectionPhase::Over) {
            return SocketRead::Nothing;
        }
        let Poll::Ready(ready) = self.socket.poll_read_ready(cx) else { return SocketRead::Nothing };
        match ready.and_then(|()| self.socket.try_read(bytes)) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => SocketRead::Ignored,
            // Whoever goes without a word is told nothing more.
            Ok(0) | Err(_) => {
                self.cut();
                SocketRead::Nothing
            }
            Ok(_) if phase == ConnectionPhase::Draining => SocketRead::Ignored,
            Ok(count) => SocketRead::Received(count),
        }
    }

    /// Writes what waits, as far as the socket takes it, and says what its task is to do then.
    pub fn next(&self, cx: &mut Context<'_>) -> NextStep {
        while !self.state().send_queue.is_empty() {
            if self.state().is_full {
                match self.socket.poll_write_ready(cx) {
                    Poll::Pending => return NextStep::Wait,
                    Poll::Ready(Ok(())) => self.state_mut().is_full = false,
                    Poll::Ready(Err(_)) => self.cut(),
                }
            }
            self.write(&mut BytesMut::new());
        }
        let mut state = self.state_mut();
        match state.phase {
            ConnectionPhase::Ending => {
                // It fails only if the peer was faster, and then there is nothing left to do.
                let _ = SockRef::from(&self.socket).shutdown(Shutdown::Write);
                state.phase = ConnectionPhase::Draining;
                NextStep::Read
            }
            ConnectionPhase::Over => NextStep::Over,
            ConnectionPhase::Open if state.catch_up.is_some() => self.replay(&mut state),
            ConnectionPhase::Open | ConnectionPhase::Closing | ConnectionPhase::Draining => NextStep::Wait,
        }
    }

    /// Queues the next slice of what was missed.
    fn replay(&self, state: &mut ConnectionState) -> NextStep {
        let ConnectionState { send_queue, catch_up, after, watch, .. } = state;
        let Some(missed) = catch_up else { return NextStep::CaughtUp };
        let mut bytes = 0;
        for _ in 0..CatchUp::SLICE {
            let Some(recorded) = missed.step.next() else {
                match missed.reader.try_next() {
                    Some(FeedStep::Events(events)) => missed.step = events.into_iter(),
                    Some(FeedStep::Reset) => send_queue.append(FrameKind::Reset, ServerFrame::Reset {}.to_bytes()),
                    None => {
                        METRICS.replayed_bytes.inc_by(bytes as u64);
                        // These few are sent already: the next replay is refused instead.
                        missed.meter.take(bytes);
                        *after = missed.reader.cursor();
                        *catch_up = None;
                        return NextStep::CaughtUp;
                    }
                }
                continue;
            };
            *after = recorded.cursor;
            let frames = recorded.frames.get_or_init(|| protocol::render(&recorded));
            let (kind, frame) = match (&frames.private, &frames.public, frames.ticket) {
                (Some(private), ..) if self.is_owner(frames) => (FrameKind::Private, private),
                (_, Some(public), Some(ticket)) if watch.wants(ticket) => (protocol::public_kind(&recorded.event, ticket), public),
                _ => continue,
            };
            bytes += frame.len();
            send_queue.append(kind, frame.clone());
        }
        METRICS.replayed_bytes.inc_by(bytes as u64);
        if missed.meter.take(bytes) {
            return NextStep::Yield;
        }
        // The address has used up its budget: the client takes a snapshot, and follows the present.
        METRICS.replays_refused.inc();
        missed.reader.skip_to_present();
        send_queue.append(FrameKind::Reset, ServerFrame::Reset {}.to_bytes());
        *after = missed.reader.cursor();
        *catch_up = None;
        NextStep::CaughtUp
    }
}

impl ConnectionState {
    /// Registers its task.
    pub fn will_wake(&mut self, waker: &Waker) {
        if !self.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            self.waker = Some(waker.clone());
        }
    }

    /// Nothing is to be read or written any more.
    fn end(&mut self) {
        self.send_queue.give_up();
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

impl Watch {
    /// How many tickets are named.
    pub fn len(&self) -> usize {
        match self {
            Self::All => 0,
            Self::These(tickets) => tickets.len(),
        }
    }

    pub fn wants(&self, ticket: TicketId) -> bool {
        match self {
            Self::All => true,
            Self::These(tickets) => tickets.contains(&ticket),
        }
    }
}

/// Looked up once.
static CONTROL_FRAMES: LazyLock<IntCounter> = LazyLock::new(|| METRICS.frames.with_label_values(&["control"]));

fn count(cause: DisconnectReason) {
    if let Some(label) = cause.label() {
        METRICS.sockets_closed.with_label_values(&[label]).inc();
    }
}

/// Frames that are queued, as one piece of bounded size.
fn gathered(first: Bytes, send_queue: &mut SendQueue, scratch: &mut BytesMut) -> Bytes {
    /// As much as the kernel takes at one time, more or less.
    const PIECE_BYTES: usize = 64 * 1024;
    scratch.extend_from_slice(&first);
    while scratch.len() < PIECE_BYTES
        && let Some(next) = send_queue.take()
    {
        scratch.extend_from_slice(&next);
    }
    scratch.split().freeze()
}

/// Those that have something queued for their sockets.
pub type Due = Vec<Rc<Connection>>;

/// Connections by their number, so that whoever came first is told first.
pub type Group = std::collections::BTreeMap<u64, Rc<Connection>>;
