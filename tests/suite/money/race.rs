//! A race for a lock's end: the answer to a capture, or to an authorization, arrives in the second
//! at which the lock ends, while another buyer already tries to lock the ticket.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use gittix::{
    clock::wall_clock,
    domain::{ChargeStatus, Millis, OrderStatus, Policy, Timestamp},
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::time::sleep;

use super::{audit, stage::processor_settings};
use crate::{
    app::{Answer, Backend, Client, TestApp, millis, world::Found},
    fake_stripe::{Deceit, FakeStripe, Kind, Odds, Timing},
};

/// Races to run.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub store: Backend,
    pub seed: u64,
    pub races: usize,
    /// Number of simultaneous races.
    pub together: usize,
}

/// Results of the races.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Outcome {
    pub races: usize,
    /// Races in which the first buyer got the ticket.
    pub won: usize,
    /// Races that the first buyer lost before the capture.
    pub voided: usize,
    /// Races that the first buyer lost after the capture; the money was refunded.
    pub refunded: usize,
    /// Races in which the rival bought the ticket.
    pub rivals: usize,
}

const LOCK: Millis = Millis(2_000);
const GRACE: Millis = Millis(1_000);
/// Offset to the target instant, in both directions.
const JITTER_MS: std::ops::RangeInclusive<i64> = -150..=150;
/// Maximum number of batches that replace races whose payment began too late.
const LATE_BATCHES_MAX: usize = 10;
const RIVAL_EVERY: Duration = Duration::from_millis(40);
/// Time after the end of the lock and its grace at which a rival stops.
const RIVAL_UNTIL: Millis = Millis(2_500);

/// Instant at which an answer of the processor is aimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Aim {
    /// The authorization is answered as the lock ends: the payment is claimed in time, or voided.
    Authorize,
    /// The capture is answered as the lock ends: the grace has begun, so the ticket is sold.
    Capture,
    /// The capture is answered as the grace ends: the ticket is sold, or the money is refunded.
    Grace,
}

impl Aim {
    const ALL: [Self; 3] = [Self::Authorize, Self::Capture, Self::Grace];

    fn kind(self) -> Kind {
        match self {
            Self::Authorize => Kind::Confirm,
            Self::Capture | Self::Grace => Kind::Capture,
        }
    }
}

/// Answers in one race.
struct RaceResult {
    aim: Aim,
    order: Answer,
    paid: Answer,
    rival_paid: bool,
}

impl RaceResult {
    /// Returns whether the payment began when the lock had ended, so that there is no charge.
    async fn began_too_late(&self, buyer: &Client) -> bool {
        let refused = self.paid.status == 409 && self.paid.code() == "order_expired";
        refused && buyer.charges_of(&self.order.id()).await.expect(200).items().is_empty()
    }
}

/// Runs the races.
///
/// # Errors
/// The violations found.
pub async fn run(
    plan: &Plan,
    deceit: Option<Deceit>,
    mut done: impl FnMut(&Outcome),
) -> Result<Outcome, Vec<String>> {
    let stripe = Arc::new(FakeStripe::start_with(plan.seed, Odds::default(), 0));
    if let Some(deceit) = deceit {
        stripe.deceive(deceit);
    }
    let base = stripe.base();
    let (lock, grace) = (format!("{}ms", LOCK.0), format!("{}ms", GRACE.0));
    let mut settings = processor_settings(&base).to_vec();
    settings.extend([
        ("GITTIX_PAYMENT_WINDOW", lock.as_str()),
        ("GITTIX_LOCK_DURATION", &lock),
        ("GITTIX_SETTLE_GRACE", &grace),
        ("GITTIX_RELOCK_WAIT", "1ms"),
        // The timeout is long: the race is for an answer that arrives, not for one that timed out.
        ("STRIPE_TIMEOUT", "10s"),
    ]);
    // One seller, and for each race a buyer and a rival.
    let (mut app, people) =
        TestApp::start_with_people(plan.store, &settings, 1 + 2 * plan.together).await;
    let mut random = StdRng::seed_from_u64(plan.seed);
    let mut outcome = Outcome::default();
    let mut results = Vec::new();
    let mut batches = 0;
    while outcome.races < plan.races
        && batches < plan.races.div_ceil(plan.together) + LATE_BATCHES_MAX
    {
        batches += 1;
        let together = plan.together.min(plan.races - outcome.races);
        let races = (0..together).map(|number| {
            let (buyer, rival) = (&people[1 + 2 * number], &people[2 + 2 * number]);
            race(
                &stripe,
                &people[0],
                buyer,
                rival,
                Aim::ALL[random.random_range(0..3)],
                random.random_range(JITTER_MS),
            )
        });
        let batch = join_all(races.collect::<Vec<_>>()).await;
        wait_until_settled(&app, &people, &batch).await;
        // On a busy machine a payment may begin after the lock's end. Then there was no race, and
        // it is run again.
        for (number, result) in batch.into_iter().enumerate() {
            if !result.began_too_late(&people[1 + 2 * number]).await {
                outcome.races += 1;
                results.push(result);
            }
        }
        done(&outcome);
    }
    if outcome.races < plan.races {
        return Err(vec![format!(
            "only {} of {} races began before their lock ended",
            outcome.races, plan.races
        )]);
    }
    app.crash();
    let mut found = Found::read(&app.home).await;
    let policy = Policy {
        payment_window: LOCK,
        lock_duration: LOCK,
        settle_grace: GRACE,
        relock_wait: Millis(1),
        ..Policy::default()
    };
    let mut violations = audit::violations(&mut found, &stripe, &policy, &Default::default());
    // An answer to a capture at the lock's end has the whole grace ahead. A busy machine may exceed
    // it, but not every time.
    let mut captures = (0, 0);
    for result in &results {
        let won = outcome.won;
        violations.extend(check_race(result, &found, &mut outcome));
        if result.aim == Aim::Capture {
            captures = (captures.0 + 1, captures.1 + outcome.won - won);
        }
    }
    if captures.0 > 0 && captures.1 == 0 {
        violations.push(format!(
            "sales were lost: {} captures were answered within the grace, and none was a sale",
            captures.0
        ));
    }
    if violations.is_empty() { Ok(outcome) } else { Err(violations) }
}

