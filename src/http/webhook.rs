//! The door for what Stripe sends by itself. Whether it was Stripe is judged here, over the very bytes that arrived; what
//! it means is the actors' business.

use actix_web::http::{StatusCode, header::HeaderName};
use serde::Serialize;

use super::{
    answer::{Answer, json},
    call::Call,
    error::{ApiError, Code},
};
use crate::{
    actors::{Fault, Heard},
    config::{Mode, StripeConfig},
    metrics::METRICS,
    payments::stripe::webhook::{Notice, Secrets, SignatureError},
};

/// Where it is. No browser comes here, so neither its origin nor its address counts: the signature does.
pub const PATH: &str = "/api/webhooks/stripe";
/// Stripe's largest events have some 100 KiB.
pub const BYTES_MAX: usize = 256 * 1024;

const SIGNATURE: HeaderName = HeaderName::from_static("stripe-signature");

/// What deliveries are judged by.
#[derive(Debug)]
pub struct Door {
    secrets: Secrets,
    is_live: bool,
}

impl Door {
    pub fn new(config: &StripeConfig) -> Self {
        let secrets = Secrets::new(config.webhook_secrets.iter().map(crate::config::Secret::expose));
        Self { secrets, is_live: config.mode() == Some(Mode::Live) }
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
/// same. 503 asks Stripe to deliver it again later.
#[utoipa::path(post, path = "/api/webhooks/stripe", tag = "webhooks", operation_id = "receiveStripeEvent",
    params(("Stripe-Signature" = String, Header, description = "`t=<unix seconds>,v1=<HMAC-SHA-256 over time, dot and body, in hex>`; at most 300 s off.")),
    request_body(content = Value, content_type = "application/json", description = "At most 256 KiB."),
    responses(
        (status = 200, description = "Acknowledged.", body = Received),
        (status = 400, description = "`invalid_signature`"),
    ))]
pub async fn receive(mut call: Call) -> Answer {
    let body = call.body_within(BYTES_MAX).await?;
    if let Err(error) = verify(&call, &body) {
        METRICS.webhooks.with_label_values(&["invalid_signature"]).inc();
        tracing::info!(%error, "a delivery to the webhook was refused");
        return Err(ApiError::new(Code::InvalidSignature));
    }
    let outcome = hear(&call, &body).await;
    let counted = match &outcome {
        Ok(outcome) => outcome,
        Err(Fault::Busy(_)) => "shed",
        Err(_) => "failed",
    };
    METRICS.webhooks.with_label_values(&[counted]).inc();
    outcome?;
    Ok(json(StatusCode::OK, &Received { received: true }))
}

fn verify(call: &Call, body: &[u8]) -> Result<(), SignatureError> {
    let mut lines = call.req.headers().get_all(SIGNATURE);
    let header = lines.next().and_then(|line| line.to_str().ok()).filter(|_| lines.next().is_none());
    call.state.front.door.secrets.verify(header.ok_or(SignatureError::Missing)?, body, call.state.clock.now())
}

/// What became of a delivery that Stripe signed, as the metrics call it.
async fn hear(call: &Call, body: &[u8]) -> Result<&'static str, Fault> {
    let Some(notice) = Notice::parse(body) else {
        tracing::warn!("Stripe signed a delivery that is no event");
        return Ok("malformed");
    };
    let Notice { event, kind, payment, is_live } = notice;
    let Some(payment) = payment.filter(|_| is_live == call.state.front.door.is_live) else {
        tracing::info!(event, kind, is_live, "Stripe told of what is no payment of ours");
        return Ok("ignored");
    };
    let heard = call.actors().notices.hear(event.clone(), payment.clone()).await?;
    tracing::info!(event, kind, %payment, ?heard, "Stripe told of a payment");
    Ok(match heard {
        Heard::Handled => "handled",
        Heard::Duplicate => "duplicate",
        Heard::Unknown => "unknown",
    })
}
