//! What a connection's task does: it reads what the peer says, and writes what the socket did not take at once.
//!
//! What the shard has to tell it writes to the socket by itself, as long as the socket takes all of it; then this task
//! waits for the socket, and the shard goes on.

use std::{
    collections::VecDeque,
    future::poll_fn,
    ops::ControlFlow,
    rc::Rc,
    task::{Context, Poll},
};

use bytes::BytesMut;
use tokio::time::Instant;

use super::{
    Limits, Shard,
    closing::Cause,
    command::Command,
    connection::{Connection, Next, Reading},
    inbound::{Inbound, Said},
    protocol,
};

/// Carries a connection to its end. `early`: bytes of the peer's that were read already.
pub async fn carry(shard: &Shard, connection: &Rc<Connection>, early: BytesMut) {
    let mut listener = Listener { inbound: Inbound::new(shard.shared.limits.frame_bytes_max), recent: VecDeque::new() };
    listener.hear_all(shard, connection, &early);
    drop(early);
    poll_fn(|cx| listener.turn(shard, connection, cx)).await;
}

struct Listener {
    inbound: Inbound,
    /// When the last frames came, at most `frames_max`.
    recent: VecDeque<Instant>,
}

impl Listener {
    /// As much as the greatest frame, more or less: on the stack, since thousands of sockets say nothing most of the time.
    const READ_BYTES: usize = 4096;

    /// Does what can be done now; `Ready` when the connection is over.
    fn turn(&mut self, shard: &Shard, connection: &Rc<Connection>, cx: &mut Context<'_>) -> Poll<()> {
        connection.state_mut().will_wake(cx.waker());
        loop {
            self.read(shard, connection, cx);
            match connection.next(cx) {
                Next::Over => return Poll::Ready(()),
                Next::Wait => return Poll::Pending,
                Next::Yield => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Next::CaughtUp => shard.table.borrow_mut().go_live(connection),
                Next::Read => {}
            }
        }
    }

    /// Reads until nothing is there, or nothing more is wanted.
    fn read(&mut self, shard: &Shard, connection: &Rc<Connection>, cx: &mut Context<'_>) {
        let mut bytes = [0; Self::READ_BYTES];
        loop {
            match connection.read(&mut bytes, cx) {
                Reading::Heard(count) => self.hear_all(shard, connection, &bytes[..count]),
                Reading::Ignored => {}
                Reading::Nothing => return,
            }
        }
    }

    fn hear_all(&mut self, shard: &Shard, connection: &Rc<Connection>, mut bytes: &[u8]) {
        loop {
            match self.inbound.next(&mut bytes) {
                Ok(None) => return,
                Ok(Some(said)) => {
                    if self.hear(shard, connection, said).is_break() {
                        return;
                    }
                }
                // What follows is no frame any more.
                Err(cause) => return connection.close(cause, &shard.shared.limits),
            }
        }
    }

    /// Does what a frame asks for; `Break` after the last one.
    fn hear(&mut self, shard: &Shard, connection: &Rc<Connection>, said: Said) -> ControlFlow<()> {
        let limits = &shard.shared.limits;
        connection.state_mut().pulse.heard();
        if let Said::Close(reason) = &said {
            connection.peer_closes(reason.as_ref(), limits);
            return ControlFlow::Break(());
        }
        // An answer to our ping is no doing of the client's.
        let is_asked_for = said == Said::Pong && connection.state_mut().pulse.answered();
        if !is_asked_for && self.is_too_much(Instant::now(), limits) {
            connection.close(Cause::TooManyFrames, limits);
            return ControlFlow::Continue(());
        }
        match said {
            Said::Ping(data) => connection.answer(protocol::pong(&data)),
            Said::Text(text) => match Command::parse(&text, limits.watched_max) {
                Ok(command) => shard.table.borrow_mut().obey(connection, command),
                Err(error) => connection.answer(error.frame().to_bytes()),
            },
            Said::Pong | Said::Close(_) => {}
        }
        ControlFlow::Continue(())
    }

    fn is_too_much(&mut self, now: Instant, limits: &Limits) -> bool {
        while self.recent.front().is_some_and(|at| now - *at >= limits.frames_window) {
            self.recent.pop_front();
        }
        self.recent.push_back(now);
        if self.recent.len() <= limits.frames_max {
            return false;
        }
        self.recent.pop_front();
        true
    }
}
