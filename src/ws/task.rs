//! The task of a connection: reads the peer's frames, and writes the bytes that the socket did not
//! accept at once.
//!
//! The shard writes events to the socket itself while the socket accepts all of them. When the
//! socket is full, this task waits for the socket, and the shard continues with other connections.

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
    protocol,
    shared::ConnectionPermit,
};

/// Reads and writes a connection until it is over. Dropping the task removes the connection from
/// the table.
pub struct ConnectionTask {
    shard: Shard,
    connection: Rc<Connection>,
    frame_decoder: FrameDecoder,
    /// Arrival times of the last frames, at most `frames_max`.
    recent: VecDeque<Instant>,
    _permit: ConnectionPermit,
    /// The HTTP server's permit for the connection, dropped when the connection is over.
    _quota_permit: Box<dyn Any>,
}

impl ConnectionTask {
    /// Size of the read buffer, in bytes: nearly all frames fit. It is on the stack, so that idle
    /// connections need none.
    const READ_BYTES: usize = 4096;

    pub fn new(
        shard: Shard,
        connection: Rc<Connection>,
        permit: ConnectionPermit,
        quota_permit: Box<dyn Any>,
    ) -> Self {
        let frame_decoder = FrameDecoder::new(shard.shared.limits.frame_bytes_max);
        Self {
            shard,
            connection,
            frame_decoder,
            recent: VecDeque::new(),
            _permit: permit,
            _quota_permit: quota_permit,
        }
    }

    /// Reads until the socket has no more input, or no more input is wanted.
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

    /// Decodes bytes from the peer, and handles each complete frame.
    pub fn on_bytes(&mut self, mut bytes: &[u8]) {
        loop {
            match self.frame_decoder.next(&mut bytes, &self.shard.shared.partial_bytes) {
                Ok(None) => return,
                Ok(Some(frame)) => {
                    if self.on_frame(frame).is_break() {
                        return;
                    }
                }
                // The bytes after an invalid frame cannot be decoded.
                Err(reason) => return self.connection.close(reason, &self.shard.shared.limits),
            }
        }
    }

    /// Handles one frame. Returns `Break` after a close frame.
    fn on_frame(&mut self, frame: IncomingFrame) -> ControlFlow<()> {
        let Self { shard, connection, recent, .. } = self;
        let limits = &shard.shared.limits;
        connection.state_mut().liveness.received();
        if let IncomingFrame::Close(reason) = &frame {
            connection.on_close_frame(reason.as_ref(), limits);
            return ControlFlow::Break(());
        }
        // A pong that answers a ping of the server does not count against the client's rate.
        let is_requested =
            frame == IncomingFrame::Pong && connection.state_mut().liveness.answered();
        if !is_requested && exceeds_rate(recent, Instant::now(), limits) {
            connection.close(DisconnectReason::TooManyFrames, limits);
            return ControlFlow::Continue(());
        }
        match frame {
            IncomingFrame::Ping(data) => connection.send_control(protocol::pong(&data)),
            IncomingFrame::Text(text) => match ClientCommand::parse(&text, limits.watched_max) {
                Ok(command)
                    if !shard
                        .shared
                        .watched
                        .exchange(connection.state().watch.len(), command.watched()) =>
                {
                    connection.close(DisconnectReason::Overloaded, limits);
                }
                Ok(command) => shard.table.borrow_mut().handle_command(connection, command),
                Err(error) => connection.send_control(error.frame().to_bytes()),
            },
            IncomingFrame::Pong | IncomingFrame::Close(_) => {}
        }
        ControlFlow::Continue(())
    }
}

/// Records a frame at `now`, and returns whether it is more than `frames_max` within
/// `frames_window`. `recent`: the arrival times of the last frames.
fn exceeds_rate(recent: &mut VecDeque<Instant>, now: Instant, limits: &SocketLimits) -> bool {
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

    /// Reads and writes as far as possible now. Returns `Ready` when the connection is over.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let task = self.get_mut();
        task.connection.state_mut().set_waker(cx.waker());
        loop {
            task.read(cx);
            match task.connection.next(cx) {
                NextStep::Over => return Poll::Ready(()),
                NextStep::Wait => return Poll::Pending,
                NextStep::Yield => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                NextStep::AddLive => task.shard.table.borrow_mut().add_live(&task.connection),
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
