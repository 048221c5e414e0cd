//! Limits on failed sign-ins, counted in the store for all replicas together (docs/adr/0014-sign-in-limits.md).
//!
//! Failures are counted for each pair of email address and network, and for each email address. A pair is refused after
//! [`SignInLimits::FAILURES_MAX`]. An email address is never refused as a whole: after as many failures from anywhere,
//! tries from networks that failed wait before they may be hashed, and others do not.

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

/// The limits. Clones share the counters.
#[derive(Debug, Clone)]
pub(super) struct SignInLimits {
    store: Arc<dyn Store>,
    clock: Clock,
    on: bool,
}

/// The counters that one try belongs to. Their keys are digests: what people type into the wrong field does not get into
/// the store.
#[derive(Debug, Clone)]
pub(super) struct AttemptKeys {
    pair: String,
    email: String,
    network: String,
}

impl AttemptKeys {
    /// `email` in canonical form, or as it was sent if it is no address: unknown addresses are counted like known ones.
    pub(super) fn new(email: &str, network: IpAddr) -> Self {
        Self {
            pair: format!("signin:pair:{}", digest(&format!("{network} {email}"))),
            email: format!("signin:failed:{}", digest(email)),
            network: format!("signin:client:{}", digest(&network.to_string())),
        }
    }
}

