//! Reading the ticket's state, and the fence after a commit with an unknown outcome.

use std::sync::Arc;

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};

use super::{Cached, TicketActor, answer, timer::Timer};
use crate::{
    actors::{ActorError, context::ActorContext},
    domain::{Refusal, Sale, TicketCommand, TicketState, decide},
    store::Commit,
};

impl TicketActor {
    /// Takes the state from the catalog if the ticket is Available there, since it then has no
    /// order or charge to read. This saves most purchases a read of the store. If the copy is
    /// stale, it costs the read, and a failed commit if the lock was granted.
    pub(super) fn load_from_catalog(&mut self) -> bool {
        let catalog_copy = self
            .context
            .catalog
            .get(self.id)
            .filter(|ticket| ticket.state == TicketState::Available);
        let Some(ticket) = catalog_copy else { return false };
        self.set_sale(Sale::unlocked((*ticket).clone()), self.context.clock.reading());
        self.from_catalog = true;
        true
    }

    /// Reads the ticket's state. After a commit with an unknown outcome, then writes a fence over
    /// what was read.
    pub(super) fn load(&mut self, ctx: &mut Context<Self>) {
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
        ctx.spawn(
            load.into_actor(self).map(move |loaded, actor, ctx| actor.on_load_result(loaded, ctx)),
        );
    }

    fn on_load_result(
        &mut self,
        loaded: Result<Option<Sale>, ActorError>,
        ctx: &mut Context<Self>,
    ) {
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
                self.queue
                    .drain(..)
                    .for_each(|queued| answer(queued.request, Err(Refusal::NotFound.into())));
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
}

/// Commits a fence, after which no earlier commit over this ticket can succeed. Returns the state
/// after the fence.
async fn fence(context: &ActorContext, sale: Sale) -> Result<Sale, ActorError> {
    let now = context.now();
    let decision = decide(&sale, &TicketCommand::Fence, &context.policy, now)?;
    match context.store.commit(Commit::of(decision.clone(), now)).await {
        Ok(()) => {
            context.apply_to_memory(&decision);
            Ok(sale.after(&decision))
        }
        // Stale: the earlier commit succeeded meanwhile, or another replica changed the ticket. The
        // next load reads it.
        Err(error) => Err(error.into()),
    }
}
