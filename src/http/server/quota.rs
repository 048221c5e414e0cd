//! How many connections the process has, and how many of them one network address: HTTP connections and WebSockets together,
//! since each holds a file descriptor.

use std::{collections::HashMap, net::IpAddr, num::NonZeroU32, sync::Arc};

use governor::{DefaultDirectRateLimiter, RateLimiter};
use ipnet::IpNet;
use parking_lot::Mutex;

use crate::{http::client, metrics::METRICS};

/// Bounds of a [`Quota`].
#[derive(Debug, Clone)]
pub struct QuotaLimits {
    /// Connections of the process.
    pub connections_max: usize,
    /// Connections of one IP address, of IPv6 of one /64. `None`: no bound.
    pub per_address_max: Option<usize>,
    /// Networks whose addresses have no bound of their own: trusted proxies.
    pub exempt: Vec<IpNet>,
}

/// Connections beyond the share of their address that are answered at once, and in each second in the long run. Answering one
/// costs more than opening it, so those beyond this rate are closed unanswered.
const ANSWERED_AT_ONCE: NonZeroU32 = NonZeroU32::new(500).expect("not zero");
const ANSWERED_PER_SECOND: NonZeroU32 = NonZeroU32::new(100).expect("not zero");

/// The connections of the process.
#[derive(Debug)]
pub struct Quota {
    limits: QuotaLimits,
    answered: DefaultDirectRateLimiter,
    counts: Mutex<OpenConnections>,
}

#[derive(Debug, Default)]
struct OpenConnections {
    open: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// Which bound a connection is beyond.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exceeded {
    Connections,
    Address,
}

/// A connection's place among all of them, which it gives back when dropped.
#[derive(Debug)]
pub struct Permit {
    quota: Arc<Quota>,
    address: Option<IpAddr>,
    exceeded: Option<Exceeded>,
    is_answered: bool,
}

impl Quota {
    pub fn new(limits: QuotaLimits) -> Arc<Self> {
        let answered = RateLimiter::direct(governor::Quota::per_second(ANSWERED_PER_SECOND).allow_burst(ANSWERED_AT_ONCE));
        Arc::new(Self { limits, answered, counts: Mutex::default() })
    }

    /// Without bounds.
    pub fn unbounded() -> Arc<Self> {
        Self::new(QuotaLimits { connections_max: usize::MAX, per_address_max: None, exempt: Vec::new() })
    }

    /// Connections that are counted.
    pub fn open(&self) -> usize {
        self.counts.lock().open
    }

    /// Counts a connection. One that is beyond a bound is not counted: it may be kept for a short time, to answer probes.
    pub fn admit(self: &Arc<Self>, peer: Option<IpAddr>) -> Permit {
        let peer = peer.map(|peer| peer.to_canonical());
        let address = peer.filter(|peer| !self.limits.exempt.iter().any(|network| network.contains(peer))).map(client::network);
        let address = self.limits.per_address_max.and(address);
        let exceeded = self.count(address);
        let is_answered = exceeded != Some(Exceeded::Address) || self.answered.check().is_ok();
        match exceeded {
            None => METRICS.connections.inc(),
            Some(Exceeded::Connections) => METRICS.connections_refused.with_label_values(&["full"]).inc(),
            Some(Exceeded::Address) if is_answered => METRICS.connections_refused.with_label_values(&["address"]).inc(),
            Some(Exceeded::Address) => METRICS.connections_refused.with_label_values(&["address_flood"]).inc(),
        }
        Permit { quota: Arc::clone(self), address, exceeded, is_answered }
    }

    fn count(&self, address: Option<IpAddr>) -> Option<Exceeded> {
        let mut counts = self.counts.lock();
        let per_address_max = self.limits.per_address_max.unwrap_or(usize::MAX);
        let of_address = address.map_or(0, |address| counts.by_address.get(&address).copied().unwrap_or(0));
        if of_address >= per_address_max {
            return Some(Exceeded::Address);
        }
        if counts.open >= self.limits.connections_max {
            return Some(Exceeded::Connections);
        }
        counts.open += 1;
        if let Some(address) = address {
            counts.by_address.insert(address, of_address + 1);
        }
        None
    }
}

