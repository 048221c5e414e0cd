//! A catalog that is not what the store is: good enough to try a grant by, never to refuse by.

use super::*;
use crate::{
    domain::{Sale, TicketCommand, decide},
    store::Commit,
};

impl Market {
    /// A ticket on sale, of which the catalog shows something else.
    async fn misshown(&self, shown: impl FnOnce(Ticket) -> Ticket) -> Ticket {
        let ticket = self.ticket().await;
        self.settle().await;
        assert!(self.catalog.merge(&shown(Ticket { version: ticket.version + 5, ..ticket.clone() })), "it is news");
        ticket
    }
}

#[actix::test]
async fn a_grant_over_a_wrong_copy_is_decided_anew_over_the_stores() {
    let market = Market::open().await;
    let ticket = market.misshown(|ticket| ticket).await;
    let order = market.lock(ticket.id, 0).await.expect("it is free");
    assert_eq!(order.ticket.version, 1, "the version after the store's, not after the catalog's");
    market.check().await;
}

#[actix::test]
async fn nobody_is_refused_by_what_the_catalog_shows() {
    let market = Market::open().await;
    let dearer = Money::from_minor(9_900).expect("a price");
    let ticket = market.misshown(|ticket| Ticket { price: dearer, ..ticket }).await;
    let expected = |price| Expected { price: Some(price), ..Expected::default() };
    let as_expected = market.actors.orders.place(market.buyers[0], ticket.id, expected(ticket.price), None, None).await;
    let order = as_expected.expect("the price is as expected");
    assert_eq!(order.price, ticket.price);
    let other = market.ticket().await;
    let wrong = market.actors.orders.place(market.buyers[1], other.id, expected(dearer), None, None).await;
    assert!(matches!(wrong, Err(ActorError::Refused(Refusal::PriceChanged))), "the store says so, too: {wrong:?}");
    market.check().await;
}

#[actix::test]
async fn title_of_a_wrong_copy_neither_grants_nor_refuses_a_lock() {
    let market = Market::open().await;
    let seen_at = |version| Expected { version: Some(version), ..Expected::default() };
    // The catalog shows a title that was changed at a version that the store does not have.
    let ticket = market.misshown(|ticket| Ticket { details_version: ticket.version, ..ticket }).await;
    let granted = market.actors.orders.place(market.buyers[0], ticket.id, seen_at(ticket.version), None, None).await;
    assert_eq!(granted.expect("the store has that version").ticket.version, 1);
    // And here one that seems unchanged while the store has another. No actor has it in memory: the edit is written past them.
    let edited = market.ticket().await;
    let title = Title::parse("Back row").expect("a title");
    let edit = TicketCommand::Edit { by: market.seller, title, price: edited.price, if_match: None };
    let now = market.clock.now();
    let decision = decide(&Sale::unlocked(edited.clone()), &edit, &Policy::default(), now).expect("allowed");
    market.store.commit(Commit::of(decision, now)).await.expect("committed");
    market.settle().await;
    assert!(market.catalog.merge(&Ticket { version: 9, ..edited.clone() }), "it is news");
    let refused = market.actors.orders.place(market.buyers[1], edited.id, seen_at(0), None, None).await;
    assert!(matches!(refused, Err(ActorError::Refused(Refusal::TicketChanged))), "{refused:?}");
    market.check().await;
}
