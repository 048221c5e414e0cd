//! The order registry: placing, paying and cancelling orders.

use crate::{
    actors::Fault,
    domain::{Charge, ChargeId, IdempotencyKey, Money, Order, OrderId, TicketId, UserId},
    payments::{ClientSecret, PaymentToken},
    store::OrderScope,
};

/// A handle on the order registry.
#[derive(Debug, Clone)]
pub struct Orders {}

/// A charge as it stands after a request to pay: Completed, Failed, or Created (with a secret if the buyer must act).
#[derive(Debug, Clone)]
pub struct Paid {
    pub charge: Charge,
    pub client_secret: Option<ClientSecret>,
}

impl Orders {
    /// Locks a ticket for a buyer. A ticket that is known to be locked or sold is refused from memory.
    pub async fn place(
        &self,
        _buyer: UserId,
        _ticket: TicketId,
        _expected_price: Option<Money>,
        _key: Option<IdempotencyKey>,
    ) -> Result<Order, Fault> {
        unimplemented!()
    }

    /// [`Fault::NotFound`], or `Refused(NotOwner)`.
    pub async fn get(&self, _id: OrderId, _by: UserId) -> Result<Order, Fault> {
        unimplemented!()
    }

    /// By id ascending.
    pub async fn list(&self, _buyer: UserId, _scope: OrderScope, _after: Option<OrderId>, _limit: usize) -> Result<Vec<Order>, Fault> {
        unimplemented!()
    }

    /// Gives the lock up. Cancelling what is Cancelled already is fine.
    pub async fn cancel(&self, _id: OrderId, _by: UserId, _key: Option<IdempotencyKey>) -> Result<(), Fault> {
        unimplemented!()
    }

    /// Authorize, claim, capture; answers as soon as the charge is final or waits for the buyer or for the processor.
    pub async fn pay(&self, _order: OrderId, _by: UserId, _token: PaymentToken, _key: Option<IdempotencyKey>) -> Result<Paid, Fault> {
        unimplemented!()
    }

    /// After the buyer acted.
    pub async fn confirm(&self, _charge: ChargeId, _by: UserId, _key: Option<IdempotencyKey>) -> Result<Paid, Fault> {
        unimplemented!()
    }

    /// The present state, with a fresh client secret if the buyer must act.
    pub async fn charge(&self, _id: ChargeId, _by: UserId) -> Result<Paid, Fault> {
        unimplemented!()
    }

    /// An order's charges, by id ascending.
    pub async fn charges(&self, _order: OrderId, _by: UserId) -> Result<Vec<Charge>, Fault> {
        unimplemented!()
    }
}
