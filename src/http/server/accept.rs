//! Accepting connections, and the threads of the server.
//!
//! One thread accepts the connections of all workers. It counts each connection against the quota
//! before any other work, so that a flood of refused connections takes a bounded number of
//! descriptors and a bounded time of the workers. (The server of actix counts a connection on the
//! thread of its worker. Under a flood, accepted connections waited there with their descriptors
//! until `accept` failed, and after such a failure it accepts nothing for half a second.)

use std::{
    fmt, io,
    net::{SocketAddr, TcpListener, TcpStream},
    pin::pin,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use actix::Arbiter;
use futures_util::future::{Either, join_all, select, select_all};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use super::{
    ServerLimits,
    quota::{Permit, Quota},
    stream::ClientStream,
    worker::Worker,
};

/// Pause after a failure of `accept` that does not concern one connection, for example because the
/// process has no file descriptor left.
const ACCEPT_RETRY_AFTER: Duration = Duration::from_millis(50);

/// Running HTTP server. It runs until [`Server::stop`].
pub struct Server {
    stopping: CancellationToken,
    threads: Vec<Arbiter>,
    /// Receives the result of each thread.
    results: Vec<oneshot::Receiver<Result<(), String>>>,
}

/// Connection that was accepted and counted.
#[derive(Debug)]
pub(super) struct AcceptedConnection {
    socket: TcpStream,
    pub peer: SocketAddr,
    permit: Permit,
    /// Place of a connection beyond the quota, until its worker has taken it. The quota does not
    /// count such a connection.
    _handover: Option<OwnedSemaphorePermit>,
}

impl AcceptedConnection {
    /// Registers the connection at its worker.
    ///
    /// # Errors
    /// Errors of the system.
    pub fn into_stream(self, worker: &Rc<Worker>) -> io::Result<ClientStream> {
        let socket = tokio::net::TcpStream::from_std(self.socket)?;
        Ok(ClientStream::new(socket, worker.enter(self.permit.exceeded()), self.permit))
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("threads", &self.threads.len()).finish_non_exhaustive()
    }
}

impl Server {
    /// Starts the threads. `work` is called on the thread of each worker; its future serves the
    /// connections that it receives, and ends some time after there are no more.
    ///
    /// # Errors
    /// Errors of the listener.
    pub(super) fn start<W, R>(
        listener: TcpListener,
        bounds: ServerLimits,
        quota: Arc<Quota>,
        work: W,
    ) -> io::Result<Self>
    where
        W: Fn(mpsc::UnboundedReceiver<AcceptedConnection>, CancellationToken) -> R
            + Clone
            + Send
            + 'static,
        R: Future<Output = Result<(), String>> + 'static,
    {
        listener.set_nonblocking(true)?;
        let mut server =
            Self { stopping: CancellationToken::new(), threads: Vec::new(), results: Vec::new() };
        let mut workers = Vec::new();
        for _ in 0..bounds.workers {
            let (worker, connections) = mpsc::unbounded_channel();
            let (work, stopping) = (work.clone(), server.stopping.clone());
            server.start_thread(move || work(connections, stopping));
            workers.push(worker);
        }
        let stopping = server.stopping.clone();
        let acceptor = Acceptor {
            listener,
            quota,
            handover: Arc::new(Semaphore::new(Worker::FOR_PROBES_MAX * bounds.workers)),
            workers,
        };
        server.start_thread(move || async move {
            match select(pin!(acceptor.accept()), pin!(stopping.cancelled())).await {
                Either::Left((error, _)) => Err(error),
                Either::Right(((), _)) => Ok(()),
            }
        });
        Ok(server)
    }

    fn start_thread<R>(&mut self, work: impl FnOnce() -> R + Send + 'static)
    where
        R: Future<Output = Result<(), String>> + 'static,
    {
        let (ended, result) = oneshot::channel();
        let thread = Arbiter::new();
        thread.spawn_fn(move || {
            let work = work();
            actix::spawn(async move {
                // The receiver is dropped if the whole process ends.
                let _ = ended.send(work.await);
            });
        });
        self.threads.push(thread);
        self.results.push(result);
    }

    /// Stops accepting connections, and waits until running requests have ended, at most for the
    /// time of [`ServerLimits::drain`].
    pub async fn stop(self) {
        self.stopping.cancel();
        join_all(self.results).await;
        for thread in &self.threads {
            thread.stop();
        }
        for thread in self.threads {
            // The caller continues also if a thread does not end.
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }

    /// Waits until a thread of the server ends, which it does not do before [`Server::stop`].
    /// Returns the reason.
    pub async fn ended(&mut self) -> String {
        match select_all(self.results.iter_mut()).await.0 {
            Ok(Err(error)) => error,
            Ok(Ok(())) => "a thread returned".into(),
            Err(_) => "a thread panicked".into(),
        }
    }
}

/// Accepts connections and distributes them among the workers.
struct Acceptor {
    listener: TcpListener,
    quota: Arc<Quota>,
    /// Bounds the connections beyond the quota that their workers have not taken yet.
    handover: Arc<Semaphore>,
    workers: Vec<mpsc::UnboundedSender<AcceptedConnection>>,
}

impl Acceptor {
    /// Accepts connections until that is impossible. Returns the reason.
    async fn accept(self) -> String {
        let Self { listener, quota, handover, workers } = self;
        let listener = match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => listener,
            Err(error) => return format!("the listener cannot be used: {error}"),
        };
        let mut next_worker = workers.iter().cycle();
        loop {
            let (socket, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) if concerns_one_connection(&error) => continue,
                Err(error) => {
                    tracing::error!(%error, "connections cannot be accepted; trying again");
                    sleep(ACCEPT_RETRY_AFTER).await;
                    continue;
                }
            };
            let permit = quota.admit(peer.ip());
            if !permit.is_answered() {
                continue;
            }
            let _handover = match permit.exceeded() {
                Some(_) => Arc::clone(&handover).acquire_owned().await.ok(),
                None => None,
            };
            // The socket leaves the event loop of this thread. The connection ends if that fails.
            let Ok(socket) = socket.into_std() else { continue };
            let connection = AcceptedConnection { socket, peer, permit, _handover };
            let Some(worker) = next_worker.next() else { return "there are no workers".into() };
            if worker.send(connection).is_err() {
                return "a worker ended".into();
            }
        }
    }
}

/// Returns whether `accept` failed because of the connection itself: its peer has closed it
/// already.
fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}
