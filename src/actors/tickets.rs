//! The ticket registry: the table of ticket actors, and the routing of requests to them.
//!
//! The registry starts an actor when a request or a lock concerns its ticket, and drops the actor when it has been idle for a
//! while. An actor that panics reports its ticket through a channel, and the registry starts a new actor at once, because the
//! lock must be released on time. (actix's `Supervisor` never restarts an actor that panicked.) If a ticket's actors keep
//! panicking, the registry starts none for a while, and requests for the ticket are answered with 503.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use actix::{Actor, Addr, ArbiterHandle, AsyncContext, Context, Handler, Message, StreamHandler, Supervised, Supervisor};
use futures_util::stream;
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use super::{
    ActorError,
    context::{ActorContext, new_id},
    in_flight::{InFlight, InFlightGuard},
    ticket::{ActorRequest, ActorStatus, Committed, Outdated, PanicReports, Reload, TicketActor},
};
use crate::{
    domain::{
        IdempotencyKey, IdempotencyRecord, Money, Outcome, Refusal, Sale, Ticket, TicketCommand, TicketId, Title, UserId, Version, decide,
    },
    metrics::METRICS,
    store::Commit,
    tasks::{EssentialTask, contain},
};

/// Task name of the registry in the log.
const REGISTRY: &str = "ticket registry";

/// A handle on the ticket registry.
#[derive(Debug, Clone)]
pub struct Tickets {
    context: Arc<ActorContext>,
    registry: Addr<TicketRegistry>,
    admitted: Arc<AtomicUsize>,
    /// Tickets that are being listed, by seller.
    listings: InFlight<UserId, TicketId>,
}

/// The registry actor: a table of the ticket actors of this process.
#[derive(Debug)]
pub(super) struct TicketRegistry {
    context: Arc<ActorContext>,
    arbiters: Vec<ArbiterHandle>,
    actors: HashMap<TicketId, ActorEntry>,
    panicked: Option<mpsc::UnboundedReceiver<TicketId>>,
    report_panic: PanicReports,
    _essential: EssentialTask,
}

/// One ticket's actor.
#[derive(Debug)]
struct ActorEntry {
    addr: Addr<TicketActor>,
    status: Arc<ActorStatus>,
    used_at: Instant,
    panics: u32,
    panicked_at: Option<Instant>,
}

/// Sends a request to the ticket's actor, which is started if the ticket has none.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct Route(TicketId, ActorRequest);

/// The feed delivered this version of the ticket.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct NewerVersion(TicketId, Version);

/// Makes the actors of these tickets read the store again. Starts the actors that do not run.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct ReloadAll(Vec<TicketId>);

/// Starts the actors of locks of this replica, just read from the store, so that they arm their timers.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct ArmTimers(Vec<Sale>);

impl TicketRegistry {
    /// Capacity of the mailbox: more than the handle admits, so that requests are rejected by the handle and not here.
    const MAILBOX_MAX: usize = Tickets::ADMITTED_MAX * 2;
    /// Time without a request after which an idle actor is dropped.
    const IDLE_MAX: Duration = Duration::from_secs(30);
    const RETIRE_EVERY: Duration = Duration::from_secs(10);
    /// Number of panics, each within `PANIC_WINDOW` of the one before, after which no actor is started for `FAULTED_FOR`.
    const PANICS_MAX: u32 = 5;
    const PANIC_WINDOW: Duration = Duration::from_secs(60);
    const FAULTED_FOR: Duration = Duration::from_secs(30);

    fn new(context: Arc<ActorContext>, arbiters: Vec<ArbiterHandle>) -> Self {
        let (report_panic, panicked) = mpsc::unbounded_channel();
        Self { context, arbiters, actors: HashMap::new(), panicked: Some(panicked), report_panic, _essential: EssentialTask::new(REGISTRY) }
    }

    /// Returns the ticket's running actor, which is started if there is none, or `None` while the ticket is faulted. An actor
    /// that is started takes `preloaded`, if given, as the state of its ticket and does not read the store.
    fn actor(&mut self, id: TicketId, preloaded: Option<Box<Sale>>) -> Option<&mut ActorEntry> {
        let now = Instant::now();
        let entry = self.actors.get(&id);
        let faulted = entry.is_some_and(|entry| entry.is_faulted(now));
        if faulted {
            return None;
        }
        if entry.is_none_or(|entry| !entry.addr.connected()) {
            let status = Arc::new(ActorStatus::default());
            let addr = self.start_actor(id, Arc::clone(&status), preloaded);
            let (panics, panicked_at) = entry.map_or((0, None), |entry| (entry.panics, entry.panicked_at));
            self.actors.insert(id, ActorEntry { addr, status, used_at: now, panics, panicked_at });
        }
        let entry = self.actors.get_mut(&id)?;
        entry.used_at = now;
        Some(entry)
    }

