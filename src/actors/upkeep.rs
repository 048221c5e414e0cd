//! What goes on beside requests: following the feed, sweeping for overdue locks, measuring the store's time, purging.

use std::{sync::Arc, time::Duration};

use futures_util::future::join;
use rand::RngExt;
use tokio::time::Instant;

use super::{Actors, context::ActorContext};
use crate::{
    domain::{Event, Millis, Sale, TicketId},
    metrics::METRICS,
    store::{FeedStep, Unavailable},
    tasks::{keep_running, supervise},
};

/// A lock that is overdue by more than this has lost the replica that granted it.
const SWEEP_AFTER: Millis = Millis::from_secs(1);
const SWEEP_EVERY: Duration = Duration::from_millis(1_500);
const SWEEP_PAGE: usize = 2_000;
/// A step of the store's time is followed within this: overdue locks have to end within five seconds of it.
const MEASURE_EVERY: Duration = Duration::from_secs(1);
/// While the store's time cannot be read, one failure in this many is logged.
const LOGGED_FAILURE: u32 = 10;
const PURGE_EVERY: Duration = Duration::from_secs(600);
/// Own locks are read and armed in pages, so that a restart with very many of them does not fill every queue.
const REARM_PAGE: usize = 1_000;

/// Starts all of it on the current arbiter. Ends with it.
pub(super) fn start(context: &Arc<ActorContext>, actors: &Actors) {
    let both = || (Arc::clone(context), actors.clone());
    let (follow_shop, follow_actors) = both();
    keep_running("follow", move || follow(Arc::clone(&follow_shop), follow_actors.clone()));
    let (sweep_shop, sweep_actors) = both();
    keep_running("sweep", move || sweep(Arc::clone(&sweep_shop), sweep_actors.clone()));
    let (measure_shop, purge_shop) = (Arc::clone(context), Arc::clone(context));
    keep_running("measure", move || measure(Arc::clone(&measure_shop)));
    keep_running("purge", move || purge(Arc::clone(&purge_shop)));
    // Once; what it leaves undone, the sweep finds.
    let (rearm_shop, rearm_actors) = both();
    actix::spawn(supervise("rearm", move || rearm(Arc::clone(&rearm_shop), rearm_actors.clone())));
}

/// Tells the caches of actors and sessions what was committed, here or elsewhere.
async fn follow(context: Arc<ActorContext>, actors: Actors) {
    let mut feed = context.store.feed().subscribe();
    // What was told before this is not known, if there was a life before this one.
    actors.users.sessions().forget();
    loop {
        match feed.next().await {
            FeedStep::Events(events) => {
                for recorded in events {
                    match &recorded.event {
                        Event::TicketUpdated { ticket } => {
                            context.observe(ticket);
                            actors.tickets.seen(ticket.id, ticket.version);
                        }
                        Event::TicketDeleted { ticket, version, .. } => actors.tickets.seen(*ticket, *version),
                        event => actors.users.sessions().saw(event),
                    }
                }
            }
            // Ticket actors need nothing: their commits are conditional, and the sweep finds what is overdue.
            FeedStep::Reset => actors.users.sessions().forget(),
        }
    }
}

/// Releases what nobody released: the locks of replicas that are gone. Jittered, so that replicas do not race each time;
/// when they do, the condition on the version settles who wins.
async fn sweep(context: Arc<ActorContext>, actors: Actors) {
    loop {
        let jitter = rand::rng().random_range(0.5..1.5);
        tokio::time::sleep(SWEEP_EVERY.mul_f64(jitter)).await;
        let cutoff = context.now() - SWEEP_AFTER - context.clock.uncertainty();
        match context.store.tickets_overdue(cutoff, SWEEP_PAGE).await {
            Ok(ids) => {
                METRICS.overdue_locks_found.inc_by(ids.len() as u64);
                actors.tickets.wake(ids);
            }
            Err(error) => tracing::warn!(%error, "the sweep for overdue locks could not read the store"),
        }
    }
}

/// After a restart: starts the actors of the locks that this replica granted, so that each arms its timer.
async fn rearm(context: Arc<ActorContext>, actors: Actors) {
    let mut woken = 0;
    context.catalog.loaded().await;
    let own = context.catalog.locked_by(&context.replica);
    let mut pages = own.chunks(REARM_PAGE);
    let mut page = own_locks(&context, pages.next()).await;
    while let Some(sales) = page {
        woken += sales.len();
        // The store is at work on the next page while these actors start.
        (page, ()) = join(own_locks(&context, pages.next()), actors.tickets.adopt(sales)).await;
    }
    if woken > 0 {
        tracing::info!(locks = woken, "armed the timers of the locks that this replica holds");
    }
}

/// Those of `tickets` that this replica still holds the lock of.
async fn own_locks(context: &ActorContext, tickets: Option<&[TicketId]>) -> Option<Vec<Sale>> {
    let tickets = tickets?;
    let mut sales = loop {
        match context.store.sales(tickets).await {
            Ok(sales) => break sales,
            Err(error) => {
                tracing::warn!(%error, "the locks of this replica could not be read; trying again");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    };
    // What was released, or locked by another replica since.
    sales.retain(|sale| sale.ticket.lock().is_some_and(|lock| lock.replica == context.replica));
    Some(sales)
}

/// Keeps the clock at the store's time.
async fn measure(context: Arc<ActorContext>) {
    let mut failures: u32 = 0;
    loop {
        tokio::time::sleep(MEASURE_EVERY).await;
        match measure_once(&context).await {
            Ok(()) => failures = 0,
            Err(error) => {
                if failures.is_multiple_of(LOGGED_FAILURE) {
                    tracing::warn!(%error, "the store's time could not be read");
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

/// Asks the store for its time, once.
async fn measure_once(context: &ActorContext) -> Result<(), Unavailable> {
    let asked = Instant::now();
    let time = context.store.time().await?;
    if let Some(step) = context.clock.measured(time, asked) {
        METRICS.clock_steps.inc();
        tracing::warn!(by_ms = step.0, "the store's time stepped; it is followed, and readiness is off for five seconds");
    }
    Ok(())
}

async fn purge(context: Arc<ActorContext>) {
    loop {
        tokio::time::sleep(PURGE_EVERY).await;
        if let Err(error) = context.store.purge(context.now()).await {
            tracing::warn!(%error, "old records could not be purged");
        }
    }
}
