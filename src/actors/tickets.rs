//! The ticket registry.

use crate::{
    actors::Fault,
    domain::{IdempotencyKey, Money, Ticket, TicketId, Title, UserId, Version},
};

/// A handle on the ticket registry.
#[derive(Debug, Clone)]
pub struct Tickets {}

impl Tickets {
    /// Puts a ticket on sale.
    pub async fn list(&self, _seller: UserId, _title: Title, _price: Money, _key: Option<IdempotencyKey>) -> Result<Ticket, Fault> {
        unimplemented!()
    }

    /// The present state, as the store has it. [`Fault::NotFound`] for a deleted one.
    pub async fn get(&self, _id: TicketId) -> Result<Ticket, Fault> {
        unimplemented!()
    }

    pub async fn edit(
        &self,
        _id: TicketId,
        _by: UserId,
        _title: Title,
        _price: Money,
        _if_match: Option<Version>,
        _key: Option<IdempotencyKey>,
    ) -> Result<Ticket, Fault> {
        unimplemented!()
    }

    pub async fn delist(&self, _id: TicketId, _by: UserId, _if_match: Option<Version>, _key: Option<IdempotencyKey>) -> Result<(), Fault> {
        unimplemented!()
    }
}
