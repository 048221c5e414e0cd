//! From an HTTP request to a connection: the handshake, and the two halves that carry it.

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use actix_http::ws::HandshakeError;
use actix_web::{
    HttpRequest, HttpResponse, ResponseError,
    body::{BodySize, MessageBody},
    http::StatusCode,
    rt, web,
};
use actix_web_actors::ws::handshake;
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::{task::JoinHandle, time::Instant};

use super::{
    Limits, PeerSocket, Shard,
    closing::Cause,
    command::Command,
    connection::{Connection, Next},
    hub::Seat,
    inbound::{Inbound, Said},
    protocol,
};
use crate::domain::{SessionDigest, Timestamp, UserId};

/// Who a connection belongs to, as `http` found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Viewer {
    pub user: UserId,
    pub session: SessionDigest,
    pub expires_at: Timestamp,
}

/// Why a request does not become a connection.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// It is no WebSocket handshake (RFC 6455 §4.2.1).
    #[error("{0}")]
    Handshake(HandshakeError),
    /// The process has as many connections as it may, or is shutting down.
    #[error("no more connections are taken")]
    Full,
}

impl ResponseError for Refused {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::Handshake(error) => error.error_response().status(),
            Self::Full => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// Makes a connection of `request`. The caller has checked its origin, and knows from its session who sent it.
///
/// The query parameter `after` asks to resume from a cursor. The connection can be ended from outside only if its
/// [`PeerSocket`] is among the request's connection data.
///
/// # Errors
/// [`Refused`].
pub async fn connect(shard: &Shard, request: &HttpRequest, payload: web::Payload, viewer: Option<Viewer>) -> Result<HttpResponse, Refused> {
    let mut response = handshake(request).map_err(Refused::Handshake)?;
    let seat = shard.shared.seat().ok_or(Refused::Full)?;
    shard.revive();
    let peer = request.conn_data::<PeerSocket>().cloned();
    if let Some(peer) = &peer {
        peer.prepare(&shard.shared.limits);
    }
    // A cursor has no character that a query would have to escape.
    let after = request.query_string().split('&').find_map(|parameter| parameter.strip_prefix("after="));
    let connection = shard.table.borrow_mut().admit(viewer, peer, after);
    let listener = rt::spawn(listen(shard.clone(), connection.clone(), payload));
    Ok(response.body(Outgoing { shard: shard.clone(), connection, listener, _seat: seat }))
}

/// The outbound half: the body of the answer to the upgrade. It yields what the shard does not write to the socket itself;
/// the server's own write buffer gathers what it yields at one time into one write.
struct Outgoing {
    shard: Shard,
    connection: Rc<Connection>,
    listener: JoinHandle<()>,
    _seat: Seat,
}

impl MessageBody for Outgoing {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        loop {
            return match self.connection.next() {
                Next::Frame(frame) => Poll::Ready(Some(Ok(frame))),
                Next::End => Poll::Ready(None),
                Next::CaughtUp => {
                    self.shard.table.borrow_mut().go_live(&self.connection);
                    continue;
                }
                Next::Yield => {
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
                Next::Wait => {
                    self.connection.state_mut().wait(cx.waker());
                    Poll::Pending
                }
            };
        }
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        self.listener.abort();
        self.shard.table.borrow_mut().remove(&self.connection);
    }
}

/// The inbound half: reads until the peer closes, is gone, or does what it must not.
async fn listen(shard: Shard, connection: Rc<Connection>, mut payload: web::Payload) {
    // Spawned when the answer was made, its first turn comes after the one in which the server writes that answer.
    connection.go_straight();
    // By reference: a copy in each of thousands of these would be as much as all else that they hold.
    let limits = &shard.shared.limits;
    let mut listener = Listener { inbound: Inbound::new(limits.frame_bytes_max), recent: VecDeque::new() };
    while let Some(Ok(mut chunk)) = payload.next().await {
        loop {
            match listener.inbound.next(&mut chunk) {
                Ok(None) => break,
                Ok(Some(said)) => {
                    if listener.hear(&shard, &connection, said).is_break() {
                        return;
                    }
                }
                // What follows is no frame any more; the server throws it away once nobody holds the payload.
                Err(cause) => return connection.close(cause, limits),
            }
        }
    }
    connection.peer_is_gone();
}

struct Listener {
    inbound: Inbound,
    /// When the last frames came, at most `frames_max`.
    recent: VecDeque<Instant>,
}

impl Listener {
    /// Does what a frame asks for; `Break` after the last one.
    fn hear(&mut self, shard: &Shard, connection: &Rc<Connection>, said: Said) -> std::ops::ControlFlow<()> {
        let limits = &shard.shared.limits;
        connection.state_mut().pulse.heard();
        if let Said::Close(reason) = &said {
            connection.peer_closes(reason.as_ref());
            return std::ops::ControlFlow::Break(());
        }
        // An answer to our ping is no doing of the client's.
        let is_asked_for = said == Said::Pong && connection.state_mut().pulse.answered();
        if !is_asked_for && self.is_too_much(Instant::now(), limits) {
            connection.close(Cause::TooManyFrames, limits);
            return std::ops::ControlFlow::Continue(());
        }
        match said {
            Said::Ping(data) => connection.answer(protocol::pong(&data)),
            Said::Text(text) => match Command::parse(&text, limits.watched_max) {
                Ok(command) => shard.table.borrow_mut().obey(connection, command),
                Err(error) => connection.answer(error.frame().to_bytes()),
            },
            Said::Pong | Said::Close(_) => {}
        }
        std::ops::ControlFlow::Continue(())
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
