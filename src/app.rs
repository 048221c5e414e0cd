//! The composition root: listens, serves `/healthz`, opens the store, starts the actors, and then
//! lets requests through. At shutdown it stops the WebSockets, the HTTP servers, the actors and the
//! store, in this order.
//!
//! | file | contents |
//! | --- | --- |
//! | `listening` | addresses, file descriptors, the first lines of the log |
//! | `opening` | opening the store, with retries, the choice of the payment processor, and the reads before the first request |
//! | `payment` | the mark of live payments, and the log lines and metrics of payment at the start |

mod listening;
mod opening;
mod payment;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use actix::Arbiter;
use async_trait::async_trait;
use tokio::sync::mpsc;

use self::{listening::Bound, opening::OpenedStore};
use crate::{
    actors::{ActorContext, Actors, ActorsConfig, NetworkLocks},
    catalog::{self, Catalog},
    config::{Config, Switch},
    domain::ReplicaName,
    http,
    mail::{MailSender, Outbox},
    store::Store,
    tasks::{essential_ended, keep_running},
    ws,
};

/// The reason why the server did not start: one line for the operator.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartError(String);

/// The reason why the server ended without a signal: one line for the operator.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("{0}")]
    Failed(String),
}

impl RunError {
    /// Returns whether the server did not start: a setting is wrong, or the resource that it names
    /// does not work.
    pub fn is_start_error(&self) -> bool {
        matches!(self, Self::Start(_))
    }
}

/// Maximum number of HTTP connections for each core, without WebSockets. If file descriptors are
/// few, their number is the bound.
const CONNECTIONS_PER_WORKER_MAX: usize = 25_000;
/// Maximum number of HTTP connections of the admin address, which has one worker.
const ADMIN_CONNECTIONS_MAX: usize = 256;

/// A running server.
#[derive(Debug)]
pub struct Running {
    /// The public address that the server listens on.
    pub addr: SocketAddr,
    servers: Vec<http::Server>,
    hub: ws::Hub,
    store: Arc<dyn Store>,
    arbiters: Vec<Arbiter>,
}

impl Running {
    /// Maximum time that running requests of one HTTP server may take at shutdown.
    pub const DRAIN: Duration = Duration::from_secs(8);

    /// Closes WebSockets with code 1001, then stops each HTTP server in turn, whose running
    /// requests may finish within [`Running::DRAIN`]. The admin server is the last of them. Then
    /// stops the actors, writes queued commits and closes the store.
    pub async fn stop(self) {
        self.hub.shutdown().await;
        for server in self.servers {
            server.stop().await;
        }
        for arbiter in &self.arbiters {
            arbiter.stop();
        }
        for arbiter in self.arbiters {
            // The store is closed also if a thread does not end.
            let _ = tokio::task::spawn_blocking(move || arbiter.join()).await;
        }
        self.store.close().await;
        tracing::info!("stopped");
    }

    /// Waits until an HTTP server or an essential task ends, or until the store's file fails.
    /// Returns the reason.
    async fn ended(&mut self) -> String {
        let servers = self.servers.iter_mut().map(|server| Box::pin(server.ended()));
        tokio::select! {
            (reason, _, _) = futures_util::future::select_all(servers) => {
                format!("the HTTP server ended: {reason}")
            }
            task = essential_ended() => format!("the {task} ended; only a restart of the process can start it again"),
            reason = self.store.file_failed() => format!("the store cannot be used any more: {reason}"),
        }
    }
}

/// Serves until SIGTERM or SIGINT. A signal during the start ends the start at once.
///
/// # Errors
/// [`RunError`] if the server does not start, or ends without a signal.
pub async fn run(config: Config) -> Result<(), RunError> {
    let mut terminate = signal(tokio::signal::unix::SignalKind::terminate())?;
    let mut interrupt = signal(tokio::signal::unix::SignalKind::interrupt())?;
    let signalled = async move {
        tokio::select! {
            _ = terminate.recv() => tracing::info!("SIGTERM: shutting down"),
            _ = interrupt.recv() => tracing::info!("SIGINT: shutting down"),
        }
    };
    tokio::pin!(signalled);
    let mut running = tokio::select! {
        running = start(config) => running?,
        // No request has reached the application yet, so that nothing has to be finished.
        () = &mut signalled => return Ok(()),
    };
    tokio::select! {
        () = &mut signalled => {}
        reason = running.ended() => {
            tracing::error!("{reason}; shutting down");
            running.stop().await;
            return Err(RunError::Failed(reason));
        }
    }
    running.stop().await;
    Ok(())
}

fn signal(
    kind: tokio::signal::unix::SignalKind,
) -> Result<tokio::signal::unix::Signal, StartError> {
    tokio::signal::unix::signal(kind)
        .map_err(|error| StartError(format!("signals cannot be received: {error}")))
}

