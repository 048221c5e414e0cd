//! `GET /api/tickets`, from the catalog. The first 32 lists after a change of the catalog are
//! cached until the next change, except those with a query string of more than 128 bytes or with
//! `seller=me`.

use std::{borrow::Cow, sync::Arc};

use actix_web::{
    HttpResponse,
    http::{
        StatusCode,
        header::{self, HeaderValue},
    },
};
use bytes::Bytes;

use super::{
    answer::{HandlerResult, header_value, json_bytes},
    body::FieldError,
    caching::{NO_CACHE, NO_STORE},
    call::Call,
    encoded::{Effort, Encoded, VARY},
    error::ApiError,
    page,
    query::Params,
};
use crate::{
    catalog::{self, Query, Sort, TicketPage},
    domain::{Money, TicketStatus, UserId},
    wire::TicketView,
};

/// Maximum length of `q`, in characters: that of a title.
const Q_CHARS_MAX: usize = 200;
/// Maximum number of words in `q`, because each word costs time for each examined ticket.
const Q_WORDS_MAX: usize = 8;

/// Rendered page of a list.
#[derive(Debug)]
pub struct RenderedList {
    body: Encoded,
    /// `Link` to the next page.
    link: Option<HeaderValue>,
}

/// Lists the tickets on sale, newest first.
#[utoipa::path(get, path = "/api/tickets", tag = "tickets", operation_id = "listTickets",
    params(
        ("status" = Option<String>, Query, pattern = r"^(Available|Locked|Sold)(,(Available|Locked|Sold))*$", description = "One or more, separated by commas. Without it: Available and Locked."),
        ("q" = Option<String>, Query, max_length = 200, description = "Up to 8 words. Each must be the beginning of one of the first 32 words of the ticket (see its members). Case, accents and compatibility forms (full width, ligatures) do not matter, nor does the order. Empty: no filter. Without letters or digits: nothing is found."),
        ("seller" = Option<String>, Query, pattern = r"^(me|[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})$", description = "A user's id, or `me`."),
        ("minPrice" = Option<String>, Query, pattern = r"^(?!0{1,6}(\.([0-4]\d?)?)?$)\d{1,6}(\.\d{1,2})?$", description = "At least this; from 0.50."),
        ("maxPrice" = Option<String>, Query, pattern = r"^(?!0{1,6}(\.([0-4]\d?)?)?$)\d{1,6}(\.\d{1,2})?$", description = "At most this; from 0.50."),
        ("sort" = Option<String>, Query, pattern = r"^(newest|price|-price)$", description = "`newest` (the default), `price` (cheapest first), `-price` (dearest first)."),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "Maximum number of tickets on the page; 100 by default. One request examines a bounded number of tickets, so a page may have fewer, or none, and still have a `next`."),
        ("cursor" = Option<String>, Query, description = "From the `Link` of the previous page."),
    ),
    responses(
        (status = 200, description = "One page.", body = Vec<TicketView<'static>>, headers(("Link" = String, description = "`rel=\"next\"`: the next page. Follow it until it is absent: a page may be short."))),
        (status = 401, description = "`not_signed_in`, for `seller=me`"),
    ),
    security((), ("session" = [])))]
pub async fn list(mut call: Call) -> HandlerResult {
    let generation = call.state.catalog.generation();
    if let Some(rendered) = call.state.context.lists.find(call.req.query_string(), generation) {
        return Ok(public(&call, &rendered));
    }
    let mut params = Params::parse(call.req.query_string());
    let me = match params.optional("seller", |text| Ok::<_, FieldError>(text == "me")) {
        Some(true) => Some(call.signed_in().await?.user),
        _ => None,
    };
    let query = parse(params, me)?;
    let page = call.state.catalog.list(&query);
    let next = page.next.map(|position| page::ticket_cursor(&query, position));
    let link = next.map(|cursor| {
        header_value(&page::next_link(call.req.path(), call.req.query_string(), &cursor))
    });
    let rendered = RenderedList { body: Encoded::new(json_of(&page).into(), Effort::Low), link };
    if me.is_some() {
        return Ok(answer(rendered.body.plain().clone(), &rendered, NO_STORE));
    }
    let rendered = Arc::new(rendered);
    call.state.context.lists.keep(call.req.query_string(), generation, &rendered);
    Ok(public(&call, &rendered))
}

/// Returns the response with a public list, in the encoding that the client prefers.
fn public(call: &Call, rendered: &RenderedList) -> HttpResponse {
    let (body, encoding) = rendered.body.for_request(&call.req);
    let mut answer = answer(body, rendered, NO_CACHE);
    answer.headers_mut().insert(header::VARY, VARY);
    if let Some(encoding) = encoding {
        answer.headers_mut().insert(header::CONTENT_ENCODING, encoding);
    }
    answer
}

fn answer(body: Bytes, rendered: &RenderedList, caching: HeaderValue) -> HttpResponse {
    let mut answer = json_bytes(StatusCode::OK, body, caching);
    if let Some(link) = &rendered.link {
        answer.headers_mut().insert(header::LINK, link.clone());
    }
    answer
}