impl Permit {
    /// The bound that the connection is beyond, if any.
    pub fn exceeded(&self) -> Option<Exceeded> {
        self.exceeded
    }

    /// Whether the connection is answered at all. One beyond the share of its address is not while too many of those come.
    pub fn is_answered(&self) -> bool {
        self.is_answered
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.exceeded.is_some() {
            return;
        }
        METRICS.connections.dec();
        let mut counts = self.quota.counts.lock();
        counts.open -= 1;
        let Some(address) = self.address else { return };
        if let Some(count) = counts.by_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                counts.by_address.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quota(connections_max: usize, per_address_max: Option<usize>) -> Arc<Quota> {
        Quota::new(QuotaLimits { connections_max, per_address_max, exempt: vec!["10.0.0.0/8".parse().expect("a network")] })
    }

    fn admit(quota: &Arc<Quota>, peer: &str) -> Permit {
        quota.admit(Some(peer.parse().expect("an address")))
    }

    #[test]
    fn one_address_gets_its_share_and_a_closed_connection_makes_room() {
        let quota = quota(100, Some(2));
        let first = admit(&quota, "192.0.2.1");
        let second = admit(&quota, "::ffff:192.0.2.1");
        assert_eq!((first.exceeded(), second.exceeded()), (None, None));
        let third = admit(&quota, "192.0.2.1");
        assert_eq!(third.exceeded(), Some(Exceeded::Address));
        assert_eq!(admit(&quota, "192.0.2.2").exceeded(), None);
        drop(third);
        assert_eq!(admit(&quota, "192.0.2.1").exceeded(), Some(Exceeded::Address), "one that was not counted makes no room");
        drop(first);
        assert_eq!(admit(&quota, "192.0.2.1").exceeded(), None);
    }

    #[test]
    fn one_ipv6_network_of_64_bits_is_one_address() {
        let quota = quota(100, Some(1));
        let _held = admit(&quota, "2001:db8::1");
        assert_eq!(admit(&quota, "2001:db8::ffff:2").exceeded(), Some(Exceeded::Address));
        assert_eq!(admit(&quota, "2001:db8:0:1::1").exceeded(), None);
    }

    #[test]
    fn trusted_proxy_has_no_share_of_its_own_but_counts() {
        let quota = quota(3, Some(1));
        let held: Vec<Permit> = (0..3).map(|_| admit(&quota, "10.1.2.3")).collect();
        assert!(held.iter().all(|permit| permit.exceeded().is_none()));
        assert_eq!(admit(&quota, "10.1.2.3").exceeded(), Some(Exceeded::Connections));
    }

    #[test]
    fn flood_beyond_the_share_of_an_address_is_closed_unanswered_while_others_are_answered() {
        let quota = quota(1, Some(1));
        let _held = admit(&quota, "192.0.2.1");
        let answered = (0..2 * ANSWERED_AT_ONCE.get()).filter(|_| admit(&quota, "192.0.2.1").is_answered()).count();
        let at_once = usize::try_from(ANSWERED_AT_ONCE.get()).expect("a small number");
        assert!((at_once..2 * at_once).contains(&answered), "{answered}");
        let probe = admit(&quota, "192.0.2.2");
        assert_eq!((probe.exceeded(), probe.is_answered()), (Some(Exceeded::Connections), true));
    }

    #[test]
    fn addresses_without_connections_take_no_memory() {
        let quota = quota(100, Some(2));
        for number in 0..=255u8 {
            drop(admit(&quota, &format!("192.0.2.{number}")));
        }
        assert!(quota.counts.lock().by_address.is_empty());
    }
}
