//! The addresses that the server listens on, its file descriptors, and the first lines of the log.

use std::net::{SocketAddr, TcpListener};

use rustix::process::Resource;

use super::{CONNECTIONS_PER_WORKER_MAX, StartError};
use crate::{
    config::{Config, HostPort, Switch},
    domain::ReplicaName,
    http, ws,
};

/// A listening socket. The kernel queues connections until they are accepted.
#[derive(Debug)]
pub(super) struct Bound {
    pub addr: SocketAddr,
    pub listener: TcpListener,
    /// The other addresses of the host name, which are not listened on.
    unused_addrs: Vec<SocketAddr>,
}

impl Bound {
    /// Binds the first address of `host`. Errors contain the name of `setting`.
    pub fn new(setting: &str, host: &HostPort) -> Result<Self, StartError> {
        let failed = |error: std::io::Error| StartError(format!("{setting}: {host}: {error}"));
        let addrs = host.resolve().map_err(failed)?;
        let listener = http::listen(addrs[0]).map_err(failed)?;
        let addr = listener.local_addr().map_err(failed)?;
        Ok(Self { addr, listener, unused_addrs: addrs[1..].to_vec() })
    }

    fn log_choice(&self, setting: &str, host: &HostPort) {
        if !self.unused_addrs.is_empty() {
            let Self { addr, unused_addrs, .. } = self;
            tracing::info!(
                ?unused_addrs,
                "{setting}: {host} has several addresses; listening on {addr} only"
            );
        }
    }
}

/// Logs the addresses that the server listens on, and, if few descriptors are available, the limit
/// of WebSockets.
pub(super) fn announce(
    config: &Config,
    public: &Bound,
    admin: Option<&Bound>,
    replica: &ReplicaName,
    sockets: ws::SocketLimits,
) {
    let addr = public.addr;
    let store = if config.mongodb_uri.is_some() { "mongodb" } else { "embedded" };
    // This has to be the first line of the log at level info.
    tracing::info!(%addr, open = %browser_url(config, addr), store, %replica, version = env!("CARGO_PKG_VERSION"), "listening");
    public.log_choice("GITTIX_ADDR", &config.addr);
    if let (Some(admin), Some(host)) = (admin, &config.admin_addr) {
        tracing::info!(admin_addr = %admin.addr, "serving /metrics, /healthz and /readyz on the admin address");
        admin.log_choice("GITTIX_ADMIN_ADDR", host);
    }
    if sockets.connections_max < ws::SocketLimits::default().connections_max {
        let sockets = sockets.connections_max;
        tracing::info!(
            sockets,
            "open file limit allows {} WebSockets; raise it with ulimit -n",
            grouped(sockets)
        );
    }
}

/// Returns the URL of the pages for a browser: the public origin, or else the address, in a form
/// that a browser can reach.
fn browser_url(config: &Config, addr: SocketAddr) -> String {
    match config.public_origin.first() {
        Some(origin) => origin.as_str().into(),
        None if addr.ip().is_unspecified() || addr.ip().is_loopback() => {
            format!("http://localhost:{}", addr.port())
        }
        None => format!("http://{addr}"),
    }
}

/// Returns a number with separated thousands: 12,000.
pub(super) fn grouped(count: usize) -> String {
    let digits = count.to_string();
    let first = digits.len() % 3;
    let mut groups: Vec<&str> = Vec::new();
    if first > 0 {
        groups.push(&digits[..first]);
    }
    groups.extend((first..digits.len()).step_by(3).map(|at| &digits[at..at + 3]));
    groups.join(",")
}

/// Raises the limit of open files to the maximum that the system allows. Each connection and file
/// needs one descriptor. Returns the limit, or `None` if there is none.
pub(super) fn raise_descriptor_limit() -> Option<u64> {
    let mut limit = rustix::process::getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = rustix::process::setrlimit(Resource::Nofile, limit) {
        tracing::debug!(%error, "the limit of open files could not be raised");
    }
    rustix::process::getrlimit(Resource::Nofile).current
}

/// Returns the number of file descriptors that the server itself needs, mostly for its threads and
/// its store.
fn own_descriptors(cores: usize) -> usize {
    const FILES: usize = 32;
    const OF_A_CORE: usize = 8;
    FILES + OF_A_CORE * cores
}

/// Returns the limits of WebSockets for this number of file descriptors. A quarter of the
/// descriptors is reserved for requests, so that tickets can be bought while all WebSockets are
/// open.
pub(super) fn socket_limits(
    descriptors: Option<u64>,
    cores: usize,
    config: &Config,
) -> ws::SocketLimits {
    let wanted = ws::SocketLimits::default();
    let affordable = descriptors.map_or(usize::MAX, |descriptors| {
        let descriptors = usize::try_from(descriptors).unwrap_or(usize::MAX);
        (descriptors / 4 * 3).saturating_sub(own_descriptors(cores))
    });
    let connections_max = wanted.connections_max.min(affordable);
    let per_address_max =
        if config.rate_limit == Switch::On { connections_max.div_ceil(4) } else { usize::MAX };
    ws::SocketLimits { connections_max, per_address_max, ..wanted }
}

/// Returns the limits of all connections for this number of file descriptors. Some descriptors are
/// reserved for probes, and if rates are limited, one address gets at most a quarter.
pub(super) fn connection_limits(
    descriptors: Option<u64>,
    cores: usize,
    config: &Config,
) -> http::QuotaLimits {
    let wanted = ws::SocketLimits::default().connections_max + CONNECTIONS_PER_WORKER_MAX * cores;
    let descriptors =
        descriptors.and_then(|descriptors| usize::try_from(descriptors).ok()).unwrap_or(usize::MAX);
    let affordable =
        descriptors.saturating_sub(own_descriptors(cores) + http::connections_for_probes(cores));
    http::QuotaLimits {
        connections_max: wanted.min(affordable),
        per_address_max: (config.rate_limit == Switch::On).then_some(wanted.min(descriptors) / 4),
        exempt: config.trusted_proxies.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_separated() {
        let shown = [0, 7, 999, 1_000, 14_952, 100_000, 1_234_567].map(grouped);
        assert_eq!(shown, ["0", "7", "999", "1,000", "14,952", "100,000", "1,234,567"]);
    }
}
