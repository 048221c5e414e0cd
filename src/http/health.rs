//! What machines ask: is it alive, is it ready, what has it counted.

use std::{fmt, time::Duration};

use actix_web::{
    HttpResponse,
    http::{StatusCode, header},
};
use async_trait::async_trait;
use serde::Serialize;

use super::{
    answer::{Answer, json},
    call::Call,
    error::ApiError,
};
use crate::{clock::Clock, domain::Millis, metrics::METRICS};

/// A store that does not say its time within this is not reachable.
const STORE_TIME_MAX: Duration = Duration::from_secs(2);

/// What readiness is judged by.
#[async_trait]
pub trait Health: fmt::Debug + Send + Sync + 'static {
    /// Whether the store answers right now. Waited for two seconds at most.
    async fn store_answers(&self) -> bool;
    /// Whether the feed is live.
    fn feed_is_live(&self) -> bool;
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

/// The store is reachable, the feed runs, the clock is sound.
#[utoipa::path(get, path = "/readyz", tag = "operation", operation_id = "ready", responses(
    (status = 200, description = "Ready for requests.", body = Ready),
    (status = 503, description = "`unavailable`: which of these is not so."),
))]
pub async fn ready(call: Call) -> Answer {
    let health = &call.state.health;
    let store = tokio::time::timeout(STORE_TIME_MAX, health.store_answers()).await.unwrap_or(false);
    let uncertainty = call.state.clock.uncertainty();
    verdict(store, health.feed_is_live(), uncertainty)?;
    Ok(json(StatusCode::OK, &Ready { status: "ready", clock_uncertainty_ms: uncertainty.0 }))
}

fn verdict(store: bool, feed: bool, uncertainty: Millis) -> Result<(), ApiError> {
    let clock = uncertainty <= Clock::UNCERTAINTY_MAX;
    let failing = [(store, "the store does not answer"), (feed, "the feed is not live"), (clock, "the clock is not sound")];
    let failing: Vec<&str> = failing.iter().filter(|(fine, _)| !fine).map(|(_, what)| *what).collect();
    if failing.is_empty() { Ok(()) } else { Err(ApiError::unavailable(format!("Not ready: {}.", failing.join(", ")))) }
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
mod tests {
    use actix_web::ResponseError;

    use super::*;

    #[test]
    fn not_ready_names_every_check_that_failed() {
        assert!(matches!(verdict(true, true, Clock::UNCERTAINTY_MAX), Ok(())));
        let cases = [
            (verdict(false, true, Millis(0)), "the store does not answer"),
            (verdict(true, false, Millis(0)), "the feed is not live"),
            (verdict(true, true, Millis(251)), "the clock is not sound"),
        ];
        for (verdict, what) in cases {
            let answer = verdict.expect_err("not ready").error_response();
            assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert!(answer.headers().contains_key(header::RETRY_AFTER));
            let body = actix_web::body::MessageBody::try_into_bytes(answer.into_body()).expect("a body in memory");
            assert!(String::from_utf8_lossy(&body).contains(what), "{what}");
        }
    }
}
