//! The actors: one for each ticket in use, and three registries (tickets, orders, users).
//!
//! Callers hold handles with async methods ([`Tickets`], [`Orders`], [`Users`]), never the address
//! of an actor. An actor waits only for actors further along the path HTTP -> order or user
//! registry -> ticket registry -> ticket.
//! A registry finishes each request that it has taken, whether or not its client still waits.
//! Each handle admits a bounded number of commands to its registry and rejects the others with
//! [`ActorError::Busy`].
//!
//! [`crate::domain::decide()`] decides what may happen to a ticket. The ownership of orders and
//! charges is checked here too. The quota of listings, the declines of a buyer, the locks per
//! network and the rules of accounts are checked only here.

mod account_links;
mod accounts;
mod admission;
mod context;
mod error;
mod hash_queue;
mod idempotency;
mod in_flight;
mod mail_limits;
mod network_locks;
mod open_charges;
mod order_service;
mod orders;
mod passwords;
mod processor_retry;
mod reconciliation;
pub mod security;
mod sessions;
mod settlement;
mod sign_in_limits;
mod supervision;
#[cfg(test)]
pub(crate) mod tests;
mod ticket;
mod ticket_registry;
mod tickets;
mod upkeep;
mod user_service;
mod users;
mod webhooks;

use std::sync::Arc;

use actix::ArbiterHandle;
use tokio::sync::mpsc;

pub use accounts::{Browser, SessionToken, SignedIn, UserUpdate, UserUpdated};
pub use context::ActorContext;
pub use error::ActorError;
pub use idempotency::Idempotency;
pub use network_locks::NetworkLocks;
pub use order_service::Expected;
pub use orders::{Orders, PaymentResult};
pub use tickets::Tickets;
pub use users::Users;
pub use webhooks::{WebhookOutcome, Webhooks};

use crate::domain::{Charge, Millis};

/// The handles that HTTP handlers use. Clones are handles on the same actors.
#[derive(Debug, Clone)]
pub struct Actors {
    pub tickets: Tickets,
    pub orders: Orders,
    pub webhooks: Webhooks,
    pub users: Users,
    pub idempotency: Idempotency,
}

/// Settings of the actors that are not in the [`ActorContext`].
#[derive(Debug)]
pub struct ActorsConfig {
    pub session_ttl: Millis,
    /// Whether sign-ins are counted and limited.
    pub limits_sign_ins: bool,
    /// Key of the request fingerprints, the same on all replicas.
    pub idempotency_secret: [u8; 32],
    /// Receiver of [`ActorContext::charges_to_reverse`].
    pub charges_to_reverse: mpsc::Receiver<Charge>,
}

impl Actors {
    /// Maximum number of charges that wait for their reversal. Reconciliation finds the charges
    /// beyond it.
    pub const CHARGES_TO_REVERSE_MAX: usize = 4096;

    /// Starts the registries and the background tasks on `arbiters`. They end with the arbiters.
    ///
    /// # Panics
    /// If `arbiters` is empty.
    pub fn start(
        context: Arc<ActorContext>,
        config: ActorsConfig,
        arbiters: &[ArbiterHandle],
    ) -> Self {
        let first = &arbiters[0];
        arbiters.iter().for_each(supervision::guard_thread);
        let tickets = Tickets::start(Arc::clone(&context), arbiters);
        let orders =
            Orders::start(Arc::clone(&context), config.charges_to_reverse, tickets.clone(), first);
        let webhooks = Webhooks::new(Arc::clone(&context), orders.clone());
        let users =
            Users::start(Arc::clone(&context), config.session_ttl, config.limits_sign_ins, first);
        let idempotency = Idempotency::new(Arc::clone(&context.store), config.idempotency_secret);
        let actors = Self { tickets, orders, webhooks, users, idempotency };
        let upkeep = actors.clone();
        first.spawn_fn(move || upkeep::start(&context, &upkeep));
        actors
    }
}
