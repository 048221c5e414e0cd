//! Reconciliation: every charge that is not final is asked after at the processor and finished, whichever step a crash or
//! a lost answer left it at. And the survey, which counts those charges for whoever watches.
//!
//! A round takes up a bounded number of charges and goes on where the last one stopped. A charge that cannot be settled is
//! tried again ever more seldom, so that one which never will be costs next to nothing; it holds no ticket, since the lock
//! ends by its own clock. What a charge needs next is `settlement`'s business.

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
    settlement::{self, AuthorizeWith, Settlement},
};
use crate::{
    domain::{Charge, ChargeId, ChargeStep, Millis, Timestamp},
    metrics::METRICS,
    store::Unavailable,
    tasks::keep_running,
};

const ROUND_EVERY: Duration = Duration::from_secs(2);
const SURVEY_EVERY: Duration = Duration::from_secs(5);
/// An open charge that was touched more recently is being driven by somebody.
const IDLE_AFTER: Millis = Millis::from_secs(10);
/// From the moment at which an attempt was given up to that at which nobody can be at it any more.
const ATTEMPT_MARGIN: Duration = Duration::from_secs(2);
const PAGE: usize = 256;
/// What one round takes up at most; the next goes on behind it.
const PAGES_PER_ROUND_MAX: usize = 8;
const AT_ONCE: usize = 16;
/// One charge in one round. What is not over by then goes on in another: nothing is lost by leaving off.
const ONE_MAX: Duration = Duration::from_secs(45);
/// The pause before a charge that was not settled is tried again; doubled each time, up to the second.
const RETRY_FIRST: Millis = Millis::from_secs(2);
const RETRY_LAST: Millis = Millis::from_secs(60);
/// How often a charge that waits for its buyer is asked after: they may have acted, and their answer and Stripe's got lost.
const WAITING_EVERY: Millis = Millis::from_secs(30);
/// Beyond it a charge counts as stuck, and beyond the second somebody has to look into it.
const STUCK_AFTER: Millis = Millis::from_secs(60);
const UNSETTLED_AFTER: Millis = Millis::from_mins(10);
/// The survey stops counting here: by then the number says enough.
const SURVEYED_PAGES_MAX: usize = 128;

/// A charge that was touched further ahead of now than this was touched by a clock that has been corrected since: it would
/// not be idle before that time has come.
const AHEAD_MAX: Millis = Millis::from_secs(5);

/// When a charge may be tried again, and the pause after that.
#[derive(Debug, Clone, Copy)]
struct Retry {
    at: Instant,
    pause: Millis,
}

/// Goes after the charges that nobody seems to look after.
#[derive(Debug)]
pub(super) struct Reconciliation {
    context: Arc<ActorContext>,
    settlement: Settlement,
    /// Only of charges that were tried and are still open.
    tried: Mutex<HashMap<ChargeId, Retry>>,
    place: Mutex<ScanPosition>,
    /// What was touched before this process began is driven by nobody in it.
    began: Timestamp,
}

/// How far a pass over all open charges got.
#[derive(Debug, Default)]
struct ScanPosition {
    after: Option<ChargeId>,
    /// The open charges that this pass met: what was tried and is not among them at its end is final.
    met: HashSet<ChargeId>,
}

impl Reconciliation {
    /// Starts rounds and surveys on the current arbiter: at once, then on timers.
    pub(super) fn start(context: &Arc<ActorContext>, settlement: &Settlement) {
        let this = Arc::new(Self {
            context: Arc::clone(context),
            settlement: settlement.clone(),
            tried: Mutex::default(),
            place: Mutex::default(),
            began: context.now(),
        });
        let surveyor = Arc::clone(&this);
        keep_running("reconcile", move || Arc::clone(&this).rounds());
        keep_running("survey", move || Arc::clone(&surveyor).surveys());
    }

    async fn rounds(self: Arc<Self>) {
        loop {
            let outcome = match self.round().await {
                Ok(()) => "done",
                Err(error) => {
                    tracing::warn!(%error, "open charges could not be read; reconciliation goes on later");
                    "store_unavailable"
                }
            };
            METRICS.reconciliation_rounds.with_label_values(&[outcome]).inc();
            // Jittered, so that replicas do not ask for the same charges at the same moments.
            tokio::time::sleep(ROUND_EVERY.mul_f64(rand::rng().random_range(0.75..1.25))).await;
        }
    }

