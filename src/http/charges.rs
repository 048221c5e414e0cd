//! Handlers of charges. The state of a charge determines the status of the response in this module;
//! the order registry refuses a token that turns out to be unknown.

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
    domain::{Charge, ChargeStatus, FailureCode},
    payments::PaymentToken,
    wire::ChargeView,
};

/// Order to pay, and the token of the payment method.
#[derive(Debug, utoipa::ToSchema)]
#[schema(as = ChargeInput)]
#[serde(rename_all = "camelCase")]
pub struct PaymentInput {
    #[schema(format = "uuid")]
    order_id: String,
    /// Id of a payment method or token at the payment processor.
    #[schema(value_type = String, min_length = 1, max_length = 255, pattern = "^[A-Za-z0-9_]+$", example = "pm_card_visa")]
    token: PaymentToken,
}

impl PaymentInput {
    fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let mut form = Form::parse(body, &["orderId", "token"])?;
        let order_id = form.required("orderId", text);
        let token = form.required("token", |raw| {
            PaymentToken::parse(&text(raw)?).map_err(|error| error.to_string().into())
        });
        form.finish(order_id.zip(token).map(|(order_id, token)| Self { order_id, token }))
    }
}

/// A charge, and the secret that the buyer's browser needs while the buyer must act (3-D Secure).
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ChargeAnswer)]
pub struct ChargeResponse<'a> {
    #[serde(flatten)]
    charge: ChargeView<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    client_secret: Option<&'a str>,
}

impl<'a> ChargeResponse<'a> {
    fn of(result: &'a PaymentResult) -> Self {
        let client_secret = result.client_secret.as_ref().map(|secret| secret.0.as_str());
        Self { charge: ChargeView::of(&result.charge), client_secret }
    }
}

/// Pays an order. With an Idempotency-Key, a retry returns the charge of the first attempt.
#[utoipa::path(post, path = "/api/charges", tag = "charges", operation_id = "createCharge",
    request_body(content = PaymentInput, content_type = "application/json"),
    responses(
        (status = 201, description = "Completed.", body = ChargeResponse<'static>, headers(("Location" = String, description = "The charge's address."))),
        (status = 202, description = "Created: the buyer must act, or the payment is still being processed.", body = ChargeResponse<'static>, headers(("Location" = String, description = "The charge's address."))),
        (status = 402, description = "`card_declined`; `charge` is the Failed charge."),
        (status = 403, description = "`not_owner`"),
        (status = 404, description = "`not_found`: there is no such order."),
        (status = 409, description = "`order_expired`, `order_not_payable`, `order_completed`, `payment_in_flight`"),
        (status = 429, description = "Too many payments were declined: 5 of the order, or 20 of the user in 24 hours"),
    ),
    security(("session" = [])))]
pub async fn pay(mut call: Call) -> HandlerResult {
    let session = call.signed_in().await?;
    call.state.context.limits.purchase(session.user)?;
    let body = call.body().await?;
    let work = async |key| {
        let PaymentInput { order_id, token } = PaymentInput::parse(&body)?;
        Ok(call.actors().orders.pay(call::id(&order_id)?, session.user, token, key).await?)
    };
    call.run_idempotent(session.user, &body, work, payment_response).await
}

