//! The one place that reads a clock.
//!
//! `now` is the store's time, not the machine's: the local monotonic clock plus an offset that is measured against the
//! store every second, so that replicas whose wall clocks differ by a minute still free nothing early. When the store's
//! time steps (a clock is corrected, a machine was suspended), `now` steps with it, in both directions; only steps back of
//! less than [`Clock::HELD_MAX`] are hidden by standing still. How long something lasts is measured by [`ClockReading`].

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use tokio::time::Instant;

use crate::domain::{Millis, Timestamp};

/// A cheap handle on the time of the store. Clones share one clock.
#[derive(Debug, Clone)]
pub struct Clock(Arc<ClockInner>);

#[derive(Debug)]
struct ClockInner {
    origin: Instant,
    /// The store's time at `origin`, in milliseconds.
    base: AtomicI64,
    /// Half the round trip of the measurement that `base` comes from, in milliseconds.
    uncertainty: AtomicI64,
    /// When that was, in milliseconds after `origin`; negative: never.
    measured_at: AtomicI64,
    /// When the store's time last stepped, in milliseconds after `origin`; [`NEVER`]: it did not.
    stepped_at: AtomicI64,
    /// The latest time that was given out.
    latest: AtomicI64,
}

/// So long ago that nothing depends on it any more.
const NEVER: i64 = i64::MIN / 2;

/// The store's time at one moment, with that moment of the local monotonic clock: from here on, time can be counted as
/// elapsed time, whatever becomes of the store's clock.
#[derive(Debug, Clone, Copy)]
pub struct ClockReading {
    pub now: Timestamp,
    at: Instant,
}

impl ClockReading {
    /// The same moment, at which it was `now` or later.
    #[must_use]
    pub fn at_least(self, now: Timestamp) -> Self {
        Self { now: self.now.max(now), ..self }
    }

    /// The store's time as it would be by now if its clock had not been changed since.
    pub fn carried_on(&self) -> Timestamp {
        self.now + Millis::from(self.at.elapsed())
    }
}

impl Clock {
    /// Beyond this, `/readyz` turns red.
    pub const UNCERTAINTY_MAX: Millis = Millis(250);

    /// A measurement that differs by more than this, beyond what both measurements may be wrong by, is a step of the
    /// store's time.
    pub const STEP_MIN: Millis = Self::UNCERTAINTY_MAX;

    /// How long after a step `/readyz` stays red: locks that are over by the new time end within five seconds.
    pub const STEP_SETTLES: Millis = Millis::from_secs(5);

    /// A step back of less than this is hidden: `now` stands still until it is made up for, so never for longer than this.
    pub const HELD_MAX: Millis = Millis::from_secs(1);

    /// A local clock may go wrong by one part in this many, and no more: five times what a poor quartz does.
    const DRIFT: i64 = 2_000;

    /// A clock that begins at `now`, and is exact until it is measured.
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

    /// The store's time. Less than what it was before only after the store's time stepped back by [`Self::HELD_MAX`] or more.
    pub fn now(&self) -> Timestamp {
        let now = self.0.base.load(Ordering::Relaxed) + self.elapsed();
        let latest = self.0.latest.load(Ordering::Relaxed);
        // Within a millisecond nothing is written: all threads read this, thousands of times in each.
        Timestamp(match latest - now {
            ..0 => self.0.latest.fetch_max(now, Ordering::Relaxed).max(now),
            ahead if ahead < Self::HELD_MAX.0 => latest,
            _ => now,
        })
    }

    /// The store's time, from which elapsed time can be counted.
    pub fn reading(&self) -> ClockReading {
        ClockReading { now: self.now(), at: Instant::now() }
    }

    /// Takes over a measurement: the store said `store` at some moment between `asked` and now. Returns by how much the
    /// store's time stepped, if it did.
    ///
    /// A measurement that is less certain than what is known already, and does not contradict it, changes nothing: a
    /// process that stood still between question and answer would be wrong by half of that time.
    pub fn measured(&self, store: Timestamp, asked: Instant) -> Option<Millis> {
        let round_trip = i64::try_from(asked.elapsed().as_millis()).unwrap_or(i64::MAX);
        let (elapsed, found, known) = (self.elapsed(), round_trip / 2 + 1, self.uncertainty().0);
        let is_first = self.0.measured_at.load(Ordering::Relaxed) < 0;
        let difference = (store.0 + round_trip / 2) - (self.0.base.load(Ordering::Relaxed) + elapsed);
        if !is_first && found > known && difference.abs() <= found + known {
            return None;
        }
        let stepped = !is_first && difference.abs() > found + known + Self::STEP_MIN.0;
        self.0.base.store(store.0 - (elapsed - round_trip / 2), Ordering::Relaxed);
        self.0.uncertainty.store(found, Ordering::Relaxed);
        self.0.measured_at.store(elapsed, Ordering::Relaxed);
        if stepped {
            self.0.stepped_at.store(elapsed, Ordering::Relaxed);
        }
        if difference <= -Self::HELD_MAX.0 {
            // What was given out before does not count any more: from here on `now` ascends again.
            self.0.latest.store(store.0, Ordering::Relaxed);
        }
        stepped.then_some(Millis(difference))
    }

    /// How far `now` may be off. Grows for as long as the store's time cannot be measured.
    pub fn uncertainty(&self) -> Millis {
        let age = match self.0.measured_at.load(Ordering::Relaxed) {
            never if never < 0 => 0,
            at => (self.elapsed() - at).max(0),
        };
        Millis(self.0.uncertainty.load(Ordering::Relaxed) + age / Self::DRIFT)
    }

    /// Whether `now` can be relied on: it is known well enough, and did not step just now.
    pub fn is_sound(&self) -> bool {
        let since_step = self.elapsed().saturating_sub(self.0.stepped_at.load(Ordering::Relaxed));
        self.uncertainty() <= Self::UNCERTAINTY_MAX && since_step > Self::STEP_SETTLES.0
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

    #[tokio::test(start_paused = true)]
    async fn store_time_that_steps_back_an_hour_is_followed_at_once_and_does_not_stand_still() {
        let clock = Clock::starting_at(Timestamp(3_600_000));
        clock.measured(Timestamp(3_600_000), Instant::now());
        advance(Duration::from_secs(1)).await;
        assert_eq!(clock.now(), Timestamp(3_601_000));
        assert_eq!(clock.measured(Timestamp(1_000), Instant::now()), Some(Millis(-3_600_000)));
        assert_eq!(clock.now(), Timestamp(1_000));
        advance(Duration::from_millis(10)).await;
        assert_eq!(clock.now(), Timestamp(1_010), "it goes on");
    }

    #[tokio::test(start_paused = true)]
    async fn small_step_back_is_hidden_by_standing_still_for_less_than_a_second() {
        let clock = Clock::starting_at(Timestamp(0));
        clock.measured(Timestamp(0), Instant::now());
        advance(Duration::from_secs(1)).await;
        assert_eq!(clock.now(), Timestamp(1_000));
        clock.measured(Timestamp(100), Instant::now());
        assert_eq!(clock.now(), Timestamp(1_000), "900 ms back");
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
    async fn reading_carries_on_by_elapsed_time_when_the_clock_steps() {
        let clock = Clock::starting_at(Timestamp(120_000));
        let reading = clock.reading();
        clock.measured(Timestamp(120_000), Instant::now());
        clock.measured(Timestamp(0), Instant::now());
        advance(Duration::from_secs(8)).await;
        assert_eq!((reading.carried_on(), clock.now()), (Timestamp(128_000), Timestamp(8_000)));
    }
}
