//! The background tasks of a replica: updating caches from the feed, the sweep for overdue locks,
//! arming timers after a start, the rounds of reconciliation, counting open charges, measuring the
//! store's time (in the same task: the gauges, and the removal of ended locks from the counts per
//! network), and purging old records.

use std::{sync::Arc, time::Duration};

use futures_util::future::join;
use rand::RngExt;
use tokio::time::Instant;

use super::{Actors, Orders, context::ActorContext, open_charges::count_open_charges};
use crate::{
    domain::{DomainEvent, Millis, Sale, TicketId},
    metrics::METRICS,
    store::{FeedStep, Unavailable},
    tasks::{keep_running, supervise},
};

/// A lock that is overdue by more than this is released by any replica that finds it. Its own
/// replica may have ended, may be slow, or could not write the release.
const SWEEP_AFTER: Millis = Millis::from_secs(1);
const SWEEP_EVERY: Duration = Duration::from_millis(1_500);
/// Maximum number of overdue locks that one sweep reads.
const SWEEP_PAGE: usize = 2_000;
/// Interval at which the store's time is measured. After a step of the store's time, overdue locks
/// have to end within 5 s.
const MEASURE_EVERY: Duration = Duration::from_secs(1);
/// While the store's time cannot be read, one failure in this many is logged.
const LOGGED_FAILURE: u32 = 10;
const RECONCILE_EVERY: Duration = Duration::from_secs(2);
const COUNT_CHARGES_EVERY: Duration = Duration::from_secs(5);
const PURGE_EVERY: Duration = Duration::from_secs(600);
/// Number of own locks that are read at once after a start, so that very many of them do not fill
/// the queues.
const REARM_PAGE: usize = 1_000;

/// Starts all background tasks on the current arbiter. They end with the arbiter.
pub(super) fn start(context: &Arc<ActorContext>, actors: &Actors) {
    let both = || (Arc::clone(context), actors.clone());
    let (cache_context, cache_actors) = both();
    keep_running("cache_updates", move || {
        update_caches(Arc::clone(&cache_context), cache_actors.clone())
    });
    let (sweep_context, sweep_actors) = both();
    keep_running("sweep", move || sweep(Arc::clone(&sweep_context), sweep_actors.clone()));
    let orders = actors.orders.clone();
    keep_running("reconcile", move || reconcile(orders.clone()));
    let counts_context = Arc::clone(context);
    keep_running("charge_counts", move || count_charges(Arc::clone(&counts_context)));
    let (clock_context, purge_context) = (Arc::clone(context), Arc::clone(context));
    keep_running("clock_sync", move || sync_clock(Arc::clone(&clock_context)));
    keep_running("purge", move || purge(Arc::clone(&purge_context)));
    // This task runs once. The sweep finds the locks that it misses.
    let (recovery_context, recovery_actors) = both();
    actix::spawn(supervise("timer_recovery", move || {
        recover_timers(Arc::clone(&recovery_context), recovery_actors.clone())
    }));
}

/// Updates ticket actors, sessions and the locks per network from the feed, which has the commits
/// of all replicas.
async fn update_caches(context: Arc<ActorContext>, actors: Actors) {
    let mut feed = context.store.feed().subscribe();
    // If this task was started again after a panic, it may have missed events.
    actors.users.sessions().clear();
    loop {
        match feed.next().await {
            FeedStep::Events(events) => {
                for recorded in events {
                    match &recorded.event {
                        DomainEvent::TicketUpdated { ticket } => {
                            context.update_network_locks(ticket);
                            actors.tickets.on_newer_version(ticket.id, ticket.version);
                        }
                        DomainEvent::TicketDeleted { ticket, version, .. } => {
                            actors.tickets.on_newer_version(*ticket, *version)
                        }
                        event => actors.users.sessions().on_event(event),
                    }
                }
            }
            // Ticket actors need no reset: their commits are conditional, and the sweep finds
            // overdue locks.
            FeedStep::Reset => actors.users.sessions().clear(),
        }
    }
}

/// Makes the ticket actors release overdue locks, also of other replicas. The interval has jitter,
/// so that replicas rarely sweep at the same time. If two do, one commit succeeds and the other is
/// stale.
async fn sweep(context: Arc<ActorContext>, actors: Actors) {
    loop {
        let jitter = rand::rng().random_range(0.5..1.5);
        tokio::time::sleep(SWEEP_EVERY.mul_f64(jitter)).await;
        let cutoff = context.now() - SWEEP_AFTER - context.clock.uncertainty();
        match context.store.tickets_overdue(cutoff, SWEEP_PAGE).await {
            Ok(ids) => {
                METRICS.overdue_locks_found.inc_by(ids.len() as u64);
                actors.tickets.reload(ids);
            }
            Err(error) => {
                tracing::warn!(%error, "the sweep could not read overdue locks from the store; the next sweep tries again")
            }
        }
    }
}

