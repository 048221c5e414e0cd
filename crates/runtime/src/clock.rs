//! The store's time on this replica. Every rule about tickets is decided by it. Time-outs use
//! tokio's `Instant`.
//!
//! `now` is the store's time, not the time of this machine: the local monotonic clock plus an
//! offset that is measured against the store every second. So no lock is released early because the
//! wall clocks of replicas differ from the store's. When the store's time steps (a clock is
//! corrected, a machine was suspended), `now` steps by the same amount, in both directions. Only a
//! step back of less than [`Clock::HELD_MAX`] is hidden: `now` does not change until the store's
//! time has reached it again. [`ClockReading`] measures how long a lock has lasted, independently
//! of steps of the store's time.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use tokio::time::Instant;

use gittix_domain::{Millis, Timestamp};

/// A handle on the store's time, cheap to clone. Clones share one clock.
#[derive(Debug, Clone)]
pub struct Clock(Arc<ClockInner>);

#[derive(Debug)]
struct ClockInner {
    origin: Instant,
    /// The store's time at `origin`, in milliseconds.
    base: AtomicI64,
    /// Half the round trip of the measurement that `base` comes from, in milliseconds.
    uncertainty: AtomicI64,
    /// Time of that measurement, in milliseconds after `origin`. Negative if there was none.
    measured_at: AtomicI64,
    /// Time of the last step of the store's time, in milliseconds after `origin`. [`NEVER`] if
    /// there was none.
    stepped_at: AtomicI64,
    /// The latest time that `now` has returned.
    latest: AtomicI64,
}

/// A time that is so long ago that it has no effect.
const NEVER: i64 = i64::MIN / 2;

/// The store's time at one moment, with the same moment of the local monotonic clock. Elapsed time
/// can be added to it. Steps of the store's time do not change the elapsed time.
#[derive(Debug, Clone, Copy)]
pub struct ClockReading {
    pub now: Timestamp,
    at: Instant,
}

impl ClockReading {
    /// Returns a reading of the same moment whose store's time is at least `now`.
    #[must_use]
    pub fn at_least(self, now: Timestamp) -> Self {
        Self { now: self.now.max(now), ..self }
    }

    /// Returns the time of this reading plus the time elapsed since then.
    pub fn extrapolated(&self) -> Timestamp {
        self.now + Millis::from(self.at.elapsed())
    }
}

impl Clock {
    /// Maximum uncertainty at which this replica is ready (`/readyz`).
    pub const UNCERTAINTY_MAX: Millis = Millis(250);

    /// Minimum step of the store's time. A measurement that differs by more than this, in addition
    /// to the uncertainty of both measurements, is a step.
    pub const STEP_MIN: Millis = Self::UNCERTAINTY_MAX;

    /// Time after a step during which this replica is not ready (`/readyz`). Locks that are over by
    /// the new time end within it.
    pub const STEP_SETTLES: Millis = Millis::from_secs(5);

    /// A step back of less than this is hidden: `now` does not change until the store's time has
    /// reached it again, at most for this time.
    pub const HELD_MAX: Millis = Millis::from_secs(1);

    /// Maximum error of the local clock: one part in this number. It is five times the error of a
    /// poor quartz.
    const DRIFT: i64 = 2_000;

    /// Returns a clock that begins at `now`. Its uncertainty is zero until the first measurement.
    pub fn starting_at(now: Timestamp) -> Self {
        Self(Arc::new(ClockInner {
            origin: Instant::now(),
            base: AtomicI64::new(now.0),
            uncertainty: AtomicI64::new(0),
            measured_at: AtomicI64::new(-1),
            stepped_at: AtomicI64::new(NEVER),
            latest: AtomicI64::new(now.0),
        }))
    }

