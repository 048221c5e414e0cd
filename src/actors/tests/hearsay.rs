//! A catalog that is not what the store is: good enough to try a grant by, never to refuse by.

use super::*;

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
    let order = market.actors.orders.place(market.buyers[0], ticket.id, Some(ticket.price), None).await.expect("the price is as expected");
    assert_eq!(order.price, ticket.price);
    let other = market.ticket().await;
    let wrong = market.actors.orders.place(market.buyers[1], other.id, Some(dearer), None).await;
    assert!(matches!(wrong, Err(Fault::Refused(Refusal::PriceChanged))), "the store says so, too: {wrong:?}");
    market.check().await;
}
