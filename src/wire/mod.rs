//! The public JSON forms of tickets, orders, charges and users in REST answers and in WebSocket
//! frames.
//!
//! Both use the same types, so that the ticket in a frame is byte for byte the ticket in a REST
//! answer. The forms contain nothing internal: no buyer of a ticket, no processor step, no hash.
//! The views borrow the domain's values, and are serialized at once. Each view also defines the
//! schema in the OpenAPI and AsyncAPI documents.

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

/// Values for the tests of the views.
#[cfg(test)]
mod samples {
    use uuid::Uuid;

    use crate::domain::{
        Money, OrderId, Ticket, TicketDetails, TicketId, Timestamp, UserId, samples as domain,
    };

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
            details: TicketDetails { price: money(1999), ..domain::details("Café \"del\" Mar") },
            version: 4,
            created_at: Timestamp(NOW.0 - 60_000),
            updated_at: NOW,
            ..domain::ticket()
        }
    }
}
