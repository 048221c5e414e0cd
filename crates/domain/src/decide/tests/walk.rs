//! Random walks: any command, in any state, at any time, also when the clock steps back a little.

use proptest::{prelude::*, test_runner::RngSeed};

use super::*;

/// A command with small numbers, so that a walk often uses the orders and charges that it made
/// before.
#[derive(Debug, Clone)]
enum Step {
    Edit { by: UserId, named: bool, minor: u64, if_match: Option<Version> },
    Delist { by: UserId },
    Lock { buyer: UserId, expected: Option<u64>, seen: Option<Version> },
    LockAgain { order: u128 },
    Cancel { order: u128, by: UserId },
    Pay { order: u128, by: UserId, token: u8 },
    Confirm { charge: u128, by: UserId },
    Answer { charge: u128, answer: u8 },
    Deadline { order: u128 },
    Reversed { charge: u128, refund: bool },
}

fn user() -> impl Strategy<Value = UserId> {
    prop_oneof![4 => Just(BUYER), 2 => Just(OTHER), 1 => Just(SELLER)]
}

fn step() -> impl Strategy<Value = Step> {
    let minor = || prop_oneof![Just(2000u64), Just(1500)];
    // The number counts back from the newest order or charge.
    let order = || prop_oneof![6 => Just(0u128), 1 => 1..4u128];
    let charge = || prop_oneof![6 => Just(0u128), 1 => 1..4u128];
    prop_oneof![
        1 => (user(), any::<bool>(), minor(), proptest::option::of(0..6u64))
            .prop_map(|(by, named, minor, if_match)| Step::Edit { by, named, minor, if_match }),
        1 => user().prop_map(|by| Step::Delist { by }),
        6 => (user(), proptest::option::of(minor()), proptest::option::of(0..6u64))
            .prop_map(|(buyer, expected, seen)| Step::Lock { buyer, expected, seen }),
        1 => order().prop_map(|order| Step::LockAgain { order }),
        2 => (order(), user()).prop_map(|(order, by)| Step::Cancel { order, by }),
        8 => (order(), user(), 0..2u8).prop_map(|(order, by, token)| Step::Pay { order, by, token }),
        3 => (charge(), user()).prop_map(|(charge, by)| Step::Confirm { charge, by }),
        12 => (charge(), 0..ANSWERS).prop_map(|(charge, answer)| Step::Answer { charge, answer }),
        4 => order().prop_map(|order| Step::Deadline { order }),
        3 => (charge(), any::<bool>()).prop_map(|(charge, refund)| Step::Reversed { charge, refund }),
    ]
}

/// The change of the clock in milliseconds: mostly forward, sometimes a little back, as between two
/// replicas.
fn tick() -> impl Strategy<Value = i64> {
    prop_oneof![3 => -2_000..2_000i64, 4 => 0..240_000i64, 1 => 0..1_200_000i64]
}

const ANSWERS: u8 = 8;

fn answer(charge: ChargeId, which: u8) -> TicketCommand {
    let payment = payment(1);
    let failure = ChargeFailure::new("card_declined", "Declined.");
    match which {
        0 => TicketCommand::PaymentAuthorized { charge, payment },
        1 => TicketCommand::ActionRequired { charge, payment },
        2 => TicketCommand::PaymentDeclined { charge, payment: Some(payment), failure },
        3 => TicketCommand::TokenRefused { charge },
        4 => TicketCommand::PaymentInterrupted { charge, failure: ChargeFailure::interrupted() },
        5 => TicketCommand::PaymentCaptured { charge },
        6 => TicketCommand::WaitingEnded { charge, failure },
        _ => TicketCommand::CaptureFailed { charge, failure },
    }
}

#[derive(Debug, Default)]
struct Counters {
    orders: u128,
    charges: u128,
}