/// Runs one race: a buyer whose answer arrives at the target instant, and a rival who wants the
/// ticket from then on.
async fn race(
    stripe: &FakeStripe,
    seller: &Client,
    buyer: &Client,
    rival: &Client,
    aim: Aim,
    jitter: i64,
) -> RaceResult {
    let ticket = seller.sells("Front row").await;
    let order = buyer.place_order(&ticket).await.expect(201);
    let unlocks = Timestamp(millis(&order["unlocksAt"]));
    let target = match aim {
        Aim::Authorize | Aim::Capture => unlocks,
        Aim::Grace => unlocks + GRACE,
    };
    // The step is done a little before it is answered, as with every answer; the jitter moves it to
    // either side.
    let answered_at = target + Millis(jitter);
    stripe.time(&order.id(), aim.kind(), Timing { done_at: answered_at - Millis(30), answered_at });
    let (paid, rival_paid) = tokio::join!(
        async { buyer.pay(&order.id(), "pm_card_visa").await },
        rivals(rival, &ticket, unlocks)
    );
    RaceResult { aim, order, paid, rival_paid }
}

/// Tries to lock the ticket from just before the lock's end, and pays at once on success.
async fn rivals(rival: &Client, ticket: &str, unlocks: Timestamp) -> bool {
    let wait = u64::try_from((unlocks - wall_clock()).0 - 100).unwrap_or(0);
    sleep(Duration::from_millis(wait)).await;
    while wall_clock() < unlocks + GRACE + RIVAL_UNTIL {
        let order = rival.place_order(ticket).await;
        match order.status {
            201 => return rival.pay(&order.id(), "pm_card_visa").await.status == 201,
            409 if order.code() == "ticket_sold" => return false,
            _ => sleep(RIVAL_EVERY).await,
        }
    }
    false
}

/// Waits until no ticket is locked and no charge of these races is open. The audit reports what is
/// never settled.
async fn wait_until_settled(app: &TestApp, people: &[Client], results: &[RaceResult]) {
    const WITHIN: Duration = Duration::from_secs(30);
    let deadline = tokio::time::Instant::now() + WITHIN;
    let open = async || {
        for (number, result) in results.iter().enumerate() {
            let charges = people[1 + 2 * number].charges_of(&result.order.id()).await.expect(200);
            if charges.items().iter().any(|charge| charge["status"] == "Created") {
                return true;
            }
        }
        !app.guest().tickets("?status=Locked&limit=1").await.expect(200).items().is_empty()
    };
    while open().await && tokio::time::Instant::now() < deadline {
        sleep(Duration::from_millis(100)).await;
    }
}

/// Counts the result of one race and returns its violations.
fn check_race(result: &RaceResult, found: &Found, outcome: &mut Outcome) -> Vec<String> {
    let mut violations = Vec::new();
    let id = result.order.id();
    let order = found
        .world
        .orders
        .iter()
        .find(|order| order.id.to_string() == id)
        .expect("the order was acknowledged");
    let sold = order.status() == OrderStatus::Completed;
    if result.paid.status == 201 && !sold {
        violations.push(format!(
            "a sale was lost: {} was answered as paid, but is {:?}",
            id, order.state
        ));
    }
    if sold && result.rival_paid {
        violations.push(format!("a ticket was sold twice: {id} and its rival"));
    }
    outcome.won += usize::from(sold);
    outcome.rivals += usize::from(result.rival_paid);
    if !sold {
        let charge = found
            .world
            .charges
            .iter()
            .find(|charge| charge.order == order.id && charge.status() == ChargeStatus::Failed);
        let refunded = charge.map(|charge| charge.refund().is_some());
        // A lock that was claimed for a capture also has the grace: only an answer after the grace
        // may be too late.
        let held_until = order.unlocks_at + if refunded == Some(true) { GRACE } else { Millis(0) };
        if order.updated_at < held_until {
            violations.push(format!(
                "a sale was lost: {id} was cancelled {} ms too early: {:?}",
                (held_until - order.updated_at).0,
                result.paid
            ));
        }
        match refunded {
            Some(true) => outcome.refunded += 1,
            Some(false) => outcome.voided += 1,
            None => violations
                .push(format!("{id} was not sold, and no charge of it failed: {:?}", result.paid)),
        }
    }
    violations
}