    /// Takes up what is due among the next charges.
    async fn round(&self) -> Result<(), Unavailable> {
        for _ in 0..PAGES_PER_ROUND_MAX {
            let after = self.place.lock().after;
            // After a crash nothing is waited for: a lock may end meanwhile. Another replica may be at it, which does no harm.
            let page = self.context.store.charges_open(Timestamp(i64::MAX), after, PAGE).await?;
            let Some(last) = page.last() else {
                self.end_pass();
                return Ok(());
            };
            {
                let mut place = self.place.lock();
                place.after = Some(last.id);
                place.met.extend(page.iter().map(|charge| charge.id));
            }
            let due: Vec<Charge> = page.into_iter().filter(|charge| self.is_due(charge)).collect();
            METRICS.charges_reconciled.inc_by(due.len() as u64);
            stream::iter(due).for_each_concurrent(AT_ONCE, |charge| self.take_up(charge)).await;
        }
        Ok(())
    }

    fn end_pass(&self) {
        let place = std::mem::take(&mut *self.place.lock());
        self.tried.lock().retain(|id, _| place.met.contains(id));
    }

    fn is_due(&self, charge: &Charge) -> bool {
        if self.tried.lock().get(&charge.id).is_some_and(|next| Instant::now() < next.at) {
            return false;
        }
        let idle = idle_for(charge, self.context.now());
        if idle < IDLE_AFTER && charge.updated_at > self.began {
            return false;
        }
        match charge.step {
            // Its token is known to whoever began it alone: taken over too soon, a slow attempt would be given up for lost.
            ChargeStep::Authorizing => idle >= IDLE_AFTER.max(Millis::from(self.context.processor.authorize_timeout() + ATTEMPT_MARGIN)),
            ChargeStep::AwaitingAction => idle >= WAITING_EVERY,
            ChargeStep::Capturing | ChargeStep::Reversing { .. } => true,
            ChargeStep::Final => false,
        }
    }

    async fn take_up(&self, charge: Charge) {
        let id = charge.id;
        let driven = tokio::time::timeout(ONE_MAX, self.settlement.advance(charge, AuthorizeWith::Recover)).await;
        let driven = driven.unwrap_or_else(|_| Err(ActorError::Unavailable("it took too long".into())));
        let outcome = match driven {
            Ok(paid) if !paid.charge.is_open() => {
                settlement::count(&paid.charge);
                self.tried.lock().remove(&id);
                "final"
            }
            Ok(_) => {
                self.tried.lock().insert(id, Retry { at: Instant::now() + WAITING_EVERY.to_duration(), pause: RETRY_FIRST });
                "waiting"
            }
            Err(ActorError::Busy(_)) => "waiting",
            Err(fault) => {
                let pause = self.put_off(id);
                tracing::warn!(charge = %id, %fault, %pause, "a charge could not be settled yet");
                "failed"
            }
        };
        METRICS.reconciliations.with_label_values(&[outcome]).inc();
    }

    fn put_off(&self, id: ChargeId) -> Millis {
        let now = Instant::now();
        let mut tried = self.tried.lock();
        let next = tried.entry(id).or_insert(Retry { at: now, pause: RETRY_FIRST });
        let pause = next.pause;
        *next = Retry { at: now + pause.to_duration(), pause: Millis((pause.0 * 2).min(RETRY_LAST.0)) };
        pause
    }

    async fn surveys(self: Arc<Self>) {
        loop {
            if let Err(error) = self.survey().await {
                tracing::warn!(%error, "open charges could not be counted");
            }
            tokio::time::sleep(SURVEY_EVERY).await;
        }
    }

