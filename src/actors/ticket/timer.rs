//! The one timer of a ticket actor, counted for as long as it is there, and the time by which its lock is judged.

use std::time::Duration;

use actix::{AsyncContext, Context, SpawnHandle};

use super::TicketActor;
use crate::{
    clock::ClockReading,
    domain::{OrderId, Sale, Timestamp},
    metrics::METRICS,
};

/// Has the actor look at the clock when it goes off. Dropping it does not stop it: see [`Timer::stop`].
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

/// The time by which one lock is judged on this replica: the store's time, and never less than the time that elapsed since
/// the actor first saw the lock. So a lock that was taken while the store's clock was ahead does not outlive its length when
/// that clock is corrected. Other replicas, which did not see it being taken, judge it by the store's time alone.
#[derive(Debug, Clone, Copy)]
pub(super) struct LockClock {
    order: OrderId,
    since: ClockReading,
}

impl LockClock {
    /// The clock of the lock on `sale`: `known` if it is that lock's already, else one that begins at `reading`.
    pub fn of(sale: &Sale, known: Option<Self>, reading: ClockReading) -> Option<Self> {
        let order = sale.ticket.lock()?.order;
        if let Some(known) = known.filter(|known| known.order == order) {
            return Some(known);
        }
        // A lock that was taken in the future was taken by a clock that has been corrected since.
        let taken = sale.order.as_ref().map_or(reading.now, |order| order.created_at);
        Some(Self { order, since: reading.at_least(taken) })
    }

    /// The later of the store's time and the time elapsed since the lock was seen first.
    pub fn now(&self, store: Timestamp) -> Timestamp {
        store.max(self.since.carried_on())
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::{
        clock::Clock,
        domain::{Money, Policy, ReplicaName, TicketCommand, TicketId, Title, UserId, decide},
    };

    fn locked_at(at: Timestamp) -> Sale {
        let title = Title::parse("Front row").expect("a title");
        let price = Money::from_minor(2_000).expect("a price");
        let listed = decide::list_ticket(TicketId::new(Uuid::from_u128(1)), UserId::new(Uuid::from_u128(2)), title, price, at);
        let sale = Sale::unlocked(listed.ticket.expect("a ticket"));
        let (order, buyer) = (OrderId::new(Uuid::from_u128(3)), UserId::new(Uuid::from_u128(4)));
        let lock = TicketCommand::Lock { order, buyer, expected_price: None, expected_version: None, replica: ReplicaName::new("one") };
        let decision = decide(&sale, &lock, &Policy::default(), at).expect("granted");
        sale.after(&decision)
    }

    #[tokio::test(start_paused = true)]
    async fn lock_that_was_taken_in_the_future_is_judged_as_if_it_was_taken_now() {
        let clock = Clock::starting_at(Timestamp(0));
        let sale = locked_at(Timestamp(3_600_000));
        let lock = LockClock::of(&sale, None, clock.reading()).expect("it is locked");
        assert_eq!(lock.now(clock.now()), Timestamp(3_600_000));
        tokio::time::advance(Policy::default().lock_duration.to_duration()).await;
        assert_eq!(Some(lock.now(clock.now())), sale.ticket.lock().map(|lock| lock.unlocks_at));
    }

    #[tokio::test(start_paused = true)]
    async fn clock_of_a_lock_is_kept_when_its_ticket_is_loaded_again() {
        let clock = Clock::starting_at(Timestamp(1_000));
        let sale = locked_at(Timestamp(1_000));
        let first = LockClock::of(&sale, None, clock.reading());
        tokio::time::advance(Duration::from_secs(5)).await;
        let later = clock.reading().at_least(Timestamp(60_000));
        let again = LockClock::of(&sale, first, later).expect("it is locked");
        assert_eq!(again.now(Timestamp(0)), Timestamp(6_000));
    }
}
