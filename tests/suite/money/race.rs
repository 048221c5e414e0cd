//! The race that everybody loses: the answer to a capture, or to an authorization, comes at the very second at which the lock
//! ends, while somebody else already reaches for the ticket.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use gittix::{
    clock::wall_clock,
    domain::{ChargeStatus, Millis, OrderStatus, Policy, Timestamp},
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::time::sleep;

use super::{audit, stage::processor};
use crate::{
    app::{Answer, Backend, Client, TestApp, millis, world::Found},
    fake_stripe::{Deceit, FakeStripe, Kind, Odds, Timing},
};

/// Which races to run.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub store: Backend,
    pub seed: u64,
    pub races: usize,
    /// So many at a time.
    pub together: usize,
}

/// What they came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Outcome {
    pub races: usize,
    /// The first buyer got the ticket.
    pub won: usize,
    /// They lost it: nothing had been captured.
    pub voided: usize,
    /// They lost it after their money was captured: it went back.
    pub refunded: usize,
    /// The ticket of those who lost was bought by somebody else, in the same second.
    pub rivals: usize,
}

const LOCK: Millis = Millis(2_000);
const GRACE: Millis = Millis(1_000);
/// On either side of the second that is raced for.
const JITTER_MS: std::ops::RangeInclusive<i64> = -150..=150;
const RIVAL_EVERY: Duration = Duration::from_millis(40);
/// A rival gives up this long after the lock and its grace are over.
const RIVAL_UNTIL: Millis = Millis(2_500);

/// The instant that an answer of the processor is aimed at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Aim {
    /// The authorization is told as the lock ends: claimed in time, or voided.
    Authorize,
    /// The capture is told as the lock ends: its grace has begun, and it is a sale.
    Capture,
    /// The capture is told as the grace ends: a sale, or a refund.
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

/// One first buyer, and what they were told.
struct Ran {
    aim: Aim,
    order: Answer,
    paid: Answer,
    rival_paid: bool,
}

/// Runs them.
///
/// # Errors
/// What did not hold.
pub async fn run(plan: &Plan, deceit: Option<Deceit>, mut done: impl FnMut(&Outcome)) -> Result<Outcome, Vec<String>> {
    let stripe = Arc::new(FakeStripe::start_with(plan.seed, Odds::default(), 0));
    if let Some(deceit) = deceit {
        stripe.deceive(deceit);
    }
    let base = stripe.base();
    let (lock, grace) = (format!("{}ms", LOCK.0), format!("{}ms", GRACE.0));
    let mut settings = processor(&base).to_vec();
    settings.extend([
        ("GITTIX_PAYMENT_WINDOW", lock.as_str()),
        ("GITTIX_LOCK_DURATION", &lock),
        ("GITTIX_SETTLE_GRACE", &grace),
        ("GITTIX_RELOCK_WAIT", "1ms"),
        // What is raced for is the answer that comes, not the one that is given up.
        ("STRIPE_TIMEOUT", "10s"),
    ]);
    // A seller, and for each race a buyer and a rival.
    let (mut app, people) = TestApp::start_with_people(plan.store, &settings, 1 + 2 * plan.together).await;
    let mut random = StdRng::seed_from_u64(plan.seed);
    let mut outcome = Outcome::default();
    let mut ran = Vec::new();
    while outcome.races < plan.races {
        let together = plan.together.min(plan.races - outcome.races);
        let races = (0..together).map(|number| {
            let (buyer, rival) = (&people[1 + 2 * number], &people[2 + 2 * number]);
            race(&stripe, &people[0], buyer, rival, Aim::ALL[random.random_range(0..3)], random.random_range(JITTER_MS))
        });
        let batch = join_all(races.collect::<Vec<_>>()).await;
        settled(&app, &people, &batch).await;
        outcome.races += together;
        ran.extend(batch);
        done(&outcome);
    }
    app.crash();
    let mut found = Found::read(&app.home).await;
    let policy = Policy { payment_window: LOCK, lock_duration: LOCK, settle_grace: GRACE, relock_wait: Millis(1), ..Policy::default() };
    let mut wrong = audit::violations(&mut found, &stripe, &policy, &Default::default());
    // Captures that are answered as the lock ends have all the grace before them: a busy machine may miss it, not each time.
    let mut captures = (0, 0);
    for ran in &ran {
        let won = outcome.won;
        wrong.extend(judge(ran, &found, &mut outcome));
        if ran.aim == Aim::Capture {
            captures = (captures.0 + 1, captures.1 + outcome.won - won);
        }
    }
    if captures.0 > 0 && captures.1 == 0 {
        wrong.push(format!("sales were lost: {} captures were answered within the grace, and none was a sale", captures.0));
    }
    if wrong.is_empty() { Ok(outcome) } else { Err(wrong) }
}

