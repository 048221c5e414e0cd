//! The public form of what a seller says about a ticket, in tickets and in orders.

use serde::Serialize;

use super::Price;
use crate::domain::TicketDetails;

/// The details of a ticket.
#[derive(Debug, Clone, Copy, Serialize, utoipa::ToSchema)]
#[schema(as = TicketDetails)]
#[serde(rename_all = "camelCase")]
pub struct TicketDetailsView<'a> {
    /// What the ticket is for. Search (`q`) finds its words.
    #[schema(min_length = 1, max_length = 200)]
    pub title: &'a str,
    #[schema(value_type = f64, minimum = 0.5, maximum = 999_999.99)]
    pub price: Price,
}

impl<'a> From<&'a TicketDetails> for TicketDetailsView<'a> {
    fn from(TicketDetails { title, price }: &'a TicketDetails) -> Self {
        Self { title: title.as_str(), price: Price(*price) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{json, to_value};

    use super::*;
    use crate::wire::samples;

    #[test]
    fn details_have_their_public_members() {
        let details = samples::ticket().details;
        let view = TicketDetailsView::from(&details);
        assert_eq!(
            to_value(view).expect("JSON"),
            json!({ "title": "Café \"del\" Mar", "price": 19.99 })
        );
    }
}
