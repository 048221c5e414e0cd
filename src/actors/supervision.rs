//! Supervision of the ticket actors: who starts one, what restarts it, how often, and what is
//! reset.
//!
//! | the actor | who notices | what happens |
//! | --- | --- | --- |
//! | is needed | the registry: a request, a lock to time, an overdue lock | the registry starts it |
//! | panics | its `Drop`, which reports the ticket to the registry ([`PanicReports`]) | the registry starts a new actor at once; after [`RestartHistory::PANICS_MAX`] panics in a row, none for [`RestartHistory::PAUSE`] |
//! | stops without a panic | actix's `Supervisor` | the same actor is started again, without its state: `TicketActor::restarting` |
//! | ends with its thread | the [`EssentialTask`] of the thread | the process ends with exit code 70 |
//! | is idle | the registry | it is dropped |
//!
//! actix's `Supervisor` does not restart an actor that panics: the panic drops the actor and its
//! context. A new actor has no state of the old one. It reads the ticket from the catalog or the
//! store, and arms the timer if this replica granted the lock.

use std::time::Duration;

use actix::{Arbiter, ArbiterHandle};
use tokio::{sync::mpsc, time::Instant};

use crate::{domain::TicketId, tasks::EssentialTask};

/// Sends to the registry the id of each ticket whose actor was dropped by a panic.
pub(super) type PanicReports = mpsc::UnboundedSender<TicketId>;

/// The panics of the actors of one ticket.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct RestartHistory {
    panics: u32,
    last: Option<Instant>,
}

impl RestartHistory {
    /// Number of panics, each within [`Self::WINDOW`] of the one before, after which no actor is
    /// started for [`Self::PAUSE`].
    pub(super) const PANICS_MAX: u32 = 5;
    pub(super) const WINDOW: Duration = Duration::from_secs(60);
    pub(super) const PAUSE: Duration = Duration::from_secs(30);

    pub(super) fn record_panic(&mut self, now: Instant) {
        self.panics = if self.is_recent(now) { self.panics + 1 } else { 1 };
        self.last = Some(now);
    }

    /// Whether no actor may be started at `now`.
    pub(super) fn is_paused(&self, now: Instant) -> bool {
        self.panics >= Self::PANICS_MAX && self.last.is_some_and(|last| now - last < Self::PAUSE)
    }

    /// Whether the next panic at `now` would be counted together with the last one.
    pub(super) fn is_recent(&self, now: Instant) -> bool {
        self.last.is_some_and(|last| now - last < Self::WINDOW)
    }
}

/// Ends the process if the thread of `arbiter` ends. Its actors cannot be started on another
/// thread: their place follows from the ticket's id.
pub(super) fn guard_thread(arbiter: &ArbiterHandle) {
    arbiter.spawn(async {
        let _essential = EssentialTask::new("actor thread");
        if ends_thread() {
            Arbiter::current().stop();
        }
        std::future::pending::<()>().await;
    });
}

/// Lets a test end a thread.
fn ends_thread() -> bool {
    fail::fail_point!("actor_thread::end", |_| true);
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_panics_in_a_row_pause_the_restarts_for_30_s() {
        let (mut history, start) = (RestartHistory::default(), Instant::now());
        for n in 0..4 {
            history.record_panic(start + Duration::from_secs(50 * n));
        }
        let last = start + Duration::from_secs(200);
        assert!(!history.is_paused(last));
        history.record_panic(last);
        assert!(history.is_paused(last + Duration::from_secs(29)));
        assert!(!history.is_paused(last + RestartHistory::PAUSE));
    }

    #[test]
    fn panics_a_minute_apart_never_pause_the_restarts() {
        let (mut history, start) = (RestartHistory::default(), Instant::now());
        for n in 0..10 {
            let now = start + RestartHistory::WINDOW * n;
            history.record_panic(now);
            assert!(!history.is_paused(now));
        }
    }
}
