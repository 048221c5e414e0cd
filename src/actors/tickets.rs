//! The ticket registry: which tickets have an actor, and the way to them.
//!
//! An actor is started when something happens to its ticket, and retired when nothing is on its hands. One that was torn
//! down by a panic is started anew at once, because its lock must lapse on time; one that keeps panicking is left alone
//! for a while and answers 503.

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
    ticket::{ActorRequest, ActorStatus, Done, Outdated, PanicReports, Reload, TicketActor},
};
use crate::{
    domain::{
        IdempotencyKey, IdempotencyRecord, Money, Outcome, Refusal, Sale, Ticket, TicketCommand, TicketId, Title, UserId, Version, decide,
    },
    metrics::METRICS,
    store::Commit,
    tasks::{EssentialTask, contain},
};

/// Its name among the tasks.
const REGISTRY: &str = "ticket registry";

/// A handle on the ticket registry.
#[derive(Debug, Clone)]
pub struct Tickets {
    context: Arc<ActorContext>,
    registry: Addr<TicketRegistry>,
    admitted: Arc<AtomicUsize>,
    /// Tickets that are being listed, by seller.
    listings: InFlight<UserId>,
}

/// The registry: a table of the ticket actors of this process.
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

/// For one ticket's actor, which is started if there is none.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct Route(TicketId, ActorRequest);

/// The feed told of a newer state.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct NewerVersion(TicketId, Version);

/// Something is or will be due on these tickets.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct ReloadAll(Vec<TicketId>);

/// Locks of this replica, just read from the store: their actors arm their timers.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct Adopt(Vec<Sale>);

impl TicketRegistry {
    /// In front of the registry stands the admission bound; its mailbox must never be what sheds.
    const MAILBOX_MAX: usize = Tickets::ADMITTED_MAX * 2;
    /// An actor with nothing on its hands is retired after this long.
    const IDLE_MAX: Duration = Duration::from_secs(30);
    const RETIRE_EVERY: Duration = Duration::from_secs(10);
    /// The restart budget: this many panics, each within `PANIC_WINDOW` of the one before, and the ticket is left alone for
    /// `FAULTED_FOR`.
    const PANICS_MAX: u32 = 5;
    const PANIC_WINDOW: Duration = Duration::from_secs(60);
    const FAULTED_FOR: Duration = Duration::from_secs(30);

    fn new(context: Arc<ActorContext>, arbiters: Vec<ArbiterHandle>) -> Self {
        let (report_panic, panicked) = mpsc::unbounded_channel();
        Self { context, arbiters, actors: HashMap::new(), panicked: Some(panicked), report_panic, _essential: EssentialTask::new(REGISTRY) }
    }

    /// The ticket's actor, alive; `None` while the ticket is in its faulted state. If it has to be started, it need not
    /// read what is `preloaded` to it.
    fn actor(&mut self, id: TicketId, preloaded: Option<Box<Sale>>) -> Option<&mut ActorEntry> {
        let now = Instant::now();
        let known = self.actors.get(&id);
        let faulted = known.is_some_and(|entry| entry.is_faulted(now));
        if faulted {
            return None;
        }
        if known.is_none_or(|entry| !entry.addr.connected()) {
            let status = Arc::new(ActorStatus::default());
            let addr = self.start_actor(id, Arc::clone(&status), preloaded);
            let (panics, panicked_at) = known.map_or((0, None), |entry| (entry.panics, entry.panicked_at));
            self.actors.insert(id, ActorEntry { addr, status, used_at: now, panics, panicked_at });
        }
        let entry = self.actors.get_mut(&id)?;
        entry.used_at = now;
        Some(entry)
    }

    fn route(&mut self, id: TicketId, ask: ActorRequest) {
        fail::fail_point!("ticket_registry::route");
        match self.actor(id, None) {
            // Unbounded by itself, since a mailbox has its capacity only from the actor's first turn on; what is under way
            // is bounded by the admission that every command holds until it is answered.
            Some(entry) => entry.addr.do_send(ask),
            None => shed(ask),
        }
    }

    fn wake(&mut self, id: TicketId) {
        if let Some(entry) = self.actor(id, None) {
            // Full: it is awake.
            let _ = entry.addr.try_send(Reload);
        }
    }

    fn adopt(&mut self, sale: Sale) {
        let id = sale.ticket.id;
        let is_there = self.actors.contains_key(&id);
        if let Some(entry) = self.actor(id, Some(Box::new(sale)))
            && is_there
        {
            let _ = entry.addr.try_send(Reload);
        }
    }

    fn start_actor(&self, id: TicketId, status: Arc<ActorStatus>, preloaded: Option<Box<Sale>>) -> Addr<TicketActor> {
        let (context, panicked) = (Arc::clone(&self.context), self.report_panic.clone());
        let at = usize::try_from(id.uuid().as_u128() % self.arbiters.len() as u128).expect("a remainder of a usize fits one");
        Supervisor::start_in_arbiter(&self.arbiters[at], move |_| TicketActor::new(id, context, status, panicked, preloaded))
    }

