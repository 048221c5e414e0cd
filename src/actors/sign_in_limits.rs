//! Limits on sign-ins, counted in the store for all replicas together: on failures for an address
//! and a network, and on all sign-ins of a network (docs/adr/0014-sign-in-limits.md).
//!
//! Failures are counted for each pair of email address and network, and for each email address. A
//! pair is refused after [`SignInLimits::FAILURES_MAX`] failures. An email address is never refused
//! altogether. After the same number of failures from all networks together, an attempt is delayed
//! before the password is hashed, if its own network has a failure for this address.

use std::{net::IpAddr, sync::Arc, time::Duration};

use futures_util::future::try_join;
use sha2::{Digest, Sha256};

use super::ActorError;
use crate::{
    clock::Clock,
    domain::Millis,
    metrics::METRICS,
    store::{CounterValue, Store},
};

/// The limits on sign-ins. Clones share the counters.
#[derive(Debug, Clone)]
pub(super) struct SignInLimits {
    store: Arc<dyn Store>,
    clock: Clock,
    is_enabled: bool,
}

/// Keys of the counters of one attempt. The keys are digests, so that text from a wrong field, such
/// as a password in the email field, does not get into the store.
#[derive(Debug, Clone)]
pub(super) struct AttemptKeys {
    pair: String,
    email: String,
    network: String,
}

impl AttemptKeys {
    /// Returns the keys for `email`, in canonical form, or as it was sent if it is not an address.
    /// Unknown addresses are counted like known ones.
    pub(super) fn new(email: &str, network: IpAddr) -> Self {
        Self {
            pair: format!("signin:pair:{}", digest(&format!("{network} {email}"))),
            email: format!("signin:failed:{}", digest(email)),
            network: format!("signin:client:{}", digest(&network.to_string())),
        }
    }
}

/// Returns the key of a counter for `text`, so that no address gets into the store's counters.
pub(super) fn digest(text: &str) -> String {
    hex::encode(&Sha256::digest(text.as_bytes())[..16])
}

impl SignInLimits {
    /// Maximum number of failures for one email address from one network. The same number from all
    /// networks starts the delay.
    pub(super) const FAILURES_MAX: u64 = 10;
    const FAILURES_WINDOW: Millis = Millis::from_mins(15);
    const DELAY_FIRST: Duration = Duration::from_millis(250);
    const DELAY_MAX: Duration = Duration::from_secs(2);
    /// Maximum number of sign-ins from one network, right or wrong.
    const PER_NETWORK_MAX: u64 = 300;
    const PER_NETWORK_WINDOW: Millis = Millis::from_mins(1);

    /// If `is_enabled` is false, every attempt is admitted at once, and none is counted.
    pub(super) fn new(store: Arc<dyn Store>, clock: Clock, is_enabled: bool) -> Self {
        Self { store, clock, is_enabled }
    }

    /// Admits or refuses an attempt before its password is hashed. A delayed attempt is not in the
    /// queue of hashes.
    ///
    /// # Errors
    /// [`ActorError::TooManySignInAttempts`], or [`ActorError::Unavailable`].
    pub(super) async fn admit(&self, keys: &AttemptKeys) -> Result<(), ActorError> {
        if !self.is_enabled {
            return Ok(());
        }
        let now = self.clock.now();
        if self.store.count_hit(&keys.network, Self::PER_NETWORK_WINDOW, now).await?
            > Self::PER_NETWORK_MAX
        {
            METRICS.requests_rejected.with_label_values(&["signin_rate"]).inc();
            return Err(ActorError::TooManySignInAttempts {
                retry_after: Self::PER_NETWORK_WINDOW,
            });
        }
        let (pair, email) =
            try_join(self.store.count(&keys.pair, now), self.store.count(&keys.email, now)).await?;
        self.check_pair(pair)?;
        if pair.hits > 0 && email.hits >= Self::FAILURES_MAX {
            tokio::time::sleep(delay(email.hits)).await;
        }
        Ok(())
    }

    /// Counts an attempt with a wrong password.
    ///
    /// # Errors
    /// [`ActorError::TooManySignInAttempts`] if the pair reached the limit meanwhile: the answer
    /// must not say whether the password was wrong. [`ActorError::Unavailable`].
    pub(super) async fn record_failure(&self, keys: &AttemptKeys) -> Result<(), ActorError> {
        if !self.is_enabled {
            return Ok(());
        }
        let (window, now) = (Self::FAILURES_WINDOW, self.clock.now());
        let hits = try_join(
            self.store.count_hit(&keys.pair, window, now),
            self.store.count_hit(&keys.email, window, now),
        )
        .await?
        .0;
        if hits <= Self::FAILURES_MAX {
            return Ok(());
        }
        self.check_pair(self.store.count(&keys.pair, now).await?)
    }

    /// Checks an attempt with a right password again, since other attempts of the pair may have
    /// failed meanwhile.
    ///
    /// # Errors
    /// The same as of [`Self::record_failure`].
    pub(super) async fn recheck_pair(&self, keys: &AttemptKeys) -> Result<(), ActorError> {
        if !self.is_enabled {
            return Ok(());
        }
        self.check_pair(self.store.count(&keys.pair, self.clock.now()).await?)
    }

