//! Handlers of orders: place, show, list, cancel.

use std::borrow::Cow;

use actix_web::{
    HttpResponse,
    http::{StatusCode, header},
};

use super::{
    answer::{HandlerResult, header_value, json},
    body::{FieldError, Form, text},
    call::{self, Call},
    error::ApiError,
    page,
    query::Params,
    tickets::{PriceInput, price},
};
use crate::{
    actors::Expected,
    domain::{Money, Version},
    store::OrderScope,
    wire::OrderView,
};

/// Ticket to order, and the price and version that the buyer saw.
#[derive(Debug, utoipa::ToSchema)]
#[schema(as = OrderInput)]
#[serde(rename_all = "camelCase")]
pub struct CreateOrder {
    #[schema(format = "uuid")]
    ticket_id: String,
    /// Price that the buyer saw: 409 `price_changed` if the ticket has another price now.
    #[schema(value_type = PriceInput, required = false)]
    expected_price: Option<Money>,
    /// The ticket's `version` that the buyer saw: 409 `ticket_changed` if its details have changed
    /// since that version, or if the version does not exist yet. Locks and changes of the price
    /// alone do not count; `expectedPrice` checks the price.
    #[schema(value_type = u64, minimum = 0, required = false)]
    expected_version: Option<Version>,
}

impl CreateOrder {
    fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let mut form = Form::parse(body, &["ticketId", "expectedPrice", "expectedVersion"])?;
        let ticket_id = form.required("ticketId", text);
        let expected_price = form.optional("expectedPrice", price);
        let expected_version = form.optional("expectedVersion", version);
        form.finish(ticket_id.map(|ticket_id| Self { ticket_id, expected_price, expected_version }))
    }
}

/// Locks a ticket: no other order for it is accepted while the lock lasts.
#[utoipa::path(post, path = "/api/orders", tag = "orders", operation_id = "createOrder",
    request_body(content = CreateOrder, content_type = "application/json"),
    responses(
        (status = 201, description = "The ticket is locked for the caller.", body = OrderView<'static>, headers(("Location" = String, description = "The order's address."))),
        (status = 403, description = "`own_ticket`"),
        (status = 404, description = "`not_found`: there is no such ticket."),
        (status = 409, description = "`ticket_sold`, `ticket_locked`, `price_changed`, `ticket_changed`"),
        (status = 429, description = "`too_many_locks`"),
    ),
    security(("session" = [])))]
pub async fn place(mut call: Call) -> HandlerResult {
    let session = call.signed_in().await?;
    call.state.context.limits.purchase(session.user)?;
    let body = call.body().await?;
    let work = async |key| {
        let CreateOrder { ticket_id, expected_price, expected_version } =
            CreateOrder::parse(&body)?;
        let expected = Expected { price: expected_price, version: expected_version };
        Ok(call
            .actors()
            .orders
            .place(session.user, call::id(&ticket_id)?, expected, call.lock_network(), key)
            .await?)
    };
    call.run_idempotent(session.user, &body, work, |order| {
        let mut answer = json(StatusCode::CREATED, &OrderView::of(&order, call.state.clock.now()));
        answer
            .headers_mut()
            .insert(header::LOCATION, header_value(&format!("/api/orders/{}", order.id)));
        Ok(answer)
    })
    .await
}

/// Lists the caller's orders, oldest first.
#[utoipa::path(get, path = "/api/orders", tag = "orders", operation_id = "listOrders",
    params(
        ("status" = Option<String>, Query, pattern = "^(active|all)$", description = "`active` (the default): Created and AwaitingPayment; `all`: all orders of the caller."),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "Maximum number of orders on the page; 100 by default."),
        ("cursor" = Option<String>, Query, description = "From the `Link` of the previous page."),
    ),
    responses((status = 200, description = "One page.", body = Vec<OrderView<'static>>, headers(("Link" = String, description = "`rel=\"next\"`: the next page, if there is one.")))),
    security(("session" = [])))]