    async fn survey(&self) -> Result<(), Unavailable> {
        let mut survey = OpenChargeStats::default();
        let mut after = None;
        for _ in 0..SURVEYED_PAGES_MAX {
            let now = self.context.now();
            let page = self.context.store.charges_open(now, after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            for charge in &page {
                survey.add(charge, now, self.waits_for_its_buyer(charge, now));
            }
        }
        survey.publish();
        Ok(())
    }

    /// It may wait as long as a lock can last.
    fn waits_for_its_buyer(&self, charge: &Charge, now: Timestamp) -> bool {
        let policy = &self.context.policy;
        charge.step == ChargeStep::AwaitingAction && now < charge.created_at + policy.lock_duration + policy.settle_grace
    }
}

/// How long a charge was not touched.
fn idle_for(charge: &Charge, now: Timestamp) -> Millis {
    let idle = now - charge.updated_at;
    if idle < Millis(-AHEAD_MAX.0) { Millis(i64::MAX) } else { idle }
}

/// The open charges of one moment.
#[derive(Debug, Default)]
struct OpenChargeStats {
    authorizing: i64,
    awaiting_action: i64,
    capturing: i64,
    reversing: i64,
    oldest: Millis,
    stuck: i64,
    unsettled: i64,
}

impl OpenChargeStats {
    fn add(&mut self, charge: &Charge, now: Timestamp, waits: bool) {
        match charge.step {
            ChargeStep::Authorizing => self.authorizing += 1,
            ChargeStep::AwaitingAction => self.awaiting_action += 1,
            ChargeStep::Capturing => self.capturing += 1,
            ChargeStep::Reversing { .. } => self.reversing += 1,
            ChargeStep::Final => {}
        }
        if !waits {
            let idle = now - charge.updated_at;
            self.oldest = self.oldest.max(idle);
            self.stuck += i64::from(idle > STUCK_AFTER);
            self.unsettled += i64::from(idle > UNSETTLED_AFTER);
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
        METRICS.charges_open_over_1m.set(self.stuck);
        METRICS.charges_open_over_10m.set(self.unsettled);
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::{ChargeFailure, ChargeStatus, Currency, Money, OrderId, TicketId, TokenDigest, UserId};

    fn charge(step: ChargeStep, idle_since: i64) -> Charge {
        Charge {
            id: ChargeId::new(Uuid::nil()),
            order: OrderId::new(Uuid::nil()),
            ticket: TicketId::new(Uuid::nil()),
            buyer: UserId::new(Uuid::nil()),
            status: ChargeStatus::Created,
            step,
            amount: Money::from_minor(2000).expect("a price"),
            currency: Currency::Usd,
            token: TokenDigest::new("digest"),
            first_attempt: true,
            stripe_id: None,
            stripe_refund_id: None,
            failure: None,
            version: 0,
            created_at: Timestamp(0),
            updated_at: Timestamp(idle_since),
        }
    }

    #[test]
    fn a_charge_that_waits_for_its_buyer_is_counted_and_alarms_nobody() {
        let now = Timestamp(Millis::from_mins(11).0);
        let mut survey = OpenChargeStats::default();
        survey.add(&charge(ChargeStep::AwaitingAction, 0), now, true);
        assert_eq!((survey.awaiting_action, survey.oldest, survey.stuck, survey.unsettled), (1, Millis(0), 0, 0));
        survey.add(&charge(ChargeStep::AwaitingAction, 0), now, false);
        assert_eq!((survey.oldest, survey.stuck, survey.unsettled), (Millis::from_mins(11), 1, 1));
    }

    #[test]
    fn charge_touched_by_a_clock_that_was_corrected_counts_as_idle() {
        let charge = charge(ChargeStep::Capturing, 3_600_000);
        assert!(idle_for(&charge, Timestamp(0)) > IDLE_AFTER);
        assert_eq!(idle_for(&charge, Timestamp(3_601_000)), Millis(1_000));
        assert_eq!(idle_for(&charge, Timestamp(3_599_000)), Millis(-1_000), "clocks of replicas differ a little");
    }

    #[test]
    fn what_is_not_settled_is_stuck_after_a_minute_and_alarming_after_ten() {
        let now = Timestamp(Millis::from_mins(20).0);
        let mut survey = OpenChargeStats::default();
        let reversing = ChargeStep::Reversing { failure: ChargeFailure::lock_lost() };
        for minutes in [0, 2, 15] {
            survey.add(&charge(reversing.clone(), now.0 - Millis::from_mins(minutes).0), now, false);
        }
        assert_eq!((survey.reversing, survey.stuck, survey.unsettled), (3, 2, 1));
        assert_eq!(survey.oldest, Millis::from_mins(15));
    }
}
