//! The actors over the in-memory store, with time standing still until a test moves it.

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
        Money, Order, OrderId, OrderStatus, Policy, Refusal, ReplicaName, Ticket, TicketId, TicketStatus, Timestamp, Title, UserId,
        invariants,
    },
    payments::{
        PaymentToken,
        sandbox::{MemoryLedger, Sandbox},
    },
    store::{FeedReader, FeedStep, Store, Write, embedded::EmbeddedStore},
};

/// Starts the actors of one replica on this thread, over `store`, with its catalog loaded.
pub(crate) async fn start_actors(store: Arc<EmbeddedStore>, sandbox: Sandbox) -> (Actors, Catalog, Clock) {
    let clock = Clock::starting_at(store.time().await.expect("memory has a time"));
    let catalog = Catalog::default();
    actix::spawn(crate::catalog::follow(catalog.clone(), Arc::<EmbeddedStore>::clone(&store), store.feed().subscribe()));
    catalog.loaded().await;
    let (reversals, charges_to_reverse) = mpsc::channel(Actors::CHARGES_TO_REVERSE_MAX);
    let context = ActorContext {
        store,
        processor: Arc::new(sandbox),
        catalog: catalog.clone(),
        clock: clock.clone(),
        policy: Policy::default(),
        replica: ReplicaName::new("one"),
        charges_to_reverse: reversals,
        network_locks: None,
    };
    let config = ActorsConfig { session_ttl: Millis::from_mins(60), signin_rates: false, idempotency_secret: [1; 32], charges_to_reverse };
    let actors = Actors::start(Arc::new(context), config, &[actix::Arbiter::current()]);
    (actors, catalog, clock)
}

/// A marketplace of one replica, on this thread.
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
        Self::over(EmbeddedStore::in_memory().expect("memory opens"), Sandbox::new(Arc::new(MemoryLedger::default()), [7; 32])).await
    }

    /// A server process over what may be another one's store.
    async fn over(store: Arc<EmbeddedStore>, sandbox: Sandbox) -> Self {
        let feed = store.feed().subscribe();
        let (actors, catalog, clock) = start_actors(Arc::clone(&store), sandbox.clone()).await;
        let mut market = Self { actors, store, sandbox, catalog, clock, feed, seller: new_user_id(), buyers: Vec::new() };
        market.seller = market.user("seller").await;
        for name in ["ann", "bob", "cem"] {
            let buyer = market.user(name).await;
            market.buyers.push(buyer);
        }
        market
    }

    /// Written straight into the store: hashing a password would need a thread, for which stopped time does not wait.
    async fn user(&self, name: &str) -> UserId {
        let (id, now) = (new_user_id(), self.clock.now());
        let email = crate::domain::Email::parse(&format!("{name}-{id}@example.com")).expect("an address");
        let user = crate::domain::User { id, email, password_hash: String::new(), version: 0, created_at: now, updated_at: now };
        let commit = crate::store::Commit { writes: vec![Write::User(user)], events: Vec::new(), at: now };
        self.store.commit(commit).await.expect("written");
        id
    }

    async fn ticket(&self) -> Ticket {
        let title = Title::parse("Front row").expect("a title");
        self.actors.tickets.list(self.seller, title, Money::from_minor(2000).expect("a price"), None).await.expect("listed")
    }

    async fn lock(&self, ticket: TicketId, buyer: usize) -> Result<Order, ActorError> {
        self.actors.orders.place(self.buyers[buyer], ticket, Expected::default(), None, None).await
    }

    async fn pay(&self, order: OrderId, buyer: usize, token: &str) -> Result<PaymentResult, ActorError> {
        let token = PaymentToken::parse(token).expect("shaped like a token");
        self.actors.orders.pay(order, self.buyers[buyer], token, None).await
    }

    /// Lets time run until `at`, and everything that is due by then happen.
    async fn until(&self, at: Timestamp) {
        tokio::time::sleep_until(self.clock.instant_of(at)).await;
        self.settle().await;
    }

    /// Lets everything run that needs no time. Bounded: what is not done after so many turns will never be.
    async fn settle(&self) {
        for _ in 0..200 {
            tokio::task::yield_now().await;
        }
    }

    async fn status(&self, ticket: TicketId) -> Option<TicketStatus> {
        self.store.ticket(ticket).await.expect("readable").and_then(|ticket| ticket.status())
    }

    /// The names of the events since the last call.
    fn told(&mut self) -> Vec<&'static str> {
        let mut names = Vec::new();
        while let Some(FeedStep::Events(events)) = self.feed.try_next() {
            names.extend(events.iter().map(|recorded| recorded.event.name()));
        }
        names
    }

    /// I1 to I8, as far as they hold at rest.
    async fn check(&self) {
        let (mut world, events) = self.store.dump().await.expect("readable");
        world.payments = self.sandbox.entries().await.expect("readable");
        let now = self.clock.now();
        let checks = [
            invariants::one_order_per_ticket(&world),
            invariants::money_matches_orders(&world),
            invariants::no_money_for_nothing(&world),
            invariants::no_lock_left_over(&world, &Policy::default(), Millis::from_secs(5), now),
            invariants::events_match_changes(&world, &events),
            invariants::slots_match_locks(&world),
        ];
        for check in checks {
            check.expect("the invariants hold");
        }
    }
}

fn new_user_id() -> UserId {
    UserId::new(context::new_id())
}
