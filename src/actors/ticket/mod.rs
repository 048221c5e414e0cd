//! The ticket actor: owner of one ticket's lock state and timer.
//!
//! The actor decides in memory and writes each decision by one conditional commit. While a commit is being written, the actor
//! reads its mailbox, and requests wait in a queue until the outcome is known. So a buyer is refused because of a lock that was
//! committed, never because of a lock whose commit may still fail. The state of an actor need not be kept: the next actor reads
//! the ticket from the catalog or the store, and arms the timer if its own replica granted the lock.

mod messages;
mod timer;

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Supervised, WrapFuture};

pub(super) use messages::{ActorRequest, ActorStatus, Committed, Outdated, PanicReports, Reload};
use messages::{answer, internal, outcome_of};
use timer::{LockClock, Timer};

use super::{ActorError, context::ActorContext};
use crate::{
    clock::ClockReading,
    domain::{Decision, IdempotencyRecord, OrderId, Refusal, Sale, TicketCommand, TicketId, TicketState, Timestamp, decide},
    metrics::METRICS,
    store::{Commit, CommitError},
};

/// The state of the ticket in the actor's memory.
#[derive(Debug)]
enum Cached {
    /// The state was not read yet, or was discarded.
    Unloaded,
    Sale(Box<Sale>),
    /// The outcome of a commit is unknown. Nothing is decided before a fence is committed (see [`fence`]).
    OutcomeUnknown,
}

/// One queued [`ActorRequest`].
#[derive(Debug)]
struct QueuedRequest {
    request: ActorRequest,
    /// Number of decisions begun while the request was the first of the queue. Reading the state is not counted.
    tries: u32,
    /// Whether the next decision is final: a refusal is not decided again over the store.
    reloaded: bool,
}

/// Owner of one ticket's lock state and timer.
#[derive(Debug)]
pub(super) struct TicketActor {
    id: TicketId,
    context: Arc<ActorContext>,
    status: Arc<ActorStatus>,
    panicked: PanicReports,
    cached: Cached,
    /// Whether `cached` is a copy from the catalog, which may be stale. A lock may be granted by it, since the commit is
    /// conditional. A refusal over such a copy is decided again over the state in the store.
    from_catalog: bool,
    /// Whether a load or a commit is running. Its completion handles the queue.
    busy: bool,
    queue: VecDeque<QueuedRequest>,
    timer: Option<Timer>,
    /// The clock that the present lock is measured by.
    lock_clock: Option<LockClock>,
    /// The state that the registry has just read from the store, if it has. `started` takes it.
    preloaded: Option<Box<Sale>>,
}

impl TicketActor {
    /// Maximum number of queued requests. Requests beyond it are rejected, except `Lock` commands and the actor's own.
    const QUEUE_MAX: usize = 64;
    /// Maximum number of decisions for one request. It is decided again when other replicas change the ticket meanwhile.
    const TRIES_MAX: u32 = 8;
    /// Pause before a release is tried again that the store did not commit.
    const RETRY_AFTER: Duration = Duration::from_millis(250);

    pub(super) fn new(
        id: TicketId,
        context: Arc<ActorContext>,
        status: Arc<ActorStatus>,
        panicked: PanicReports,
        preloaded: Option<Box<Sale>>,
    ) -> Self {
        METRICS.ticket_actors.inc();
        let (cached, queue) = (Cached::Unloaded, VecDeque::new());
        let (timer, lock_clock) = (None, None);
        Self { id, context, status, panicked, cached, from_catalog: false, busy: false, queue, timer, lock_clock, preloaded }
    }

    /// Lets a test make every actor panic, or only the actor of the ticket whose id is the failpoint's argument.
    fn failpoint(&self) {
        fail::fail_point!("ticket_actor::handle", |only: Option<String>| {
            if only.is_none_or(|id| id == self.id.to_string()) {
                panic!("failpoint ticket_actor::handle");
            }
        });
    }

    /// Handles queued requests until the queue is empty or a load or commit runs.
    fn drain_queue(&mut self, ctx: &mut Context<Self>) {
        while !self.busy {
            let Some(queued) = self.queue.pop_front() else { break };
            self.begin(queued, ctx);
        }
        self.status.idle.store(!self.busy && self.timer.is_none(), Ordering::Release);
    }

