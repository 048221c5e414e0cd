//! What a page has to know of this server before it can explain a purchase: the lock's lengths, the currency, and how
//! payment is taken. Nothing in it is secret: Stripe's publishable key is made to be published.

use actix_web::{HttpRequest, HttpResponse, web::Data};
use bytes::Bytes;
use serde::Serialize;

use super::{HttpContext, assets};
use crate::{config::Config, domain::Currency, wire::CurrencyView};

/// Settings of the marketplace that concern its users.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PublicSettings {
    #[schema(inline)]
    currency: CurrencyView,
    /// From the lock to the end of the time to enter payment, in seconds, rounded up.
    payment_window_seconds: u64,
    /// From the lock to the moment at which the ticket is free again, in seconds, rounded up.
    lock_duration_seconds: u64,
    /// Whether the ticket is free already when the time to enter payment ends without a payment.
    early_release: bool,
    /// With it, cards are entered in Stripe's own element; null: the sandbox's test tokens.
    #[schema(required = true)]
    stripe_publishable_key: Option<String>,
}

/// The settings as they are sent: they stay as long as the process lives.
#[derive(Debug)]
pub struct Rendered {
    body: Bytes,
    tag: String,
}

impl Rendered {
    pub fn of(config: &Config) -> Self {
        let settings = PublicSettings {
            currency: Currency::default().into(),
            payment_window_seconds: config.payment_window.whole_secs_left(),
            lock_duration_seconds: config.lock_duration.whole_secs_left(),
            early_release: config.early_release,
            stripe_publishable_key: config.stripe.publishable_key.clone(),
        };
        let body = Bytes::from(serde_json::to_vec(&settings).expect("texts and numbers serialise"));
        Self { tag: assets::tag(&body), body }
    }
}

/// The settings of this marketplace that concern its users.
#[utoipa::path(get, path = "/api/settings", tag = "operation", operation_id = "getSettings",
    responses((status = 200, description = "The lock's lengths, the currency, and how payment is taken.", body = PublicSettings)))]
pub async fn serve(req: HttpRequest, context: Data<HttpContext>) -> HttpResponse {
    let Rendered { body, tag } = &context.settings;
    assets::serve_bytes(&req, body.clone(), "application/json", tag)
}
