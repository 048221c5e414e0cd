//! What happened in the course of a demo, counted.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! tally {
    ($($(#[$doc:meta])* $name:ident;)*) => {
        /// Counts, while it goes on.
        #[derive(Debug, Default)]
        pub(super) struct Tally {
            $(pub(super) $name: AtomicCount,)*
        }

        /// Counts, in the end.
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
                tracing::info!($($name = self.$name,)* "the demo is over");
            }
        }
    };
}

tally! {
    /// People who signed up or in.
    people;
    /// Tickets that sellers put on sale.
    listed;
    /// Prices that sellers changed.
    edited;
    /// Changes that were refused because the ticket was locked or sold.
    edits_refused;
    /// Locks that buyers got.
    locked;
    /// Orders that came too late: the ticket was locked, sold, gone, or had another price.
    lost_races;
    /// Orders that were paid.
    sold;
    /// Payments that were declined.
    declined;
    /// Payments that asked for 3-D Secure.
    authenticated;
    /// Orders that their buyers cancelled.
    cancelled;
    /// Orders that their buyers left alone.
    abandoned;
    /// Of those, and of the ones that were paid too late, the ones that were seen to lapse.
    lapsed;
    /// Requests that the server asked to repeat later (429, 503), or that got no answer.
    repeated;
    /// Answers that nobody expected.
    surprises;
}

/// One number that only grows.
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