    fn begin(&mut self, mut queued: QueuedRequest, ctx: &mut Context<Self>) {
        queued.tries += 1;
        if queued.tries > Self::TRIES_MAX {
            return answer(queued.request, Err(ActorError::Busy("ticket")));
        }
        let reading = self.context.clock.reading();
        match &self.cached {
            Cached::Unloaded => {
                // After the catalog's copy failed once, the request is decided over the store's state.
                let must_read_store = queued.tries > 1 || queued.reloaded;
                queued.tries -= 1;
                self.queue.push_front(queued);
                if must_read_store || !self.load_from_catalog() {
                    self.load(ctx);
                }
            }
            Cached::OutcomeUnknown => {
                answer(queued.request, Err(ActorError::OutcomeUnknown));
                self.load(ctx);
            }
            Cached::Sale(sale) => match self.due(sale) {
                Some(order) if !matches!(queued.request.command, TicketCommand::DeadlinePassed { .. }) => {
                    self.queue.push_front(queued);
                    self.decide(
                        QueuedRequest { request: internal(TicketCommand::DeadlinePassed { order }), tries: 1, reloaded: true },
                        reading,
                        ctx,
                    );
                }
                _ => self.decide(queued, reading, ctx),
            },
        }
    }

    /// Returns the time that the present lock is measured by, or the store's time if there is no lock.
    fn lock_time(&self) -> Timestamp {
        self.lock_time_at(self.context.now())
    }

    fn lock_time_at(&self, store: Timestamp) -> Timestamp {
        self.lock_clock.map_or(store, |clock| clock.now(store))
    }

    fn set_sale(&mut self, sale: Sale, reading: ClockReading) {
        self.lock_clock = LockClock::of(&sale, self.lock_clock, reading);
        self.cached = Cached::Sale(Box::new(sale));
    }

    /// Returns the order whose deadline has passed for certain: the uncertainty of the clock is added to the deadline.
    fn due(&self, sale: &Sale) -> Option<OrderId> {
        let deadline = sale.deadline(&self.context.policy)?;
        (deadline.at + self.context.clock.uncertainty() <= self.lock_time()).then_some(deadline.order)
    }

    fn decide(&mut self, queued: QueuedRequest, reading: ClockReading, ctx: &mut Context<Self>) {
        let Cached::Sale(sale) = &self.cached else { return };
        let now = self.lock_time_at(reading.now);
        let command = &queued.request.command;
        // A panic in the rules must not drop the actor's queue. `decide` is pure, so that it leaves no partial change.
        let decided = catch_unwind(AssertUnwindSafe(|| {
            fail::fail_point!("ticket_actor::decide");
            decide(sale, command, &self.context.policy, now)
        }));
        let decision = match decided {
            Ok(Ok(decision)) => decision,
            // Another replica may have written the order or charge after this copy was made.
            Ok(Err(refusal)) if !queued.reloaded && (self.from_catalog || matches!(refusal, Refusal::Stale | Refusal::OrderGone)) => {
                self.cached = Cached::Unloaded;
                return self.queue.push_front(QueuedRequest { reloaded: true, ..queued });
            }
            Ok(Err(refusal)) => {
                if refusal == Refusal::TicketLocked {
                    METRICS.lock_requests_refused.inc();
                }
                return answer(queued.request, Err(refusal.into()));
            }
            Err(_) => {
                METRICS.ticket_actor_panics.inc();
                tracing::error!(ticket = %self.id, "the decision of a command panicked; its request is answered with 503");
                return answer(queued.request, Err(ActorError::Busy("ticket")));
            }
        };
        let record = queued.request.key.as_ref().and_then(|key| {
            let outcome = outcome_of(command, &decision)?;
            Some(IdempotencyRecord { key: key.clone(), outcome, created_at: now })
        });
        self.busy = true;
        let commit = Commit::of(decision.clone(), now).with_idempotency_record(record);
        let store = Arc::clone(&self.context.store);
        let write = async move { store.commit(commit).await };
        ctx.spawn(write.into_actor(self).map(move |written, actor, ctx| actor.on_commit_result(queued, decision, reading, written, ctx)));
    }

    /// Answers all queued lock requests with a failure that each of them would get in turn.
    fn fail_queued_locks(&mut self, error: &ActorError) {
        let (buyers, others) = self.queue.drain(..).partition(|queued| matches!(queued.request.command, TicketCommand::Lock { .. }));
        self.queue = others;
        let buyers: VecDeque<QueuedRequest> = buyers;
        buyers.into_iter().for_each(|buyer| answer(buyer.request, Err(error.clone())));
    }

