//! Receiver of the webhook deliveries of payment processors. It verifies the signature over the
//! received bytes; the actors process the event.
//!
//! Anyone can send to this address, without a session. Therefore the head of a request is checked
//! before its body is read, the bytes of bodies are bounded in total and for each client address,
//! and refusals are limited for each client address and logged as counts. A delivery with a valid
//! signature is accepted from any address, also from one with too many refusals: behind a proxy
//! that is not in `GITTIX_TRUSTED_PROXIES`, the processor and a forger have the same address.

use std::sync::Arc;

use actix_web::http::StatusCode;
use serde::Serialize;

use super::{
    answer::{HandlerResult, json},
    body_budget::{BodyBudget, BodyShare, Exhausted},
    call::Call,
    error::{ApiError, Code},
    webhook_refusals::Refusals,
};
use crate::{
    actors::{ActorError, WebhookOutcome},
    domain::Millis,
    metrics::METRICS,
    payments::{
        config::PaymentConfig,
        processor_config::Mode,
        webhook::{Notice, SignatureError, WebhookVerifier},
    },
};

/// Beginning of the path of each webhook; the name of the processor follows. Browsers do not use
/// it, so the origin is not checked. The client address counts only for bodies that are being
/// received and for refusals.
const PATH: &str = "/api/webhooks/";
/// Maximum length of a body, in bytes. Stripe's largest events have about 100 KiB.
pub const BYTES_MAX: usize = 256 * 1024;
/// Maximum bytes of bodies that are being received from one client address: four of the largest
/// bodies, or hundreds of common ones.
const CLIENT_BYTES_MAX: usize = 4 * BYTES_MAX;
/// Maximum bytes of bodies that are being received from all client addresses.
const TOTAL_BYTES_MAX: usize = 32 * CLIENT_BYTES_MAX;
/// Time after which a refused delivery may be repeated. By then there is memory for another body,
/// unless a sender delays its bodies on purpose.
const RETRY_AFTER: Millis = Millis::from_secs(1);

/// Returns the paths of the webhooks of all processors.
pub fn paths() -> impl Iterator<Item = String> {
    PaymentConfig::NAMES.iter().map(|name| format!("{PATH}{name}"))
}

/// Returns the name of the processor whose webhook has this path.
pub fn processor_of(path: &str) -> Option<&str> {
    path.strip_prefix(PATH).filter(|name| PaymentConfig::NAMES.contains(name))
}

/// The receivers of all processors, and the bounds that they share.
#[derive(Debug)]
pub struct WebhookReceivers {
    receivers: Vec<WebhookReceiver>,
    bodies: BodyBudget,
}

/// The receiver of the deliveries of one processor.
#[derive(Debug)]
struct WebhookReceiver {
    name: &'static str,
    verifier: Box<dyn WebhookVerifier>,
    is_live: bool,
    refusals: Refusals,
}

impl WebhookReceivers {
    pub fn new(config: &PaymentConfig) -> Self {
        let receivers = config.all().map(|processor| WebhookReceiver {
            name: processor.name(),
            verifier: processor.webhook(),
            is_live: processor.mode() == Some(Mode::Live),
            refusals: Refusals::new(processor.name()),
        });
        Self {
            receivers: receivers.collect(),
            bodies: BodyBudget::new(CLIENT_BYTES_MAX, TOTAL_BYTES_MAX),
        }
    }

    fn of(&self, path: &str) -> Result<&WebhookReceiver, ApiError> {
        let name = processor_of(path);
        let found = self.receivers.iter().find(|receiver| Some(receiver.name) == name);
        found.ok_or_else(|| ApiError::new(Code::NotFound))
    }
}

/// Acknowledgement of a delivery, which the processor then does not repeat.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Received {
    #[schema(value_type = bool)]
    received: bool,
}

/// Receives an event from Stripe. Only the ids of event and payment, the mode and the account are
/// used, and the type is logged; the state of the payment is requested from Stripe. A delivery that
/// was processed before, or that concerns no payment of this marketplace, is acknowledged too.
/// After 429 and 503 Stripe delivers the event again later.
#[utoipa::path(post, path = "/api/webhooks/stripe", tag = "webhooks", operation_id = "receiveStripeEvent",
    params(("Stripe-Signature" = String, Header, description = "`t=<unix seconds>,v1=<HMAC-SHA-256 over time, dot and body, in hex>`; at most 300 s off.")),
    request_body(content = Value, content_type = "application/json", description = "At most 256 KiB."),
    responses(
        (status = 200, description = "Acknowledged.", body = Received),
        (status = 400, description = "`invalid_signature`"),
        (status = 429, description = "`too_many_requests`: too many deliveries from this address were refused, or are being received"),
    ))]