impl Counters {
    fn command(&self, step: Step) -> Option<TicketCommand> {
        let nth_order = |back: u128| order(self.orders.saturating_sub(back));
        let nth_charge = |back: u128| charge(self.charges.saturating_sub(back));
        let replica = ReplicaName::new("a");
        Some(match step {
            Step::Edit { by, named, minor, if_match } => TicketCommand::Edit {
                by,
                details: details(if named { "Front row" } else { "Back row" }, minor),
                if_match: condition(if_match),
            },
            Step::Delist { by } => TicketCommand::Delist { by, if_match: VersionCondition::Any },
            Step::Lock { buyer, expected, seen } => TicketCommand::Lock {
                order: order(self.orders + 1),
                buyer,
                expected_price: expected.map(price),
                expected_version: seen,
                replica,
            },
            Step::LockAgain { order } => TicketCommand::Lock {
                order: nth_order(order),
                buyer: BUYER,
                expected_price: None,
                expected_version: None,
                replica,
            },
            Step::Cancel { order, by } => TicketCommand::Cancel { order: nth_order(order), by },
            Step::Pay { order, by, token: with } => {
                let token = token(if with == 0 { "a" } else { "b" });
                TicketCommand::SubmitPayment {
                    order: nth_order(order),
                    by,
                    charge: charge(self.charges + 1),
                    token,
                    processor: processor(),
                }
            }
            Step::Confirm { charge, by } => {
                TicketCommand::ConfirmPayment { charge: nth_charge(charge), by }
            }
            Step::Answer { charge, answer: which } => answer(nth_charge(charge), which),
            Step::Deadline { order } => TicketCommand::DeadlinePassed { order: nth_order(order) },
            Step::Reversed { .. } => return None,
        })
    }
}

/// Executes one command. [`Play::at`] has the checks that hold after each step.
fn take(play: &mut Play, made: &mut Counters, step: Step, now: Timestamp) {
    if let Step::Reversed { charge: back, refund } = step {
        let id = charge(made.charges.saturating_sub(back));
        if play.world.charges.iter().any(|charge| charge.id == id) {
            let refund = refund.then(|| RefundId::new("re_1"));
            let _ = play.reversed(id, refund.as_ref(), now);
        }
        return;
    }
    let Some(command) = made.command(step) else { return };
    let known = |order: OrderId| play.world.orders.iter().any(|known| known.id == order);
    if let TicketCommand::Lock { order, .. } = &command
        && known(*order)
    {
        // The rules allow this if the ticket is available. In the store, the commit then fails
        // because an order with this id exists.
        if let Ok(decision) = decide(&play.sale, &command, &play.policy, now) {
            assert_eq!(decision.order.map(|order| order.version), Some(0));
        }
        return;
    }
    let before = (play.sale.clone(), play.world.clone());
    match play.at(now, command.clone()) {
        Err(_) => assert_eq!(
            before,
            (play.sale.clone(), play.world.clone()),
            "a refused command changes nothing"
        ),
        Ok(decision) => {
            made.orders += u128::from(matches!(command, TicketCommand::Lock { .. }));
            made.charges += u128::from(matches!(command, TicketCommand::SubmitPayment { .. }));
            assert!(
                decision.ticket.iter().all(|ticket| ticket.version == before.0.ticket.version + 1)
            );
            assert_locked_title_was_seen(play, &command);
            let repeatable =
                matches!(command, TicketCommand::Edit { if_match: VersionCondition::Any, .. });
            let again = decide(&play.sale, &command, &play.policy, now);
            assert!(repeatable || again.is_err(), "{command:?} was accepted twice: {again:?}");
        }
    }
}

/// Checks that the title of a granted lock is the title at the version that the buyer named,
/// according to the events so far.
fn assert_locked_title_was_seen(play: &Play, command: &TicketCommand) {
    let TicketCommand::Lock { expected_version: Some(seen), .. } = command else { return };
    let title = |version: Version| {
        play.events.iter().find_map(|event| match event {
            DomainEvent::TicketCreated { ticket } | DomainEvent::TicketUpdated { ticket }
                if ticket.version == version =>
            {
                Some(&ticket.details.title)
            }
            _ => None,
        })
    };
    assert_eq!(title(*seen), Some(&play.sale.ticket.details.title), "locked by version {seen}");
}

