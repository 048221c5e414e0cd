//! One socket's state, shared by its two halves and its shard. All three live on one thread.

use std::{
    cell::{Ref, RefCell, RefMut},
    collections::HashSet,
    rc::Rc,
    sync::{Arc, LazyLock},
    task::Waker,
};

use actix_http::ws::CloseReason;
use bytes::{Bytes, BytesMut};
use prometheus::IntCounter;
use tokio::time::Instant;

use super::{
    Limits, PeerSocket, Viewer,
    closing::{self, Cause},
    outbox::{Bounded, Kind, Outbox},
    protocol::{self, ServerFrame},
    pulse::{Pulse, Verdict},
};
use crate::{
    domain::{TicketId, Timestamp},
    metrics::METRICS,
    store::{Cursor, FeedReader, Recorded, Step, feed::Frames},
};

/// One socket.
#[derive(Debug)]
pub struct Connection {
    /// Ascends with the time of its arrival on its shard.
    pub number: u64,
    /// Who it belongs to; `None`: somebody who only watches.
    pub viewer: Option<Viewer>,
    peer: Option<PeerSocket>,
    state: RefCell<State>,
}

/// What changes about it.
#[derive(Debug)]
pub struct State {
    pub outbox: Outbox,
    pub watch: Watch,
    pub pulse: Pulse,
    /// Everything up to here was told, or was known before it came.
    after: Cursor,
    /// There while it is behind the present: it reads the feed by itself, at its own pace.
    catch_up: Option<Box<CatchUp>>,
    phase: Phase,
    /// Who to wake when there is something to write.
    waker: Option<Waker>,
    /// The waker has not been called since the outbox was found empty.
    is_waiting: bool,
    /// Frames go straight to the socket: the server has written all that it was given, and is given nothing more. Once the
    /// socket is full it is the server's for good, which knows how to wait for it.
    is_straight: bool,
    /// What the server was given to write so far, in bytes.
    given: usize,
    /// It stands in the shard's list of those to be written to.
    is_due: bool,
}

/// Which tickets' public frames are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Watch {
    All,
    These(HashSet<TicketId>),
}

/// A private place in the feed.
#[derive(Debug)]
pub struct CatchUp {
    reader: FeedReader,
    step: std::vec::IntoIter<Arc<Recorded>>,
}

/// How far a connection is from its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// A close frame is queued or sent; the peer's answer is waited for until then.
    Closing {
        until: Instant,
    },
    /// What is queued is the last, and the peer has said its last word.
    Ending,
    /// What is queued is the last, but the peer may still be sending what nobody will read. To close on it at once would
    /// make its kernel throw our close frame away (RFC 9112 §9.6), so only our side is closed, once the server had its
    /// turn to write the frame; what still comes is thrown away until the peer closes too.
    Lingering {
        is_written: bool,
    },
}

/// What a body is to do now.
#[derive(Debug)]
pub enum Next {
    Frame(Bytes),
    /// Nothing at this moment, but more is to come: others, or the write, should have their turn.
    Yield,
    /// It has reached the present and belongs among the live connections.
    CaughtUp,
    Wait,
    End,
}

impl CatchUp {
    /// Events that one turn replays at most.
    const SLICE: usize = 64;

    pub fn new(reader: FeedReader) -> Self {
        Self { reader, step: Vec::new().into_iter() }
    }
}

impl Connection {
    /// A greeting: small beside the least that a kernel keeps for a socket that nothing was written to.
    const GIVEN_MAX: usize = 1024;

    pub fn new(
        number: u64,
        viewer: Option<Viewer>,
        peer: Option<PeerSocket>,
        after: Cursor,
        catch_up: Option<CatchUp>,
        limits: &Limits,
    ) -> Self {
        let catch_up = catch_up.map(Box::new);
        let state = State {
            outbox: Outbox::new(limits),
            watch: Watch::All,
            pulse: Pulse::new(Instant::now(), number, limits),
            after,
            catch_up,
            phase: Phase::Open,
            waker: None,
            is_waiting: false,
            is_straight: false,
            given: 0,
            is_due: false,
        };
        Self { number, viewer, peer, state: RefCell::new(state) }
    }

