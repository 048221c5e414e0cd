//! Rates: per client address and per user, on this replica. Sign-in rates that hold across replicas, and locks per user,
//! are the actors' business.
//!
//! Each rate is a token bucket (GCRA). The buckets are a fixed number, found by a hash with a secret of this process: so
//! memory is bounded by construction, and nobody can aim at somebody else's bucket.

use std::{
    fmt,
    hash::{BuildHasher, Hash, RandomState},
    num::NonZeroU32,
};

use governor::{
    Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    middleware::NoOpMiddleware,
    state::keyed::DashMapStateStore,
};

use super::{client::ClientAddress, error::ApiError};
use crate::{
    domain::{Millis, UserId},
    metrics::METRICS,
};

/// Buckets of one rate: some 2 MiB when all are in use.
const BUCKETS: u64 = 65_536;

/// A rate: so many at once, so many a second in the long run.
#[derive(Debug, Clone, Copy)]
struct Rate {
    burst: u32,
    per_second: u32,
}

/// All requests of a client.
const CLIENT: Rate = Rate { burst: 1000, per_second: 200 };
/// Sign-ups and sign-ins of a client together: an office behind one address gets in, a list of passwords does not.
const SIGN_IN: Rate = Rate { burst: 120, per_second: 4 };
/// Orders and payments of a user: faster than fingers, slower than a bot that polls.
const PURCHASE: Rate = Rate { burst: 100, per_second: 5 };
/// Tickets that a user lists: 60 at once, then 120 a minute.
const LISTING: Rate = Rate { burst: 60, per_second: 2 };
/// Deliveries to the webhook from one client whose signature does not verify. Stripe has none, but while a secret is wrong.
const WEBHOOK_FAILURE: Rate = Rate { burst: 30, per_second: 1 };

type ClientRateLimiter<C> = RateLimiter<u16, DashMapStateStore<u16>, C, NoOpMiddleware<<C as Clock>::Instant>>;

/// The rates of this replica.
pub struct RateLimits<C: Clock = DefaultClock> {
    on: bool,
    clock: C,
    clients: ClientRateLimiter<C>,
    sign_ins: ClientRateLimiter<C>,
    purchases: ClientRateLimiter<C>,
    listings: ClientRateLimiter<C>,
    webhook_failures: ClientRateLimiter<C>,
    hasher: RandomState,
}

impl RateLimits {
    /// `on: false`: everything is let through.
    pub fn new(on: bool) -> Self {
        Self::with_clock(on, DefaultClock::default())
    }
}

impl<C: Clock + Clone> RateLimits<C> {
    fn with_clock(on: bool, clock: C) -> Self {
        let buckets = |rate: Rate| {
            let quota = Quota::per_second(NonZeroU32::new(rate.per_second).expect("a rate is not zero"))
                .allow_burst(NonZeroU32::new(rate.burst).expect("a burst is not zero"));
            RateLimiter::dashmap_with_clock(quota, clock.clone())
        };
        Self {
            on,
            clients: buckets(CLIENT),
            sign_ins: buckets(SIGN_IN),
            purchases: buckets(PURCHASE),
            listings: buckets(LISTING),
            webhook_failures: buckets(WEBHOOK_FAILURE),
            clock,
            hasher: RandomState::new(),
        }
    }

    /// Whether anything is limited by user or address.
    pub fn is_on(&self) -> bool {
        self.on
    }

    /// Any request.
    ///
    /// # Errors
    /// 429 with the time after which there is room again; so for all of them.
    pub fn admit(&self, client: ClientAddress) -> Result<(), ApiError> {
        self.check(&self.clients, client, "client_rate")
    }

    /// A sign-up or sign-in.
    pub fn sign_in(&self, client: ClientAddress) -> Result<(), ApiError> {
        self.check(&self.sign_ins, client, "signin_rate")
    }

    /// An order or a payment.
    pub fn purchase(&self, user: UserId) -> Result<(), ApiError> {
        self.check(&self.purchases, user, "purchase_rate")
    }

    /// A ticket that is put on sale.
    pub fn listing(&self, user: UserId) -> Result<(), ApiError> {
        self.check(&self.listings, user, "listings")
    }

    /// A delivery to the webhook that was refused.
    pub fn webhook_failure(&self, client: ClientAddress) -> Result<(), ApiError> {
        self.check(&self.webhook_failures, client, "webhook")
    }

    fn check(&self, buckets: &ClientRateLimiter<C>, key: impl Hash, what: &str) -> Result<(), ApiError> {
        if !self.on {
            return Ok(());
        }
        let bucket = u16::try_from(self.hasher.hash_one(key) % BUCKETS).expect("there are as many buckets as u16 has values");
        buckets.check_key(&bucket).map_err(|full| {
            METRICS.requests_rejected.with_label_values(&[what]).inc();
            ApiError::too_many_requests(Millis::from(full.wait_time_from(self.clock.now())))
        })
    }
}

impl<C: Clock> fmt::Debug for RateLimits<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limits").field("on", &self.on).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use actix_web::test::TestRequest;
    use governor::clock::FakeRelativeClock;

    use super::*;

    fn client() -> ClientAddress {
        ClientAddress::of(None, TestRequest::get().to_http_request().headers(), &[])
    }

    #[test]
    fn a_burst_passes_and_the_next_waits_until_there_is_room() {
        let clock = FakeRelativeClock::default();
        let limits = RateLimits::with_clock(true, clock.clone());
        for _ in 0..SIGN_IN.burst {
            limits.sign_in(client()).expect("within the burst");
        }
        assert_eq!(limits.sign_in(client()).expect_err("beyond the burst").code(), super::super::error::Code::TooManyRequests);
        limits.admit(client()).expect("other rates are their own");
        clock.advance(Duration::from_millis(250));
        limits.sign_in(client()).expect("one came free");
        limits.sign_in(client()).expect_err("only one");
    }

    #[test]
    fn user_lists_60_tickets_at_once_and_then_120_a_minute() {
        let clock = FakeRelativeClock::default();
        let limits = RateLimits::with_clock(true, clock.clone());
        let user = UserId::new(uuid::Uuid::from_u128(1));
        for _ in 0..60 {
            limits.listing(user).expect("within the burst");
        }
        limits.listing(user).expect_err("beyond the burst");
        clock.advance(Duration::from_secs(15));
        for _ in 0..30 {
            limits.listing(user).expect("two a second");
        }
        limits.listing(user).expect_err("no more than that");
    }

    #[test]
    fn the_switch_turns_all_of_them_off() {
        let limits = RateLimits::with_clock(false, FakeRelativeClock::default());
        for _ in 0..2 * SIGN_IN.burst {
            limits.sign_in(client()).expect("switched off");
        }
    }
}
