//! Submitting, confirming and giving up, up to the claim.

use super::*;

#[test]
fn while_the_processor_is_being_called_neither_delete_nor_another_payment_gets_through() {
    let mut play = Play::authorizing();
    assert_eq!(play.at(mins(2), cancel(1, BUYER)), Err(Refusal::PaymentInFlight));
    assert_eq!(play.at(mins(2), pay(1, 2, "b")), Err(Refusal::PaymentInFlight));
    assert_eq!(play.at(mins(2), pay(1, 2, "a")), Err(Refusal::PaymentInFlight));

    let mut play = Play::capturing_since(mins(2));
    assert_eq!(play.at(mins(3), cancel(1, BUYER)), Err(Refusal::PaymentInFlight));
    assert_eq!(play.at(mins(3), pay(1, 2, "b")), Err(Refusal::PaymentInFlight));
}

#[test]
fn an_order_whose_capture_outlasts_the_lock_has_not_lapsed() {
    let mut play = Play::capturing_since(mins(14));
    assert_eq!(play.at(mins(15), pay(1, 2, "b")), Err(Refusal::PaymentInFlight));
    let confirm = TicketCommand::ConfirmPayment { charge: charge(1), by: BUYER };
    assert_eq!(play.at(mins(15), confirm), Err(Refusal::PaymentInFlight));
}

#[test]
fn a_wait_for_3d_secure_does_not_block_delete_and_its_charge_goes_back() {
    let mut play = Play::waiting_for_buyer();
    let decision = play.at(mins(3), cancel(1, BUYER)).unwrap();
    assert_eq!(names(&decision), ["OrderCancelled", "TicketUpdated"]);
    assert_eq!(play.charge(charge(1)).step, ChargeStep::Reversing { failure: ChargeFailure::cancelled() });
}

#[test]
fn a_wait_for_3d_secure_does_not_block_another_token_which_takes_its_place() {
    let mut play = Play::waiting_for_buyer();
    let decision = play.at(mins(3), pay(1, 2, "b")).unwrap();
    assert_eq!(names(&decision), ["ChargeCreated"]);
    assert_eq!(play.charge(charge(1)).step, ChargeStep::Reversing { failure: ChargeFailure::superseded() });
    assert_eq!(play.sale.charge.as_ref().map(|charge| charge.id), Some(charge(2)));
    let confirm = TicketCommand::ConfirmPayment { charge: charge(1), by: BUYER };
    assert_eq!(play.at(mins(4), confirm), Err(Refusal::Stale), "the first one lost");
}

#[test]
fn the_same_token_finds_the_charge_that_waits() {
    let mut play = Play::waiting_for_buyer();
    assert_eq!(play.at(mins(3), pay(1, 2, "a")), Err(Refusal::AwaitingAction { charge: charge(1) }));
    assert_eq!(play.at(mins(15), pay(1, 2, "a")), Err(Refusal::OrderExpired), "but not once the lock is over");
}

#[test]
fn confirming_asks_the_processor_again_and_may_wait_again() {
    let mut play = Play::waiting_for_buyer();
    let confirm = || TicketCommand::ConfirmPayment { charge: charge(1), by: BUYER };
    play.at(mins(3), confirm()).unwrap();
    assert_eq!(play.charge(charge(1)).step, ChargeStep::Authorizing);
    assert_eq!(play.at(mins(3), confirm()), Err(Refusal::PaymentInFlight));
    play.at(mins(4), TicketCommand::ActionRequired { charge: charge(1), payment: payment(1) }).unwrap();
    play.at(mins(5), confirm()).unwrap();
    play.at(mins(5), authorized(1)).unwrap();
    assert_eq!(play.charge(charge(1)).step, ChargeStep::Capturing);
}

#[test]
fn only_its_buyer_confirms_and_only_while_the_lock_holds() {
    let mut play = Play::waiting_for_buyer();
    assert_eq!(play.at(mins(3), TicketCommand::ConfirmPayment { charge: charge(1), by: OTHER }), Err(Refusal::NotOwner));
    assert_eq!(play.at(mins(15), TicketCommand::ConfirmPayment { charge: charge(1), by: BUYER }), Err(Refusal::OrderExpired));
}

