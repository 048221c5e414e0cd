//! Submitting a payment, confirming it and cancelling the order, until the claim.

use super::*;

#[test]
fn cancellation_and_second_payment_during_a_processor_call_are_refused() {
    let mut play = Play::authorizing();
    assert_eq!(play.at(mins(2), cancel(1, BUYER)), Err(Refusal::PaymentInFlight));
    assert_eq!(play.at(mins(2), pay(1, 2, "b")), Err(Refusal::PaymentInFlight));
    assert_eq!(play.at(mins(2), pay(1, 2, "a")), Err(Refusal::PaymentInFlight));

    let mut play = Play::capturing_since(mins(2));
    assert_eq!(play.at(mins(3), cancel(1, BUYER)), Err(Refusal::PaymentInFlight));
    assert_eq!(play.at(mins(3), pay(1, 2, "b")), Err(Refusal::PaymentInFlight));
}

#[test]
fn order_with_running_capture_after_unlocks_at_is_not_expired() {
    let mut play = Play::capturing_since(mins(14));
    assert_eq!(play.at(mins(15), pay(1, 2, "b")), Err(Refusal::PaymentInFlight));
    let confirm = TicketCommand::ConfirmPayment { charge: charge(1), by: BUYER };
    assert_eq!(play.at(mins(15), confirm), Err(Refusal::PaymentInFlight));
}

#[test]
fn order_waiting_for_3d_secure_can_be_cancelled_and_its_charge_is_reversed() {
    let mut play = Play::waiting_for_buyer();
    let decision = play.at(mins(3), cancel(1, BUYER)).unwrap();
    assert_eq!(names(&decision), ["OrderCancelled", "TicketUpdated"]);
    assert_eq!(play.reversal(charge(1)), Some(&ChargeFailure::cancelled()));
}

#[test]
fn charge_waiting_for_3d_secure_is_replaced_by_a_payment_with_another_token() {
    let mut play = Play::waiting_for_buyer();
    let decision = play.at(mins(3), pay(1, 2, "b")).unwrap();
    assert_eq!(names(&decision), ["ChargeCreated"]);
    assert_eq!(play.reversal(charge(1)), Some(&ChargeFailure::superseded()));
    assert_eq!(play.sale.charge.as_ref().map(|charge| charge.id), Some(charge(2)));
    let confirm = TicketCommand::ConfirmPayment { charge: charge(1), by: BUYER };
    assert_eq!(
        play.at(mins(4), confirm),
        Err(Refusal::NothingToDo),
        "the first charge was replaced"
    );
}

#[test]
fn same_token_returns_the_waiting_charge() {
    let mut play = Play::waiting_for_buyer();
    assert_eq!(
        play.at(mins(3), pay(1, 2, "a")),
        Err(Refusal::AwaitingAction { charge: charge(1) })
    );
    assert_eq!(
        play.at(mins(15), pay(1, 2, "a")),
        Err(Refusal::OrderExpired),
        "but not once the lock is over"
    );
}

#[test]
fn confirmed_charge_may_require_another_action() {
    let mut play = Play::waiting_for_buyer();
    let confirm = || TicketCommand::ConfirmPayment { charge: charge(1), by: BUYER };
    play.at(mins(3), confirm()).unwrap();
    assert!(matches!(play.charge(charge(1)).state, ChargeState::Authorizing { .. }));
    assert_eq!(play.at(mins(3), confirm()), Err(Refusal::PaymentInFlight));
    play.at(mins(4), TicketCommand::ActionRequired { charge: charge(1), payment: payment(1) })
        .unwrap();
    play.at(mins(5), confirm()).unwrap();
    play.at(mins(5), authorized(1)).unwrap();
    assert!(matches!(play.charge(charge(1)).state, ChargeState::Capturing { .. }));
}

#[test]
fn confirmation_is_accepted_only_from_the_buyer_during_the_lock() {
    let mut play = Play::waiting_for_buyer();
    assert_eq!(
        play.at(mins(3), TicketCommand::ConfirmPayment { charge: charge(1), by: OTHER }),
        Err(Refusal::NotOwner)
    );
    assert_eq!(
        play.at(mins(15), TicketCommand::ConfirmPayment { charge: charge(1), by: BUYER }),
        Err(Refusal::OrderExpired)
    );
}

