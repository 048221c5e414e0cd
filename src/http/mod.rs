//! REST interface: the route table, the handlers, and the conversion of errors to responses.
//!
//! | subject | file |
//! | --- | --- |
//! | all routes | `routes.rs` |
//! | processing of every request before and after its route | `middleware.rs`, with `origin.rs`, `client.rs`, `limits.rs` |
//! | tools of handlers | `call.rs`, `body.rs`, `body_budget.rs`, `query.rs`, `etag.rs`, `page.rs`, `cookie.rs`, `idempotency.rs` |
//! | handlers | `users.rs`, `tickets.rs`, `listing.rs`, `orders.rs`, `charges.rs`, `webhook.rs` (with `webhook_refusals.rs`), `socket.rs`, `health.rs`, `settings.rs` |
//! | pages for browsers | `pages/`; `assets.rs` |
//! | page that shows the API documents | `docs.rs`, `docs/` |
//! | content that is rendered once and sent many times | `rendered.rs`, `encoded.rs` |
//! | HTTP server, its deadlines and bounds, and the handover of WebSockets | `server.rs`, `server/` |
//! | responses while the server starts | `startup.rs` |
//! | errors | `error.rs` |
//! | OpenAPI document | attributes of each handler, combined in `openapi.rs` |
//!
//! A request is checked in this order, and the first refusal is the response:
//!
//! 1. The server (`server/`): 400, 408 and 431 by the parser and the deadlines, 503 by the quota of
//!    connections.
//! 2. The middleware (`middleware.rs`): 403 `cross_origin`, then 429 by client address.
//! 3. The route table: 404 and 405.
//! 4. The session: 401, then 409 `other_user`, then 429 by user. Sign-up and sign-in: 429 by
//!    client, then 409. Change of an account: 401, 409, then 429 by client.
//! 5. The body as bytes: 415, 413, 408.
//! 6. The Idempotency-Key: 400, 409, 422, or the response of its first use.
//! 7. The content: 400 with every invalid member or parameter; then 400 for `If-Match`; then 404
//!    for a string that is not an id.
//! 8. The actors: 400, 401, 402, 403, 404, 409, 412, 429, 503.
//!
//! The webhook (`webhook.rs`) is checked by its signature instead of the checks 2, 4 and 6. The
//! header of the signature is checked before the body is read.
//!
//! Listings are counted after the `Idempotency-Key` was looked up, and not at 4, so that a replay
//! does not count.
//!
//! This module contains no rule of the marketplace. It holds these kinds of state: counters that
//! bound requests and connections, rendered content, the last readiness, and the progress of the
//! start.

mod answer;
mod assets;
mod body;
mod body_budget;
mod caching;
mod call;
mod charges;
mod client;
mod cookie;
mod docs;
mod encoded;
mod error;
mod etag;
mod health;
mod idempotency;
mod limits;
mod listing;
mod middleware;
mod openapi;
mod orders;
mod origin;
mod page;
mod pages;
mod query;
mod rendered;
mod routes;
mod server;
mod settings;
mod socket;
mod startup;
#[cfg(test)]
mod tests;
mod tickets;
mod users;
mod webhook;
mod webhook_refusals;

use std::{net::SocketAddr, sync::Arc};

use actix_web::{
    App, Error,
    body::BoxBody,
    dev::{ServiceFactory, ServiceRequest, ServiceResponse},
    middleware::from_fn,
    web,
};
pub use health::{Health, Readiness};
use ipnet::IpNet;
pub use server::{
    Deadlines, Guard, Quota, QuotaLimits, Server, ServerLimits, connections_for_probes, listen,
    serve,
};
pub use startup::{Startup, staged};

use crate::{
    actors::Actors,
    catalog::Catalog,
    clock::Clock,
    config::{Config, Origin, Switch},
    ws::Hub,
};

/// Services that handlers use. Clones share them.
#[derive(Debug, Clone)]
pub struct AppState {
    pub actors: Actors,
    pub catalog: Catalog,
    pub clock: Clock,
    pub readiness: Arc<Readiness>,
    pub hub: Hub,
    pub context: Arc<HttpContext>,
}

/// Settings, rate limits and rendered pages of the HTTP layer. All workers share one, because a
/// rate limit counts the requests of all workers.
#[derive(Debug)]
pub struct HttpContext {
    /// Whether browsers reach this server by https.
    is_https: bool,
    origins: Vec<Origin>,
    proxies: Vec<IpNet>,
    cookie: cookie::SessionCookie,
    limits: limits::RateLimits,
    lists: rendered::RenderedPages<listing::RenderedList>,
    pages: pages::PagesContext,
    /// Headers that isolate the pages.
    isolation: assets::Isolation,
    settings: settings::RenderedSettings,
    limits_network_locks: bool,
    webhooks: webhook::WebhookReceivers,
    /// Whether `/metrics` is served on the admin address only.
    has_admin: bool,
}

impl HttpContext {
    /// Creates the context of a server that listens on `addr`.
    pub fn new(config: &Config, addr: SocketAddr) -> Self {
        let origin = config.public_origin.first();
        Self {
            is_https: origin.is_some_and(Origin::is_https),
            origins: config.public_origin.clone(),
            proxies: config.trusted_proxies.clone(),
            cookie: cookie::SessionCookie::new(origin, config.session_ttl),
            limits: limits::RateLimits::new(config.rate_limit == Switch::On),
            lists: rendered::RenderedPages::default(),
            pages: pages::PagesContext::new(config, addr),
            isolation: assets::Isolation::new(config.payments.form_sources()),
            settings: settings::RenderedSettings::new(config),
            limits_network_locks: config.locks_per_network_max() > 0,
            webhooks: webhook::WebhookReceivers::new(&config.payments),
            has_admin: config.admin_addr.is_some(),
        }
    }
}

/// Returns the application of one worker. It is called once on the thread of each worker, at the
/// first request after the start, because it starts the thread's shard of the WebSocket hub.
pub fn app(state: AppState) -> App<impl Service> {
    let shard = state.hub.start_shard();
    with_context(Arc::clone(&state.context))
        .app_data(web::Data::new(shard))
        .app_data(web::Data::new(state))
        .wrap(from_fn(middleware::middleware))
}

/// Returns the application of the admin address, which serves health and metrics only.
pub fn admin(state: AppState) -> App<impl Service> {
    App::new()
        .app_data(web::Data::from(Arc::clone(&state.context)))
        .configure(routes::configure_health)
        .configure(routes::configure_metrics)
        .default_service(web::to(routes::nothing))
        .app_data(web::Data::new(state))
        .wrap(from_fn(middleware::middleware))
}

/// Returns the routes with the context that [`middleware::middleware`] needs.
fn with_context(context: Arc<HttpContext>) -> App<impl Service> {
    let has_admin = context.has_admin;
    App::new()
        .app_data(web::Data::from(context))
        .configure(routes::configure)
        .configure(move |config| {
            if !has_admin {
                routes::configure_metrics(config);
            }
        })
        .default_service(web::to(routes::not_found))
}

/// Trait alias for the service factory of an actix-web application.
pub trait Service:
    ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<BoxBody>,
        Error = Error,
        InitError = (),
    >
{
}

impl<T> Service for T where
    T: ServiceFactory<
            ServiceRequest,
            Config = (),
            Response = ServiceResponse<BoxBody>,
            Error = Error,
            InitError = (),
        >
{
}
