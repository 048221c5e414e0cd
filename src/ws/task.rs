//! What a connection's task does: it reads what the peer says, and writes what the socket did not take at once.
//!
//! What the shard has to tell it writes to the socket by itself, as long as the socket takes all of it; then this task
//! waits for the socket, and the shard goes on.

use std::{
    any::Any,
    collections::VecDeque,
    ops::ControlFlow,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use tokio::time::Instant;

use super::{
    Shard, SocketLimits,
    closing::DisconnectReason,
    command::ClientCommand,
    connection::{Connection, NextStep, SocketRead},
    frame_decoder::{FrameDecoder, IncomingFrame},
    hub::ConnectionPermit,
    protocol,
};

/// Carries a connection to its end; when it is dropped, the connection gives up its place in the table.
pub struct ConnectionTask {
    shard: Shard,
    connection: Rc<Connection>,
    frame_decoder: FrameDecoder,
    /// When the last frames came, at most `frames_max`.
    recent: VecDeque<Instant>,
    _permit: ConnectionPermit,
    /// What the server counts the connection by.
    _address_permit: Box<dyn Any>,
}

impl ConnectionTask {
    /// As much as nearly every frame: on the stack, since thousands of sockets say nothing most of the time.
    const READ_BYTES: usize = 4096;

    pub fn new(shard: Shard, connection: Rc<Connection>, permit: ConnectionPermit, address_permit: Box<dyn Any>) -> Self {
        let frame_decoder = FrameDecoder::new(shard.shared.limits.frame_bytes_max);
        Self { shard, connection, frame_decoder, recent: VecDeque::new(), _permit: permit, _address_permit: address_permit }
    }

    /// Reads until nothing is there, or nothing more is wanted.
    fn read(&mut self, cx: &mut Context<'_>) {
        let mut bytes = [0; Self::READ_BYTES];
        loop {
            match self.connection.read(&mut bytes, cx) {
                SocketRead::Received(count) => self.on_bytes(&bytes[..count]),
                SocketRead::Ignored => {}
                SocketRead::Nothing => return,
            }
        }
    }

    /// Hears bytes of the peer's.
    pub fn on_bytes(&mut self, mut bytes: &[u8]) {
        loop {
            match self.frame_decoder.next(&mut bytes, &self.shard.shared.partial_bytes) {
                Ok(None) => return,
                Ok(Some(frame)) => {
                    if self.on_frame(frame).is_break() {
                        return;
                    }
                }
                // What follows is no frame any more.
                Err(cause) => return self.connection.close(cause, &self.shard.shared.limits),
            }
        }
    }

    /// Does what a frame asks for; `Break` after the last one.
    fn on_frame(&mut self, frame: IncomingFrame) -> ControlFlow<()> {
        let Self { shard, connection, recent, .. } = self;
        let limits = &shard.shared.limits;
        connection.state_mut().liveness.received();
        if let IncomingFrame::Close(reason) = &frame {
            connection.peer_closes(reason.as_ref(), limits);
            return ControlFlow::Break(());
        }
        // An answer to our ping is no doing of the client's.
        let is_asked_for = frame == IncomingFrame::Pong && connection.state_mut().liveness.answered();
        if !is_asked_for && is_too_much(recent, Instant::now(), limits) {
            connection.close(DisconnectReason::TooManyFrames, limits);
            return ControlFlow::Continue(());
        }
        match frame {
            IncomingFrame::Ping(data) => connection.answer(protocol::pong(&data)),
            IncomingFrame::Text(text) => match ClientCommand::parse(&text, limits.watched_max) {
                Ok(command) if !shard.shared.watched.exchange(connection.state().watch.len(), command.watched()) => {
                    connection.close(DisconnectReason::Overloaded, limits);
                }
                Ok(command) => shard.table.borrow_mut().handle_command(connection, command),
                Err(error) => connection.answer(error.frame().to_bytes()),
            },
            IncomingFrame::Pong | IncomingFrame::Close(_) => {}
        }
        ControlFlow::Continue(())
    }
}

/// Whether one more frame is more than there may be at one time; `recent`: when the last ones came.
fn is_too_much(recent: &mut VecDeque<Instant>, now: Instant, limits: &SocketLimits) -> bool {
    while recent.front().is_some_and(|at| now - *at >= limits.frames_window) {
        recent.pop_front();
    }
    recent.push_back(now);
    if recent.len() <= limits.frames_max {
        return false;
    }
    recent.pop_front();
    true
}

impl Future for ConnectionTask {
    type Output = ();

    /// Does what can be done now; `Ready` when the connection is over.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let carrier = self.get_mut();
        carrier.connection.state_mut().will_wake(cx.waker());
        loop {
            carrier.read(cx);
            match carrier.connection.next(cx) {
                NextStep::Over => return Poll::Ready(()),
                NextStep::Wait => return Poll::Pending,
                NextStep::Yield => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                NextStep::CaughtUp => carrier.shard.table.borrow_mut().go_live(&carrier.connection),
                NextStep::Read => {}
            }
        }
    }
}

impl Drop for ConnectionTask {
    fn drop(&mut self) {
        self.shard.table.borrow_mut().remove(&self.connection);
        let shared = &self.shard.shared;
        self.frame_decoder.discard(&shared.partial_bytes);
        shared.watched.give_back(self.connection.state().watch.len());
    }
}
