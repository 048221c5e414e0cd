//! Sample events.

use gittix::domain::{
    DomainEvent, Email, Order, OrderId, OrderState, PublicUser, SessionDigest, Ticket, TicketId,
    TicketSnapshot, Timestamp, UserId, samples,
};
use uuid::Uuid;

/// 2026-09-01T12:34:56.789Z.
pub const NOW: Timestamp = Timestamp(1_788_266_096_789);

pub fn ticket_id(n: u64) -> TicketId {
    TicketId::new(Uuid::from_u128(0x7000 + u128::from(n)))
}

pub fn user_id(n: u64) -> UserId {
    UserId::new(Uuid::from_u128(0x9000 + u128::from(n)))
}

pub fn session(name: &str) -> SessionDigest {
    SessionDigest::new(name.to_owned())
}

pub fn ticket(n: u64, version: u64) -> Ticket {
    Ticket {
        id: ticket_id(n),
        seller: user_id(0),
        details: samples::details(&"Long title ".repeat(15)),
        version,
        created_at: NOW,
        updated_at: NOW,
        ..samples::ticket()
    }
}

pub fn updated(n: u64, version: u64) -> DomainEvent {
    DomainEvent::TicketUpdated { ticket: ticket(n, version) }
}

pub fn order(buyer: u64, ticket_n: u64) -> Order {
    let ticket = ticket(ticket_n, 1);
    Order {
        id: OrderId::new(Uuid::from_u128(0x8000 + u128::from(ticket_n))),
        buyer: user_id(buyer),
        state: OrderState::Created,
        ticket: TicketSnapshot::from(&ticket),
        price: ticket.details.price,
        currency: ticket.currency,
        expires_at: Timestamp(NOW.0 + 600_000),
        unlocks_at: Timestamp(NOW.0 + 900_000),
        declines: 0,
        version: 0,
        created_at: NOW,
        updated_at: NOW,
    }
}

pub fn public_user(user: u64) -> PublicUser {
    PublicUser {
        id: user_id(user),
        email: Email::parse("bob@example.com").expect("an address"),
        email_verified: false,
        pending_email: None,
    }
}
