//! The figures of a run of rounds.

use std::{collections::BTreeMap, fmt, time::Duration};

use super::faults::Fault;

/// Results of the rounds.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    pub rounds: u64,
    pub faults: BTreeMap<Fault, u64>,
    pub requests: u64,
    pub acknowledged: u64,
    pub unavailable: u64,
    pub unanswered: u64,
    pub purchases: usize,
    pub sold: usize,
    pub refunded: usize,
    pub released: usize,
    /// Greatest delay among the locks that expired while at least one replica could write.
    pub release_lag_ms_max: i64,
    pub connections: u64,
    pub resets: u64,
    /// Longest time without a completed purchase; the buyers try the next replica after two
    /// seconds.
    pub outage_max: Worst,
    /// Longest time from the end of a fault until purchases succeeded on every replica.
    pub recovery_max: Worst,
    pub answer_max: Worst,
}

/// Greatest duration of its kind, and where it occurred.
#[derive(Debug, Clone, Default)]
pub struct Worst {
    pub millis: u128,
    pub what: String,
}

impl fmt::Display for Worst {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms ({})", self.millis, self.what)
    }
}

/// Counts and figures, in two lines.
impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            requests,
            unavailable,
            unanswered,
            acknowledged,
            purchases,
            sold,
            refunded,
            released,
            connections,
            resets,
            ..
        } = self;
        writeln!(
            f,
            "{requests} requests ({unavailable} answered 503, {unanswered} without an answer), {acknowledged} acknowledged changes, \
             {purchases} purchases by the timed pairs, {sold} sold, {refunded} refunded, {released} expired locks released; {connections} connections of \
             watchers, {resets} resets"
        )?;
        write!(
            f,
            "  longest without a purchase {}; longest recovery of all replicas {}; slowest answer {}; latest release while a replica could \
             write {} ms",
            self.outage_max, self.recovery_max, self.answer_max, self.release_lag_ms_max
        )
    }
}

impl Worst {
    pub fn record_if_longer(&mut self, took: Duration, what: impl FnOnce() -> String) {
        if took.as_millis() > self.millis {
            *self = Self { millis: took.as_millis(), what: what() };
        }
    }
}
