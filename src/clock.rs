//! The one place that reads a clock.
//!
//! `now` is the store's time, not the machine's: the local monotonic clock plus an offset that is measured against the
//! store every few seconds, so that replicas whose wall clocks differ by a minute still free nothing early.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use tokio::time::Instant;

use crate::domain::{Millis, Timestamp};

/// A cheap handle on the time of the store. Clones share one clock.
#[derive(Debug, Clone)]
pub struct Clock(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    origin: Instant,
    /// The store's time at `origin`, in milliseconds.
    base: AtomicI64,
    /// Half the round trip of the measurement that `base` comes from, in milliseconds.
    uncertainty: AtomicI64,
    /// When that was, in milliseconds after `origin`; negative: never.
    measured_at: AtomicI64,
    /// The latest time that was given out: time never goes back.
    latest: AtomicI64,
}

impl Clock {
    /// Beyond this, `/readyz` turns red.
    pub const UNCERTAINTY_MAX: Millis = Millis(250);

    /// A local clock may go wrong by one part in this many, and no more: five times what a poor quartz does.
    const DRIFT: i64 = 2_000;

    /// A clock that begins at `now`, and is exact until it is measured.
    pub fn starting_at(now: Timestamp) -> Self {
        Self(Arc::new(Inner {
            origin: Instant::now(),
            base: AtomicI64::new(now.0),
            uncertainty: AtomicI64::new(0),
            measured_at: AtomicI64::new(-1),
            latest: AtomicI64::new(now.0),
        }))
    }

    /// The store's time. Never less than what it said before.
    pub fn now(&self) -> Timestamp {
        let now = self.0.base.load(Ordering::Relaxed) + self.elapsed();
        let latest = self.0.latest.load(Ordering::Relaxed);
        // Within a millisecond nothing is written: all threads read this, thousands of times in each.
        Timestamp(if now <= latest { latest } else { self.0.latest.fetch_max(now, Ordering::Relaxed).max(now) })
    }

    /// Takes over a measurement: the store said `store` at some moment between `asked` and now.
    ///
    /// One that tells less than what is known already, and does not contradict it, changes nothing: a process that stood
    /// still between question and answer would be wrong by half of that time.
    pub fn measured(&self, store: Timestamp, asked: Instant) {
        let round_trip = i64::try_from(asked.elapsed().as_millis()).unwrap_or(i64::MAX);
        let (elapsed, found, known) = (self.elapsed(), round_trip / 2 + 1, self.uncertainty().0);
        let is_first = self.0.measured_at.load(Ordering::Relaxed) < 0;
        let difference = self.0.base.load(Ordering::Relaxed) + elapsed - (store.0 + round_trip / 2);
        if !is_first && found > known && difference.abs() <= found + known {
            return;
        }
        self.0.base.store(store.0 - (elapsed - round_trip / 2), Ordering::Relaxed);
        self.0.uncertainty.store(found, Ordering::Relaxed);
        self.0.measured_at.store(elapsed, Ordering::Relaxed);
    }

    /// How far `now` may be off. Grows for as long as the store's time cannot be measured.
    pub fn uncertainty(&self) -> Millis {
        let age = match self.0.measured_at.load(Ordering::Relaxed) {
            never if never < 0 => 0,
            at => (self.elapsed() - at).max(0),
        };
        Millis(self.0.uncertainty.load(Ordering::Relaxed) + age / Self::DRIFT)
    }

    /// The instant of the local monotonic clock at which `now` will be `at`, for a timer.
    pub fn instant_of(&self, at: Timestamp) -> Instant {
        Instant::now() + (at - self.now()).to_duration()
    }

    fn elapsed(&self) -> i64 {
        i64::try_from(self.0.origin.elapsed().as_millis()).unwrap_or(i64::MAX)
    }
}

/// The wall clock of this machine: what the embedded store calls its time.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn wall_clock() -> Timestamp {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_process_that_stood_still_while_it_asked_keeps_the_better_time_that_it_had() {
        let clock = Clock::starting_at(Timestamp(0));
        clock.measured(Timestamp(1_000), Instant::now());
        advance(Duration::from_secs(10)).await;
        let asked = Instant::now();
        // The store answers at the very end of eight seconds: half of them would be four seconds too many.
        advance(Duration::from_secs(8)).await;
        clock.measured(Timestamp(19_000), asked);
        assert_eq!(clock.now(), Timestamp(19_000));
        assert!(clock.uncertainty() <= Clock::UNCERTAINTY_MAX, "{:?}", clock.uncertainty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_whose_time_has_stepped_is_followed() {
        let clock = Clock::starting_at(Timestamp(0));
        clock.measured(Timestamp(0), Instant::now());
        let asked = Instant::now();
        advance(Duration::from_millis(20)).await;
        clock.measured(Timestamp(5_000), asked);
        assert_eq!((clock.now(), clock.uncertainty()), (Timestamp(5_010), Millis(11)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_time_that_was_measured_long_ago_is_less_and_less_certain_until_it_is_measured_again() {
        let clock = Clock::starting_at(Timestamp(0));
        clock.measured(Timestamp(0), Instant::now());
        advance(Duration::from_secs(60)).await;
        assert!(clock.uncertainty() <= Clock::UNCERTAINTY_MAX, "a store may be away for a minute");
        advance(Duration::from_secs(540)).await;
        assert!(clock.uncertainty() > Clock::UNCERTAINTY_MAX, "{:?}", clock.uncertainty());
        clock.measured(Timestamp(600_040), Instant::now());
        assert_eq!((clock.now(), clock.uncertainty()), (Timestamp(600_040), Millis(1)));
    }
}
