//! The door for what Stripe sends by itself. Whether it was Stripe is judged here, over the very bytes that arrived; what
//! it means is the actors' business.
//!
//! Anyone can send to this address, without a session. So what the head of a request tells is checked before its body
//! is read; the bytes of bodies are bounded in all and for each client address; refusals are limited for each client address,
//! and logged as a count. A delivery that verifies is taken from any address, also from one with too many refusals: Stripe may
//! share it with a forger, behind a proxy that is not named in `GITTIX_TRUSTED_PROXIES`.

use actix_web::http::{StatusCode, header::HeaderName};
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
    config::{Mode, StripeConfig},
    domain::Millis,
    metrics::METRICS,
    payments::stripe::webhook::{Claim, Notice, Secrets, SignatureError},
};

/// Where it is. No browser comes here, so neither its origin nor its address counts: the signature does.
pub const PATH: &str = "/api/webhooks/stripe";
/// Stripe's largest events have some 100 KiB.
pub const BYTES_MAX: usize = 256 * 1024;
/// Bodies in flight from one client address: four of the largest, or hundreds of usual ones.
const CLIENT_BYTES_MAX: usize = 4 * BYTES_MAX;
/// Bodies in flight from all of them.
const TOTAL_BYTES_MAX: usize = 32 * CLIENT_BYTES_MAX;
/// After this long there is room for another body, unless its sender keeps the room on purpose.
const RETRY_AFTER: Millis = Millis::from_secs(1);

const SIGNATURE: HeaderName = HeaderName::from_static("stripe-signature");

/// What deliveries are judged by.
#[derive(Debug)]
pub struct WebhookVerifier {
    secrets: Secrets,
    is_live: bool,
    bodies: BodyBudget,
    refusals: Refusals,
}

impl WebhookVerifier {
    pub fn new(config: &StripeConfig) -> Self {
        let secrets = Secrets::new(config.webhook_secrets.iter().map(crate::config::Secret::expose));
        Self {
            secrets,
            is_live: config.mode() == Some(Mode::Live),
            bodies: BodyBudget::new(CLIENT_BYTES_MAX, TOTAL_BYTES_MAX),
            refusals: Refusals::default(),
        }
    }
}

/// The delivery arrived, and need not come again.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Received {
    #[schema(value_type = bool)]
    received: bool,
}

/// An event of Stripe's, as Stripe delivers it. Of it, nothing but the payment's id is believed: the payment itself is
/// asked for at Stripe. A delivery that was dealt with before, or that is about nothing of ours, is acknowledged all the
/// same. 429 and 503 ask Stripe to deliver it again later.
#[utoipa::path(post, path = "/api/webhooks/stripe", tag = "webhooks", operation_id = "receiveStripeEvent",
    params(("Stripe-Signature" = String, Header, description = "`t=<unix seconds>,v1=<HMAC-SHA-256 over time, dot and body, in hex>`; at most 300 s off.")),
    request_body(content = Value, content_type = "application/json", description = "At most 256 KiB."),
    responses(
        (status = 200, description = "Acknowledged.", body = Received),
        (status = 400, description = "`invalid_signature`"),
        (status = 429, description = "`too_many_requests`: too many deliveries from this address were refused, or are being received"),
    ))]
pub async fn receive(mut call: Call) -> HandlerResult {
    let expected_bytes = call.expected_body_bytes(BYTES_MAX)?.unwrap_or_default();
    if let Err(error) = claim(&call) {
        return Err(refuse(&call, error));
    }
    let share = take_share(&call, expected_bytes)?;
    let body = call.body_within(BYTES_MAX).await?;
    let verified = claim(&call).and_then(|claim| call.state.context.door.secrets.verify(&claim, &body));
    if let Err(error) = verified {
        return Err(refuse(&call, error));
    }
    let notice = Notice::parse(&body);
    drop((body, share));
    let outcome = process(&call, notice).await;
    let counted = match &outcome {
        Ok(outcome) => outcome,
        Err(ActorError::Busy(_)) => "shed",
        Err(_) => "failed",
    };
    METRICS.webhooks.with_label_values(&[counted]).inc();
    outcome?;
    Ok(json(StatusCode::OK, &Received { received: true }))
}

/// What the request's header claims.
fn claim(call: &Call) -> Result<Claim<'_>, SignatureError> {
    let mut lines = call.req.headers().get_all(SIGNATURE);
    let header = lines.next().and_then(|line| line.to_str().ok()).filter(|_| lines.next().is_none());
    call.state.context.door.secrets.claim(header.ok_or(SignatureError::Missing)?, call.state.clock.now())
}

/// Counts a delivery that is not Stripe's: 400, or 429 for a client with too many of them.
fn refuse(call: &Call, error: SignatureError) -> ApiError {
    METRICS.webhooks.with_label_values(&["invalid_signature"]).inc();
    call.state.context.door.refusals.count(error);
    match call.state.context.limits.webhook_failure(call.client()) {
        Ok(()) => ApiError::new(Code::InvalidSignature),
        Err(limited) => limited,
    }
}

/// Room for the body: 429 if the client's share is used up, 503 if there is none for anybody.
fn take_share(call: &Call, bytes: usize) -> Result<BodyShare, ApiError> {
    call.state.context.door.bodies.take(call.client(), bytes).map_err(|exhausted| {
        METRICS.webhooks.with_label_values(&["shed"]).inc();
        METRICS.requests_rejected.with_label_values(&["webhook"]).inc();
        match exhausted {
            Exhausted::ClientAddress => ApiError::too_many_requests(RETRY_AFTER),
            Exhausted::Total => ApiError::unavailable("Too many deliveries are being received."),
        }
    })
}

/// What became of a delivery that Stripe signed, as the metrics call it.
async fn process(call: &Call, notice: Option<Notice>) -> Result<&'static str, ActorError> {
    let Some(notice) = notice else {
        tracing::warn!("Stripe signed a delivery that is no event");
        return Ok("malformed");
    };
    let Notice { event, kind, payment, is_live } = notice;
    let Some(payment) = payment.filter(|_| is_live == call.state.context.door.is_live) else {
        tracing::info!(event, kind, is_live, "Stripe told of what is no payment of ours");
        return Ok("ignored");
    };
    let heard = call.actors().webhooks.process(event.clone(), payment.clone()).await?;
    tracing::info!(event, kind, %payment, ?heard, "Stripe told of a payment");
    Ok(match heard {
        WebhookOutcome::Handled => "handled",
        WebhookOutcome::Duplicate => "duplicate",
        WebhookOutcome::Unknown => "unknown",
    })
}