    fn route(&mut self, id: TicketId, request: ActorRequest) {
        fail::fail_point!("ticket_registry::route");
        match self.actor(id, None) {
            // `do_send` ignores the mailbox's capacity. A client's command holds a permit of `Tickets::execute` until it is
            // answered or its caller's future is dropped. The actor bounds its queue after that.
            Some(entry) => entry.addr.do_send(request),
            None => reject(request),
        }
    }

    fn reload(&mut self, id: TicketId) {
        if let Some(entry) = self.actor(id, None) {
            // If the mailbox is full, the actor is handling requests, and runs a due deadline before each of them.
            let _ = entry.addr.try_send(Reload);
        }
    }

    fn arm_timer(&mut self, sale: Sale) {
        let id = sale.ticket.id;
        let is_known = self.actors.contains_key(&id);
        if let Some(entry) = self.actor(id, Some(Box::new(sale)))
            && is_known
        {
            let _ = entry.addr.try_send(Reload);
        }
    }

    fn start_actor(&self, id: TicketId, status: Arc<ActorStatus>, preloaded: Option<Box<Sale>>) -> Addr<TicketActor> {
        let (context, panicked) = (Arc::clone(&self.context), self.report_panic.clone());
        let at = usize::try_from(id.uuid().as_u128() % self.arbiters.len() as u128).expect("a remainder by a usize fits in a usize");
        Supervisor::start_in_arbiter(&self.arbiters[at], move |_| TicketActor::new(id, context, status, panicked, preloaded))
    }

    fn retire(&mut self) {
        let now = Instant::now();
        self.actors.retain(|_, entry| {
            let idle = entry.status.idle.load(Ordering::Acquire) || !entry.addr.connected();
            let panicked_lately = entry.panicked_at.is_some_and(|at| now - at < Self::PANIC_WINDOW);
            !idle || panicked_lately || now - entry.used_at < Self::IDLE_MAX
        });
    }
}

impl ActorEntry {
    fn is_faulted(&self, now: Instant) -> bool {
        self.panics >= TicketRegistry::PANICS_MAX && self.panicked_at.is_some_and(|at| now - at < TicketRegistry::FAULTED_FOR)
    }

    fn record_panic(&mut self, now: Instant) {
        let is_in_window = self.panicked_at.is_some_and(|at| now - at < TicketRegistry::PANIC_WINDOW);
        self.panics = if is_in_window { self.panics + 1 } else { 1 };
        self.panicked_at = Some(now);
    }
}

impl Actor for TicketRegistry {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(Self::MAILBOX_MAX);
        ctx.run_interval(Self::RETIRE_EVERY, |registry, _| {
            contain(REGISTRY, || registry.retire());
        });
        if let Some(panicked) = self.panicked.take() {
            ctx.add_stream(stream::unfold(panicked, |mut panicked| async move { panicked.recv().await.map(|id| (id, panicked)) }));
        }
    }
}

impl Supervised for TicketRegistry {}

impl Handler<Route> for TicketRegistry {
    type Result = ();

    fn handle(&mut self, Route(id, request): Route, _: &mut Context<Self>) {
        // A panic drops the request: its caller gets `OutcomeUnknown`.
        contain(REGISTRY, || self.route(id, request));
    }
}

fn reject(request: ActorRequest) {
    METRICS.requests_rejected.with_label_values(&["tickets"]).inc();
    if let Some(reply) = request.reply {
        let _ = reply.send(Err(ActorError::Busy("ticket")));
    }
}

impl Handler<NewerVersion> for TicketRegistry {
    type Result = ();

    fn handle(&mut self, NewerVersion(id, version): NewerVersion, _: &mut Context<Self>) {
        if let Some(entry) = self.actors.get(&id) {
            // If the mailbox is full or closed, nothing is lost: a commit over an older version fails as stale.
            let _ = entry.addr.try_send(Outdated(version));
        }
    }
}

impl Handler<ReloadAll> for TicketRegistry {
    type Result = ();

    fn handle(&mut self, ReloadAll(ids): ReloadAll, _: &mut Context<Self>) {
        for id in ids {
            contain(REGISTRY, || self.reload(id));
        }
    }
}

