//! A WebSocket connection: its socket, and its state, which its task and its shard share. Both run
//! on the same thread.

mod state;

use std::{
    cell::{Ref, RefCell, RefMut},
    io::ErrorKind,
    net::Shutdown,
    rc::Rc,
    task::{Context, Poll},
};

use actix_http::ws::CloseReason;
use actix_web::rt::net::TcpStream;
use bytes::{Bytes, BytesMut};
use socket2::SockRef;
use tokio::time::Instant;

use super::{
    SocketLimits, Viewer, closing::DisconnectReason, liveness::LivenessStatus, protocol,
    replay::Replay,
};
use crate::{
    domain::{Timestamp, UserId},
    store::Cursor,
};
use state::ConnectionPhase;
pub use state::{ConnectionState, EventFrame};

/// One WebSocket connection.
#[derive(Debug)]
pub struct Connection {
    /// Number of the connection on its shard, in the order of arrival.
    pub number: u64,
    /// The signed-in user; `None` for a client without a session, which gets public frames only.
    pub viewer: Option<Viewer>,
    socket: TcpStream,
    state: RefCell<ConnectionState>,
}

/// The parts of a connection that is to be opened.
pub struct NewConnection {
    pub number: u64,
    pub viewer: Option<Viewer>,
    pub socket: TcpStream,
    /// Bytes that are sent before all frames: the answer to the handshake.
    pub head: Bytes,
    /// Events up to this cursor are skipped.
    pub after: Cursor,
    pub replay: Option<Replay>,
}

/// The connections for which frames were queued, and to which the shard has to write.
#[derive(Debug)]
pub struct PendingWrites {
    /// Each connection at most once.
    pub connections: Vec<Rc<Connection>>,
    /// Number of queued frames that newer ones replaced.
    pub merged: u64,
    /// The frame that replaces dropped frames.
    reset: Bytes,
}

/// The next action of a connection's task.
#[derive(Debug, PartialEq, Eq)]
pub enum NextStep {
    /// Read again, because the new phase treats input differently.
    Read,
    /// Let other tasks run, then continue the replay.
    Yield,
    /// Add the connection to the live connections, because the replay is finished.
    AddLive,
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
    /// Creates an open connection that watches all tickets.
    pub fn new(new: NewConnection, limits: &SocketLimits) -> Self {
        let NewConnection { number, viewer, socket, head, after, replay } = new;
        let state = ConnectionState::new(number, head, after, replay, limits);
        Self { number, viewer, socket, state: RefCell::new(state) }
    }

    pub fn state(&self) -> Ref<'_, ConnectionState> {
        self.state.borrow()
    }

    pub fn state_mut(&self) -> RefMut<'_, ConnectionState> {
        self.state.borrow_mut()
    }

    /// Returns the signed-in user.
    pub fn user(&self) -> Option<UserId> {
        self.viewer.as_ref().map(|viewer| viewer.user)
    }

    /// Returns whether the shard delivers new events to the connection.
    pub fn is_live(&self) -> bool {
        self.state().is_live()
    }

    /// Returns the cursor up to which events were queued, when the shard has delivered everything
    /// up to `position`.
    pub fn position(&self, position: Cursor) -> Cursor {
        self.state().position(position)
    }

    /// Queues the frame of an event, and returns whether it did: a frame that the client has
    /// already is skipped. The caller must call [`Connection::write`] for each connection in
    /// `pending`.
    pub fn enqueue(self: &Rc<Self>, event: EventFrame<'_>, pending: &mut PendingWrites) -> bool {
        let mut state = self.state_mut();
        let Some(reduction) = state.enqueue(event, &pending.reset) else { return false };
        pending.merged += reduction.merged;
        if !state.is_full && !std::mem::replace(&mut state.is_pending, true) {
            pending.connections.push(Rc::clone(self));
        }
        true
    }

    /// Writes the queued frames to the socket with few system calls. The task writes the bytes that
    /// did not fit.
    pub fn write(&self, scratch: &mut BytesMut) {
        let mut state = self.state_mut();
        state.is_pending = false;
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
                Err(_) => return state.abort(),
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
    pub fn send_control(&self, frame: Bytes) {
        if self.state_mut().enqueue_control(frame) {
            self.write(&mut BytesMut::new());
        }
    }

    /// Queues a `Reset` frame because the feed lost events, and writes the queue. New events follow
    /// from `position`.
    pub fn send_reset(&self, position: Cursor, frame: Bytes) {
        if self.state_mut().enqueue_reset(position, frame) {
            self.write(&mut BytesMut::new());
        }
    }

    /// Starts the closing handshake; the task writes the close frame.
    pub fn close(&self, reason: DisconnectReason, limits: &SocketLimits) {
        self.state_mut().close(reason, limits);
    }

    /// Handles a close frame from the peer, and answers it if the server sent none.
    pub fn on_close_frame(&self, reason: Option<&CloseReason>, limits: &SocketLimits) {
        self.state_mut().on_close_frame(reason, limits);
    }

    /// Ends the connection at once, without reading or writing more.
    pub fn abort(&self) {
        self.state_mut().abort();
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
        let status = self.state_mut().check_liveness(now, limits);
        match status {
            LivenessStatus::Healthy => {}
            LivenessStatus::PingDue => self.send_control(protocol::PING),
            LivenessStatus::Silent => self.close(DisconnectReason::Silent, limits),
            LivenessStatus::Stalled => self.state_mut().abort_stalled(),
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
            ConnectionPhase::Open if !state.is_live() => {
                let is_finished = state.enqueue_replay(self.user());
                if is_finished { NextStep::AddLive } else { NextStep::Yield }
            }
            ConnectionPhase::Open | ConnectionPhase::Closing | ConnectionPhase::Draining => {
                NextStep::Wait
            }
        }
    }
}

impl PendingWrites {
    /// Creates an empty list. `reset`: the frame that replaces dropped frames.
    pub fn new(reset: Bytes) -> Self {
        Self { connections: Vec::new(), merged: 0, reset }
    }
}
