//! The ticket actor: owner of one ticket's lock state and timer.
//!
//! It decides in memory and persists each decision by one conditional commit; while a commit is being written it goes on
//! reading its mailbox, and everything else waits in a queue until the outcome is known: a buyer is refused because of a lock
//! that was written, never because of one that may yet be refused by the store. Nothing of it needs to survive: whatever
//! happens to it, the next one loads the same state from the store and arms the same timer.

mod messages;
mod timer;

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Supervised, WrapFuture};

pub(super) use messages::{ActorRequest, ActorStatus, Done, Outdated, PanicReports, Reload};
use messages::{answer, internal, outcome_of};
use timer::{LockClock, Timer};

use super::{ActorError, context::ActorContext};
use crate::{
    clock::ClockReading,
    domain::{Decision, IdempotencyRecord, OrderId, Refusal, Sale, TicketCommand, TicketId, TicketState, Timestamp, decide},
    metrics::METRICS,
    store::{Commit, CommitError},
};

/// What the actor knows of its ticket.
#[derive(Debug)]
enum Cached {
    /// Nothing yet, or nothing any more.
    No,
    Sale(Box<Sale>),
    /// A commit has no definite outcome: nothing is decided before a fence was written.
    Unsettled,
}

/// One queued [`ActorRequest`], with how often it was begun.
#[derive(Debug)]
struct QueuedRequest {
    ask: ActorRequest,
    tries: u32,
    /// Whether the state was read anew for it: what a stale copy refused is decided once more.
    reloaded: bool,
}

/// Owner of one ticket's lock state and timer.
#[derive(Debug)]
pub(super) struct TicketActor {
    id: TicketId,
    context: Arc<ActorContext>,
    status: Arc<ActorStatus>,
    panicked: PanicReports,
    known: Cached,
    /// `known` is what the catalog shows, and not read from the store: good enough to grant by, since every commit is
    /// conditional; never to refuse by.
    from_catalog: bool,
    /// A load or a commit is running; its end goes on with the queue.
    busy: bool,
    queue: VecDeque<QueuedRequest>,
    timer: Option<Timer>,
    /// By what time the present lock is judged.
    lock_clock: Option<LockClock>,
    /// What it is started with, read from the store just now: for its first life only.
    preloaded: Option<Box<Sale>>,
}

impl TicketActor {
    /// More commands than this that wait for one ticket's disk write are shed.
    const QUEUE_MAX: usize = 64;
    /// How often a command is decided anew because others changed the ticket meanwhile.
    const TRIES_MAX: u32 = 8;
    /// Until a release that the store did not take is tried again.
    const RETRY_AFTER: Duration = Duration::from_millis(250);

    pub(super) fn new(
        id: TicketId,
        context: Arc<ActorContext>,
        status: Arc<ActorStatus>,
        panicked: PanicReports,
        preloaded: Option<Box<Sale>>,
    ) -> Self {
        METRICS.ticket_actors.inc();
        let (known, queue) = (Cached::No, VecDeque::new());
        let (timer, lock_clock) = (None, None);
        Self { id, context, status, panicked, known, from_catalog: false, busy: false, queue, timer, lock_clock, preloaded }
    }

    /// Where a test makes every actor panic, or that of the one ticket whose id it names.
    fn failpoint(&self) {
        fail::fail_point!("ticket_actor::handle", |only: Option<String>| {
            if only.is_none_or(|id| id == self.id.to_string()) {
                panic!("failpoint ticket_actor::handle");
            }
        });
    }

    /// Goes on with what waits, until something has to be awaited.
    fn pump(&mut self, ctx: &mut Context<Self>) {
        while !self.busy {
            let Some(waiting) = self.queue.pop_front() else { break };
            self.begin(waiting, ctx);
        }
        self.status.idle.store(!self.busy && self.timer.is_none(), Ordering::Release);
    }

