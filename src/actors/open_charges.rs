//! Counts of the charges that are not final, for the metrics.

use super::context::ActorContext;
use crate::{
    domain::{Charge, ChargeState, Millis, Timestamp},
    metrics::METRICS,
    store::Unavailable,
};

/// Number of charges read at once.
const PAGE: usize = 256;
/// Maximum number of pages that are counted. A larger number would not change what an operator
/// does.
const COUNTED_PAGES_MAX: usize = 128;
/// Times since the last change after which an open charge that does not wait for its buyer is
/// counted in `gittix_charges_open_over_1m` and `gittix_charges_open_over_10m`. An operator has to
/// check the latter.
const OVER_1M: Millis = Millis::from_secs(60);
const OVER_10M: Millis = Millis::from_mins(10);

/// Counts the open charges of the store, and sets their metrics.
pub(super) async fn count_open_charges(context: &ActorContext) -> Result<(), Unavailable> {
    let mut stats = OpenChargeStats::default();
    let mut after = None;
    for _ in 0..COUNTED_PAGES_MAX {
        let now = context.now();
        let page = context.store.charges_open(now, after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.id);
        for charge in &page {
            stats.add(charge, now, is_awaiting_buyer(context, charge, now));
        }
    }
    stats.publish();
    Ok(())
}

/// Returns whether the charge waits for its buyer and is not older than a lock can be.
fn is_awaiting_buyer(context: &ActorContext, charge: &Charge, now: Timestamp) -> bool {
    let policy = &context.policy;
    matches!(charge.state, ChargeState::AwaitingAction { .. })
        && now < charge.created_at + policy.lock_duration + policy.settle_grace
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
