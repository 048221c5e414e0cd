//! What the program takes from Stripe's settings: the processor, the webhook and the form in the
//! pages.

use std::sync::Arc;

use gittix_runtime::{clock::Clock, settings::Secret};

use super::{Stripe, config::StripeConfig, webhook::Secrets};
use crate::{
    Processor,
    processor_config::{FormSources, LiveMark, Mode, ProcessorConfig},
    webhook::WebhookVerifier,
};

impl ProcessorConfig for StripeConfig {
    fn name(&self) -> &'static str {
        Stripe::NAME
    }

    fn key_setting(&self) -> &'static str {
        "STRIPE_SECRET_KEY"
    }

    fn mode(&self) -> Option<Mode> {
        self.mode()
    }

    fn check(&self) -> Result<(), String> {
        self.check()
    }

    fn processor(
        &self,
        digest_key: [u8; 32],
        live_mark: Arc<dyn LiveMark>,
        clock: Clock,
    ) -> Result<Arc<dyn Processor>, String> {
        Ok(Arc::new(Stripe::new(self, digest_key, live_mark, clock)?))
    }

    fn webhook(&self) -> Box<dyn WebhookVerifier> {
        Box::new(Secrets::new(self.webhook_secrets.iter().map(Secret::expose)))
    }

    /// With a publishable key, the pages show Stripe's own element (Stripe's documentation lists
    /// the hosts).
    fn form_sources(&self) -> Option<FormSources> {
        self.publishable_key.as_ref().map(|_| FormSources {
            sources: "script-src 'self' https://js.stripe.com https://*.js.stripe.com; connect-src 'self' https://api.stripe.com; \
                      frame-src https://js.stripe.com https://*.js.stripe.com https://hooks.stripe.com",
            payment_origins: "\"https://js.stripe.com\" \"https://*.js.stripe.com\" \"https://hooks.stripe.com\"",
        })
    }

    fn log_start(&self) {
        match self.mode() {
            None => return,
            Some(Mode::Test) => {
                tracing::warn!(api = %self.api_base, "payments use Stripe in test mode: no real money is paid");
            }
            Some(Mode::Live) => {
                tracing::info!(api = %self.api_base, "payments use Stripe in live mode: real money is paid");
                if self.is_elsewhere() {
                    tracing::warn!(api = %self.api_base, "payments are live, but STRIPE_API_BASE is not Stripe's own address");
                }
            }
        }
        if self.webhook_secrets.is_empty() {
            tracing::warn!(
                "STRIPE_WEBHOOK_SECRET is not set: the webhook refuses every event, and payments depend on reconciliation alone"
            );
        }
        if self.publishable_key.is_none() {
            tracing::warn!(
                "STRIPE_PUBLISHABLE_KEY is not set: the pages offer test cards instead of Stripe's own form"
            );
        }
    }
}