    pub fn state(&self) -> Ref<'_, State> {
        self.state.borrow()
    }

    pub fn state_mut(&self) -> RefMut<'_, State> {
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
    pub fn tell(self: &Rc<Self>, cursor: Cursor, kind: Kind, frame: &Bytes, reset: &Bytes, bounded: &mut Bounded, due: &mut Due) -> bool {
        let mut state = self.state_mut();
        if state.after >= cursor || state.phase != Phase::Open {
            return false;
        }
        let cost = state.outbox.push(kind, frame.clone(), reset);
        bounded.merged += cost.merged;
        bounded.dropped |= cost.dropped;
        if !state.is_straight {
            state.wake();
        } else if !std::mem::replace(&mut state.is_due, true) {
            due.push(Rc::clone(self));
        }
        true
    }

    /// From now on frames go past the server, if there is a socket to write to. To be called once the server has written
    /// the answer to the upgrade, and only then: not in the turn in which it is given the answer, but in a later one.
    pub fn go_straight(&self) {
        let mut state = self.state_mut();
        // It waits: the server asked for more after the answer's head and what it was given, and has written all of it
        // since, if it was so little that any new socket takes it.
        let is_written = state.is_waiting && state.outbox.is_empty() && state.given <= Self::GIVEN_MAX;
        state.is_straight = self.peer.is_some() && state.phase == Phase::Open && is_written;
        // The greeting's room; who never hears anything needs none.
        state.outbox.shrink();
    }

    /// Writes what is queued to the socket, in one piece; what does not fit is left to the server.
    pub fn write(&self, scratch: &mut BytesMut) {
        let mut state = self.state_mut();
        state.is_due = false;
        let Some(peer) = self.peer.as_ref().filter(|_| state.is_straight) else { return state.wake() };
        while let Some(first) = state.outbox.take() {
            let piece = if state.outbox.is_empty() { first } else { gathered(first, &mut state.outbox, scratch) };
            match peer.send(&piece) {
                Ok(written) if written == piece.len() => state.pulse.moved(),
                // An error that is no full buffer is met again by the server, which knows how to end the connection.
                outcome => {
                    state.outbox.put_back(piece.slice(outcome.unwrap_or(0)..));
                    state.is_straight = false;
                    return state.wake();
                }
            }
        }
    }

    /// Queues an answer, a ping or a pong.
    pub fn answer(&self, frame: Bytes) {
        let mut state = self.state_mut();
        if state.phase == Phase::Open {
            CONTROL_FRAMES.inc();
            state.outbox.append(Kind::Control, frame);
            drop(state);
            self.write(&mut BytesMut::new());
        }
    }

    /// History was lost at the present, which now begins anew at `position`.
    pub fn reset(&self, position: Cursor, reset: &Bytes) {
        let mut state = self.state_mut();
        state.after = position;
        if state.phase == Phase::Open {
            state.outbox.append(Kind::Reset, reset.clone());
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
    pub fn close(&self, cause: Cause, limits: &Limits) {
        let mut state = self.state_mut();
        if state.phase != Phase::Open {
            return;
        }
        count(cause);
        if !cause.keeps_queue() {
            state.outbox.clear();
        }
        state.catch_up = None;
        state.outbox.append(Kind::Control, cause.frame());
        state.phase = match cause.is_deaf() {
            true => Phase::Lingering { is_written: false },
            false => Phase::Closing { until: Instant::now() + limits.close_wait_max },
        };
        // The close frame, like every last word, is the server's to write: it ends the connection after it.
        state.is_straight = false;
        state.wake();
    }

    /// The peer sent a close frame: an answer to ours, or one that we answer.
    pub fn peer_closes(&self, reason: Option<&CloseReason>) {
        let mut state = self.state_mut();
        if state.phase == Phase::Open {
            state.outbox.clear();
            state.catch_up = None;
            state.outbox.append(Kind::Control, closing::echo(reason));
        }
        state.phase = Phase::Ending;
        state.is_straight = false;
        state.wake();
    }

    /// The peer is gone without a word.
    pub fn peer_is_gone(&self) {
        let mut state = self.state_mut();
        state.outbox.clear();
        state.catch_up = None;
        state.phase = Phase::Ending;
        state.wake();
    }

    /// Ends the connection from outside, whether its task runs or waits for its socket.
    pub fn cut(&self) {
        self.peer_is_gone();
        if let Some(peer) = &self.peer {
            peer.cut();
        }
    }

    /// Looks after the connection: pings it, and ends what has had its time.
    pub fn look_after(&self, now: Instant, time: Timestamp, limits: &Limits) {
        let phase = self.state().phase;
        match phase {
            Phase::Closing { until } if now >= until => return self.cut(),
            Phase::Closing { .. } => return,
            Phase::Open | Phase::Ending | Phase::Lingering { .. } => {}
        }
        if phase == Phase::Open && self.viewer.as_ref().is_some_and(|viewer| viewer.expires_at <= time) {
            return self.close(Cause::SessionExpired, limits);
        }
        let verdict = {
            let mut state = self.state_mut();
            let waiting = !state.outbox.is_empty();
            state.pulse.check(now, waiting, limits)
        };
        match verdict {
            Verdict::Well => {}
            Verdict::PingDue => self.answer(protocol::PING),
            Verdict::Silent => self.close(Cause::Silent, limits),
            Verdict::Stalled => {
                count(Cause::Stalled);
                self.cut();
            }
        }
    }

    /// What its body is to do now.
    pub fn next(&self) -> Next {
        let mut state = self.state_mut();
        if let Some(frame) = state.outbox.take() {
            state.pulse.moved();
            state.given += frame.len();
            return Next::Frame(frame);
        }
        match state.phase {
            Phase::Ending => {
                self.peer.iter().for_each(PeerSocket::stop_reading);
                Next::End
            }
            Phase::Lingering { is_written: false } => {
                state.phase = Phase::Lingering { is_written: true };
                Next::Yield
            }
            Phase::Lingering { is_written: true } => {
                self.peer.iter().for_each(PeerSocket::stop_writing);
                Next::End
            }
            Phase::Open if state.catch_up.is_some() => self.replay(&mut state),
            Phase::Open | Phase::Closing { .. } => Next::Wait,
        }
    }

    /// Queues the next slice of what was missed.
    fn replay(&self, state: &mut State) -> Next {
        let State { outbox, catch_up, after, watch, .. } = state;
        let Some(missed) = catch_up else { return Next::CaughtUp };
        for _ in 0..CatchUp::SLICE {
            let Some(recorded) = missed.step.next() else {
                match missed.reader.try_next() {
                    Some(Step::Events(events)) => missed.step = events.into_iter(),
                    Some(Step::Reset) => outbox.append(Kind::Reset, ServerFrame::Reset {}.to_bytes()),
                    None => {
                        *after = missed.reader.cursor();
                        *catch_up = None;
                        return Next::CaughtUp;
                    }
                }
                continue;
            };
            *after = recorded.cursor;
            let frames = recorded.frames.get_or_init(|| protocol::render(&recorded));
            match (&frames.private, &frames.public, frames.ticket) {
                (Some(private), ..) if self.is_owner(frames) => outbox.append(Kind::Private, private.clone()),
                (_, Some(public), Some(ticket)) if watch.wants(ticket) => {
                    outbox.append(protocol::public_kind(&recorded.event, ticket), public.clone());
                }
                _ => {}
            }
        }
        Next::Yield
    }
}

impl State {
    /// Registers who writes the next frame.
    pub fn wait(&mut self, waker: &Waker) {
        if !self.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            self.waker = Some(waker.clone());
        }
        self.is_waiting = true;
    }

    fn wake(&mut self) {
        if std::mem::take(&mut self.is_waiting)
            && let Some(waker) = &self.waker
        {
            waker.wake_by_ref();
        }
    }
}

impl Watch {
    pub fn wants(&self, ticket: TicketId) -> bool {
        match self {
            Self::All => true,
            Self::These(tickets) => tickets.contains(&ticket),
        }
    }
}

/// Looked up once.
static CONTROL_FRAMES: LazyLock<IntCounter> = LazyLock::new(|| METRICS.frames.with_label_values(&["control"]));

fn count(cause: Cause) {
    if let Some(label) = cause.label() {
        METRICS.sockets_closed.with_label_values(&[label]).inc();
    }
}

/// Frames that are queued, as one piece of bounded size.
fn gathered(first: Bytes, outbox: &mut Outbox, scratch: &mut BytesMut) -> Bytes {
    /// As much as the kernel takes at one time, more or less.
    const PIECE_BYTES: usize = 64 * 1024;
    scratch.extend_from_slice(&first);
    while scratch.len() < PIECE_BYTES
        && let Some(next) = outbox.take()
    {
        scratch.extend_from_slice(&next);
    }
    scratch.split().freeze()
}

/// Those that have something queued for their sockets.
pub type Due = Vec<Rc<Connection>>;

/// Connections by their number, so that whoever came first is told first.
pub type Group = std::collections::BTreeMap<u64, Rc<Connection>>;
