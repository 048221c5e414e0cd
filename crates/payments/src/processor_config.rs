//! What the program takes from the settings of one processor.

use std::{fmt, sync::Arc};

use async_trait::async_trait;

use gittix_runtime::clock::Clock;

use crate::{Processor, webhook::WebhookVerifier};

/// The mode of a processor. Real money is paid in live mode only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The processor's test mode, or a replacement for the processor in tests.
    Test,
    Live,
}

/// The settings of one processor.
pub trait ProcessorConfig: fmt::Debug {
    /// Returns the name of the processor in charges, addresses and the store.
    fn name(&self) -> &'static str;

    /// Returns the name of the setting that configures the processor.
    fn key_setting(&self) -> &'static str;

    /// Returns the mode, or `None` if the processor is not configured.
    fn mode(&self) -> Option<Mode>;

    /// Checks that the settings are consistent.
    ///
    /// # Errors
    /// One line that names the setting.
    fn check(&self) -> Result<(), String>;

    /// Creates the processor without sending a request, so that it need not be reachable at the
    /// start. `digest_key` is used for token digests; all replicas have the same one.
    ///
    /// # Errors
    /// One line, if the settings cannot be used.
    fn processor(
        &self,
        digest_key: [u8; 32],
        live_mark: Arc<dyn LiveMark>,
        clock: Clock,
    ) -> Result<Arc<dyn Processor>, String>;

    /// Returns the verifier of the processor's webhook events. Without a secret, it refuses every
    /// event.
    fn webhook(&self) -> Box<dyn WebhookVerifier>;

    /// Returns the processor's own form in the pages, or `None` if the pages offer test cards.
    fn form_sources(&self) -> Option<FormSources>;

    /// Logs the mode of payment at the start, and settings that are missing.
    fn log_start(&self);
}

/// The hosts that a processor's own form of payment loads from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FormSources {
    /// Sources of the content security policy: `script-src`, `connect-src` and `frame-src`.
    pub sources: &'static str,
    /// Origins that may request payments, as in the header `Permissions-Policy`.
    pub payment_origins: &'static str,
}

/// The durable mark which records that a live payment may have been taken.
#[async_trait]
pub trait LiveMark: fmt::Debug + Send + Sync + 'static {
    /// Sets the mark. A repeated call has no effect.
    ///
    /// # Errors
    /// The reason why the mark cannot be set. Then no payment is opened.
    async fn set(&self) -> Result<(), String>;
}