/// An answer that was overtaken can leave the charge waiting although the buyer has acted: the processor's word counts.
#[test]
fn money_that_the_processor_holds_is_claimed_even_if_the_charge_seems_to_wait() {
    let mut play = Play::waiting_for_buyer();
    play.at(mins(3), authorized(1)).unwrap();
    assert_eq!(play.charge(charge(1)).step, ChargeStep::Capturing);
    assert_eq!(play.order(1).settling, Some(charge(1)));
}

#[test]
fn a_refused_token_is_no_attempt() {
    let mut play = Play::authorizing();
    play.at(mins(2), TicketCommand::TokenRefused { charge: charge(1) }).unwrap();
    assert_eq!(play.order(1).status, OrderStatus::Created);
    assert_eq!(play.sale.deadline(&play.policy).map(|deadline| deadline.at), Some(mins(10)));
    assert_eq!(play.at(mins(10), pay(1, 2, "b")), Err(Refusal::OrderExpired));
    assert_eq!(names(&play.at(mins(10), passed(1)).unwrap()), ["OrderExpired"]);
}

#[test]
fn a_token_refused_after_the_window_leaves_an_order_that_lapses_at_once() {
    let mut play = Play::authorizing();
    play.at(mins(11), TicketCommand::TokenRefused { charge: charge(1) }).unwrap();
    assert_eq!(play.at(mins(11), pay(1, 2, "b")), Err(Refusal::OrderExpired));
    assert_eq!(names(&play.at(mins(11), passed(1)).unwrap()), ["OrderExpired"]);
}

#[test]
fn a_refused_token_takes_back_no_earlier_attempt() {
    let mut play = Play::authorizing();
    play.at(mins(2), declined(1)).unwrap();
    play.at(mins(3), pay(1, 2, "b")).unwrap();
    play.at(mins(4), TicketCommand::TokenRefused { charge: charge(2) }).unwrap();
    assert_eq!(play.order(1).status, OrderStatus::AwaitingPayment);
    play.at(mins(11), pay(1, 3, "c")).expect("the first attempt still counts");
}

#[test]
fn an_interrupted_attempt_is_closed_at_the_processor_before_it_has_failed() {
    let mut play = Play::authorizing();
    let interrupted = TicketCommand::PaymentInterrupted { charge: charge(1), failure: ChargeFailure::interrupted() };
    let decision = play.at(mins(2), interrupted.clone()).unwrap();
    assert_eq!(names(&decision), Vec::<&str>::new(), "it has not failed yet");
    assert_eq!(play.charge(charge(1)).step, ChargeStep::Reversing { failure: ChargeFailure::interrupted() });
    assert_eq!(play.at(mins(2), interrupted), Err(Refusal::Stale));
    assert_eq!(play.at(mins(2), authorized(1)), Err(Refusal::Stale), "an answer that comes after all claims nothing");
    play.at(mins(3), pay(1, 2, "a")).expect("the buyer may try again meanwhile");
    play.reversed(charge(1), None, mins(4)).unwrap();
    assert_eq!(play.charge(charge(1)).failure, Some(ChargeFailure::interrupted()));
}

#[test]
fn only_an_attempt_that_is_running_can_be_interrupted() {
    let interrupted = || TicketCommand::PaymentInterrupted { charge: charge(1), failure: ChargeFailure::interrupted() };
    assert_eq!(Play::waiting_for_buyer().at(mins(3), interrupted()), Err(Refusal::Stale));
    assert_eq!(Play::capturing_since(mins(2)).at(mins(3), interrupted()), Err(Refusal::Stale));
}

/// The buyer has the payment's secret, and could have it authorized without us.
#[test]
fn a_payment_that_waited_for_its_buyer_is_closed_at_the_processor_when_it_is_declined() {
    let mut play = Play::waiting_for_buyer();
    play.at(mins(3), TicketCommand::ConfirmPayment { charge: charge(1), by: BUYER }).unwrap();
    let decision = play.at(mins(3), declined(1)).unwrap();
    assert_eq!(names(&decision), Vec::<&str>::new(), "it has not failed yet");
    let ChargeStep::Reversing { failure } = play.charge(charge(1)).step.clone() else { panic!("{:?}", play.charge(charge(1))) };
    play.at(mins(4), pay(1, 2, "b")).expect("the buyer may try another card meanwhile");
    let decision = play.reversed(charge(1), None, mins(4)).unwrap();
    assert_eq!(names(&decision), ["ChargeFailed"]);
    assert_eq!(play.charge(charge(1)).failure, Some(failure), "it failed for the bank's reason");
}