/// Listens, opens the store, starts all parts, and returns when requests reach the application.
/// From the time it listens, the server answers on `/healthz` that it is alive, and on `/readyz`
/// that it is not ready. Must run inside an actix `System`.
///
/// # Errors
/// [`StartError`]: one line with the problem and its setting.
pub async fn start(config: Config) -> Result<Running, StartError> {
    let descriptors = listening::raise_descriptor_limit();
    let public = Bound::new("GITTIX_ADDR", &config.addr)?;
    let admin =
        config.admin_addr.as_ref().map(|host| Bound::new("GITTIX_ADMIN_ADDR", host)).transpose()?;
    let replica = config.replica.clone().unwrap_or_else(host_name);
    // The actors get one arbiter for two cores, at least one. HTTP gets one worker for each core.
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let socket_limits = listening::socket_limits(descriptors, cores, &config);
    let quota = http::Quota::new(listening::connection_limits(descriptors, cores, &config));
    listening::announce(&config, &public, admin.as_ref(), &replica, socket_limits);
    payment::announce(&config);

    let addr = public.addr;
    let startup = http::Startup::new(&config, addr);
    let servers = serve(public, admin, quota, cores, &startup)?;
    let opened = opening::open(&config, &startup).await?;
    let (store, clock) = (Arc::clone(&opened.store), opened.clock.clone());
    let catalog = Catalog::default();
    let arbiters: Vec<Arbiter> = (0..cores.div_ceil(2)).map(|_| Arbiter::new()).collect();
    let (followed, catalogued) = (Arc::clone(&store), catalog.clone());
    arbiters[0].spawn_fn(move || {
        // Each start of the task subscribes to the feed first, and then reads a snapshot.
        keep_running("catalog", move || {
            catalog::follow(catalogued.clone(), Arc::clone(&followed), followed.feed().subscribe())
        });
    });
    opening::load(&config, &catalog, &startup).await?;

    let outbox = Outbox::new(opened.token_key.clone());
    start_mails(&config, &opened, outbox.clone(), &replica, addr, &arbiters[0])?;
    let actors = start_actors(&config, opened, catalog.clone(), replica, outbox, &arbiters);
    let hub = ws::Hub::new(store.feed().clone(), clock.clone(), socket_limits);
    let readiness = http::Readiness::new(Arc::new(StoreHealth(Arc::clone(&store))), clock.clone());
    startup.finish(http::AppState {
        actors,
        catalog,
        clock,
        readiness,
        hub: hub.clone(),
        context: startup.context(),
    });
    Ok(Running { addr, servers, hub, store, arbiters })
}

/// Starts the servers of all addresses. Each serves the startup application until the start has
/// finished.
fn serve(
    public: Bound,
    admin: Option<Bound>,
    quota: Arc<http::Quota>,
    cores: usize,
    startup: &http::Startup,
) -> Result<Vec<http::Server>, StartError> {
    let guard = http::Guard { deadlines: http::Deadlines::default(), quota };
    let bounds = http::ServerLimits { workers: cores, drain: Running::DRAIN };
    let started = startup.clone();
    let server = http::serve(public.listener, bounds, guard, move || {
        http::staged(started.clone(), http::app)
    });
    let mut servers = vec![server.map_err(|error| StartError(format!("GITTIX_ADDR: {error}")))?];
    if let Some(admin) = admin {
        let bounds = http::ServerLimits { workers: 1, ..bounds };
        // The admin address has its own quota, so that public connections do not use it up.
        let quota = http::Quota::new(http::QuotaLimits {
            connections_max: ADMIN_CONNECTIONS_MAX,
            ..http::QuotaLimits::default()
        });
        let guard = http::Guard { quota, ..http::Guard::default() };
        let started = startup.clone();
        let server = http::serve(admin.listener, bounds, guard, move || {
            http::staged(started.clone(), http::admin)
        });
        servers.push(server.map_err(|error| StartError(format!("GITTIX_ADMIN_ADDR: {error}")))?);
    }
    Ok(servers)
}

/// Starts the task that sends mails.
fn start_mails(
    config: &Config,
    opened: &OpenedStore,
    outbox: Outbox,
    replica: &ReplicaName,
    addr: SocketAddr,
    arbiter: &Arbiter,
) -> Result<(), StartError> {
    let sender = Arc::new(MailSender {
        store: Arc::clone(&opened.store),
        clock: opened.clock.clone(),
        replica: replica.clone(),
        outbox,
        transport: config.mail.transport(&config.data_dir).map_err(StartError)?,
        from: config.mail.sender(),
        origin: config.pages_origin(addr),
    });
    arbiter.spawn_fn(move || keep_running("mail_sender", move || Arc::clone(&sender).run()));
    Ok(())
}

fn start_actors(
    config: &Config,
    opened: OpenedStore,
    catalog: Catalog,
    replica: ReplicaName,
    outbox: Outbox,
    arbiters: &[Arbiter],
) -> Actors {
    let (reversals, charges_to_reverse) = mpsc::channel(Actors::CHARGES_TO_REVERSE_MAX);
    let OpenedStore { store, clock, processor, idempotency_secret, .. } = opened;
    let network_locks = NetworkLocks::new(config.locks_per_network_max());
    let context = Arc::new(ActorContext {
        store,
        processor,
        catalog,
        clock,
        policy: config.policy(),
        replica,
        outbox,
        charges_to_reverse: reversals,
        network_locks,
    });
    let actors_config = ActorsConfig {
        session_ttl: config.session_ttl,
        limits_sign_ins: config.rate_limit == Switch::On,
        idempotency_secret,
        charges_to_reverse,
    };
    let handles: Vec<_> = arbiters.iter().map(Arbiter::handle).collect();
    Actors::start(context, actors_config, &handles)
}

/// The checks of `/readyz` that concern the store.
#[derive(Debug)]
struct StoreHealth(Arc<dyn Store>);

#[async_trait]
impl http::Health for StoreHealth {
    async fn store_answers(&self) -> bool {
        self.0.time().await.is_ok()
    }

    async fn other_member_answers(&self) -> bool {
        self.0.other_member_answers().await
    }

    fn feed_is_live(&self) -> bool {
        self.0.feed().is_live()
    }
}

fn host_name() -> ReplicaName {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    ReplicaName::new(if name.trim().is_empty() { "gittix" } else { name.trim() })
}
