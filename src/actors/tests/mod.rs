//! Tests of the actors with the in-memory store. Time is paused, and moves only when a test waits.

mod clock;
mod faults;
mod from_catalog;
mod paying;
mod reconciling;

use std::sync::Arc;

use super::*;
use crate::{
    catalog::Catalog,
    clock::Clock,
    domain::{
        Money, Order, OrderId, OrderStatus, Policy, Refusal, ReplicaName, Ticket, TicketId,
        TicketStatus, Timestamp, Title, UserId, invariants, samples,
    },
    mail::{Outbox, TokenKey},
    payments::{
        PaymentToken,
        sandbox::{MemoryLedger, Sandbox},
    },
    store::{FeedReader, FeedStep, Inspect, Store, Write, embedded::EmbeddedStore},
};

/// Starts the actors of one replica on this thread, over `store`, with its catalog loaded.
pub(crate) async fn start_actors(
    store: Arc<EmbeddedStore>,
    sandbox: Sandbox,
) -> (Actors, Catalog, Clock) {
    let clock = Clock::starting_at(store.time().await.expect("an in-memory store has a time"));
    let catalog = Catalog::default();
    actix::spawn(crate::catalog::follow(
        catalog.clone(),
        Arc::<EmbeddedStore>::clone(&store),
        store.feed().subscribe(),
    ));
    catalog.loaded().await;
    let (reversals, charges_to_reverse) = mpsc::channel(Actors::CHARGES_TO_REVERSE_MAX);
    let context = ActorContext {
        store,
        processor: Arc::new(sandbox),
        catalog: catalog.clone(),
        clock: clock.clone(),
        policy: Policy::default(),
        replica: ReplicaName::new("one"),
        outbox: Outbox::new(TokenKey::new([2; 32])),
        charges_to_reverse: reversals,
        network_locks: None,
    };
    let config = ActorsConfig {
        session_ttl: Millis::from_mins(60),
        limits_sign_ins: false,
        idempotency_secret: [1; 32],
        charges_to_reverse,
    };
    let actors = Actors::start(Arc::new(context), config, &[actix::Arbiter::current()]);
    (actors, catalog, clock)
}

/// A marketplace with one replica, on this thread.
struct Market {
    actors: Actors,
    store: Arc<EmbeddedStore>,
    sandbox: Sandbox,
    catalog: Catalog,
    clock: Clock,
    feed: FeedReader,
    seller: UserId,
    buyers: Vec<UserId>,
}

impl Market {
    async fn open() -> Self {
        tokio::time::pause();
        Self::with_store(
            EmbeddedStore::in_memory().expect("an in-memory store opens"),
            Sandbox::new(Arc::new(MemoryLedger::default()), [7; 32]),
        )
        .await
    }

    /// Starts the actors of another replica on this thread, over `store`, which another process may
    /// use, too.
    async fn with_store(store: Arc<EmbeddedStore>, sandbox: Sandbox) -> Self {
        let feed = store.feed().subscribe();
        let (actors, catalog, clock) = start_actors(Arc::clone(&store), sandbox.clone()).await;
        let mut market = Self {
            actors,
            store,
            sandbox,
            catalog,
            clock,
            feed,
            seller: new_user_id(),
            buyers: Vec::new(),
        };
        market.seller = market.user("seller").await;
        for name in ["ann", "bob", "cem"] {
            let buyer = market.user(name).await;
            market.buyers.push(buyer);
        }
        market
    }

    /// Writes a user directly into the store. Hashing a password would need a thread, which paused
    /// time does not wait for.
    async fn user(&self, name: &str) -> UserId {
        let (id, now) = (new_user_id(), self.clock.now());
        let email = crate::domain::Email::parse(&format!("{name}-{id}@example.com"))
            .expect("valid email address");
        let user = crate::domain::User {
            id,
            email,
            email_verified: false,
            pending_email: None,
            password_hash: String::new(),
            tokens: Vec::new(),
            version: 0,
            created_at: now,
            updated_at: now,
        };
        let commit =
            crate::store::Commit { writes: vec![Write::User(user)], events: Vec::new(), at: now };
        self.store.commit(commit).await.expect("the user is written");
        id
    }

    async fn ticket(&self) -> Ticket {
        self.actors
            .tickets
            .list(self.seller, samples::details("Front row"), None)
            .await
            .expect("the ticket is listed")
    }

    async fn lock(&self, ticket: TicketId, buyer: usize) -> Result<Order, ActorError> {
        self.actors.orders.place(self.buyers[buyer], ticket, Expected::default(), None, None).await
    }

    async fn pay(
        &self,
        order: OrderId,
        buyer: usize,
        token: &str,
    ) -> Result<PaymentResult, ActorError> {
        let token = PaymentToken::parse(token).expect("valid token");
        self.actors.orders.pay(order, self.buyers[buyer], token, None).await
    }

    /// Advances time to `at`, and runs all that is due by then.
    async fn advance_to(&self, at: Timestamp) {
        tokio::time::sleep_until(self.clock.instant_of(at)).await;
        self.run_pending_tasks().await;
    }

    /// Runs all tasks that need no time. 200 turns of the scheduler are enough for them.
    async fn run_pending_tasks(&self) {
        for _ in 0..200 {
            tokio::task::yield_now().await;
        }
    }

    async fn status(&self, ticket: TicketId) -> Option<TicketStatus> {
        self.store.ticket(ticket).await.expect("readable").and_then(|ticket| ticket.status())
    }

    /// Returns the names of the events since the last call.
    fn new_event_names(&mut self) -> Vec<&'static str> {
        let mut names = Vec::new();
        while let Some(FeedStep::Events(events)) = self.feed.try_next() {
            names.extend(events.iter().map(|recorded| recorded.event.name()));
        }
        names
    }

    /// Checks those of the invariants I1 to I8 that hold while nothing is running.
    async fn check_invariants(&self) {
        let (mut snapshot, events) = self.store.dump().await.expect("readable");
        snapshot.payments = self.sandbox.entries().await.expect("readable");
        let now = self.clock.now();
        let checks = [
            invariants::one_order_per_ticket(&snapshot),
            invariants::money_matches_orders(&snapshot),
            invariants::no_money_for_nothing(&snapshot),
            invariants::no_lock_left_over(&snapshot, &Policy::default(), Millis::from_secs(5), now),
            invariants::events_match_changes(&snapshot, &events),
            invariants::slots_match_locks(&snapshot),
        ];
        for check in checks {
            check.expect("the invariant holds");
        }
    }
}

fn new_user_id() -> UserId {
    UserId::new(context::new_id())
}
