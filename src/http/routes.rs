//! Route table: all paths with their methods.

use actix_web::{
    Either, FromRequest, Handler, HttpRequest, HttpResponse, Resource, Responder, Route,
    http::{Method, header},
    middleware::Compress,
    web::{self, ServiceConfig},
};

use super::{
    HttpContext,
    answer::HandlerResult,
    charges, docs,
    error::{ApiError, Code},
    health, openapi, orders, pages, settings, socket, tickets, users, webhook,
};

/// Adds all routes to an application, except `/metrics`.
pub fn configure(config: &mut ServiceConfig) {
    // Paths are compared in this order, so the most frequent ones come first.
    at("/api/orders").get(orders::list).post(orders::place).mount(config);
    at("/api/tickets").get(super::listing::list).post(tickets::create).mount(config);

    at("/api/users/signup").post(users::sign_up).mount(config);
    at("/api/users/signin").post(users::sign_in).mount(config);
    at("/api/users/signout").post(users::sign_out).mount(config);
    at("/api/users/verify").post(users::verify).mount(config);
    at("/api/users/verify/resend").post(users::resend_verification).mount(config);
    at("/api/users/reset").post(users::request_reset).mount(config);
    at("/api/users/reset/confirm").post(users::reset_password).mount(config);
    at("/api/users/currentuser").get(users::current).put(users::update).mount(config);

    at("/api/tickets/{id}")
        .get(tickets::get)
        .put(tickets::edit)
        .delete(tickets::delist)
        .mount(config);

    at("/api/orders/{id}").get(orders::get).delete(orders::cancel).mount(config);
    at("/api/orders/{id}/charges").get(charges::of_order).mount(config);

    at("/api/charges").post(charges::pay).mount(config);
    at("/api/charges/{id}").get(charges::get).mount(config);
    at("/api/charges/{id}/confirm").post(charges::confirm).mount(config);
    at("/api/payments").post(charges::pay_alias).mount(config);

    for path in webhook::paths() {
        at(&path).post(webhook::receive).mount(config);
    }

    at("/api/settings").get(settings::serve).mount(config);

    at("/ws").get(socket::connect).mount(config);

    configure_health(config);

    at("/api/openapi.json").get(openapi::serve).compressed().mount(config);
    at("/api/asyncapi.json").get(socket::asyncapi).compressed().mount(config);
    for page in &*pages::PAGES {
        at(page.address).get(move |call| pages::show(call, page)).mount(config);
    }
    at(pages::FILE_ADDRESS).get(pages::file).mount(config);
    at("/.well-known/change-password").get(pages::change_password).mount(config);
    at("/robots.txt").get(pages::robots).mount(config);
    at("/sitemap.xml").get(pages::sitemap).mount(config);
    at(docs::PAGE).get(docs::page).compressed().mount(config);
    at(docs::FILE).get(docs::file).compressed().mount(config);
}

/// Adds the routes that both the public and the admin address serve.
pub fn configure_health(config: &mut ServiceConfig) {
    at("/healthz").get(health::alive).mount(config);
    at("/readyz").get(health::ready).mount(config);
}

/// Adds `/metrics`, which only the admin address serves if there is one.
pub fn configure_metrics(config: &mut ServiceConfig) {
    at("/metrics").get(health::metrics).compressed().mount(config);
}

/// Returns 404 for every other path of the admin address.
pub async fn nothing() -> HandlerResult {
    Err(ApiError::with_message(Code::NotFound, "There is nothing at this address."))
}

/// Returns 404 for every other path: a page for browsers, a problem document for other clients.
pub async fn not_found(req: HttpRequest, context: web::Data<HttpContext>) -> HandlerResult {
    if let Some(page) = pages::not_found_page(&req, context).await {
        return Ok(page);
    }
    Err(ApiError::with_message(Code::NotFound, "There is nothing at this address."))
}

/// One path of the table.
struct RouteEntry {
    resource: Resource,
    methods: Vec<Method>,
    compressed: bool,
}

fn at(path: &str) -> RouteEntry {
    RouteEntry { resource: web::resource(path), methods: Vec::new(), compressed: false }
}

impl RouteEntry {
    /// Adds a handler for GET and HEAD. actix omits the body of HEAD.
    fn get<F, Args>(self, handler: F) -> Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.on(Method::GET, handler.clone()).on(Method::HEAD, handler)
    }

    fn post<F, Args>(self, handler: F) -> Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.on(Method::POST, handler)
    }

    fn put<F, Args>(self, handler: F) -> Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.on(Method::PUT, handler)
    }

    fn delete<F, Args>(self, handler: F) -> Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.on(Method::DELETE, handler)
    }

    /// Compresses the responses with brotli or gzip if the client accepts it. Not for content with
    /// a secret and with text that a stranger may choose (BREACH).
    fn compressed(mut self) -> Self {
        self.compressed = true;
        self
    }

    fn on<F, Args>(mut self, method: Method, handler: F) -> Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.resource = self.resource.route(web::method(method.clone()).to(handler));
        self.methods.push(method);
        self
    }

    /// Registers the path, with responses to all other methods.
    fn mount(self, config: &mut ServiceConfig) {
        let names: Vec<&str> = self.methods.iter().map(Method::as_str).chain(["OPTIONS"]).collect();
        // One short text for each path is leaked; it is used while the process runs.
        let allow: &'static str = names.join(", ").leak();
        let resource = self.resource.default_service(other_methods(allow));
        if self.compressed {
            config.service(resource.wrap(Compress::default()));
        } else {
            config.service(resource);
        }
    }
}

fn other_methods(allow: &'static str) -> Route {
    web::to(move |method: Method| async move {
        if method == Method::OPTIONS {
            Either::Left(HttpResponse::NoContent().insert_header((header::ALLOW, allow)).finish())
        } else {
            Either::Right(HandlerResult::Err(ApiError::method_not_allowed(allow)))
        }
    })
}

#[cfg(test)]
#[path = "routes_tests.rs"]
mod tests;
