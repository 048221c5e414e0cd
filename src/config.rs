//! The settings of `gittix serve`: each flag with its environment variable, default and permitted
//! values.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    path::PathBuf,
    str::FromStr,
};

use clap::{Args, ValueEnum};
use ipnet::IpNet;

use crate::{
    domain::{Millis, Policy, ReplicaName},
    mail::MailConfig,
    payments::{config::PaymentConfig, processor_config::Mode},
    settings::{parse_duration, parse_duration_or_zero},
};

pub use crate::settings::Secret;

/// The settings of one server process. Durations are written as `10m`, `15s`, `800ms`.
#[derive(Debug, Clone, Args)]
pub struct Config {
    /// Address to listen on, an IP address or a name; port 0 takes a free port, which the first log
    /// line states.
    #[arg(long, env = "GITTIX_ADDR", default_value = "127.0.0.1:3000", value_name = "HOST:PORT")]
    pub addr: HostPort,
    /// Address that serves `/metrics`, `/healthz` and `/readyz`; `/metrics` is then not served on
    /// the other address.
    #[arg(long, env = "GITTIX_ADMIN_ADDR", value_name = "HOST:PORT")]
    pub admin_addr: Option<HostPort>,
    /// Folder of the embedded store and of the sandbox processor's ledger.
    #[arg(long, env = "GITTIX_DATA_DIR", default_value = "data", value_name = "DIR")]
    pub data_dir: PathBuf,
    /// Use MongoDB (a replica set) instead of the embedded store; the database is the URI's, else
    /// `gittix`.
    #[arg(long, env = "MONGODB_URI", value_name = "URI", hide_env_values = true)]
    pub mongodb_uri: Option<Secret>,
    /// Maximum time that a start waits for MongoDB, and minimum time that it waits for the tickets
    /// to load; 0s tries MongoDB once.
    #[arg(long, env = "GITTIX_STORE_WAIT", default_value = "60s", value_name = "DURATION", value_parser = parse_duration_or_zero)]
    pub store_wait: Millis,
    /// Origins under which browsers reach this server, separated by commas; the first decides on
    /// secure cookies.
    #[arg(long, env = "GITTIX_PUBLIC_ORIGIN", value_name = "ORIGIN,…", value_delimiter = ',')]
    pub public_origin: Vec<Origin>,
    /// Stable name of this replica [default: the host's name].
    #[arg(long, env = "GITTIX_REPLICA", value_name = "NAME", value_parser = parse_replica)]
    pub replica: Option<ReplicaName>,
    /// Time from the lock to the end of the payment window.
    #[arg(long, env = "GITTIX_PAYMENT_WINDOW", default_value = "10m", value_name = "DURATION", value_parser = parse_duration)]
    pub payment_window: Millis,
    /// Time from the lock to its release, after which the ticket can be locked again.
    #[arg(long, env = "GITTIX_LOCK_DURATION", default_value = "15m", value_name = "DURATION", value_parser = parse_duration)]
    pub lock_duration: Millis,
    /// Additional time for which a capture in progress may hold the lock.
    #[arg(long, env = "GITTIX_SETTLE_GRACE", default_value = "60s", value_name = "DURATION", value_parser = parse_duration)]
    pub settle_grace: Millis,
    /// Release the ticket when the payment window ends without a payment.
    #[arg(long, env = "GITTIX_EARLY_RELEASE", default_value = "false", value_name = "BOOL", action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub early_release: bool,
    /// How many locks a user may hold at once.
    #[arg(long, env = "GITTIX_MAX_LOCKS", default_value = "4", value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub max_locks: u32,
    /// Wait before a user may lock a ticket again after three of their locks on it ended without a
    /// sale within an hour; 0s for none.
    #[arg(long, env = "GITTIX_RELOCK_WAIT", default_value = "15m", value_name = "DURATION", value_parser = parse_duration_or_zero)]
    pub relock_wait: Millis,
    /// How many tickets a user may have on sale at once.
    #[arg(long, env = "GITTIX_MAX_LISTINGS", default_value = "1000", value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_listings: u32,
    /// How many locks one IPv4 address or IPv6 /64 network may hold at once, by this replica's
    /// count; 0: any number.
    #[arg(long, env = "GITTIX_MAX_LOCKS_PER_NETWORK", default_value = "0", value_name = "COUNT", value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub max_locks_per_network: u32,
    /// How long a sign-in lasts.
    #[arg(long, env = "GITTIX_SESSION_TTL", default_value = "7d", value_name = "DURATION", value_parser = parse_duration)]
    pub session_ttl: Millis,
    /// Limits per user, IP address and network; `off` for load tests. Locks per user, deadlines and
    /// bounds on memory stay.
    #[arg(long, env = "GITTIX_RATE_LIMIT", default_value = "on", value_name = "SWITCH")]
    pub rate_limit: Switch,
    /// Networks or single addresses whose `X-Forwarded-For` is trusted, separated by commas.
    #[arg(long, env = "GITTIX_TRUSTED_PROXIES", value_name = "NETWORK,…", value_delimiter = ',', value_parser = parse_network)]
    pub trusted_proxies: Vec<IpNet>,
    /// Log filter: a level, or a filter such as `info,gittix::ws=debug`.
    #[arg(long, env = "GITTIX_LOG", default_value = "info", value_name = "FILTER")]
    pub log: String,
    /// Format of the log.
    #[arg(long, env = "GITTIX_LOG_FORMAT", default_value = "text", value_name = "FORMAT")]
    pub log_format: LogFormat,
    /// Permit the sandbox or a test key of Stripe although the first public origin is https.
    #[arg(long, env = "GITTIX_ALLOW_SANDBOX", default_value = "false", value_name = "BOOL", action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub allow_sandbox: bool,
    /// Settings of mails.
    #[command(flatten)]
    pub mail: MailConfig,
    /// Settings of the payment processors.
    #[command(flatten)]
    pub payments: PaymentConfig,
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
            Some(host) if !host.is_empty() && !host.contains(['/', '?', '#', '@', ' ']) => {
                Ok(Self(text.to_ascii_lowercase()))
            }
            _ => Err(
                "an origin is a scheme, a host and perhaps a port, such as https://tickets.example"
                    .into(),
            ),
        }
    }
}

