//! The composition root: opens the store, starts the actors, serves, and shuts down in the opposite order.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use actix::Arbiter;
use actix_web::dev::ServerHandle;
use async_trait::async_trait;
use rustix::process::Resource;
use tokio::{sync::mpsc, task::JoinHandle, time::Instant};

use crate::{
    actors::{Actors, Shop, Staffing},
    catalog::{self, Catalog},
    clock::Clock,
    config::{Config, Mode, Origin, Switch},
    domain::ReplicaName,
    http,
    payments::{
        Processor,
        sandbox::{FileLedger, MongoLedger, Sandbox},
        stripe::{self, Stripe},
    },
    store::{Store, embedded::EmbeddedStore, mongo::MongoStore},
    tasks::keep_running,
    ws,
};

/// Why the server did not start: one line for the operator.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartError(String);

/// HTTP connections; sockets are the hub's.
const CONNECTIONS_PER_WORKER_MAX: usize = 25_000;

/// A server that listens.
#[derive(Debug)]
pub struct Running {
    /// Where it listens.
    pub addr: SocketAddr,
    server: ServerHandle,
    serving: JoinHandle<std::io::Result<()>>,
    hub: ws::Hub,
    store: Arc<dyn Store>,
    arbiters: Vec<Arbiter>,
}

impl Running {
    /// How long requests that are being answered may still take at shutdown.
    pub const DRAIN: Duration = Duration::from_secs(8);

    /// Closes sockets with 1001, then stops accepting and lets running requests finish within [`Running::DRAIN`], then
    /// writes what is queued and closes the store.
    pub async fn stop(self) {
        self.hub.shutdown().await;
        self.server.stop(true).await;
        for arbiter in &self.arbiters {
            arbiter.stop();
        }
        for arbiter in self.arbiters {
            // A thread that will not end must not keep the store from closing.
            let _ = tokio::task::spawn_blocking(move || arbiter.join()).await;
        }
        self.store.close().await;
        tracing::info!("stopped");
    }
}

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// [`StartError`], or an error of the listening socket.
pub async fn run(config: Config) -> Result<(), StartError> {
    let mut terminate = signal(tokio::signal::unix::SignalKind::terminate())?;
    let mut interrupt = signal(tokio::signal::unix::SignalKind::interrupt())?;
    let mut running = start(config).await?;
    tokio::select! {
        _ = terminate.recv() => tracing::info!("SIGTERM: shutting down"),
        _ = interrupt.recv() => tracing::info!("SIGINT: shutting down"),
        served = &mut running.serving => {
            let detail = served.map_or_else(|error| error.to_string(), |served| format!("{served:?}"));
            running.store.close().await;
            return Err(StartError(format!("the server ended by itself: {detail}")));
        }
    }
    running.stop().await;
    Ok(())
}

fn signal(kind: tokio::signal::unix::SignalKind) -> Result<tokio::signal::unix::Signal, StartError> {
    tokio::signal::unix::signal(kind).map_err(|error| StartError(format!("signals cannot be received: {error}")))
}

