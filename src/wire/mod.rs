//! The public JSON forms of tickets, orders, charges and users in REST answers and in WebSocket
//! frames.
//!
//! Both use the same types, so that the ticket in a frame is byte for byte the ticket in a REST
//! answer. The forms contain nothing internal: no buyer of a ticket, no processor step, no hash.
//! The views borrow the domain's values, and are serialized at once. Each view also defines the
//! schema in the OpenAPI and AsyncAPI documents.

mod charge;
mod details;
mod instant;
mod order;
mod price;
mod ticket;
mod user;

pub use charge::{ChargeStatusView, ChargeView, FailureView};
pub use details::TicketDetailsView;
pub use instant::WireTime;
pub use order::{CancelReasonView, OrderStatusView, OrderView, TicketCopyView};
pub use price::Price;
pub use ticket::{CurrencyView, TicketStatusView, TicketView};
pub use user::UserView;

/// Values for the tests of the views.
#[cfg(test)]
mod samples {
    use std::collections::BTreeSet;

    use serde::Serialize;
    use serde_json::{Map, Value, json, to_value};
    use utoipa::PartialSchema;
    use uuid::Uuid;

    use super::TicketDetailsView;
    use crate::domain::{
        Money, OrderId, Ticket, TicketDetails, TicketId, Timestamp, UserId, samples as domain,
    };

    /// 2026-09-01T12:34:56.789Z.
    pub const NOW: Timestamp = Timestamp(1_788_266_096_789);

    pub fn uuid(n: u128) -> Uuid {
        Uuid::from_u128(0x0199_0000_0000_7000_8000_0000_0000_0000 + n)
    }

    /// Returns the schema of a view, with the parts of its `allOf` merged. It must require exactly
    /// the members that are serialized.
    pub fn checked_schema<V: PartialSchema + Serialize>(view: &V) -> Value {
        let schema = merged(&to_value(V::schema()).expect("JSON"));
        let value = to_value(view).expect("JSON");
        let written: BTreeSet<_> =
            value.as_object().expect("an object").keys().map(String::as_str).collect();
        let required = schema["required"].as_array().expect("a list");
        assert_eq!(required.len(), written.len(), "{schema:#}");
        let required: BTreeSet<_> = required.iter().filter_map(Value::as_str).collect();
        assert_eq!(required, written, "{schema:#}");
        schema
    }

    /// Merges the parts of an `allOf` into one schema. Other schemas are unchanged.
    fn merged(schema: &Value) -> Value {
        let Some(parts) = schema["allOf"].as_array() else { return schema.clone() };
        let (mut properties, mut required) = (Map::new(), Vec::new());
        for part in parts {
            properties.extend(part["properties"].as_object().expect("an object").clone());
            required.extend(part["required"].as_array().expect("a list").clone());
        }
        json!({ "properties": properties, "required": required })
    }

    /// Returns `members` and the members of the details.
    pub fn with_details(members: Value, details: &TicketDetails) -> Value {
        let mut all = to_value(TicketDetailsView::from(details)).expect("JSON");
        let own = members.as_object().expect("an object").clone();
        all.as_object_mut().expect("an object").extend(own);
        all
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