#[test]
fn a_wait_that_the_processor_ended_is_over_for_the_charge_too() {
    let ended = || TicketCommand::WaitingEnded { charge: charge(1), failure: ChargeFailure::new("card_declined", "Declined.") };
    let mut play = Play::waiting_for_buyer();
    play.at(mins(3), ended()).unwrap();
    assert!(matches!(play.charge(charge(1)).step, ChargeStep::Reversing { .. }));
    play.at(mins(4), pay(1, 2, "b")).expect("the buyer may try again");
    assert_eq!(Play::authorizing().at(mins(3), ended()), Err(Refusal::Stale));
    assert_eq!(Play::capturing_since(mins(2)).at(mins(3), ended()), Err(Refusal::Stale));
}

#[test]
fn a_seller_who_edits_meanwhile_does_not_change_what_is_charged() {
    let mut play = Play::locked();
    play.at(mins(1), cancel(1, BUYER)).unwrap();
    play.at(mins(2), TicketCommand::Edit { by: SELLER, title: title("Front row"), price: price(9900), if_match: None }).unwrap();
    play.at(mins(3), lock(2, BUYER)).unwrap();
    assert_eq!((play.order(1).price, play.order(2).price), (price(2000), price(9900)));
    play.at(mins(4), pay(2, 1, "a")).unwrap();
    assert_eq!(play.charge(charge(1)).amount, price(9900));
}

#[test]
fn order_is_refused_after_5_declines_until_its_lock_ends() {
    let mut play = Play::locked();
    for n in 1..=5 {
        play.at(mins(1), pay(1, n, "a")).expect("not yet");
        play.at(mins(1), declined(n)).unwrap();
    }
    let refused = Refusal::TooManyDeclines { retry_after: Millis::from_mins(13) };
    assert_eq!(play.at(mins(2), pay(1, 6, "a")), Err(refused));
    assert_eq!(
        decide(
            &play.sale,
            &TicketCommand::SubmitPayment { order: order(1), by: OTHER, charge: charge(6), token: token("a") },
            &play.policy,
            mins(2)
        ),
        Err(Refusal::NotOwner)
    );
    assert_eq!(play.at(mins(15), pay(1, 6, "a")), Err(Refusal::OrderExpired), "what became of the order comes first");
    play.policy.limits_declines = false;
    play.at(mins(2), pay(1, 6, "a")).expect("the limit is off");
}

#[test]
fn only_declines_are_counted_and_each_once() {
    let mut play = Play::waiting_for_buyer();
    play.at(mins(3), TicketCommand::ConfirmPayment { charge: charge(1), by: BUYER }).unwrap();
    let decision = play.at(mins(3), declined(1)).unwrap();
    assert_eq!((decision.declined, play.order(1).declines), (Some(BUYER), 1), "3-D Secure that failed");
    assert_eq!(play.at(mins(3), declined(1)), Err(Refusal::Stale));
    play.at(mins(4), pay(1, 2, "b")).unwrap();
    play.at(mins(4), TicketCommand::TokenRefused { charge: charge(2) }).unwrap();
    play.at(mins(5), pay(1, 3, "c")).unwrap();
    play.at(mins(5), TicketCommand::PaymentInterrupted { charge: charge(3), failure: ChargeFailure::interrupted() }).unwrap();
    assert_eq!(play.order(1).declines, 1, "a refused token and an interruption are none");
    play.at(mins(6), pay(1, 4, "d")).unwrap();
    let decision = play.at(mins(6), declined(4)).unwrap();
    assert_eq!((decision.declined, play.order(1).declines), (Some(BUYER), 2));
}

#[test]
fn wait_for_the_buyer_that_ends_in_a_decline_is_counted() {
    let mut play = Play::waiting_for_buyer();
    play.at(mins(3), declined(1)).unwrap();
    assert!(matches!(play.charge(charge(1)).step, ChargeStep::Reversing { .. }), "its buyer has the secret of the payment");
    assert_eq!(play.order(1).declines, 1);
    assert_eq!(Play::capturing_since(mins(2)).at(mins(3), declined(1)), Err(Refusal::Stale));
}
