//! One request to Stripe and its definite answer: authentication, API version, time limits and
//! repetition.
//!
//! A request is repeated with the same idempotency key if its answer was lost or asks for a
//! repetition, until the caller's deadline, and at most five times in total. This module does not
//! decide what an answer means for a payment. Logged or returned texts contain no body, key, token,
//! or address with a token.

use std::{fmt, time::Duration};

use rand::RngExt;
use reqwest::{
    Method, Response, StatusCode, Url,
    header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER},
};
use serde::{Deserialize, de::DeserializeOwned};
use tokio::time::Instant;

use super::{config::StripeConfig, objects::ErrorBody};
use crate::ProcessorError;
use gittix_domain::ChargeFailure;
use gittix_runtime::metrics::METRICS;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const STRIPE_VERSION: HeaderName = HeaderName::from_static("stripe-version");
/// Stripe's header that states whether a repetition is useful.
const STRIPE_SHOULD_RETRY: HeaderName = HeaderName::from_static("stripe-should-retry");
/// `true` if Stripe repeats an answer that it stored under the request's idempotency key.
const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");

/// Time limit for opening a connection. After it, another address or another attempt is used.
const CONNECT_MAX: Duration = Duration::from_secs(3);
/// Maximum size of an answer, in bytes. A PaymentIntent has about 4 KiB, a page of refunds about 60
/// KiB.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Maximum number of times that one request is sent.
const SENDINGS_MAX: u32 = 5;
/// Time between two sendings. It is doubled each time, with jitter.
const BACKOFF: Duration = Duration::from_millis(150);
const BACKOFF_MAX: Duration = Duration::from_secs(2);

/// The kind of a request, as a label of the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Open,
    Search,
    Fetch,
    Attach,
    Authorize,
    Capture,
    Cancel,
    Refund,
    ListRefunds,
    FindToken,
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Search => "search",
            Self::Fetch => "fetch",
            Self::Attach => "attach",
            Self::Authorize => "authorize",
            Self::Capture => "capture",
            Self::Cancel => "cancel",
            Self::Refund => "refund",
            Self::ListRefunds => "list_refunds",
            Self::FindToken => "find_token",
        }
    }
}

/// One request to Stripe.
#[derive(Clone)]
pub(super) struct Request {
    operation: Operation,
    method: Method,
    /// The path below `/v1/`.
    path: String,
    /// The query of a GET or the form of a POST.
    pairs: Vec<(&'static str, String)>,
    key: Option<String>,
}

impl Request {
    pub fn get(operation: Operation, path: String) -> Self {
        Self { operation, method: Method::GET, path, pairs: Vec::new(), key: None }
    }

    /// Returns a POST request. `key` is the idempotency key under which Stripe executes the request
    /// once; Stripe keeps it for at least 24 hours.
    pub fn post(operation: Operation, path: String, key: String) -> Self {
        Self { operation, method: Method::POST, path, pairs: Vec::new(), key: Some(key) }
    }

    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.pairs.push((name, value.into()));
        self
    }

    #[must_use]
    pub fn with_all(mut self, pairs: &[(&'static str, String)]) -> Self {
        self.pairs.extend_from_slice(pairs);
        self
    }
}

/// The reason why a request returned no object.
#[derive(Debug)]
pub(super) enum StripeError {
    /// The request may have been executed or may still be executed. It may be sent again.
    Unknown(String),
    /// Stripe answered with a server error, which it may have stored under the idempotency key and
    /// returns for the same request again. The request may have been executed nevertheless.
    ServerError {
        detail: String,
        /// Whether Stripe reports that this error was stored. Then the key can never have another
        /// result.
        is_stored: bool,
    },
    /// A definite rejection.
    Rejected(Rejection),
}

/// A definite rejection, with its reason.
#[derive(Debug)]
pub(super) struct Rejection {
    pub status: StatusCode,
    pub error: ErrorBody,
}

impl Rejection {
    /// The card was declined.
    pub fn is_decline(&self) -> bool {
        self.status == StatusCode::PAYMENT_REQUIRED
    }

    pub fn is_missing(&self) -> bool {
        self.status == StatusCode::NOT_FOUND || self.error.has_code("resource_missing")
    }

    /// Whether the payment method or token does not exist, or was used already.
    pub fn is_about_token(&self) -> bool {
        let about =
            self.error.param.as_deref().is_some_and(|param| param.starts_with("payment_method"));
        about && self.error.has_code("resource_missing")
            || self.error.has_code("token_already_used")
    }

    /// Whether another request was sent with the same key before.
    pub fn is_key_reused(&self) -> bool {
        self.error.kind.as_deref() == Some("idempotency_error")
    }

    /// Whether the request was not processed because the secret API key is wrong or lacks a
    /// permission. The operator has to correct this, not the buyer.
    pub fn is_about_access(&self) -> bool {
        [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&self.status)
    }
}

impl From<StripeError> for ProcessorError {
    fn from(error: StripeError) -> Self {
        match error {
            StripeError::Unknown(detail) | StripeError::ServerError { detail, .. } => {
                Self::Unknown(detail)
            }
            StripeError::Rejected(rejection) if rejection.is_about_access() => {
                Self::Unknown(format!(
                    "Stripe does not accept the key of STRIPE_SECRET_KEY ({})",
                    rejection.status
                ))
            }
            StripeError::Rejected(rejection) if rejection.is_decline() => {
                Self::Refused(rejection.error.decline())
            }
            StripeError::Rejected(rejection) => Self::Refused(rejection.error.refusal()),
        }
    }
}

impl From<ChargeFailure> for ProcessorError {
    fn from(failure: ChargeFailure) -> Self {
        Self::Refused(failure)
    }
}

/// The result of sending a request once.
enum Sent<T> {
    Done(T),
    /// The request has to be sent again, and not before `after` if Stripe stated a time.
    Again {
        after: Option<Duration>,
        why: String,
    },
    Over(StripeError),
}

/// A pool of connections to Stripe. Clones share it.
#[derive(Clone)]
pub(super) struct StripeClient {
    http: reqwest::Client,
    base: Url,
    timeout: Duration,
}

impl fmt::Debug for StripeClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("base", &self.base.as_str()).finish_non_exhaustive()
    }
}