/// Renders a page of tickets as a JSON array.
pub fn json_of(page: &TicketPage) -> Vec<u8> {
    /// Size of the JSON of a ticket with a title of common length.
    const TICKET_BYTES: usize = 384;
    let mut body = Vec::with_capacity(2 + page.tickets.len() * TICKET_BYTES);
    body.push(b'[');
    for view in page.tickets.iter().filter_map(|ticket| TicketView::of(ticket)) {
        if body.len() > 1 {
            body.push(b',');
        }
        serde_json::to_writer(&mut body, &view).expect("the views consist of strings and numbers");
    }
    body.push(b']');
    body
}

/// Parses the query of a public list.
///
/// # Errors
/// 400 with all invalid parameters.
pub fn public_query(query: &str) -> Result<Query, ApiError> {
    parse(Params::parse(query), None)
}

/// Parses the query of a list. `me` is the signed-in user if the request has `seller=me`.
fn parse(mut params: Params, me: Option<UserId>) -> Result<Query, ApiError> {
    let mut query = Query {
        statuses: params
            .optional("status", statuses)
            .unwrap_or_else(|| vec![TicketStatus::Available, TicketStatus::Locked]),
        words: params.optional("q", words).flatten(),
        seller: me,
        min_price: params.optional("minPrice", price),
        max_price: params.optional("maxPrice", price),
        sort: params.optional("sort", sort).unwrap_or_default(),
        after: None,
        limit: params.limit(),
    };
    if me.is_none() {
        query.seller = params.optional("seller", |text| {
            text.parse().map_err(|_| "must be a user's id, or me".into())
        });
    }
    query.after = params.optional("cursor", |text| {
        page::ticket_position(&query, text).ok_or(Cow::Borrowed("is not a cursor of this list"))
    });
    params.finish()?;
    Ok(query)
}

fn statuses(text: &str) -> Result<Vec<TicketStatus>, FieldError> {
    const ALL: [TicketStatus; 3] =
        [TicketStatus::Available, TicketStatus::Locked, TicketStatus::Sold];
    let named = |name: &str| ALL.into_iter().find(|status| status.as_str() == name);
    let mut statuses = Vec::new();
    for name in text.split(',') {
        let status = named(name)
            .ok_or("must be Available, Locked or Sold, or several of them separated by commas")?;
        if !statuses.contains(&status) {
            statuses.push(status);
        }
    }
    Ok(statuses)
}

/// Parses the words of a search. `None`: no filter.
fn words(text: &str) -> Result<Option<Vec<String>>, FieldError> {
    if text.chars().count() > Q_CHARS_MAX {
        return Err("must have at most 200 characters".into());
    }
    let words = (!text.is_empty()).then(|| catalog::words(text));
    if words.as_ref().is_some_and(|words| words.len() > Q_WORDS_MAX) {
        Err("must have at most 8 words".into())
    } else {
        Ok(words)
    }
}

fn price(text: &str) -> Result<Money, FieldError> {
    Money::parse_text(text).map_err(|error| error.to_string().into())
}

fn sort(text: &str) -> Result<Sort, FieldError> {
    match text {
        "newest" => Ok(Sort::Newest),
        "price" => Ok(Sort::Price),
        "-price" => Ok(Sort::PriceDescending),
        _ => Err("must be newest, price or -price".into()),
    }
}

#[cfg(test)]
mod tests {
    use actix_web::ResponseError;

    use super::*;

    fn parsed(query: &str) -> Result<Query, ApiError> {
        parse(Params::parse(query), None)
    }

    #[test]
    fn list_without_parameters_has_available_and_locked_tickets_newest_first() {
        let query = parsed("").expect("valid");
        assert_eq!(
            (query.statuses, query.sort, query.limit),
            (vec![TicketStatus::Available, TicketStatus::Locked], Sort::Newest, 100)
        );
    }

    #[test]
    fn known_parameters_are_parsed() {
        let query = parsed(
            "status=Sold,Sold,Available&sort=-price&minPrice=0.5&maxPrice=19.99&limit=7&x=y",
        )
        .expect("valid");
        assert_eq!(query.statuses, [TicketStatus::Sold, TicketStatus::Available]);
        assert_eq!((query.sort, query.limit), (Sort::PriceDescending, 7));
        assert_eq!(
            (query.min_price.map(Money::minor), query.max_price.map(Money::minor)),
            (Some(50), Some(1999))
        );
    }

    #[test]
    fn invalid_value_is_refused_with_the_name_of_its_parameter() {
        let bad = [
            ("status=available", "status"),
            ("status=", "status"),
            ("status=Sold,", "status"),
            ("seller=you", "seller"),
            ("minPrice=0", "minPrice"),
            ("maxPrice=1e3", "maxPrice"),
            ("sort=Price", "sort"),
            ("limit=1001", "limit"),
            ("cursor=AAAA", "cursor"),
            ("cursor=", "cursor"),
            ("sort=price&sort=price", "sort"),
        ];
        for (query, field) in bad {
            let answer = parsed(query).expect_err(query).error_response();
            let body = actix_web::body::MessageBody::try_into_bytes(answer.into_body())
                .expect("a body in memory");
            let problem: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
            assert_eq!(problem["errors"][0]["field"], field, "{query}");
        }
    }
}
