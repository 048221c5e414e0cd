//! The settings of all processors, and the choice of one.
//!
//! To add a processor: a folder beside `stripe` that implements [`crate::Processor`],
//! [`ProcessorConfig`] and [`crate::webhook::WebhookVerifier`], its field in [`PaymentConfig`], and
//! its entries in [`PaymentConfig::NAMES`] and [`PaymentConfig::all`].

use crate::{
    processor_config::{FormSources, Mode, ProcessorConfig},
    stripe::{Stripe, config::StripeConfig},
};

/// The settings of all payment processors. Without a configured processor, the sandbox takes
/// payments.
#[derive(Debug, Clone, clap::Args)]
pub struct PaymentConfig {
    #[command(flatten)]
    pub stripe: StripeConfig,
}

impl PaymentConfig {
    /// The names of all processors.
    pub const NAMES: &[&str] = &[Stripe::NAME];

    /// Returns the settings of all processors, in the order of [`Self::NAMES`].
    pub fn all(&self) -> impl Iterator<Item = &dyn ProcessorConfig> {
        let all: [&dyn ProcessorConfig; Self::NAMES.len()] = [&self.stripe];
        all.into_iter()
    }

    /// Returns the settings of the processor that takes payments, or `None` for the sandbox.
    pub fn configured(&self) -> Option<&dyn ProcessorConfig> {
        self.all().find(|processor| processor.mode().is_some())
    }

    /// Returns the mode of the processor that takes payments, or `None` for the sandbox.
    pub fn mode(&self) -> Option<Mode> {
        self.configured().and_then(ProcessorConfig::mode)
    }

    /// Returns the name of the setting that decides which processor takes payments.
    pub fn key_setting(&self) -> String {
        let all: Vec<&str> = self.all().map(ProcessorConfig::key_setting).collect();
        self.configured().map_or_else(|| all.join(" or "), |one| one.key_setting().to_owned())
    }

    /// Returns the hosts that a processor's own form in the pages loads from.
    pub fn form_sources(&self) -> Option<FormSources> {
        self.all().find_map(ProcessorConfig::form_sources)
    }

    /// Checks that the settings are consistent, and that at most one processor is configured.
    ///
    /// # Errors
    /// One line that names the setting.
    pub fn check(&self) -> Result<(), String> {
        self.all().try_for_each(ProcessorConfig::check)?;
        let mut configured = self.all().filter(|processor| processor.mode().is_some());
        match (configured.next(), configured.next()) {
            (Some(first), Some(second)) => Err(format!(
                "{} and {} are both set; set one of them",
                first.key_setting(),
                second.key_setting()
            )),
            _ => Ok(()),
        }
    }
}
