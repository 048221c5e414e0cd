//! An order as its buyer sees it.

use serde::Serialize;

use super::{Instant, Price};
use crate::domain::{CancelReason, Order, OrderId, OrderStatus, TicketId, TicketSnapshot, Timestamp, UserId, Version};

/// One buyer's attempt to get one ticket.
#[derive(Debug, Clone, Copy, Serialize, utoipa::ToSchema)]
#[schema(as = Order)]
#[serde(rename_all = "camelCase")]
pub struct OrderView<'a> {
    #[schema(value_type = String, format = "uuid")]
    pub id: OrderId,
    /// The buyer.
    #[schema(value_type = String, format = "uuid")]
    pub user_id: UserId,
    #[schema(inline)]
    pub status: OrderStatusView,
    /// Null unless it is Cancelled.
    #[schema(inline, required = true)]
    pub cancel_reason: Option<CancelReasonView>,
    #[schema(value_type = String, format = "uuid")]
    pub ticket_id: TicketId,
    #[schema(inline)]
    pub ticket: TicketCopyView<'a>,
    /// The ticket's price when it was locked: what is charged.
    #[schema(value_type = f64, minimum = 0.5, maximum = 999_999.99)]
    pub price: Price,
    /// When the time to enter payment ends.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Instant,
    /// Whole seconds until `expiresAt`, 0 when over; in a socket frame relative to its `at`.
    pub expires_in_seconds: u64,
    /// When the lock ends.
    #[schema(value_type = String, format = DateTime)]
    pub unlocks_at: Instant,
    /// 0 at first; every change adds one.
    #[schema(value_type = u64)]
    pub version: Version,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Instant,
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Instant,
}

/// The ticket as it was when it was locked.
#[derive(Debug, Clone, Copy, Serialize, utoipa::ToSchema)]
#[schema(as = TicketSnapshot)]
pub struct TicketCopyView<'a> {
    #[schema(value_type = String, format = "uuid")]
    pub id: TicketId,
    #[schema(min_length = 1, max_length = 200)]
    pub title: &'a str,
    #[schema(value_type = f64, minimum = 0.5, maximum = 999_999.99)]
    pub price: Price,
    #[schema(value_type = u64)]
    pub version: Version,
}

/// How far the order got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = OrderStatus)]
pub enum OrderStatusView {
    Created,
    AwaitingPayment,
    Completed,
    Cancelled,
}

/// Why an order is Cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = CancelReason)]
#[serde(rename_all = "camelCase")]
pub enum CancelReasonView {
    Expired,
    Buyer,
}

impl From<OrderStatus> for OrderStatusView {
    fn from(status: OrderStatus) -> Self {
        match status {
            OrderStatus::Created => Self::Created,
            OrderStatus::AwaitingPayment => Self::AwaitingPayment,
            OrderStatus::Completed => Self::Completed,
            OrderStatus::Cancelled => Self::Cancelled,
        }
    }
}

impl From<CancelReason> for CancelReasonView {
    fn from(reason: CancelReason) -> Self {
        match reason {
            CancelReason::Expired => Self::Expired,
            CancelReason::Buyer => Self::Buyer,
        }
    }
}

impl<'a> TicketCopyView<'a> {
    fn of(copy: &'a TicketSnapshot) -> Self {
        Self { id: copy.id, title: copy.title.as_str(), price: Price(copy.price), version: copy.version }
    }
}

impl<'a> OrderView<'a> {
    /// The order at `now`, which only `expiresInSeconds` depends on.
    pub fn of(order: &'a Order, now: Timestamp) -> Self {
        Self {
            id: order.id,
            user_id: order.buyer,
            status: order.status.into(),
            cancel_reason: order.cancel_reason.map(CancelReasonView::from),
            ticket_id: order.ticket.id,
            ticket: TicketCopyView::of(&order.ticket),
            price: Price(order.price),
            expires_at: Instant(order.expires_at),
            expires_in_seconds: (order.expires_at - now).whole_secs_left(),
            unlocks_at: Instant(order.unlocks_at),
            version: order.version,
            created_at: Instant(order.created_at),
            updated_at: Instant(order.updated_at),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{json, to_value};

    use super::*;
    use crate::{
        domain::{Currency, Millis},
        wire::samples,
    };

    fn order() -> Order {
        Order {
            id: samples::order_id(),
            buyer: samples::buyer(),
            status: OrderStatus::Created,
            cancel_reason: None,
            ticket: TicketSnapshot::from(&samples::ticket()),
            price: samples::money(2000),
            currency: Currency::Usd,
            expires_at: samples::NOW + Millis::from_mins(10),
            unlocks_at: samples::NOW + Millis::from_mins(15),
            settling: None,
            declines: 0,
            version: 0,
            created_at: samples::NOW,
            updated_at: samples::NOW,
        }
    }

    #[test]
    fn an_order_has_every_member_and_nothing_of_the_settlement() {
        let order = order();
        assert_eq!(
            to_value(OrderView::of(&order, samples::NOW)).expect("JSON"),
            json!({
                "id": "01990000-0000-7000-8000-000000000003", "userId": "01990000-0000-7000-8000-000000000009", "status": "Created",
                "cancelReason": null, "ticketId": "01990000-0000-7000-8000-000000000001",
                "ticket": {"id": "01990000-0000-7000-8000-000000000001", "title": "Café \"del\" Mar", "price": 19.99, "version": 4},
                "price": 20, "expiresAt": "2026-09-01T12:44:56.789Z", "expiresInSeconds": 600, "unlocksAt": "2026-09-01T12:49:56.789Z",
                "version": 0, "createdAt": "2026-09-01T12:34:56.789Z", "updatedAt": "2026-09-01T12:34:56.789Z",
            })
        );
    }

    #[test]
    fn the_seconds_left_are_whole_and_never_negative() {
        let order = order();
        let left = |ms: i64| OrderView::of(&order, order.expires_at - Millis(ms)).expires_in_seconds;
        assert_eq!([left(600_000), left(599_001), left(1), left(0), left(-5000)], [600, 600, 1, 0, 0]);
    }

    #[test]
    fn the_reason_of_a_cancelled_order_is_spelled_as_in_the_contract() {
        for (reason, text) in [(CancelReason::Expired, "expired"), (CancelReason::Buyer, "buyer")] {
            let order = Order { status: OrderStatus::Cancelled, cancel_reason: Some(reason), ..order() };
            let value = to_value(OrderView::of(&order, samples::NOW)).expect("JSON");
            assert_eq!((&value["status"], &value["cancelReason"]), (&json!("Cancelled"), &json!(text)));
        }
    }

    #[test]
    fn the_schema_names_the_members_that_are_written() {
        let schema = to_value(<OrderView<'static> as utoipa::PartialSchema>::schema()).expect("JSON");
        let order = order();
        let value = to_value(OrderView::of(&order, samples::NOW)).expect("JSON");
        let written: Vec<_> = value.as_object().expect("an object").keys().cloned().map(serde_json::Value::from).collect();
        let required = schema["required"].as_array().expect("a list");
        assert!(written.iter().all(|member| required.contains(member)) && required.len() == written.len(), "{schema:#}");
        let text = schema.to_string();
        assert!(!text.contains("$ref") && text.contains(r#""expired","buyer""#), "{schema:#}");
    }
}
