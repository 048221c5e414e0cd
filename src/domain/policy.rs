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
}

impl Policy {
    /// This many locks of one user on one ticket may come to nothing within [`Policy::RELOCK_SPAN`].
    pub const RELOCKS_MAX: usize = 3;
    /// The span within which they are counted.
    pub const RELOCK_SPAN: Millis = Millis::from_mins(60);

    /// When the payment window of a lock taken at `now` closes.
    pub fn expires_at(&self, now: Timestamp) -> Timestamp {
        now + self.payment_window
    }

    /// When a lock taken at `now` ends.
    pub fn unlocks_at(&self, now: Timestamp) -> Timestamp {
        now + self.lock_duration
    }
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
        }
    }
}
