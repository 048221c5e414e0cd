//! The mark of live payments, and the log lines and metrics of payment at the start.

use std::sync::Arc;

use async_trait::async_trait;

use crate::{
    config::Config,
    metrics::METRICS,
    payments::processor_config::{LiveMark, Mode},
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

/// Returns the object that sets the mark of live payments in `store`.
pub(super) fn live_mark(store: &Arc<dyn Store>) -> Arc<dyn LiveMark> {
    Arc::new(Mark(Arc::clone(store)))
}

/// Logs the mode of payment, and sets its metrics.
pub(super) fn announce(config: &Config) {
    let (is_https, payments) = (config.is_https(), &config.payments);
    let mode = match payments.mode() {
        None => "sandbox",
        Some(Mode::Test) => "test",
        Some(Mode::Live) => "live",
    };
    METRICS.payment_mode.with_label_values(&[mode]).set(1);
    METRICS.public_origin_https.set(i64::from(is_https));
    match payments.configured() {
        None => tracing::warn!(
            "payments use the built-in sandbox: it takes Stripe's test cards and moves no money; set {}",
            payments.key_setting()
        ),
        Some(processor) => processor.log_start(),
    }
    if mode != "live" && is_https {
        tracing::error!(
            "GITTIX_PUBLIC_ORIGIN is https, and because of GITTIX_ALLOW_SANDBOX, buyers get tickets for test cards: set a live {}",
            payments.key_setting()
        );
    }
    if mode == "live" && !is_https {
        tracing::warn!(
            "payments are live, but GITTIX_PUBLIC_ORIGIN is not https: session cookies are not marked Secure"
        );
    }
}
