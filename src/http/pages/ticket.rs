//! Page of one ticket, rendered by the server: readable without JavaScript, with the same elements
//! that the script builds.

use std::sync::Arc;

use actix_web::{
    HttpResponse,
    http::{StatusCode, header},
};
use maud::{Markup, html};
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::{
    document::{Document, DocumentHead, EmbeddedResponse},
    not_found, redirect_to_page, texts,
};
use crate::{
    actors::ActorError,
    domain::{Ticket, TicketId, TicketStatus, Timestamp},
    http::call::Call,
    wire::TicketView,
};

/// `GET /tickets/{id}`, from the catalog. A ticket that is not in the catalog yet is read from the
/// store.
pub(super) async fn response(call: &Call) -> HttpResponse {
    let context = &call.state.context;
    let Ok(id) = call.id::<TicketId>() else {
        return redirect_to_page(&call.req).unwrap_or_else(|| not_found(&call.req, context));
    };
    let cached = call.state.catalog.get(id);
    let ticket = match cached {
        Some(ticket) => ticket,
        None => match call.actors().tickets.get(id).await {
            Ok(ticket) => Arc::new(ticket),
            Err(ActorError::NotFound) => return not_found(&call.req, context),
            Err(_) => return unavailable(call),
        },
    };
    match ticket.status().zip(TicketView::of(&ticket)) {
        Some((status, view)) => document(call, &ticket, status, &view).response(&call.req, context),
        None => not_found(&call.req, context),
    }
}

/// Returns the page without the ticket while the store does not respond. The script requests the
/// ticket again.
fn unavailable(call: &Call) -> HttpResponse {
    let context = &call.state.context;
    let head = DocumentHead {
        title: texts::TICKET.to_owned(),
        description: texts::SITE_DESCRIPTION.to_owned(),
        canonical: None,
        is_indexed: true,
        kind: "website",
        linked_data: None,
        requests: Vec::new(),
    };
    let document =
        Document::new(&context.pages.origin, &head, &super::needs_script(texts::TICKET), None);
    let mut response = document.error_response(&call.req, context, StatusCode::SERVICE_UNAVAILABLE);
    response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("2"));
    response
}

fn document(call: &Call, ticket: &Ticket, status: TicketStatus, view: &TicketView<'_>) -> Document {
    let origin = &call.state.context.pages.origin;
    let title = ticket.details.title.as_str();
    let head = DocumentHead {
        title: title.to_owned(),
        description: texts::ticket_description(title, ticket.details.price, status),
        canonical: Some(address(ticket)),
        is_indexed: true,
        kind: "product",
        linked_data: Some(linked_data(origin, ticket, status)),
        requests: Vec::new(),
    };
    let embedded = EmbeddedResponse {
        // The script builds the same path, from the address of the page.
        path: format!("/api/tickets/{}", call.req.match_info().get("id").unwrap_or_default()),
        body: serde_json::to_vec(view).expect("the view consists of strings and numbers"),
        next: None,
    };
    Document::new(origin, &head, &main(ticket, status), Some(&embedded))
}

fn address(ticket: &Ticket) -> String {
    format!("/tickets/{}", ticket.id)
}

/// <https://schema.org/Offer>
fn linked_data(origin: &str, ticket: &Ticket, status: TicketStatus) -> Value {
    let availability = match status {
        TicketStatus::Available => "InStock",
        // A buyer may pay, or the ticket may become available again.
        TicketStatus::Locked => "OutOfStock",
        TicketStatus::Sold => "SoldOut",
    };
    let url = format!("{origin}{}", address(ticket));
    json!({
        "@context": "https://schema.org",
        "@type": "Product",
        "name": ticket.details.title.as_str(),
        "description": texts::ticket_description(ticket.details.title.as_str(), ticket.details.price, status),
        "url": url,
        "offers": {
            "@type": "Offer",
            "url": url,
            "price": ticket.details.price.to_string(),
            "priceCurrency": texts::currency(ticket.currency),
            "availability": format!("https://schema.org/{availability}"),
        },
    })
}

fn main(ticket: &Ticket, status: TicketStatus) -> Markup {
    let title = ticket.details.title.as_str();
    html! {
        div.page.page-ticket {
            p.crumb { a href="/" { (texts::TICKETS_FOR_SALE) } }
            div.split {
                div class=(format!("pass tint-{}", tint(title))) {
                    div.pass-body {
                        h1 data-long[is_long(title)] dir="auto" lang="" { (title) }
                        p.quiet { (listed_on(ticket.created_at)) }
                    }
                    div.pass-bars aria-hidden="true" {}
                }
                div.side {
                    div.side-head {
                        p.price { (texts::money(ticket.details.price)) }
                        span class=(format!("status status-{}", kind(status))) { (texts::status(status)) }
                    }
                    div.buy {
                        @if status == TicketStatus::Available {
                            button.button.button-primary.button-wide.needs-script type="button" disabled { (texts::BUY) }
                        }
                        noscript { p.quiet { (texts::BUYING_NEEDS_JAVASCRIPT) } }
                    }
                }
            }
        }
    }
}

fn listed_on(at: Timestamp) -> Markup {
    let date = OffsetDateTime::from_unix_timestamp(at.0.div_euclid(1000))
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
        .date();
    html! { "Listed on " time datetime=(date) { (date.day()) " " (date.month()) " " (date.year()) } }
}

/// Returns the visual kind of a ticket, as `kindOf` in `web/parts/status.js`.
pub(super) fn kind(status: TicketStatus) -> &'static str {
    match status {
        TicketStatus::Available => "available",
        TicketStatus::Locked => "locked",
        TicketStatus::Sold => "sold",
    }
}

/// Renders the coloured tile with the first letter of the title, as in `web/parts/stub.js`.
pub(super) fn stub(title: &str) -> Markup {
    let letter = title.chars().find(|c| c.is_alphanumeric());
    html! {
        span class=(format!("stub tint-{}", tint(title))) aria-hidden="true" {
            @match letter {
                Some(letter) => { @for c in letter.to_uppercase() { (c) } }
                None => { "#" }
            }
        }
    }
}

/// Returns whether a title has a smaller font, by its number of UTF-16 code units, as `isLong` in
/// `web/parts/stub.js`.
fn is_long(title: &str) -> bool {
    const LONG_TITLE: usize = 48;
    title.encode_utf16().count() > LONG_TITLE
}

/// Returns the index of a colour, 0 to 5, from the first word of the title.
fn tint(title: &str) -> u32 {
    const TINTS: u32 = 6;
    let word = title.split_whitespace().next().unwrap_or_default().to_lowercase();
    word.chars().fold(7, |sum, c| (sum * 31 + u32::from(c)) % 9973) % TINTS
}
