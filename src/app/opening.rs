//! Opens the store, and reads everything from it that is needed before the first request. The
//! embedded store is opened once. MongoDB is tried repeatedly until it is available or
//! `GITTIX_STORE_WAIT` is over.

use std::{fmt::Display, sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, timeout};

use super::{
    StartError,
    listening::grouped,
    payment::{self, LIVE_PAYMENT},
};
use crate::{
    catalog::Catalog,
    clock::Clock,
    config::Config,
    http::Startup,
    mail::TokenKey,
    payments::{
        Processor,
        processor_config::{Mode, ProcessorConfig},
        sandbox::{FileLedger, Ledger, MongoLedger, Sandbox},
    },
    store::{Store, Unavailable, embedded::EmbeddedStore, mongo::MongoStore},
};

/// Pause between two attempts.
const PAUSE: Duration = Duration::from_millis(500);
/// Minimum time of an attempt, also if less of `GITTIX_STORE_WAIT` is left.
const ATTEMPT_MIN: Duration = Duration::from_secs(10);
/// Interval at which an unchanged reason is logged again.
const REPEAT_AFTER: Duration = Duration::from_secs(10);
/// Interval at which the progress of loading is checked.
const CHECK_EVERY: Duration = Duration::from_millis(250);
/// Interval at which the progress of loading is logged.
const LOG_EVERY: Duration = Duration::from_secs(5);
/// A load that has added no ticket for this time has stalled.
const STALLED_AFTER: Duration = Duration::from_secs(10);

/// An open store, and the values that depend on its contents.
#[derive(Debug)]
pub(super) struct OpenedStore {
    pub store: Arc<dyn Store>,
    pub clock: Clock,
    pub processor: Arc<dyn Processor>,
    pub idempotency_secret: [u8; 32],
    pub token_key: TokenKey,
}

/// The reason why an attempt failed: one line with the name of the setting.
#[derive(Debug)]
struct OpenError {
    reason: String,
    is_permanent: bool,
}

impl OpenError {
    fn permanent(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), is_permanent: true }
    }
}

/// Returns the name of the setting that selects the store.
fn setting(config: &Config) -> &'static str {
    if config.mongodb_uri.is_some() { "MONGODB_URI" } else { "GITTIX_DATA_DIR" }
}

/// Opens the store. While MongoDB is not available, tries again until `GITTIX_STORE_WAIT` is over.
pub(super) async fn open(config: &Config, startup: &Startup) -> Result<OpenedStore, StartError> {
    let deadline = Instant::now() + config.store_wait.to_duration();
    let mut wait_log = WaitLog::default();
    loop {
        let limit = deadline.saturating_duration_since(Instant::now()).max(ATTEMPT_MIN);
        let failure = match timeout(limit, attempt(config)).await {
            Ok(Ok(opened)) => return Ok(opened),
            Ok(Err(failure)) => failure,
            Err(_) => OpenError {
                reason: format!("{}: no answer within {limit:?}", setting(config)),
                is_permanent: false,
            },
        };
        if failure.is_permanent || config.mongodb_uri.is_none() {
            return Err(StartError(failure.reason));
        }
        if Instant::now() + PAUSE > deadline {
            return Err(StartError(format!(
                "{} (gave up after GITTIX_STORE_WAIT, {})",
                failure.reason, config.store_wait
            )));
        }
        startup.set_reason("waiting for the store");
        wait_log.log(failure.reason, deadline);
        sleep(PAUSE).await;
    }
}

/// The reason that was logged last, and the time.
#[derive(Debug, Default)]
struct WaitLog(Option<(String, Instant)>);

impl WaitLog {
    fn log(&mut self, reason: String, deadline: Instant) {
        let now = Instant::now();
        if self.0.as_ref().is_none_or(|(last, at)| *last != reason || now - *at >= REPEAT_AFTER) {
            tracing::warn!(
                reason,
                gives_up_in_s = (deadline - now).as_secs(),
                "waiting for MongoDB; check that it can be reached"
            );
            self.0 = Some((reason, now));
        }
    }
}