impl Handler<ArmTimers> for TicketRegistry {
    type Result = ();

    fn handle(&mut self, ArmTimers(sales): ArmTimers, _: &mut Context<Self>) {
        for sale in sales {
            contain(REGISTRY, || self.arm_timer(sale));
        }
    }
}

/// Receives the id of each ticket whose actor panicked, and starts a new actor.
impl StreamHandler<TicketId> for TicketRegistry {
    fn handle(&mut self, id: TicketId, ctx: &mut Context<Self>) {
        METRICS.ticket_actor_panics.inc();
        let now = Instant::now();
        let Some(entry) = self.actors.get_mut(&id) else { return };
        entry.record_panic(now);
        if entry.is_faulted(now) {
            METRICS.ticket_actor_circuits_opened.inc();
            tracing::error!(ticket = %id, "the actor of a ticket keeps panicking; the ticket answers 503 for 30 s");
            ctx.run_later(Self::FAULTED_FOR, move |_, ctx| ctx.notify(ReloadAll(vec![id])));
        } else {
            tracing::error!(ticket = %id, "the actor of a ticket panicked; a new one is started");
            ctx.notify(ReloadAll(vec![id]));
        }
    }

    fn finished(&mut self, _: &mut Context<Self>) {}
}

impl Tickets {
    /// Maximum number of commands that wait for ticket actors. More are rejected.
    const ADMITTED_MAX: usize = 4096;

    /// Starts the registry on the first of `arbiters`. Ticket actors run on all of them.
    pub(super) fn start(context: Arc<ActorContext>, arbiters: &[ArbiterHandle]) -> Self {
        let handles = arbiters.to_vec();
        let registry = {
            let context = Arc::clone(&context);
            let first = handles[0].clone();
            Supervisor::start_in_arbiter(&first, move |_| TicketRegistry::new(context, handles))
        };
        Self { context, registry, admitted: Arc::new(AtomicUsize::new(0)), listings: InFlight::default() }
    }

    /// Puts a ticket on sale.
    pub async fn list(&self, seller: UserId, title: Title, price: Money, key: Option<IdempotencyKey>) -> Result<Ticket, ActorError> {
        let id = TicketId::new(new_id());
        let _listing = self.reserve_listing(seller, id)?;
        let now = self.context.now();
        let decision = decide::list_ticket(id, seller, title, price, now);
        let ticket = decision.ticket.clone().ok_or(ActorError::NotFound)?;
        let outcome = Outcome::TicketCreated { ticket: ticket.clone() };
        let record = key.map(|key| IdempotencyRecord { key, outcome, created_at: now });
        self.context.store.commit(Commit::of(decision.clone(), now).with_idempotency_record(record)).await?;
        self.context.apply_to_catalog(&decision);
        Ok(ticket)
    }

    /// Counts a ticket that is being listed, if the seller may have one more on sale.
    ///
    /// The quota may be exceeded by two kinds of tickets, which are not counted here: tickets that other replicas list or have
    /// listed and the feed has not delivered yet, and tickets whose commit has an unknown outcome.
    fn reserve_listing(&self, seller: UserId, id: TicketId) -> Result<Option<InFlightGuard<UserId, TicketId>>, ActorError> {
        let Some(listings_max) = self.context.policy.listings_max else { return Ok(None) };
        let listings_max = usize::try_from(listings_max).unwrap_or(usize::MAX);
        let has_room = |listing: &[TicketId]| self.context.catalog.on_sale_of(seller, listing) < listings_max;
        let reserved = self.listings.begin_if(seller, id, has_room).ok_or_else(|| {
            METRICS.listings_refused.inc();
            ActorError::TooManyListings
        })?;
        Ok(Some(reserved))
    }

    /// Returns the refusal of a command that exceeds a limit: the refusal by the rules, or `limit` if the rules allow the
    /// command. So refusals have the order of the API contract, where the limit is the last one.
    pub(super) async fn refusal(&self, id: TicketId, command: &TicketCommand, limit: Refusal) -> Result<Refusal, ActorError> {
        let sale = self.context.store.sale(id).await?.ok_or(ActorError::NotFound)?;
        Ok(decide(&sale, command, &self.context.policy, self.context.now()).err().unwrap_or(limit))
    }

    /// Returns the present state, read from the store. [`ActorError::NotFound`] if the ticket is deleted.
    pub async fn get(&self, id: TicketId) -> Result<Ticket, ActorError> {
        self.context.store.ticket(id).await?.filter(|ticket| !ticket.is_deleted()).ok_or(ActorError::NotFound)
    }

