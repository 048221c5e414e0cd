//! The durations and limits that an operator may configure.

use super::{Millis, Timestamp};

/// The configurable rules of locks, payments and listings. All replicas of one marketplace must run
/// with the same values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Time from the lock to `expiresAt`, in which a buyer can submit a payment. At most
    /// `lock_duration`.
    pub payment_window: Millis,
    /// Time from the lock to `unlocksAt`, when the ticket is available again unless it was sold.
    pub lock_duration: Millis,
    /// Time after `unlocksAt` for which a capture that is running may still hold the lock.
    pub settle_grace: Millis,
    /// Whether the ticket is available again at `expiresAt` if no payment was submitted.
    pub early_release: bool,
    /// Maximum number of locks that a user may hold at the same time.
    pub locks_max: u32,
    /// Time for which a user may not lock a ticket on which three of their locks were abandoned
    /// within an hour.
    pub relock_wait: Millis,
    /// Whether the number of declined payments is limited, for each order and for each user.
    pub limits_declines: bool,
    /// Maximum number of tickets that a user may have on sale at the same time. `None`: unlimited.
    pub listings_max: Option<u32>,
}

impl Policy {
    /// Number of abandoned locks of one user on one ticket within [`Policy::RELOCK_SPAN`] after
    /// which the user has to wait.
    pub const RELOCKS_MAX: usize = 3;
    /// The span within which abandoned locks are counted.
    pub const RELOCK_SPAN: Millis = Millis::from_mins(60);
    /// Maximum number of declined payments of one order. After that many, the order cannot be paid.
    pub const DECLINES_PER_ORDER_MAX: u32 = 5;
    /// Maximum number of declined payments of one user within [`Policy::DECLINES_SPAN`].
    pub const DECLINES_PER_USER_MAX: u8 = 20;
    /// The span within which the declined payments of a user are counted.
    pub const DECLINES_SPAN: Millis = Millis::from_mins(24 * 60);

    /// Returns the end of the payment window of a lock that is taken at `now`.
    pub fn expires_at(&self, now: Timestamp) -> Timestamp {
        now + self.payment_window
    }

    /// Returns the end of a lock that is taken at `now`.
    pub fn unlocks_at(&self, now: Timestamp) -> Timestamp {
        now + self.lock_duration
    }

    /// Returns the end of the wait of a user with these declined payments (oldest first), or `None`
    /// if the user does not have to wait at `now`.
    ///
    /// `in_flight` is the number of the user's other attempts that run in this process; each counts
    /// as a decline, because it may be declined. Attempts of other replicas, and attempts that wait
    /// for the buyer's action, are not counted. So the limit may be exceeded.
    pub fn declines_wait_until(
        &self,
        declines: &[Timestamp],
        in_flight: usize,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let recent: Vec<Timestamp> =
            declines.iter().copied().filter(|at| now < *at + Self::DECLINES_SPAN).collect();
        let declines_max = usize::from(Self::DECLINES_PER_USER_MAX);
        if !self.limits_declines || recent.len() + in_flight < declines_max {
            return None;
        }
        match recent.len().checked_sub(declines_max) {
            Some(surplus) => Some(recent[surplus] + Self::DECLINES_SPAN),
            None => Some(now + Self::ATTEMPT_WAIT),
        }
    }

    /// The wait while attempts are running, if one of them may be the last decline that is allowed.
    const ATTEMPT_WAIT: Millis = Millis::from_secs(2);
}

impl Default for Policy {
    /// Returns the values of the specification: ten minutes to pay, and a lock of fifteen minutes.
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
        (0..count)
            .map(|n| NOW - Millis::from_mins(i64::try_from(count - n).expect("a small count")))
            .collect()
    }

    #[test]
    fn user_waits_until_the_oldest_of_the_last_20_declines_is_a_day_old() {
        let policy = Policy::default();
        assert_eq!(policy.declines_wait_until(&declined(19), 0, NOW), None);
        let until = NOW - Millis::from_mins(20) + Policy::DECLINES_SPAN;
        assert_eq!(policy.declines_wait_until(&declined(20), 0, NOW), Some(until));
        assert_eq!(
            policy.declines_wait_until(&declined(25), 0, NOW),
            Some(until),
            "the five older declines do not count"
        );
        assert_eq!(policy.declines_wait_until(&declined(20), 0, until), None);
    }

    #[test]
    fn attempts_in_flight_count_as_declines_until_they_end() {
        let policy = Policy::default();
        assert_eq!(policy.declines_wait_until(&declined(18), 1, NOW), None);
        assert_eq!(
            policy.declines_wait_until(&declined(18), 2, NOW),
            Some(NOW + Policy::ATTEMPT_WAIT)
        );
    }

    #[test]
    fn declines_are_unlimited_when_the_limit_is_off() {
        let policy = Policy { limits_declines: false, ..Policy::default() };
        assert_eq!(policy.declines_wait_until(&declined(100), 4, NOW), None);
    }
}