async fn attempt(config: &Config) -> Result<OpenedStore, OpenError> {
    let failed = |error: &dyn Display| OpenError {
        reason: format!("{}: {error}", setting(config)),
        is_permanent: false,
    };
    let unavailable = |error: Unavailable| failed(&error);
    let (store, payments) = stores(config).await?;
    let is_live = config.payments.mode() == Some(Mode::Live);
    if !is_live && store.has_mark(LIVE_PAYMENT).await.map_err(unavailable)? {
        return Err(OpenError::permanent(format!(
            "{} must be a live key: this store has taken live payments, which neither a test key nor the sandbox can finish",
            config.payments.key_setting()
        )));
    }
    let asked = Instant::now();
    let time = store.time().await.map_err(unavailable)?;
    let clock = Clock::starting_at(time);
    clock.measured(time, asked);
    let idempotency_secret = store.secret("idempotency").await.map_err(unavailable)?;
    let token_key = TokenKey::new(store.secret("mail-tokens").await.map_err(unavailable)?);
    let processor = match payments {
        PaymentSource::Processor(processor) => {
            let digest_key = store.secret(processor.name()).await.map_err(unavailable)?;
            processor
                .processor(digest_key, payment::live_mark(&store), clock.clone())
                .map_err(OpenError::permanent)?
        }
        PaymentSource::Sandbox(ledger) => {
            Arc::new(Sandbox::new(ledger, store.secret("sandbox").await.map_err(unavailable)?))
        }
    };
    Ok(OpenedStore { store, clock, processor, idempotency_secret, token_key })
}

/// The configured processor, or the sandbox's ledger.
enum PaymentSource<'a> {
    Processor(&'a dyn ProcessorConfig),
    Sandbox(Arc<dyn Ledger>),
}

/// Opens the store that the settings select, and the sandbox's ledger if no processor is
/// configured.
async fn stores(config: &Config) -> Result<(Arc<dyn Store>, PaymentSource<'_>), OpenError> {
    let processor = config.payments.configured().map(PaymentSource::Processor);
    if let Some(uri) = &config.mongodb_uri {
        let connected = MongoStore::connect(uri.expose()).await;
        let store = connected.map_err(|error| OpenError {
            reason: error.to_string(),
            is_permanent: error.is_permanent(),
        })?;
        // All replicas use one ledger, as they would all use one account of a processor.
        let sandbox = || PaymentSource::Sandbox(Arc::new(MongoLedger::new(store.database())));
        let source = processor.unwrap_or_else(sandbox);
        return Ok((store, source));
    }
    let failed = |error: &dyn Display| OpenError::permanent(format!("GITTIX_DATA_DIR: {error}"));
    let store = EmbeddedStore::open(&config.data_dir).map_err(|error| failed(&error))?;
    let source = match processor {
        Some(source) => source,
        None => {
            let ledger = FileLedger::open(&config.data_dir).map_err(|error| failed(&error))?;
            PaymentSource::Sandbox(Arc::new(ledger))
        }
    };
    Ok((store, source))
}

/// Waits until all tickets are in the catalog. Fails if no ticket was added for `STALLED_AFTER`,
/// but not before `GITTIX_STORE_WAIT` is over.
pub(super) async fn load(
    config: &Config,
    catalog: &Catalog,
    startup: &Startup,
) -> Result<(), StartError> {
    let started_at = Instant::now();
    let deadline = started_at + config.store_wait.to_duration();
    let (mut tickets, mut progressed_at, mut logged_at) = (0, started_at, started_at);
    loop {
        startup.set_reason(format!("loading tickets, {} so far", grouped(tickets)));
        if timeout(CHECK_EVERY, catalog.loaded()).await.is_ok() {
            tracing::info!(
                tickets = catalog.len(),
                took_ms = started_at.elapsed().as_millis(),
                "tickets loaded"
            );
            return Ok(());
        }
        let now = Instant::now();
        if catalog.len() > tickets {
            (tickets, progressed_at) = (catalog.len(), now);
        } else if now >= deadline && now - progressed_at >= STALLED_AFTER {
            return Err(StartError(format!(
                "{}: the tickets could not be loaded within GITTIX_STORE_WAIT",
                setting(config)
            )));
        }
        if now - logged_at >= LOG_EVERY {
            logged_at = now;
            tracing::info!(tickets, "loading tickets");
        }
    }
}
