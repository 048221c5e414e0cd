//! The limit of replayed bytes for each client address.
//!
//! A replay is the most expensive request of a handshake: megabytes in answer to a hundred bytes.
//! Each address uses a rate limiter (GCRA) that counts kibibytes. The number of buckets is fixed.
//! The bucket of an address is found by a hash with a secret of this process. Therefore memory is
//! bounded, and a client cannot choose to use up another client's bucket. A client beyond the bound
//! is not refused. It is answered as if its cursor were too old. If the budget is used up during a
//! replay, the replay ends with a `Reset`: it fetches a snapshot, and gets new events from then on.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    num::NonZeroU32,
    sync::Arc,
};

use governor::{
    Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    middleware::NoOpMiddleware,
    state::keyed::DashMapStateStore,
};

use super::SocketLimits;

const BUCKETS: u64 = 65_536;

type ReplayRateLimiter<C> =
    RateLimiter<u16, DashMapStateStore<u16>, C, NoOpMiddleware<<C as Clock>::Instant>>;

/// The replay budgets of all addresses.
pub struct ReplayBudget<C: Clock = DefaultClock> {
    buckets: ReplayRateLimiter<C>,
    hasher: RandomState,
}

/// The budget of one connection's replay.
#[derive(Debug, Clone)]
pub struct ReplayMeter<C: Clock = DefaultClock>(Option<(Arc<ReplayBudget<C>>, IpAddr)>);

impl ReplayBudget {
    pub fn new(limits: &SocketLimits) -> Arc<Self> {
        Self::with_clock(limits, DefaultClock::default())
    }
}

impl<C: Clock + Clone> ReplayBudget<C> {
    fn with_clock(limits: &SocketLimits, clock: C) -> Arc<Self> {
        let per_second = NonZeroU32::new(limits.replay_kib_per_second).unwrap_or(NonZeroU32::MIN);
        let burst = NonZeroU32::new(limits.replay_kib_max).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(per_second).allow_burst(burst);
        Arc::new(Self {
            buckets: RateLimiter::dashmap_with_clock(quota, clock),
            hasher: RandomState::new(),
        })
    }

    /// Returns the meter of the clients of `address`; `None`: they have no bound.
    pub fn meter(self: &Arc<Self>, address: Option<IpAddr>) -> ReplayMeter<C> {
        ReplayMeter(address.map(|address| (Arc::clone(self), address)))
    }
}

impl<C: Clock> ReplayMeter<C> {
    /// Takes `bytes` from the budget, rounded up to KiB. Returns `false`, and takes nothing, if the
    /// budget has less.
    pub fn take(&self, bytes: usize) -> bool {
        let Some((budget, address)) = &self.0 else { return true };
        let Some(kib) = u32::try_from(bytes.div_ceil(1024)).ok().and_then(NonZeroU32::new) else {
            return bytes == 0;
        };
        let bucket = u16::try_from(budget.hasher.hash_one(address) % BUCKETS)
            .expect("the number of buckets is the number of u16 values");
        matches!(budget.buckets.check_key_n(&bucket, kib), Ok(Ok(())))
    }
}

impl<C: Clock> fmt::Debug for ReplayBudget<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplayBudget").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use governor::clock::FakeRelativeClock;

    use super::*;

    const ANN: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)));

    #[test]
    fn replay_budget_is_shared_by_an_address_and_refilled_over_time() {
        let clock = FakeRelativeClock::default();
        let limits = SocketLimits {
            replay_kib_max: 100,
            replay_kib_per_second: 10,
            ..SocketLimits::default()
        };
        let budget = ReplayBudget::with_clock(&limits, clock.clone());
        assert!(budget.meter(ANN).take(60 * 1024));
        assert!(!budget.meter(ANN).take(60 * 1024), "nothing is taken if the budget is too small");
        assert!(budget.meter(ANN).take(40 * 1024));
        assert!(!budget.meter(ANN).take(1));
        clock.advance(Duration::from_secs(1));
        assert!(budget.meter(ANN).take(10 * 1024));
        assert!(!budget.meter(ANN).take(1));
    }

    #[test]
    fn replay_without_an_address_is_not_bounded() {
        let limits =
            SocketLimits { replay_kib_max: 1, replay_kib_per_second: 1, ..SocketLimits::default() };
        let budget = ReplayBudget::with_clock(&limits, FakeRelativeClock::default());
        assert!((0..100).all(|_| budget.meter(None).take(1024 * 1024)));
    }
}
