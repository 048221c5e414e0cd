//! The actors: one for each ticket that something happens to, and three registries.
//!
//! Callers hold handles with async methods ([`Tickets`], [`Orders`], [`Users`]), never an address. Waiting goes one way,
//! http -> registry -> ticket. Admission is bounded in front of the registries and sheds with [`ActorError::Busy`]. No rule
//! about who may do what lives here: that is [`crate::domain::decide()`].

mod context;
mod error;
mod hash_queue;
mod idempotency;
mod in_flight;
mod network_locks;
mod orders;
mod passwords;
mod reconciliation;
pub mod security;
mod sessions;
mod settlement;
mod sign_in_limits;
#[cfg(test)]
pub(crate) mod tests;
mod ticket;
mod tickets;
mod upkeep;
mod user_service;
mod users;
mod webhooks;

use std::sync::Arc;

use actix::ArbiterHandle;
use tokio::sync::mpsc;

pub use context::ActorContext;
pub use error::ActorError;
pub use idempotency::Idempotency;
pub use network_locks::NetworkLocks;
pub use orders::{Expected, Orders, PaymentResult};
pub use tickets::Tickets;
pub use user_service::UserUpdated;
pub use users::{Browser, SessionToken, SignedIn, UserUpdate, Users};
pub use webhooks::{WebhookOutcome, Webhooks};

use crate::domain::{Charge, Millis};
use settlement::Settlement;

/// All that HTTP handlers talk to. Clones are handles on the same actors.
#[derive(Debug, Clone)]
pub struct Actors {
    pub tickets: Tickets,
    pub orders: Orders,
    pub webhooks: Webhooks,
    pub users: Users,
    pub idempotency: Idempotency,
}

/// What the actors are started with beside the [`ActorContext`].
#[derive(Debug)]
pub struct ActorsConfig {
    pub session_ttl: Millis,
    /// Whether sign-ins are counted and limited.
    pub signin_rates: bool,
    /// The key of request fingerprints, shared by all replicas.
    pub idempotency_secret: [u8; 32],
    /// The receiving end of [`ActorContext::charges_to_reverse`].
    pub charges_to_reverse: mpsc::Receiver<Charge>,
}

impl Actors {
    /// How many charges that lost their lock may wait for their reversal; more are found by reconciliation.
    pub const CHARGES_TO_REVERSE_MAX: usize = 4096;

    /// Starts registries and upkeep on `arbiters`, of which there must be at least one; they end with them.
    pub fn start(context: Arc<ActorContext>, config: ActorsConfig, arbiters: &[ArbiterHandle]) -> Self {
        let home = &arbiters[0];
        let tickets = Tickets::start(Arc::clone(&context), arbiters);
        let settlement = Settlement::new(Arc::clone(&context), tickets.clone());
        let webhooks = Webhooks::new(Arc::clone(&context), settlement.clone());
        let orders = Orders::start(Arc::clone(&context), settlement, config.charges_to_reverse, tickets.clone(), home);
        let users = Users::start(Arc::clone(&context), config.session_ttl, config.signin_rates, home);
        let idempotency = Idempotency::new(Arc::clone(&context.store), config.idempotency_secret);
        let actors = Self { tickets, orders, webhooks, users, idempotency };
        let upkeep = actors.clone();
        home.spawn_fn(move || upkeep::start(&context, &upkeep));
        actors
    }
}
