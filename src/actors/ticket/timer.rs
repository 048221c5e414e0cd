//! The timer of a ticket actor, and the clock that its lock is measured by.

use std::time::Duration;

use actix::{AsyncContext, Context, SpawnHandle};

use super::TicketActor;
use crate::{
    clock::ClockReading,
    domain::{OrderId, Sale, Timestamp},
    metrics::METRICS,
};

/// Makes the actor run its due deadline when the timer fires. It is counted in the metrics until it
/// is dropped. Dropping it does not cancel the timer: see [`Timer::stop`].
#[derive(Debug)]
pub(super) struct Timer(SpawnHandle);

impl Timer {
    pub fn start(ctx: &mut Context<TicketActor>, after: Duration) -> Self {
        METRICS.timers_armed.inc();
        Self(ctx.run_later(after, |actor, ctx| actor.run_due_deadline(ctx)))
    }

    pub fn stop(self, ctx: &mut Context<TicketActor>) {
        ctx.cancel_future(self.0);
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        METRICS.timers_armed.dec();
    }
}

/// The clock that one lock is measured by on this replica.
///
/// It returns the later of two times: the store's time now, and the store's time when this actor
/// first had the lock in memory plus the time elapsed since then. So a lock that was granted while
/// the store's clock was ahead does not last longer than its duration when that clock is corrected.
/// Another replica counts from the moment at which it first loaded the lock.
#[derive(Debug, Clone, Copy)]
pub(super) struct LockClock {
    order: OrderId,
    since: ClockReading,
}

impl LockClock {
    /// Returns the clock of the lock on `sale`: `current` if it belongs to that lock, else one that
    /// begins at `reading`. Returns `None` if the ticket is not locked.
    pub fn of(sale: &Sale, current: Option<Self>, reading: ClockReading) -> Option<Self> {
        let order = sale.ticket.lock()?.order;
        if let Some(current) = current.filter(|current| current.order == order) {
            return Some(current);
        }
        // If the lock was created later than now, the store's clock was ahead then and has been
        // corrected since.
        let created_at = sale.order.as_ref().map_or(reading.now, |order| order.created_at);
        Some(Self { order, since: reading.at_least(created_at) })
    }

    /// Returns the later of `store`, which is the store's time, and the first reading plus the time
    /// elapsed since then.
    pub fn now(&self, store: Timestamp) -> Timestamp {
        store.max(self.since.extrapolated())
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::{
        clock::Clock,
        domain::{Policy, ReplicaName, TicketCommand, UserId, decide, samples},
    };

    fn locked_at(at: Timestamp) -> Sale {
        let sale = Sale::unlocked(samples::ticket());
        let (order, buyer) = (OrderId::new(Uuid::from_u128(3)), UserId::new(Uuid::from_u128(4)));
        let lock = TicketCommand::Lock {
            order,
            buyer,
            expected_price: None,
            expected_version: None,
            replica: ReplicaName::new("one"),
        };
        let decision = decide(&sale, &lock, &Policy::default(), at).expect("the lock is granted");
        sale.after(&decision)
    }

    #[tokio::test(start_paused = true)]
    async fn lock_created_in_the_future_is_measured_from_now() {
        let clock = Clock::starting_at(Timestamp(0));
        let sale = locked_at(Timestamp(3_600_000));
        let lock = LockClock::of(&sale, None, clock.reading()).expect("it is locked");
        assert_eq!(lock.now(clock.now()), Timestamp(3_600_000));
        tokio::time::advance(Policy::default().lock_duration.to_duration()).await;
        assert_eq!(Some(lock.now(clock.now())), sale.ticket.lock().map(|lock| lock.unlocks_at));
    }

    #[tokio::test(start_paused = true)]
    async fn lock_clock_is_kept_when_its_ticket_is_loaded_again() {
        let clock = Clock::starting_at(Timestamp(1_000));
        let sale = locked_at(Timestamp(1_000));
        let first = LockClock::of(&sale, None, clock.reading());
        tokio::time::advance(Duration::from_secs(5)).await;
        let later = clock.reading().at_least(Timestamp(60_000));
        let again = LockClock::of(&sale, first, later).expect("it is locked");
        assert_eq!(again.now(Timestamp(0)), Timestamp(6_000));
    }
}
