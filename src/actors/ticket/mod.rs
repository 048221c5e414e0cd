//! The ticket actor: owner of one ticket's lock state and timer.
//!
//! The actor decides in memory and writes each decision by one conditional commit. While a commit
//! is being written, the actor reads its mailbox, and requests wait in a queue until the outcome is
//! known. So a buyer is refused because of a lock that was committed, never because of a lock whose
//! commit may still fail. The state of an actor need not be kept: the next actor reads the ticket
//! from the catalog or the store, and arms the timer if its own replica granted the lock.

mod commit;
mod load;
mod messages;
mod timer;

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use actix::{Actor, Context, Handler, Supervised};

pub(super) use messages::{ActorRequest, ActorStatus, Committed, NewerVersion, Reload};
use messages::{answer, internal};
use timer::{LockClock, Timer};

use super::{ActorError, context::ActorContext, supervision::PanicReports};
use crate::{
    clock::ClockReading,
    domain::{OrderId, Sale, TicketCommand, TicketId, Timestamp},
    metrics::METRICS,
};

/// The state of the ticket in the actor's memory.
#[derive(Debug)]
enum Cached {
    /// The state was not read yet, or was discarded.
    Unloaded,
    Sale(Box<Sale>),
    /// The outcome of a commit is unknown. Nothing is decided before a fence is committed (see
    /// `load.rs`).
    OutcomeUnknown,
}

/// One queued [`ActorRequest`].
#[derive(Debug)]
struct QueuedRequest {
    request: ActorRequest,
    /// Number of times that a decision was begun while the request was the first of the queue.
    /// Loads of the state are not counted.
    tries: u32,
    /// Whether the next decision is final: a refusal is not decided again over the store.
    is_final: bool,
}

/// Owner of one ticket's lock state and timer on this replica. Other replicas may have an actor of
/// the same ticket.
#[derive(Debug)]
pub(super) struct TicketActor {
    id: TicketId,
    context: Arc<ActorContext>,
    status: Arc<ActorStatus>,
    panicked: PanicReports,
    cached: Cached,
    /// Whether `cached` is a copy from the catalog, which may be stale. A lock may be granted by
    /// it, since the commit is conditional. A refusal over such a copy is decided again over the
    /// state in the store.
    from_catalog: bool,
    /// Whether a load or a commit is running. Its completion handles the queue.
    busy: bool,
    queue: VecDeque<QueuedRequest>,
    timer: Option<Timer>,
    /// The clock that the present lock is measured by.
    lock_clock: Option<LockClock>,
    /// The state of the ticket that `upkeep` has just read from the store, or `None`. `started`
    /// takes it.
    preloaded: Option<Box<Sale>>,
}

