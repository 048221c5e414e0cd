//! REST: the route table, the handlers by noun, and the one place where errors become answers.
//!
//! | to read | file |
//! | --- | --- |
//! | all routes | `routes.rs` |
//! | what happens to every request | `middleware.rs`, and what it needs: `origin.rs`, `client.rs`, `limits.rs` |
//! | what a handler works with | `call.rs`, `body.rs`, `body_budget.rs`, `query.rs`, `etag.rs`, `page.rs`, `cookie.rs`, `idempotency.rs` |
//! | the handlers | `users.rs`, `tickets.rs`, `listing.rs`, `orders.rs`, `charges.rs`, `webhook.rs` (with `webhook_refusals.rs`), `socket.rs`, `health.rs`, `settings.rs` |
//! | the browser's pages | `pages/`; `assets.rs` |
//! | the reader of the API's documents | `docs.rs`, `docs/` |
//! | what is rendered once and sent often | `rendered.rs`, `encoded.rs` |
//! | the server under it all, its deadlines and bounds, and how a socket leaves it | `server.rs`, `server/` |
//! | what is answered while the server starts | `startup.rs` |
//! | errors | `error.rs` |
//! | the API's own document | beside each handler, put together in `openapi.rs` |
//!
//! A request is judged in this order, and the first refusal is the answer:
//!
//! 1. 403 `cross_origin`, then 429 by client address (`middleware.rs`, before anything else runs)
//! 2. 404 and 405 by the route table
//! 3. 401, then 409 `other_user`, then 429 by user
//! 4. the body as bytes: 415, 413, 408
//! 5. the Idempotency-Key: 400, 409, 422, or the answer of its first use
//! 6. what was sent: 400 with every mistake in it; then 404 for an id that is none
//! 7. the actors: 404, 403, 412, 409, 429, 503
//!
//! The webhook (`webhook.rs`) is judged by its signature instead: neither 1 nor 3 nor 5 concern it. What the signature's header
//! alone tells is checked before the body is read.
//!
//! The rate of listings is checked at 7, and not at 3: a replay consumes nothing of it.
//!
//! No rule of the marketplace lives here, and no state but rates and what was rendered from the catalog.

mod answer;
mod assets;
mod body;
mod body_budget;
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
pub use server::{Deadlines, Guard, Quota, QuotaLimits, ServerLimits, connections_for_probes, listen, serve};
pub use startup::{Startup, staged};

use crate::{
    actors::Actors,
    catalog::Catalog,
    clock::Clock,
    config::{Config, Origin, Switch},
    ws::Hub,
};

/// All that handlers use. Clones share everything.
#[derive(Debug, Clone)]
pub struct AppState {
    pub actors: Actors,
    pub catalog: Catalog,
    pub clock: Clock,
    pub readiness: Arc<Readiness>,
    pub hub: Hub,
    pub context: Arc<HttpContext>,
}

/// What stands in front of the handlers: settings, rates, and lists that are rendered already. One for all workers, since
/// a rate counts what all of them let in.
#[derive(Debug)]
pub struct HttpContext {
    /// Browsers reach this server by https.
    is_https: bool,
    origins: Vec<Origin>,
    proxies: Vec<IpNet>,
    cookie: cookie::SessionCookie,
    limits: limits::RateLimits,
    lists: rendered::RenderedPages<listing::RenderedList>,
    pages: pages::PagesContext,
    /// Pages show Stripe's own element.
    has_stripe_element: bool,
    settings: settings::Rendered,
    limits_network_locks: bool,
    door: webhook::WebhookVerifier,
    /// Whether `/metrics` is served on the admin address only.
    has_admin: bool,
}

impl HttpContext {
    /// `addr`: where the server listens.
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
            has_stripe_element: config.stripe.publishable_key.is_some(),
            settings: settings::Rendered::of(config),
            limits_network_locks: config.locks_per_network_max() > 0,
            door: webhook::WebhookVerifier::new(&config.stripe),
            has_admin: config.admin_addr.is_some(),
        }
    }
}

/// The application that each worker of the server runs. To be called once on each worker's thread, as [`serve`] does: the
/// thread's share of the WebSocket hub starts here.
pub fn app(state: AppState) -> App<impl Service> {
    let shard = state.hub.shard();
    with_context(Arc::clone(&state.context))
        .app_data(web::Data::new(shard))
        .app_data(web::Data::new(state))
        .wrap(from_fn(middleware::middleware))
}

/// The application of the admin address: health and metrics, nothing else.
pub fn admin(state: AppState) -> App<impl Service> {
    App::new()
        .app_data(web::Data::from(Arc::clone(&state.context)))
        .configure(routes::configure_health)
        .configure(routes::configure_metrics)
        .default_service(web::to(routes::nothing))
        .app_data(web::Data::new(state))
        .wrap(from_fn(middleware::middleware))
}

/// The routes, and the front that [`middleware::middleware`] looks for.
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

/// What actix-web makes of an application: the name of a long bound.
pub trait Service: ServiceFactory<ServiceRequest, Config = (), Response = ServiceResponse<BoxBody>, Error = Error, InitError = ()> {}

impl<T> Service for T where
    T: ServiceFactory<ServiceRequest, Config = (), Response = ServiceResponse<BoxBody>, Error = Error, InitError = ()>
{
}