/// `HOST:PORT`, the host an IP address or a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    host: String,
    port: u16,
}

impl HostPort {
    /// Returns the addresses of the host, always in the same order: IPv4 first, then by number.
    ///
    /// # Errors
    /// The resolver's errors, for example for an unknown name.
    pub fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        let mut addrs: Vec<SocketAddr> =
            (self.host.as_str(), self.port).to_socket_addrs()?.collect();
        addrs.sort_by_key(|addr| (addr.is_ipv6(), *addr));
        addrs.dedup();
        if addrs.is_empty() { Err(io::Error::other("the name has no address")) } else { Ok(addrs) }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

impl FromStr for HostPort {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if let Ok(addr) = text.parse::<SocketAddr>() {
            return Ok(Self { host: addr.ip().to_string(), port: addr.port() });
        }
        let is_name = |host: &str| {
            (1..=253).contains(&host.len())
                && host
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || [b'-', b'.', b'_'].contains(&b))
        };
        match text.rsplit_once(':').map(|(host, port)| (host, port.parse())) {
            Some((host, Ok(port))) if is_name(host) => Ok(Self { host: host.into(), port }),
            _ => Err(
                "must be a host and a port, such as 127.0.0.1:3000, [::1]:3000 or localhost:3000"
                    .into(),
            ),
        }
    }
}

/// Hides the user part of each URL in a text, since it may contain a password.
pub fn without_credentials(text: &str) -> String {
    let mut parts = text.split("://");
    let mut hidden = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        // A password that is not encoded may contain every character except white space and quotes.
        let end =
            part.find(|c: char| c.is_whitespace() || c == '"' || c == '\'').unwrap_or(part.len());
        let rest = part[..end].rfind('@').map_or(part, |at| &part[at..]);
        hidden.push_str("://");
        hidden.push_str(if rest.len() < part.len() { "…" } else { "" });
        hidden.push_str(rest);
    }
    hidden
}

impl Config {
    /// Checks that the settings are consistent with each other.
    ///
    /// # Errors
    /// One line that names the setting.
    pub fn checked(self) -> Result<Self, String> {
        if self.payment_window > self.lock_duration {
            return Err("GITTIX_PAYMENT_WINDOW must not be longer than GITTIX_LOCK_DURATION".into());
        }
        self.payments.check()?;
        self.mail.check(!self.public_origin.is_empty())?;
        let mode = self.payments.mode();
        if self.is_https() && mode != Some(Mode::Live) && !self.allow_sandbox {
            let lacking = if mode.is_none() { "is not set" } else { "is a test key" };
            return Err(format!(
                "{} {lacking}, but GITTIX_PUBLIC_ORIGIN is https: buyers would get tickets for test cards; \
                 set a live key, or GITTIX_ALLOW_SANDBOX=true",
                self.payments.key_setting()
            ));
        }
        Ok(self)
    }

    /// Returns whether browsers reach this server by https, according to the first public origin.
    pub fn is_https(&self) -> bool {
        self.public_origin.first().is_some_and(Origin::is_https)
    }

    /// Returns the origin of absolute addresses in pages and mails: the first public origin, or the
    /// address that the server listens on.
    pub fn pages_origin(&self, addr: SocketAddr) -> String {
        match self.public_origin.first() {
            Some(origin) => origin.as_str().to_owned(),
            None if addr.ip().is_unspecified() => format!("http://localhost:{}", addr.port()),
            None => format!("http://{addr}"),
        }
    }

    /// Returns the rules of locks, payments and listings.
    pub fn policy(&self) -> Policy {
        Policy {
            payment_window: self.payment_window,
            lock_duration: self.lock_duration,
            settle_grace: self.settle_grace,
            early_release: self.early_release,
            locks_max: self.max_locks,
            relock_wait: self.relock_wait,
            limits_declines: self.limits_rates(),
            listings_max: self.limits_rates().then_some(self.max_listings),
        }
    }

    /// Returns the maximum number of locks that one network may hold at once; 0: any number.
    pub fn locks_per_network_max(&self) -> u32 {
        if self.limits_rates() { self.max_locks_per_network } else { 0 }
    }

    fn limits_rates(&self) -> bool {
        self.rate_limit == Switch::On
    }
}

fn parse_network(text: &str) -> Result<IpNet, String> {
    let text = text.trim();
    let network = text.parse::<IpAddr>().map(IpNet::from).or_else(|_| text.parse());
    network.map_err(|_| "must be a network or an address, such as 10.0.0.0/8 or 10.0.0.1".into())
}

fn parse_replica(text: &str) -> Result<ReplicaName, String> {
    let is_valid = (1..=253).contains(&text.len()) && text.chars().all(|c| c.is_ascii_graphic());
    if is_valid {
        Ok(ReplicaName::new(text))
    } else {
        Err("must be 1 to 253 visible ASCII characters".into())
    }
}

#[cfg(test)]
#[path = "config/tests.rs"]
mod tests;
