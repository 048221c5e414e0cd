//! List of tickets, rendered by the server: readable without JavaScript, with the same elements
//! that the script builds.

use std::sync::Arc;

use actix_web::HttpResponse;
use maud::{Markup, html};
use serde_json::{Value, json};

use super::{
    document::{Document, DocumentHead, EmbeddedResponse},
    texts,
    ticket::{kind, stub},
};
use crate::{
    catalog::{self, Query},
    domain::Ticket,
    http::{call::Call, listing, page},
};

/// Number of tickets on a page, as in the first request of the script (`PAGE_SIZE` in
/// `web/state/listing.js`).
const PAGE_SIZE: usize = 50;
/// Parameters that are filters, in the order in which the script writes them.
const FILTERS: [&str; 5] = ["q", "sort", "minPrice", "maxPrice", "seller"];

/// `GET /`.
pub(super) fn response(call: &Call) -> HttpResponse {
    let (context, catalog) = (&call.state.context, &call.state.catalog);
    let (query, generation) = (call.req.query_string(), catalog.generation());
    let document = context.pages.lists.find(query, generation).unwrap_or_else(|| {
        let document = Arc::new(ListPage::of(query, catalog).document(&context.pages.origin));
        context.pages.lists.keep(query, generation, &document);
        document
    });
    document.response(&call.req, context)
}

/// Parameters of an address, and the tickets found.
struct ListPage {
    filters: Vec<(&'static str, String)>,
    /// Whether the page is not the first one of the list.
    is_continued: bool,
    /// `None`: the API refuses the parameters.
    found: Option<(Query, catalog::TicketPage)>,
}

impl ListPage {
    fn of(query: &str, catalog: &catalog::Catalog) -> Self {
        let value_of = |wanted: &str| {
            let found = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == wanted);
            found.map(|(_, value)| value.into_owned()).filter(|value| !value.is_empty())
        };
        let filters: Vec<_> = FILTERS
            .into_iter()
            .filter_map(|name| Some((name, value_of(name)?)))
            .filter(|(name, value)| !(*name == "sort" && value == "newest"))
            .collect();
        let cursor = value_of("cursor");
        let mut wanted = form_urlencoded::Serializer::new(String::new());
        wanted.extend_pairs(&filters).append_pair("limit", &PAGE_SIZE.to_string());
        if let Some(cursor) = &cursor {
            wanted.append_pair("cursor", cursor);
        }
        let found = listing::public_query(&wanted.finish()).ok().map(|query| {
            let page = catalog.list(&query);
            (query, page)
        });
        Self { filters, is_continued: cursor.is_some(), found }
    }

    fn document(&self, origin: &str) -> Document {
        let title = match self.filter("q") {
            Some(words) => format!("Tickets for “{words}”"),
            None => texts::TICKETS_FOR_SALE.to_owned(),
        };
        let head = DocumentHead {
            title,
            description: texts::SITE_DESCRIPTION.to_owned(),
            canonical: Some("/".to_owned()),
            is_indexed: self.filters.is_empty() && !self.is_continued,
            kind: "website",
            linked_data: Some(self.linked_data(origin)),
            requests: Vec::new(),
        };
        let main = self.main();
        Document::new(origin, &head, &main, self.embedded_response().as_ref())
    }

