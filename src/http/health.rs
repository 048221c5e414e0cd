//! Probes and metrics: `/healthz`, `/readyz`, `/metrics`.

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

/// Maximum time for the response of the store in one check. With [`Health::other_member_answers`],
/// a check takes less than three seconds, which is how long `gittix health` waits.
const STORE_TIME_MAX: Duration = Duration::from_millis(1500);

/// State of the services that readiness depends on.
#[async_trait]
pub trait Health: fmt::Debug + Send + Sync + 'static {
    /// Returns whether the store responds.
    async fn store_answers(&self) -> bool;
    /// Returns whether a member of the store's cluster other than the primary responds. Takes at
    /// most one second.
    async fn other_member_answers(&self) -> bool;
    /// Returns whether the feed is live.
    fn feed_is_live(&self) -> bool;
}

/// Result of one check: the uncertainty of the clock, or the checks that failed.
type Checked = Result<Millis, String>;

/// Readiness of this replica, computed at most once in [`Readiness::FRESH_FOR`], by one check at a
/// time.
///
/// An election of MongoDB is an outage for all replicas. A replica stays ready during it for
/// [`Readiness::OUTAGE_MAX`]. If all replicas left their Service together, clients would get no
/// response at all, instead of lists from the catalog and 503 for other requests. A replica that
/// reaches neither the primary nor another member of MongoDB is cut off, and becomes unready at
/// once.
#[derive(Debug)]
pub struct Readiness {
    health: Arc<dyn Health>,
    clock: Clock,
    last: Mutex<LastCheck>,
}

#[derive(Debug, Default)]
struct LastCheck {
    checked: Option<(Instant, Checked)>,
    failing_since: Option<Instant>,
}

impl LastCheck {
    /// Returns the last result, if it is still fresh.
    fn fresh(&self) -> Option<Checked> {
        let (at, checked) = self.checked.as_ref()?;
        (at.elapsed() < Readiness::FRESH_FOR).then(|| checked.clone())
    }
}

impl Readiness {
    /// Maximum age of a result that is used again.
    pub const FRESH_FOR: Duration = Duration::from_millis(500);
    /// Longest outage of the primary or of the feed during which this replica stays ready. An
    /// election takes up to 12 s after the loss of the primary (MongoDB's `electionTimeoutMillis`
    /// is 10 s). The feed needs a few more seconds to be live again.
    pub const OUTAGE_MAX: Duration = Duration::from_secs(20);

    pub fn new(health: Arc<dyn Health>, clock: Clock) -> Arc<Self> {
        Arc::new(Self { health, clock, last: Mutex::default() })
    }

    /// Returns the present readiness. The check runs in a separate task, so that a disconnected
    /// client does not cancel it and cause another check.
    async fn current(self: &Arc<Self>) -> Checked {
        if let Some(fresh) = self.last.try_lock().ok().and_then(|last| last.fresh()) {
            return fresh;
        }
        let this = Arc::clone(self);
        actix_web::rt::spawn(async move { this.check_unless_fresh().await })
            .await
            .unwrap_or_else(|_| Err("the check failed".into()))
    }

    async fn check_unless_fresh(&self) -> Checked {
        let mut last = self.last.lock().await;
        if let Some(fresh) = last.fresh() {
            return fresh;
        }
        let checked = self.check(&mut last.failing_since).await;
        let was_ready = last.checked.as_ref().is_none_or(|(_, checked)| checked.is_ok());
        match &checked {
            Err(reason) if was_ready => {
                tracing::warn!(
                    reason,
                    "this replica is not ready: /readyz responds with 503 until the reason is gone"
                )
            }
            Ok(_) if !was_ready => tracing::info!("this replica is ready again"),
            _ => {}
        }
        last.checked = Some((Instant::now(), checked.clone()));
        checked
    }

    async fn check(&self, failing_since: &mut Option<Instant>) -> Checked {
        let began = Instant::now();
        let store = tokio::time::timeout(STORE_TIME_MAX, self.health.store_answers())
            .await
            .unwrap_or(false);
        let feed = self.health.feed_is_live();
        let is_tolerated = if store && feed {
            *failing_since = None;
            true
        } else {
            let is_short = began < *failing_since.get_or_insert(began) + Self::OUTAGE_MAX;
            is_short && (store || self.health.other_member_answers().await)
        };
        verdict(store || is_tolerated, feed || is_tolerated, self.clock.is_sound())
            .map(|()| self.clock.uncertainty())
    }
}

/// Response of `/healthz`.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Alive {
    #[schema(value_type = String, pattern = "^ok$")]
    status: &'static str,
}

/// Response of `/readyz`.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Ready {
    #[schema(value_type = String, pattern = "^ready$")]
    status: &'static str,
    /// Maximum error of this replica's estimate of the store's time, in milliseconds.
    #[schema(value_type = u64)]
    clock_uncertainty_ms: i64,
}

/// Reports that the process is alive.
#[utoipa::path(get, path = "/healthz", tag = "operation", operation_id = "alive", responses((status = 200, description = "Alive.", body = Alive)))]
pub async fn alive() -> HttpResponse {
    json(StatusCode::OK, &Alive { status: "ok" })
}

/// Reports whether the store is reachable, the feed is live and the clock is sound. While MongoDB
/// elects another primary, this replica stays ready for up to 20 s if it reaches another member.
#[utoipa::path(get, path = "/readyz", tag = "operation", operation_id = "ready", responses(
    (status = 200, description = "Ready for requests.", body = Ready),
    (status = 503, description = "`unavailable`: the message names the checks that failed."),
))]
pub async fn ready(call: Call) -> HandlerResult {
    let uncertainty = call
        .state
        .readiness
        .current()
        .await
        .map_err(|reason| ApiError::unavailable(format!("Not ready: {reason}.")))?;
    Ok(json(StatusCode::OK, &Ready { status: "ready", clock_uncertainty_ms: uncertainty.0 }))
}

fn verdict(store: bool, feed: bool, clock: bool) -> Result<(), String> {
    let failing = [
        (store, "the store does not answer"),
        (feed, "the feed is not live"),
        (clock, "the clock is not sound"),
    ];
    let failing: Vec<&str> =
        failing.iter().filter(|(passed, _)| !passed).map(|(_, message)| *message).collect();
    if failing.is_empty() { Ok(()) } else { Err(failing.join(", ")) }
}

/// Returns all metrics, for Prometheus.
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
