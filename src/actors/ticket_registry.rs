//! The ticket registry: the table of ticket actors, and the routing of requests to them.
//!
//! The registry starts an actor when a request or a lock concerns its ticket, and drops the actor
//! when it has been idle for a while. It is the supervisor of the actors: see `supervision.rs`.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use actix::{
    Actor, Addr, ArbiterHandle, AsyncContext, Context, Handler, Message, StreamHandler, Supervised,
    Supervisor,
};
use futures_util::stream;
use tokio::{sync::mpsc, time::Instant};

use super::{
    ActorError, Tickets,
    context::ActorContext,
    supervision::{PanicReports, RestartHistory},
    ticket::{ActorRequest, ActorStatus, NewerVersion, Reload, TicketActor},
};
use crate::{
    domain::{Sale, TicketId, Version},
    metrics::METRICS,
    tasks::{EssentialTask, contain},
};

/// Task name of the registry in the log.
const REGISTRY: &str = "ticket registry";

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
    restarts: RestartHistory,
}

/// Sends a request to the ticket's actor, which is started if the ticket has none.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct Route(pub TicketId, pub ActorRequest);

/// The feed delivered this version of the ticket.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct NewerVersionOf(pub TicketId, pub Version);

/// Makes the actors of these tickets read the store again. Starts the actors that do not run.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct ReloadAll(pub Vec<TicketId>);

/// Starts the actors of locks of this replica, just read from the store, so that they arm their
/// timers.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct ArmTimers(pub Vec<Sale>);

impl TicketRegistry {
    /// Capacity of the mailbox: more than the handle admits, so that requests are rejected by the
    /// handle and not here.
    const MAILBOX_MAX: usize = Tickets::ADMITTED_MAX * 2;
    /// Time without a request after which an idle actor is dropped.
    const IDLE_MAX: Duration = Duration::from_secs(30);
    const RETIRE_EVERY: Duration = Duration::from_secs(10);

    pub(super) fn new(context: Arc<ActorContext>, arbiters: Vec<ArbiterHandle>) -> Self {
        let (report_panic, panicked) = mpsc::unbounded_channel();
        Self {
            context,
            arbiters,
            actors: HashMap::new(),
            panicked: Some(panicked),
            report_panic,
            _essential: EssentialTask::new(REGISTRY),
        }
    }

    /// Returns the ticket's running actor, which is started if there is none, or `None` while
    /// restarts are paused. An actor that is started takes `preloaded`, if given, as the state of
    /// its ticket and does not read the store.
    fn actor(&mut self, id: TicketId, preloaded: Option<Box<Sale>>) -> Option<&mut ActorEntry> {
        let now = Instant::now();
        let entry = self.actors.get(&id);
        if entry.is_some_and(|entry| entry.restarts.is_paused(now)) {
            return None;
        }
        if entry.is_none_or(|entry| !entry.addr.connected()) {
            let status = Arc::new(ActorStatus::default());
            let addr = self.start_actor(id, Arc::clone(&status), preloaded);
            let restarts = entry.map(|entry| entry.restarts).unwrap_or_default();
            self.actors.insert(id, ActorEntry { addr, status, used_at: now, restarts });
        }
        let entry = self.actors.get_mut(&id)?;
        entry.used_at = now;
        Some(entry)
    }

    fn route(&mut self, id: TicketId, request: ActorRequest) {
        fail::fail_point!("ticket_registry::route");
        match self.actor(id, None) {
            // `do_send` ignores the mailbox's capacity. A client's command holds a permit of
            // `Tickets::execute` until it is answered or its caller's future is dropped. If the
            // caller no longer waits, the permit is free, and the actor's `QUEUE_MAX` bounds the
            // queue.
            Some(entry) => entry.addr.do_send(request),
            None => reject(request),
        }
    }

    fn reload(&mut self, id: TicketId) {
        if let Some(entry) = self.actor(id, None) {
            // If the mailbox is full, the actor is handling requests, and runs a due deadline
            // before each of them.
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

    fn start_actor(
        &self,
        id: TicketId,
        status: Arc<ActorStatus>,
        preloaded: Option<Box<Sale>>,
    ) -> Addr<TicketActor> {
        let (context, panicked) = (Arc::clone(&self.context), self.report_panic.clone());
        let at = usize::try_from(id.uuid().as_u128() % self.arbiters.len() as u128)
            .expect("a remainder by a usize fits in a usize");
        Supervisor::start_in_arbiter(&self.arbiters[at], move |_| {
            TicketActor::new(id, context, status, panicked, preloaded)
        })
    }

    fn retire(&mut self) {
        let now = Instant::now();
        self.actors.retain(|_, entry| {
            let idle = entry.status.idle.load(Ordering::Acquire) || !entry.addr.connected();
            !idle || entry.restarts.is_recent(now) || now - entry.used_at < Self::IDLE_MAX
        });
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
            ctx.add_stream(stream::unfold(panicked, |mut panicked| async move {
                panicked.recv().await.map(|id| (id, panicked))
            }));
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

impl Handler<NewerVersionOf> for TicketRegistry {
    type Result = ();

    fn handle(&mut self, NewerVersionOf(id, version): NewerVersionOf, _: &mut Context<Self>) {
        if let Some(entry) = self.actors.get(&id) {
            // If the mailbox is full or closed, nothing is lost: a commit over an older version
            // fails as stale.
            let _ = entry.addr.try_send(NewerVersion(version));
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
        entry.restarts.record_panic(now);
        if entry.restarts.is_paused(now) {
            METRICS.ticket_actor_circuits_opened.inc();
            tracing::error!(ticket = %id, "the actor of a ticket keeps panicking; requests for the ticket get 503 for 30 s");
            ctx.run_later(RestartHistory::PAUSE, move |_, ctx| ctx.notify(ReloadAll(vec![id])));
        } else {
            tracing::error!(ticket = %id, "the actor of a ticket panicked; a new one is started");
            ctx.notify(ReloadAll(vec![id]));
        }
    }

    fn finished(&mut self, _: &mut Context<Self>) {}
}

/// Asks for the number of entries in the registry's table.
#[cfg(test)]
#[derive(Debug, Message)]
#[rtype(result = "usize")]
pub(super) struct CountActors;

#[cfg(test)]
impl Handler<CountActors> for TicketRegistry {
    type Result = usize;

    fn handle(&mut self, _: CountActors, _: &mut Context<Self>) -> usize {
        self.actors.len()
    }
}

/// Makes a ticket's actor stop without a panic.
#[cfg(test)]
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct StopActor(pub TicketId);

#[cfg(test)]
impl Handler<StopActor> for TicketRegistry {
    type Result = ();

    fn handle(&mut self, StopActor(id): StopActor, _: &mut Context<Self>) {
        self.actors[&id].addr.do_send(super::ticket::Stop);
    }
}
