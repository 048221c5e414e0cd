//! The liveness of a connection: when to ping the peer, and when to end the connection.
//!
//! The shard calls [`Liveness::check`] with the time, twice a second. The hot paths only set a
//! flag. Pure: reads no clock.

use tokio::time::Instant;

use super::SocketLimits;

/// The result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LivenessStatus {
    Healthy,
    PingDue,
    /// The peer sent no frame for `silence_max`.
    Silent,
    /// The socket accepted no queued bytes, or the peer did not answer a ping, for `stall_max`.
    Stalled,
}

/// The liveness state of one connection.
#[derive(Debug)]
pub struct Liveness {
    /// The peer sent a frame since the last check.
    received: bool,
    /// The socket accepted bytes since the last check.
    progressed: bool,
    last_received: Instant,
    /// Start of the time in which frames waited and the socket accepted nothing.
    stuck_since: Option<Instant>,
    next_ping: Instant,
    /// Time of the oldest ping without an answer.
    ping_since: Option<Instant>,
}

impl Liveness {
    /// Creates the state of a new connection. `number` spreads the pings of connections that arrive
    /// at the same time over half of `ping_every`.
    pub fn new(now: Instant, number: u64, limits: &SocketLimits) -> Self {
        // Multiplication by the golden ratio spreads consecutive numbers evenly (Knuth, TAOCP 6.4).
        let spread = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48;
        let fraction = u32::try_from(spread).expect("the value has 16 bits");
        let next_ping = now + limits.ping_every / 2 + limits.ping_every / 2 * fraction / 65_536;
        Self {
            received: false,
            progressed: false,
            last_received: now,
            stuck_since: None,
            next_ping,
            ping_since: None,
        }
    }

    /// Records that the peer sent a frame.
    pub fn received(&mut self) {
        self.received = true;
    }

    /// Records a pong. Returns whether a ping waited for an answer.
    pub fn answered(&mut self) -> bool {
        self.ping_since.take().is_some()
    }

    /// Records that the socket accepted bytes.
    pub fn progressed(&mut self) {
        self.progressed = true;
    }

    /// Checks the connection; `has_queued`: its send queue is not empty. After
    /// [`LivenessStatus::PingDue`], the caller must send a ping.
    pub fn check(
        &mut self,
        now: Instant,
        has_queued: bool,
        limits: &SocketLimits,
    ) -> LivenessStatus {
        if std::mem::take(&mut self.received) {
            self.last_received = now;
        }
        if std::mem::take(&mut self.progressed) || !has_queued {
            self.stuck_since = None;
        }
        if has_queued {
            self.stuck_since.get_or_insert(now);
        }
        let over = |since: Option<Instant>, max| since.is_some_and(|since| now - since >= max);
        if over(self.stuck_since, limits.stall_max) || over(self.ping_since, limits.stall_max) {
            return LivenessStatus::Stalled;
        }
        if over(Some(self.last_received), limits.silence_max) {
            return LivenessStatus::Silent;
        }
        if now < self.next_ping {
            return LivenessStatus::Healthy;
        }
        self.next_ping = now + limits.ping_every;
        self.ping_since.get_or_insert(now);
        LivenessStatus::PingDue
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Checks twice a second for `secs` seconds. Returns the results other than `Healthy`, with
    /// their times in half seconds. `act` returns whether frames are queued.
    fn run(
        secs: u64,
        mut act: impl FnMut(u64, LivenessStatus, &mut Liveness) -> bool,
    ) -> Vec<(u64, LivenessStatus)> {
        let (limits, start) = (SocketLimits::default(), Instant::now());
        let (mut liveness, mut results, mut has_queued) =
            (Liveness::new(start, 1, &limits), Vec::new(), false);
        for half in 1..=secs * 2 {
            let status =
                liveness.check(start + Duration::from_millis(500 * half), has_queued, &limits);
            if status != LivenessStatus::Healthy {
                results.push((half, status));
            }
            if matches!(status, LivenessStatus::Silent | LivenessStatus::Stalled) {
                break;
            }
            has_queued = act(half, status, &mut liveness);
        }
        results
    }

    #[test]
    fn peer_that_answers_is_pinged_every_20_seconds_and_kept() {
        let results = run(200, |_, status, liveness| {
            if status == LivenessStatus::PingDue {
                liveness.received();
                assert!(liveness.answered());
            }
            false
        });
        assert!(
            results.iter().all(|(_, status)| *status == LivenessStatus::PingDue),
            "{results:?}"
        );
        assert!(
            results.windows(2).all(|pair| pair[1].0 - pair[0].0 == 40) && results.len() >= 9,
            "{results:?}"
        );
        assert!((20..=40).contains(&results[0].0), "{results:?}");
    }

    #[test]
    fn peer_that_sends_nothing_is_silent_after_40_seconds() {
        let results = run(100, |_, _, _| false);
        assert_eq!(results.last(), Some(&(80, LivenessStatus::Silent)));
    }

    #[test]
    fn peer_that_sends_but_answers_no_ping_is_stalled_within_50_seconds() {
        let results = run(100, |_, _, liveness| {
            liveness.received();
            false
        });
        assert!(
            matches!(results.last(), Some((half, LivenessStatus::Stalled)) if *half <= 100),
            "{results:?}"
        );
    }

    #[test]
    fn peer_that_reads_nothing_from_a_full_queue_is_stalled_after_30_seconds() {
        let results = run(100, |_, _, liveness| {
            liveness.received();
            liveness.answered();
            true
        });
        assert!(matches!(results.last(), Some((61 | 62, LivenessStatus::Stalled))), "{results:?}");
    }

    #[test]
    fn peer_that_reads_slowly_is_kept() {
        let results = run(200, |half, _, liveness| {
            liveness.received();
            liveness.answered();
            if half % 20 == 0 {
                liveness.progressed();
            }
            true
        });
        assert!(
            results.iter().all(|(_, status)| *status == LivenessStatus::PingDue),
            "{results:?}"
        );
    }

    #[test]
    fn pings_of_connections_that_arrive_together_are_spread() {
        let (limits, now) = (SocketLimits::default(), Instant::now());
        let pings: Vec<_> =
            (0..100).map(|number| Liveness::new(now, number, &limits).next_ping - now).collect();
        assert!(
            pings.iter().all(|ping| (limits.ping_every / 2..=limits.ping_every).contains(ping))
        );
        let early = pings.iter().filter(|ping| **ping < limits.ping_every * 3 / 4).count();
        assert!((40..60).contains(&early), "{early}");
    }
}
