//! The public form of a ticket.

use serde::Serialize;

use super::{TicketDetailsView, WireTime};
use crate::domain::{Currency, OrderId, Ticket, TicketId, TicketStatus, UserId, Version};

/// A ticket that a seller offers. It does not show the buyer who holds its lock.
#[derive(Debug, Clone, Copy, Serialize, utoipa::ToSchema)]
#[schema(as = Ticket)]
#[serde(rename_all = "camelCase")]
pub struct TicketView<'a> {
    #[schema(value_type = String, format = "uuid")]
    pub id: TicketId,
    #[serde(flatten)]
    #[schema(inline)]
    pub details: TicketDetailsView<'a>,
    #[schema(inline)]
    pub currency: CurrencyView,
    /// The seller.
    #[schema(value_type = String, format = "uuid")]
    pub user_id: UserId,
    /// The order that holds the ticket's lock, or bought the ticket; null if there is none.
    #[schema(value_type = Option<String>, format = "uuid", required = true)]
    pub order_id: Option<OrderId>,
    #[schema(inline)]
    pub status: TicketStatusView,
    /// Time at which the lock ends, unless the order is cancelled earlier or a payment is being
    /// captured; null unless the ticket is Locked.
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    pub unlocks_at: Option<WireTime>,
    /// 0 for a new ticket; each change adds one.
    #[schema(value_type = u64)]
    pub version: Version,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: WireTime,
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: WireTime,
}

/// The status of a ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = TicketStatus)]
pub enum TicketStatusView {
    Available,
    Locked,
    Sold,
}

/// The currency's ISO 4217 code, in lower case as in Stripe's API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = Currency)]
#[serde(rename_all = "lowercase")]
pub enum CurrencyView {
    Usd,
}

impl From<TicketStatus> for TicketStatusView {
    fn from(status: TicketStatus) -> Self {
        match status {
            TicketStatus::Available => Self::Available,
            TicketStatus::Locked => Self::Locked,
            TicketStatus::Sold => Self::Sold,
        }
    }
}

impl From<Currency> for CurrencyView {
    fn from(currency: Currency) -> Self {
        match currency {
            Currency::Usd => Self::Usd,
        }
    }
}

impl<'a> TicketView<'a> {
    /// Returns the public form of a ticket; `None` for a ticket that was taken off sale, which is
    /// not shown any more.
    pub fn of(ticket: &'a Ticket) -> Option<Self> {
        Some(Self {
            id: ticket.id,
            details: (&ticket.details).into(),
            currency: ticket.currency.into(),
            user_id: ticket.seller,
            order_id: ticket.order(),
            status: ticket.status()?.into(),
            unlocks_at: ticket.lock().map(|lock| WireTime(lock.unlocks_at)),
            version: ticket.version,
            created_at: WireTime(ticket.created_at),
            updated_at: WireTime(ticket.updated_at),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{json, to_value};

    use super::*;
    use crate::{
        domain::{Lock, ReplicaName, TicketState, Timestamp},
        wire::samples,
    };

    #[test]
    fn available_ticket_has_all_public_members() {
        let ticket = samples::ticket();
        assert_eq!(
            to_value(TicketView::of(&ticket)).expect("JSON"),
            samples::with_details(
                json!({
                    "id": "01990000-0000-7000-8000-000000000001", "currency": "usd",
                    "userId": "01990000-0000-7000-8000-000000000002", "orderId": null, "status": "Available", "unlocksAt": null,
                    "version": 4, "createdAt": "2026-09-01T12:33:56.789Z", "updatedAt": "2026-09-01T12:34:56.789Z",
                }),
                &ticket.details
            )
        );
    }

    #[test]
    fn locked_ticket_shows_its_order_and_unlock_time_but_not_its_buyer() {
        let lock = Lock {
            order: samples::order_id(),
            buyer: samples::buyer(),
            unlocks_at: Timestamp(samples::NOW.0 + 900_000),
            replica: ReplicaName::new("r1"),
        };
        let ticket =
            Ticket { state: TicketState::Locked { lock: Box::new(lock) }, ..samples::ticket() };
        let text = serde_json::to_string(&TicketView::of(&ticket)).expect("JSON");
        let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(
            (&value["status"], &value["orderId"], &value["unlocksAt"]),
            (&json!("Locked"), &json!(samples::order_id()), &json!("2026-09-01T12:49:56.789Z"))
        );
        assert!(!text.contains(&samples::buyer().to_string()) && !text.contains("r1"), "{text}");
    }

    #[test]
    fn sold_ticket_shows_its_order() {
        let ticket =
            Ticket { state: TicketState::Sold { order: samples::order_id() }, ..samples::ticket() };
        let value = to_value(TicketView::of(&ticket)).expect("JSON");
        assert_eq!(
            (&value["status"], &value["orderId"], &value["unlocksAt"]),
            (&json!("Sold"), &json!(samples::order_id()), &json!(null))
        );
    }

    #[test]
    fn deleted_ticket_has_no_view() {
        assert!(
            TicketView::of(&Ticket { state: TicketState::Deleted, ..samples::ticket() }).is_none()
        );
    }

    #[test]
    fn ticket_schema_requires_the_serialized_members() {
        let ticket = samples::ticket();
        let view = TicketView::of(&ticket).expect("the ticket is not deleted");
        let schema = samples::checked_schema(&view);
        assert_eq!(schema["properties"]["status"]["enum"], json!(["Available", "Locked", "Sold"]));
        assert_eq!(schema["properties"]["currency"]["enum"], json!(["usd"]));
        assert_eq!(schema["properties"]["unlocksAt"]["type"], json!(["string", "null"]));
        assert_eq!(schema["properties"]["createdAt"]["format"], json!("date-time"));
        assert_eq!(schema["properties"]["price"]["maximum"], json!(999_999.99));
    }
}
