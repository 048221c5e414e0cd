//! Tests with a catalog that differs from the store: a lock may be tried by it, but a refusal must
//! be based on the store.

use super::*;
use crate::{
    domain::{Sale, TicketCommand, TicketDetails, VersionCondition, decide},
    store::Commit,
};

impl Market {
    /// Returns a ticket on sale whose copy in the catalog is `shown`, with a later version.
    async fn ticket_with_catalog_copy(&self, shown: impl FnOnce(Ticket) -> Ticket) -> Ticket {
        let ticket = self.ticket().await;
        self.run_pending_tasks().await;
        assert!(
            self.catalog.merge(&shown(Ticket { version: ticket.version + 5, ..ticket.clone() })),
            "the version is newer"
        );
        ticket
    }
}

#[actix::test]
async fn grant_by_a_wrong_copy_is_decided_again_by_the_store() {
    let market = Market::open().await;
    let ticket = market.ticket_with_catalog_copy(|ticket| ticket).await;
    let order = market.lock(ticket.id, 0).await.expect("the ticket is free");
    assert_eq!(order.ticket.version, 1, "the version after the store's, not after the catalog's");
    market.check_invariants().await;
}

#[actix::test]
async fn buyer_is_not_refused_by_the_catalog_alone() {
    let market = Market::open().await;
    let dearer = Money::from_minor(9_900).expect("valid price");
    let ticket = market
        .ticket_with_catalog_copy(|ticket| Ticket {
            details: TicketDetails { price: dearer, ..ticket.details },
            ..ticket
        })
        .await;
    let expected = |price| Expected { price: Some(price), ..Expected::default() };
    let as_expected = market
        .actors
        .orders
        .place(market.buyers[0], ticket.id, expected(ticket.details.price), None, None)
        .await;
    let order = as_expected.expect("the price is as expected");
    assert_eq!(order.price, ticket.details.price);
    let other = market.ticket().await;
    let wrong =
        market.actors.orders.place(market.buyers[1], other.id, expected(dearer), None, None).await;
    assert!(
        matches!(wrong, Err(ActorError::Refused(Refusal::PriceChanged))),
        "the price differs from the store's: {wrong:?}"
    );
    market.check_invariants().await;
}

#[actix::test]
async fn title_of_a_wrong_copy_neither_grants_nor_refuses_a_lock() {
    let market = Market::open().await;
    let seen_at = |version| Expected { version: Some(version), ..Expected::default() };
    // The catalog shows a title that was changed at a version that the store does not have.
    let ticket = market
        .ticket_with_catalog_copy(|ticket| Ticket { details_version: ticket.version, ..ticket })
        .await;
    let granted = market
        .actors
        .orders
        .place(market.buyers[0], ticket.id, seen_at(ticket.version), None, None)
        .await;
    assert_eq!(granted.expect("the store has that version").ticket.version, 1);
    // Here the catalog's title seems unchanged, and the store has another. The edit is written
    // directly to the store, so that no actor has it in memory.
    let edited = market.ticket().await;
    let title = Title::parse("Back row").expect("valid title");
    let edit = TicketCommand::Edit {
        by: market.seller,
        details: TicketDetails { title, ..edited.details.clone() },
        if_match: VersionCondition::Any,
    };
    let now = market.clock.now();
    let decision = decide(&Sale::unlocked(edited.clone()), &edit, &Policy::default(), now)
        .expect("the edit is allowed");
    market.store.commit(Commit::of(decision, now)).await.expect("committed");
    market.run_pending_tasks().await;
    assert!(market.catalog.merge(&Ticket { version: 9, ..edited.clone() }), "the version is newer");
    let refused =
        market.actors.orders.place(market.buyers[1], edited.id, seen_at(0), None, None).await;
    assert!(matches!(refused, Err(ActorError::Refused(Refusal::TicketChanged))), "{refused:?}");
    market.check_invariants().await;
}
