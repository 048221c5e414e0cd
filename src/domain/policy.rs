//! The lengths and limits that an operator may set.

use super::{Millis, Timestamp};

/// The rules of the lock that are settings. All replicas of one marketplace must run with the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// From the lock to `expiresAt`: how long a buyer has to enter payment. At most `lock_duration`.
    pub payment_window: Millis,
    /// From the lock to `unlocksAt`: when the ticket is free again unless it was sold.
    pub lock_duration: Millis,
    /// How long after `unlocksAt` a capture that is on its way may still hold the lock.
    pub settle_grace: Millis,
    /// Whether the ticket is freed at `expiresAt` already, when no payment was submitted.
    pub early_release: bool,
    /// How many locks a user may hold at once.
    pub locks_max: u32,
    /// How long a user waits before locking a ticket again on which three of their locks came to nothing in an hour.
    pub relock_wait: Millis,
    /// Whether declined payments are limited, per order and per user.
    pub limits_declines: bool,
    /// How many tickets a user may have on sale at once; `None`: any number.
    pub listings_max: Option<u32>,
}

impl Policy {
    /// This many locks of one user on one ticket may come to nothing within [`Policy::RELOCK_SPAN`].
    pub const RELOCKS_MAX: usize = 3;
    /// The span within which they are counted.
    pub const RELOCK_SPAN: Millis = Millis::from_mins(60);
    /// Declined payments of one order; after them it cannot be paid any more.
    pub const DECLINES_PER_ORDER_MAX: u32 = 5;
    /// Declined payments of one user within [`Policy::DECLINES_SPAN`].
    pub const DECLINES_PER_USER_MAX: u8 = 20;
    /// The span within which a user's declines are counted.
    pub const DECLINES_SPAN: Millis = Millis::from_mins(24 * 60);

    /// When the payment window of a lock taken at `now` closes.
    pub fn expires_at(&self, now: Timestamp) -> Timestamp {
        now + self.payment_window
    }

    /// When a lock taken at `now` ends.
    pub fn unlocks_at(&self, now: Timestamp) -> Timestamp {
        now + self.lock_duration
    }

    /// The end of the wait of a user with these declined payments (oldest first), if they have to wait at `now`.
    ///
    /// `in_flight` attempts are running and may be declined yet: each counts as a decline, so that several orders paid at
    /// once do not exceed the limit.
    pub fn declines_wait_until(&self, declines: &[Timestamp], in_flight: usize, now: Timestamp) -> Option<Timestamp> {
        let recent: Vec<Timestamp> = declines.iter().copied().filter(|at| now < *at + Self::DECLINES_SPAN).collect();
        let declines_max = usize::from(Self::DECLINES_PER_USER_MAX);
        if !self.limits_declines || recent.len() + in_flight < declines_max {
            return None;
        }
        match recent.len().checked_sub(declines_max) {
            Some(surplus) => Some(recent[surplus] + Self::DECLINES_SPAN),
            None => Some(now + Self::ATTEMPT_WAIT),
        }
    }

    /// The wait for attempts that are running, any of which may be the last decline that is allowed.
    const ATTEMPT_WAIT: Millis = Millis::from_secs(2);
}

impl Default for Policy {
    /// The mission's: ten minutes to pay, free again after fifteen.
    fn default() -> Self {
        Self {
            payment_window: Millis::from_mins(10),
            lock_duration: Millis::from_mins(15),
            settle_grace: Millis::from_secs(60),
            early_release: false,
            locks_max: 4,
            relock_wait: Millis::from_mins(15),
            limits_declines: true,
            listings_max: Some(1000),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_800_000_000_000);

    fn declined(count: usize) -> Vec<Timestamp> {
        (0..count).map(|n| NOW - Millis::from_mins(i64::try_from(count - n).expect("a small count"))).collect()
    }

    #[test]
    fn user_waits_until_the_oldest_of_the_last_20_declines_is_a_day_old() {
        let policy = Policy::default();
        assert_eq!(policy.declines_wait_until(&declined(19), 0, NOW), None);
        let until = NOW - Millis::from_mins(20) + Policy::DECLINES_SPAN;
        assert_eq!(policy.declines_wait_until(&declined(20), 0, NOW), Some(until));
        assert_eq!(policy.declines_wait_until(&declined(25), 0, NOW), Some(until), "the older five do not matter");
        assert_eq!(policy.declines_wait_until(&declined(20), 0, until), None);
    }

    #[test]
    fn attempts_in_flight_count_as_declines_until_they_end() {
        let policy = Policy::default();
        assert_eq!(policy.declines_wait_until(&declined(18), 1, NOW), None);
        assert_eq!(policy.declines_wait_until(&declined(18), 2, NOW), Some(NOW + Policy::ATTEMPT_WAIT));
    }

    #[test]
    fn declines_are_unlimited_when_the_limit_is_off() {
        let policy = Policy { limits_declines: false, ..Policy::default() };
        assert_eq!(policy.declines_wait_until(&declined(100), 4, NOW), None);
    }
}
