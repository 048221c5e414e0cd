//! Sample values for the tests of this project. A test names the fields that it is about, and takes
//! the rest from a sample: `Charge { step, ..samples::charge() }`.

use uuid::Uuid;

use crate::{
    Charge, ChargeId, ChargeStatus, ChargeStep, Currency, Money, OrderId, TicketId, Timestamp,
    TokenDigest, UserId,
};

/// Returns a new charge of 19.99 USD. Charge, order, ticket and buyer have the ids 1 to 4.
///
/// # Panics
/// Never: the amount is a valid price.
pub fn charge() -> Charge {
    Charge {
        id: ChargeId::new(Uuid::from_u128(1)),
        order: OrderId::new(Uuid::from_u128(2)),
        ticket: TicketId::new(Uuid::from_u128(3)),
        buyer: UserId::new(Uuid::from_u128(4)),
        status: ChargeStatus::Created,
        step: ChargeStep::Authorizing,
        amount: Money::from_minor(1999).expect("the amount is a valid price"),
        currency: Currency::Usd,
        token: TokenDigest::new("digest"),
        first_attempt: true,
        stripe_id: None,
        stripe_refund_id: None,
        failure: None,
        version: 0,
        created_at: Timestamp(0),
        updated_at: Timestamp(0),
    }
}
