//! Public settings that pages need to explain a purchase: the durations of a lock, the currency,
//! and the form of payment. They contain no secret: Stripe's publishable key is meant to be public.

use actix_web::{HttpRequest, HttpResponse, web::Data};
use bytes::Bytes;
use serde::Serialize;

use super::{HttpContext, assets};
use crate::{config::Config, domain::Currency, wire::CurrencyView};

/// Settings of the marketplace that users need.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PublicSettings {
    #[schema(inline)]
    currency: CurrencyView,
    /// Time from the lock to the end of the payment window, in seconds, rounded up.
    payment_window_seconds: u64,
    /// Time from the lock to the release of the ticket, in seconds, rounded up.
    lock_duration_seconds: u64,
    /// Whether the ticket is released at the end of the payment window if no payment was attempted.
    early_release: bool,
    /// Stripe's publishable key. With a key, pages show Stripe's own element for cards; with null,
    /// they offer test cards.
    #[schema(required = true)]
    stripe_publishable_key: Option<String>,
}

/// Rendered settings. They do not change while the process runs.
#[derive(Debug)]
pub struct RenderedSettings {
    body: Bytes,
    tag: String,
}

impl RenderedSettings {
    pub fn new(config: &Config) -> Self {
        let settings = PublicSettings {
            currency: Currency::default().into(),
            payment_window_seconds: config.payment_window.whole_secs_left(),
            lock_duration_seconds: config.lock_duration.whole_secs_left(),
            early_release: config.early_release,
            stripe_publishable_key: config.payments.stripe.publishable_key.clone(),
        };
        let body = Bytes::from(
            serde_json::to_vec(&settings).expect("the settings consist of strings and numbers"),
        );
        Self { tag: assets::tag(&body), body }
    }
}

/// Returns the settings of this marketplace that users need.
#[utoipa::path(get, path = "/api/settings", tag = "operation", operation_id = "getSettings",
    responses((status = 200, description = "The durations of a lock, the currency, and the form of payment.", body = PublicSettings)))]
pub async fn serve(req: HttpRequest, context: Data<HttpContext>) -> HttpResponse {
    let RenderedSettings { body, tag } = &context.settings;
    assets::serve_bytes(&req, body.clone(), "application/json", tag)
}