    fn check_pair(&self, pair: CounterValue) -> Result<(), ActorError> {
        if pair.hits < Self::FAILURES_MAX {
            return Ok(());
        }
        METRICS.requests_rejected.with_label_values(&["signin_rate"]).inc();
        METRICS.sign_ins_failed.with_label_values(&["too_many_failures"]).inc();
        Err(ActorError::TooManySignInAttempts { retry_after: pair.ends_at - self.clock.now() })
    }
}

/// Returns the delay of an attempt after `failures` for its email address, which are at least
/// [`SignInLimits::FAILURES_MAX`].
fn delay(failures: u64) -> Duration {
    let doublings =
        u32::try_from(failures.saturating_sub(SignInLimits::FAILURES_MAX)).unwrap_or(u32::MAX);
    let factor = 2u32.checked_pow(doublings).unwrap_or(u32::MAX);
    SignInLimits::DELAY_FIRST.saturating_mul(factor).min(SignInLimits::DELAY_MAX)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::time::Instant;

    use super::*;
    use crate::store::embedded::EmbeddedStore;

    async fn limits(is_enabled: bool) -> SignInLimits {
        tokio::time::pause();
        let store = EmbeddedStore::in_memory().expect("an in-memory store opens");
        let clock = Clock::starting_at(store.time().await.expect("an in-memory store has a time"));
        SignInLimits::new(store, clock, is_enabled)
    }

    fn attempt(email: &str, network: u8) -> AttemptKeys {
        AttemptKeys::new(email, Ipv4Addr::new(192, 0, 2, network).into())
    }

    /// Returns the delay of an attempt in paused time, in milliseconds. Timers are rounded up to
    /// the next millisecond.
    async fn delay_of(limits: &SignInLimits, keys: &AttemptKeys) -> u128 {
        let began = Instant::now();
        limits.admit(keys).await.expect("the attempt is admitted");
        began.elapsed().as_millis()
    }

    #[test]
    fn delay_doubles_from_250_ms_to_2_s() {
        let millis: Vec<u128> = [10, 11, 12, 13, 14, 1_000, u64::MAX]
            .map(|failures| delay(failures).as_millis())
            .into();
        assert_eq!(millis, [250, 500, 1_000, 2_000, 2_000, 2_000, 2_000]);
    }

    #[tokio::test]
    async fn attempt_is_delayed_only_from_networks_that_failed() {
        let limits = limits(true).await;
        for network in 1..=10 {
            let attempt = attempt("ann@example.com", network);
            assert_eq!(delay_of(&limits, &attempt).await, 0, "network {network}");
            limits.record_failure(&attempt).await.expect("counted");
        }
        let delayed = delay_of(&limits, &attempt("ann@example.com", 1)).await;
        assert!((250..=251).contains(&delayed), "{delayed} ms");
        assert_eq!(
            delay_of(&limits, &attempt("ann@example.com", 99)).await,
            0,
            "a network that did not fail"
        );
        assert_eq!(
            delay_of(&limits, &attempt("bob@example.com", 1)).await,
            0,
            "another email address"
        );
        limits.record_failure(&attempt("ann@example.com", 2)).await.expect("counted");
        let delayed = delay_of(&limits, &attempt("ann@example.com", 1)).await;
        assert!((500..=501).contains(&delayed), "{delayed} ms");
    }

    #[tokio::test]
    async fn pair_is_refused_after_its_tenth_failure_for_the_rest_of_15_min() {
        let limits = limits(true).await;
        let ann = attempt("ann@example.com", 1);
        for failure in 1..=10 {
            limits.admit(&ann).await.unwrap_or_else(|error| panic!("failure {failure}: {error}"));
            limits.record_failure(&ann).await.expect("answered as a wrong password");
        }
        tokio::time::advance(Duration::from_secs(60)).await;
        let Err(ActorError::TooManySignInAttempts { retry_after }) = limits.admit(&ann).await
        else {
            panic!("the attempt is refused")
        };
        assert_eq!(retry_after, Millis::from_mins(14));
        limits.admit(&attempt("ann@example.com", 2)).await.expect("another network");
        limits.admit(&attempt("bob@example.com", 1)).await.expect("another email address");
        tokio::time::advance(Duration::from_secs(14 * 60)).await;
        limits.admit(&ann).await.expect("the window is over");
    }

    #[tokio::test]
    async fn simultaneous_attempts_of_a_pair_get_at_most_ten_answers() {
        let limits = limits(true).await;
        let ann = attempt("ann@example.com", 1);
        let answers =
            futures_util::future::join_all((0..30).map(|_| limits.record_failure(&ann))).await;
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 10);
        assert!(
            matches!(
                limits.recheck_pair(&ann).await,
                Err(ActorError::TooManySignInAttempts { .. })
            ),
            "an attempt with the right password at the same time"
        );
    }

    #[tokio::test]
    async fn disabled_limits_neither_count_nor_delay() {
        let limits = limits(false).await;
        let ann = attempt("ann@example.com", 1);
        for _ in 0..40 {
            assert_eq!(delay_of(&limits, &ann).await, 0);
            limits.record_failure(&ann).await.expect("not counted");
        }
        limits.recheck_pair(&ann).await.expect("not counted");
    }
}