pub async fn receive(mut call: Call) -> HandlerResult {
    let context = Arc::clone(&call.state.context);
    let receiver = context.webhooks.of(call.req.path())?;
    let expected_bytes = call.expected_body_bytes(BYTES_MAX)?.unwrap_or_default();
    let now = call.state.clock.now();
    let checked = signature(&call, receiver)
        .and_then(|signature| receiver.verifier.check_signature_header(signature, now));
    if let Err(error) = checked {
        return Err(refuse(&call, receiver, error));
    }
    let share = take_share(&call, &context.webhooks.bodies, expected_bytes)?;
    let body = call.body_within(BYTES_MAX).await?;
    let now = call.state.clock.now();
    let verified = signature(&call, receiver)
        .and_then(|signature| receiver.verifier.verify(signature, &body, now));
    let notice = match verified {
        Ok(notice) => notice,
        Err(error) => return Err(refuse(&call, receiver, error)),
    };
    drop((body, share));
    let outcome = process(&call, receiver, notice).await;
    let counted = match &outcome {
        Ok(outcome) => outcome,
        Err(ActorError::Busy(_)) => "shed",
        Err(_) => "failed",
    };
    METRICS.webhooks.with_label_values(&[counted]).inc();
    outcome?;
    Ok(json(StatusCode::OK, &Received { received: true }))
}

/// Returns the content of the signature header, which is not verified yet.
fn signature<'a>(call: &'a Call, receiver: &WebhookReceiver) -> Result<&'a str, SignatureError> {
    let mut lines = call.req.headers().get_all(receiver.verifier.signature_header());
    let header =
        lines.next().and_then(|line| line.to_str().ok()).filter(|_| lines.next().is_none());
    header.ok_or(SignatureError::Missing)
}

/// Counts a delivery without a valid signature. Returns 400, or 429 for a client with too many of
/// them.
fn refuse(call: &Call, receiver: &WebhookReceiver, error: SignatureError) -> ApiError {
    METRICS.webhooks.with_label_values(&["invalid_signature"]).inc();
    receiver.refusals.count(error);
    match call.state.context.limits.webhook_failure(call.client()) {
        Ok(()) => ApiError::new(Code::InvalidSignature),
        Err(limited) => limited,
    }
}

/// Reserves memory for the body.
///
/// # Errors
/// 429 if the share of the client is used up; 503 if the memory for all clients is used up.
fn take_share(call: &Call, bodies: &BodyBudget, bytes: usize) -> Result<BodyShare, ApiError> {
    bodies.take(call.client(), bytes).map_err(|exhausted| {
        METRICS.webhooks.with_label_values(&["shed"]).inc();
        METRICS.requests_rejected.with_label_values(&["webhook"]).inc();
        match exhausted {
            Exhausted::ClientAddress => ApiError::too_many_requests(RETRY_AFTER),
            Exhausted::Total => ApiError::unavailable("Too many deliveries are being received."),
        }
    })
}

/// Processes a delivery with a valid signature. Returns the label of its outcome in the metrics.
async fn process(
    call: &Call,
    receiver: &WebhookReceiver,
    notice: Option<Notice>,
) -> Result<&'static str, ActorError> {
    let processor = receiver.name;
    let Some(notice) = notice else {
        tracing::warn!(
            processor,
            "a delivery with a valid signature is not an event of the processor; it was acknowledged and ignored"
        );
        return Ok("malformed");
    };
    let Notice { event, kind, payment, is_live } = notice;
    let Some(payment) = payment.filter(|_| is_live == receiver.is_live) else {
        tracing::info!(
            processor,
            event,
            kind,
            is_live,
            "the processor delivered an event without a payment of this marketplace; it was ignored"
        );
        return Ok("ignored");
    };
    let outcome = call.actors().webhooks.process(event.clone(), payment.clone()).await?;
    tracing::info!(processor, event, kind, %payment, ?outcome, "the processor delivered an event about a payment");
    Ok(match outcome {
        WebhookOutcome::Handled => "handled",
        WebhookOutcome::Duplicate => "duplicate",
        WebhookOutcome::Unknown => "unknown",
    })
}
