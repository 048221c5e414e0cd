//! Keeps a catalog up to date with the store: loads a snapshot first, then applies the events of
//! the feed.

use std::{collections::HashSet, sync::Arc, time::Duration};

use futures_util::future::try_join;

use super::Catalog;
use crate::{
    domain::{DomainEvent, EventSubject, Ticket, TicketId},
    store::{FeedReader, FeedStep, Store, Unavailable},
};

/// Number of tickets in one page of the snapshot. Merging a page takes some 5 ms, then other tasks
/// can run.
const PAGE: usize = 1000;

/// The wait after a failed read. It doubles with each consecutive failure, up to `RETRY_LONGEST`.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_LONGEST: Duration = Duration::from_secs(5);

/// Loads all tickets, then applies the events of `reader`, as long as this future is polled. Never
/// returns.
///
/// `reader` must be subscribed before the call: commits during the snapshot's reads come by the
/// feed, and the newest version is kept. When the feed has lost events, the snapshot is read again,
/// and tickets that the store no longer has are removed.
pub async fn follow(catalog: Catalog, store: Arc<dyn Store>, mut reader: FeedReader) {
    load_until_done(&catalog, &*store).await;
    loop {
        match reader.next().await {
            FeedStep::Events(events) => {
                events.iter().for_each(|recorded| merge(&catalog, &recorded.event))
            }
            FeedStep::Reset => load_until_done(&catalog, &*store).await,
        }
    }
}

fn merge(catalog: &Catalog, event: &DomainEvent) {
    if let EventSubject::Ticket { id, version, ticket } = event.subject() {
        match ticket {
            Some(ticket) => catalog.merge(ticket),
            None => catalog.remove(id, version),
        };
    }
}

async fn load_until_done(catalog: &Catalog, store: &dyn Store) {
    let mut wait = RETRY_FIRST;
    while let Err(error) = load(catalog, store).await {
        let retry_in_ms = wait.as_millis();
        tracing::warn!(error = %error, retry_in_ms, "the tickets could not be loaded from the store; the load is repeated");
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
        let Some(last) = last else { return merge_page(catalog, store, &page, after, None).await };
        // The store reads the next page while this one is merged.
        let next = store.tickets_after(Some(last), PAGE);
        (page, ()) = try_join(next, merge_page(catalog, store, &page, after, Some(last))).await?;
        after = Some(last);
    }
}

/// Merges a page of the snapshot. The page has all tickets of the store after `after`, up to and
/// including `last`.
async fn merge_page(
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
            refresh(catalog, store, id).await?;
        }
    }
    Ok(())
}