/// Runs the rounds of reconciliation: at once, then at an interval. The interval has jitter, so
/// that replicas do not read the same charges at the same time.
async fn reconcile(orders: Orders) {
    loop {
        let outcome = match orders.reconcile().await {
            Ok(()) => "done",
            Err(error) => {
                tracing::warn!(%error, "a round of reconciliation failed; the next round tries again");
                "store_unavailable"
            }
        };
        METRICS.reconciliation_rounds.with_label_values(&[outcome]).inc();
        let jitter = rand::rng().random_range(0.75..1.25);
        tokio::time::sleep(RECONCILE_EVERY.mul_f64(jitter)).await;
    }
}

/// Counts the open charges at an interval.
async fn count_charges(context: Arc<ActorContext>) {
    loop {
        if let Err(error) = count_open_charges(&context).await {
            tracing::warn!(%error, "open charges could not be counted; their metrics are not up to date");
        }
        tokio::time::sleep(COUNT_CHARGES_EVERY).await;
    }
}

/// After a start of the process: starts the actors of the locks that this replica granted, so that
/// each arms its timer.
async fn recover_timers(context: Arc<ActorContext>, actors: Actors) {
    let mut armed = 0;
    context.catalog.loaded().await;
    let own = context.catalog.locked_by(&context.replica);
    let mut pages = own.chunks(REARM_PAGE);
    let mut page = own_locks(&context, pages.next()).await;
    while let Some(sales) = page {
        armed += sales.len();
        // The store reads the next page while these actors start.
        (page, ()) =
            join(own_locks(&context, pages.next()), actors.tickets.arm_timers(sales)).await;
    }
    if armed > 0 {
        tracing::info!(locks = armed, "armed the timers of the locks that this replica granted");
    }
}

/// Returns the state of those of `tickets` that are still locked by this replica.
async fn own_locks(context: &ActorContext, tickets: Option<&[TicketId]>) -> Option<Vec<Sale>> {
    let tickets = tickets?;
    let mut sales = loop {
        match context.store.sales(tickets).await {
            Ok(sales) => break sales,
            Err(error) => {
                tracing::warn!(%error, "the locks of this replica could not be read from the store; it is tried again in 1 s");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    };
    // Leaves out tickets that were released, or locked by another replica, since the catalog was
    // read.
    sales.retain(|sale| sale.ticket.lock().is_some_and(|lock| lock.replica == context.replica));
    Some(sales)
}

/// Measures the store's time at an interval, and updates the gauges.
async fn sync_clock(context: Arc<ActorContext>) {
    let mut failures: u32 = 0;
    loop {
        tokio::time::sleep(MEASURE_EVERY).await;
        match measure_once(&context).await {
            Ok(()) => failures = 0,
            Err(error) => {
                if failures.is_multiple_of(LOGGED_FAILURE) {
                    tracing::warn!(%error, "the store's time could not be read; it is tried again every second");
                }
                failures = failures.wrapping_add(1);
            }
        }
        if let Some(network_locks) = &context.network_locks {
            network_locks.purge(context.now());
        }
        METRICS.catalog_tickets.set(i64::try_from(context.catalog.len()).unwrap_or(i64::MAX));
        METRICS.clock_uncertainty_ms.set(context.clock.uncertainty().0);
        METRICS.feed_live.set(i64::from(context.store.feed().is_live()));
    }
}

/// Measures the store's time once.
async fn measure_once(context: &ActorContext) -> Result<(), Unavailable> {
    let asked = Instant::now();
    let time = context.store.time().await?;
    if let Some(step) = context.clock.measured(time, asked) {
        METRICS.clock_steps.inc();
        tracing::warn!(
            by_ms = step.0,
            "the store's time stepped; this replica is not ready for 5 s. After a step forward, locks end at the new time; after a step back, a lock lasts no longer than its duration"
        );
    }
    Ok(())
}

async fn purge(context: Arc<ActorContext>) {
    loop {
        tokio::time::sleep(PURGE_EVERY).await;
        if let Err(error) = context.store.purge(context.now()).await {
            tracing::warn!(%error, "old records could not be purged; it is tried again in 10 min");
        }
    }
}