    fn begin(&mut self, mut waiting: QueuedRequest, ctx: &mut Context<Self>) {
        waiting.tries += 1;
        if waiting.tries > Self::TRIES_MAX {
            return answer(waiting.ask, Err(ActorError::Busy("ticket")));
        }
        let reading = self.context.clock.reading();
        match &self.known {
            Cached::No => {
                // What was decided over the catalog's copy once, and failed, is decided over the store's.
                let look_it_up = waiting.tries > 1 || waiting.reloaded;
                waiting.tries -= 1;
                self.queue.push_front(waiting);
                if look_it_up || !self.load_from_catalog() {
                    self.load(ctx);
                }
            }
            Cached::Unsettled => {
                answer(waiting.ask, Err(ActorError::OutcomeUnknown));
                self.load(ctx);
            }
            Cached::Sale(sale) => match self.due(sale) {
                Some(order) if !matches!(waiting.ask.command, TicketCommand::DeadlinePassed { .. }) => {
                    self.queue.push_front(waiting);
                    self.decide(
                        QueuedRequest { ask: internal(TicketCommand::DeadlinePassed { order }), tries: 1, reloaded: true },
                        reading,
                        ctx,
                    );
                }
                _ => self.decide(waiting, reading, ctx),
            },
        }
    }

    /// The time by which the present lock is judged; the store's time without one.
    fn now(&self) -> Timestamp {
        self.judged_at(self.context.now())
    }

    fn judged_at(&self, store: Timestamp) -> Timestamp {
        self.lock_clock.map_or(store, |clock| clock.now(store))
    }

    fn set_sale(&mut self, sale: Sale, reading: ClockReading) {
        self.lock_clock = LockClock::of(&sale, self.lock_clock, reading);
        self.known = Cached::Sale(Box::new(sale));
    }

    /// The lock whose deadline is certainly over: time is known only as well as it was measured.
    fn due(&self, sale: &Sale) -> Option<OrderId> {
        let deadline = sale.deadline(&self.context.policy)?;
        (deadline.at + self.context.clock.uncertainty() <= self.now()).then_some(deadline.order)
    }

    /// Decides and, if there is anything to write, starts writing.
    fn decide(&mut self, waiting: QueuedRequest, reading: ClockReading, ctx: &mut Context<Self>) {
        let Cached::Sale(sale) = &self.known else { return };
        let now = self.judged_at(reading.now);
        let command = &waiting.ask.command;
        // A panic in the rules must not take the actor's queue with it; nothing is half-changed, since `decide` is pure.
        let decided = catch_unwind(AssertUnwindSafe(|| {
            fail::fail_point!("ticket_actor::decide");
            decide(sale, command, &self.context.policy, now)
        }));
        let decision = match decided {
            Ok(Ok(decision)) => decision,
            // The order or charge may be known to another replica, and not yet to this copy.
            Ok(Err(refusal)) if !waiting.reloaded && (self.from_catalog || matches!(refusal, Refusal::Stale | Refusal::OrderGone)) => {
                self.known = Cached::No;
                return self.queue.push_front(QueuedRequest { reloaded: true, ..waiting });
            }
            Ok(Err(refusal)) => {
                if refusal == Refusal::TicketLocked {
                    METRICS.lock_requests_refused.inc();
                }
                return answer(waiting.ask, Err(refusal.into()));
            }
            Err(_) => {
                METRICS.ticket_actor_panics.inc();
                tracing::error!(ticket = %self.id, "deciding a command panicked");
                return answer(waiting.ask, Err(ActorError::Busy("ticket")));
            }
        };
        let record = waiting.ask.key.as_ref().and_then(|key| {
            let outcome = outcome_of(command, &decision)?;
            Some(IdempotencyRecord { key: key.clone(), outcome, created_at: now })
        });
        self.busy = true;
        let commit = Commit::of(decision.clone(), now).with_idempotency_record(record);
        let store = Arc::clone(&self.context.store);
        let write = async move { store.commit(commit).await };
        ctx.spawn(write.into_actor(self).map(move |written, actor, ctx| actor.written(waiting, decision, reading, written, ctx)));
    }

    /// Answers the buyers that wait with a failure that each of them would wait for in turn.
    fn fail_waiting_buyers(&mut self, fault: &ActorError) {
        let (buyers, others) = self.queue.drain(..).partition(|waiting| matches!(waiting.ask.command, TicketCommand::Lock { .. }));
        self.queue = others;
        let buyers: VecDeque<QueuedRequest> = buyers;
        buyers.into_iter().for_each(|buyer| answer(buyer.ask, Err(fault.clone())));
    }

