//! Deciding a command, and the commit of the decision.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};

use super::{Cached, Committed, QueuedRequest, TicketActor, answer, messages::outcome_of};
use crate::{
    actors::ActorError,
    clock::ClockReading,
    domain::{Decision, IdempotencyRecord, Refusal, Sale, TicketCommand, TicketState, decide},
    metrics::METRICS,
    store::{Commit, CommitError},
};

impl TicketActor {
    pub(super) fn decide(
        &mut self,
        queued: QueuedRequest,
        reading: ClockReading,
        ctx: &mut Context<Self>,
    ) {
        let Cached::Sale(sale) = &self.cached else { return };
        let now = self.lock_time_at(reading.now);
        let command = &queued.request.command;
        // A panic in the rules must not drop the actor's queue. `decide` is pure, so that it leaves
        // no partial change.
        let decided = catch_unwind(AssertUnwindSafe(|| {
            fail::fail_point!("ticket_actor::decide");
            decide(sale, command, &self.context.policy, now)
        }));
        let decision = match decided {
            Ok(Ok(decision)) => decision,
            // Another replica may have written the order or charge after this copy was made.
            Ok(Err(refusal))
                if !queued.is_final
                    && (self.from_catalog
                        || matches!(refusal, Refusal::NothingToDo | Refusal::OrderGone)) =>
            {
                self.cached = Cached::Unloaded;
                return self.queue.push_front(QueuedRequest { is_final: true, ..queued });
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
        ctx.spawn(write.into_actor(self).map(move |written, actor, ctx| {
            actor.on_commit_result(queued, decision, reading, written, ctx)
        }));
    }

    /// Answers all queued lock requests with a failure that each of them would get in turn.
    fn fail_queued_locks(&mut self, error: &ActorError) {
        let (buyers, others) = self
            .queue
            .drain(..)
            .partition(|queued| matches!(queued.request.command, TicketCommand::Lock { .. }));
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
        let is_deadline = matches!(queued.request.command, TicketCommand::DeadlinePassed { .. });
        match written {
            Ok(()) => {
                let Cached::Sale(sale) = std::mem::replace(&mut self.cached, Cached::Unloaded)
                else {
                    return self.drain_queue(ctx);
                };
                self.count_transition(&sale, &decision);
                let sale = sale.after(&decision);
                self.set_sale(sale.clone(), reading);
                self.from_catalog = false;
                self.context.apply_to_memory(&decision);
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
                if is_deadline {
                    self.arm_timer(ctx, Self::RETRY_AFTER);
                }
                let error = ActorError::from(error);
                // Any other failure concerns this request alone. The ticket is still free for the
                // next request.
                if matches!(error, ActorError::Unavailable(_)) {
                    self.fail_queued_locks(&error);
                }
                answer(queued.request, Err(error));
            }
        }
        self.drain_queue(ctx);
    }

    fn count_transition(&self, before: &Sale, decision: &Decision) {
        let Some(ticket) = &decision.ticket else { return };
        match (&before.ticket.state, &ticket.state) {
            (TicketState::Available, TicketState::Locked { .. }) => METRICS.locks_granted.inc(),
            (TicketState::Locked { .. }, TicketState::Sold { .. }) => METRICS.tickets_sold.inc(),
            (TicketState::Locked { lock }, TicketState::Available)
                if ticket.updated_at >= lock.unlocks_at =>
            {
                METRICS.locks_released.inc();
                METRICS
                    .release_lag_seconds
                    .observe((self.lock_time() - lock.unlocks_at).to_duration().as_secs_f64());
            }
            _ => {}
        }
    }
}
