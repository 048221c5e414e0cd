//! The settings of the connection to Stripe, and the mark of live payments.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use reqwest::Url;
use tokio::sync::OnceCell;

/// The settings of the connection to Stripe.
#[derive(Clone)]
pub struct StripeSettings {
    /// The secret or restricted key: `sk_…` or `rk_…`.
    pub secret_key: String,
    /// The base address, with a slash at its end.
    pub api_base: Url,
    pub api_version: String,
    /// Time limit of one request. A call of [`crate::Processor`] takes at most twice that time, an
    /// attempt to pay three times.
    pub timeout: Duration,
    /// Whether the server is on this machine, which is not reached through a proxy.
    pub is_local: bool,
    /// Whether buyers act in pages that contain Stripe's script, instead of on a page that a link
    /// opens.
    pub has_element: bool,
}

impl fmt::Debug for StripeSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("api_base", &self.api_base.as_str())
            .field("api_version", &self.api_version)
            .finish_non_exhaustive()
    }
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

/// A mark that is set once in a process.
#[derive(Debug)]
pub(super) struct MarkOnce {
    pub mark: Box<dyn LiveMark>,
    pub is_set: OnceCell<()>,
}
