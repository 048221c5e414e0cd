//! The public JSON shapes: what tickets, orders, charges and users look like in answers and in WebSocket frames.
//!
//! One rendering for both, so that a frame's ticket is byte for byte the ticket of the REST answer. Nothing internal
//! gets through: no buyer on a ticket, no processor step, no hash. The views borrow from the domain's values and are
//! made to be serialised at once; each is also the schema that the OpenAPI and AsyncAPI documents show.

mod charge;
mod instant;
mod order;
mod price;
mod ticket;
mod user;

pub use charge::{ChargeStatusView, ChargeView, FailureView};
pub use instant::Instant;
pub use order::{CancelReasonView, OrderStatusView, OrderView, TicketCopyView};
pub use price::Price;
pub use ticket::{CurrencyView, TicketStatusView, TicketView};
pub use user::UserView;

/// Values that the tests of the shapes start from.
#[cfg(test)]
mod samples {
    use uuid::Uuid;

    use crate::domain::{Currency, Money, OrderId, Ticket, TicketId, TicketState, Timestamp, Title, UserId};

    /// 2026-09-01T12:34:56.789Z.
    pub const NOW: Timestamp = Timestamp(1_788_266_096_789);

    pub fn uuid(n: u128) -> Uuid {
        Uuid::from_u128(0x0199_0000_0000_7000_8000_0000_0000_0000 + n)
    }

    pub fn order_id() -> OrderId {
        OrderId::new(uuid(3))
    }

    pub fn buyer() -> UserId {
        UserId::new(uuid(9))
    }

    pub fn money(minor: u64) -> Money {
        Money::from_minor(minor).expect("in range")
    }

    pub fn ticket() -> Ticket {
        Ticket {
            id: TicketId::new(uuid(1)),
            seller: UserId::new(uuid(2)),
            title: Title::parse("Café \"del\" Mar").expect("a title"),
            price: money(1999),
            currency: Currency::Usd,
            state: TicketState::Available,
            version: 4,
            details_version: 0,
            created_at: Timestamp(NOW.0 - 60_000),
            updated_at: NOW,
            lapses: Vec::new(),
        }
    }
}
