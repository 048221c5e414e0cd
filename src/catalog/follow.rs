//! Keeps a catalog in step with the store: a snapshot first, then what the feed tells.

use std::{collections::HashSet, sync::Arc, time::Duration};

use futures_util::future::try_join;

use super::Catalog;
use crate::{
    domain::{Event, Ticket, TicketId},
    store::{FeedReader, FeedStep, Store, Unavailable},
};

/// Tickets of one read of the snapshot: some 5 ms of merging before other tasks have their turn.
const PAGE: usize = 1000;

/// The wait after a failed read, doubled with each failure in a row up to the longest.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_LONGEST: Duration = Duration::from_secs(5);

/// Loads all tickets, then merges what `reader` brings, for as long as it is polled. Never returns.
///
/// `reader` must have been subscribed before this is called: what is committed while the snapshot is read comes by the
/// feed, newest version wins. When history was lost the snapshot is read anew, and what it no longer has is taken out.
pub async fn follow(catalog: Catalog, store: Arc<dyn Store>, mut reader: FeedReader) {
    load_until_done(&catalog, &*store).await;
    loop {
        match reader.next().await {
            FeedStep::Events(events) => events.iter().for_each(|recorded| merge(&catalog, &recorded.event)),
            FeedStep::Reset => load_until_done(&catalog, &*store).await,
        }
    }
}

fn merge(catalog: &Catalog, event: &Event) {
    match event {
        Event::TicketCreated { ticket } | Event::TicketUpdated { ticket } => {
            catalog.merge(ticket);
        }
        Event::TicketDeleted { ticket, version, .. } => {
            catalog.remove(*ticket, *version);
        }
        Event::UserCreated { .. }
        | Event::UserUpdated { .. }
        | Event::OrderCreated { .. }
        | Event::OrderCancelled { .. }
        | Event::OrderExpired { .. }
        | Event::ChargeCreated { .. }
        | Event::ChargeCompleted { .. }
        | Event::ChargeFailed { .. }
        | Event::ChargeRefunded { .. }
        | Event::SessionRevoked { .. }
        | Event::SessionsRevoked { .. } => {}
    }
}

async fn load_until_done(catalog: &Catalog, store: &dyn Store) {
    let mut wait = RETRY_FIRST;
    while let Err(error) = load(catalog, store).await {
        tracing::warn!(error = %error, retry_in_ms = wait.as_millis(), "the tickets could not be loaded");
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(RETRY_LONGEST);
    }
    tracing::debug!(tickets = catalog.len(), "the catalog is loaded");
    catalog.0.loaded.send_replace(true);
}

async fn load(catalog: &Catalog, store: &dyn Store) -> Result<(), Unavailable> {
    fail::fail_point!("catalog::load", |_| Err(Unavailable("a failpoint".into())));
    let mut after = None;
    let mut page = store.tickets_after(after, PAGE).await?;
    loop {
        let last = page.last().map(|ticket| ticket.id).filter(|_| page.len() == PAGE);
        let Some(last) = last else { return take_in(catalog, store, &page, after, None).await };
        // The store is at work on the next page while this one is merged.
        let next = store.tickets_after(Some(last), PAGE);
        (page, ()) = try_join(next, take_in(catalog, store, &page, after, Some(last))).await?;
        after = Some(last);
    }
}

/// Merges a page of the snapshot: all tickets there are beyond `after`, as far as `last`.
async fn take_in(
    catalog: &Catalog,
    store: &dyn Store,
    page: &[Ticket],
    after: Option<TicketId>,
    last: Option<TicketId>,
) -> Result<(), Unavailable> {
    page.iter().for_each(|ticket| {
        catalog.merge(ticket);
    });
    let listed: HashSet<TicketId> = page.iter().map(|ticket| ticket.id).collect();
    for id in catalog.ids_between(after, last) {
        if !listed.contains(&id) {
            look_after(catalog, store, id).await?;
        }
    }
    Ok(())
}

