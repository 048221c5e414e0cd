//! The order of refusals, and the ownership rules.

use super::*;

fn wish(n: u128, buyer: UserId, expected: u64) -> TicketCommand {
    TicketCommand::Lock {
        order: order(n),
        buyer,
        expected_price: Some(price(expected)),
        expected_version: None,
        replica: ReplicaName::new("a"),
    }
}

fn edit(by: UserId, if_match: Option<Version>) -> TicketCommand {
    TicketCommand::Edit { by, details: details("Back row", 1500), if_match: condition(if_match) }
}

fn delist(by: UserId, if_match: Option<Version>) -> TicketCommand {
    TicketCommand::Delist { by, if_match: condition(if_match) }
}

fn sold() -> Play {
    let mut play = Play::capturing_since(mins(2));
    play.at(mins(3), TicketCommand::PaymentCaptured { charge: charge(1) })
        .expect("the capture is in time");
    play
}

fn deleted() -> Play {
    let mut play = Play::locked();
    play.at(mins(1), cancel(1, BUYER)).unwrap();
    play.at(mins(2), delist(SELLER, None)).unwrap();
    play
}

#[test]
fn lock_is_refused_by_404_then_own_ticket_then_sold_or_locked_then_price_then_wait() {
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
    assert_eq!(
        waiting.at(T0, wish(9, BUYER, 2000)),
        Err(Refusal::TooManyLocks { retry_after: Millis::from_mins(15) })
    );
}

#[test]
fn lock_with_an_outdated_price_is_refused() {
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
        assert_eq!(
            Play::locked().at(mins(4), command(SELLER, Some(1))),
            Err(Refusal::TicketLocked)
        );
    }
}

#[test]
fn cancellation_and_payment_by_other_users_are_refused() {
    let mut play = Play::locked();
    assert_eq!(play.at(mins(1), cancel(1, OTHER)), Err(Refusal::NotOwner));
    let theirs = TicketCommand::SubmitPayment {
        order: order(1),
        by: OTHER,
        charge: charge(1),
        token: token("a"),
        processor: processor(),
    };
    assert_eq!(play.at(mins(1), theirs), Err(Refusal::NotOwner));
}

#[test]
fn cancellation_of_an_expired_order_changes_nothing() {
    let mut play = Play::locked();
    play.at(mins(10), passed(1)).unwrap();
    assert_eq!(play.at(mins(11), cancel(1, BUYER)), Err(Refusal::NothingToDo));
}

#[test]
fn commands_about_an_order_without_a_lock_are_refused_as_order_gone() {
    for mut play in [sold(), deleted()] {
        assert_eq!(play.at(mins(5), cancel(1, BUYER)), Err(Refusal::OrderGone));
        assert_eq!(play.at(mins(5), pay(1, 9, "z")), Err(Refusal::OrderGone));
        assert_eq!(play.at(mins(5), passed(1)), Err(Refusal::NothingToDo));
        assert_eq!(play.at(mins(5), authorized(1)), Err(Refusal::NothingToDo));
    }
}

#[test]
fn deleted_ticket_keeps_its_version_and_has_no_status() {
    let play = deleted();
    assert_eq!(
        (play.sale.ticket.status(), play.sale.ticket.version, play.sale.ticket.order()),
        (None, 3, None)
    );
}

#[test]
fn fence_of_a_deleted_ticket_reports_the_deletion() {
    let decision = deleted().at(mins(3), TicketCommand::Fence).expect("a fence is always accepted");
    assert_eq!(names(&decision), ["TicketDeleted"]);
}

/// A lock command by a buyer who saw the ticket at `version`.
fn as_seen(n: u128, expected_price: Option<u64>, version: Version) -> TicketCommand {
    let (expected_price, expected_version) = (expected_price.map(price), Some(version));
    TicketCommand::Lock {
        order: order(n),
        buyer: BUYER,
        expected_price,
        expected_version,
        replica: ReplicaName::new("a"),
    }
}

#[test]
fn lock_after_title_changed_is_refused_after_price_and_before_wait() {
    let mut play = Play::new();
    for n in 1..=3 {
        play.at(T0, lock(n, BUYER)).unwrap();
        play.at(T0, cancel(n, BUYER)).unwrap();
    }
    play.at(T0, edit(SELLER, None)).unwrap();
    assert_eq!(play.sale.ticket.version, 7);
    assert_eq!(play.at(T0, as_seen(9, Some(2000), 6)), Err(Refusal::PriceChanged));
    assert_eq!(play.at(T0, as_seen(9, Some(1500), 6)), Err(Refusal::TicketChanged));
    assert_eq!(play.at(T0, as_seen(9, None, 0)), Err(Refusal::TicketChanged));
    assert_eq!(
        play.at(T0, as_seen(9, None, 8)),
        Err(Refusal::TicketChanged),
        "a version that does not exist yet"
    );
    assert_eq!(
        play.at(T0, as_seen(9, None, 7)),
        Err(Refusal::TooManyLocks { retry_after: Millis::from_mins(15) })
    );
    assert_eq!(Play::locked().at(mins(1), as_seen(9, None, 9)), Err(Refusal::TicketLocked));
    assert_eq!(sold().at(mins(4), as_seen(9, None, 9)), Err(Refusal::TicketSold));
}

#[test]
fn lock_with_version_that_differs_by_locks_and_prices_alone_is_granted() {
    let mut play = Play::new();
    let (same, seen) = (play.sale.ticket.details.clone(), play.sale.ticket.version);
    play.at(T0, lock(1, OTHER)).unwrap();
    play.at(T0, cancel(1, OTHER)).unwrap();
    play.at(
        T0,
        TicketCommand::Edit {
            by: SELLER,
            details: TicketDetails { price: price(1500), ..same },
            if_match: VersionCondition::Any,
        },
    )
    .unwrap();
    play.at(T0, TicketCommand::Fence).unwrap();
    assert_eq!((play.sale.ticket.version, play.sale.ticket.details_version), (4, 0));
    play.at(T0, as_seen(2, None, seen)).expect("the title is the one that the buyer saw");
}

#[test]
fn title_changed_back_counts_as_changed() {
    let mut play = Play::new();
    let first = play.sale.ticket.details.clone();
    play.at(T0, edit(SELLER, None)).unwrap();
    play.at(
        T0,
        TicketCommand::Edit {
            by: SELLER,
            details: TicketDetails { price: price(2000), ..first },
            if_match: VersionCondition::Any,
        },
    )
    .unwrap();
    assert_eq!(play.at(T0, as_seen(1, None, 0)), Err(Refusal::TicketChanged));
    play.at(T0, as_seen(1, None, 2)).expect("the present version is accepted");
}