/// Checks that the passing of time alone frees the ticket: after at most two deadlines, and with
/// every started charge ended or Reversing.
fn expire_all(play: &mut Play, mut now: Timestamp) {
    for _ in 0..2 {
        let Some(deadline) = play.sale.deadline(&play.policy) else { break };
        now = now.max(deadline.at);
        play.at(now, TicketCommand::DeadlinePassed { order: deadline.order })
            .expect("a due deadline has an effect");
    }
    assert!(play.sale.ticket.lock().is_none(), "still locked: {:?}", play.sale);
    for charge in &play.world.charges {
        assert!(!charge.is_running(), "neither ended nor Reversing: {charge:?}");
    }
}

/// Returns a fixed seed, so that each run has the same walks. `PROPTEST_RNG_SEED` and
/// `PROPTEST_CASES` set another seed and more cases.
fn config() -> ProptestConfig {
    let default = ProptestConfig::default();
    let rng_seed =
        if default.rng_seed == RngSeed::Random { RngSeed::Fixed(20_000) } else { default.rng_seed };
    ProptestConfig {
        cases: default.cases.max(WALKS),
        rng_seed,
        failure_persistence: None,
        ..default
    }
}

/// The number of walks; they take about a second.
const WALKS: u32 = 600;

proptest! {
    #![proptest_config(config())]

    #[test]
    fn random_walk_keeps_all_invariants(
        steps in proptest::collection::vec((step(), tick()), 1..60),
        early_release in any::<bool>(),
        window in 1..=15i64,
        grace in 0..=120i64,
    ) {
        let policy = Policy {
            early_release,
            payment_window: Millis::from_mins(window),
            settle_grace: Millis::from_secs(grace),
            ..Policy::default()
        };
        let (mut play, mut made, mut now) = (Play::under(policy), Counters::default(), T0);
        for (step, tick) in steps {
            now = now + Millis(tick);
            take(&mut play, &mut made, step, now);
        }
        expire_all(&mut play, now);
    }

    /// A decision based on a stale copy either fails at a version in the store or equals the
    /// decision based on the newest copy.
    #[test]
    fn decision_on_a_stale_copy_fails_or_equals_the_current_decision(
        steps in proptest::collection::vec((step(), tick()), 2..30),
        last in step(),
        seen in 0..30usize,
    ) {
        let (mut play, mut made, mut now) = (Play::new(), Counters::default(), T0);
        let mut history = vec![play.sale.clone()];
        for (step, tick) in steps {
            now = now + Millis(tick);
            take(&mut play, &mut made, step, now);
            history.push(play.sale.clone());
        }
        let stale = &history[seen % history.len()];
        let Some(command) = made.command(last) else { return Ok(()) };
        let Ok(decision) = decide(stale, &command, &play.policy, now) else { return Ok(()) };
        if would_commit(&play.world, &decision) {
            prop_assert_eq!(Ok(decision), decide(&play.sale, &command, &play.policy, now));
        }
    }
}

fn would_commit(world: &Snapshot, decision: &Decision) -> bool {
    let fits =
        |stored: Option<Version>, new: Version| stored.map_or(new == 0, |stored| new == stored + 1);
    let ticket = |new: &Ticket| {
        fits(world.tickets.iter().find(|old| old.id == new.id).map(|old| old.version), new.version)
    };
    let order = |new: &Order| {
        fits(world.orders.iter().find(|old| old.id == new.id).map(|old| old.version), new.version)
    };
    let charge = |new: &Charge| {
        fits(world.charges.iter().find(|old| old.id == new.id).map(|old| old.version), new.version)
    };
    decision.ticket.iter().all(ticket)
        && decision.order.iter().all(order)
        && decision.charges.iter().all(charge)
}
