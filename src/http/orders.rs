//! Orders: placing, showing and cancelling them.

use std::borrow::Cow;

use actix_web::{
    HttpResponse,
    http::{StatusCode, header},
};

use super::{
    answer::{Answer, header_value, json},
    body::{Complaint, Form, text},
    call::{self, Call},
    page,
    query::Params,
    tickets::{PriceInput, price},
};
use crate::{
    domain::{Money, TicketId},
    store::OrderScope,
    wire::OrderView,
};

/// Which ticket, and the price that the buyer saw.
#[derive(Debug, utoipa::ToSchema)]
#[schema(as = OrderInput)]
#[serde(rename_all = "camelCase")]
#[allow(dead_code, reason = "its members go to the registry one by one; this is how they are documented")]
pub struct Wish {
    #[schema(value_type = String, format = "uuid")]
    ticket_id: TicketId,
    /// 409 `price_changed` if the ticket costs something else by now.
    #[schema(value_type = PriceInput, required = false)]
    expected_price: Option<Money>,
}

/// Locks a ticket: nobody else can order it, for as long as the lock lasts.
#[utoipa::path(post, path = "/api/orders", tag = "orders", operation_id = "createOrder",
    request_body(content = Wish, content_type = "application/json"),
    responses(
        (status = 201, description = "The ticket is yours to pay.", body = OrderView<'static>, headers(("Location" = String, description = "The order's address."))),
        (status = 403, description = "`own_ticket`"),
        (status = 404, description = "`not_found`: there is no such ticket."),
        (status = 409, description = "`ticket_sold`, `ticket_locked`, `price_changed`"),
        (status = 429, description = "`too_many_locks`"),
    ),
    security(("session" = [])))]
pub async fn place(mut call: Call) -> Answer {
    let who = call.signed_in().await?;
    call.state.front.limits.purchase(who.user)?;
    let body = call.body().await?;
    let work = async |key| {
        let mut form = Form::parse(&body, &["ticketId", "expectedPrice"])?;
        let (ticket, expected) = (form.required("ticketId", text), form.optional("expectedPrice", price));
        let (ticket, expected) = form.finish(ticket.map(|ticket| (ticket, expected)))?;
        Ok(call.actors().orders.place(who.user, call::id(&ticket)?, expected, key).await?)
    };
    call.once(who.user, &body, work, |order| {
        let mut answer = json(StatusCode::CREATED, &OrderView::of(&order, call.state.clock.now()));
        answer.headers_mut().insert(header::LOCATION, header_value(&format!("/api/orders/{}", order.id)));
        Ok(answer)
    })
    .await
}

/// The caller's orders, oldest first.
#[utoipa::path(get, path = "/api/orders", tag = "orders", operation_id = "listOrders",
    params(
        ("status" = Option<String>, Query, pattern = "^(active|all)$", description = "`active` (the default): Created and AwaitingPayment; `all`: the history."),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "At most so many; 100 by default."),
        ("cursor" = Option<String>, Query, description = "From the `Link` of the page before."),
    ),
    responses((status = 200, description = "One page.", body = Vec<OrderView<'static>>, headers(("Link" = String, description = "`rel=\"next\"`: the next page, if there is one.")))),
    security(("session" = [])))]
pub async fn list(mut call: Call) -> Answer {
    let who = call.signed_in().await?;
    let mut params = Params::parse(call.req.query_string());
    let scope = params.optional("status", scope).unwrap_or(OrderScope::Active);
    let limit = params.limit();
    let after = params.optional("cursor", |text| page::order_position(scope, text).ok_or(Cow::Borrowed("is no cursor of this list")));
    params.finish()?;
    // One more than asked for tells whether there is a next page.
    let mut orders = call.actors().orders.list(who.user, scope, after, limit + 1).await?;
    let more = orders.len() > limit;
    orders.truncate(limit);
    let now = call.state.clock.now();
    let views: Vec<_> = orders.iter().map(|order| OrderView::of(order, now)).collect();
    let mut answer = json(StatusCode::OK, &views);
    if let Some(last) = orders.last().filter(|_| more) {
        let link = page::next_link(call.req.path(), call.req.query_string(), &page::order_cursor(scope, last.id));
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
pub async fn get(mut call: Call) -> Answer {
    let who = call.signed_in().await?;
    let order = call.actors().orders.get(call.id()?, who.user).await?;
    Ok(json(StatusCode::OK, &OrderView::of(&order, call.state.clock.now())))
}

/// Gives the lock up; the ticket is free at once. Fine also when the order is Cancelled already.
#[utoipa::path(delete, path = "/api/orders/{id}", tag = "orders", operation_id = "cancelOrder",
    params(("id" = String, Path, format = "uuid")),
    responses(
        (status = 204, description = "Cancelled."),
        (status = 403, description = "`not_owner`"),
        (status = 404, description = "`not_found`"),
        (status = 409, description = "`order_completed`, `payment_in_flight`"),
    ),
    security(("session" = [])))]
pub async fn cancel(mut call: Call) -> Answer {
    let who = call.signed_in().await?;
    let body = call.body().await?;
    let work = async |key| {
        Form::nothing(&body)?;
        Ok(call.actors().orders.cancel(call.id()?, who.user, key).await?)
    };
    call.once(who.user, &body, work, |()| Ok(HttpResponse::NoContent().finish())).await
}

fn scope(text: &str) -> Result<OrderScope, Complaint> {
    match text {
        "active" => Ok(OrderScope::Active),
        "all" => Ok(OrderScope::All),
        _ => Err("must be active or all".into()),
    }
}
