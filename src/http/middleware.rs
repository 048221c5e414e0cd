//! Processing of requests before and after their routes: origin, rate of the client, panics,
//! headers, metrics, access log.
//!
//! Requests that the parser or the quota of connections refuses do not reach this middleware
//! (`server/`). The webhook is exempt from the origin check and the rate, probes from the rate.

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

/// Paths of probes and metrics, which are never rate limited.
pub(super) const PROBES: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

/// Delay before a request beyond the rate of its client is refused. Each connection then has at
/// most ten refusals a second; without the delay, a client that does not wait would get refusals as
/// fast as a core can produce them.
const REFUSAL_AFTER: Duration = Duration::from_millis(100);

/// Maximum number of delayed refusals. Further ones are sent at once, because behind a proxy each
/// delayed refusal occupies a connection of the proxy.
static REFUSALS_WAITING: Semaphore = Semaphore::const_new(512);

/// Runs the checks, the handler and the logging of one request. This is the outermost middleware.
pub async fn middleware(
    req: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let began = Instant::now();
    let method = req.method().clone();
    let is_https = req.app_data::<Data<HttpContext>>().is_some_and(|context| context.is_https);
    let response = match admit(&req) {
        Ok(()) => AssertUnwindSafe(next.call(req)).catch_unwind().await,
        Err(refusal) => {
            if refusal.code() == Code::TooManyRequests {
                // The box keeps the future of every request small: it is as large as its largest
                // branch, and it is copied.
                Box::pin(delay_refusal()).await;
            }
            Ok(Ok(req.error_response(refusal)))
        }
    };
    let response = match response {
        Ok(response) => response.map(|mut response| {
            harden(response.response_mut().headers_mut(), is_https);
            response
        }),
        // The panic hook has logged the panic with its location.
        Err(_) => Err(Panicked { is_https }.into()),
    };
    let elapsed = began.elapsed();
    let status =
        response.as_ref().map_or(StatusCode::INTERNAL_SERVER_ERROR, ServiceResponse::status);
    SERIES.count(&method, status, elapsed.as_secs_f64());
    if let Ok(response) = &response {
        if status == StatusCode::FORBIDDEN {
            Box::pin(log_refused_access(response)).await;
        }
        tracing::debug!(%method, path = response.request().path(), status = status.as_u16(), us = elapsed.as_micros(), "request finished");
    }
    response
}

async fn delay_refusal() {
    if let Ok(_permit) = REFUSALS_WAITING.try_acquire() {
        tokio::time::sleep(REFUSAL_AFTER).await;
    }
}

/// Checks the origin and the rate of a request before its route is known. A request from a page of
/// another site must not change state. The webhook is exempt: it uses no cookie that such a page
/// could misuse, and its deliveries come from few addresses.
fn admit(req: &ServiceRequest) -> Result<(), ApiError> {
    let context: &Data<HttpContext> =
        req.app_data().ok_or_else(|| ApiError::new(Code::Internal))?;
    if webhook::processor_of(req.path()).is_some() {
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

/// Logs an attempt to access a resource of another user.
async fn log_refused_access(response: &ServiceResponse<BoxBody>) {
    let error = response.response().error().and_then(|error| error.as_error::<ApiError>());
    let (Some(error), Some(state)) = (error, response.request().app_data::<Data<AppState>>())
    else {
        return;
    };
    if error.code() != Code::NotOwner {
        return;
    }
    let req = response.request();
    // The session is usually in the cache, because the handler has looked it up.
    let session = call::session(state, req.headers()).await.ok().flatten();
    let client = ClientAddress::of(req.peer_addr(), req.headers(), &state.context.proxies);
    security::access_refused(session.map(|session| session.user), client.network(), req.path());
}

/// Adds the security headers of every response. Pages have a separate policy.
pub(super) fn harden(headers: &mut HeaderMap, is_https: bool) {
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // Pages with a secret in their address have a stricter policy.
    if !headers.contains_key(header::REFERRER_POLICY) {
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    }
    // If a browser shows JSON as a page, the page must not load anything.
    const CSP: HeaderName = header::CONTENT_SECURITY_POLICY;
    if !headers.contains_key(CSP) {
        headers.insert(CSP, HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
    }
    if is_https {
        // The time is one year. Subdomains are not included, because they may not support https.
        headers.insert(
            header::STRICT_TRANSPORT_SECURITY,
            HeaderValue::from_static("max-age=31536000"),
        );
    }
}

/// Error of a panicked handler. actix asks it for the response, because the request no longer
/// exists.
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
        let mut response = ApiError::new(Code::Internal).error_response();
        harden(response.headers_mut(), self.is_https);
        response
    }
}

/// Metric series of requests, looked up once.
struct Series {
    statuses: [IntCounter; 5],
    methods: [(Method, Histogram); 4],
    other: Histogram,
}

static SERIES: LazyLock<Series> = LazyLock::new(|| Series {
    statuses: ["1xx", "2xx", "3xx", "4xx", "5xx"]
        .map(|class| METRICS.http_requests.with_label_values(&[class])),
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
