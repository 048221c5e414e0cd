//! The time limits of one lock, steps 1 to 5 of the public API's locking rules, and the wait
//! between locks.

use super::*;
use crate::CancelReason;

#[test]
fn step_1_lock_sets_ticket_locked_and_order_created_with_both_times() {
    let mut play = Play::new();
    let decision = play.at(T0, lock(1, BUYER)).unwrap();
    let order = play.order(1);
    assert_eq!(
        (order.status(), order.expires_at, order.unlocks_at),
        (OrderStatus::Created, mins(10), mins(15))
    );
    assert_eq!((order.price, order.buyer, order.version), (price(2000), BUYER, 0));
    assert_eq!(
        play.sale.ticket.lock().map(|lock| (lock.order, lock.buyer, lock.unlocks_at)),
        Some((order.id, BUYER, mins(15)))
    );
    assert_eq!(names(&decision), ["TicketUpdated", "OrderCreated"]);
    assert_eq!(
        decision.slot,
        Some(SlotChange::Take { user: BUYER, order: order.id, locks_max: 4 })
    );
}

#[test]
fn step_1_locked_ticket_cannot_be_ordered_by_any_user() {
    let mut play = Play::locked();
    assert_eq!(play.at(mins(1), lock(2, OTHER)), Err(Refusal::TicketLocked));
    assert_eq!(play.at(mins(1), lock(3, BUYER)), Err(Refusal::TicketLocked));
}

#[test]
fn step_1_locked_ticket_cannot_be_edited_or_deleted_by_its_seller() {
    let mut play = Play::locked();
    let edit = TicketCommand::Edit {
        by: SELLER,
        details: details("Back row", 100),
        if_match: VersionCondition::Any,
    };
    assert_eq!(play.at(mins(1), edit), Err(Refusal::TicketLocked));
    assert_eq!(
        play.at(mins(1), TicketCommand::Delist { by: SELLER, if_match: VersionCondition::Any }),
        Err(Refusal::TicketLocked)
    );
}

#[test]
fn step_2_payment_before_expires_at_is_accepted() {
    let mut play = Play::locked();
    let decision = play.at(just_before(mins(10)), pay(1, 1, "a")).unwrap();
    assert_eq!(play.order(1).status(), OrderStatus::AwaitingPayment);
    assert_eq!(names(&decision), ["ChargeCreated"]);
    let charge = play.charge(charge(1));
    assert_eq!(
        (charge.amount, charge.buyer, charge.status()),
        (price(2000), BUYER, ChargeStatus::Created)
    );
}

#[test]
fn step_2_first_payment_at_expires_at_is_refused_even_before_the_timer_fires() {
    assert_eq!(Play::locked().at(mins(10), pay(1, 1, "a")), Err(Refusal::OrderExpired));
}

#[test]
fn step_2_attempt_after_a_decline_is_accepted() {
    let mut play = Play::authorizing();
    assert_eq!(names(&play.at(mins(2), declined(1)).unwrap()), ["ChargeFailed"]);
    play.at(mins(3), pay(1, 2, "a"))
        .expect("the same token again is another attempt after a decline");
    assert_eq!(play.order(1).status(), OrderStatus::AwaitingPayment);
}

#[test]
fn step_3_unpaid_order_expires_at_expires_at_and_its_ticket_stays_locked() {
    let mut play = Play::locked();
    assert_eq!(play.sale.deadline(&play.policy).map(|deadline| deadline.at), Some(mins(10)));
    let decision = play.at(mins(10), passed(1)).unwrap();
    assert_eq!(names(&decision), ["OrderExpired"]);
    assert_eq!(
        (play.order(1).status(), play.order(1).state),
        (OrderStatus::Cancelled, OrderState::Cancelled { reason: CancelReason::Expired })
    );
    assert_eq!(play.at(mins(11), lock(2, OTHER)), Err(Refusal::TicketLocked));
    assert_eq!(play.at(mins(11), pay(1, 1, "a")), Err(Refusal::OrderExpired));
}

#[test]
fn step_3_order_awaiting_payment_stays_active_until_unlocks_at() {
    let mut play = Play::authorizing();
    assert_eq!(play.at(mins(10), passed(1)), Err(Refusal::NothingToDo));
    play.at(mins(11), declined(1)).unwrap();
    play.at(just_before(mins(15)), pay(1, 2, "b"))
        .expect("a retry after a decline, until unlocksAt");
    play.at(just_before(mins(15)), declined(2)).unwrap();
    assert_eq!(play.at(mins(15), pay(1, 3, "c")), Err(Refusal::OrderExpired));
}