fn digest(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

impl SignInLimits {
    /// Failures for one email address from one network that are answered; the same number from anywhere starts the delay.
    pub(super) const FAILURES_MAX: u64 = 10;
    const FAILURES_WINDOW: Millis = Millis::from_mins(15);
    const DELAY_FIRST: Duration = Duration::from_millis(250);
    const DELAY_MAX: Duration = Duration::from_secs(2);
    /// Sign-ins from one network, right or wrong.
    const PER_NETWORK_MAX: u64 = 300;
    const PER_NETWORK_WINDOW: Millis = Millis::from_mins(1);

    /// `on: false`: every try is let through at once, and none is counted.
    pub(super) fn new(store: Arc<dyn Store>, clock: Clock, on: bool) -> Self {
        Self { store, clock, on }
    }

    /// Judges a try before its password is hashed. It holds no place in the queue of hashes while it waits here.
    ///
    /// # Errors
    /// [`ActorError::TooManySignInAttempts`], or [`ActorError::Unavailable`].
    pub(super) async fn admit(&self, attempt: &AttemptKeys) -> Result<(), ActorError> {
        if !self.on {
            return Ok(());
        }
        let now = self.clock.now();
        if self.store.count_hit(&attempt.network, Self::PER_NETWORK_WINDOW, now).await? > Self::PER_NETWORK_MAX {
            METRICS.requests_rejected.with_label_values(&["signin_rate"]).inc();
            return Err(ActorError::TooManySignInAttempts { retry_after: Self::PER_NETWORK_WINDOW });
        }
        let (pair, email) = try_join(self.store.count(&attempt.pair, now), self.store.count(&attempt.email, now)).await?;
        self.check_pair(pair)?;
        if pair.hits > 0 && email.hits >= Self::FAILURES_MAX {
            tokio::time::sleep(delay(email.hits)).await;
        }
        Ok(())
    }

    /// Counts a try whose password was wrong.
    ///
    /// # Errors
    /// [`ActorError::TooManySignInAttempts`] if others of the pair failed meanwhile: its answer must not tell whether the password was wrong.
    pub(super) async fn failed(&self, attempt: &AttemptKeys) -> Result<(), ActorError> {
        if !self.on {
            return Ok(());
        }
        let (window, now) = (Self::FAILURES_WINDOW, self.clock.now());
        let hits = try_join(self.store.count_hit(&attempt.pair, window, now), self.store.count_hit(&attempt.email, window, now)).await?.0;
        if hits <= Self::FAILURES_MAX {
            return Ok(());
        }
        self.check_pair(self.store.count(&attempt.pair, now).await?)
    }

    /// Judges a try whose password was right once more, since others of its pair may have been hashed at the same time.
    ///
    /// # Errors
    /// As of [`Self::failed`].
    pub(super) async fn succeeded(&self, attempt: &AttemptKeys) -> Result<(), ActorError> {
        if !self.on {
            return Ok(());
        }
        self.check_pair(self.store.count(&attempt.pair, self.clock.now()).await?)
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

/// How long a try waits after `failures` for its email address, at least [`SignInLimits::FAILURES_MAX`].
fn delay(failures: u64) -> Duration {
    let doublings = u32::try_from(failures.saturating_sub(SignInLimits::FAILURES_MAX)).unwrap_or(u32::MAX);
    let factor = 2u32.checked_pow(doublings).unwrap_or(u32::MAX);
    SignInLimits::DELAY_FIRST.saturating_mul(factor).min(SignInLimits::DELAY_MAX)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::time::Instant;

    use super::*;
    use crate::store::embedded::EmbeddedStore;

    async fn limits(on: bool) -> SignInLimits {
        tokio::time::pause();
        let store = EmbeddedStore::in_memory().expect("memory opens");
        let clock = Clock::starting_at(store.time().await.expect("memory has a time"));
        SignInLimits::new(store, clock, on)
    }

    fn attempt(email: &str, network: u8) -> AttemptKeys {
        AttemptKeys::new(email, Ipv4Addr::new(192, 0, 2, network).into())
    }

    /// How long a try waits in stopped time, in milliseconds. Timers are rounded up to the next one.
    async fn wait(limits: &SignInLimits, attempt: &AttemptKeys) -> u128 {
        let began = Instant::now();
        limits.admit(attempt).await.expect("it is admitted");
        began.elapsed().as_millis()
    }

    #[test]
    fn delay_doubles_from_250_ms_to_2_s() {
        let millis: Vec<u128> = [10, 11, 12, 13, 14, 1_000, u64::MAX].map(|failures| delay(failures).as_millis()).into();
        assert_eq!(millis, [250, 500, 1_000, 2_000, 2_000, 2_000, 2_000]);
    }

    #[tokio::test]
    async fn only_networks_that_failed_wait_while_an_email_address_is_attacked() {
        let limits = limits(true).await;
        for network in 1..=10 {
            let attempt = attempt("ann@example.com", network);
            assert_eq!(wait(&limits, &attempt).await, 0, "network {network}");
            limits.failed(&attempt).await.expect("counted");
        }
        let waited = wait(&limits, &attempt("ann@example.com", 1)).await;
        assert!((250..=251).contains(&waited), "{waited} ms");
        assert_eq!(wait(&limits, &attempt("ann@example.com", 99)).await, 0, "a network that did not fail");
        assert_eq!(wait(&limits, &attempt("bob@example.com", 1)).await, 0, "another email address");
        limits.failed(&attempt("ann@example.com", 2)).await.expect("counted");
        let waited = wait(&limits, &attempt("ann@example.com", 1)).await;
        assert!((500..=501).contains(&waited), "{waited} ms");
    }

    #[tokio::test]
    async fn tenth_failure_of_a_pair_is_answered_and_the_eleventh_try_is_refused_for_the_rest_of_15_min() {
        let limits = limits(true).await;
        let ann = attempt("ann@example.com", 1);
        for failure in 1..=10 {
            limits.admit(&ann).await.unwrap_or_else(|fault| panic!("failure {failure}: {fault}"));
            limits.failed(&ann).await.expect("answered as a wrong password");
        }
        tokio::time::advance(Duration::from_secs(60)).await;
        let Err(ActorError::TooManySignInAttempts { retry_after }) = limits.admit(&ann).await else { panic!("it is refused") };
        assert_eq!(retry_after, Millis::from_mins(14));
        limits.admit(&attempt("ann@example.com", 2)).await.expect("another network");
        limits.admit(&attempt("bob@example.com", 1)).await.expect("another email address");
        tokio::time::advance(Duration::from_secs(14 * 60)).await;
        limits.admit(&ann).await.expect("its time is over");
    }

    #[tokio::test]
    async fn answers_of_tries_that_ran_together_do_not_tell_more_than_ten_did() {
        let limits = limits(true).await;
        let ann = attempt("ann@example.com", 1);
        let answers = futures_util::future::join_all((0..30).map(|_| limits.failed(&ann))).await;
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 10);
        assert!(matches!(limits.succeeded(&ann).await, Err(ActorError::TooManySignInAttempts { .. })), "a right one that ran with them");
    }

    #[tokio::test]
    async fn switch_turns_counting_and_delay_off() {
        let limits = limits(false).await;
        let ann = attempt("ann@example.com", 1);
        for _ in 0..40 {
            assert_eq!(wait(&limits, &ann).await, 0);
            limits.failed(&ann).await.expect("not counted");
        }
        limits.succeeded(&ann).await.expect("not counted");
    }
}
