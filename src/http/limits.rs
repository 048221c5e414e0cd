//! Rate limits for each client address and each user, on this replica. Limits that hold across
//! replicas are elsewhere: sign-ins in `actors/sign_in_limits.rs`, locks of a user in the commit
//! (`Write::Slot`).
//!
//! Each rate is a token bucket (GCRA). The number of buckets is fixed. A hash with a secret of this
//! process selects the bucket: memory is bounded, and a client cannot select the bucket of another
//! client.

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

/// Number of buckets of one rate, about 2 MiB when all are in use.
const BUCKETS: u64 = 65_536;

/// Rate: the number of requests at once, and the average number in each second.
#[derive(Debug, Clone, Copy)]
struct Rate {
    burst: u32,
    per_second: u32,
}

/// All requests of a client.
const CLIENT: Rate = Rate { burst: 1000, per_second: 200 };
/// Sign-ups, sign-ins and changes of accounts of a client together: enough for an office behind one
/// address, too few to try a list of passwords.
const SIGN_IN: Rate = Rate { burst: 120, per_second: 4 };
/// Orders and payments of a user: more than a person can send, fewer than a polling bot sends.
const PURCHASE: Rate = Rate { burst: 100, per_second: 5 };
/// Tickets that a user lists: 60 at once, then 120 a minute.
const LISTING: Rate = Rate { burst: 60, per_second: 2 };
/// Deliveries to the webhook with an invalid signature, from one client. Stripe sends such
/// deliveries only while the configured secret is wrong.
const WEBHOOK_FAILURE: Rate = Rate { burst: 30, per_second: 1 };

type BucketRateLimiter<C> =
    RateLimiter<u16, DashMapStateStore<u16>, C, NoOpMiddleware<<C as Clock>::Instant>>;

/// The rates of this replica.
pub struct RateLimits<C: Clock = DefaultClock> {
    is_on: bool,
    clock: C,
    clients: BucketRateLimiter<C>,
    sign_ins: BucketRateLimiter<C>,
    purchases: BucketRateLimiter<C>,
    listings: BucketRateLimiter<C>,
    webhook_failures: BucketRateLimiter<C>,
    hasher: RandomState,
}

impl RateLimits {
    /// Creates the limits. With `is_on` false, they accept all requests.
    pub fn new(is_on: bool) -> Self {
        Self::with_clock(is_on, DefaultClock::default())
    }
}

impl<C: Clock + Clone> RateLimits<C> {
    fn with_clock(is_on: bool, clock: C) -> Self {
        let buckets = |rate: Rate| {
            let quota =
                Quota::per_second(NonZeroU32::new(rate.per_second).expect("a rate is not zero"))
                    .allow_burst(NonZeroU32::new(rate.burst).expect("a burst is not zero"));
            RateLimiter::dashmap_with_clock(quota, clock.clone())
        };
        Self {
            is_on,
            clients: buckets(CLIENT),
            sign_ins: buckets(SIGN_IN),
            purchases: buckets(PURCHASE),
            listings: buckets(LISTING),
            webhook_failures: buckets(WEBHOOK_FAILURE),
            clock,
            hasher: RandomState::new(),
        }
    }

    /// Returns whether rates are limited.
    pub fn is_on(&self) -> bool {
        self.is_on
    }

    /// Counts a request of any kind.
    ///
    /// # Errors
    /// 429 with the time after which the next request is accepted. The other functions have the
    /// same error.
    pub fn admit(&self, client: ClientAddress) -> Result<(), ApiError> {
        self.check(&self.clients, client, "client_rate")
    }

    /// Counts a sign-up, a sign-in or a change of an account.
    pub fn sign_in(&self, client: ClientAddress) -> Result<(), ApiError> {
        self.check(&self.sign_ins, client, "signin_rate")
    }

    /// Counts an order or a payment.
    pub fn purchase(&self, user: UserId) -> Result<(), ApiError> {
        self.check(&self.purchases, user, "purchase_rate")
    }

    /// Counts a ticket that is put on sale.
    pub fn listing(&self, user: UserId) -> Result<(), ApiError> {
        self.check(&self.listings, user, "listings")
    }

    /// Counts a refused delivery to the webhook.
    pub fn webhook_failure(&self, client: ClientAddress) -> Result<(), ApiError> {
        self.check(&self.webhook_failures, client, "webhook")
    }

    fn check(
        &self,
        buckets: &BucketRateLimiter<C>,
        key: impl Hash,
        reason: &str,
    ) -> Result<(), ApiError> {
        if !self.is_on {
            return Ok(());
        }
        let bucket = u16::try_from(self.hasher.hash_one(key) % BUCKETS)
            .expect("there are as many buckets as u16 has values");
        buckets.check_key(&bucket).map_err(|full| {
            METRICS.requests_rejected.with_label_values(&[reason]).inc();
            ApiError::too_many_requests(Millis::from(full.wait_time_from(self.clock.now())))
        })
    }
}

impl<C: Clock> fmt::Debug for RateLimits<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimits").field("is_on", &self.is_on).finish_non_exhaustive()
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
    fn request_beyond_the_burst_is_refused_until_the_rate_allows_it() {
        let clock = FakeRelativeClock::default();
        let limits = RateLimits::with_clock(true, clock.clone());
        for _ in 0..SIGN_IN.burst {
            limits.sign_in(client()).expect("within the burst");
        }
        assert_eq!(
            limits.sign_in(client()).expect_err("beyond the burst").code(),
            super::super::error::Code::TooManyRequests
        );
        limits.admit(client()).expect("other rates are separate");
        clock.advance(Duration::from_millis(250));
        limits.sign_in(client()).expect("the rate allows one more");
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
            limits.listing(user).expect("the rate is two a second");
        }
        limits.listing(user).expect_err("no more than that");
    }

    #[test]
    fn limits_that_are_off_accept_everything() {
        let limits = RateLimits::with_clock(false, FakeRelativeClock::default());
        for _ in 0..2 * SIGN_IN.burst {
            limits.sign_in(client()).expect("switched off");
        }
    }
}
