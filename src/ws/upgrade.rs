//! From an HTTP request to a connection: the handshake, and what it leaves in its answer for whoever hands the socket over.

use std::{any::Any, net::IpAddr};

use actix_http::ws::HandshakeError;
use actix_web::{
    HttpRequest, HttpResponse, ResponseError,
    http::StatusCode,
    rt::{self, net::TcpStream},
};
use actix_web_actors::ws::handshake;
use bytes::Bytes;
use socket2::SockRef;

use super::{Shard, SocketLimits, hub::ConnectionPermit, table::Resume, task::ConnectionTask};
use crate::{
    domain::{SessionDigest, Timestamp, UserId},
    store::Cursor,
};

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
    /// The process, or the client's address, has as many connections as it may, or the process is shutting down.
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

/// Answers a handshake. The caller has checked its origin, and knows from its session who sent it; among the answer's
/// extensions is the [`AcceptedUpgrade`] with which the connection begins once the server has given its socket away.
///
/// `address`: the client whose connections and replays are bounded together; `None`: they are not.
///
/// The query parameter `after` asks to resume from a cursor; one that is not understood counts as unknown.
///
/// # Errors
/// [`Refused`].
pub fn connect(shard: &Shard, request: &HttpRequest, viewer: Option<Viewer>, address: Option<IpAddr>) -> Result<HttpResponse, Refused> {
    let mut answer = handshake(request).map_err(Refused::Handshake)?.finish();
    // First this: it may be what gives places back.
    shard.revive();
    let permit = shard.shared.permit(address).ok_or(Refused::Full)?;
    // A cursor has no character that a query would have to escape.
    let after = request.query_string().split('&').find_map(|parameter| parameter.strip_prefix("after="));
    let after = after.and_then(|after| after.parse().ok());
    let resume = after.map(|cursor: Cursor| Resume { cursor, meter: shard.shared.replay.meter(address) });
    answer.extensions_mut().insert(AcceptedUpgrade { shard: shard.clone(), viewer, resume, permit });
    Ok(answer)
}

/// What was agreed on in a handshake. Thrown away, it gives the connection's place to the next.
#[derive(Debug)]
pub struct AcceptedUpgrade {
    shard: Shard,
    viewer: Option<Viewer>,
    resume: Option<Resume>,
    permit: ConnectionPermit,
}

impl AcceptedUpgrade {
    /// Begins the connection on its socket, in a task of its own on this thread. `head`: the bytes of the answer to the
    /// handshake, which go first; `early`: what was read beyond the request; `address_permit` is kept until the connection ends.
    pub fn begin(self, socket: TcpStream, head: Bytes, early: &[u8], address_permit: Box<dyn Any>) {
        let Self { shard, viewer, resume, permit } = self;
        prepare(&socket, &shard.shared.limits);
        let connection = shard.table.borrow_mut().admit(viewer, socket, head, resume);
        let mut task = ConnectionTask::new(shard, connection, permit, address_permit);
        task.on_bytes(early);
        rt::spawn(task);
    }
}

/// Frames are small and should leave at once; what is not acknowledged, or meets a closed window, within `silence_max` ends
/// the connection.
fn prepare(socket: &TcpStream, limits: &SocketLimits) {
    let socket = SockRef::from(socket);
    let outcome = socket.set_tcp_nodelay(true).and_then(|()| socket.set_send_buffer_size(limits.send_buffer_bytes));
    // Elsewhere than on Linux the pings and the stalled queue have to find it out.
    #[cfg(target_os = "linux")]
    let outcome = outcome.and_then(|()| socket.set_tcp_user_timeout(Some(limits.silence_max)));
    if let Err(error) = outcome {
        tracing::debug!(%error, "a socket's options could not be set");
    }
}
