//! The choice of the payment processor, and its log lines and metrics at the start.

use std::sync::Arc;

use async_trait::async_trait;

use crate::{
    clock::Clock,
    config::{Config, Mode},
    metrics::METRICS,
    payments::{
        Processor,
        stripe::{LiveMark, Stripe, StripeSettings},
    },
    store::Store,
};

/// Name of the mark of a store that may contain live payments.
pub(super) const LIVE_PAYMENT: &str = "live-payment";

/// Sets the mark [`LIVE_PAYMENT`] in the store.
#[derive(Debug)]
struct Mark(Arc<dyn Store>);

#[async_trait]
impl LiveMark for Mark {
    async fn set(&self) -> Result<(), String> {
        self.0.set_mark(LIVE_PAYMENT).await.map_err(|error| error.to_string())
    }
}

/// Returns the client of Stripe with the given settings. Sends no request, so that Stripe need not
/// be reachable at the start.
pub(super) fn stripe(
    config: &Config,
    digest_key: [u8; 32],
    store: &Arc<dyn Store>,
    clock: &Clock,
) -> Result<Arc<dyn Processor>, String> {
    let key = config.stripe.secret_key.as_ref().ok_or("STRIPE_SECRET_KEY is not set")?;
    let settings = StripeSettings {
        secret_key: key.expose().into(),
        api_base: config.stripe.api_base.clone(),
        api_version: config.stripe.api_version.clone(),
        timeout: config.stripe.timeout.to_duration(),
        is_local: config.stripe.is_loopback(),
        has_element: config.stripe.publishable_key.is_some(),
    };
    let stripe = Stripe::new(&settings, digest_key, clock.clone())?;
    let is_live = config.stripe.mode() == Some(Mode::Live);
    Ok(Arc::new(if is_live { stripe.marking(Mark(Arc::clone(store))) } else { stripe }))
}

/// Logs the mode of payment, and sets its metrics.
pub(super) fn announce(config: &Config) {
    let (is_https, stripe) = (config.is_https(), &config.stripe);
    let mode = match stripe.mode() {
        None => {
            tracing::warn!(
                "payments use the built-in sandbox: it takes Stripe's test cards and moves no money; set STRIPE_SECRET_KEY"
            );
            "sandbox"
        }
        Some(Mode::Test) => {
            tracing::warn!(api = %stripe.api_base, "payments use Stripe in test mode: no money moves");
            "test"
        }
        Some(Mode::Live) => {
            tracing::info!(api = %stripe.api_base, "payments use Stripe in live mode: money moves");
            "live"
        }
    };
    METRICS.payment_mode.with_label_values(&[mode]).set(1);
    METRICS.public_origin_https.set(i64::from(is_https));
    if mode != "live" && is_https {
        tracing::error!(
            "GITTIX_PUBLIC_ORIGIN is https, and GITTIX_ALLOW_SANDBOX gives tickets away for test cards: set a live STRIPE_SECRET_KEY"
        );
    }
    if mode == "live" && !is_https {
        tracing::warn!(
            "payments are live, but GITTIX_PUBLIC_ORIGIN is not https: session cookies are not marked Secure"
        );
    }
    if mode == "live" && stripe.is_elsewhere() {
        tracing::warn!(api = %stripe.api_base, "payments are live, but STRIPE_API_BASE is not Stripe's own address");
    }
    if mode != "sandbox" && stripe.webhook_secrets.is_empty() {
        tracing::warn!(
            "STRIPE_WEBHOOK_SECRET is not set: the webhook refuses every event, and payments depend on reconciliation alone"
        );
    }
    if mode != "sandbox" && stripe.publishable_key.is_none() {
        tracing::warn!(
            "STRIPE_PUBLISHABLE_KEY is not set: the pages offer test cards instead of Stripe's own form"
        );
    }
}
