//! Which refusal comes first, and whose business is whose.

use super::*;

fn wish(n: u128, buyer: UserId, expected: u64) -> Command {
    Command::Lock { order: order(n), buyer, expected_price: Some(price(expected)), replica: ReplicaName::new("a") }
}

fn edit(by: UserId, if_match: Option<Version>) -> Command {
    Command::Edit { by, title: title("Back row"), price: price(1500), if_match }
}

fn delist(by: UserId, if_match: Option<Version>) -> Command {
    Command::Delist { by, if_match }
}

fn sold() -> Play {
    let mut play = Play::capturing_since(mins(2));
    play.at(mins(3), Command::PaymentCaptured { charge: charge(1) }).expect("captured in time");
    play
}

fn deleted() -> Play {
    let mut play = Play::locked();
    play.at(mins(1), cancel(1, BUYER)).unwrap();
    play.at(mins(2), delist(SELLER, None)).unwrap();
    play
}

#[test]
fn a_lock_is_refused_by_404_then_own_ticket_then_sold_or_locked_then_price_then_wait() {
    assert_eq!(deleted().at(mins(3), wish(2, SELLER, 50)), Err(Refusal::NotFound));
    assert_eq!(sold().at(mins(4), wish(2, SELLER, 50)), Err(Refusal::OwnTicket));
    assert_eq!(Play::locked().at(mins(4), wish(2, SELLER, 50)), Err(Refusal::OwnTicket));
    assert_eq!(sold().at(mins(4), wish(2, OTHER, 50)), Err(Refusal::TicketSold));
    assert_eq!(Play::locked().at(mins(4), wish(2, OTHER, 50)), Err(Refusal::TicketLocked));

    let mut waiting = Play::new();
    for n in 1..=3 {
        waiting.at(T0, lock(n, BUYER)).unwrap();
        waiting.at(T0, cancel(n, BUYER)).unwrap();
    }
    assert_eq!(waiting.at(T0, wish(9, BUYER, 50)), Err(Refusal::PriceChanged));
    assert_eq!(waiting.at(T0, wish(9, BUYER, 2000)), Err(Refusal::TooManyLocks { retry_after: Millis::from_mins(15) }));
}

#[test]
fn the_price_that_a_buyer_saw_is_the_price_they_pay_or_nothing_is_locked() {
    let mut play = Play::new();
    play.at(T0, edit(SELLER, None)).unwrap();
    assert_eq!(play.at(T0, wish(1, BUYER, 2000)), Err(Refusal::PriceChanged));
    play.at(T0, wish(1, BUYER, 1500)).unwrap();
    assert_eq!(play.order(1).price, price(1500));
}

#[test]
fn edit_and_delist_are_refused_by_404_then_403_then_412_then_409() {
    for command in [edit, delist] {
        assert_eq!(deleted().at(mins(4), command(OTHER, Some(99))), Err(Refusal::NotFound));
        assert_eq!(sold().at(mins(4), command(OTHER, Some(99))), Err(Refusal::NotOwner));
        assert_eq!(sold().at(mins(4), command(SELLER, Some(99))), Err(Refusal::VersionMismatch));
        assert_eq!(sold().at(mins(4), command(SELLER, None)), Err(Refusal::TicketSold));
        assert_eq!(Play::locked().at(mins(4), command(SELLER, Some(1))), Err(Refusal::TicketLocked));
    }
}

#[test]
fn only_the_buyer_cancels_and_pays() {
    let mut play = Play::locked();
    assert_eq!(play.at(mins(1), cancel(1, OTHER)), Err(Refusal::NotOwner));
    let theirs = Command::SubmitPayment { order: order(1), by: OTHER, charge: charge(1), token: token("a") };
    assert_eq!(play.at(mins(1), theirs), Err(Refusal::NotOwner));
}

#[test]
fn cancelling_what_lapsed_already_is_nothing_to_do() {
    let mut play = Play::locked();
    play.at(mins(10), passed(1)).unwrap();
    assert_eq!(play.at(mins(11), cancel(1, BUYER)), Err(Refusal::Stale));
}

#[test]
fn an_order_that_holds_no_ticket_any_more_is_told_by_its_own_document() {
    for mut play in [sold(), deleted()] {
        assert_eq!(play.at(mins(5), cancel(1, BUYER)), Err(Refusal::OrderGone));
        assert_eq!(play.at(mins(5), pay(1, 9, "z")), Err(Refusal::OrderGone));
        assert_eq!(play.at(mins(5), passed(1)), Err(Refusal::Stale));
        assert_eq!(play.at(mins(5), authorized(1)), Err(Refusal::Stale));
    }
}

#[test]
fn a_deleted_ticket_leaves_a_tombstone_with_its_version_and_no_state() {
    let play = deleted();
    assert_eq!((play.sale.ticket.status(), play.sale.ticket.version, play.sale.ticket.order()), (None, 3, None));
}

#[test]
fn a_fence_over_a_ticket_that_is_gone_tells_that_it_is_gone() {
    let decision = deleted().at(mins(3), Command::Fence).expect("a fence is never refused");
    assert_eq!(names(&decision), ["TicketDeleted"]);
}