impl TicketActor {
    /// Maximum number of queued requests. Requests beyond it are rejected, except `Lock` commands
    /// and the actor's own.
    const QUEUE_MAX: usize = 64;
    /// Maximum number of decisions for one request. It is decided again when other replicas change
    /// the ticket meanwhile.
    const TRIES_MAX: u32 = 8;
    /// Pause before the actor tries a due deadline again, after the store did not commit it.
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
        Self {
            id,
            context,
            status,
            panicked,
            cached,
            from_catalog: false,
            busy: false,
            queue,
            timer,
            lock_clock,
            preloaded,
        }
    }

    /// Lets a test make every actor panic, or only the actor of the ticket whose id is the
    /// failpoint's argument.
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
                // After the catalog's copy failed once, the request is decided over the store's
                // state.
                let must_read_store = queued.tries > 1 || queued.is_final;
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
                Some(order)
                    if !matches!(queued.request.command, TicketCommand::DeadlinePassed { .. }) =>
                {
                    self.queue.push_front(queued);
                    self.decide(
                        QueuedRequest {
                            request: internal(TicketCommand::DeadlinePassed { order }),
                            tries: 1,
                            is_final: true,
                        },
                        reading,
                        ctx,
                    );
                }
                _ => self.decide(queued, reading, ctx),
            },
        }
    }

    /// Returns the time that the present lock is measured by, or the store's time if there is no
    /// lock.
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

    /// Returns the order whose deadline has passed for certain: the uncertainty of the clock is
    /// added to the deadline.
    fn due(&self, sale: &Sale) -> Option<OrderId> {
        let deadline = sale.deadline(&self.context.policy)?;
        (deadline.at + self.context.clock.uncertainty() <= self.lock_time())
            .then_some(deadline.order)
    }

    /// Arms the timer for the lock's next deadline, `at_least` from now, if this replica granted
    /// the lock.
    ///
    /// If another replica granted the lock and is late, the sweep or the next command to any actor
    /// of the ticket releases it.
    fn arm_timer(&mut self, ctx: &mut Context<Self>, at_least: Duration) {
        if let Some(timer) = self.timer.take() {
            timer.stop(ctx);
        }
        let Cached::Sale(sale) = &self.cached else { return };
        let Some(lock) = sale.ticket.lock().filter(|lock| lock.replica == self.context.replica)
        else {
            return;
        };
        let Some(deadline) = sale.deadline(&self.context.policy) else { return };
        debug_assert_eq!(deadline.order, lock.order, "the deadline belongs to the lock");
        let delay =
            (deadline.at + self.context.clock.uncertainty() - self.lock_time()).to_duration();
        self.timer = Some(Timer::start(ctx, delay.max(at_least)));
    }

    /// Runs the deadline if it has passed, else arms the timer. Reads the state first if it is not
    /// in memory.
    fn run_due_deadline(&mut self, ctx: &mut Context<Self>) {
        self.timer = None;
        match &self.cached {
            Cached::Sale(sale) => match self.due(sale) {
                Some(order) => {
                    let request = internal(TicketCommand::DeadlinePassed { order });
                    self.queue.push_front(QueuedRequest { request, tries: 0, is_final: false });
                }
                None => self.arm_timer(ctx, Duration::from_millis(1)),
            },
            Cached::Unloaded | Cached::OutcomeUnknown if !self.busy => self.load(ctx),
            Cached::Unloaded | Cached::OutcomeUnknown => {}
        }
        self.drain_queue(ctx);
    }
}

impl Actor for TicketActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        match self.preloaded.take() {
            Some(sale) => {
                self.set_sale(*sale, self.context.clock.reading());
                self.run_due_deadline(ctx);
            }
            // An Available ticket needs no timer. If the catalog's copy is stale, its first command
            // reads the store.
            None if self.load_from_catalog() => {}
            None => self.load(ctx),
        }
    }
}

impl Supervised for TicketActor {
    /// Discards all state after a stop without a panic. Loads, commits and timers ended with the
    /// context; whether a commit was written is not known.
    fn restarting(&mut self, _: &mut Context<Self>) {
        self.cached = Cached::Unloaded;
        self.from_catalog = false;
        self.busy = false;
        self.timer = None;
        self.lock_clock = None;
        self.preloaded = None;
        for queued in self.queue.drain(..) {
            answer(queued.request, Err(ActorError::OutcomeUnknown));
        }
    }
}

impl Drop for TicketActor {
    fn drop(&mut self) {
        METRICS.ticket_actors.dec();
        if std::thread::panicking() {
            // The registry starts a new actor at once: the lock must be released on time, also if
            // no request comes.
            let _ = self.panicked.send(self.id);
        }
    }
}

impl Handler<ActorRequest> for TicketActor {
    type Result = ();

    fn handle(&mut self, request: ActorRequest, ctx: &mut Context<Self>) {
        self.failpoint();
        // Lock requests are bounded by the admission alone: at most one of them gets the ticket,
        // and the others are refused.
        let is_full = self.queue.len() >= Self::QUEUE_MAX
            && !matches!(request.command, TicketCommand::Lock { .. });
        if is_full && request.reply.is_some() {
            METRICS.requests_rejected.with_label_values(&["tickets"]).inc();
            return answer(request, Err(ActorError::Busy("ticket")));
        }
        self.queue.push_back(QueuedRequest { request, tries: 0, is_final: false });
        self.drain_queue(ctx);
    }
}

impl Handler<NewerVersion> for TicketActor {
    type Result = ();

    fn handle(&mut self, NewerVersion(version): NewerVersion, ctx: &mut Context<Self>) {
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

/// Makes the actor stop without a panic.
#[cfg(test)]
#[derive(Debug, actix::Message)]
#[rtype(result = "()")]
pub(super) struct Stop;

#[cfg(test)]
impl Handler<Stop> for TicketActor {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Context<Self>) {
        actix::ActorContext::stop(ctx);
    }
}