/// A ticket that the snapshot does not have was deleted where the feed did not tell, or is newer than the snapshot: only
/// the store can say which.
async fn look_after(catalog: &Catalog, store: &dyn Store, id: TicketId) -> Result<(), Unavailable> {
    let known = catalog.get(id).map(|ticket| ticket.version);
    match (store.ticket(id).await?, known) {
        (Some(ticket), _) => {
            catalog.merge(&ticket);
        }
        (None, Some(version)) => {
            catalog.remove(id, version);
        }
        (None, None) => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use async_trait::async_trait;
    use parking_lot::Mutex;
    use uuid::Uuid;

    use super::*;
    use crate::{
        domain::{
            Charge, ChargeId, Currency, Delivery, Email, IdempotencyRecord, Millis, Money, Order, OrderId, Sale, Session, SessionDigest,
            TicketState, Timestamp, Title, User, UserId, invariants::Snapshot,
        },
        store::{Commit, CommitError, CounterValue, Cursor, FeedLog, OrderScope, RecordedEvent, feed::FeedLimits},
    };

    /// Tickets that can be read, and a feed. Nothing else of a store is asked for here.
    #[derive(Debug)]
    struct Shelf {
        tickets: Mutex<BTreeMap<TicketId, Ticket>>,
        /// Reads that fail before one succeeds.
        failures: Mutex<u32>,
        log: FeedLog,
    }

    const NOT_ASKED: &str = "a catalog reads tickets only";

    #[async_trait]
    #[rustfmt::skip]
    impl Store for Shelf {
        fn feed(&self) -> &FeedLog { &self.log }
        async fn has_mark(&self, _: &'static str) -> Result<bool, Unavailable> { unreachable!("{NOT_ASKED}") }
        async fn ticket(&self, id: TicketId) -> Result<Option<Ticket>, Unavailable> { Ok(self.tickets.lock().get(&id).cloned()) }
        async fn tickets_after(&self, after: Option<TicketId>, limit: usize) -> Result<Vec<Ticket>, Unavailable> {
            let mut failures = self.failures.lock();
            if *failures > 0 {
                *failures -= 1;
                return Err(Unavailable("not yet".into()));
            }
            let tickets = self.tickets.lock();
            let live = tickets.values().filter(|ticket| !ticket.is_deleted() && after.is_none_or(|after| ticket.id > after));
            Ok(live.take(limit).cloned().collect())
        }
        async fn commit(&self, _: Commit) -> Result<(), CommitError> { unreachable!("{NOT_ASKED}") }
        async fn time(&self) -> Result<Timestamp, Unavailable> { unreachable!("{NOT_ASKED}") }
        async fn secret(&self, _: &'static str) -> Result<[u8; 32], Unavailable> { unreachable!("{NOT_ASKED}") }
        async fn sale(&self, _: TicketId) -> Result<Option<Sale>, Unavailable> { unreachable!("{NOT_ASKED}") }
        async fn sales(&self, _: &[TicketId]) -> Result<Vec<Sale>, Unavailable> { unreachable!("{NOT_ASKED}") }
        async fn tickets_overdue(&self, _: Timestamp, _: usize) -> Result<Vec<TicketId>, Unavailable> { unreachable!("{NOT_ASKED}") }
        async fn order(&self, _: OrderId) -> Result<Option<Order>, Unavailable> { unreachable!("{NOT_ASKED}") }
        async fn orders_of(&self, _: UserId, _: OrderScope, _: Option<OrderId>, _: usize) -> Result<Vec<Order>, Unavailable> { unreachable!("{NOT_ASKED}") }
        async fn charge(&self, _: ChargeId) -> Result<Option<Charge>, Unavailable> { unreachable!("{NOT_ASKED}") }
        async fn charges_of(&self, _: OrderId) -> Result<Vec<Charge>, Unavailable> { unreachable!("{NOT_ASKED}") }
        async fn charges_open(&self, _: Timestamp, _: Option<ChargeId>, _: usize) -> Result<Vec<Charge>, Unavailable> { unreachable!("{NOT_ASKED}") }
        async fn user(&self, _: UserId) -> Result<Option<User>, Unavailable> { unreachable!("{NOT_ASKED}") }
        async fn user_by_email(&self, _: &Email) -> Result<Option<User>, Unavailable> { unreachable!("{NOT_ASKED}") }
        async fn session(&self, _: &SessionDigest) -> Result<Option<Session>, Unavailable> { unreachable!("{NOT_ASKED}") }
        async fn idempotency(&self, _: UserId, _: &str) -> Result<Option<IdempotencyRecord>, Unavailable> { unreachable!("{NOT_ASKED}") }
        async fn delivery(&self, _: &str) -> Result<Option<Delivery>, Unavailable> { unreachable!("{NOT_ASKED}") }
        async fn declines_of(&self, _: UserId) -> Result<Vec<Timestamp>, Unavailable> { unreachable!("{NOT_ASKED}") }
        async fn count_hit(&self, _: &str, _: Millis, _: Timestamp) -> Result<u64, Unavailable> { unreachable!("{NOT_ASKED}") }
        async fn count(&self, _: &str, _: Timestamp) -> Result<CounterValue, Unavailable> { unreachable!("{NOT_ASKED}") }
        async fn clear_count(&self, _: &str) -> Result<(), Unavailable> { unreachable!("{NOT_ASKED}") }
        async fn purge(&self, _: Timestamp) -> Result<(), Unavailable> { unreachable!("{NOT_ASKED}") }
        async fn dump(&self) -> Result<(Snapshot, Vec<Event>), Unavailable> { unreachable!("{NOT_ASKED}") }
        async fn close(&self) { unreachable!("{NOT_ASKED}") }
    }

    impl Shelf {
        fn holding(numbers: impl Iterator<Item = u128>) -> Arc<Self> {
            let tickets = numbers.map(|number| (id(number), ticket(number, 0))).collect();
            let limits = FeedLimits { events_max: 64, silence_max: None, ahead_max: 0 };
            Arc::new(Self { tickets: Mutex::new(tickets), failures: Mutex::new(0), log: FeedLog::new(at(0), limits) })
        }

        /// Changes a ticket without telling.
        fn put(&self, ticket: Ticket) {
            self.tickets.lock().insert(ticket.id, ticket);
        }

        fn tell(&self, time: u64, event: Event) {
            self.log.push([RecordedEvent::new(at(time), Timestamp(0), event)]);
        }
    }

    fn at(time: u64) -> Cursor {
        Cursor { epoch: 1, time, ordinal: 0 }
    }

    fn id(number: u128) -> TicketId {
        TicketId::new(Uuid::from_u128(number))
    }

    fn ticket(number: u128, version: u64) -> Ticket {
        Ticket {
            id: id(number),
            seller: UserId::new(Uuid::from_u128(1)),
            title: Title::parse("Jazz night").expect("a title"),
            price: Money::MIN,
            currency: Currency::Usd,
            state: TicketState::Available,
            version,
            details_version: 0,
            created_at: Timestamp(0),
            updated_at: Timestamp(0),
            lapses: Vec::new(),
        }
    }

    fn gone(number: u128, version: u64) -> Ticket {
        Ticket { state: TicketState::Deleted, ..ticket(number, version) }
    }

    fn updated(number: u128, version: u64) -> Event {
        Event::TicketUpdated { ticket: ticket(number, version) }
    }

    /// Runs `follow` until `done` holds; the time is paused, so that waiting costs none.
    async fn follow_until(catalog: &Catalog, shelf: &Arc<Shelf>, reader: FeedReader, done: impl Fn(&Catalog) -> bool) {
        let until = async {
            while !done(catalog) {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            () = follow(catalog.clone(), Arc::<Shelf>::clone(shelf), reader) => {}
            () = until => {}
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_snapshot_of_many_pages_is_loaded_and_then_the_feed_is_followed() {
        let shelf = Shelf::holding(0..2500);
        let catalog = Catalog::default();
        assert!(!catalog.is_loaded());
        let reader = shelf.log.subscribe();
        shelf.tell(1, updated(3, 1));
        shelf.tell(2, Event::TicketCreated { ticket: ticket(9000, 0) });
        shelf.tell(3, Event::TicketDeleted { ticket: id(4), seller: UserId::new(Uuid::from_u128(1)), version: 1 });
        follow_until(&catalog, &shelf, reader, |catalog| catalog.get(id(4)).is_none() && catalog.is_loaded()).await;
        catalog.loaded().await;
        assert_eq!(catalog.len(), 2500);
        assert_eq!(catalog.get(id(3)).map(|ticket| ticket.version), Some(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_is_away_is_asked_again() {
        let shelf = Shelf::holding(0..10);
        *shelf.failures.lock() = 20;
        let catalog = Catalog::default();
        tokio::select! {
            () = follow(catalog.clone(), Arc::<Shelf>::clone(&shelf), shelf.log.subscribe()) => {}
            () = catalog.loaded() => {}
        }
        assert_eq!(catalog.len(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn after_lost_history_what_the_store_no_longer_has_is_taken_out() {
        let shelf = Shelf::holding(0..1500);
        let catalog = Catalog::default();
        let reader = shelf.log.subscribe();
        load(&catalog, &*shelf).await.expect("the shelf answers");
        // One was deleted and one changed without the feed telling; one vanished with its tombstone.
        shelf.put(gone(7, 3));
        shelf.put(ticket(8, 4));
        shelf.tickets.lock().remove(&id(1400));
        shelf.log.reset(at(50));
        follow_until(&catalog, &shelf, reader, |catalog| catalog.get(id(1400)).is_none()).await;
        assert_eq!((catalog.get(id(7)), catalog.len()), (None, 1498));
        assert_eq!(catalog.get(id(8)).map(|ticket| ticket.version), Some(4));
        assert!(!catalog.merge(&ticket(7, 2)), "its tombstone was taken over");
    }

    #[tokio::test(start_paused = true)]
    async fn a_ticket_that_is_newer_than_the_snapshot_stays() {
        let shelf = Shelf::holding(0..10);
        let catalog = Catalog::default();
        // Committed after its page was read, merged before the page was: the store has it, the page does not.
        catalog.merge(&ticket(5000, 0));
        let late = ticket(5000, 0);
        shelf.put(late);
        let page_without_it = shelf.tickets_after(None, 10).await.expect("the shelf answers");
        assert!(page_without_it.iter().all(|ticket| ticket.id != id(5000)));
        look_after(&catalog, &*shelf, id(5000)).await.expect("the shelf answers");
        assert_eq!(catalog.get(id(5000)).map(|ticket| ticket.version), Some(0));
    }
}
