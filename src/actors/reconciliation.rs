//! Reconciliation: finishes every charge that is not final, in whatever state a crash or a lost
//! answer left it. The order registry owns it; `upkeep` starts its rounds.
//!
//! A round handles a bounded number of charges and begins where the last round stopped. A charge
//! that cannot be settled is tried again at growing intervals (in the next pass, if it was Busy),
//! so that a charge that can never be settled costs little. Such a charge holds no ticket, since
//! the lock ends at its own deadline. `settlement` decides what a charge needs next.

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt, stream};
use tokio::time::Instant;

use super::{
    ActorError,
    context::ActorContext,
    settlement::{AuthorizationMode, Settlement},
};
use crate::{
    domain::{Charge, ChargeId, ChargeState, Millis, Timestamp},
    metrics::METRICS,
    store::Unavailable,
};

/// A charge may still be in progress if its last change is more recent than this and later than the
/// start of this process.
const IDLE_AFTER: Millis = Millis::from_secs(10);
/// Margin after the processor's `authorize_timeout`, after which an attempt has ended for certain
/// on every replica.
const ATTEMPT_MARGIN: Duration = Duration::from_secs(2);
/// Number of charges read at once.
const PAGE: usize = 256;
/// Maximum number of pages in a round. The next round begins after them.
const PAGES_PER_ROUND_MAX: usize = 8;
/// Number of charges that are settled at the same time.
const CONCURRENCY: usize = 16;
/// Maximum time for one charge in one round. A later round continues an unfinished charge, and
/// nothing is lost.
const CHARGE_TIMEOUT: Duration = Duration::from_secs(45);
/// Pause before a charge that could not be settled is tried again. It doubles each time, up to
/// `RETRY_LAST`.
const RETRY_FIRST: Millis = Millis::from_secs(2);
const RETRY_LAST: Millis = Millis::from_secs(60);
/// Interval at which the processor is asked about a charge that waits for its buyer. The buyer may
/// have acted although the browser's confirmation and Stripe's webhook were lost.
const AWAITING_INTERVAL: Millis = Millis::from_secs(30);
/// If `updated_at` is later than now by more than this, the clock was ahead when it was written and
/// has been corrected since. Such a charge counts as idle; otherwise it would not be handled before
/// that time.
const AHEAD_MAX: Millis = Millis::from_secs(5);

/// Time of the next try of a charge, and the pause after that try.
#[derive(Debug, Clone, Copy)]
struct Retry {
    at: Instant,
    pause: Millis,
}

/// Finishes the open charges that no request is advancing.
#[derive(Debug)]
pub(super) struct Reconciliation {
    context: Arc<ActorContext>,
    /// The next tries of charges that were tried and are still open.
    tried: RefCell<HashMap<ChargeId, Retry>>,
    position: RefCell<ScanPosition>,
    /// Start of this process. No request of a buyer to this process is advancing a charge that was
    /// last changed before it. If a webhook event is, the charge answers Busy.
    started_at: Timestamp,
}

/// Position of the present pass over all open charges.
#[derive(Debug, Default)]
struct ScanPosition {
    after: Option<ChargeId>,
    /// The open charges of this pass so far. At its end, a tried charge that is not among them is
    /// final.
    seen: HashSet<ChargeId>,
}

impl Reconciliation {
    pub(super) fn new(context: Arc<ActorContext>) -> Self {
        Self {
            started_at: context.now(),
            context,
            tried: RefCell::default(),
            position: RefCell::default(),
        }
    }

    /// Advances the charges that are due among the next pages.
    pub(super) async fn round(&self, settlement: &Settlement) -> Result<(), Unavailable> {
        for _ in 0..PAGES_PER_ROUND_MAX {
            let after = self.position.borrow().after;
            // All open charges are read, without a minimum age; `is_due` decides. In a process that
            // starts, charges in `Capturing` and `Reversing` from before its start are due at once.
            // Another replica may advance the same charge, which is harmless.
            let page = self.context.store.charges_open(Timestamp(i64::MAX), after, PAGE).await?;
            let Some(last) = page.last() else {
                self.end_pass();
                return Ok(());
            };
            {
                let mut position = self.position.borrow_mut();
                position.after = Some(last.id);
                position.seen.extend(page.iter().map(|charge| charge.id));
            }
            let due: Vec<Charge> = page.into_iter().filter(|charge| self.is_due(charge)).collect();
            METRICS.charges_reconciled.inc_by(due.len() as u64);
            stream::iter(due)
                .for_each_concurrent(CONCURRENCY, |charge| self.advance(settlement, charge))
                .await;
        }
        Ok(())
    }