    /// Returns the store's time. It decreases only if the store's time is [`Self::HELD_MAX`] or
    /// more behind the greatest time that was returned.
    pub fn now(&self) -> Timestamp {
        let now = self.0.base.load(Ordering::Relaxed) + self.elapsed();
        let latest = self.0.latest.load(Ordering::Relaxed);
        // At most one write in a millisecond: all threads read `latest`, thousands of times in each
        // millisecond.
        Timestamp(match latest - now {
            ..0 => self.0.latest.fetch_max(now, Ordering::Relaxed).max(now),
            ahead if ahead < Self::HELD_MAX.0 => latest,
            _ => now,
        })
    }

    /// Returns a reading of the store's time.
    pub fn reading(&self) -> ClockReading {
        ClockReading { now: self.now(), at: Instant::now() }
    }

    /// Takes over a measurement: the store returned the time `store` at some moment between `asked`
    /// and now. Returns the size of the step if the store's time stepped.
    ///
    /// A measurement that is less certain than the present time, and agrees with it, changes
    /// nothing. If the process was paused between question and answer, the measurement could be
    /// wrong by half of the pause.
    pub fn measured(&self, store: Timestamp, asked: Instant) -> Option<Millis> {
        let round_trip = i64::try_from(asked.elapsed().as_millis()).unwrap_or(i64::MAX);
        let (elapsed, measured, current) =
            (self.elapsed(), round_trip / 2 + 1, self.uncertainty().0);
        let is_first = self.0.measured_at.load(Ordering::Relaxed) < 0;
        let difference =
            (store.0 + round_trip / 2) - (self.0.base.load(Ordering::Relaxed) + elapsed);
        if !is_first && measured > current && difference.abs() <= measured + current {
            return None;
        }
        let stepped = !is_first && difference.abs() > measured + current + Self::STEP_MIN.0;
        self.0.base.store(store.0 - (elapsed - round_trip / 2), Ordering::Relaxed);
        self.0.uncertainty.store(measured, Ordering::Relaxed);
        self.0.measured_at.store(elapsed, Ordering::Relaxed);
        if stepped {
            self.0.stepped_at.store(elapsed, Ordering::Relaxed);
        }
        if difference <= -Self::HELD_MAX.0 {
            // Resets the lower bound of `now`, which increases again from here.
            self.0.latest.store(store.0, Ordering::Relaxed);
        }
        stepped.then_some(Millis(difference))
    }

    /// Returns the maximum error of `now`. It grows while the store's time cannot be measured.
    pub fn uncertainty(&self) -> Millis {
        let age = match self.0.measured_at.load(Ordering::Relaxed) {
            never if never < 0 => 0,
            at => (self.elapsed() - at).max(0),
        };
        Millis(self.0.uncertainty.load(Ordering::Relaxed) + age / Self::DRIFT)
    }

    /// Returns whether `now` is reliable: its uncertainty is at most [`Self::UNCERTAINTY_MAX`], and
    /// the last step is older than [`Self::STEP_SETTLES`].
    pub fn is_sound(&self) -> bool {
        let since_step = self.elapsed().saturating_sub(self.0.stepped_at.load(Ordering::Relaxed));
        self.uncertainty() <= Self::UNCERTAINTY_MAX && since_step > Self::STEP_SETTLES.0
    }

    /// Returns the instant of the local monotonic clock at which `now` will be `at`, for a timer.
    pub fn instant_of(&self, at: Timestamp) -> Instant {
        Instant::now() + (at - self.now()).to_duration()
    }

    fn elapsed(&self) -> i64 {
        i64::try_from(self.0.origin.elapsed().as_millis()).unwrap_or(i64::MAX)
    }
}