    fn written(
        &mut self,
        waiting: QueuedRequest,
        decision: Decision,
        reading: ClockReading,
        written: Result<(), CommitError>,
        ctx: &mut Context<Self>,
    ) {
        self.busy = false;
        let released = matches!(waiting.ask.command, TicketCommand::DeadlinePassed { .. });
        match written {
            Ok(()) => {
                let Cached::Sale(sale) = std::mem::replace(&mut self.known, Cached::No) else { return self.pump(ctx) };
                self.count(&sale, &decision);
                let sale = sale.after(&decision);
                self.set_sale(sale.clone(), reading);
                self.from_catalog = false;
                self.context.show(&decision);
                self.context.reverse_losers(&decision);
                self.arm(ctx, Duration::ZERO);
                answer(waiting.ask, Ok(Done { sale, decision }));
            }
            Err(CommitError::Stale) => {
                self.known = Cached::No;
                self.queue.push_front(waiting);
            }
            Err(CommitError::OutcomeUnknown(detail)) => {
                tracing::warn!(ticket = %self.id, %detail, "a commit has no definite outcome");
                self.known = Cached::Unsettled;
                answer(waiting.ask, Err(ActorError::OutcomeUnknown));
                self.load(ctx);
            }
            Err(error) => {
                if released {
                    self.arm(ctx, Self::RETRY_AFTER);
                }
                let fault = ActorError::from(error);
                // Any other failure is this buyer's own: the ticket is still free, and the next one's turn comes.
                if matches!(fault, ActorError::Unavailable(_)) {
                    self.fail_waiting_buyers(&fault);
                }
                answer(waiting.ask, Err(fault));
            }
        }
        self.pump(ctx);
    }

    /// Takes over what the catalog shows, if that is the whole state: a ticket that nobody holds. It saves the common
    /// purchase a read of the store; a copy that was behind costs a commit that finds out, and the read.
    fn load_from_catalog(&mut self) -> bool {
        let shown = self.context.catalog.get(self.id).filter(|ticket| ticket.state == TicketState::Available);
        let Some(ticket) = shown else { return false };
        self.set_sale(Sale::unlocked((*ticket).clone()), self.context.clock.reading());
        self.from_catalog = true;
        true
    }

    /// Reads the ticket's state; after a commit without an outcome, fences it off first.
    fn load(&mut self, ctx: &mut Context<Self>) {
        self.busy = true;
        let context = Arc::clone(&self.context);
        let id = self.id;
        let unsettled = matches!(self.known, Cached::Unsettled);
        let load = async move {
            let sale = context.store.sale(id).await?;
            match sale {
                Some(sale) if unsettled => fence(&context, sale).await.map(Some),
                sale => Ok(sale),
            }
        };
        ctx.spawn(load.into_actor(self).map(move |loaded, actor, ctx| actor.loaded(loaded, ctx)));
    }

    fn loaded(&mut self, loaded: Result<Option<Sale>, ActorError>, ctx: &mut Context<Self>) {
        self.busy = false;
        match loaded {
            Ok(Some(sale)) => {
                self.context.catalog.merge(&sale.ticket);
                self.set_sale(sale, self.context.clock.reading());
                self.from_catalog = false;
                self.run_due_deadline(ctx);
            }
            // Not remembered: it may have been said by a member of MongoDB that is behind the others.
            Ok(None) => {
                self.known = Cached::No;
                self.queue.drain(..).for_each(|waiting| answer(waiting.ask, Err(Refusal::NotFound.into())));
            }
            Err(fault) => {
                tracing::warn!(ticket = %self.id, %fault, "the ticket could not be loaded");
                for waiting in self.queue.drain(..) {
                    answer(waiting.ask, Err(fault.clone()));
                }
                if self.timer.is_none() {
                    // Whether a lock is due is not known: come back and look.
                    self.timer = Some(Timer::start(ctx, Self::RETRY_AFTER * 4));
                }
            }
        }
        self.pump(ctx);
    }

    /// The one timer: armed for the lock's next deadline, if this replica granted the lock.
    ///
    /// Others are left to the replica that granted them, and to the sweep when that replica is gone.
    fn arm(&mut self, ctx: &mut Context<Self>, at_least: Duration) {
        if let Some(timer) = self.timer.take() {
            timer.stop(ctx);
        }
        let Cached::Sale(sale) = &self.known else { return };
        let Some(lock) = sale.ticket.lock().filter(|lock| lock.replica == self.context.replica) else { return };
        let Some(deadline) = sale.deadline(&self.context.policy) else { return };
        debug_assert_eq!(deadline.order, lock.order, "a deadline belongs to the lock");
        let delay = (deadline.at + self.context.clock.uncertainty() - self.now()).to_duration();
        self.timer = Some(Timer::start(ctx, delay.max(at_least)));
    }

