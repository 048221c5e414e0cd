//! The application with a store in memory, and its responses to requests for the same content in
//! several encodings.

use std::{io::Read, sync::Arc};

use actix_web::{
    dev::ServiceResponse,
    http::header::{self, HeaderName},
    middleware::from_fn,
    test::{TestRequest, call_service, init_service, read_body},
    web::Data,
};
use async_trait::async_trait;
use clap::Parser;

use super::{AppState, Health, HttpContext, Readiness, middleware::middleware};
use crate::{
    actors::tests::start_actors,
    catalog::Catalog,
    config::Config,
    domain::{Money, OrderId, Ticket, TicketDetails, TicketId, UserId, samples},
    payments::sandbox::{MemoryLedger, Sandbox},
    store::{Store, embedded::EmbeddedStore},
    ws::{self, Hub},
};

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    config: Config,
}

#[derive(Debug)]
struct Healthy;

#[async_trait]
impl Health for Healthy {
    async fn store_answers(&self) -> bool {
        true
    }

    async fn other_member_answers(&self) -> bool {
        true
    }

    fn feed_is_live(&self) -> bool {
        true
    }
}

/// Application without a network, on the thread of the test.
pub(super) struct Site {
    state: AppState,
}

impl Site {
    /// Starts the application with flags of `gittix serve`. Its address is 127.0.0.1:3000.
    pub(super) async fn open(flags: &[&str]) -> Self {
        let config = Flags::parse_from(["gittix"].iter().chain(flags)).config;
        let store = EmbeddedStore::in_memory().expect("memory opens");
        let sandbox = Sandbox::new(Arc::new(MemoryLedger::default()), [7; 32]);
        let (actors, catalog, clock) = start_actors(Arc::clone(&store), sandbox).await;
        let hub = Hub::new(store.feed().clone(), clock.clone(), ws::SocketLimits::default());
        let context = Arc::new(HttpContext::new(&config, ([127, 0, 0, 1], 3000).into()));
        let readiness = Readiness::new(Arc::new(Healthy), clock.clone());
        Self { state: AppState { actors, catalog, clock, readiness, hub, context } }
    }

    pub(super) async fn answer(&self, request: TestRequest) -> ServiceResponse {
        let app = super::with_context(Arc::clone(&self.state.context))
            .app_data(Data::new(self.state.clone()))
            .wrap(from_fn(middleware));
        call_service(&init_service(app).await, request.to_request()).await
    }

    pub(super) async fn get(&self, path: &str) -> ServiceResponse {
        self.answer(TestRequest::get().uri(path)).await
    }

    /// Returns the body of the response to GET, as text.
    pub(super) async fn text(&self, path: &str) -> String {
        String::from_utf8(read_body(self.get(path).await).await.to_vec()).expect("UTF-8")
    }

    /// Puts a ticket on sale.
    pub(super) async fn list(&self, title: &str, minor: u64) -> Ticket {
        let price = Money::from_minor(minor).expect("a price");
        let details = TicketDetails { price, ..samples::details(title) };
        self.state.actors.tickets.list(new_user(), details, None).await.expect("listed")
    }

    /// Locks a ticket for a new user.
    pub(super) async fn lock(&self, ticket: TicketId) -> OrderId {
        self.state
            .actors
            .orders
            .place(new_user(), ticket, crate::actors::Expected::default(), None, None)
            .await
            .expect("locked")
            .id
    }

    pub(super) fn catalog(&self) -> &Catalog {
        &self.state.catalog
    }

    /// Removes a ticket from the catalog, as if the feed had not delivered it yet.
    pub(super) fn forget(&self, ticket: &Ticket) {
        self.state.catalog.remove(ticket.id, ticket.version);
    }
}

fn new_user() -> UserId {
    UserId::new(uuid::Uuid::now_v7())
}

pub(super) fn header_of(answer: &ServiceResponse, name: HeaderName) -> String {
    answer.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

fn accepting(path: &str, encodings: &str) -> TestRequest {
    TestRequest::get().uri(path).append_header((header::ACCEPT_ENCODING, encodings))
}

fn decoded(encoding: &str, body: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    match encoding {
        "br" => brotli::BrotliDecompress(&mut &*body, &mut plain).expect("brotli"),
        "gzip" => assert!(flate2::read::GzDecoder::new(body).read_to_end(&mut plain).is_ok()),
        _ => plain.extend_from_slice(body),
    }
    plain
}

async fn site_with_tickets(count: u64) -> Site {
    let site = Site::open(&["--rate-limit", "off"]).await;
    for n in 0..count {
        site.list(&format!("Concert number {n}"), 2000 + n).await;
    }
    site
}

#[actix_web::test]
async fn list_is_sent_in_the_encoding_that_the_client_prefers() {
    let site = site_with_tickets(20).await;
    let plain = read_body(site.get("/api/tickets").await).await;
    for (accepted, expected) in [
        ("gzip, deflate, br, zstd", "br"),
        ("gzip", "gzip"),
        ("br;q=0.5, gzip", "gzip"),
        ("br;q=0, gzip;q=0", ""),
        ("zstd", ""),
        ("identity", ""),
        ("; not a list", ""),
    ] {
        let answer = site.answer(accepting("/api/tickets", accepted)).await;
        let encoding = header_of(&answer, header::CONTENT_ENCODING);
        assert_eq!(
            (encoding.as_str(), header_of(&answer, header::VARY).as_str()),
            (expected, "accept-encoding"),
            "{accepted}"
        );
        assert_eq!(header_of(&answer, header::CONTENT_TYPE), "application/json");
        let body = read_body(answer).await;
        assert!(
            expected.is_empty() || body.len() * 3 < plain.len(),
            "{accepted}: {} of {} bytes",
            body.len(),
            plain.len()
        );
        assert_eq!(decoded(expected, &body), plain, "{accepted}");
    }
}

#[actix_web::test]
async fn compressed_list_has_the_present_tickets() {
    let site = site_with_tickets(20).await;
    let body = async || {
        decoded("br", &read_body(site.answer(accepting("/api/tickets", "br")).await).await)
    };
    let first = body().await;
    assert_eq!(first, body().await);
    site.list("One more", 2000).await;
    assert!(String::from_utf8(body().await).expect("UTF-8").contains("One more"));
}

#[actix_web::test]
async fn short_list_is_not_compressed() {
    let site = site_with_tickets(1).await;
    let answer = site.answer(accepting("/api/tickets", "br, gzip")).await;
    assert_eq!(header_of(&answer, header::CONTENT_ENCODING), "");
}

#[actix_web::test]
async fn next_page_is_linked_in_every_encoding() {
    let site = site_with_tickets(20).await;
    for encodings in ["br", "gzip", "identity"] {
        let answer = site.answer(accepting("/api/tickets?limit=10", encodings)).await;
        assert!(header_of(&answer, header::LINK).ends_with("rel=\"next\""), "{encodings}");
    }
}