/// Returns the wall clock of this machine, which is the time of the embedded store.
#[expect(clippy::disallowed_methods, reason = "the embedded store's time is the machine's")]
pub fn wall_clock() -> Timestamp {
    let since_epoch =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn measurement_of_a_paused_process_does_not_replace_a_better_one() {
        let clock = Clock::starting_at(Timestamp(0));
        clock.measured(Timestamp(1_000), Instant::now());
        advance(Duration::from_secs(10)).await;
        let asked = Instant::now();
        // The store answers at the end of eight seconds. To add half of them would be four seconds
        // too many.
        advance(Duration::from_secs(8)).await;
        clock.measured(Timestamp(19_000), asked);
        assert_eq!(clock.now(), Timestamp(19_000));
        assert!(clock.uncertainty() <= Clock::UNCERTAINTY_MAX, "{:?}", clock.uncertainty());
    }

    #[tokio::test(start_paused = true)]
    async fn step_of_the_store_time_is_taken_over() {
        let clock = Clock::starting_at(Timestamp(0));
        clock.measured(Timestamp(0), Instant::now());
        let asked = Instant::now();
        advance(Duration::from_millis(20)).await;
        clock.measured(Timestamp(5_000), asked);
        assert_eq!((clock.now(), clock.uncertainty()), (Timestamp(5_010), Millis(11)));
    }

    #[tokio::test(start_paused = true)]
    async fn uncertainty_grows_until_the_next_measurement() {
        let clock = Clock::starting_at(Timestamp(0));
        clock.measured(Timestamp(0), Instant::now());
        advance(Duration::from_secs(60)).await;
        assert!(
            clock.uncertainty() <= Clock::UNCERTAINTY_MAX,
            "a store may be unavailable for a minute"
        );
        advance(Duration::from_secs(540)).await;
        assert!(clock.uncertainty() > Clock::UNCERTAINTY_MAX, "{:?}", clock.uncertainty());
        clock.measured(Timestamp(600_040), Instant::now());
        assert_eq!((clock.now(), clock.uncertainty()), (Timestamp(600_040), Millis(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn step_back_of_an_hour_is_taken_over_at_once() {
        let clock = Clock::starting_at(Timestamp(3_600_000));
        clock.measured(Timestamp(3_600_000), Instant::now());
        advance(Duration::from_secs(1)).await;
        assert_eq!(clock.now(), Timestamp(3_601_000));
        assert_eq!(clock.measured(Timestamp(1_000), Instant::now()), Some(Millis(-3_600_000)));
        assert_eq!(clock.now(), Timestamp(1_000));
        advance(Duration::from_millis(10)).await;
        assert_eq!(clock.now(), Timestamp(1_010), "the clock runs");
    }

    #[tokio::test(start_paused = true)]
    async fn step_back_of_less_than_a_second_is_hidden_by_a_stopped_clock() {
        let clock = Clock::starting_at(Timestamp(0));
        clock.measured(Timestamp(0), Instant::now());
        advance(Duration::from_secs(1)).await;
        assert_eq!(clock.now(), Timestamp(1_000));
        clock.measured(Timestamp(100), Instant::now());
        assert_eq!(clock.now(), Timestamp(1_000), "the step of 900 ms back is hidden");
        advance(Duration::from_millis(950)).await;
        assert_eq!(clock.now(), Timestamp(1_050));
    }

    #[tokio::test(start_paused = true)]
    async fn clock_is_unsound_while_a_step_settles() {
        for step in [3_600_000, -3_600_000] {
            let clock = Clock::starting_at(Timestamp(7_200_000));
            clock.measured(Timestamp(7_200_000), Instant::now());
            assert!(clock.is_sound());
            clock.measured(Timestamp(7_200_000 + step), Instant::now());
            assert!(!clock.is_sound());
            advance(Clock::STEP_SETTLES.to_duration() + Duration::from_millis(1)).await;
            assert!(clock.is_sound());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn reading_is_extrapolated_by_elapsed_time_when_the_clock_steps() {
        let clock = Clock::starting_at(Timestamp(120_000));
        let reading = clock.reading();
        clock.measured(Timestamp(120_000), Instant::now());
        clock.measured(Timestamp(0), Instant::now());
        advance(Duration::from_secs(8)).await;
        assert_eq!((reading.extrapolated(), clock.now()), (Timestamp(128_000), Timestamp(8_000)));
    }
}