#[test]
fn step_4_expired_order_frees_its_ticket_at_unlocks_at_without_a_second_event() {
    let mut play = Play::locked();
    play.at(mins(10), passed(1)).unwrap();
    assert_eq!(play.at(just_before(mins(15)), passed(1)), Err(Refusal::NothingToDo));
    let decision = play.at(mins(15), passed(1)).unwrap();
    assert_eq!(names(&decision), ["TicketUpdated"]);
    assert!(play.is_available());
    assert_eq!(decision.slot, Some(SlotChange::Free { user: BUYER, order: order(1) }));
}

#[test]
fn step_4_timer_after_both_deadlines_applies_both() {
    let mut play = Play::locked();
    let decision = play.at(mins(20), passed(1)).unwrap();
    assert_eq!(names(&decision), ["OrderExpired", "TicketUpdated"]);
    assert!(play.is_available());
}

#[test]
fn step_4_order_awaiting_payment_at_unlocks_at_expires_and_its_charge_is_reversed() {
    let mut play = Play::waiting_for_buyer();
    let decision = play.at(mins(15), passed(1)).unwrap();
    assert_eq!(names(&decision), ["OrderExpired", "TicketUpdated"]);
    assert_eq!(play.reversal(charge(1)), Some(&ChargeFailure::lock_lost()));
    assert!(play.is_available());
}

#[test]
fn step_4_claim_is_accepted_only_before_unlocks_at() {
    let mut play = Play::capturing_since(just_before(mins(15)));
    assert_eq!(play.order(1).state, OrderState::Capturing { charge: charge(1) });
    assert_eq!(play.charge(charge(1)).payment(), Some(&payment(1)));

    let mut late = Play::authorizing();
    let decision = late.at(mins(15), authorized(1)).unwrap();
    assert_eq!(names(&decision), ["OrderExpired", "TicketUpdated"]);
    assert_eq!(late.reversal(charge(1)), Some(&ChargeFailure::lock_lost()));
    assert!(late.is_available());
    assert_eq!(
        play.at(mins(15), authorized(1)),
        Err(Refusal::NothingToDo),
        "the same claim is not made twice"
    );
}

#[test]
fn step_4_late_3d_secure_request_frees_the_ticket() {
    let mut play = Play::authorizing();
    play.at(mins(15), TicketCommand::ActionRequired { charge: charge(1), payment: payment(1) })
        .unwrap();
    assert_eq!(play.reversal(charge(1)), Some(&ChargeFailure::lock_lost()));
    assert!(play.is_available());
}

#[test]
fn step_4_running_capture_extends_the_lock_by_the_grace() {
    let mut play = Play::capturing_since(mins(14));
    assert_eq!(play.at(mins(15), passed(1)), Err(Refusal::NothingToDo));
    let decision = play
        .at(just_before(mins(16)), TicketCommand::PaymentCaptured { charge: charge(1) })
        .unwrap();
    assert_eq!(names(&decision), ["ChargeCompleted", "TicketUpdated"]);
    assert_eq!(play.order(1).status(), OrderStatus::Completed);
    assert_eq!(play.sale.ticket.state, TicketState::Sold { order: order(1) });
}

#[test]
fn step_4_ticket_is_freed_and_capture_is_reversed_after_the_grace() {
    let mut play = Play::capturing_since(mins(14));
    let decision = play.at(mins(16), passed(1)).unwrap();
    assert_eq!(names(&decision), ["OrderExpired", "TicketUpdated"]);
    assert_eq!(play.reversal(charge(1)), Some(&ChargeFailure::lock_lost()));
    assert!(!play.order(1).is_capturing());
    assert_eq!(
        play.at(mins(16), TicketCommand::PaymentCaptured { charge: charge(1) }),
        Err(Refusal::NothingToDo)
    );
}

#[test]
fn step_4_capture_answer_after_the_grace_does_not_sell_even_before_the_timer_fires() {
    let mut play = Play::capturing_since(mins(14));
    play.at(mins(16), TicketCommand::PaymentCaptured { charge: charge(1) }).unwrap();
    assert!(play.is_available());
    assert_eq!(play.reversal(charge(1)), Some(&ChargeFailure::lock_lost()));
}

#[test]
fn step_5_cancellation_frees_the_ticket_at_once() {
    let mut play = Play::locked();
    let decision = play.at(mins(1), cancel(1, BUYER)).unwrap();
    assert_eq!(names(&decision), ["OrderCancelled", "TicketUpdated"]);
    assert_eq!(play.order(1).state, OrderState::Cancelled { reason: CancelReason::Buyer });
    assert!(play.is_available());
    play.at(mins(1), lock(2, OTHER)).expect("any other buyer may lock it");
}