/// Opens the store, starts everything, and returns once the server answers requests. Must run inside an actix `System`.
///
/// # Errors
/// [`StartError`]: one line that says what is wrong, and with which setting.
pub async fn start(config: Config) -> Result<Running, StartError> {
    let descriptors = raise_descriptor_limit();
    let listener = http::listen(config.addr).map_err(|error| StartError(format!("GITTIX_ADDR: {}: {error}", config.addr)))?;
    let addr = listener.local_addr().map_err(|error| StartError(format!("GITTIX_ADDR: {error}")))?;
    let replica = config.replica.clone().unwrap_or_else(host_name);
    let (store, sandbox) = open(&config).await?;
    let clock = read_clock(&*store).await?;
    let processor = processor(&config, sandbox, &*store, &clock).await?;
    let secret = |name| {
        let store = Arc::clone(&store);
        async move { store.secret(name).await.map_err(|error| StartError(error.to_string())) }
    };
    let idempotency_secret = secret("idempotency").await?;

    let catalog = Catalog::default();
    // Half the cores for ticket actors, the other half for HTTP's hot paths; at least one each.
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let arbiters: Vec<Arbiter> = (0..cores.div_ceil(2)).map(|_| Arbiter::new()).collect();
    let (followed, catalogued) = (Arc::clone(&store), catalog.clone());
    arbiters[0].spawn_fn(move || {
        // Each life of it subscribes first, and then takes a snapshot.
        keep_running("catalog", move || catalog::follow(catalogued.clone(), Arc::clone(&followed), followed.feed().subscribe()));
    });
    catalog.loaded().await;

    let (losers_in, losers) = mpsc::channel(Actors::LOSERS_MAX);
    let shop = Arc::new(Shop {
        store: Arc::clone(&store),
        processor,
        catalog: catalog.clone(),
        clock: clock.clone(),
        policy: config.policy(),
        replica: replica.clone(),
        losers: losers_in,
    });
    let staffing = Staffing { session_ttl: config.session_ttl, signin_rates: config.rate_limit == Switch::On, idempotency_secret, losers };
    let homes: Vec<_> = arbiters.iter().map(Arbiter::handle).collect();
    let actors = Actors::start(shop, staffing, &homes);
    let socket_limits = socket_limits(descriptors, cores);
    let hub = ws::Hub::start(store.feed().clone(), clock.clone(), socket_limits);
    let health = Arc::new(StoreHealth(Arc::clone(&store)));
    let state = http::State { actors, catalog, clock, health, hub: hub.clone(), front: Arc::new(http::Front::new(&config)) };

    // The first line of the log, before actix has its say; from the bind on, the kernel keeps whoever connects.
    let kind = if config.mongodb_uri.is_some() { "mongodb" } else { "embedded" };
    tracing::info!(%addr, store = kind, %replica, version = env!("CARGO_PKG_VERSION"), "listening");
    if socket_limits.connections_max < ws::Limits::default().connections_max {
        let sockets = socket_limits.connections_max;
        tracing::info!(sockets, ?descriptors, "file descriptors are few, and so will WebSockets be");
    }

    let bounds = http::Bounds { workers: cores, connections_max: CONNECTIONS_PER_WORKER_MAX, drain: Running::DRAIN };
    let server =
        http::serve(listener, bounds, move || http::app(state.clone())).map_err(|error| StartError(format!("GITTIX_ADDR: {error}")))?;
    let handle = server.handle();
    let serving = actix::spawn(server);
    tell_processor(&config);
    Ok(Running { addr, server: handle, serving, hub, store, arbiters })
}

/// Asks for as many file descriptors as the system allows, one for each connection and file; `None`: no limit.
fn raise_descriptor_limit() -> Option<u64> {
    let mut limit = rustix::process::getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = rustix::process::setrlimit(Resource::Nofile, limit) {
        tracing::debug!(%error, "the limit of file descriptors could not be raised");
    }
    rustix::process::getrlimit(Resource::Nofile).current
}

/// Sockets that there may be with so many file descriptors: a quarter of those is left to requests, without which nobody
/// could buy what the sockets tell of, and some to the server itself, mostly to its threads.
fn socket_limits(descriptors: Option<u64>, cores: usize) -> ws::Limits {
    const FILES: usize = 32;
    const OF_A_CORE: usize = 8;
    let wanted = ws::Limits::default();
    let affordable = descriptors.map_or(usize::MAX, |descriptors| {
        let descriptors = usize::try_from(descriptors).unwrap_or(usize::MAX);
        (descriptors / 4 * 3).saturating_sub(FILES + OF_A_CORE * cores)
    });
    ws::Limits { connections_max: wanted.connections_max.min(affordable), ..wanted }
}

/// Stripe if the settings name its key, else the sandbox. Nothing is sent to Stripe: it need not be there at the start.
async fn processor(config: &Config, sandbox: Option<Sandbox>, store: &dyn Store, clock: &Clock) -> Result<Arc<dyn Processor>, StartError> {
    let settings = match (&config.stripe.secret_key, sandbox) {
        (Some(key), _) => stripe::Settings {
            secret_key: key.expose().into(),
            api_base: config.stripe.api_base.clone(),
            api_version: config.stripe.api_version.clone(),
            timeout: config.stripe.timeout.to_duration(),
            is_local: config.stripe.is_loopback(),
            has_element: config.stripe.publishable_key.is_some(),
        },
        (None, Some(sandbox)) => return Ok(Arc::new(sandbox)),
        (None, None) => return Err(StartError("there is neither Stripe nor a sandbox".into())),
    };
    let digest_key = store.secret("stripe").await.map_err(|error| StartError(error.to_string()))?;
    let stripe = Stripe::new(&settings, digest_key, clock.clone()).map_err(StartError)?;
    Ok(Arc::new(stripe))
}