    fn retire(&mut self) {
        let now = Instant::now();
        self.actors.retain(|_, entry| {
            let idle = entry.status.idle.load(Ordering::Acquire) || !entry.addr.connected();
            let remembered = entry.panicked_at.is_some_and(|at| now - at < Self::PANIC_WINDOW);
            !idle || remembered || now - entry.used_at < Self::IDLE_MAX
        });
    }
}

impl ActorEntry {
    fn is_faulted(&self, now: Instant) -> bool {
        self.panics >= TicketRegistry::PANICS_MAX && self.panicked_at.is_some_and(|at| now - at < TicketRegistry::FAULTED_FOR)
    }

    fn record_panic(&mut self, now: Instant) {
        let close = self.panicked_at.is_some_and(|at| now - at < TicketRegistry::PANIC_WINDOW);
        self.panics = if close { self.panics + 1 } else { 1 };
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

    fn handle(&mut self, Route(id, ask): Route, _: &mut Context<Self>) {
        // A panic drops the command: its caller gets `OutcomeUnknown`.
        contain(REGISTRY, || self.route(id, ask));
    }
}

fn shed(ask: ActorRequest) {
    METRICS.requests_rejected.with_label_values(&["tickets"]).inc();
    if let Some(reply) = ask.reply {
        let _ = reply.send(Err(ActorError::Busy("ticket")));
    }
}

impl Handler<NewerVersion> for TicketRegistry {
    type Result = ();

    fn handle(&mut self, NewerVersion(id, version): NewerVersion, _: &mut Context<Self>) {
        if let Some(entry) = self.actors.get(&id) {
            // Full or closed: the conditional commit finds out anyway.
            let _ = entry.addr.try_send(Outdated(version));
        }
    }
}

impl Handler<ReloadAll> for TicketRegistry {
    type Result = ();

    fn handle(&mut self, ReloadAll(ids): ReloadAll, _: &mut Context<Self>) {
        for id in ids {
            contain(REGISTRY, || self.wake(id));
        }
    }
}

impl Handler<Adopt> for TicketRegistry {
    type Result = ();

    fn handle(&mut self, Adopt(sales): Adopt, _: &mut Context<Self>) {
        for sale in sales {
            contain(REGISTRY, || self.adopt(sale));
        }
    }
}

/// Of a ticket whose actor was torn down by a panic.
impl StreamHandler<TicketId> for TicketRegistry {
    fn handle(&mut self, id: TicketId, ctx: &mut Context<Self>) {
        METRICS.ticket_actor_panics.inc();
        let now = Instant::now();
        let Some(entry) = self.actors.get_mut(&id) else { return };
        entry.record_panic(now);
        if entry.is_faulted(now) {
            METRICS.ticket_actor_circuits_opened.inc();
            tracing::error!(ticket = %id, "the ticket's actor panics again and again; leaving it alone for a while");
            ctx.run_later(Self::FAULTED_FOR, move |_, ctx| ctx.notify(ReloadAll(vec![id])));
        } else {
            tracing::error!(ticket = %id, "the ticket's actor panicked; starting it anew");
            ctx.notify(ReloadAll(vec![id]));
        }
    }

    fn finished(&mut self, _: &mut Context<Self>) {}
}

impl Tickets {
    /// Commands on their way to ticket actors at once; more are shed.
    const ADMITTED_MAX: usize = 4096;

    /// Starts the registry, and the threads on which ticket actors live.
    pub(super) fn start(context: Arc<ActorContext>, arbiters: &[ArbiterHandle]) -> Self {
        let handles = arbiters.to_vec();
        let registry = {
            let context = Arc::clone(&context);
            let home = handles[0].clone();
            Supervisor::start_in_arbiter(&home, move |_| TicketRegistry::new(context, handles))
        };
        Self { context, registry, admitted: Arc::new(AtomicUsize::new(0)), listings: InFlight::default() }
    }

    /// Puts a ticket on sale.
    pub async fn list(&self, seller: UserId, title: Title, price: Money, key: Option<IdempotencyKey>) -> Result<Ticket, ActorError> {
        let _listing = self.reserve_listing(seller)?;
        let now = self.context.now();
        let decision = decide::list_ticket(TicketId::new(new_id()), seller, title, price, now);
        let ticket = decision.ticket.clone().ok_or(ActorError::NotFound)?;
        let outcome = Outcome::TicketCreated { ticket: ticket.clone() };
        let record = key.map(|key| IdempotencyRecord { key, outcome, created_at: now });
        self.context.store.commit(Commit::of(decision.clone(), now).with_idempotency_record(record)).await?;
        self.context.show(&decision);
        Ok(ticket)
    }

