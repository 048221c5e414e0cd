//! Reconciliation: finishes every charge that is not final, whichever step it has after a crash or
//! a lost answer. It also counts these charges for the metrics.
//!
//! A round handles a bounded number of charges and begins where the last round stopped. A charge
//! that cannot be settled is tried again at growing intervals (in the next round, if the ticket's
//! actor could not commit), so that a charge that can never be settled costs little. Such a charge holds no
//! ticket, since the lock ends at its own deadline. `settlement` decides what a charge needs next.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt, stream};
use parking_lot::Mutex;
use rand::RngExt;
use tokio::time::Instant;

use super::{
    ActorError,
    context::ActorContext,
    settlement::{self, AuthorizationMode, Settlement},
};
use crate::{
    domain::{Charge, ChargeId, ChargeState, Millis, Timestamp},
    metrics::METRICS,
    store::Unavailable,
    tasks::keep_running,
};

const ROUND_EVERY: Duration = Duration::from_secs(2);
const COUNT_EVERY: Duration = Duration::from_secs(5);
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
/// Ages after which an open charge is counted in `gittix_charges_open_over_1m` and
/// `gittix_charges_open_over_10m`. An operator has to check the latter.
const OVER_1M: Millis = Millis::from_secs(60);
const OVER_10M: Millis = Millis::from_mins(10);
/// Maximum number of pages that are counted. A larger number would not change what an operator
/// does.
const COUNTED_PAGES_MAX: usize = 128;

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
    settlement: Settlement,
    /// The next tries of charges that were tried and are still open.
    tried: Mutex<HashMap<ChargeId, Retry>>,
    position: Mutex<ScanPosition>,
    /// Start of this process. No task of this process is advancing a charge that was last changed
    /// before it.
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
    /// Starts the rounds and the counts on the current arbiter: at once, then at intervals.
    pub(super) fn start(context: &Arc<ActorContext>, settlement: &Settlement) {
        let this = Arc::new(Self {
            context: Arc::clone(context),
            settlement: settlement.clone(),
            tried: Mutex::default(),
            position: Mutex::default(),
            started_at: context.now(),
        });
        let counter = Arc::clone(&this);
        keep_running("reconcile", move || Arc::clone(&this).rounds());
        keep_running("charge_counts", move || Arc::clone(&counter).counts());
    }

    async fn rounds(self: Arc<Self>) {
        loop {
            let outcome = match self.round().await {
                Ok(()) => "done",
                Err(error) => {
                    tracing::warn!(%error, "open charges could not be read; the next round tries again");
                    "store_unavailable"
                }
            };
            METRICS.reconciliation_rounds.with_label_values(&[outcome]).inc();
            // With jitter, so that replicas do not read the same charges at the same time.
            tokio::time::sleep(ROUND_EVERY.mul_f64(rand::rng().random_range(0.75..1.25))).await;
        }
    }

    /// Advances the charges that are due among the next pages.
    async fn round(&self) -> Result<(), Unavailable> {
        for _ in 0..PAGES_PER_ROUND_MAX {
            let after = self.position.lock().after;
            // All open charges are read, without a minimum age; `is_due` decides. In a process that
            // starts, charges in `Capturing` and `Reversing` from before its start are due at once.
            // Another replica may advance the same charge, which is harmless.
            let page = self.context.store.charges_open(Timestamp(i64::MAX), after, PAGE).await?;
            let Some(last) = page.last() else {
                self.end_pass();
                return Ok(());
            };
            {
                let mut position = self.position.lock();
                position.after = Some(last.id);
                position.seen.extend(page.iter().map(|charge| charge.id));
            }
            let due: Vec<Charge> = page.into_iter().filter(|charge| self.is_due(charge)).collect();
            METRICS.charges_reconciled.inc_by(due.len() as u64);
            stream::iter(due).for_each_concurrent(CONCURRENCY, |charge| self.advance(charge)).await;
        }
        Ok(())
    }

    fn end_pass(&self) {
        let position = std::mem::take(&mut *self.position.lock());
        self.tried.lock().retain(|id, _| position.seen.contains(id));
    }

    fn is_due(&self, charge: &Charge) -> bool {
        if self.tried.lock().get(&charge.id).is_some_and(|next| Instant::now() < next.at) {
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

    async fn advance(&self, charge: Charge) {
        let id = charge.id;
        let advanced = tokio::time::timeout(
            CHARGE_TIMEOUT,
            self.settlement.advance(charge, AuthorizationMode::Recover),
        )
        .await;
        let advanced = advanced
            .unwrap_or_else(|_| Err(ActorError::Unavailable("it did not finish in time".into())));
        let outcome = match advanced {
            Ok(result) if !result.charge.is_open() => {
                settlement::count(&result.charge);
                self.tried.lock().remove(&id);
                "final"
            }
            Ok(_) => {
                self.tried.lock().insert(
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
        let mut tried = self.tried.lock();
        let next = tried.entry(id).or_insert(Retry { at: now, pause: RETRY_FIRST });
        let pause = next.pause;
        *next =
            Retry { at: now + pause.to_duration(), pause: Millis((pause.0 * 2).min(RETRY_LAST.0)) };
        pause
    }

    async fn counts(self: Arc<Self>) {
        loop {
            if let Err(error) = self.count_open_charges().await {
                tracing::warn!(%error, "open charges could not be counted; their metrics are not up to date");
            }
            tokio::time::sleep(COUNT_EVERY).await;
        }
    }

    async fn count_open_charges(&self) -> Result<(), Unavailable> {
        let mut stats = OpenChargeStats::default();
        let mut after = None;
        for _ in 0..COUNTED_PAGES_MAX {
            let now = self.context.now();
            let page = self.context.store.charges_open(now, after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            for charge in &page {
                stats.add(charge, now, self.is_awaiting_buyer(charge, now));
            }
        }
        stats.publish();
        Ok(())
    }

    /// Returns whether the charge waits for its buyer and is not older than a lock can be.
    fn is_awaiting_buyer(&self, charge: &Charge, now: Timestamp) -> bool {
        let policy = &self.context.policy;
        matches!(charge.state, ChargeState::AwaitingAction { .. })
            && now < charge.created_at + policy.lock_duration + policy.settle_grace
    }
}

/// Returns the time since the last change of a charge, or the maximum if that change is in the
/// future (see [`AHEAD_MAX`]).
fn idle_for(charge: &Charge, now: Timestamp) -> Millis {
    let idle = now - charge.updated_at;
    if idle < Millis(-AHEAD_MAX.0) { Millis(i64::MAX) } else { idle }
}

/// Numbers of the open charges, from one pass.
#[derive(Debug, Default)]
struct OpenChargeStats {
    authorizing: i64,
    awaiting_action: i64,
    capturing: i64,
    reversing: i64,
    oldest: Millis,
    over_1m: i64,
    over_10m: i64,
}

impl OpenChargeStats {
    fn add(&mut self, charge: &Charge, now: Timestamp, is_awaiting_buyer: bool) {
        match charge.state {
            ChargeState::Authorizing { .. } => self.authorizing += 1,
            ChargeState::AwaitingAction { .. } => self.awaiting_action += 1,
            ChargeState::Capturing { .. } => self.capturing += 1,
            ChargeState::Reversing { .. } => self.reversing += 1,
            ChargeState::Failed { .. } | ChargeState::Completed { .. } => {}
        }
        if !is_awaiting_buyer {
            let idle = now - charge.updated_at;
            self.oldest = self.oldest.max(idle);
            self.over_1m += i64::from(idle > OVER_1M);
            self.over_10m += i64::from(idle > OVER_10M);
        }
    }

    fn publish(&self) {
        let steps = [
            ("authorizing", self.authorizing),
            ("awaiting_action", self.awaiting_action),
            ("capturing", self.capturing),
            ("reversing", self.reversing),
        ];
        for (step, count) in steps {
            METRICS.charges_open.with_label_values(&[step]).set(count);
        }
        METRICS.charge_oldest_open_seconds.set(self.oldest.0 / 1000);
        METRICS.charges_open_over_1m.set(self.over_1m);
        METRICS.charges_open_over_10m.set(self.over_10m);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{ChargeFailure, PaymentId, samples};

    fn awaiting_action() -> ChargeState {
        ChargeState::AwaitingAction { payment: PaymentId::new("pi_1") }
    }

    fn capturing() -> ChargeState {
        ChargeState::Capturing { payment: PaymentId::new("pi_1") }
    }

    fn charge(state: ChargeState, idle_since: i64) -> Charge {
        Charge { state, updated_at: Timestamp(idle_since), ..samples::charge() }
    }

    #[test]
    fn charge_that_waits_for_its_buyer_is_counted_but_is_not_overdue() {
        let now = Timestamp(Millis::from_mins(11).0);
        let mut stats = OpenChargeStats::default();
        stats.add(&charge(awaiting_action(), 0), now, true);
        assert_eq!(
            (stats.awaiting_action, stats.oldest, stats.over_1m, stats.over_10m),
            (1, Millis(0), 0, 0)
        );
        stats.add(&charge(awaiting_action(), 0), now, false);
        assert_eq!((stats.oldest, stats.over_1m, stats.over_10m), (Millis::from_mins(11), 1, 1));
    }

    #[test]
    fn charge_changed_in_the_future_counts_as_idle() {
        let charge = charge(capturing(), 3_600_000);
        assert!(idle_for(&charge, Timestamp(0)) > IDLE_AFTER);
        assert_eq!(idle_for(&charge, Timestamp(3_601_000)), Millis(1_000));
        assert_eq!(
            idle_for(&charge, Timestamp(3_599_000)),
            Millis(-1_000),
            "clocks of replicas differ a little"
        );
    }

    #[test]
    fn open_charge_is_counted_after_1_min_and_after_10_min() {
        let now = Timestamp(Millis::from_mins(20).0);
        let mut stats = OpenChargeStats::default();
        let reversing =
            ChargeState::Reversing { payment: None, failure: ChargeFailure::lock_lost() };
        for minutes in [0, 2, 15] {
            stats.add(&charge(reversing.clone(), now.0 - Millis::from_mins(minutes).0), now, false);
        }
        assert_eq!((stats.reversing, stats.over_1m, stats.over_10m), (3, 2, 1));
        assert_eq!(stats.oldest, Millis::from_mins(15));
    }
}
