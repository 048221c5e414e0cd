//! The settings of Stripe, and the check that they are consistent.

use clap::Args;
use reqwest::Url;

use gittix_domain::Millis;
use gittix_runtime::settings::{Secret, parse_duration};

use crate::processor_config::Mode;

/// The version of Stripe's API that this program was written for. Stripe continues to answer in
/// this version when a request names it.
const API_VERSION: &str = "2024-06-20";

/// The settings of Stripe. Without a secret key, the sandbox processor takes payments.
#[derive(Debug, Clone, Args)]
pub struct StripeConfig {
    /// Stripe's secret or restricted key; without it the sandbox processor takes Stripe's test
    /// tokens.
    #[arg(id = "stripe_secret_key", long = "stripe-secret-key", env = "STRIPE_SECRET_KEY", value_name = "KEY", hide_env_values = true, value_parser = parse_secret_key)]
    pub secret_key: Option<Secret>,
    /// Stripe's publishable key; with it, pages show Stripe's own element for cards.
    #[arg(id = "stripe_publishable_key", long = "stripe-publishable-key", env = "STRIPE_PUBLISHABLE_KEY", value_name = "KEY", hide_env_values = true, value_parser = parse_publishable_key)]
    pub publishable_key: Option<String>,
    /// Secret with which Stripe signs its webhook deliveries; several, separated by commas, while
    /// one replaces another.
    #[arg(
        id = "stripe_webhook_secret",
        long = "stripe-webhook-secret",
        env = "STRIPE_WEBHOOK_SECRET",
        value_name = "SECRET,…",
        value_delimiter = ',',
        hide_env_values = true
    )]
    pub webhook_secrets: Vec<Secret>,
    /// Base URL of Stripe's API.
    #[arg(id = "stripe_api_base", long = "stripe-api-base", env = "STRIPE_API_BASE", default_value = "https://api.stripe.com/", value_name = "URL", hide_env_values = true, value_parser = parse_api_base)]
    pub api_base: Url,
    /// Version of Stripe's API that requests name.
    #[arg(id = "stripe_api_version", long = "stripe-api-version", env = "STRIPE_API_VERSION", default_value = API_VERSION, value_name = "VERSION", value_parser = parse_api_version)]
    pub api_version: String,
    /// Maximum time of one request to Stripe.
    #[arg(id = "stripe_timeout", long = "stripe-timeout", env = "STRIPE_TIMEOUT", default_value = "10s", value_name = "DURATION", value_parser = parse_timeout)]
    pub timeout: Millis,
}

/// Returns the mode of a secret, restricted or publishable key, by its form: `sk_live_…`.
fn mode_of(key: &str) -> Mode {
    if key.split('_').nth(1) == Some("live") { Mode::Live } else { Mode::Test }
}

impl StripeConfig {
    /// Returns the mode of the secret key; `None`: Stripe is not configured.
    pub fn mode(&self) -> Option<Mode> {
        self.secret_key.as_ref().map(|key| mode_of(key.expose()))
    }

    /// Checks that the settings are consistent.
    ///
    /// # Errors
    /// One line that names the setting.
    pub fn check(&self) -> Result<(), String> {
        let publishable = self.publishable_key.as_deref().map(mode_of);
        let Some(mode) = self.mode() else {
            return if publishable == Some(Mode::Live) {
                Err("STRIPE_PUBLISHABLE_KEY is of live mode, but STRIPE_SECRET_KEY is not set: the sandbox would take real cards".into())
            } else if !self.webhook_secrets.is_empty() {
                Err("STRIPE_WEBHOOK_SECRET has no effect without STRIPE_SECRET_KEY; set both or neither".into())
            } else if self.is_elsewhere() {
                Err("STRIPE_API_BASE has no effect without STRIPE_SECRET_KEY; set both or neither"
                    .into())
            } else {
                Ok(())
            };
        };
        if publishable.is_some_and(|publishable| publishable != mode) {
            return Err("STRIPE_PUBLISHABLE_KEY and STRIPE_SECRET_KEY are not of the same mode (test or live)".into());
        }
        if mode == Mode::Live && self.api_base.scheme() != "https" && !self.is_loopback() {
            return Err(
                "STRIPE_API_BASE must be https with a STRIPE_SECRET_KEY of live mode".into()
            );
        }
        Ok(())
    }

    /// Returns whether the base URL is not Stripe's own.
    pub fn is_elsewhere(&self) -> bool {
        self.api_base.host_str() != Some("api.stripe.com")
    }

    /// Returns whether the base URL names this machine, for example a proxy or a replacement for
    /// Stripe. It is not reached through an HTTP proxy.
    pub fn is_loopback(&self) -> bool {
        let host = self.api_base.host_str().unwrap_or_default();
        host == "localhost"
            || host
                .trim_matches(['[', ']'])
                .parse::<std::net::IpAddr>()
                .is_ok_and(|ip| ip.is_loopback())
    }
}

