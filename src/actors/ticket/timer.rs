//! The one timer of a ticket actor, counted for as long as it is there.

use std::time::Duration;

use actix::{AsyncContext, Context, SpawnHandle};

use super::TicketActor;
use crate::metrics::METRICS;

/// Has the actor look at the clock when it goes off. Dropping it does not stop it: see [`Timer::stop`].
#[derive(Debug)]
pub(super) struct Timer(SpawnHandle);

impl Timer {
    pub fn start(ctx: &mut Context<TicketActor>, after: Duration) -> Self {
        METRICS.timers_armed.inc();
        Self(ctx.run_later(after, |actor, ctx| actor.look(ctx)))
    }

    pub fn stop(self, ctx: &mut Context<TicketActor>) {
        ctx.cancel_future(self.0);
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        METRICS.timers_armed.dec();
    }
}