/// One buyer whose answer comes at that second, and one rival who wants the ticket from then on.
async fn race(stripe: &FakeStripe, seller: &Client, buyer: &Client, rival: &Client, aim: Aim, jitter: i64) -> Ran {
    let ticket = seller.sells("Front row").await;
    let order = buyer.place_order(&ticket).await.expect(201);
    let unlocks = Timestamp(millis(&order["unlocksAt"]));
    let aimed = match aim {
        Aim::Authorize | Aim::Capture => unlocks,
        Aim::Grace => unlocks + GRACE,
    };
    // Done a little before it is told, as it is with every answer; jitter is on both sides of the second.
    let answered_at = aimed + Millis(jitter);
    stripe.time(&order.id(), aim.kind(), Timing { done_at: answered_at - Millis(30), answered_at });
    let (paid, rival_paid) = tokio::join!(async { buyer.pay(&order.id(), "pm_card_visa").await }, rivals(rival, &ticket, unlocks));
    Ran { aim, order, paid, rival_paid }
}

/// Reaches for the ticket from just before the lock's end, and pays at once if they get it.
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

/// Until no lock is held and no charge of these races is open; what is never settled is found by the audit.
async fn settled(app: &TestApp, people: &[Client], ran: &[Ran]) {
    const WITHIN: Duration = Duration::from_secs(30);
    let deadline = tokio::time::Instant::now() + WITHIN;
    let open = async || {
        for (number, ran) in ran.iter().enumerate() {
            let charges = people[1 + 2 * number].charges_of(&ran.order.id()).await.expect(200);
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

/// What one race came to, and whether it may have come to that.
fn judge(ran: &Ran, found: &Found, outcome: &mut Outcome) -> Vec<String> {
    let mut wrong = Vec::new();
    let id = ran.order.id();
    let order = found.world.orders.iter().find(|order| order.id.to_string() == id).expect("it was acknowledged");
    let sold = order.status == OrderStatus::Completed;
    if ran.paid.status == 201 && !sold {
        wrong.push(format!("a sale was lost: {} was told that it is paid, and is {:?}", id, order.status));
    }
    if sold && ran.rival_paid {
        wrong.push(format!("a ticket was sold twice: {id} and its rival"));
    }
    outcome.won += usize::from(sold);
    outcome.rivals += usize::from(ran.rival_paid);
    if !sold {
        let charge = found.world.charges.iter().find(|charge| charge.order == order.id && charge.status == ChargeStatus::Failed);
        let refunded = charge.map(|charge| charge.stripe_refund_id.is_some());
        // Whose lock was claimed for a capture has the grace as well: only an answer that comes after it may be too late.
        let theirs_until = order.unlocks_at + if refunded == Some(true) { GRACE } else { Millis(0) };
        if order.updated_at < theirs_until {
            wrong.push(format!("a sale was lost: {id} was cancelled {} ms too early: {:?}", (theirs_until - order.updated_at).0, ran.paid));
        }
        match refunded {
            Some(true) => outcome.refunded += 1,
            Some(false) => outcome.voided += 1,
            None => wrong.push(format!("{id} was not sold, and no charge of it failed: {:?}", ran.paid)),
        }
    }
    wrong
}