/// Same as `POST /api/charges`, kept for existing clients.
#[utoipa::path(post, path = "/api/payments", tag = "charges", operation_id = "createPayment",
    request_body(content = PaymentInput, content_type = "application/json"),
    responses(
        (status = 201, description = "Completed.", body = ChargeResponse<'static>, headers(("Location" = String, description = "The charge's address."))),
        (status = 202, description = "Created: the buyer must act, or the payment is still being processed.", body = ChargeResponse<'static>, headers(("Location" = String, description = "The charge's address."))),
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

/// Continues a payment after the buyer acted.
#[utoipa::path(post, path = "/api/charges/{id}/confirm", tag = "charges", operation_id = "confirmCharge",
    params(("id" = String, Path, format = "uuid")),
    request_body(content = Option<super::users::Nothing>, content_type = "application/json"),
    responses(
        (status = 200, description = "Completed.", body = ChargeResponse<'static>),
        (status = 202, description = "Still waiting.", body = ChargeResponse<'static>),
        (status = 402, description = "`card_declined`; `charge` is the Failed charge."),
        (status = 403, description = "`not_owner`"),
        (status = 404, description = "`not_found`"),
        (status = 409, description = "`order_expired`, `order_not_payable`, `payment_in_flight`"),
    ),
    security(("session" = [])))]
pub async fn confirm(mut call: Call) -> HandlerResult {
    let session = call.signed_in().await?;
    call.state.context.limits.purchase(session.user)?;
    let body = call.body().await?;
    let work = async |key| {
        Form::check_ignored_object(&body)?;
        Ok(call.actors().orders.confirm(call.id()?, session.user, key).await?)
    };
    call.run_idempotent(session.user, &body, work, confirmation_response).await
}

/// Shows a charge to its buyer.
#[utoipa::path(get, path = "/api/charges/{id}", tag = "charges", operation_id = "getCharge",
    params(("id" = String, Path, format = "uuid")),
    responses(
        (status = 200, description = "The present state.", body = ChargeResponse<'static>),
        (status = 403, description = "`not_owner`"),
        (status = 404, description = "`not_found`"),
    ),
    security(("session" = [])))]
pub async fn get(mut call: Call) -> HandlerResult {
    let session = call.signed_in().await?;
    let paid = call.actors().orders.charge(call.id()?, session.user).await?;
    Ok(json(StatusCode::OK, &ChargeResponse::of(&paid)))
}

/// Lists all attempts to pay an order, oldest first.
#[utoipa::path(get, path = "/api/orders/{id}/charges", tag = "charges", operation_id = "listCharges",
    params(("id" = String, Path, format = "uuid")),
    responses(
        (status = 200, description = "All charges of the order.", body = Vec<ChargeView<'static>>),
        (status = 403, description = "`not_owner`"),
        (status = 404, description = "`not_found`"),
    ),
    security(("session" = [])))]
pub async fn of_order(mut call: Call) -> HandlerResult {
    let session = call.signed_in().await?;
    let charges = call.actors().orders.charges(call.id()?, session.user).await?;
    Ok(json(StatusCode::OK, &charges.iter().map(ChargeView::of).collect::<Vec<_>>()))
}

/// Returns the response to a payment.
fn payment_response(result: PaymentResult) -> HandlerResult {
    let address = header_value(&format!("/api/charges/{}", result.charge.id));
    let mut response = response_by_status(StatusCode::CREATED, result)?;
    response.headers_mut().insert(header::LOCATION, address);
    Ok(response)
}

/// Returns the response to a confirmation.
fn confirmation_response(result: PaymentResult) -> HandlerResult {
    response_by_status(StatusCode::OK, result)
}

fn response_by_status(completed: StatusCode, result: PaymentResult) -> HandlerResult {
    match result.charge.status() {
        ChargeStatus::Completed => Ok(json(completed, &ChargeResponse::of(&result))),
        ChargeStatus::Created => Ok(json(StatusCode::ACCEPTED, &ChargeResponse::of(&result))),
        ChargeStatus::Failed => Err(failed_charge_error(result.charge)),
    }
}

/// Returns the error of a Failed charge. If the order ended before the payment, the error names the
/// end of the order, because the card was not declined.
fn failed_charge_error(charge: Charge) -> ApiError {
    match charge.failure().map(|failure| &failure.code) {
        Some(FailureCode::LockLost) => ApiError::new(Code::OrderExpired),
        Some(FailureCode::OrderCancelled) => ApiError::new(Code::OrderNotPayable),
        _ => ApiError::declined(charge),
    }
}

#[cfg(test)]
#[path = "charges_tests.rs"]
mod tests;