    /// Counts a ticket that is being listed, if the seller may have one more on sale.
    ///
    /// What other replicas are listing at this moment is not known here, nor is a commit whose outcome was unknown: by these
    /// the quota may be exceeded, and by no others.
    fn reserve_listing(&self, seller: UserId) -> Result<Option<InFlightGuard<UserId>>, ActorError> {
        let Some(listings_max) = self.context.policy.listings_max else { return Ok(None) };
        let listings_max = usize::try_from(listings_max).unwrap_or(usize::MAX);
        let has_room = |others| self.context.catalog.on_sale_of(seller) + others < listings_max;
        let reserved = self.listings.begin_if(seller, has_room).ok_or_else(|| {
            METRICS.listings_refused.inc();
            ActorError::TooManyListings
        })?;
        Ok(Some(reserved))
    }

    /// Why a command cannot be done that a limit forbids: what the rules refuse it for, or else `limit`. So a client is
    /// answered in the order of the contract, and the limit comes last.
    pub(super) async fn refusal(&self, id: TicketId, command: &TicketCommand, limit: Refusal) -> Result<Refusal, ActorError> {
        let sale = self.context.store.sale(id).await?.ok_or(ActorError::NotFound)?;
        Ok(decide(&sale, command, &self.context.policy, self.context.now()).err().unwrap_or(limit))
    }

    /// The present state, as the store has it. [`ActorError::NotFound`] for a deleted one.
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
        Ok(self.ask(id, TicketCommand::Edit { by, title, price, if_match }, key).await?.sale.ticket)
    }

    /// Takes the ticket off sale.
    pub async fn delist(&self, id: TicketId, by: UserId, if_match: Option<Version>, key: Option<IdempotencyKey>) -> Result<(), ActorError> {
        self.ask(id, TicketCommand::Delist { by, if_match }, key).await.map(drop)
    }

    /// Has a command decided by the ticket's actor, and waits until it is durable.
    pub(super) async fn ask(&self, id: TicketId, command: TicketCommand, key: Option<IdempotencyKey>) -> Result<Done, ActorError> {
        let _admission = CommandPermit::take(&self.admitted).ok_or_else(|| {
            METRICS.requests_rejected.with_label_values(&["tickets"]).inc();
            ActorError::Busy("tickets")
        })?;
        let (reply, answer) = oneshot::channel();
        let route = Route(id, ActorRequest { command, key, reply: Some(reply) });
        self.registry.try_send(route).map_err(|_| ActorError::Busy("tickets"))?;
        // No answer: the actor went down with the command in its hands, written or not.
        answer.await.unwrap_or(Err(ActorError::OutcomeUnknown))
    }

    /// Has the actors of these tickets look at the clock.
    pub(super) fn wake(&self, ids: Vec<TicketId>) {
        if !ids.is_empty() && self.registry.try_send(ReloadAll(ids)).is_err() {
            tracing::warn!("the ticket registry is too busy to wake actors; the next sweep will");
        }
    }

    /// Has an actor arm the timer of each of these locks; done when the registry has started them all.
    pub(super) async fn adopt(&self, sales: Vec<Sale>) {
        if self.registry.send(Adopt(sales)).await.is_err() {
            tracing::warn!("the ticket registry is gone; the sweep of another life will find its locks");
        }
    }

    /// Tells the ticket's actor, if there is one, that the ticket has this version by now.
    pub(super) fn seen(&self, id: TicketId, version: Version) {
        let _ = self.registry.try_send(NewerVersion(id, version));
    }

    /// Refuses from memory what is certain to be refused, without asking the actor.
    ///
    /// The map may be behind by the feed's delay; it is not believed when the feed is not live, nor about a lock whose
    /// time is over.
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
    /// How many ticket actors the registry knows.
    pub(super) async fn actors_alive(&self) -> usize {
        self.registry.send(Census).await.expect("the registry is there")
    }
}

/// How many ticket actors are there?
#[cfg(test)]
#[derive(Debug, Message)]
#[rtype(result = "usize")]
struct Census;

#[cfg(test)]
impl Handler<Census> for TicketRegistry {
    type Result = usize;

    fn handle(&mut self, _: Census, _: &mut Context<Self>) -> usize {
        self.actors.len()
    }
}

/// A place among the commands that are on their way, given back when dropped.
struct CommandPermit<'a>(&'a AtomicUsize);

impl<'a> CommandPermit<'a> {
    fn take(admitted: &'a AtomicUsize) -> Option<Self> {
        let before = admitted.fetch_add(1, Ordering::Relaxed);
        let admission = Self(admitted);
        (before < Tickets::ADMITTED_MAX).then_some(admission)
    }
}

impl Drop for CommandPermit<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
