//! Handlers of single tickets: put on sale, show, change, take off sale. Lists of tickets are in
//! `listing.rs`.

use actix_web::{
    HttpResponse,
    http::{StatusCode, header},
};
use utoipa::openapi::{ObjectBuilder, OneOfBuilder, RefOr, Schema, Type};

use super::{
    answer::{HandlerResult, json},
    body::{FieldError, Form, text},
    caching::NO_CACHE,
    call::Call,
    error::{ApiError, Code},
    etag::{self, Precondition},
};
use crate::{
    domain::{Money, Ticket, TicketDetails, TicketId, Title, VersionCondition},
    wire::TicketView,
};

/// Title and price of a ticket.
#[derive(Debug, utoipa::ToSchema)]
#[schema(as = TicketInput)]
pub struct TicketInput {
    /// Title. It is trimmed and converted to NFC; one line with at least one visible character (a
    /// letter, number, punctuation mark or symbol that is not ignorable), without control
    /// characters and without characters that change the direction of text.
    #[schema(
        value_type = String,
        min_length = 1,
        max_length = 200,
        pattern = r"^\s*[^\s\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]([^\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]*[^\s\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069])?\s*$",
        example = "Kraftwerk, Berlin, block C"
    )]
    title: Title,
    #[schema(value_type = PriceInput)]
    price: Money,
}

impl TicketInput {
    fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let mut form = Form::parse(body, &["title", "price"])?;
        let title = form.required("title", |raw| {
            Title::parse(&text(raw)?).map_err(|error| error.to_string().into())
        });
        let price = form.required("price", price);
        form.finish(title.zip(price).map(|(title, price)| Self { title, price }))
    }
}

impl From<TicketInput> for TicketDetails {
    fn from(TicketInput { title, price }: TicketInput) -> Self {
        Self { title, price }
    }
}

/// Forms in which a price may be sent.
#[derive(Debug)]
pub struct PriceInput;

impl utoipa::PartialSchema for PriceInput {
    fn schema() -> RefOr<Schema> {
        let number = ObjectBuilder::new()
            .schema_type(Type::Number)
            .minimum(Some(0.5))
            .maximum(Some(999_999.99))
            .multiple_of(Some(0.01));
        let text = ObjectBuilder::new()
            .schema_type(Type::String)
            .pattern(Some(r"^(?!0{1,6}(\.([0-4]\d?)?)?$)\d{1,6}(\.\d{1,2})?$"));
        OneOfBuilder::new()
            .item(number)
            .item(text)
            .description(Some("Major units with at most two decimals, from 0.50 to 999999.99. A JSON number may have any notation; a string must be a plain decimal."))
            .examples([serde_json::json!(19.99), serde_json::json!("19.99")])
            .into()
    }
}

impl utoipa::ToSchema for PriceInput {
    fn name() -> std::borrow::Cow<'static, str> {
        "PriceInput".into()
    }
}

/// Shows a ticket.
#[utoipa::path(get, path = "/api/tickets/{id}", tag = "tickets", operation_id = "getTicket",
    params(("id" = String, Path, format = "uuid"), ("If-None-Match" = Option<String>, Header, description = "Entity tags that the client has: 304 if one of them is the present tag.")),
    responses(
        (status = 200, description = "The present state.", body = TicketView<'static>, headers(("ETag" = String, description = "The version, strong."))),
        (status = 304, description = "The client has the present state."),
        (status = 404, description = "`not_found`"),
    ))]
pub async fn get(call: Call) -> HandlerResult {
    let ticket = call.actors().tickets.get(call.id()?).await?;
    let tag = etag::of(ticket.version);
    let mut answer = if etag::if_none_match(call.req.headers(), &tag) {
        HttpResponse::NotModified().insert_header((header::ETAG, tag)).finish()
    } else {
        ticket_response(StatusCode::OK, &ticket)?
    };
    answer.headers_mut().insert(header::CACHE_CONTROL, NO_CACHE);
    Ok(answer)
}

/// Puts a ticket on sale.
#[utoipa::path(post, path = "/api/tickets", tag = "tickets", operation_id = "createTicket",
    request_body(content = TicketInput, content_type = "application/json"),
    responses(
        (status = 201, description = "On sale.", body = TicketView<'static>,
            headers(("Location" = String, description = "The ticket's address."), ("ETag" = String, description = "The version, strong."))),
        (status = 409, description = "`too_many_listings`: the caller has as many tickets on sale as one user may."),
    ),
    security(("session" = [])))]
pub async fn create(mut call: Call) -> HandlerResult {
    let session = call.signed_in().await?;
    let body = call.body().await?;
    let work = async |key| {
        let details = TicketInput::parse(&body)?.into();
        call.state.context.limits.listing(session.user)?;
        Ok(call.actors().tickets.list(session.user, details, key).await?)
    };
    call.run_idempotent(session.user, &body, work, |ticket| {
        let mut answer = ticket_response(StatusCode::CREATED, &ticket)?;
        answer.headers_mut().insert(
            header::LOCATION,
            super::answer::header_value(&format!("/api/tickets/{}", ticket.id)),
        );
        Ok(answer)
    })
    .await
}

