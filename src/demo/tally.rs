//! The counters of a demo.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! tally {
    ($($(#[$doc:meta])* $name:ident;)*) => {
        /// The counters while the demo runs.
        #[derive(Debug, Default)]
        pub(super) struct Tally {
            $(pub(super) $name: AtomicCount,)*
        }

        /// The counts at the end.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct Summary {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Tally {
            pub(super) fn summary(&self) -> Summary {
                Summary { $($name: self.$name.get(),)* }
            }
        }

        impl Summary {
            pub(super) fn log(&self) {
                tracing::info!($($name = self.$name,)* "the demo has ended");
            }
        }
    };
}

tally! {
    /// People who signed up or in.
    people;
    /// Tickets that sellers listed.
    listed;
    /// Prices that sellers changed.
    edited;
    /// Price changes that were refused because the ticket was locked or sold.
    edits_refused;
    /// Locks that buyers got.
    locked;
    /// Orders that were refused because the ticket was locked, sold or deleted, or had another
    /// price.
    lock_attempts_failed;
    /// Orders that were paid.
    sold;
    /// Payments that were declined.
    declined;
    /// Payments that required 3-D Secure.
    authenticated;
    /// Orders that their buyers cancelled.
    cancelled;
    /// Orders that their buyers abandoned.
    abandoned;
    /// Abandoned orders that were found expired, and payments that were refused because the
    /// order had expired.
    expired;
    /// Repetitions of requests that the server asked to repeat later (429, 503), that got no
    /// answer, or whose first sending was still being processed (409).
    repeated;
    /// Unexpected answers.
    unexpected;
}

/// A counter.
#[derive(Debug, Default)]
pub(super) struct AtomicCount(AtomicU64);

impl AtomicCount {
    pub(super) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