    fn end_pass(&self) {
        let position = std::mem::take(&mut *self.position.borrow_mut());
        self.tried.borrow_mut().retain(|id, _| position.seen.contains(id));
    }

    fn is_due(&self, charge: &Charge) -> bool {
        if self.tried.borrow().get(&charge.id).is_some_and(|next| Instant::now() < next.at) {
            return false;
        }
        let idle = idle_for(charge, self.context.now());
        if idle < IDLE_AFTER && charge.updated_at > self.started_at {
            return false;
        }
        match charge.state {
            // Only the task that began the attempt has its token. If reconciliation took over a
            // slow attempt that still runs, it would fail the attempt.
            ChargeState::Authorizing { .. } => {
                idle >= IDLE_AFTER
                    .max(Millis::from(self.context.processor.authorize_timeout() + ATTEMPT_MARGIN))
            }
            ChargeState::AwaitingAction { .. } => idle >= AWAITING_INTERVAL,
            ChargeState::Capturing { .. } | ChargeState::Reversing { .. } => true,
            ChargeState::Failed { .. } | ChargeState::Completed { .. } => false,
        }
    }

    async fn advance(&self, settlement: &Settlement, charge: Charge) {
        let id = charge.id;
        let advanced = tokio::time::timeout(
            CHARGE_TIMEOUT,
            settlement.advance(charge, AuthorizationMode::Recover),
        )
        .await;
        let advanced = advanced
            .unwrap_or_else(|_| Err(ActorError::Unavailable("it did not finish in time".into())));
        let outcome = match advanced {
            Ok(result) if !result.charge.is_open() => {
                self.tried.borrow_mut().remove(&id);
                "final"
            }
            Ok(_) => {
                self.tried.borrow_mut().insert(
                    id,
                    Retry {
                        at: Instant::now() + AWAITING_INTERVAL.to_duration(),
                        pause: RETRY_FIRST,
                    },
                );
                "waiting"
            }
            Err(ActorError::Busy(_)) => "waiting",
            Err(error) => {
                let pause = self.schedule_retry(id);
                tracing::warn!(charge = %id, %error, %pause, "a charge could not be settled yet; it is tried again after the pause");
                "failed"
            }
        };
        METRICS.reconciliations.with_label_values(&[outcome]).inc();
    }

    /// Sets the next try of a charge, and returns the pause before it.
    fn schedule_retry(&self, id: ChargeId) -> Millis {
        let now = Instant::now();
        let mut tried = self.tried.borrow_mut();
        let next = tried.entry(id).or_insert(Retry { at: now, pause: RETRY_FIRST });
        let pause = next.pause;
        *next =
            Retry { at: now + pause.to_duration(), pause: Millis((pause.0 * 2).min(RETRY_LAST.0)) };
        pause
    }
}

/// Returns the time since the last change of a charge, or the maximum if that change is in the
/// future (see [`AHEAD_MAX`]).
fn idle_for(charge: &Charge, now: Timestamp) -> Millis {
    let idle = now - charge.updated_at;
    if idle < Millis(-AHEAD_MAX.0) { Millis(i64::MAX) } else { idle }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{PaymentId, samples};

    #[test]
    fn charge_changed_in_the_future_counts_as_idle() {
        let state = ChargeState::Capturing { payment: PaymentId::new("pi_1") };
        let charge = Charge { state, updated_at: Timestamp(3_600_000), ..samples::charge() };
        assert!(idle_for(&charge, Timestamp(0)) > IDLE_AFTER);
        assert_eq!(idle_for(&charge, Timestamp(3_601_000)), Millis(1_000));
        assert_eq!(
            idle_for(&charge, Timestamp(3_599_000)),
            Millis(-1_000),
            "clocks of replicas differ a little"
        );
    }
}
