//! The handle on the ticket registry: what other modules ask of tickets.
//!
//! The handle bounds the number of commands that wait, and answers what needs no actor: a new
//! ticket, a read, and the early refusal of an order.

use std::sync::Arc;

use actix::{Addr, ArbiterHandle, Supervisor};
use tokio::sync::oneshot;

use super::{
    ActorError,
    admission::Admission,
    context::{ActorContext, new_id},
    in_flight::{InFlight, InFlightGuard},
    ticket::{ActorRequest, Committed},
    ticket_registry::{ArmTimers, NewerVersionOf, ReloadAll, Route, TicketRegistry},
};
use crate::{
    domain::{
        IdempotencyKey, IdempotencyRecord, Outcome, Refusal, Sale, Ticket, TicketCommand,
        TicketDetails, TicketId, UserId, Version, VersionCondition, decide,
    },
    metrics::METRICS,
    store::Commit,
};

/// A handle on the ticket registry.
#[derive(Debug, Clone)]
pub struct Tickets {
    context: Arc<ActorContext>,
    registry: Addr<TicketRegistry>,
    admission: Admission,
    /// Tickets that are being listed, by seller.
    listings: InFlight<UserId, TicketId>,
}

impl Tickets {
    /// Maximum number of commands that wait for ticket actors. More are rejected.
    pub(super) const ADMITTED_MAX: usize = 4096;

    /// Starts the registry on the first of `arbiters`. Ticket actors run on all of them.
    pub(super) fn start(context: Arc<ActorContext>, arbiters: &[ArbiterHandle]) -> Self {
        let handles = arbiters.to_vec();
        let registry = {
            let context = Arc::clone(&context);
            let first = handles[0].clone();
            Supervisor::start_in_arbiter(&first, move |_| TicketRegistry::new(context, handles))
        };
        Self {
            context,
            registry,
            admission: Admission::new(Self::ADMITTED_MAX, "tickets"),
            listings: InFlight::default(),
        }
    }

    /// Puts a ticket on sale.
    pub async fn list(
        &self,
        seller: UserId,
        details: TicketDetails,
        key: Option<IdempotencyKey>,
    ) -> Result<Ticket, ActorError> {
        let id = TicketId::new(new_id());
        let _listing = self.reserve_listing(seller, id)?;
        let now = self.context.now();
        let decision = decide::list_ticket(id, seller, details, now);
        let ticket = decision.ticket.clone().expect("the decision creates a ticket");
        let outcome = Outcome::TicketCreated { ticket: ticket.clone() };
        let record = key.map(|key| IdempotencyRecord { key, outcome, created_at: now });
        self.context
            .store
            .commit(Commit::of(decision.clone(), now).with_idempotency_record(record))
            .await?;
        self.context.apply_to_memory(&decision);
        Ok(ticket)
    }

    /// Counts a ticket that is being listed, if the seller may have one more on sale.
    ///
    /// The quota may be exceeded by two kinds of tickets, which are not counted here: tickets that
    /// other replicas list or have listed and the feed has not delivered yet, and tickets whose
    /// commit has an unknown outcome.
    fn reserve_listing(
        &self,
        seller: UserId,
        id: TicketId,
    ) -> Result<Option<InFlightGuard<UserId, TicketId>>, ActorError> {
        let Some(listings_max) = self.context.policy.listings_max else { return Ok(None) };
        let listings_max = usize::try_from(listings_max).unwrap_or(usize::MAX);
        let has_room =
            |listing: &[TicketId]| self.context.catalog.on_sale_of(seller, listing) < listings_max;
        let reserved = self.listings.begin_if(seller, id, has_room).ok_or_else(|| {
            METRICS.listings_refused.inc();
            ActorError::TooManyListings
        })?;
        Ok(Some(reserved))
    }

    /// Returns the refusal of a command that exceeds a limit: the refusal by the rules, or `limit`
    /// if the rules allow the command. So refusals have the order of the API contract, where the
    /// limit is the last one.
    pub(super) async fn refusal_over_store(
        &self,
        id: TicketId,
        command: &TicketCommand,
        limit: Refusal,
    ) -> Result<Refusal, ActorError> {
        let sale = self.context.store.sale(id).await?.ok_or(ActorError::NotFound)?;
        Ok(decide(&sale, command, &self.context.policy, self.context.now()).err().unwrap_or(limit))
    }

