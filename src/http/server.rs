//! HTTP server under the application: the server of actix-http, with a handover of WebSockets.
//!
//! It serves connections as `actix_web::HttpServer` does, with two differences for which that type
//! has no setting. Connections are counted against the quota by the thread that accepts them,
//! before any other work. And the application responds to an upgrade request like to any other
//! request, and if the response is a handshake, the connection leaves the HTTP server. Its socket
//! goes to the [`AcceptedUpgrade`] in the response, and the dispatcher with its buffers is freed.
//! Therefore a stopping server does not wait for WebSockets: close them first
//! ([`crate::ws::Hub::shutdown`]).
//!
//! A stream of this crate stands between the socket and actix-http. It has the deadlines and bounds
//! that actix-http lacks:
//!
//! | file | content |
//! | --- | --- |
//! | `accept` | thread that accepts connections, and the threads of the workers |
//! | `stream` | connection as actix-http reads and writes it |
//! | `activity` | pure: phase of a connection, its deadlines, bounds of reading ahead |
//! | `framing` | pure: detection of a part of the next head in the bytes of a request |
//! | `worker` | connections of a thread, and the tick that ends overdue ones |
//! | `quota` | bounds of connections, in total and for each address |
//! | `refusal` | responses to bytes that are not a valid request |

mod accept;
mod activity;
mod framing;
mod quota;
mod refusal;
mod stream;
mod worker;

