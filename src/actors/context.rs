//! The dependencies that all actors of one server process share.

use std::sync::Arc;

use tokio::sync::mpsc;
use uuid::Uuid;

use super::NetworkLocks;
use crate::{
    catalog::Catalog,
    clock::Clock,
    domain::{Charge, ChargeState, Decision, Policy, ReplicaName, Ticket, Timestamp},
    mail::Outbox,
    payments::Processor,
    store::Store,
};

/// The store, the payment processor, the clock and the rules, for all actors.
#[derive(Debug)]
pub struct ActorContext {
    pub store: Arc<dyn Store>,
    pub processor: Arc<dyn Processor>,
    pub catalog: Catalog,
    pub clock: Clock,
    pub policy: Policy,
    pub replica: ReplicaName,
    /// Makes mails, which a commit writes together with their cause.
    pub outbox: Outbox,
    /// Queue of charges that are Reversing. The order registry voids or refunds them.
    /// Reconciliation finds the charges for which the queue has no room.
    pub charges_to_reverse: mpsc::Sender<Charge>,
    /// `None` if locks are not limited per network.
    pub network_locks: Option<NetworkLocks>,
}

impl ActorContext {
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Applies a committed decision to the catalog of this replica, and to its counts of locks per
    /// network, before its request is answered. The feed may deliver the same change earlier or
    /// later.
    pub(super) fn apply_to_memory(&self, decision: &Decision) {
        if let Some(ticket) = &decision.ticket {
            self.catalog.merge(ticket);
            self.update_network_locks(ticket);
        }
    }

    /// Takes a committed state of a ticket into the counts of locks per network: records a lock
    /// that was granted, and removes locks that have ended.
    pub(super) fn update_network_locks(&self, ticket: &Ticket) {
        if let Some(network_locks) = &self.network_locks {
            network_locks.observe(ticket);
        }
    }

    /// Queues the charges of a decision that are Reversing for voiding or refunding, and does not
    /// wait for it.
    pub(super) fn queue_reversals(&self, decision: &Decision) {
        for charge in decision
            .charges
            .iter()
            .filter(|charge| matches!(charge.state, ChargeState::Reversing { .. }))
        {
            let _ = self.charges_to_reverse.try_send(charge.clone());
        }
    }
}

/// Returns a new identifier: UUIDv7, ascending within this process, also within a millisecond (RFC
/// 9562 §6.2, method 1).
pub(super) fn new_id() -> Uuid {
    Uuid::now_v7()
}
