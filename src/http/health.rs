//! What machines ask: is it alive, is it ready, what has it counted.

use std::{fmt, sync::Arc, time::Duration};

use actix_web::{
    HttpResponse,
    http::{StatusCode, header},
};
use async_trait::async_trait;
use serde::Serialize;
use tokio::{sync::Mutex, time::Instant};

use super::{
    answer::{HandlerResult, json},
    call::Call,
    error::ApiError,
};
use crate::{clock::Clock, domain::Millis, metrics::METRICS};

/// Bound on the store's answer in one check. Together with [`Health::other_member_answers`] a check takes less than three
/// seconds, which is what `gittix health` waits.
const STORE_TIME_MAX: Duration = Duration::from_millis(1500);

/// What readiness is judged by.
#[async_trait]
pub trait Health: fmt::Debug + Send + Sync + 'static {
    /// Whether the store answers right now.
    async fn store_answers(&self) -> bool;
    /// Whether a member of the store's cluster other than the primary answers. Bounded to one second.
    async fn other_member_answers(&self) -> bool;
    /// Whether the feed is live.
    fn feed_is_live(&self) -> bool;
}

/// The answer of one check: the clock's uncertainty, or what is not so.
type Checked = Result<Millis, String>;

/// Readiness of this replica, computed at most once in [`Readiness::FRESH_FOR`], by one check at a time.
///
/// An outage that all replicas share, an election of MongoDB's, keeps it ready for [`Readiness::OUTAGE_MAX`]: were all
/// replicas to leave their Service together, clients would get no answer at all, instead of lists from the catalog and 503
/// for the rest. A replica that reaches no member of MongoDB is cut off, and turns unready at once.
#[derive(Debug)]
pub struct Readiness {
    health: Arc<dyn Health>,
    clock: Clock,
    last: Mutex<Last>,
}

#[derive(Debug, Default)]
struct Last {
    checked: Option<(Instant, Checked)>,
    failing_since: Option<Instant>,
}

impl Last {
    /// The last answer, if it may be given again.
    fn fresh(&self) -> Option<Checked> {
        let (at, checked) = self.checked.as_ref()?;
        (at.elapsed() < Readiness::FRESH_FOR).then(|| checked.clone())
    }
}

impl Readiness {
    /// Age up to which an answer is given again.
    pub const FRESH_FOR: Duration = Duration::from_millis(500);
    /// Longest outage of the primary or of the feed that leaves this replica ready. An election takes up to 12 s after the
    /// primary has gone (MongoDB's `electionTimeoutMillis` is 10 s), and the feed a few more to be live again.
    pub const OUTAGE_MAX: Duration = Duration::from_secs(20);

    pub fn new(health: Arc<dyn Health>, clock: Clock) -> Arc<Self> {
        Arc::new(Self { health, clock, last: Mutex::default() })
    }

    /// The present readiness. The check runs on a task of its own: a client that hangs up must not make room for another.
    async fn get(self: &Arc<Self>) -> Checked {
        if let Some(fresh) = self.last.try_lock().ok().and_then(|last| last.fresh()) {
            return fresh;
        }
        let this = Arc::clone(self);
        actix_web::rt::spawn(async move { this.check_unless_fresh().await }).await.unwrap_or_else(|_| Err("the check failed".into()))
    }

    async fn check_unless_fresh(&self) -> Checked {
        let mut last = self.last.lock().await;
        if let Some(fresh) = last.fresh() {
            return fresh;
        }
        let checked = self.check(&mut last.failing_since).await;
        let was_ready = last.checked.as_ref().is_none_or(|(_, checked)| checked.is_ok());
        match &checked {
            Err(reason) if was_ready => tracing::warn!(reason, "this replica is not ready"),
            Ok(_) if !was_ready => tracing::info!("this replica is ready again"),
            _ => {}
        }
        last.checked = Some((Instant::now(), checked.clone()));
        checked
    }

    async fn check(&self, failing_since: &mut Option<Instant>) -> Checked {
        let began = Instant::now();
        let store = tokio::time::timeout(STORE_TIME_MAX, self.health.store_answers()).await.unwrap_or(false);
        let feed = self.health.feed_is_live();
        let is_tolerated = if store && feed {
            *failing_since = None;
            true
        } else {
            let is_short = began < *failing_since.get_or_insert(began) + Self::OUTAGE_MAX;
            is_short && (store || self.health.other_member_answers().await)
        };
        verdict(store || is_tolerated, feed || is_tolerated, self.clock.is_sound()).map(|()| self.clock.uncertainty())
    }
}

/// Alive: `/healthz`.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Alive {
    #[schema(value_type = String, pattern = "^ok$")]
    status: &'static str,
}

/// Ready: `/readyz`.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Ready {
    #[schema(value_type = String, pattern = "^ready$")]
    status: &'static str,
    /// How far this replica's idea of the store's time may be off, in milliseconds.
    #[schema(value_type = u64)]
    clock_uncertainty_ms: i64,
}

/// The process is alive.
#[utoipa::path(get, path = "/healthz", tag = "operation", operation_id = "alive", responses((status = 200, description = "Alive.", body = Alive)))]
pub async fn alive() -> HttpResponse {
    json(StatusCode::OK, &Alive { status: "ok" })
}

/// The store is reachable, the feed runs, the clock is sound. While the store elects another primary, this replica stays
/// ready for 20 s.
#[utoipa::path(get, path = "/readyz", tag = "operation", operation_id = "ready", responses(
    (status = 200, description = "Ready for requests.", body = Ready),
    (status = 503, description = "`unavailable`: which of these is not so."),
))]
pub async fn ready(call: Call) -> HandlerResult {
    let uncertainty = call.state.readiness.get().await.map_err(|reason| ApiError::unavailable(format!("Not ready: {reason}.")))?;
    Ok(json(StatusCode::OK, &Ready { status: "ready", clock_uncertainty_ms: uncertainty.0 }))
}

fn verdict(store: bool, feed: bool, clock: bool) -> Result<(), String> {
    let failing = [(store, "the store does not answer"), (feed, "the feed is not live"), (clock, "the clock is not sound")];
    let failing: Vec<&str> = failing.iter().filter(|(fine, _)| !fine).map(|(_, what)| *what).collect();
    if failing.is_empty() { Ok(()) } else { Err(failing.join(", ")) }
}

/// Everything that is counted, for Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "operation", operation_id = "metrics", responses(
    (status = 200, description = "Prometheus text exposition format 0.0.4.", body = String, content_type = "text/plain"),
))]
pub async fn metrics() -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8"))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .body(METRICS.render())
}

#[cfg(test)]
#[path = "health_tests.rs"]
mod tests;
