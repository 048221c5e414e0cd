//! What every actor of one server process shares.

use std::sync::Arc;

use tokio::sync::mpsc;
use uuid::Uuid;

use super::NetworkLocks;
use crate::{
    catalog::Catalog,
    clock::Clock,
    domain::{Charge, ChargeStep, Decision, Policy, ReplicaName, Ticket, Timestamp},
    payments::Processor,
    store::Store,
};

/// The surroundings of the actors: the store, the processor, the clock and the rules.
#[derive(Debug)]
pub struct ActorContext {
    pub store: Arc<dyn Store>,
    pub processor: Arc<dyn Processor>,
    pub catalog: Catalog,
    pub clock: Clock,
    pub policy: Policy,
    pub replica: ReplicaName,
    /// Where charges go that lost their lock: the order registry has them voided or refunded. What does not fit in is
    /// found by reconciliation.
    pub charges_to_reverse: mpsc::Sender<Charge>,
    /// `None`: locks are not limited per network.
    pub network_locks: Option<NetworkLocks>,
}

impl ActorContext {
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Shows this replica what it has just committed, before the answer goes out and long before the feed tells it.
    pub(super) fn show(&self, decision: &Decision) {
        if let Some(ticket) = &decision.ticket {
            self.catalog.merge(ticket);
            self.observe(ticket);
        }
    }

    /// Ends the count of a network's lock that a committed state of its ticket does not show any more.
    pub(super) fn observe(&self, ticket: &Ticket) {
        if let Some(network_locks) = &self.network_locks {
            network_locks.observe(ticket);
        }
    }

    /// Has the charges of a decision that lost their lock voided or refunded, without anybody waiting for it.
    pub(super) fn reverse_losers(&self, decision: &Decision) {
        for charge in decision.charges.iter().filter(|charge| matches!(charge.step, ChargeStep::Reversing { .. })) {
            let _ = self.charges_to_reverse.try_send(charge.clone());
        }
    }
}

/// A new identifier: UUIDv7, ascending within this process, also within a millisecond (RFC 9562 §6.2, method 1).
pub(super) fn new_id() -> Uuid {
    Uuid::now_v7()
}