    fn on_commit_result(
        &mut self,
        queued: QueuedRequest,
        decision: Decision,
        reading: ClockReading,
        written: Result<(), CommitError>,
        ctx: &mut Context<Self>,
    ) {
        self.busy = false;
        let is_release = matches!(queued.request.command, TicketCommand::DeadlinePassed { .. });
        match written {
            Ok(()) => {
                let Cached::Sale(sale) = std::mem::replace(&mut self.cached, Cached::Unloaded) else { return self.drain_queue(ctx) };
                self.count_transition(&sale, &decision);
                let sale = sale.after(&decision);
                self.set_sale(sale.clone(), reading);
                self.from_catalog = false;
                self.context.apply_to_catalog(&decision);
                self.context.queue_reversals(&decision);
                self.arm_timer(ctx, Duration::ZERO);
                answer(queued.request, Ok(Committed { sale, decision }));
            }
            Err(CommitError::Stale) => {
                self.cached = Cached::Unloaded;
                self.queue.push_front(queued);
            }
            Err(CommitError::OutcomeUnknown(detail)) => {
                tracing::warn!(ticket = %self.id, %detail, "the outcome of a commit is unknown; the ticket is read again and fenced");
                self.cached = Cached::OutcomeUnknown;
                answer(queued.request, Err(ActorError::OutcomeUnknown));
                self.load(ctx);
            }
            Err(error) => {
                if is_release {
                    self.arm_timer(ctx, Self::RETRY_AFTER);
                }
                let error = ActorError::from(error);
                // Any other failure concerns this request alone. The ticket is still free for the next request.
                if matches!(error, ActorError::Unavailable(_)) {
                    self.fail_queued_locks(&error);
                }
                answer(queued.request, Err(error));
            }
        }
        self.drain_queue(ctx);
    }

    /// Takes the state from the catalog if the ticket is Available there, since it then has no order or charge to read. This
    /// saves most purchases a read of the store. If the copy is stale, it costs a failed commit and the read.
    fn load_from_catalog(&mut self) -> bool {
        let catalog_copy = self.context.catalog.get(self.id).filter(|ticket| ticket.state == TicketState::Available);
        let Some(ticket) = catalog_copy else { return false };
        self.set_sale(Sale::unlocked((*ticket).clone()), self.context.clock.reading());
        self.from_catalog = true;
        true
    }

    /// Reads the ticket's state. After a commit with an unknown outcome, then writes a fence over what was read.
    fn load(&mut self, ctx: &mut Context<Self>) {
        self.busy = true;
        let context = Arc::clone(&self.context);
        let id = self.id;
        let is_outcome_unknown = matches!(self.cached, Cached::OutcomeUnknown);
        let load = async move {
            let sale = context.store.sale(id).await?;
            match sale {
                Some(sale) if is_outcome_unknown => fence(&context, sale).await.map(Some),
                sale => Ok(sale),
            }
        };
        ctx.spawn(load.into_actor(self).map(move |loaded, actor, ctx| actor.on_load_result(loaded, ctx)));
    }

    fn on_load_result(&mut self, loaded: Result<Option<Sale>, ActorError>, ctx: &mut Context<Self>) {
        self.busy = false;
        match loaded {
            Ok(Some(sale)) => {
                self.context.catalog.merge(&sale.ticket);
                self.set_sale(sale, self.context.clock.reading());
                self.from_catalog = false;
                self.run_due_deadline(ctx);
            }
            // Not cached: the ticket may be committed after this read.
            Ok(None) => {
                self.cached = Cached::Unloaded;
                self.queue.drain(..).for_each(|queued| answer(queued.request, Err(Refusal::NotFound.into())));
            }
            Err(error) => {
                tracing::warn!(ticket = %self.id, %error, "a ticket could not be read or fenced; its queued requests fail");
                for queued in self.queue.drain(..) {
                    answer(queued.request, Err(error.clone()));
                }
                if self.timer.is_none() {
                    // A lock may be overdue: the timer reads the store again.
                    self.timer = Some(Timer::start(ctx, Self::RETRY_AFTER * 4));
                }
            }
        }
        self.drain_queue(ctx);
    }

    /// Arms the timer for the lock's next deadline, `at_least` from now, if this replica granted the lock.
    ///
    /// If the other replica is late with its own lock, the sweep or the next command to any actor of the ticket releases it.
    fn arm_timer(&mut self, ctx: &mut Context<Self>, at_least: Duration) {
        if let Some(timer) = self.timer.take() {
            timer.stop(ctx);
        }
        let Cached::Sale(sale) = &self.cached else { return };
        let Some(lock) = sale.ticket.lock().filter(|lock| lock.replica == self.context.replica) else { return };
        let Some(deadline) = sale.deadline(&self.context.policy) else { return };
        debug_assert_eq!(deadline.order, lock.order, "the deadline belongs to the lock");
        let delay = (deadline.at + self.context.clock.uncertainty() - self.lock_time()).to_duration();
        self.timer = Some(Timer::start(ctx, delay.max(at_least)));
    }

