//! The server under the application: actix-http's, with a way out of it for sockets.
//!
//! It is what `actix_web::HttpServer` would build, but for one thing that it has no setting for: a request that asks for an
//! upgrade is answered by the application like any other, and if the answer is a handshake, the connection is no longer the
//! HTTP server's. Its socket goes to the [`Admission`] in the answer, and the dispatcher with its buffers is freed. So a
//! server that is stopped does not wait for sockets: close them first ([`crate::ws::Hub::shutdown`]).

use std::{
    cell::OnceCell,
    convert::Infallible,
    fmt,
    future::poll_fn,
    io,
    net::{SocketAddr, TcpListener},
    pin::pin,
    rc::Rc,
    time::Duration,
};

use actix_codec::{Framed, FramedParts};
use actix_http::{
    ConnectionType, HttpService, Request, Response,
    body::{BodySize, BoxBody, MessageBody},
    h1::{Codec, Message},
};
use actix_service::{IntoServiceFactory, Service, ServiceExt, ServiceFactory, fn_factory, fn_service};
use actix_web::{
    Error, ResponseError,
    dev::{AppConfig, Server, ServiceResponse},
    http::StatusCode,
    rt::net::TcpStream,
};
use futures_util::SinkExt;
use tokio::{io::AsyncWriteExt, time::timeout};

use super::error::{ApiError, Code};
use crate::ws::Admission;

/// How a server is bounded.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Threads that answer requests.
    pub workers: usize,
    /// HTTP connections of each of them; more wait in the kernel. Sockets are not among them: the hub has a bound of its own.
    pub connections_max: usize,
    /// How long requests that are being answered may still take at shutdown.
    pub drain: Duration,
}

/// How long a client may take to read the refusal of an upgrade, and then to close.
const REFUSAL_MAX: Duration = Duration::from_secs(5);
/// How long a connection may be idle between two requests. Proxies keep theirs for 60 s (ingress-nginx, load balancers of
/// clouds): who keeps them for less closes now and then the very one that a request is on its way to, and a proxy does not
/// repeat a POST. nginx, as a server, keeps them as long as this.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// How long a client may take to close after the server has: what `HttpServer` gives it, too.
const DISCONNECT_MAX: Duration = Duration::from_secs(1);

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
pub fn serve<F, I, A>(listener: TcpListener, bounds: Bounds, app: F) -> io::Result<Server>
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
        // One application for both kinds of requests: the second service finds it where the first has put it.
        let started = Rc::new(OnceCell::new());
        let starting = Rc::clone(&started);
        let requests = fn_factory(move || {
            let (app, starting) = (Rc::clone(&app), Rc::clone(&starting));
            async move {
                // `HttpServer` names the listener's address in it, for those who make up URLs from it. Nobody here does.
                let app = Rc::new(app.new_service(AppConfig::default()).await?);
                Ok::<_, A::InitError>(Rc::clone(starting.get_or_init(|| app)).map(no_handshake))
            }
        });
        let upgrades = fn_service(move |(request, framed)| {
            let answer = started.get().map(|app| app.call(request));
            async move {
                // There is an application before there is a connection.
                if let Some(answer) = answer {
                    upgrade(answer.await.map_or_else(Response::from, Response::from), framed).await;
                }
                Ok::<_, Infallible>(())
            }
        });
        HttpService::build()
            .graceful_shutdown_signal(move || {
                let stopping = stopping.clone();
                async move { stopping.notified().await }
            })
            .keep_alive(KEEP_ALIVE)
            .client_disconnect_timeout(DISCONNECT_MAX)
            .local_addr(addr)
            .upgrade(upgrades)
            .finish(requests)
            .tcp()
    })?;
    Ok(server.run())
}

/// What looks like a handshake to the application and not to actix-http, for example one with a body in chunks, has a
/// connection that cannot be given away.
fn no_handshake(answer: ServiceResponse) -> ServiceResponse {
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return answer;
    }
    let (request, _) = answer.into_parts();
    ServiceResponse::new(request, ApiError::new(Code::UpgradeRequired).error_response())
}

/// Answers a request for an upgrade, and gives the connection away if it comes to one.
async fn upgrade(answer: Response<BoxBody>, mut framed: Framed<TcpStream, Codec>) {
    let (mut answer, body) = answer.into_parts();
    let Some(admission) = answer.extensions_mut().remove::<Admission>() else {
        // Whatever the outcome, the connection ends.
        let _ = timeout(REFUSAL_MAX, refuse(answer, body, framed)).await;
        return;
    };
    if framed.start_send_unpin(Message::Item((answer, BodySize::None))).is_ok() {
        let FramedParts { io, read_buf, write_buf, .. } = framed.into_parts();
        admission.begin(io, write_buf.freeze(), &read_buf);
    }
}

/// Sends an answer that is no handshake, and closes, since nothing else can be said on such a connection.
async fn refuse(mut answer: Response<()>, body: BoxBody, mut framed: Framed<TcpStream, Codec>) -> Result<(), Box<dyn std::error::Error>> {
    answer.head_mut().set_connection_type(ConnectionType::Close);
    framed.feed(Message::Item((answer, body.size()))).await?;
    let mut body = pin!(body);
    while let Some(chunk) = poll_fn(|cx| body.as_mut().poll_next(cx)).await {
        framed.feed(Message::Chunk(Some(chunk?))).await?;
    }
    framed.feed(Message::Chunk(None)).await?;
    framed.flush().await?;
    let mut socket = framed.into_parts().io;
    socket.shutdown().await?;
    // To close while the peer is still sending would take the answer away from it (RFC 9112 §9.6).
    tokio::io::copy(&mut socket, &mut tokio::io::sink()).await?;
    Ok(())
}