/// If answers arrive out of order, a charge can be AwaitingAction although the buyer has acted. The
/// processor's answer decides.
#[test]
fn authorization_claims_the_lock_of_a_charge_awaiting_action() {
    let mut play = Play::waiting_for_buyer();
    play.at(mins(3), authorized(1)).unwrap();
    assert!(matches!(play.charge(charge(1)).state, ChargeState::Capturing { .. }));
    assert_eq!(play.order(1).state, OrderState::Capturing { charge: charge(1) });
}

#[test]
fn refused_token_does_not_count_as_an_attempt() {
    let mut play = Play::authorizing();
    play.at(mins(2), TicketCommand::TokenRefused { charge: charge(1) }).unwrap();
    assert_eq!(play.order(1).status(), OrderStatus::Created);
    assert_eq!(play.sale.deadline(&play.policy).map(|deadline| deadline.at), Some(mins(10)));
    assert_eq!(play.at(mins(10), pay(1, 2, "b")), Err(Refusal::OrderExpired));
    assert_eq!(names(&play.at(mins(10), passed(1)).unwrap()), ["OrderExpired"]);
}

#[test]
fn order_expires_at_once_after_a_token_is_refused_after_the_window() {
    let mut play = Play::authorizing();
    play.at(mins(11), TicketCommand::TokenRefused { charge: charge(1) }).unwrap();
    assert_eq!(play.at(mins(11), pay(1, 2, "b")), Err(Refusal::OrderExpired));
    assert_eq!(names(&play.at(mins(11), passed(1)).unwrap()), ["OrderExpired"]);
}

#[test]
fn refused_token_does_not_revert_an_earlier_attempt() {
    let mut play = Play::authorizing();
    play.at(mins(2), declined(1)).unwrap();
    play.at(mins(3), pay(1, 2, "b")).unwrap();
    play.at(mins(4), TicketCommand::TokenRefused { charge: charge(2) }).unwrap();
    assert_eq!(play.order(1).status(), OrderStatus::AwaitingPayment);
    play.at(mins(11), pay(1, 3, "c"))
        .expect("the order stays AwaitingPayment because of the first attempt");
}

#[test]
fn interrupted_attempt_is_reversed_before_it_becomes_failed() {
    let mut play = Play::authorizing();
    let interrupted = TicketCommand::PaymentInterrupted {
        charge: charge(1),
        failure: ChargeFailure::interrupted(),
    };
    let decision = play.at(mins(2), interrupted.clone()).unwrap();
    assert_eq!(names(&decision), Vec::<&str>::new(), "the charge has not Failed yet");
    assert_eq!(play.reversal(charge(1)), Some(&ChargeFailure::interrupted()));
    assert_eq!(play.at(mins(2), interrupted), Err(Refusal::NothingToDo));
    assert_eq!(
        play.at(mins(2), authorized(1)),
        Err(Refusal::NothingToDo),
        "a late answer does not claim the lock"
    );
    play.at(mins(3), pay(1, 2, "a")).expect("the buyer may try again in the meantime");
    play.reversed(charge(1), None, mins(4)).unwrap();
    assert_eq!(play.charge(charge(1)).failure(), Some(&ChargeFailure::interrupted()));
}

#[test]
fn interruption_is_accepted_only_for_a_running_attempt() {
    let interrupted = || TicketCommand::PaymentInterrupted {
        charge: charge(1),
        failure: ChargeFailure::interrupted(),
    };
    assert_eq!(Play::waiting_for_buyer().at(mins(3), interrupted()), Err(Refusal::NothingToDo));
    assert_eq!(
        Play::capturing_since(mins(2)).at(mins(3), interrupted()),
        Err(Refusal::NothingToDo)
    );
}

/// The buyer has the payment's client secret and can authorize the payment without this server.
#[test]
fn declined_payment_that_waited_for_its_buyer_is_reversed() {
    let mut play = Play::waiting_for_buyer();
    play.at(mins(3), TicketCommand::ConfirmPayment { charge: charge(1), by: BUYER }).unwrap();
    let decision = play.at(mins(3), declined(1)).unwrap();
    assert_eq!(names(&decision), Vec::<&str>::new(), "the charge has not Failed yet");
    let failure = play.reversal(charge(1)).cloned().expect("the charge is Reversing");
    play.at(mins(4), pay(1, 2, "b")).expect("the buyer may try another card in the meantime");
    let decision = play.reversed(charge(1), None, mins(4)).unwrap();
    assert_eq!(names(&decision), ["ChargeFailed"]);
    assert_eq!(
        play.charge(charge(1)).failure(),
        Some(&failure),
        "the failure is the bank's reason"
    );
}