    /// Runs the deadline if it has passed, else arms the timer. Reads the state first if it is not in memory.
    fn run_due_deadline(&mut self, ctx: &mut Context<Self>) {
        self.timer = None;
        match &self.cached {
            Cached::Sale(sale) => match self.due(sale) {
                Some(order) => {
                    let request = internal(TicketCommand::DeadlinePassed { order });
                    self.queue.push_front(QueuedRequest { request, tries: 0, reloaded: false });
                }
                None => self.arm_timer(ctx, Duration::from_millis(1)),
            },
            Cached::Unloaded | Cached::OutcomeUnknown if !self.busy => self.load(ctx),
            Cached::Unloaded | Cached::OutcomeUnknown => {}
        }
        self.drain_queue(ctx);
    }

    fn count_transition(&self, before: &Sale, decision: &Decision) {
        let Some(ticket) = &decision.ticket else { return };
        match (&before.ticket.state, &ticket.state) {
            (TicketState::Available, TicketState::Locked { .. }) => METRICS.locks_granted.inc(),
            (TicketState::Locked { .. }, TicketState::Sold { .. }) => METRICS.tickets_sold.inc(),
            (TicketState::Locked { lock }, TicketState::Available) if ticket.updated_at >= lock.unlocks_at => {
                METRICS.locks_released.inc();
                METRICS.release_lag_seconds.observe((self.lock_time() - lock.unlocks_at).to_duration().as_secs_f64());
            }
            _ => {}
        }
    }
}

/// Commits a fence, after which no earlier commit over this ticket can succeed. Returns the state after the fence.
async fn fence(context: &ActorContext, sale: Sale) -> Result<Sale, ActorError> {
    let now = context.now();
    let decision = decide(&sale, &TicketCommand::Fence, &context.policy, now)?;
    match context.store.commit(Commit::of(decision.clone(), now)).await {
        Ok(()) => {
            context.apply_to_catalog(&decision);
            Ok(sale.after(&decision))
        }
        // Stale: the earlier commit succeeded meanwhile, or another replica changed the ticket. The next load reads it.
        Err(error) => Err(error.into()),
    }
}

impl Actor for TicketActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        // Runs once for each actor. `Supervisor` never restarts an actor that panicked: the registry starts a new one.
        self.cached = Cached::Unloaded;
        self.timer = None;
        match self.preloaded.take() {
            Some(sale) => {
                self.set_sale(*sale, self.context.clock.reading());
                self.run_due_deadline(ctx);
            }
            // An Available ticket needs no timer. If the catalog's copy is stale, its first command reads the store.
            None if self.load_from_catalog() => {}
            None => self.load(ctx),
        }
    }
}

impl Supervised for TicketActor {}

impl Drop for TicketActor {
    fn drop(&mut self) {
        METRICS.ticket_actors.dec();
        if std::thread::panicking() {
            // The registry starts a new actor at once: the lock must be released on time, also if no request comes.
            let _ = self.panicked.send(self.id);
        }
    }
}

impl Handler<ActorRequest> for TicketActor {
    type Result = ();

    fn handle(&mut self, request: ActorRequest, ctx: &mut Context<Self>) {
        self.failpoint();
        // Lock requests are bounded by the admission alone: at most one of them gets the ticket, and the others are refused.
        let is_full = self.queue.len() >= Self::QUEUE_MAX && !matches!(request.command, TicketCommand::Lock { .. });
        if is_full && request.reply.is_some() {
            METRICS.requests_rejected.with_label_values(&["tickets"]).inc();
            return answer(request, Err(ActorError::Busy("ticket")));
        }
        self.queue.push_back(QueuedRequest { request, tries: 0, reloaded: false });
        self.drain_queue(ctx);
    }
}

impl Handler<Outdated> for TicketActor {
    type Result = ();

    fn handle(&mut self, Outdated(version): Outdated, ctx: &mut Context<Self>) {
        if let Cached::Sale(sale) = &self.cached
            && sale.ticket.version < version
            && !self.busy
        {
            if let Some(timer) = self.timer.take() {
                timer.stop(ctx);
            }
            self.cached = Cached::Unloaded;
            self.load(ctx);
        }
    }
}

impl Handler<Reload> for TicketActor {
    type Result = ();

    fn handle(&mut self, _: Reload, ctx: &mut Context<Self>) {
        if !self.busy {
            // The state in memory may be older than the state that the sweep read.
            if !matches!(self.cached, Cached::OutcomeUnknown) {
                self.cached = Cached::Unloaded;
            }
            self.load(ctx);
        }
    }
}
