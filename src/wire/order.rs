//! The public form of an order, for its buyer.

use serde::Serialize;

use super::{Price, TicketDetailsView, WireTime};
use crate::domain::{
    CancelReason, Order, OrderId, OrderState, OrderStatus, TicketId, TicketSnapshot, Timestamp,
    UserId, Version,
};

/// An order of one buyer for one ticket.
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
    /// The reason of the cancellation; null unless the order is Cancelled.
    #[schema(inline, required = true)]
    pub cancel_reason: Option<CancelReasonView>,
    #[schema(value_type = String, format = "uuid")]
    pub ticket_id: TicketId,
    #[schema(inline)]
    pub ticket: TicketCopyView<'a>,
    /// The ticket's price when it was locked. This amount is charged.
    #[schema(value_type = f64, minimum = 0.5, maximum = 999_999.99)]
    pub price: Price,
    /// Time at which the payment window ends.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: WireTime,
    /// Seconds until `expiresAt`, rounded up; 0 after it. In a WebSocket frame, they are counted
    /// from the frame's `at`.
    pub expires_in_seconds: u64,
    /// Time at which the lock ends, unless the order is cancelled earlier or a payment is being
    /// captured.
    #[schema(value_type = String, format = DateTime)]
    pub unlocks_at: WireTime,
    /// 0 for a new order; each change adds one.
    #[schema(value_type = u64)]
    pub version: Version,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: WireTime,
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: WireTime,
}

/// The ticket at the time when it was locked.
#[derive(Debug, Clone, Copy, Serialize, utoipa::ToSchema)]
#[schema(as = TicketSnapshot)]
pub struct TicketCopyView<'a> {
    #[schema(value_type = String, format = "uuid")]
    pub id: TicketId,
    #[serde(flatten)]
    #[schema(inline)]
    pub details: TicketDetailsView<'a>,
    #[schema(value_type = u64)]
    pub version: Version,
}

/// The status of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = OrderStatus)]
pub enum OrderStatusView {
    Created,
    AwaitingPayment,
    Completed,
    Cancelled,
}

/// The reason why an order is Cancelled.
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
        Self { id: copy.id, details: (&copy.details).into(), version: copy.version }
    }
}

impl<'a> OrderView<'a> {
    /// Returns the public form of an order. `now` is used for `expiresInSeconds` only.
    pub fn of(order: &'a Order, now: Timestamp) -> Self {
        Self {
            id: order.id,
            user_id: order.buyer,
            status: order.status().into(),
            cancel_reason: match order.state {
                OrderState::Cancelled { reason } => Some(reason.into()),
                _ => None,
            },
            ticket_id: order.ticket.id,
            ticket: TicketCopyView::of(&order.ticket),
            price: Price(order.price),
            expires_at: WireTime(order.expires_at),
            expires_in_seconds: (order.expires_at - now).whole_secs_left(),
            unlocks_at: WireTime(order.unlocks_at),
            version: order.version,
            created_at: WireTime(order.created_at),
            updated_at: WireTime(order.updated_at),
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
            state: OrderState::Created,
            ticket: TicketSnapshot::from(&samples::ticket()),
            price: samples::money(2000),
            currency: Currency::Usd,
            expires_at: samples::NOW + Millis::from_mins(10),
            unlocks_at: samples::NOW + Millis::from_mins(15),
            declines: 0,
            version: 0,
            created_at: samples::NOW,
            updated_at: samples::NOW,
        }
    }

    #[test]
    fn order_has_all_public_members_and_no_settlement_data() {
        let order = order();
        let copy = json!({ "id": "01990000-0000-7000-8000-000000000001", "version": 4 });
        let copy = samples::with_details(copy, &order.ticket.details);
        assert_eq!(
            to_value(OrderView::of(&order, samples::NOW)).expect("JSON"),
            json!({
                "id": "01990000-0000-7000-8000-000000000003", "userId": "01990000-0000-7000-8000-000000000009", "status": "Created",
                "cancelReason": null, "ticketId": "01990000-0000-7000-8000-000000000001",
                "ticket": copy,
                "price": 20, "expiresAt": "2026-09-01T12:44:56.789Z", "expiresInSeconds": 600, "unlocksAt": "2026-09-01T12:49:56.789Z",
                "version": 0, "createdAt": "2026-09-01T12:34:56.789Z", "updatedAt": "2026-09-01T12:34:56.789Z",
            })
        );
    }

    #[test]
    fn seconds_left_are_rounded_up_and_never_negative() {
        let order = order();
        let left =
            |ms: i64| OrderView::of(&order, order.expires_at - Millis(ms)).expires_in_seconds;
        assert_eq!(
            [left(600_000), left(599_001), left(1), left(0), left(-5000)],
            [600, 600, 1, 0, 0]
        );
    }

    #[test]
    fn cancel_reason_has_its_documented_spelling() {
        for (reason, text) in [(CancelReason::Expired, "expired"), (CancelReason::Buyer, "buyer")] {
            let order = Order { state: OrderState::Cancelled { reason }, ..order() };
            let value = to_value(OrderView::of(&order, samples::NOW)).expect("JSON");
            assert_eq!(
                (&value["status"], &value["cancelReason"]),
                (&json!("Cancelled"), &json!(text))
            );
        }
    }

    #[test]
    fn order_schema_requires_the_serialized_members() {
        let order = order();
        let schema = samples::checked_schema(&OrderView::of(&order, samples::NOW));
        let text = schema.to_string();
        assert!(!text.contains("$ref") && text.contains(r#""expired","buyer""#), "{schema:#}");
    }
}