/// Parses a secret key. The error never contains the text.
fn parse_secret_key(text: &str) -> Result<Secret, String> {
    let secret: Secret = text.parse()?;
    let key = secret.expose();
    let shaped = ["sk_", "rk_"].iter().any(|prefix| key.starts_with(prefix))
        && key.bytes().all(|b| b.is_ascii_graphic());
    if shaped {
        Ok(secret)
    } else {
        Err("must begin with sk_ or rk_, as Stripe's Dashboard shows it".into())
    }
}

fn parse_publishable_key(text: &str) -> Result<String, String> {
    let key = text.trim();
    let shaped =
        key.starts_with("pk_") && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if shaped {
        Ok(key.into())
    } else {
        Err("must begin with pk_, as Stripe's Dashboard shows it".into())
    }
}

fn parse_api_base(text: &str) -> Result<Url, String> {
    let mut url = Url::parse(text.trim())
        .map_err(|error| format!("{error} (it looks like https://api.stripe.com)"))?;
    let plain = url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    if !["http", "https"].contains(&url.scheme()) || url.host_str().is_none() || !plain {
        return Err("must be a scheme, a host and perhaps a port and a path, such as https://api.stripe.com".into());
    }
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Ok(url)
}

fn parse_api_version(text: &str) -> Result<String, String> {
    let version = text.trim();
    let shaped = (10..=40).contains(&version.len())
        && version.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b));
    if shaped {
        Ok(version.into())
    } else {
        Err(format!("must be a version of Stripe's API, such as {API_VERSION}"))
    }
}

fn parse_timeout(text: &str) -> Result<Millis, String> {
    const MAX: Millis = Millis::from_secs(60);
    let timeout = parse_duration(text)?;
    if timeout <= MAX {
        Ok(timeout)
    } else {
        Err("must be at most 60s, because a buyer waits for the request".into())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        stripe: StripeConfig,
    }

    /// Parses flags only. Each setting that matters is given, so that the environment of the test
    /// run has no effect.
    fn checked(flags: &[&str]) -> Result<StripeConfig, String> {
        let cli = Cli::try_parse_from([&["gittix"], flags].concat())
            .map_err(|error| error.to_string())?;
        cli.stripe.check().map(|()| cli.stripe)
    }

    const TEST: &str = "--stripe-secret-key=sk_test_1";
    const LIVE: &str = "--stripe-secret-key=rk_live_1";

    #[test]
    fn consistent_settings_are_accepted() {
        assert_eq!(checked(&[]).expect("the sandbox").mode(), None);
        assert_eq!(
            checked(&["--stripe-publishable-key=pk_test_1"]).expect("the sandbox").mode(),
            None
        );
        let test = checked(&[
            TEST,
            "--stripe-publishable-key=pk_test_1",
            "--stripe-api-base=http://stripe.example:8420/api",
        ])
        .expect("test mode");
        assert_eq!(
            (test.mode(), test.api_base.as_str()),
            (Some(Mode::Test), "http://stripe.example:8420/api/")
        );
        let live = checked(&[
            LIVE,
            "--stripe-publishable-key=pk_live_1",
            "--stripe-webhook-secret=whsec_1,whsec_2",
        ])
        .expect("live mode");
        assert_eq!(
            (live.mode(), live.webhook_secrets.len(), live.api_base.as_str()),
            (Some(Mode::Live), 2, "https://api.stripe.com/")
        );
        checked(&[LIVE, "--stripe-api-base=http://127.0.0.1:1"]).expect("a proxy on this machine");
        checked(&[LIVE, "--stripe-api-base=http://[::1]:1"]).expect("a proxy on this machine");
    }

    #[test]
    fn inconsistent_settings_are_refused_by_name_without_the_secret() {
        let wrong: [(&[&str], &str); 9] = [
            (&["--stripe-publishable-key=pk_live_1"], "STRIPE_PUBLISHABLE_KEY"),
            (&["--stripe-webhook-secret=whsec_hush"], "STRIPE_WEBHOOK_SECRET"),
            (&["--stripe-api-base=http://localhost:1"], "STRIPE_API_BASE"),
            (&[TEST, "--stripe-publishable-key=pk_live_1"], "STRIPE_PUBLISHABLE_KEY"),
            (&[LIVE, "--stripe-publishable-key=pk_test_1"], "STRIPE_PUBLISHABLE_KEY"),
            (&[LIVE, "--stripe-api-base=http://stripe.example"], "STRIPE_API_BASE"),
            (&[TEST, "--stripe-api-base=ftp://stripe.example"], "stripe-api-base"),
            (&[TEST, "--stripe-api-version=newest"], "stripe-api-version"),
            (&[TEST, "--stripe-timeout=2m"], "stripe-timeout"),
        ];
        for (flags, name) in wrong {
            let error = checked(flags).expect_err("must be refused");
            assert!(error.contains(name) && !error.contains("hush"), "{flags:?}: {error}");
        }
    }
}