    fn filter(&self, wanted: &str) -> Option<&str> {
        self.filters.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value.as_str())
    }

    fn tickets(&self) -> &[Arc<Ticket>] {
        self.found.as_ref().map_or(&[], |(_, page)| &page.tickets)
    }

    fn next_cursor(&self) -> Option<String> {
        let (query, page) = self.found.as_ref()?;
        page.next.map(|position| page::ticket_cursor(query, position))
    }

    /// Returns the filters as a query string, followed by other parameters.
    fn query_with(&self, others: &[(&str, &str)]) -> String {
        form_urlencoded::Serializer::new(String::new())
            .extend_pairs(&self.filters)
            .extend_pairs(others)
            .finish()
    }

    /// Returns the first response that the script needs, on the first page only.
    fn embedded_response(&self) -> Option<EmbeddedResponse> {
        let (_, page) = self.found.as_ref().filter(|_| !self.is_continued)?;
        let size = PAGE_SIZE.to_string();
        let path = |others: &[(&str, &str)]| format!("/api/tickets?{}", self.query_with(others));
        Some(EmbeddedResponse {
            path: path(&[("limit", &size)]),
            body: listing::json_of(page),
            next: self.next_cursor().map(|cursor| path(&[("limit", &size), ("cursor", &cursor)])),
        })
    }

    fn linked_data(&self, origin: &str) -> Value {
        let items = self.tickets().iter().zip(1..).map(|(ticket, position)| {
            json!({"@type": "ListItem", "position": position, "name": ticket.details.title.as_str(), "url": format!("{origin}/tickets/{}", ticket.id)})
        });
        json!({
            "@context": "https://schema.org",
            "@type": "ItemList",
            "name": texts::TICKETS_FOR_SALE,
            "url": format!("{origin}/"),
            "itemListElement": items.collect::<Value>(),
        })
    }

    fn main(&self) -> Markup {
        html! {
            div.page.page-for-sale {
                div.hero {
                    h1 { (texts::TICKETS_FOR_SALE) }
                    (self.search_form())
                    (self.filter_links())
                }
                div.news-line {}
                @if self.tickets().is_empty() {
                    (self.nothing())
                } @else {
                    ul.rows.rows-served aria-label=(texts::LIST_LABEL) {
                        @for ticket in self.tickets() { (row(ticket)) }
                    }
                }
                div.rest {
                    @if let Some(cursor) = self.next_cursor() {
                        a.button href=(format!("/?{}", self.query_with(&[("cursor", &cursor)]))) rel="next" { (texts::MORE_TICKETS) }
                    } @else if !self.tickets().is_empty() {
                        p.rest-end { (texts::LIST_ENDS) }
                    }
                }
            }
        }
    }

    fn search_form(&self) -> Markup {
        let sort = self.filter("sort").unwrap_or("newest");
        html! {
            form.search role="search" action="/" method="get" {
                label.visually-hidden for="q" { (texts::SEARCH_LABEL) }
                span.search-words {
                    svg.icon viewBox="0 0 24 24" aria-hidden="true" focusable="false" {
                        path d="M10.5 4a6.5 6.5 0 1 1 0 13 6.5 6.5 0 0 1 0-13Zm5 11.5L20 20" {}
                    }
                    input.input.search-input #q type="search" name="q" value=(self.filter("q").unwrap_or_default()) autocomplete="off" enterkeyhint="search";
                }
                label.visually-hidden for="sort" { (texts::SORT_LABEL) }
                select.input.search-order #sort name="sort" {
                    @for (value, label) in texts::SORTS {
                        option value=(value) selected[value == sort] { (label) }
                    }
                }
                @for name in texts::OTHER_FILTERS {
                    @if let Some(price) = self.filter(name) { input type="hidden" name=(name) value=(price); }
                }
                button.button.button-primary type="submit" { (texts::SEARCH) }
            }
        }
    }

    /// Renders the filters without a field in the form, each as a link to the list without that
    /// filter.
    fn filter_links(&self) -> Markup {
        let active =
            || texts::OTHER_FILTERS.into_iter().filter_map(|name| Some((name, self.filter(name)?)));
        let without = |name: &str| {
            let others = self.filters.iter().filter(|(other, _)| *other != name);
            let query =
                form_urlencoded::Serializer::new(String::new()).extend_pairs(others).finish();
            if query.is_empty() { "/".to_owned() } else { format!("/?{query}") }
        };
        html! {
            @if active().next().is_some() {
                ul.filters aria-label=(texts::FILTERS) {
                    @for (name, value) in active() {
                        @let label = texts::filter(name, value);
                        li {
                            a.filter href=(without(name)) aria-label=(texts::remove_filter(&label)) {
                                (label) span.filter-remove aria-hidden="true" { "×" }
                            }
                        }
                    }
                }
            }
        }
    }

    fn nothing(&self) -> Markup {
        let heading = match (&self.found, self.filters.is_empty()) {
            (None, _) => texts::SEARCH_NOT_VALID,
            (Some(_), true) => texts::NOTHING_LISTED,
            (Some(_), false) => texts::NOTHING_FOUND,
        };
        html! {
            div.empty {
                h2 { (heading) }
                @if !self.filters.is_empty() || self.is_continued {
                    p.empty-actions { a.button href="/" { (texts::ALL_TICKETS) } }
                }
            }
        }
    }
}

fn row(ticket: &Ticket) -> Markup {
    let Some(status) = ticket.status() else { return Markup::default() };
    html! {
        li.row data-id=(ticket.id) data-kind=(kind(status)) {
            (stub(ticket.details.title.as_str()))
            div.row-text {
                a.row-link href=(format!("/tickets/{}", ticket.id)) { span.row-title dir="auto" lang="" { (ticket.details.title.as_str()) } }
                span class=(format!("status status-{}", kind(status))) { (texts::status(status)) }
            }
            span.row-price { (texts::money(ticket.details.price)) }
        }
    }
}
