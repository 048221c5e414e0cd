//! Charges: paying orders. How a charge stands decides the status of the answer, here and nowhere else.

use actix_web::http::{StatusCode, header};
use serde::Serialize;

use super::{
    answer::{HandlerResult, header_value, json},
    body::{Form, text},
    call::{self, Call},
    error::{ApiError, Code},
};
use crate::{
    actors::PaymentResult,
    domain::{Charge, ChargeFailure, ChargeStatus, OrderId},
    payments::PaymentToken,
    wire::ChargeView,
};

/// Which order, and what to pay it with.
#[derive(Debug, utoipa::ToSchema)]
#[schema(as = ChargeInput)]
#[serde(rename_all = "camelCase")]
#[allow(dead_code, reason = "its members go to the registry one by one; this is how they are documented")]
pub struct PaymentSchema {
    #[schema(value_type = String, format = "uuid")]
    order_id: OrderId,
    /// The payment processor's name for a payment method or token.
    #[schema(value_type = String, min_length = 1, max_length = 255, pattern = "^[A-Za-z0-9_]+$", example = "pm_card_visa")]
    token: PaymentToken,
}

/// A charge, and what the buyer's browser needs while the buyer must act (3-D Secure).
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ChargeAnswer)]
pub struct Shown<'a> {
    #[serde(flatten)]
    charge: ChargeView<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    client_secret: Option<&'a str>,
}

impl<'a> Shown<'a> {
    fn of(paid: &'a PaymentResult) -> Self {
        let client_secret = paid.client_secret.as_ref().map(|secret| secret.0.as_str());
        Self { charge: ChargeView::of(&paid.charge), client_secret }
    }
}

/// Pays an order. With an Idempotency-Key, a retry finds the charge of the first attempt.
#[utoipa::path(post, path = "/api/charges", tag = "charges", operation_id = "createCharge",
    request_body(content = PaymentSchema, content_type = "application/json"),
    responses(
        (status = 201, description = "Completed.", body = Shown<'static>, headers(("Location" = String, description = "The charge's address."))),
        (status = 202, description = "Created: the buyer must act, or the processor is still at it.", body = Shown<'static>, headers(("Location" = String, description = "The charge's address."))),
        (status = 402, description = "`card_declined`; `charge` is the Failed charge."),
        (status = 403, description = "`not_owner`"),
        (status = 404, description = "`not_found`: there is no such order."),
        (status = 409, description = "`order_expired`, `order_not_payable`, `order_completed`, `payment_in_flight`"),
        (status = 429, description = "Too many payments were declined: 5 of the order, or 20 of the user in 24 hours"),
    ),
    security(("session" = [])))]
pub async fn pay(mut call: Call) -> HandlerResult {
    let who = call.signed_in().await?;
    call.state.context.limits.purchase(who.user)?;
    let body = call.body().await?;
    let work = async |key| {
        let mut form = Form::parse(&body, &["orderId", "token"])?;
        let order = form.required("orderId", text);
        let token = form.required("token", |raw| PaymentToken::parse(&text(raw)?).map_err(|error| error.to_string().into()));
        let (order, token) = form.finish(order.zip(token))?;
        Ok(call.actors().orders.pay(call::id(&order)?, who.user, token, key).await?)
    };
    call.run_idempotent(who.user, &body, work, paid).await
}

/// The same as `POST /api/charges`, kept for existing clients.
#[utoipa::path(post, path = "/api/payments", tag = "charges", operation_id = "createPayment",
    request_body(content = PaymentSchema, content_type = "application/json"),
    responses(
        (status = 201, description = "Completed.", body = Shown<'static>, headers(("Location" = String, description = "The charge's address."))),
        (status = 202, description = "Created: the buyer must act, or the processor is still at it.", body = Shown<'static>, headers(("Location" = String, description = "The charge's address."))),
        (status = 402, description = "`card_declined`; `charge` is the Failed charge."),
        (status = 403, description = "`not_owner`"),
        (status = 404, description = "`not_found`: there is no such order."),
        (status = 409, description = "`order_expired`, `order_not_payable`, `order_completed`, `payment_in_flight`"),
        (status = 429, description = "Too many payments were declined: 5 of the order, or 20 of the user in 24 hours"),
    ),
    security(("session" = [])))]
