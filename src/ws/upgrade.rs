//! The WebSocket handshake, and the takeover of the socket from the HTTP server.

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

use super::{
    Shard, SocketLimits, Viewer, replay::ReplayRequest, shared::ConnectionPermit,
    task::ConnectionTask,
};
use crate::store::Cursor;

/// The reason why a request does not become a connection.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The request is not a WebSocket handshake (RFC 6455 §4.2.1).
    #[error("{0}")]
    Handshake(HandshakeError),
    /// The process or the client's address has its maximum of connections, or the process is
    /// shutting down.
    #[error("no more connections are accepted")]
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

/// Answers a handshake. The caller has checked the origin, and has determined the user by the
/// session. The extensions of the answer hold the [`AcceptedUpgrade`], which starts the connection
/// when the server has handed over the socket.
///
/// `address`: the client address whose connections and replays are bounded together; `None`: they
/// are not bounded.
///
/// The query parameter `after` asks to resume from a cursor. A value that is not a cursor is
/// ignored.
///
/// # Errors
/// [`Refused`].
pub fn connect(
    shard: &Shard,
    request: &HttpRequest,
    viewer: Option<Viewer>,
    address: Option<IpAddr>,
) -> Result<HttpResponse, Refused> {
    let mut answer = handshake(request).map_err(Refused::Handshake)?.finish();
    // The restart comes before the permit: a panic closes connections, and so gives permits back.
    shard.restart_if_stopped();
    let permit = shard.shared.permit(address).ok_or(Refused::Full)?;
    // A cursor has no character that must be escaped in a query.
    let after =
        request.query_string().split('&').find_map(|parameter| parameter.strip_prefix("after="));
    let after = after.and_then(|after| after.parse().ok());
    let resume = after
        .map(|cursor: Cursor| ReplayRequest { cursor, meter: shard.shared.replay.meter(address) });
    answer.extensions_mut().insert(AcceptedUpgrade {
        shard: shard.clone(),
        viewer,
        resume,
        permit,
    });
    Ok(answer)
}

/// A connection whose handshake was accepted. Dropping it gives the connection's permit back.
#[derive(Debug)]
pub struct AcceptedUpgrade {
    shard: Shard,
    viewer: Option<Viewer>,
    resume: Option<ReplayRequest>,
    permit: ConnectionPermit,
}

impl AcceptedUpgrade {
    /// Starts the connection on its socket, in a new task on this thread. `head`: the bytes of the
    /// answer to the handshake, which are sent first. `early`: the bytes that were read after the
    /// request. `quota_permit` is kept until the connection ends.
    pub fn begin(self, socket: TcpStream, head: Bytes, early: &[u8], quota_permit: Box<dyn Any>) {
        let Self { shard, viewer, resume, permit } = self;
        set_options(&socket, &shard.shared.limits);
        let connection = shard.table.borrow_mut().admit(viewer, socket, head, resume);
        let mut task = ConnectionTask::new(shard, connection, permit, quota_permit);
        task.on_bytes(early);
        rt::spawn(task);
    }
}

/// Sets the socket's options. Frames are small and must be sent at once. The kernel ends the
/// connection if data stays unacknowledged, or the peer's window stays closed, for `silence_max`.
fn set_options(socket: &TcpStream, limits: &SocketLimits) {
    let socket = SockRef::from(socket);
    let outcome = socket
        .set_tcp_nodelay(true)
        .and_then(|()| socket.set_send_buffer_size(limits.send_buffer_bytes));
    // On other systems than Linux, only the pings and the stalled queue detect such a connection.
    #[cfg(target_os = "linux")]
    let outcome = outcome.and_then(|()| socket.set_tcp_user_timeout(Some(limits.silence_max)));
    if let Err(error) = outcome {
        tracing::debug!(%error, "the options of a WebSocket's socket could not be set; the connection is used without them");
    }
}
