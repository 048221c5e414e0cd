//! Sample values for the tests of this project. A test names the fields that it is about, and takes
//! the rest from a sample: `Charge { state, ..samples::charge() }`.

use uuid::Uuid;

use crate::{
    Charge, ChargeFailure, ChargeId, ChargeState, Currency, Email, Money, OrderId, ProcessorName,
    Ticket, TicketDetails, TicketId, TicketState, Timestamp, Title, TokenDigest, User, UserId,
};

/// Returns what a seller says about a ticket of 20 USD.
///
/// # Panics
/// If the title is not valid.
pub fn details(title: &str) -> TicketDetails {
    let price = Money::from_minor(2000).expect("the amount is a valid price");
    TicketDetails { title: Title::parse(title).expect("a valid title"), price }
}

/// Returns a ticket that was just put on sale for 20 USD. Ticket and seller have the ids 3 and 5.
pub fn ticket() -> Ticket {
    Ticket {
        id: TicketId::new(Uuid::from_u128(3)),
        seller: UserId::new(Uuid::from_u128(5)),
        details: details("Front row"),
        currency: Currency::Usd,
        state: TicketState::Available,
        version: 0,
        details_version: 0,
        created_at: Timestamp(0),
        updated_at: Timestamp(0),
        lapses: Vec::new(),
    }
}

/// Returns the state of a charge that failed, and of which nothing was captured.
pub fn failed(failure: ChargeFailure) -> ChargeState {
    ChargeState::Failed { payment: None, failure, refund: None }
}

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
        state: ChargeState::Authorizing { payment: None },
        amount: Money::from_minor(1999).expect("the amount is a valid price"),
        currency: Currency::Usd,
        token: TokenDigest::new("digest"),
        processor: Some(ProcessorName::new("sandbox")),
        first_attempt: true,
        version: 0,
        created_at: Timestamp(0),
        updated_at: Timestamp(0),
    }
}

/// Returns a new user with an unconfirmed address, `ann@example.com`. The user has the id 4.
///
/// # Panics
/// Never: the address is valid.
pub fn user() -> User {
    User {
        id: UserId::new(Uuid::from_u128(4)),
        email: Email::parse("ann@example.com").expect("the address is valid"),
        email_verified: false,
        pending_email: None,
        password_hash: "$argon2id$".into(),
        tokens: Vec::new(),
        version: 0,
        created_at: Timestamp(0),
        updated_at: Timestamp(0),
    }
}
