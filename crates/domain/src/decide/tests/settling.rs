//! The states after the claim: the sale, or the reversal.

use super::*;

fn captured() -> TicketCommand {
    TicketCommand::PaymentCaptured { charge: charge(1) }
}

fn capture_failed() -> TicketCommand {
    TicketCommand::CaptureFailed {
        charge: charge(1),
        failure: ChargeFailure::new("card_declined", "Declined."),
    }
}

#[test]
fn one_decision_completes_charge_and_order_and_sells_the_ticket() {
    let mut play = Play::capturing_since(mins(2));
    let decision = play.at(mins(3), captured()).unwrap();
    assert_eq!(names(&decision), ["ChargeCompleted", "TicketUpdated"]);
    assert_eq!(play.sale.ticket.state, TicketState::Sold { order: order(1) });
    assert_eq!(play.order(1).state, OrderState::Completed);
    assert_eq!(play.charge(charge(1)).state, ChargeState::Completed { payment: payment(1) });
    assert_eq!(decision.slot, Some(SlotChange::Free { user: BUYER, order: order(1) }));
    assert_eq!(play.sale.deadline(&play.policy), None);
    assert_eq!(play.at(mins(3), captured()), Err(Refusal::NothingToDo));
}

#[test]
fn capture_without_a_claim_sells_nothing() {
    assert_eq!(Play::authorizing().at(mins(2), captured()), Err(Refusal::NothingToDo));
    assert_eq!(Play::waiting_for_buyer().at(mins(3), captured()), Err(Refusal::NothingToDo));
}

#[test]
fn failed_capture_during_the_lock_ends_the_claim() {
    let mut play = Play::capturing_since(mins(2));
    play.at(mins(3), capture_failed()).unwrap();
    assert!(!play.order(1).is_capturing());
    assert!(play.reversal(charge(1)).is_some());
    play.at(mins(4), pay(1, 2, "b")).expect("another attempt may follow");
}

#[test]
fn failed_capture_after_unlocks_at_ends_the_lock() {
    let mut play = Play::capturing_since(mins(14));
    let decision = play.at(mins(15), capture_failed()).unwrap();
    assert_eq!(names(&decision), ["OrderExpired", "TicketUpdated"]);
    assert!(play.is_available());
}

#[test]
fn voided_charge_of_a_lost_lock_fails_with_lock_lost() {
    let mut play = Play::waiting_for_buyer();
    play.at(mins(15), passed(1)).unwrap();
    let decision = play.reversed(charge(1), None, mins(16)).unwrap();
    assert_eq!(names(&decision), ["ChargeFailed"]);
    let charge = play.charge(charge(1));
    assert_eq!(charge.failure().map(|failure| failure.code.as_str()), Some("lock_lost"));
    assert_eq!((charge.status(), charge.refund()), (ChargeStatus::Failed, None));
}

#[test]
fn captured_charge_of_a_lost_lock_fails_with_its_refund() {
    let mut play = Play::capturing_since(mins(14));
    play.at(mins(16), passed(1)).unwrap();
    let refund = RefundId::new("re_1");
    let decision = play.reversed(charge(1), Some(&refund), mins(17)).unwrap();
    assert_eq!(names(&decision), ["ChargeFailed", "ChargeRefunded"]);
    assert!(decision.events.iter().all(|event| match event {
        DomainEvent::ChargeFailed { charge } | DomainEvent::ChargeRefunded { charge } =>
            charge.refund() == Some(&refund),
        _ => false,
    }));
    let charge = play.charge(charge(1));
    assert_eq!(
        (charge.status(), charge.failure()),
        (ChargeStatus::Failed, Some(&ChargeFailure::lock_lost()))
    );
}

#[test]
fn reversal_is_recorded_once() {
    let mut play = Play::waiting_for_buyer();
    assert_eq!(
        play.reversed(charge(1), None, mins(3)),
        Err(Refusal::NothingToDo),
        "the charge is not Reversing"
    );
    play.at(mins(3), cancel(1, BUYER)).unwrap();
    play.reversed(charge(1), None, mins(4)).unwrap();
    assert_eq!(play.reversed(charge(1), None, mins(5)), Err(Refusal::NothingToDo));
}

#[test]
fn reversal_is_recorded_while_another_order_holds_the_ticket() {
    let mut play = Play::waiting_for_buyer();
    play.at(mins(15), passed(1)).unwrap();
    play.at(mins(16), lock(2, OTHER)).unwrap();
    play.reversed(charge(1), None, mins(17)).unwrap();
    assert_eq!(play.sale.order.as_ref().map(|order| order.id), Some(order(2)));
}

#[test]
fn processor_answers_about_a_reversing_charge_change_nothing() {
    let mut play = Play::authorizing();
    play.at(mins(15), passed(1)).unwrap();
    let action = TicketCommand::ActionRequired { charge: charge(1), payment: payment(1) };
    for late in [
        authorized(1),
        declined(1),
        action,
        captured(),
        capture_failed(),
        TicketCommand::TokenRefused { charge: charge(1) },
    ] {
        assert_eq!(play.at(mins(16), late), Err(Refusal::NothingToDo));
    }
}

#[test]
fn charge_without_a_lock_can_be_abandoned_once() {
    let play = Play::authorizing();
    let decision =
        abandon_charge(play.charge(charge(1)), ChargeFailure::lock_lost(), mins(2)).unwrap();
    let [abandoned] = decision.charges.as_slice() else { panic!("one charge, not {decision:?}") };
    assert_eq!(
        (&abandoned.state, abandoned.version),
        (&ChargeState::Reversing { payment: None, failure: ChargeFailure::lock_lost() }, 1)
    );
    assert_eq!(
        abandon_charge(abandoned, ChargeFailure::lock_lost(), mins(3)),
        Err(Refusal::NothingToDo)
    );
}

#[test]
fn later_refund_is_recorded_and_reported_once() {
    let mut play = Play::waiting_for_buyer();
    play.at(mins(3), cancel(1, BUYER)).unwrap();
    assert_eq!(
        refunded_later(play.charge(charge(1)), &RefundId::new("re_1"), mins(4)),
        Err(Refusal::NothingToDo),
        "the charge has not Failed yet"
    );
    play.reversed(charge(1), None, mins(4)).unwrap();
    let first = refunded_later(play.charge(charge(1)), &RefundId::new("re_1"), mins(5)).unwrap();
    assert_eq!(names(&first), ["ChargeRefunded"]);
    let refunded = &first.charges[0];
    assert_eq!(
        (refunded.version, refunded.refund()),
        (play.charge(charge(1)).version + 1, Some(&RefundId::new("re_1")))
    );
    assert_eq!(
        refunded_later(refunded, &RefundId::new("re_1"), mins(6)),
        Err(Refusal::NothingToDo)
    );
    let second = refunded_later(refunded, &RefundId::new("re_2"), mins(6)).unwrap();
    assert_eq!(
        (names(&second), second.charges[0].refund()),
        (Vec::new(), Some(&RefundId::new("re_2")))
    );
}
