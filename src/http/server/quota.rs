//! Bounds of connections, in total and for each network address. HTTP connections and WebSockets
//! count together, because each of them has a file descriptor. The public address and the admin
//! address have separate quotas. The admin address has a bound of 256 connections, and no bound for
//! each network address.

use std::{collections::HashMap, net::IpAddr, num::NonZeroU32, sync::Arc};

use governor::{DefaultDirectRateLimiter, RateLimiter};
use ipnet::IpNet;
use parking_lot::Mutex;

use crate::{http::client, metrics::METRICS};

/// Bounds of a [`Quota`].
#[derive(Debug, Clone)]
pub struct QuotaLimits {
    /// Maximum number of connections.
    pub connections_max: usize,
    /// Maximum number of connections of one IPv4 address or one IPv6 /64. `None`: no bound.
    pub per_address_max: Option<usize>,
    /// Networks of trusted proxies, whose addresses have no separate bound.
    pub exempt: Vec<IpNet>,
}

impl Default for QuotaLimits {
    /// Returns limits without a bound.
    fn default() -> Self {
        Self { connections_max: usize::MAX, per_address_max: None, exempt: Vec::new() }
    }
}

/// Rate, for all addresses together, of responses to connections beyond the bound of their address:
/// the number at once, and the average number in each second. A response costs more than opening a
/// connection, so connections beyond this rate are closed without a response.
const ANSWERED_AT_ONCE: NonZeroU32 = NonZeroU32::new(500).expect("not zero");
const ANSWERED_PER_SECOND: NonZeroU32 = NonZeroU32::new(100).expect("not zero");

/// Count of open connections, with its bounds.
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

/// Bound that a connection exceeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exceeded {
    Connections,
    Address,
}

/// Permit of one connection, which is returned on drop.
#[derive(Debug)]
pub struct Permit {
    quota: Arc<Quota>,
    address: Option<IpAddr>,
    exceeded: Option<Exceeded>,
    is_answered: bool,
}

impl Quota {
    pub fn new(limits: QuotaLimits) -> Arc<Self> {
        let answered = RateLimiter::direct(
            governor::Quota::per_second(ANSWERED_PER_SECOND).allow_burst(ANSWERED_AT_ONCE),
        );
        Arc::new(Self { limits, answered, counts: Mutex::default() })
    }

    /// Creates a quota without bounds.
    pub fn unbounded() -> Arc<Self> {
        Self::new(QuotaLimits::default())
    }

    /// Returns the number of counted connections.
    pub fn open(&self) -> usize {
        self.counts.lock().open
    }

    /// Counts a connection. A connection beyond a bound is not counted; it may stay open for a
    /// short time, for probes.
    pub fn admit(self: &Arc<Self>, peer: IpAddr) -> Permit {
        let peer = peer.to_canonical();
        let is_exempt = self.limits.exempt.iter().any(|network| network.contains(&peer));
        let address = (!is_exempt).then(|| client::network(peer));
        let address = self.limits.per_address_max.and(address);
        let exceeded = self.count(address);
        let is_answered = exceeded != Some(Exceeded::Address) || self.answered.check().is_ok();
        match exceeded {
            None => METRICS.connections.inc(),
            Some(Exceeded::Connections) => {
                METRICS.connections_refused.with_label_values(&["full"]).inc()
            }
            Some(Exceeded::Address) if is_answered => {
                METRICS.connections_refused.with_label_values(&["address"]).inc()
            }
            Some(Exceeded::Address) => {
                METRICS.connections_refused.with_label_values(&["address_flood"]).inc()
            }
        }
        Permit { quota: Arc::clone(self), address, exceeded, is_answered }
    }

    fn count(&self, address: Option<IpAddr>) -> Option<Exceeded> {
        let mut counts = self.counts.lock();
        let per_address_max = self.limits.per_address_max.unwrap_or(usize::MAX);
        let address_count =
            address.map_or(0, |address| counts.by_address.get(&address).copied().unwrap_or(0));
        if address_count >= per_address_max {
            return Some(Exceeded::Address);
        }
        if counts.open >= self.limits.connections_max {
            return Some(Exceeded::Connections);
        }
        counts.open += 1;
        if let Some(address) = address {
            counts.by_address.insert(address, address_count + 1);
        }
        None
    }
}

impl Permit {
    /// Returns the bound that the connection exceeds, if any.
    pub fn exceeded(&self) -> Option<Exceeded> {
        self.exceeded
    }

    /// Returns whether the connection gets a response. A connection beyond the bound of its address
    /// gets none if too many such connections arrive.
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
        Quota::new(QuotaLimits {
            connections_max,
            per_address_max,
            exempt: vec!["10.0.0.0/8".parse().expect("a network")],
        })
    }

    fn admit(quota: &Arc<Quota>, peer: &str) -> Permit {
        quota.admit(peer.parse().expect("an address"))
    }

    #[test]
    fn connections_of_one_address_are_bounded_and_a_closed_one_frees_its_place() {
        let quota = quota(100, Some(2));
        let first = admit(&quota, "192.0.2.1");
        let second = admit(&quota, "::ffff:192.0.2.1");
        assert_eq!((first.exceeded(), second.exceeded()), (None, None));
        let third = admit(&quota, "192.0.2.1");
        assert_eq!(third.exceeded(), Some(Exceeded::Address));
        assert_eq!(admit(&quota, "192.0.2.2").exceeded(), None);
        drop(third);
        assert_eq!(
            admit(&quota, "192.0.2.1").exceeded(),
            Some(Exceeded::Address),
            "a connection that was not counted frees no place"
        );
        drop(first);
        assert_eq!(admit(&quota, "192.0.2.1").exceeded(), None);
    }

    #[test]
    fn ipv6_addresses_with_the_same_64_bits_share_one_bound() {
        let quota = quota(100, Some(1));
        let _held = admit(&quota, "2001:db8::1");
        assert_eq!(admit(&quota, "2001:db8::ffff:2").exceeded(), Some(Exceeded::Address));
        assert_eq!(admit(&quota, "2001:db8:0:1::1").exceeded(), None);
    }

    #[test]
    fn trusted_proxy_has_no_separate_bound_but_counts_in_total() {
        let quota = quota(3, Some(1));
        let held: Vec<Permit> = (0..3).map(|_| admit(&quota, "10.1.2.3")).collect();
        assert!(held.iter().all(|permit| permit.exceeded().is_none()));
        assert_eq!(admit(&quota, "10.1.2.3").exceeded(), Some(Exceeded::Connections));
    }

    #[test]
    fn connections_beyond_the_rate_of_an_address_get_no_response_and_others_do() {
        let quota = quota(1, Some(1));
        let _held = admit(&quota, "192.0.2.1");
        let answered = (0..2 * ANSWERED_AT_ONCE.get())
            .filter(|_| admit(&quota, "192.0.2.1").is_answered())
            .count();
        let at_once = usize::try_from(ANSWERED_AT_ONCE.get()).expect("a small number");
        assert!((at_once..2 * at_once).contains(&answered), "{answered}");
        let probe = admit(&quota, "192.0.2.2");
        assert_eq!((probe.exceeded(), probe.is_answered()), (Some(Exceeded::Connections), true));
    }

    #[test]
    fn addresses_without_connections_have_no_entry() {
        let quota = quota(100, Some(2));
        for number in 0..=255u8 {
            drop(admit(&quota, &format!("192.0.2.{number}")));
        }
        assert!(quota.counts.lock().by_address.is_empty());
    }
}