    /// Returns the present state, read from the store. [`ActorError::NotFound`] if the ticket is
    /// deleted.
    pub async fn get(&self, id: TicketId) -> Result<Ticket, ActorError> {
        self.context
            .store
            .ticket(id)
            .await?
            .filter(|ticket| !ticket.is_deleted())
            .ok_or(ActorError::NotFound)
    }

    /// Changes the title, price and other details of the ticket.
    pub async fn edit(
        &self,
        id: TicketId,
        by: UserId,
        details: TicketDetails,
        if_match: VersionCondition,
        key: Option<IdempotencyKey>,
    ) -> Result<Ticket, ActorError> {
        Ok(self.execute(id, TicketCommand::Edit { by, details, if_match }, key).await?.sale.ticket)
    }

    /// Takes the ticket off sale.
    pub async fn delist(
        &self,
        id: TicketId,
        by: UserId,
        if_match: VersionCondition,
        key: Option<IdempotencyKey>,
    ) -> Result<(), ActorError> {
        self.execute(id, TicketCommand::Delist { by, if_match }, key).await.map(drop)
    }

    /// Lets the ticket's actor decide a command, and waits until the decision is durable.
    pub(super) async fn execute(
        &self,
        id: TicketId,
        command: TicketCommand,
        key: Option<IdempotencyKey>,
    ) -> Result<Committed, ActorError> {
        let _permit = self.admission.admit()?;
        let (reply, answer) = oneshot::channel();
        let route = Route(id, ActorRequest { command, key, reply: Some(reply) });
        self.registry.try_send(route).map_err(|_| ActorError::Busy("tickets"))?;
        // No answer: the actor or the registry panicked, or the process is stopping. The command
        // may have been committed or not.
        answer.await.unwrap_or(Err(ActorError::OutcomeUnknown))
    }

    /// Makes the actors of these tickets read the store and run their due deadlines.
    pub(super) fn reload(&self, ids: Vec<TicketId>) {
        if !ids.is_empty() && self.registry.try_send(ReloadAll(ids)).is_err() {
            tracing::warn!(
                "the ticket registry is too busy to check overdue locks; the next sweep tries again"
            );
        }
    }

    /// Starts the actor of each of these locks, which arms its timer. Waits until the registry has
    /// started them all.
    pub(super) async fn arm_timers(&self, sales: Vec<Sale>) {
        if self.registry.send(ArmTimers(sales)).await.is_err() {
            tracing::warn!(
                "the ticket registry has ended; after the restart of this process, timers are armed again"
            );
        }
    }

    /// Informs the ticket's actor, if it runs, that the ticket has at least this version.
    pub(super) fn on_newer_version(&self, id: TicketId, version: Version) {
        let _ = self.registry.try_send(NewerVersionOf(id, version));
    }

    /// Refuses an order by the catalog's copy of the ticket, without a message to the actor.
    ///
    /// The copy may be behind by the feed's delay: a ticket that another replica has released is
    /// refused for so long. The copy is not used while the feed is not live, nor for a lock whose
    /// time is over.
    pub(super) fn refuse_early(&self, id: TicketId, buyer: UserId) -> Result<(), Refusal> {
        if !self.context.store.feed().is_live() {
            return Ok(());
        }
        let Some(ticket) = self.context.catalog.get(id) else { return Ok(()) };
        if ticket.lock().is_some_and(|lock| lock.unlocks_at <= self.context.now()) {
            return Ok(());
        }
        ticket.check_lockable(buyer).inspect_err(|_| METRICS.lock_requests_refused.inc())
    }
}

#[cfg(test)]
impl Tickets {
    /// Makes the ticket's actor stop without a panic.
    pub(super) async fn stop_actor(&self, id: TicketId) {
        self.registry.send(super::ticket_registry::StopActor(id)).await.expect("the registry runs");
    }

    /// Returns the number of entries in the registry's table.
    pub(super) async fn actor_count(&self) -> usize {
        self.registry.send(super::ticket_registry::CountActors).await.expect("the registry runs")
    }
}
