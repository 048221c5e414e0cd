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
    /// The latest time that was given out: time never goes back.
    latest: AtomicI64,
}

impl Clock {
    /// Beyond this, `/readyz` turns red.
    pub const UNCERTAINTY_MAX: Millis = Millis(250);

    /// A clock that begins at `now`.
    pub fn starting_at(now: Timestamp) -> Self {
        Self(Arc::new(Inner {
            origin: Instant::now(),
            base: AtomicI64::new(now.0),
            uncertainty: AtomicI64::new(0),
            latest: AtomicI64::new(now.0),
        }))
    }

    /// The store's time. Never less than what it said before.
    pub fn now(&self) -> Timestamp {
        let now = self.0.base.load(Ordering::Relaxed) + self.elapsed();
        Timestamp(self.0.latest.fetch_max(now, Ordering::Relaxed).max(now))
    }

    /// Takes over a measurement: the store said `store` at some moment between `asked` and now.
    pub fn measured(&self, store: Timestamp, asked: Instant) {
        let round_trip = i64::try_from(asked.elapsed().as_millis()).unwrap_or(i64::MAX);
        let middle = self.elapsed() - round_trip / 2;
        self.0.base.store(store.0 - middle, Ordering::Relaxed);
        self.0.uncertainty.store(round_trip / 2 + 1, Ordering::Relaxed);
    }

    /// How far `now` may be off.
    pub fn uncertainty(&self) -> Millis {
        Millis(self.0.uncertainty.load(Ordering::Relaxed))
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