impl StripeClient {
    /// # Errors
    /// A text of one line, if the settings cannot be used.
    pub fn new(config: &StripeConfig) -> Result<Self, String> {
        let key = config.secret_key.as_ref().ok_or("STRIPE_SECRET_KEY is not set")?;
        let text = |name: &str, text: &str| {
            HeaderValue::from_str(text)
                .map_err(|_| format!("{name} contains characters that are not allowed in a header"))
        };
        let mut authorization = text("STRIPE_SECRET_KEY", &format!("Bearer {}", key.expose()))?;
        authorization.set_sensitive(true);
        let headers = HeaderMap::from_iter([
            (AUTHORIZATION, authorization),
            (STRIPE_VERSION, text("STRIPE_API_VERSION", &config.api_version)?),
        ]);
        let mut builder = gittix_runtime::http_client::builder()
            .default_headers(headers)
            .user_agent(concat!("gittix/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_MAX.min(config.timeout.to_duration()));
        if config.is_loopback() {
            builder = builder.no_proxy();
        }
        let http = builder
            .build()
            .map_err(|error| format!("the HTTP client for Stripe cannot be built: {error}"))?;
        Ok(Self { http, base: config.api_base.clone(), timeout: config.timeout.to_duration() })
    }

    /// Sends `request` until a definite answer arrives or `by` is near.
    pub async fn send<T: DeserializeOwned>(
        &self,
        request: &Request,
        by: Instant,
    ) -> Result<T, StripeError> {
        let mut backoff = BACKOFF;
        let mut sendings = 0;
        loop {
            let (after, why) = match self.once(request, by).await {
                Sent::Done(object) => return Ok(object),
                Sent::Over(error) => return Err(error),
                Sent::Again { after, why } => (after, why),
            };
            sendings += 1;
            let pause =
                after.unwrap_or_default().max(backoff.mul_f64(rand::rng().random_range(0.5..1.0)));
            if sendings == SENDINGS_MAX || Instant::now() + pause >= by {
                return Err(StripeError::Unknown(why));
            }
            tracing::debug!(
                operation = request.operation.name(),
                why,
                sendings,
                "repeating a request to Stripe"
            );
            tokio::time::sleep(pause).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    async fn once<T: DeserializeOwned>(&self, request: &Request, by: Instant) -> Sent<T> {
        let began = Instant::now();
        let (outcome, sent) = match self
            .exchange(request, by.saturating_duration_since(began))
            .await
        {
            Ok((head, body)) => read(request, &head, &body),
            Err(error) => {
                let why = if error.is_timeout() { "no answer in time" } else { "no answer" };
                tracing::debug!(operation = request.operation.name(), error = %error.without_url(), "a request to Stripe failed");
                (
                    "no_answer",
                    Sent::Again {
                        after: None,
                        why: format!("Stripe gave {why} to {}", request.operation.name()),
                    },
                )
            }
        };
        METRICS.stripe_calls.with_label_values(&[request.operation.name(), outcome]).inc();
        METRICS
            .stripe_seconds
            .with_label_values(&[request.operation.name()])
            .observe(began.elapsed().as_secs_f64());
        sent
    }

    /// Reads the answer's head and body. A body that is too long is truncated and then is not valid
    /// JSON.
    async fn exchange(
        &self,
        request: &Request,
        left: Duration,
    ) -> reqwest::Result<(ResponseHead, Vec<u8>)> {
        let mut url = self.base.clone();
        url.set_path(&format!("{}v1/{}", self.base.path(), request.path));
        if request.method == Method::GET && !request.pairs.is_empty() {
            url.query_pairs_mut().extend_pairs(&request.pairs);
        }
        let mut sending =
            self.http.request(request.method.clone(), url).timeout(self.timeout.min(left));
        if request.method == Method::POST {
            sending = sending.form(&request.pairs);
        }
        if let Some(key) = &request.key {
            sending = sending.header(IDEMPOTENCY_KEY, key);
        }
        let mut answer = sending.send().await?;
        let head = ResponseHead::of(&answer);
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                break;
            }
            body.extend_from_slice(&chunk);
        }
        Ok((head, body))
    }
}

/// The relevant parts of an answer's head.
struct ResponseHead {
    status: StatusCode,
    retry_after: Option<Duration>,
    should_retry: Option<bool>,
    is_replay: bool,
    request_id: String,
}

impl ResponseHead {
    fn of(answer: &Response) -> Self {
        let text =
            |name: &HeaderName| answer.headers().get(name).and_then(|value| value.to_str().ok());
        Self {
            status: answer.status(),
            retry_after: text(&RETRY_AFTER)
                .and_then(|secs| secs.trim().parse().ok())
                .map(Duration::from_secs),
            should_retry: text(&STRIPE_SHOULD_RETRY).and_then(|should| should.parse().ok()),
            is_replay: text(&IDEMPOTENT_REPLAYED) == Some("true"),
            request_id: text(&REQUEST_ID).unwrap_or("-").to_owned(),
        }
    }
}

/// Returns the result of an answer and its label for the metrics.
fn read<T: DeserializeOwned>(
    request: &Request,
    head: &ResponseHead,
    body: &[u8],
) -> (&'static str, Sent<T>) {
    let operation = request.operation.name();
    let why = || {
        format!(
            "Stripe answered {} to {operation} (request {})",
            head.status.as_u16(),
            head.request_id
        )
    };
    if head.status.is_success() {
        return match serde_json::from_slice(body) {
            Ok(object) => ("ok", Sent::Done(object)),
            Err(error) => {
                // The parser's error contains field names and positions, but no values.
                tracing::warn!(
                    operation,
                    request = head.request_id,
                    line = error.line(),
                    column = error.column(),
                    "an answer of Stripe cannot be parsed"
                );
                ("unreadable", Sent::Over(StripeError::Unknown(why())))
            }
        };
    }
    let over = || Sent::Over(StripeError::ServerError { detail: why(), is_stored: head.is_replay });
    let again = |outcome| (outcome, Sent::Again { after: head.retry_after, why: why() });
    match (head.status, head.should_retry) {
        (StatusCode::CONFLICT | StatusCode::FAILED_DEPENDENCY, None | Some(true)) => {
            again("conflict")
        }
        (StatusCode::CONFLICT | StatusCode::FAILED_DEPENDENCY, Some(false)) => {
            ("conflict", Sent::Over(StripeError::Unknown(why())))
        }
        (StatusCode::TOO_MANY_REQUESTS, None | Some(true)) => again("rate_limited"),
        (StatusCode::TOO_MANY_REQUESTS, Some(false)) => {
            ("rate_limited", Sent::Over(StripeError::Unknown(why())))
        }
        // Stripe stores its server error under the key and would only repeat it.
        (StatusCode::INTERNAL_SERVER_ERROR, None) if request.key.is_some() => {
            ("server_error", over())
        }
        (status, Some(false)) if status.is_server_error() => ("server_error", over()),
        (status, _) if status.is_server_error() => again("server_error"),
        (_, Some(true)) => again("rejected"),
        (status, _) => rejected(operation, head, status, body),
    }
}

fn rejected<T>(
    operation: &str,
    head: &ResponseHead,
    status: StatusCode,
    body: &[u8],
) -> (&'static str, Sent<T>) {
    #[derive(Deserialize)]
    struct Enveloped {
        error: ErrorBody,
    }
    let error = serde_json::from_slice(body)
        .map_or_else(|_| ErrorBody::default(), |Enveloped { error }| error);
    let rejection = Rejection { status, error };
    if rejection.is_decline() {
        return ("declined", Sent::Over(StripeError::Rejected(rejection)));
    }
    let (request, code) = (&head.request_id, rejection.error.code.as_deref());
    if rejection.is_about_access() {
        tracing::error!(
            operation,
            request,
            status = status.as_u16(),
            code,
            "Stripe does not accept the key of STRIPE_SECRET_KEY; check the key and its permissions"
        );
    } else {
        tracing::info!(
            operation,
            request,
            status = status.as_u16(),
            code,
            "Stripe rejected a request"
        );
    }
    ("rejected", Sent::Over(StripeError::Rejected(rejection)))
}
