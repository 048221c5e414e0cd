//! The server under the application: actix-http's, with a way out of it for sockets.
//!
//! It is what `actix_web::HttpServer` would build, but for one thing that it has no setting for: a request that asks for an
//! upgrade is answered by the application like any other, and if the answer is a handshake, the connection is no longer the
//! HTTP server's. Its socket goes to the [`AcceptedUpgrade`] in the answer, and the dispatcher with its buffers is freed. So a
//! server that is stopped does not wait for sockets: close them first ([`crate::ws::Hub::shutdown`]).
//!
//! Between the socket and actix-http lies a stream of our own, which has the deadlines and bounds that actix-http lacks:
//!
//! | file | holds |
//! | --- | --- |
//! | `stream` | the connection as actix-http reads and writes it |
//! | `activity` | pure: what a connection is doing, its deadlines, what may be read ahead |
//! | `framing` | pure: whether a part of the next head came with a request |
//! | `worker` | the connections of a thread, and the tick that ends those that are overdue |
//! | `quota` | connections of the process, and of one address |
//! | `refusal` | answers to what never became a request |

mod activity;
mod framing;
mod quota;
mod refusal;
mod stream;
mod worker;

use std::{
    cell::OnceCell,
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
    error::DispatchError,
    h1::{Codec, Message},
};
use actix_service::{IntoServiceFactory, Service, ServiceFactory, ServiceFactoryExt, apply_fn, fn_factory, fn_service};
use actix_web::{
    Error, ResponseError,
    dev::{AppConfig, Server, ServiceResponse},
    http::StatusCode,
    rt::net::TcpStream,
};
use futures_util::SinkExt;
use tokio::{io::AsyncWriteExt, time::timeout};

pub use self::{
    activity::Deadlines,
    quota::{Quota, QuotaLimits},
};
use self::{
    quota::Exceeded,
    stream::ClientStream,
    worker::{Turn, Worker},
};
use super::{
    error::{ApiError, Code},
    middleware,
};
use crate::ws::AcceptedUpgrade;

/// How a server is bounded.
#[derive(Debug, Clone, Copy)]
pub struct ServerLimits {
    /// Threads that answer requests.
    pub workers: usize,
    /// HTTP connections of each of them; more wait in the kernel. Sockets are not among them: the hub has a bound of its own.
    pub connections_max: usize,
    /// How long requests that are being answered may still take at shutdown.
    pub drain: Duration,
}

/// How long a client may take to read the refusal of an upgrade, and then to close.
const REFUSAL_MAX: Duration = Duration::from_secs(5);
/// How long a client may take to close after the server has: what `HttpServer` gives it, too.
const DISCONNECT_MAX: Duration = Duration::from_secs(1);

/// Connections beyond the quota that all workers together may have at one time, half of them on their way out.
pub const fn connections_for_probes(workers: usize) -> usize {
    2 * Worker::FOR_PROBES_MAX * workers
}

/// What bounds the connections of a server.
#[derive(Debug, Clone)]
pub struct Guard {
    pub deadlines: Deadlines,
    /// One for all servers of the process.
    pub quota: Arc<Quota>,
}

impl Default for Guard {
    /// With the deadlines of the contract, and without a quota.
    fn default() -> Self {
        Self { deadlines: Deadlines::default(), quota: Quota::unbounded() }
    }
}

/// Connections that the kernel keeps until they are accepted, if its own limit allows as many: all sockets of a replica
/// that ends come to the others in one moment. The standard library asks for 128, beyond which a client waits a second.
const BACKLOG: i32 = 4096;