use std::{
    convert::Infallible,
    fmt,
    future::poll_fn,
    io,
    net::{SocketAddr, TcpListener},
    pin::pin,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use actix_codec::{Framed, FramedParts};
use actix_http::{
    ConnectionType, HttpService, KeepAlive, Protocol, Request, Response,
    body::{BodySize, BoxBody, MessageBody},
    h1::{Codec, Message},
};
use actix_service::{
    IntoServiceFactory, Service, ServiceFactory, apply_fn, fn_factory, fn_service,
};
use actix_web::{
    Error, ResponseError,
    dev::{AppConfig, ServiceResponse},
    http::StatusCode,
};
use futures_util::SinkExt;
use tokio::{io::AsyncWriteExt, sync::mpsc, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{
    accept::AcceptedConnection,
    quota::Exceeded,
    stream::ClientStream,
    worker::{ActiveRequest, Worker},
};
pub use self::{
    accept::Server,
    activity::Deadlines,
    quota::{Quota, QuotaLimits},
};
use super::{
    error::{ApiError, Code},
    middleware,
};
use crate::ws::AcceptedUpgrade;

/// Bounds of a server.
#[derive(Debug, Clone, Copy)]
pub struct ServerLimits {
    /// Number of threads that process requests.
    pub workers: usize,
    /// Maximum time for running requests at shutdown.
    pub drain: Duration,
}

/// Maximum time for a client to read the refusal of an upgrade and to close the connection.
const REFUSAL_MAX: Duration = Duration::from_secs(5);
/// Maximum time for a client to close the connection after the server has, as in `HttpServer`.
const DISCONNECT_MAX: Duration = Duration::from_secs(1);

/// Returns the maximum number of connections that may be open beyond the quota, for all workers
/// together: those that the workers hold, and as many that are on the way to a worker.
pub const fn connections_for_probes(workers: usize) -> usize {
    2 * Worker::FOR_PROBES_MAX * workers
}

/// Deadlines and quota of the connections of a server.
#[derive(Debug, Clone)]
pub struct Guard {
    pub deadlines: Deadlines,
    /// Quota, shared by the servers whose connections are bounded together.
    pub quota: Arc<Quota>,
}

impl Default for Guard {
    /// Returns the deadlines of the public contract, and a quota without bounds.
    fn default() -> Self {
        Self { deadlines: Deadlines::default(), quota: Quota::unbounded() }
    }
}

/// Number of connections that the kernel queues until they are accepted, if its own limit allows
/// it. When a replica ends, its WebSockets all reconnect to the other replicas at once. The
/// standard library uses 128, beyond which a client waits a second.
const BACKLOG: i32 = 4096;

/// Opens a listener on `addr`.
///
/// # Errors
/// Errors of the system, for example if the address is in use.
pub fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket =
        socket2::Socket::new(socket2::Domain::for_address(addr), socket2::Type::STREAM, None)?;
    // The standard library does this on Unix too: a restarted server does not have to wait until
    // its old connections time out.
    socket.set_reuse_address(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Starts a server on `listener`: a thread that accepts connections, and `bounds.workers` threads
/// that serve them. It calls `app` once on the thread of each worker, and does not handle signals.
/// Must run inside an actix `System`.
///
/// # Errors
/// Errors of the listener.
pub fn serve<F, I, A>(
    listener: TcpListener,
    bounds: ServerLimits,
    guard: Guard,
    app: F,
) -> io::Result<Server>
where
    F: Fn() -> I + Clone + Send + 'static,
    I: IntoServiceFactory<A, Request>,
    A: ServiceFactory<Request, Config = AppConfig, Response = ServiceResponse, Error = Error>
        + 'static,
    A::InitError: fmt::Debug,
    A::Service: 'static,
    <A::Service as Service<Request>>::Future: 'static,
{
    let Guard { deadlines, quota } = guard;
    Server::start(listener, bounds, quota, move |connections, stopping| {
        let (app, worker) = (app().into_factory(), Worker::start(deadlines));
        async move {
            // `HttpServer` puts the address of the listener into the configuration, for generated
            // URLs. This application generates none.
            let app = app.new_service(AppConfig::default()).await;
            let app = Rc::new(app.map_err(|error| format!("{error:?}"))?);
            serve_connections(app, worker, connections, stopping, bounds.drain).await
        }
    })
}

/// Serves the connections of one worker until the server stops and they have ended, or for `drain`
/// after the stop.
async fn serve_connections<S>(
    app: Rc<S>,
    worker: Rc<Worker>,
    mut accepted: mpsc::UnboundedReceiver<AcceptedConnection>,
    stopping: CancellationToken,
    drain: Duration,
) -> Result<(), String>
where
    S: Service<Request, Response = ServiceResponse, Error = Error> + 'static,
    S::Future: 'static,
{
    // Both kinds of requests use one application.
    let for_upgrades = Rc::clone(&app);
    let upgrades = fn_service(move |(request, framed)| {
        let response = respond(&for_upgrades, request, RequestKind::Upgrade);
        async move {
            upgrade(response.await.unwrap_or_else(Response::from), framed).await;
            Ok::<_, Infallible>(())
        }
    });
    let requests = fn_factory(move || {
        let app = Rc::clone(&app);
        async move {
            let requests = move |request, app: &Rc<S>| respond(app, request, RequestKind::Plain);
            Ok::<_, Infallible>(apply_fn(app, requests))
        }
    });
    let http = HttpService::build()
        .graceful_shutdown_signal(move || stopping.clone().cancelled_owned())
        // The tick of the worker checks the deadlines. The timers of actix-http cover only the
        // first head and idle times.
        .keep_alive(KeepAlive::Os)
        .client_request_timeout(Duration::ZERO)
        .client_disconnect_timeout(DISCONNECT_MAX)
        .on_connect_ext(|stream: &ClientStream, data| {
            data.insert(Rc::clone(stream.connection()));
        })
        .upgrade(upgrades)
        .finish(requests);
    let http = http.new_service(()).await.map_err(|()| "the HTTP service did not start")?;
    let connections = TaskTracker::new();
    while let Some(connection) = accepted.recv().await {
        let peer = connection.peer;
        match connection.into_stream(&worker) {
            Ok(stream) => {
                connections.spawn_local(http.call((stream, Protocol::Http1, Some(peer))));
            }
            Err(error) => {
                tracing::debug!(%error, "a connection ended before it could be served");
            }
        }
    }
    connections.close();
    // Connections that are still open after this time end with the thread.
    let _ = timeout(drain, connections.wait()).await;
    Ok(())
}

/// Kind of a request: whether actix-http can hand over its connection after the response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RequestKind {
    /// Request without handover. A request that is a handshake for the application but not for
    /// actix-http, for example one with a chunked body, is refused.
    Plain,
    Upgrade,
}

/// Returns the response to a request. On a connection beyond the quota, only probes reach the
/// application and other requests get 503; the connection closes after one response.
fn respond<S>(
    app: &Rc<S>,
    mut request: Request,
    kind: RequestKind,
) -> impl Future<Output = Result<Response<BoxBody>, Error>> + use<S>
where
    S: Service<Request, Response = ServiceResponse, Error = Error>,
{
    let active = ActiveRequest::begin(&mut request);
    let exceeded = active.as_ref().and_then(ActiveRequest::exceeded);
    let call = match exceeded {
        Some(exceeded) if !middleware::PROBES.contains(&request.path()) => Err(exceeded),
        _ => Ok(app.call(request)),
    };
    async move {
        let mut response = match call {
            Ok(call) => Response::from(call.await?),
            Err(exceeded) => refuse_request(exceeded),
        };
        if kind == RequestKind::Plain && response.status() == StatusCode::SWITCHING_PROTOCOLS {
            response = ApiError::new(Code::UpgradeRequired).error_response().into();
        }
        if exceeded.is_some() {
            response.head_mut().set_connection_type(ConnectionType::Close);
        }
        drop(active);
        Ok(response)
    }
}

fn refuse_request(exceeded: Exceeded) -> Response<BoxBody> {
    let mut response = ApiError::unavailable(match exceeded {
        Exceeded::Connections => {
            "The server accepts no more connections right now. Try again later."
        }
        Exceeded::Address => {
            "The server accepts no more connections from this address. Close some of them."
        }
    })
    .error_response();
    middleware::harden(response.headers_mut(), false);
    response.into()
}

/// Sends the response to an upgrade request, and hands over the connection if the response is a
/// handshake.
async fn upgrade(response: Response<BoxBody>, mut framed: Framed<ClientStream, Codec>) {
    let (mut response, body) = response.into_parts();
    let Some(accepted) = response.extensions_mut().remove::<AcceptedUpgrade>() else {
        // The connection ends in any case.
        let _ = timeout(REFUSAL_MAX, refuse(response, body, framed)).await;
        return;
    };
    if framed.start_send_unpin(Message::Item((response, BodySize::None))).is_ok() {
        let FramedParts { io, read_buf, write_buf, .. } = framed.into_parts();
        let (io, permit) = io.into_parts();
        accepted.begin(io, write_buf.freeze(), &read_buf, Box::new(permit));
    }
}

/// Sends a response that is not a handshake, and closes the connection, which cannot be used for
/// other requests.
async fn refuse(
    mut response: Response<()>,
    body: BoxBody,
    mut framed: Framed<ClientStream, Codec>,
) -> Result<(), Box<dyn std::error::Error>> {
    response.head_mut().set_connection_type(ConnectionType::Close);
    framed.feed(Message::Item((response, body.size()))).await?;
    let mut body = pin!(body);
    while let Some(chunk) = poll_fn(|cx| body.as_mut().poll_next(cx)).await {
        framed.feed(Message::Chunk(Some(chunk?))).await?;
    }
    framed.feed(Message::Chunk(None)).await?;
    framed.flush().await?;
    let (mut socket, _permit) = framed.into_parts().io.into_parts();
    socket.shutdown().await?;
    // Closing while the peer is still sending could make its kernel drop the response (RFC 9112
    // §9.6).
    tokio::io::copy(&mut socket, &mut tokio::io::sink()).await?;
    Ok(())
}