#[test]
fn charge_is_reversed_after_the_processor_ends_the_wait() {
    let ended = || TicketCommand::WaitingEnded {
        charge: charge(1),
        failure: ChargeFailure::new("card_declined", "Declined."),
    };
    let mut play = Play::waiting_for_buyer();
    play.at(mins(3), ended()).unwrap();
    assert!(play.reversal(charge(1)).is_some());
    play.at(mins(4), pay(1, 2, "b")).expect("the buyer may try again");
    assert_eq!(Play::authorizing().at(mins(3), ended()), Err(Refusal::NothingToDo));
    assert_eq!(Play::capturing_since(mins(2)).at(mins(3), ended()), Err(Refusal::NothingToDo));
}

#[test]
fn edit_by_the_seller_does_not_change_the_charged_amount() {
    let mut play = Play::locked();
    play.at(mins(1), cancel(1, BUYER)).unwrap();
    play.at(
        mins(2),
        TicketCommand::Edit {
            by: SELLER,
            details: details("Front row", 9900),
            if_match: VersionCondition::Any,
        },
    )
    .unwrap();
    play.at(mins(3), lock(2, BUYER)).unwrap();
    assert_eq!((play.order(1).price, play.order(2).price), (price(2000), price(9900)));
    play.at(mins(4), pay(2, 1, "a")).unwrap();
    assert_eq!(play.charge(charge(1)).amount, price(9900));
}

#[test]
fn order_is_refused_after_5_declines_until_its_lock_ends() {
    let mut play = Play::locked();
    for n in 1..=5 {
        play.at(mins(1), pay(1, n, "a")).expect("the limit is not reached");
        play.at(mins(1), declined(n)).unwrap();
    }
    let refused = Refusal::TooManyDeclines { retry_after: Millis::from_mins(13) };
    assert_eq!(play.at(mins(2), pay(1, 6, "a")), Err(refused));
    assert_eq!(
        decide(
            &play.sale,
            &TicketCommand::SubmitPayment {
                order: order(1),
                by: OTHER,
                charge: charge(6),
                token: token("a"),
                processor: processor(),
            },
            &play.policy,
            mins(2)
        ),
        Err(Refusal::NotOwner)
    );
    assert_eq!(
        play.at(mins(15), pay(1, 6, "a")),
        Err(Refusal::OrderExpired),
        "the expiry of the order takes precedence"
    );
    play.policy.limits_declines = false;
    play.at(mins(2), pay(1, 6, "a")).expect("the limit is off");
}

#[test]
fn declines_are_counted_once_and_other_failures_are_not() {
    let mut play = Play::waiting_for_buyer();
    play.at(mins(3), TicketCommand::ConfirmPayment { charge: charge(1), by: BUYER }).unwrap();
    let decision = play.at(mins(3), declined(1)).unwrap();
    assert_eq!(
        (decision.declined, play.order(1).declines),
        (Some(BUYER), 1),
        "a failed 3-D Secure authentication counts"
    );
    assert_eq!(play.at(mins(3), declined(1)), Err(Refusal::NothingToDo));
    play.at(mins(4), pay(1, 2, "b")).unwrap();
    play.at(mins(4), TicketCommand::TokenRefused { charge: charge(2) }).unwrap();
    play.at(mins(5), pay(1, 3, "c")).unwrap();
    play.at(
        mins(5),
        TicketCommand::PaymentInterrupted {
            charge: charge(3),
            failure: ChargeFailure::interrupted(),
        },
    )
    .unwrap();
    assert_eq!(play.order(1).declines, 1, "a refused token and an interruption do not count");
    play.at(mins(6), pay(1, 4, "d")).unwrap();
    let decision = play.at(mins(6), declined(4)).unwrap();
    assert_eq!((decision.declined, play.order(1).declines), (Some(BUYER), 2));
}

#[test]
fn decline_after_a_wait_for_the_buyer_is_counted() {
    let mut play = Play::waiting_for_buyer();
    play.at(mins(3), declined(1)).unwrap();
    assert!(play.reversal(charge(1)).is_some(), "the buyer has the client secret of the payment");
    assert_eq!(play.order(1).declines, 1);
    assert_eq!(Play::capturing_since(mins(2)).at(mins(3), declined(1)), Err(Refusal::NothingToDo));
}