/// Whether money moves is what an operator must not be mistaken about.
fn tell_processor(config: &Config) {
    let is_public = config.public_origin.iter().any(Origin::is_https);
    let stripe = &config.stripe;
    match stripe.mode() {
        None => {
            tracing::warn!("payments go to the built-in sandbox: Stripe's test tokens only, no money moves");
            if is_public {
                tracing::error!("GITTIX_PUBLIC_ORIGIN is https, and yet the sandbox gives tickets away: set STRIPE_SECRET_KEY");
            }
        }
        Some(Mode::Test) => tracing::warn!(api = %stripe.api_base, "payments go to Stripe in test mode: no money moves"),
        Some(Mode::Live) => tracing::info!(api = %stripe.api_base, "payments go to Stripe in live mode: money moves"),
    }
    if stripe.mode() == Some(Mode::Live) && !is_public {
        tracing::warn!("money moves, and GITTIX_PUBLIC_ORIGIN is not https: session cookies are not marked Secure");
    }
    if stripe.mode() == Some(Mode::Live) && stripe.is_elsewhere() {
        tracing::warn!(api = %stripe.api_base, "money moves, and STRIPE_API_BASE is not Stripe's own");
    }
    if stripe.mode().is_some() && stripe.webhook_secrets.is_empty() {
        tracing::warn!(
            "STRIPE_WEBHOOK_SECRET is not set: deliveries to the webhook are refused, and reconciliation alone learns what buyers did"
        );
    }
    if stripe.mode().is_some() && stripe.publishable_key.is_none() {
        tracing::warn!("STRIPE_PUBLISHABLE_KEY is not set: the pages offer Stripe's test cards instead of its own element");
    }
}

/// The store that the settings name, and beside it, if no other processor is set up, the sandbox with its ledger.
async fn open(config: &Config) -> Result<(Arc<dyn Store>, Option<Sandbox>), StartError> {
    let sandboxed = config.stripe.mode().is_none();
    match &config.mongodb_uri {
        Some(uri) => {
            // It names its setting itself.
            let store = MongoStore::connect(uri.expose()).await.map_err(|error| StartError(error.to_string()))?;
            if !sandboxed {
                return Ok((store, None));
            }
            let secret = store.secret("sandbox").await.map_err(|error| StartError(format!("MONGODB_URI: {error}")))?;
            // One ledger for all replicas, as they would share Stripe.
            let ledger = MongoLedger::new(store.database());
            Ok((store, Some(Sandbox::new(Arc::new(ledger), secret))))
        }
        None => {
            let failed = |error: &dyn std::fmt::Display| StartError(format!("GITTIX_DATA_DIR: {error}"));
            let store = EmbeddedStore::open(&config.data_dir).map_err(|error| failed(&error))?;
            if !sandboxed {
                return Ok((store, None));
            }
            let secret = store.secret("sandbox").await.map_err(|error| failed(&error))?;
            let ledger = FileLedger::open(&config.data_dir).map_err(|error| failed(&error))?;
            Ok((store, Some(Sandbox::new(Arc::new(ledger), secret))))
        }
    }
}

/// What `/readyz` asks.
#[derive(Debug)]
struct StoreHealth(Arc<dyn Store>);

#[async_trait]
impl http::Health for StoreHealth {
    async fn store_answers(&self) -> bool {
        self.0.time().await.is_ok()
    }

    fn feed_is_live(&self) -> bool {
        self.0.feed().is_live()
    }
}

async fn read_clock(store: &dyn Store) -> Result<Clock, StartError> {
    let asked = Instant::now();
    let time = store.time().await.map_err(|error| StartError(error.to_string()))?;
    let clock = Clock::starting_at(time);
    clock.measured(time, asked);
    Ok(clock)
}

fn host_name() -> ReplicaName {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    ReplicaName::new(if name.trim().is_empty() { "gittix" } else { name.trim() })
}
