//! What happens to every request, whatever its route: origin, client's rate, panics, headers, metrics, access log.

use std::{panic::AssertUnwindSafe, sync::LazyLock, time::Duration};

use actix_web::{
    Error, HttpResponse, ResponseError,
    body::BoxBody,
    dev::{ServiceRequest, ServiceResponse},
    http::{
        Method, StatusCode,
        header::{self, HeaderMap, HeaderName, HeaderValue},
    },
    middleware::Next,
    web::Data,
};
use futures_util::FutureExt;
use prometheus::{Histogram, IntCounter};
use tokio::{sync::Semaphore, time::Instant};

use super::{
    AppState, HttpContext, call,
    client::ClientAddress,
    error::{ApiError, Code},
    origin, webhook,
};
use crate::{actors::security, metrics::METRICS};

/// Watched by machines that must not be turned away.
pub(super) const PROBES: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

/// Pause before a request beyond its client's rate is refused. Each connection then has ten refusals a second at most: a
/// client that does not wait by itself would otherwise be refused as fast as a core can do it.
const REFUSAL_AFTER: Duration = Duration::from_millis(100);

/// Refusals that may wait at one time. More are sent at once: behind a proxy each of them holds a connection of the proxy's.
static REFUSALS_WAITING: Semaphore = Semaphore::const_new(512);

/// The outermost middleware.
pub async fn middleware(req: ServiceRequest, next: Next<BoxBody>) -> Result<ServiceResponse<BoxBody>, Error> {
    let began = Instant::now();
    let method = req.method().clone();
    let is_https = req.app_data::<Data<HttpContext>>().is_some_and(|context| context.is_https);
    let answer = match admit(&req) {
        Ok(()) => AssertUnwindSafe(next.call(req)).catch_unwind().await,
        Err(refusal) => {
            if refusal.code() == Code::TooManyRequests {
                // In a box, since every request is as large as its largest branch, and is copied.
                Box::pin(delay_refusal()).await;
            }
            Ok(Ok(req.error_response(refusal)))
        }
    };
    let answer = match answer {
        Ok(answer) => answer.map(|mut answer| {
            harden(answer.response_mut().headers_mut(), is_https);
            answer
        }),
        // The panic itself was reported, with its place, by the panic hook.
        Err(_) => Err(Panicked { is_https }.into()),
    };
    let elapsed = began.elapsed();
    let status = answer.as_ref().map_or(StatusCode::INTERNAL_SERVER_ERROR, ServiceResponse::status);
    SERIES.count(&method, status, elapsed.as_secs_f64());
    if let Ok(answer) = &answer {
        if status == StatusCode::FORBIDDEN {
            Box::pin(log_refused_access(answer)).await;
        }
        tracing::debug!(%method, path = answer.request().path(), status = status.as_u16(), us = elapsed.as_micros(), "request answered");
    }
    answer
}

async fn delay_refusal() {
    if let Ok(_waiting) = REFUSALS_WAITING.try_acquire() {
        tokio::time::sleep(REFUSAL_AFTER).await;
    }
}

/// Before the route is known: nothing that a page of another site sent may change anything. The webhook has no cookie that
/// a page could ride on, and all of its callers come from few addresses.
fn admit(req: &ServiceRequest) -> Result<(), ApiError> {
    let context: &Data<HttpContext> = req.app_data().ok_or_else(|| ApiError::new(Code::Internal))?;
    if req.path() == webhook::PATH {
        return Ok(());
    }
    if !origin::is_safe(req.method()) && origin::is_foreign(req.headers(), &context.origins) {
        return Err(ApiError::new(Code::CrossOrigin));
    }
    if PROBES.contains(&req.path()) {
        return Ok(());
    }
    context.limits.admit(ClientAddress::of(req.peer_addr(), req.headers(), &context.proxies))
}

/// Logs that something of another user was asked for.
async fn log_refused_access(answer: &ServiceResponse<BoxBody>) {
    let error = answer.response().error().and_then(|error| error.as_error::<ApiError>());
    let (Some(error), Some(state)) = (error, answer.request().app_data::<Data<AppState>>()) else { return };
    if error.code() != Code::NotOwner {
        return;
    }
    let req = answer.request();
    // From the cache: the handler has just looked the session up.
    let session = call::session(state, req.headers()).await.ok().flatten();
    let client = ClientAddress::of(req.peer_addr(), req.headers(), &state.context.proxies);
    security::access_refused(session.map(|who| who.user), client.network(), req.path());
}

/// On every answer. Pages have a policy of their own besides.
pub(super) fn harden(headers: &mut HeaderMap, is_https: bool) {
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    // Should a browser ever show JSON as a page, it may load nothing.
    const CSP: HeaderName = header::CONTENT_SECURITY_POLICY;
    if !headers.contains_key(CSP) {
        headers.insert(CSP, HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
    }
    if is_https {
        // For a year. Not for subdomains: which of them speak https is for who owns the domain to say.
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
    }
}

/// A handler panicked. Its request is gone, so the answer is made where actix needs it.
#[derive(Debug)]
struct Panicked {
    is_https: bool,
}

impl std::fmt::Display for Panicked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a handler panicked")
    }
}

impl ResponseError for Panicked {
    fn status_code(&self) -> StatusCode {
        StatusCode::INTERNAL_SERVER_ERROR
    }

    fn error_response(&self) -> HttpResponse {
        let mut answer = ApiError::new(Code::Internal).error_response();
        harden(answer.headers_mut(), self.is_https);
        answer
    }
}

/// The series of every request, looked up once.
struct Series {
    statuses: [IntCounter; 5],
    methods: [(Method, Histogram); 4],
    other: Histogram,
}

static SERIES: LazyLock<Series> = LazyLock::new(|| Series {
    statuses: ["1xx", "2xx", "3xx", "4xx", "5xx"].map(|class| METRICS.http_requests.with_label_values(&[class])),
    methods: [Method::GET, Method::POST, Method::PUT, Method::DELETE].map(|method| {
        let seconds = METRICS.http_seconds.with_label_values(&[method.as_str()]);
        (method, seconds)
    }),
    other: METRICS.http_seconds.with_label_values(&["OTHER"]),
});

impl Series {
    fn count(&self, method: &Method, status: StatusCode, secs: f64) {
        let class = usize::from(status.as_u16() / 100).clamp(1, self.statuses.len());
        self.statuses[class - 1].inc();
        let named = self.methods.iter().find(|(name, _)| name == method);
        named.map_or(&self.other, |(_, seconds)| seconds).observe(secs);
    }
}
