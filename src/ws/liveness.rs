//! Whether a connection lives: when to ping it, and when to give it up.
//!
//! Told of time by whoever looks after the connections, twice a second. The hot paths only set a flag. Pure: no clock.

use tokio::time::Instant;

use super::SocketLimits;

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LivenessStatus {
    Well,
    PingDue,
    /// Nothing came for too long.
    Silent,
    /// It takes nothing, or does not answer to what it should have read.
    Stalled,
}

/// The signs of life of one connection.
#[derive(Debug)]
pub struct Liveness {
    /// Something came since the last look.
    received: bool,
    /// Something was taken from the outbox since the last look.
    progressed: bool,
    last_received: Instant,
    /// Since when frames wait and none is taken.
    stuck_since: Option<Instant>,
    next_ping: Instant,
    /// When the oldest ping without an answer was sent.
    ping_since: Option<Instant>,
}

impl Liveness {
    /// `number` spreads the pings of connections that came at the same time over half an interval.
    pub fn new(now: Instant, number: u64, limits: &SocketLimits) -> Self {
        // Multiplied by the golden ratio, consecutive numbers are spread evenly (Knuth, TAOCP 6.4).
        let spread = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48;
        let fraction = u32::try_from(spread).expect("sixteen bits");
        let next_ping = now + limits.ping_every / 2 + limits.ping_every / 2 * fraction / 65_536;
        Self { received: false, progressed: false, last_received: now, stuck_since: None, next_ping, ping_since: None }
    }

    /// The client sent something.
    pub fn received(&mut self) {
        self.received = true;
    }

    /// The client answered a ping; whether there was one to answer.
    pub fn answered(&mut self) -> bool {
        self.ping_since.take().is_some()
    }

    /// A frame left the outbox.
    pub fn progressed(&mut self) {
        self.progressed = true;
    }

    /// Looks at the connection; `waiting`: there are frames in its outbox. [`LivenessStatus::PingDue`] counts as sent.
    pub fn check(&mut self, now: Instant, waiting: bool, limits: &SocketLimits) -> LivenessStatus {
        if std::mem::take(&mut self.received) {
            self.last_received = now;
        }
        if std::mem::take(&mut self.progressed) || !waiting {
            self.stuck_since = None;
        }
        if waiting {
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
            return LivenessStatus::Well;
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

    /// Looks twice a second for `secs` seconds; says when what is not well came up, in half seconds.
    fn watch(secs: u64, mut act: impl FnMut(u64, LivenessStatus, &mut Liveness) -> bool) -> Vec<(u64, LivenessStatus)> {
        let (limits, start) = (SocketLimits::default(), Instant::now());
        let (mut liveness, mut verdicts, mut waiting) = (Liveness::new(start, 1, &limits), Vec::new(), false);
        for half in 1..=secs * 2 {
            let verdict = liveness.check(start + Duration::from_millis(500 * half), waiting, &limits);
            if verdict != LivenessStatus::Well {
                verdicts.push((half, verdict));
            }
            if matches!(verdict, LivenessStatus::Silent | LivenessStatus::Stalled) {
                break;
            }
            waiting = act(half, verdict, &mut liveness);
        }
        verdicts
    }

    #[test]
    fn who_answers_is_pinged_every_20_seconds_and_left_alone() {
        let verdicts = watch(200, |_, verdict, liveness| {
            if verdict == LivenessStatus::PingDue {
                liveness.received();
                assert!(liveness.answered());
            }
            false
        });
        assert!(verdicts.iter().all(|(_, verdict)| *verdict == LivenessStatus::PingDue), "{verdicts:?}");
        assert!(verdicts.windows(2).all(|pair| pair[1].0 - pair[0].0 == 40) && verdicts.len() >= 9, "{verdicts:?}");
        assert!((20..=40).contains(&verdicts[0].0), "{verdicts:?}");
    }

    #[test]
    fn who_says_nothing_is_given_up_after_40_seconds() {
        let verdicts = watch(100, |_, _, _| false);
        assert_eq!(verdicts.last(), Some(&(80, LivenessStatus::Silent)));
    }

    #[test]
    fn who_writes_but_does_not_read_is_given_up_within_a_minute() {
        let verdicts = watch(100, |_, _, liveness| {
            liveness.received();
            false
        });
        assert!(matches!(verdicts.last(), Some((half, LivenessStatus::Stalled)) if *half <= 100), "{verdicts:?}");
    }

    #[test]
    fn who_takes_nothing_from_a_full_queue_is_given_up_after_30_seconds() {
        let verdicts = watch(100, |_, _, liveness| {
            liveness.received();
            liveness.answered();
            true
        });
        assert!(matches!(verdicts.last(), Some((61 | 62, LivenessStatus::Stalled))), "{verdicts:?}");
    }

    #[test]
    fn who_reads_slowly_is_not_given_up() {
        let verdicts = watch(200, |half, _, liveness| {
            liveness.received();
            liveness.answered();
            if half % 20 == 0 {
                liveness.progressed();
            }
            true
        });
        assert!(verdicts.iter().all(|(_, verdict)| *verdict == LivenessStatus::PingDue), "{verdicts:?}");
    }

    #[test]
    fn pings_of_connections_that_came_together_are_spread() {
        let (limits, now) = (SocketLimits::default(), Instant::now());
        let pings: Vec<_> = (0..100).map(|number| Liveness::new(now, number, &limits).next_ping - now).collect();
        assert!(pings.iter().all(|ping| (limits.ping_every / 2..=limits.ping_every).contains(ping)));
        let early = pings.iter().filter(|ping| **ping < limits.ping_every * 3 / 4).count();
        assert!((40..60).contains(&early), "{early}");
    }
}