#[test]
fn step_5_early_release_frees_the_ticket_at_expires_at() {
    let mut play = Play::under(Policy { early_release: true, ..Policy::default() });
    play.at(T0, lock(1, BUYER)).unwrap();
    let decision = play.at(mins(10), passed(1)).unwrap();
    assert_eq!(names(&decision), ["OrderExpired", "TicketUpdated"]);
    assert!(play.is_available());
}

#[test]
fn step_5_early_release_does_not_shorten_the_lock_of_an_order_awaiting_payment() {
    let mut play = Play::under(Policy { early_release: true, ..Policy::default() });
    play.at(T0, lock(1, BUYER)).unwrap();
    play.at(mins(1), pay(1, 1, "a")).unwrap();
    assert_eq!(play.at(mins(10), passed(1)), Err(Refusal::NothingToDo));
    assert_eq!(play.sale.deadline(&play.policy).map(|deadline| deadline.at), Some(mins(15)));
}

#[test]
fn payment_window_of_the_lock_duration_ends_with_the_lock() {
    let mut play =
        Play::under(Policy { payment_window: Millis::from_mins(15), ..Policy::default() });
    play.at(T0, lock(1, BUYER)).unwrap();
    assert_eq!(names(&play.at(mins(15), passed(1)).unwrap()), ["OrderExpired", "TicketUpdated"]);
}

#[test]
fn timer_of_an_earlier_lock_changes_nothing() {
    let mut play = Play::locked();
    play.at(mins(1), cancel(1, BUYER)).unwrap();
    assert_eq!(play.at(mins(20), passed(1)), Err(Refusal::NothingToDo));
    play.at(mins(2), lock(2, OTHER)).unwrap();
    assert_eq!(play.at(mins(20), passed(1)), Err(Refusal::NothingToDo));
}

/// Returns a play in which BUYER abandoned a lock at each of these minutes.
fn abandoned_at(minutes: &[i64]) -> Play {
    let mut play = Play::new();
    for (n, minute) in (1..).zip(minutes) {
        play.at(mins(*minute), lock(n, BUYER)).expect("no wait yet");
        play.at(mins(*minute), cancel(n, BUYER)).expect("the lock was just taken");
    }
    play
}

#[test]
fn user_with_three_abandoned_locks_in_an_hour_has_to_wait() {
    let mut play = abandoned_at(&[0, 30, 60]);
    assert_eq!(
        play.at(mins(65), lock(9, BUYER)),
        Err(Refusal::TooManyLocks { retry_after: Millis::from_mins(10) })
    );
    play.at(mins(65), lock(8, OTHER)).expect("other users do not wait");
    play.at(mins(65), cancel(8, OTHER)).unwrap();
    assert_eq!(
        play.at(just_before(mins(75)), lock(9, BUYER)),
        Err(Refusal::TooManyLocks { retry_after: Millis(1) })
    );
    play.at(mins(75), lock(9, BUYER)).expect("the wait is over");
}

#[test]
fn expired_locks_count_like_cancelled_locks() {
    let mut play = Play::new();
    for (n, minute) in [(1, 0), (2, 20), (3, 40)] {
        play.at(mins(minute), lock(n, BUYER)).unwrap();
        play.at(mins(minute + 15), passed(n)).unwrap();
    }
    assert!(matches!(play.at(mins(56), lock(4, BUYER)), Err(Refusal::TooManyLocks { .. })));
}

#[test]
fn user_with_two_abandoned_locks_in_an_hour_does_not_wait() {
    abandoned_at(&[0, 30]).at(mins(31), lock(9, BUYER)).expect("two are allowed");
    abandoned_at(&[0, 30, 61])
        .at(mins(62), lock(9, BUYER))
        .expect("the first is older than the span");
}

#[test]
fn abandoned_locks_with_future_times_cause_no_wait() {
    abandoned_at(&[100, 101, 102])
        .at(mins(42), lock(9, BUYER))
        .expect("the times are an hour ahead of the corrected clock");
}

#[test]
fn abandoned_locks_of_other_users_do_not_end_a_wait() {
    let mut play = abandoned_at(&[0, 1, 2]);
    for n in 0..100u128 {
        let other = UserId::new(Uuid::from_u128(1000 + n));
        play.at(mins(3), lock(100 + n, other)).expect("the first lock of each user");
        play.at(mins(3), cancel(100 + n, other)).unwrap();
    }
    assert!(play.sale.ticket.lapses.len() <= Ticket::LAPSES_MAX, "the document stays bounded");
    assert!(matches!(play.at(mins(4), lock(9, BUYER)), Err(Refusal::TooManyLocks { .. })));
}