pub async fn pay_alias(call: Call) -> HandlerResult {
    pay(call).await
}

/// Goes on after the buyer acted.
#[utoipa::path(post, path = "/api/charges/{id}/confirm", tag = "charges", operation_id = "confirmCharge",
    params(("id" = String, Path, format = "uuid")),
    request_body(content = Option<super::users::Nothing>, content_type = "application/json"),
    responses(
        (status = 200, description = "Completed.", body = Shown<'static>),
        (status = 202, description = "Still waiting.", body = Shown<'static>),
        (status = 402, description = "`card_declined`; `charge` is the Failed charge."),
        (status = 403, description = "`not_owner`"),
        (status = 404, description = "`not_found`"),
        (status = 409, description = "`order_expired`, `order_not_payable`, `payment_in_flight`"),
    ),
    security(("session" = [])))]
pub async fn confirm(mut call: Call) -> HandlerResult {
    let who = call.signed_in().await?;
    call.state.context.limits.purchase(who.user)?;
    let body = call.body().await?;
    let work = async |key| {
        Form::nothing(&body)?;
        Ok(call.actors().orders.confirm(call.id()?, who.user, key).await?)
    };
    call.run_idempotent(who.user, &body, work, confirmed).await
}

/// Shows a charge to its buyer.
#[utoipa::path(get, path = "/api/charges/{id}", tag = "charges", operation_id = "getCharge",
    params(("id" = String, Path, format = "uuid")),
    responses(
        (status = 200, description = "The present state.", body = Shown<'static>),
        (status = 403, description = "`not_owner`"),
        (status = 404, description = "`not_found`"),
    ),
    security(("session" = [])))]
pub async fn get(mut call: Call) -> HandlerResult {
    let who = call.signed_in().await?;
    let paid = call.actors().orders.charge(call.id()?, who.user).await?;
    Ok(json(StatusCode::OK, &Shown::of(&paid)))
}

/// Every attempt to pay an order, oldest first.
#[utoipa::path(get, path = "/api/orders/{id}/charges", tag = "charges", operation_id = "listCharges",
    params(("id" = String, Path, format = "uuid")),
    responses(
        (status = 200, description = "All of them.", body = Vec<ChargeView<'static>>),
        (status = 403, description = "`not_owner`"),
        (status = 404, description = "`not_found`"),
    ),
    security(("session" = [])))]
pub async fn of_order(mut call: Call) -> HandlerResult {
    let who = call.signed_in().await?;
    let charges = call.actors().orders.charges(call.id()?, who.user).await?;
    Ok(json(StatusCode::OK, &charges.iter().map(ChargeView::of).collect::<Vec<_>>()))
}

/// What a request to pay came to.
fn paid(paid: PaymentResult) -> HandlerResult {
    let address = header_value(&format!("/api/charges/{}", paid.charge.id));
    let mut answer = standing(StatusCode::CREATED, paid)?;
    answer.headers_mut().insert(header::LOCATION, address);
    Ok(answer)
}

/// What a request to go on came to.
fn confirmed(paid: PaymentResult) -> HandlerResult {
    standing(StatusCode::OK, paid)
}

fn standing(completed: StatusCode, paid: PaymentResult) -> HandlerResult {
    match paid.charge.status {
        ChargeStatus::Completed => Ok(json(completed, &Shown::of(&paid))),
        ChargeStatus::Created => Ok(json(StatusCode::ACCEPTED, &Shown::of(&paid))),
        ChargeStatus::Failed => Err(failed(paid.charge)),
    }
}

/// A payment that lost its order is not the card's fault: what became of the order is the answer.
fn failed(charge: Charge) -> ApiError {
    match &charge.failure {
        Some(failure) if failure.code == ChargeFailure::LOCK_LOST => ApiError::new(Code::OrderExpired),
        Some(failure) if failure.code == ChargeFailure::cancelled().code => ApiError::new(Code::OrderNotPayable),
        _ => ApiError::declined(charge),
    }
}

#[cfg(test)]
#[path = "charges_tests.rs"]
mod tests;