pub async fn list(mut call: Call) -> HandlerResult {
    let session = call.signed_in().await?;
    let mut params = Params::parse(call.req.query_string());
    let scope = params.optional("status", scope).unwrap_or(OrderScope::Active);
    let limit = params.limit();
    let after = params.optional("cursor", |text| {
        page::order_position(scope, text).ok_or(Cow::Borrowed("is not a cursor of this list"))
    });
    params.finish()?;
    // One additional order shows whether there is a next page.
    let mut orders = call.actors().orders.list(session.user, scope, after, limit + 1).await?;
    let has_more = orders.len() > limit;
    orders.truncate(limit);
    let now = call.state.clock.now();
    let views: Vec<_> = orders.iter().map(|order| OrderView::of(order, now)).collect();
    let mut answer = json(StatusCode::OK, &views);
    if let Some(last) = orders.last().filter(|_| has_more) {
        let link = page::next_link(
            call.req.path(),
            call.req.query_string(),
            &page::order_cursor(scope, last.id),
        );
        answer.headers_mut().insert(header::LINK, header_value(&link));
    }
    Ok(answer)
}

/// Shows an order to its buyer.
#[utoipa::path(get, path = "/api/orders/{id}", tag = "orders", operation_id = "getOrder",
    params(("id" = String, Path, format = "uuid")),
    responses(
        (status = 200, description = "The present state.", body = OrderView<'static>),
        (status = 403, description = "`not_owner`"),
        (status = 404, description = "`not_found`"),
    ),
    security(("session" = [])))]
pub async fn get(mut call: Call) -> HandlerResult {
    let session = call.signed_in().await?;
    let order = call.actors().orders.get(call.id()?, session.user).await?;
    Ok(json(StatusCode::OK, &OrderView::of(&order, call.state.clock.now())))
}

/// Cancels an order and releases the ticket at once. An order that is already Cancelled stays
/// unchanged: if its payment window ended without payment, its ticket stays locked until
/// `unlocksAt`, unless the server releases tickets early.
#[utoipa::path(delete, path = "/api/orders/{id}", tag = "orders", operation_id = "cancelOrder",
    params(("id" = String, Path, format = "uuid")),
    responses(
        (status = 204, description = "Cancelled."),
        (status = 403, description = "`not_owner`"),
        (status = 404, description = "`not_found`"),
        (status = 409, description = "`order_completed`, `payment_in_flight`"),
    ),
    security(("session" = [])))]
pub async fn cancel(mut call: Call) -> HandlerResult {
    let session = call.signed_in().await?;
    let body = call.body().await?;
    let work = async |key| {
        Form::check_ignored_object(&body)?;
        Ok(call.actors().orders.cancel(call.id()?, session.user, key).await?)
    };
    call.run_idempotent(session.user, &body, work, |()| Ok(HttpResponse::NoContent().finish()))
        .await
}

/// Parses a whole number in JSON by its value (`2.0` is 2). A number beyond `u64` becomes
/// [`Version::MAX`], which no ticket has.
fn version(raw: &str) -> Result<Version, FieldError> {
    /// Smallest whole number beyond `u64`.
    const END: f64 = 18_446_744_073_709_551_616.0;
    let number = raw.parse().ok().filter(|number: &f64| {
        raw.starts_with(['-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9']) && *number >= 0.0
    });
    match (raw.parse(), number) {
        (Ok(version), _) => Ok(version),
        (_, Some(number)) if number >= END => Ok(Version::MAX),
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is whole, not negative and below END"
        )]
        (_, Some(number)) if number.fract() == 0.0 => Ok(number as Version),
        _ => Err("must be a whole number, 0 or more".into()),
    }
}

fn scope(text: &str) -> Result<OrderScope, FieldError> {
    match text {
        "active" => Ok(OrderScope::Active),
        "all" => Ok(OrderScope::All),
        _ => Err("must be active or all".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expected_version_is_a_whole_number() {
        for (raw, expected) in [
            ("0", 0),
            ("7", 7),
            ("7.0", 7),
            ("7e0", 7),
            ("-0", 0),
            ("18446744073709551615", Version::MAX),
        ] {
            assert_eq!(version(raw), Ok(expected), "{raw}");
        }
        for raw in ["18446744073709551616", "1e30", "1e999"] {
            assert_eq!(version(raw), Ok(Version::MAX), "{raw}");
        }
        for raw in ["-1", "-1e999", "0.5", "\"7\"", "null", "true", "[7]", "{\"$gt\":0}"] {
            assert!(version(raw).is_err(), "{raw}");
        }
    }
}