/// Reads from the store a ticket that the snapshot does not contain. Either it was deleted and the
/// event was lost, or it is newer than the snapshot.
async fn refresh(catalog: &Catalog, store: &dyn Store, id: TicketId) -> Result<(), Unavailable> {
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
            Charge, ChargeId, Delivery, Email, IdempotencyRecord, Mail, Millis, Order, OrderId,
            Sale, Session, SessionDigest, TicketState, Timestamp, User, UserId,
        },
        store::{
            Commit, CommitError, CounterValue, Cursor, FeedLog, MailCounts, OrderScope,
            RecordedEvent, feed::FeedLimits,
        },
    };

    /// A store of tickets with a feed. It supports only the calls that a catalog makes.
    #[derive(Debug)]
    struct TicketStore {
        tickets: Mutex<BTreeMap<TicketId, Ticket>>,
        /// Number of reads that fail before one succeeds.
        failures: Mutex<u32>,
        log: FeedLog,
    }

    const UNSUPPORTED: &str = "a catalog reads tickets only";

    #[async_trait]
    #[rustfmt::skip]
    impl Store for TicketStore {
        fn feed(&self) -> &FeedLog { &self.log }
        async fn has_mark(&self, _: &'static str) -> Result<bool, Unavailable> { unreachable!("{UNSUPPORTED}") }
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
        async fn commit(&self, _: Commit) -> Result<(), CommitError> { unreachable!("{UNSUPPORTED}") }
        async fn time(&self) -> Result<Timestamp, Unavailable> { unreachable!("{UNSUPPORTED}") }
        async fn secret(&self, _: &'static str) -> Result<[u8; 32], Unavailable> { unreachable!("{UNSUPPORTED}") }
        async fn sale(&self, _: TicketId) -> Result<Option<Sale>, Unavailable> { unreachable!("{UNSUPPORTED}") }
        async fn sales(&self, _: &[TicketId]) -> Result<Vec<Sale>, Unavailable> { unreachable!("{UNSUPPORTED}") }
        async fn tickets_overdue(&self, _: Timestamp, _: usize) -> Result<Vec<TicketId>, Unavailable> { unreachable!("{UNSUPPORTED}") }
        async fn order(&self, _: OrderId) -> Result<Option<Order>, Unavailable> { unreachable!("{UNSUPPORTED}") }
        async fn orders_of(&self, _: UserId, _: OrderScope, _: Option<OrderId>, _: usize) -> Result<Vec<Order>, Unavailable> { unreachable!("{UNSUPPORTED}") }
        async fn charge(&self, _: ChargeId) -> Result<Option<Charge>, Unavailable> { unreachable!("{UNSUPPORTED}") }
        async fn charges_of(&self, _: OrderId) -> Result<Vec<Charge>, Unavailable> { unreachable!("{UNSUPPORTED}") }
        async fn charges_open(&self, _: Timestamp, _: Option<ChargeId>, _: usize) -> Result<Vec<Charge>, Unavailable> { unreachable!("{UNSUPPORTED}") }
        async fn user(&self, _: UserId) -> Result<Option<User>, Unavailable> { unreachable!("{UNSUPPORTED}") }
        async fn user_by_email(&self, _: &Email) -> Result<Option<User>, Unavailable> { unreachable!("{UNSUPPORTED}") }
        async fn mails_due(&self, _: Timestamp, _: usize) -> Result<Vec<Mail>, Unavailable> { unreachable!("{UNSUPPORTED}") }
        async fn mail_counts(&self) -> Result<MailCounts, Unavailable> { unreachable!("{UNSUPPORTED}") }
        async fn session(&self, _: &SessionDigest) -> Result<Option<Session>, Unavailable> { unreachable!("{UNSUPPORTED}") }
        async fn idempotency(&self, _: UserId, _: &str) -> Result<Option<IdempotencyRecord>, Unavailable> { unreachable!("{UNSUPPORTED}") }
        async fn delivery(&self, _: &str) -> Result<Option<Delivery>, Unavailable> { unreachable!("{UNSUPPORTED}") }
        async fn declines_of(&self, _: UserId) -> Result<Vec<Timestamp>, Unavailable> { unreachable!("{UNSUPPORTED}") }
        async fn count_hit(&self, _: &str, _: Millis, _: Timestamp) -> Result<u64, Unavailable> { unreachable!("{UNSUPPORTED}") }
        async fn count(&self, _: &str, _: Timestamp) -> Result<CounterValue, Unavailable> { unreachable!("{UNSUPPORTED}") }
        async fn clear_count(&self, _: &str) -> Result<(), Unavailable> { unreachable!("{UNSUPPORTED}") }
        async fn purge(&self, _: Timestamp) -> Result<(), Unavailable> { unreachable!("{UNSUPPORTED}") }
        async fn close(&self) { unreachable!("{UNSUPPORTED}") }
    }

    impl TicketStore {
        fn holding(numbers: impl Iterator<Item = u128>) -> Arc<Self> {
            let tickets = numbers.map(|number| (id(number), ticket(number, 0))).collect();
            let limits = FeedLimits { events_max: 64, silence_max: None, ahead_max: 0 };
            Arc::new(Self {
                tickets: Mutex::new(tickets),
                failures: Mutex::new(0),
                log: FeedLog::new(at(0), limits),
            })
        }

        /// Changes a ticket without an event.
        fn put(&self, ticket: Ticket) {
            self.tickets.lock().insert(ticket.id, ticket);
        }

        fn push(&self, time: u64, event: DomainEvent) {
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
            version,
            ..crate::domain::samples::ticket()
        }
    }

    fn gone(number: u128, version: u64) -> Ticket {
        Ticket { state: TicketState::Deleted, ..ticket(number, version) }
    }

    fn updated(number: u128, version: u64) -> DomainEvent {
        DomainEvent::TicketUpdated { ticket: ticket(number, version) }
    }

    /// Runs `follow` until `done` holds. The test's time is paused, so waits take no real time.
    async fn follow_until(
        catalog: &Catalog,
        store: &Arc<TicketStore>,
        reader: FeedReader,
        done: impl Fn(&Catalog) -> bool,
    ) {
        let until = async {
            while !done(catalog) {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            () = follow(catalog.clone(), Arc::<TicketStore>::clone(store), reader) => {}
            () = until => {}
        }
    }

    #[tokio::test(start_paused = true)]
    async fn snapshot_of_many_pages_is_loaded_before_the_feed_is_applied() {
        let store = TicketStore::holding(0..2500);
        let catalog = Catalog::default();
        assert!(!catalog.is_loaded());
        let reader = store.log.subscribe();
        store.push(1, updated(3, 1));
        store.push(2, DomainEvent::TicketCreated { ticket: ticket(9000, 0) });
        store.push(
            3,
            DomainEvent::TicketDeleted {
                ticket: id(4),
                seller: UserId::new(Uuid::from_u128(1)),
                version: 1,
            },
        );
        follow_until(&catalog, &store, reader, |catalog| {
            catalog.get(id(4)).is_none() && catalog.is_loaded()
        })
        .await;
        catalog.loaded().await;
        assert_eq!(catalog.len(), 2500);
        assert_eq!(catalog.get(id(3)).map(|ticket| ticket.version), Some(1));
    }

    #[tokio::test(start_paused = true)]
    async fn failed_load_is_repeated() {
        let store = TicketStore::holding(0..10);
        *store.failures.lock() = 20;
        let catalog = Catalog::default();
        tokio::select! {
            () = follow(catalog.clone(), Arc::<TicketStore>::clone(&store), store.log.subscribe()) => {}
            () = catalog.loaded() => {}
        }
        assert_eq!(catalog.len(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn tickets_missing_in_the_store_are_removed_after_lost_events() {
        let store = TicketStore::holding(0..1500);
        let catalog = Catalog::default();
        let reader = store.log.subscribe();
        load(&catalog, &*store).await.expect("the store answers");
        // Without events, one ticket is deleted, one is changed, and one is removed without a
        // tombstone.
        store.put(gone(7, 3));
        store.put(ticket(8, 4));
        store.tickets.lock().remove(&id(1400));
        store.log.reset(at(50));
        follow_until(&catalog, &store, reader, |catalog| catalog.get(id(1400)).is_none()).await;
        assert_eq!((catalog.get(id(7)), catalog.len()), (None, 1498));
        assert_eq!(catalog.get(id(8)).map(|ticket| ticket.version), Some(4));
        assert!(!catalog.merge(&ticket(7, 2)), "the catalog has the deleted ticket's tombstone");
    }

    #[tokio::test(start_paused = true)]
    async fn ticket_newer_than_the_snapshot_is_kept() {
        let store = TicketStore::holding(0..10);
        let catalog = Catalog::default();
        // The ticket is committed after its page was read, and merged before the page is merged.
        // The store has the ticket; the page does not.
        catalog.merge(&ticket(5000, 0));
        let late = ticket(5000, 0);
        store.put(late);
        let page_without_it = store.tickets_after(None, 10).await.expect("the store answers");
        assert!(page_without_it.iter().all(|ticket| ticket.id != id(5000)));
        refresh(&catalog, &*store, id(5000)).await.expect("the store answers");
        assert_eq!(catalog.get(id(5000)).map(|ticket| ticket.version), Some(0));
    }
}