/// A listener on `addr`.
///
/// # Errors
/// The system's, for example that the address is in use.
pub fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(addr), socket2::Type::STREAM, None)?;
    // As the standard library does on Unix: a server that was restarted need not wait for its old connections' time.
    socket.set_reuse_address(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// A server on `listener`; `app` is called once on each worker's thread. It does not listen for signals.
///
/// # Errors
/// The listener's.
pub fn serve<F, I, A>(listener: TcpListener, bounds: ServerLimits, guard: Guard, app: F) -> io::Result<Server>
where
    F: Fn() -> I + Clone + Send + 'static,
    I: IntoServiceFactory<A, Request>,
    A: ServiceFactory<Request, Config = AppConfig, Response = ServiceResponse, Error = Error> + 'static,
    A::InitError: fmt::Debug,
    A::Service: 'static,
    <A::Service as Service<Request>>::Future: 'static,
{
    let addr = listener.local_addr()?;
    let server = Server::build()
        .workers(bounds.workers)
        .max_concurrent_connections(bounds.connections_max)
        .shutdown_timeout(bounds.drain.as_secs())
        .disable_signals();
    let stopping = server.graceful_shutdown_signal();
    let server = server.listen("http", listener, move || {
        let (app, stopping) = (Rc::new(app().into_factory()), stopping.clone());
        let (worker, quota) = (Worker::start(guard.deadlines), Arc::clone(&guard.quota));
        // One application for both kinds of requests: the second service finds it where the first has put it.
        let started = Rc::new(OnceCell::new());
        let starting = Rc::clone(&started);
        let requests = fn_factory(move || {
            let (app, starting) = (Rc::clone(&app), Rc::clone(&starting));
            async move {
                // `HttpServer` names the listener's address in it, for those who make up URLs from it. Nobody here does.
                let app = Rc::new(app.new_service(AppConfig::default()).await?);
                Ok::<_, A::InitError>(apply_fn(Rc::clone(starting.get_or_init(|| app)), |request, app| {
                    answer(app, request, RequestKind::Plain)
                }))
            }
        });
        let upgrades = fn_service(move |(request, framed)| {
            let answer = started.get().map(|app| answer(app, request, RequestKind::Upgrade));
            async move {
                // There is an application before there is a connection.
                if let Some(answer) = answer {
                    upgrade(answer.await.unwrap_or_else(Response::from), framed).await;
                }
                Ok::<_, Infallible>(())
            }
        });
        let http = HttpService::build()
            .graceful_shutdown_signal(move || {
                let stopping = stopping.clone();
                async move { stopping.notified().await }
            })
            // The worker's tick has the deadlines: a timer of actix-http's covers only the first head, or a pause.
            .keep_alive(KeepAlive::Os)
            .client_request_timeout(Duration::ZERO)
            .client_disconnect_timeout(DISCONNECT_MAX)
            .local_addr(addr)
            .on_connect_ext(|stream: &ClientStream, data| {
                data.insert(Rc::clone(stream.link()));
            })
            .upgrade(upgrades)
            .finish(requests);
        fn_service(move |socket: TcpStream| {
            let peer = socket.peer_addr().ok();
            let permit = quota.admit(peer.map(|peer| peer.ip()));
            let stream = permit.is_answered().then(|| ClientStream::new(socket, worker.enter(permit.exceeded()), permit));
            let stream = stream.ok_or_else(|| DispatchError::Io(io::ErrorKind::ConnectionRefused.into()));
            async move { Ok((stream?, Protocol::Http1, peer)) }
        })
        .and_then(http)
    })?;
    Ok(server.run())
}

/// Whether actix-http gives the connection away for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RequestKind {
    /// It does not. What looks like a handshake to the application and not to actix-http, for example one with a body in
    /// chunks, is refused.
    Plain,
    Upgrade,
}

/// Answers a request. One on a connection beyond the quota gets an answer only if it is a probe, and is the last there.
fn answer<S>(app: &Rc<S>, mut request: Request, kind: RequestKind) -> impl Future<Output = Result<Response<BoxBody>, Error>> + use<S>
where
    S: Service<Request, Response = ServiceResponse, Error = Error>,
{
    let turn = Turn::begin(&mut request);
    let exceeded = turn.as_ref().and_then(Turn::exceeded);
    let answering = match exceeded {
        Some(exceeded) if !middleware::PROBES.contains(&request.path()) => Err(exceeded),
        _ => Ok(app.call(request)),
    };
    async move {
        let mut answer = match answering {
            Ok(answering) => Response::from(answering.await?),
            Err(exceeded) => refuse_request(exceeded),
        };
        if kind == RequestKind::Plain && answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            answer = ApiError::new(Code::UpgradeRequired).error_response().into();
        }
        if exceeded.is_some() {
            answer.head_mut().set_connection_type(ConnectionType::Close);
        }
        drop(turn);
        Ok(answer)
    }
}

fn refuse_request(exceeded: Exceeded) -> Response<BoxBody> {
    let mut answer = ApiError::unavailable(match exceeded {
        Exceeded::Connections => "No more connections are taken right now.",
        Exceeded::Address => "No more connections are taken from this address right now.",
    })
    .error_response();
    middleware::harden(answer.headers_mut(), false);
    answer.into()
}

/// Answers a request for an upgrade, and gives the connection away if it comes to one.
async fn upgrade(answer: Response<BoxBody>, mut framed: Framed<ClientStream, Codec>) {
    let (mut answer, body) = answer.into_parts();
    let Some(admission) = answer.extensions_mut().remove::<AcceptedUpgrade>() else {
        // Whatever the outcome, the connection ends.
        let _ = timeout(REFUSAL_MAX, refuse(answer, body, framed)).await;
        return;
    };
    if framed.start_send_unpin(Message::Item((answer, BodySize::None))).is_ok() {
        let FramedParts { io, read_buf, write_buf, .. } = framed.into_parts();
        let (io, permit) = io.into_parts();
        admission.begin(io, write_buf.freeze(), &read_buf, Box::new(permit));
    }
}

/// Sends an answer that is no handshake, and closes, since nothing else can be said on such a connection.
async fn refuse(
    mut answer: Response<()>,
    body: BoxBody,
    mut framed: Framed<ClientStream, Codec>,
) -> Result<(), Box<dyn std::error::Error>> {
    answer.head_mut().set_connection_type(ConnectionType::Close);
    framed.feed(Message::Item((answer, body.size()))).await?;
    let mut body = pin!(body);
    while let Some(chunk) = poll_fn(|cx| body.as_mut().poll_next(cx)).await {
        framed.feed(Message::Chunk(Some(chunk?))).await?;
    }
    framed.feed(Message::Chunk(None)).await?;
    framed.flush().await?;
    let (mut socket, _permit) = framed.into_parts().io.into_parts();
    socket.shutdown().await?;
    // To close while the peer is still sending would take the answer away from it (RFC 9112 §9.6).
    tokio::io::copy(&mut socket, &mut tokio::io::sink()).await?;
    Ok(())
}