/// Changes title and price.
#[utoipa::path(put, path = "/api/tickets/{id}", tag = "tickets", operation_id = "updateTicket",
    params(("id" = String, Path, format = "uuid"),
        ("If-Match" = Option<String>, Header, pattern = r#"^(\*|(W/)?"[!#-~]*"( *, *(W/)?"[!#-~]*")*)$"#, description = "Versions to which the change may be applied.")),
    request_body(content = TicketInput, content_type = "application/json"),
    responses(
        (status = 200, description = "Changed.", body = TicketView<'static>, headers(("ETag" = String, description = "The version, strong."))),
        (status = 403, description = "`not_owner`"),
        (status = 404, description = "`not_found`"),
        (status = 409, description = "`ticket_locked`, `ticket_sold`"),
        (status = 412, description = "`version_mismatch`"),
    ),
    security(("session" = [])))]
pub async fn edit(mut call: Call) -> HandlerResult {
    let session = call.signed_in().await?;
    let body = call.body().await?;
    let work = async |key| {
        let details = TicketInput::parse(&body)?.into();
        let (id, if_match) = target(&call).await?;
        Ok(call.actors().tickets.edit(id, session.user, details, if_match, key).await?)
    };
    call.run_idempotent(session.user, &body, work, |ticket| {
        ticket_response(StatusCode::OK, &ticket)
    })
    .await
}

/// Takes a ticket off sale. Orders keep their copy of it.
#[utoipa::path(delete, path = "/api/tickets/{id}", tag = "tickets", operation_id = "deleteTicket",
    params(("id" = String, Path, format = "uuid"),
        ("If-Match" = Option<String>, Header, pattern = r#"^(\*|(W/)?"[!#-~]*"( *, *(W/)?"[!#-~]*")*)$"#, description = "Versions to which the change may be applied.")),
    responses(
        (status = 204, description = "Off sale."),
        (status = 403, description = "`not_owner`"),
        (status = 404, description = "`not_found`"),
        (status = 409, description = "`ticket_locked`, `ticket_sold`"),
        (status = 412, description = "`version_mismatch`"),
    ),
    security(("session" = [])))]
pub async fn delist(mut call: Call) -> HandlerResult {
    let session = call.signed_in().await?;
    let body = call.body().await?;
    let work = async |key| {
        Form::check_ignored_object(&body)?;
        let (id, if_match) = target(&call).await?;
        Ok(call.actors().tickets.delist(id, session.user, if_match, key).await?)
    };
    call.run_idempotent(session.user, &body, work, |()| Ok(HttpResponse::NoContent().finish()))
        .await
}

/// Returns the ticket to change, and the condition on its version.
async fn target(call: &Call) -> Result<(TicketId, VersionCondition), ApiError> {
    let precondition = etag::if_match(call.req.headers())?;
    let id = call.id()?;
    let condition = match precondition {
        Precondition::None => VersionCondition::Any,
        Precondition::OneOf(versions) => match versions[..] {
            [] => VersionCondition::Never,
            [one] => VersionCondition::Is(one),
            // Of several versions, the present one is required. If it changes before the actor
            // decides, the response is 412.
            _ => {
                let present = call.actors().tickets.get(id).await?.version;
                match versions.contains(&present) {
                    true => VersionCondition::Is(present),
                    false => VersionCondition::Never,
                }
            }
        },
    };
    Ok((id, condition))
}

fn ticket_response(status: StatusCode, ticket: &Ticket) -> HandlerResult {
    let view = TicketView::of(ticket).ok_or_else(|| ApiError::new(Code::NotFound))?;
    let mut answer = json(status, &view);
    answer
        .headers_mut()
        .insert(header::ETAG, super::answer::header_value(&etag::of(ticket.version)));
    Ok(answer)
}

/// Parses a price from a JSON number, or from a JSON string with plain decimals.
pub fn price(raw: &str) -> Result<Money, FieldError> {
    let parsed = match raw.as_bytes().first() {
        Some(b'"') => Money::parse_text(&text(raw)?),
        Some(b'-' | b'0'..=b'9') => Money::parse_number(raw),
        _ => return Err("must be a number in major units, such as 20 or 19.99".into()),
    };
    parsed.map_err(|error| error.to_string().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn price_is_a_number_or_a_plain_decimal_string() {
        for raw in ["20", "2e1", "20.00", "\"20\"", "\"20.0\"", "2000e-2", "\"\\u0032\\u0030\""] {
            assert_eq!(price(raw).map(Money::minor), Ok(2000), "{raw}");
        }
        for raw in [
            "true",
            "null",
            "[20]",
            "{\"$gt\":0}",
            "\"2e1\"",
            "-1",
            "0",
            "1e999",
            "10.999",
            "\"\"",
            "\" 20\"",
            "1000000",
        ] {
            assert!(price(raw).is_err(), "{raw}");
        }
    }

    #[test]
    fn ticket_input_has_title_and_price() {
        let input =
            TicketInput::parse(br#"{"title":" Jazz ","price":"19.99","x":1}"#).expect("valid");
        assert_eq!((input.title.as_str(), input.price.minor()), ("Jazz", 1999));
    }
}
