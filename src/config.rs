//! Settings: every flag of `gittix serve`, its environment variable, its default and what it may be.

use std::{fmt, net::SocketAddr, path::PathBuf, str::FromStr};

use clap::{Args, ValueEnum};
use ipnet::IpNet;

use crate::domain::{Millis, Policy, ReplicaName};

mod stripe;

pub use stripe::{Mode, StripeConfig};

/// How one server process is set up. Durations are written as `10m`, `15s`, `800ms`.
#[derive(Debug, Clone, Args)]
pub struct Config {
    /// Where to listen; port 0 takes a free one, and the first log line tells which.
    #[arg(long, env = "GITTIX_ADDR", default_value = "127.0.0.1:3000", value_name = "HOST:PORT")]
    pub addr: SocketAddr,
    /// The embedded store's folder, and the sandbox processor's ledger.
    #[arg(long, env = "GITTIX_DATA_DIR", default_value = "data", value_name = "DIR")]
    pub data_dir: PathBuf,
    /// Use MongoDB (a replica set) instead of the embedded store; the database is the URI's, else `gittix`.
    #[arg(long, env = "MONGODB_URI", value_name = "URI", hide_env_values = true)]
    pub mongodb_uri: Option<Secret>,
    /// What browsers call this server by, separated by commas; the first decides on secure cookies.
    #[arg(long, env = "GITTIX_PUBLIC_ORIGIN", value_name = "ORIGIN,…", value_delimiter = ',')]
    pub public_origin: Vec<Origin>,
    /// This replica's stable name [default: the host's name].
    #[arg(long, env = "GITTIX_REPLICA", value_name = "NAME", value_parser = parse_replica)]
    pub replica: Option<ReplicaName>,
    /// From the lock to the end of the time to enter payment.
    #[arg(long, env = "GITTIX_PAYMENT_WINDOW", default_value = "10m", value_name = "DURATION", value_parser = parse_duration)]
    pub payment_window: Millis,
    /// From the lock to the moment at which the ticket is free again.
    #[arg(long, env = "GITTIX_LOCK_DURATION", default_value = "15m", value_name = "DURATION", value_parser = parse_duration)]
    pub lock_duration: Millis,
    /// How much longer a capture that is on its way may hold the lock.
    #[arg(long, env = "GITTIX_SETTLE_GRACE", default_value = "60s", value_name = "DURATION", value_parser = parse_duration)]
    pub settle_grace: Millis,
    /// Free the ticket when the payment window closes without a payment.
    #[arg(long, env = "GITTIX_EARLY_RELEASE", default_value = "false", value_name = "BOOL", action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub early_release: bool,
    /// How many locks a user may hold at once.
    #[arg(long, env = "GITTIX_MAX_LOCKS", default_value = "4", value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub max_locks: u32,
    /// The wait after three locks of one user on one ticket came to nothing within an hour.
    #[arg(long, env = "GITTIX_RELOCK_WAIT", default_value = "15m", value_name = "DURATION", value_parser = parse_duration)]
    pub relock_wait: Millis,
    /// How long a sign-in lasts.
    #[arg(long, env = "GITTIX_SESSION_TTL", default_value = "7d", value_name = "DURATION", value_parser = parse_duration)]
    pub session_ttl: Millis,
    /// Limits on requests; `off` for load tests: everything but locks per user.
    #[arg(long, env = "GITTIX_RATE_LIMIT", default_value = "on", value_name = "SWITCH")]
    pub rate_limit: Switch,
    /// Networks whose `X-Forwarded-For` is believed, separated by commas.
    #[arg(long, env = "GITTIX_TRUSTED_PROXIES", value_name = "NETWORK,…", value_delimiter = ',')]
    pub trusted_proxies: Vec<IpNet>,
    /// What is logged: a level, or a filter such as `info,gittix::ws=debug`.
    #[arg(long, env = "GITTIX_LOG", default_value = "info", value_name = "FILTER")]
    pub log: String,
    /// How it is logged.
    #[arg(long, env = "GITTIX_LOG_FORMAT", default_value = "text", value_name = "FORMAT")]
    pub log_format: LogFormat,
    /// How payment is taken.
    #[command(flatten)]
    pub stripe: StripeConfig,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    On,
    Off,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

/// A setting that is never printed: it is, or holds, a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl FromStr for Secret {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() { Err("must not be empty; leave it unset instead".into()) } else { Ok(Self(text.trim().into())) }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A web origin (RFC 6454): scheme, host and port, as a browser writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin(String);

impl Origin {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn is_https(&self) -> bool {
        self.0.starts_with("https://")
    }
}

impl FromStr for Origin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        match rest {
            Some(host) if !host.is_empty() && !host.contains(['/', '?', '#', '@', ' ']) => Ok(Self(text.to_ascii_lowercase())),
            _ => Err("an origin is a scheme, a host and perhaps a port, such as https://tickets.example".into()),
        }
    }
}

impl Config {
    /// What a setting alone cannot tell: whether it goes together with the others.
    ///
    /// # Errors
    /// One line that names the setting.
    pub fn checked(self) -> Result<Self, String> {
        if self.payment_window > self.lock_duration {
            return Err("GITTIX_PAYMENT_WINDOW must not be longer than GITTIX_LOCK_DURATION".into());
        }
        self.stripe.check()?;
        Ok(self)
    }

    /// The rules of the lock.
    pub fn policy(&self) -> Policy {
        Policy {
            payment_window: self.payment_window,
            lock_duration: self.lock_duration,
            settle_grace: self.settle_grace,
            early_release: self.early_release,
            locks_max: self.max_locks,
            relock_wait: self.relock_wait,
        }
    }
}

fn parse_duration(text: &str) -> Result<Millis, String> {
    let duration = humantime::parse_duration(text).map_err(|error| format!("{error} (durations look like 10m, 15s, 800ms)"))?;
    if duration.is_zero() {
        return Err("must be longer than nothing".into());
    }
    if duration.as_secs() > 366 * 24 * 3600 {
        return Err("must be at most a year".into());
    }
    Ok(Millis::from(duration))
}

fn parse_replica(text: &str) -> Result<ReplicaName, String> {
    let named = (1..=253).contains(&text.len()) && text.chars().all(|c| c.is_ascii_graphic());
    if named { Ok(ReplicaName::new(text)) } else { Err("must be 1 to 253 visible ASCII characters".into()) }
}