    /// Changes title and price.
    pub async fn edit(
        &self,
        id: TicketId,
        by: UserId,
        title: Title,
        price: Money,
        if_match: Option<Version>,
        key: Option<IdempotencyKey>,
    ) -> Result<Ticket, ActorError> {
        Ok(self.execute(id, TicketCommand::Edit { by, title, price, if_match }, key).await?.sale.ticket)
    }

    /// Takes the ticket off sale.
    pub async fn delist(&self, id: TicketId, by: UserId, if_match: Option<Version>, key: Option<IdempotencyKey>) -> Result<(), ActorError> {
        self.execute(id, TicketCommand::Delist { by, if_match }, key).await.map(drop)
    }

    /// Lets the ticket's actor decide a command, and waits until the decision is durable.
    pub(super) async fn execute(&self, id: TicketId, command: TicketCommand, key: Option<IdempotencyKey>) -> Result<Committed, ActorError> {
        let _permit = CommandPermit::take(&self.admitted).ok_or_else(|| {
            METRICS.requests_rejected.with_label_values(&["tickets"]).inc();
            ActorError::Busy("tickets")
        })?;
        let (reply, answer) = oneshot::channel();
        let route = Route(id, ActorRequest { command, key, reply: Some(reply) });
        self.registry.try_send(route).map_err(|_| ActorError::Busy("tickets"))?;
        // No answer: the actor or the registry panicked. The command may have been committed or not.
        answer.await.unwrap_or(Err(ActorError::OutcomeUnknown))
    }

    /// Makes the actors of these tickets read the store and run their due deadlines.
    pub(super) fn reload(&self, ids: Vec<TicketId>) {
        if !ids.is_empty() && self.registry.try_send(ReloadAll(ids)).is_err() {
            tracing::warn!("the ticket registry is too busy to check overdue locks; the next sweep tries again");
        }
    }

    /// Starts the actor of each of these locks, which arms its timer. Waits until the registry has started them all.
    pub(super) async fn arm_timers(&self, sales: Vec<Sale>) {
        if self.registry.send(ArmTimers(sales)).await.is_err() {
            tracing::warn!("the ticket registry has ended; after the restart of this process, timers are armed again");
        }
    }

    /// Informs the ticket's actor, if it runs, that the ticket has at least this version.
    pub(super) fn on_newer_version(&self, id: TicketId, version: Version) {
        let _ = self.registry.try_send(NewerVersion(id, version));
    }

    /// Refuses an order by the catalog's copy of the ticket, without a message to the actor.
    ///
    /// The copy may be behind by the feed's delay: a ticket that another replica has released is refused for so long. The copy
    /// is not used while the feed is not live, nor for a lock whose time is over.
    pub(super) fn refuse_early(&self, id: TicketId, buyer: UserId) -> Result<(), Refusal> {
        if !self.context.store.feed().is_live() {
            return Ok(());
        }
        let Some(ticket) = self.context.catalog.get(id) else { return Ok(()) };
        let refusal = match (&ticket.state, ticket.lock()) {
            _ if ticket.seller == buyer => Refusal::OwnTicket,
            (_, Some(lock)) if self.context.now() < lock.unlocks_at => Refusal::TicketLocked,
            (crate::domain::TicketState::Sold { .. }, _) => Refusal::TicketSold,
            _ => return Ok(()),
        };
        METRICS.lock_requests_refused.inc();
        Err(refusal)
    }
}

#[cfg(test)]
impl Tickets {
    /// Returns the number of entries in the registry's table.
    pub(super) async fn actor_count(&self) -> usize {
        self.registry.send(CountActors).await.expect("the registry runs")
    }
}

/// Asks for the number of entries in the registry's table.
#[cfg(test)]
#[derive(Debug, Message)]
#[rtype(result = "usize")]
struct CountActors;

#[cfg(test)]
impl Handler<CountActors> for TicketRegistry {
    type Result = usize;

    fn handle(&mut self, _: CountActors, _: &mut Context<Self>) -> usize {
        self.actors.len()
    }
}

/// Permit of one command that waits for a ticket actor. It is returned when dropped.
struct CommandPermit<'a>(&'a AtomicUsize);

impl<'a> CommandPermit<'a> {
    fn take(admitted: &'a AtomicUsize) -> Option<Self> {
        let before = admitted.fetch_add(1, Ordering::Relaxed);
        let permit = Self(admitted);
        (before < Tickets::ADMITTED_MAX).then_some(permit)
    }
}

impl Drop for CommandPermit<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