    /// Does what is due, if anything is.
    fn run_due_deadline(&mut self, ctx: &mut Context<Self>) {
        self.timer = None;
        match &self.known {
            Cached::Sale(sale) => match self.due(sale) {
                Some(order) => {
                    let ask = internal(TicketCommand::DeadlinePassed { order });
                    self.queue.push_front(QueuedRequest { ask, tries: 0, reloaded: false });
                }
                None => self.arm(ctx, Duration::from_millis(1)),
            },
            Cached::No | Cached::Unsettled if !self.busy => self.load(ctx),
            Cached::No | Cached::Unsettled => {}
        }
        self.pump(ctx);
    }

    fn count(&self, before: &Sale, decision: &Decision) {
        let Some(ticket) = &decision.ticket else { return };
        match (&before.ticket.state, &ticket.state) {
            (TicketState::Available, TicketState::Locked { .. }) => METRICS.locks_granted.inc(),
            (TicketState::Locked { .. }, TicketState::Sold { .. }) => METRICS.tickets_sold.inc(),
            (TicketState::Locked { lock }, TicketState::Available) if ticket.updated_at >= lock.unlocks_at => {
                METRICS.locks_released.inc();
                METRICS.release_lag_seconds.observe((self.now() - lock.unlocks_at).to_duration().as_secs_f64());
            }
            _ => {}
        }
    }
}

/// Makes sure that no earlier commit over this ticket can land any more, and returns the state after that.
async fn fence(context: &ActorContext, sale: Sale) -> Result<Sale, ActorError> {
    let now = context.now();
    let decision = decide(&sale, &TicketCommand::Fence, &context.policy, now)?;
    match context.store.commit(Commit::of(decision.clone(), now)).await {
        Ok(()) => {
            context.show(&decision);
            Ok(sale.after(&decision))
        }
        // Stale: the earlier commit has landed meanwhile, or somebody else moved on. The next load sees it.
        Err(error) => Err(error.into()),
    }
}

impl Actor for TicketActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        // After a restart by the supervisor nothing of the former life counts.
        self.known = Cached::No;
        self.timer = None;
        match self.preloaded.take() {
            Some(sale) => {
                self.set_sale(*sale, self.context.clock.reading());
                self.run_due_deadline(ctx);
            }
            // A ticket that nobody holds has no timer to arm: its first command may find out the rest.
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
            // Nobody may be asking for this ticket, and its lock must lapse all the same.
            let _ = self.panicked.send(self.id);
        }
    }
}

impl Handler<ActorRequest> for TicketActor {
    type Result = ();

    fn handle(&mut self, ask: ActorRequest, ctx: &mut Context<Self>) {
        self.failpoint();
        // Buyers may wait for a load or a commit in any number that is admitted: one of them at most gets the ticket.
        let is_full = self.queue.len() >= Self::QUEUE_MAX && !matches!(ask.command, TicketCommand::Lock { .. });
        if is_full && ask.reply.is_some() {
            METRICS.requests_rejected.with_label_values(&["tickets"]).inc();
            return answer(ask, Err(ActorError::Busy("ticket")));
        }
        self.queue.push_back(QueuedRequest { ask, tries: 0, reloaded: false });
        self.pump(ctx);
    }
}

impl Handler<Outdated> for TicketActor {
    type Result = ();

    fn handle(&mut self, Outdated(version): Outdated, ctx: &mut Context<Self>) {
        if let Cached::Sale(sale) = &self.known
            && sale.ticket.version < version
            && !self.busy
        {
            if let Some(timer) = self.timer.take() {
                timer.stop(ctx);
            }
            self.known = Cached::No;
            self.load(ctx);
        }
    }
}

impl Handler<Reload> for TicketActor {
    type Result = ();

    fn handle(&mut self, _: Reload, ctx: &mut Context<Self>) {
        if !self.busy {
            // What is in memory may be what the sweep found to be stale.
            if !matches!(self.known, Cached::Unsettled) {
                self.known = Cached::No;
            }
            self.load(ctx);
        }
    }
}
