//! Pages for browsers: one document for each address, and the files that it loads, embedded into
//! the binary. This module renders the content that is readable without JavaScript, from the
//! catalog. The scripts are in `web/`.
//!
//! | file | content |
//! | --- | --- |
//! | `files` | the embedded files and their version |
//! | `document` | the template with title, description and content |
//! | `list`, `ticket` | the two pages whose content the server renders |
//! | `sitemap` | `robots.txt`, `sitemap.xml` |
//! | `texts` | all texts that the server writes into pages |
//!
//! The address of each file contains the hash of all files together, and browsers keep the files
//! for a year. A request with another hash gets this server's file, which the browser must
//! revalidate before each use.

mod document;
mod files;
mod list;
mod sitemap;
#[cfg(test)]
mod tests;
mod texts;
mod ticket;

use std::{net::SocketAddr, sync::LazyLock};

use actix_web::{
    HttpRequest, HttpResponse,
    http::{
        Method, StatusCode,
        header::{self, HeaderValue},
    },
    web::{Data, Path},
};
use maud::{Markup, html};
use uuid::Uuid;

pub use self::sitemap::{robots, sitemap};
use self::{
    document::{Document, DocumentHead},
    files::{SERVED_FILES, VERSION},
    sitemap::Sitemap,
};
use super::{
    HttpContext,
    answer::HandlerResult,
    caching::NO_CACHE,
    call::Call,
    error::{ApiError, Code},
    rendered::RenderedPages,
};
use crate::config::Config;

/// Page with its address and content.
#[derive(Debug)]
pub struct PageRoute {
    /// Address in the notation of the route table.
    pub address: &'static str,
    title: &'static str,
    content: Content,
    /// Paths of the API that the page's script requests first for a signed-in user. `{id}` is the
    /// id in the address.
    requests: &'static [&'static str],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content {
    List,
    Ticket,
    /// Content that the script renders, for one user or for a form. Search engines must not list
    /// it.
    Script,
    /// Like [`Content::Script`]. The address has a secret in its fragment, so that no address is sent
    /// to other sites.
    Link,
}

/// All pages. The first matching address is used.
pub static PAGES: LazyLock<Vec<PageRoute>> =
    LazyLock::new(|| ROUTES.iter().map(|(address, name)| PageRoute::new(address, name)).collect());

/// Address and name of each page, from the table `ROUTES` of `web/app.js`.
const ROUTES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/pages_routes.rs"));

impl PageRoute {
    /// # Panics
    /// If the script has a page that is not described here.
    fn new(address: &'static str, name: &str) -> Self {
        let (title, content, requests): (_, _, &'static [&'static str]) = match name {
            "forSale" => (texts::TICKETS_FOR_SALE, Content::List, &[]),
            "newTicket" => (texts::NEW_TICKET, Content::Script, &[SETTINGS]),
            "ticketPage" => (texts::TICKET, Content::Ticket, &[]),
            "listingsPage" => (texts::MY_LISTINGS, Content::Script, &[]),
            "ordersPage" => (
                texts::MY_ORDERS,
                Content::Script,
                &["/api/orders", "/api/orders?status=all", SETTINGS],
            ),
            "orderPage" => (
                texts::ORDER,
                Content::Script,
                &["/api/orders/{id}", "/api/orders/{id}/charges", SETTINGS],
            ),
            "signUpPage" => (texts::SIGN_UP, Content::Script, &[]),
            "signInPage" => (texts::SIGN_IN, Content::Script, &[]),
            "accountPage" => (texts::ACCOUNT, Content::Script, &[]),
            "forgotPage" => (texts::FORGOT, Content::Script, &[]),
            "resetPage" => (texts::RESET, Content::Link, &[]),
            "verifyPage" => (texts::VERIFY, Content::Link, &[]),
            unknown => {
                panic!("web/app.js has the page {unknown}: describe it in src/http/pages/mod.rs")
            }
        };
        Self { address, title, content, requests }
    }
}

/// Address of the files.
pub const FILE_ADDRESS: &str = "/assets/{version}/{path:.*}";

/// First requests of several pages.
const SETTINGS: &str = "/api/settings";
const CURRENT_USER: &str = "/api/users/currentuser";

/// Address of the API documentation. It is not one of the pages, but people type it.
const DOCS: &str = "/docs";

/// `Cache-Control` for content that never changes under its address (RFC 8246).
const IMMUTABLE: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");

/// Settings of pages, and rendered pages.
#[derive(Debug)]
pub struct PagesContext {
    /// Scheme, host and port of absolute addresses. They do not come from the request, whose `Host`
    /// may be forged.
    origin: String,
    policy: HeaderValue,
    lists: RenderedPages<Document>,
    sitemap: Sitemap,
}

impl PagesContext {
    /// Creates the context of a server that listens on `addr`.
    pub fn new(config: &Config, addr: SocketAddr) -> Self {
        Self {
            origin: config.pages_origin(addr),
            policy: policy(config),
            lists: RenderedPages::default(),
            sitemap: Sitemap::default(),
        }
    }
}

/// Returns the content security policy of pages. They may load files of this server, and the
/// processor's own form of payment if there is one. Otherwise trusted types also forbid the
/// conversion of text to scripts.
fn policy(config: &Config) -> HeaderValue {
    const COMMON: &str = "default-src 'none'; style-src 'self'; img-src 'self' data:; manifest-src 'self'; form-action 'self'; \
                          base-uri 'none'; frame-ancestors 'none'";
    const OURS: &str = "script-src 'self'; connect-src 'self'; require-trusted-types-for 'script'; trusted-types 'none'";
    let sources = config.payments.form_sources().map_or(OURS, |element| element.sources);
    HeaderValue::from_str(&format!("{COMMON}; {sources}")).expect("visible ASCII")
}

/// Returns the document of a page.
pub async fn show(call: Call, page: &'static PageRoute) -> HttpResponse {
    match page.content {
        Content::List => list::response(&call),
        Content::Ticket => ticket::response(&call).await,
        Content::Script | Content::Link => {
            let context = &call.state.context;
            let head = DocumentHead {
                title: page.title.to_owned(),
                description: texts::SITE_DESCRIPTION.to_owned(),
                canonical: Some(call.req.path().to_owned()),
                is_indexed: false,
                kind: "website",
                linked_data: None,
                requests: first_requests(&call, page).await,
            };
            let document =
                Document::new(&context.pages.origin, &head, &needs_script(page.title), None);
            let mut response = document.response(&call.req, context);
            if page.content == Content::Link {
                response
                    .headers_mut()
                    .insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
            }
            response
        }
    }
}

/// Redirects to the page where a password is changed. Password managers use this address
/// (<https://www.w3.org/TR/change-password-url/>).
pub async fn change_password() -> HandlerResult {
    let location = HeaderValue::from_static("/account");
    Ok(HttpResponse::Found().insert_header((header::LOCATION, location)).finish())
}

/// Returns the paths that the script of the page requests first. The browser requests them while it
/// loads the script.
async fn first_requests(call: &Call, page: &PageRoute) -> Vec<String> {
    let mut paths = vec![CURRENT_USER.to_owned()];
    let id = call.req.match_info().get("id").unwrap_or_default();
    let is_id = id.is_empty() || Uuid::try_parse(id).is_ok();
    // Without a session the requests for private data would be refused, and the page leads to the
    // sign-in page. The page is also shown while the store is not available.
    if is_id && !page.requests.is_empty() && matches!(call.session().await, Ok(Some(_))) {
        paths.extend(page.requests.iter().map(|path| path.replace("{id}", id)));
    }
    paths
}

/// Returns one file.
pub async fn file(req: HttpRequest, parameters: Path<(String, String)>) -> HandlerResult {
    let (version, path) = parameters.into_inner();
    let file = SERVED_FILES.get(path.as_str()).ok_or_else(|| ApiError::new(Code::NotFound))?;
    // While replicas of two versions run, a page may request another version. It gets this file,
    // which the browser must revalidate before each use.
    let caching = if version == *VERSION { IMMUTABLE } else { NO_CACHE };
    Ok(file.body.response(&req, &file.tag, file.content_type, caching))
}

/// Returns the response for an address without a route: a redirect to a page with a similar
/// address, or the page "not found" for a browser. `None`: another client, or an address that is
/// not for people.
pub async fn not_found_page(req: &HttpRequest, context: Data<HttpContext>) -> Option<HttpResponse> {
    if !matches!(*req.method(), Method::GET | Method::HEAD) {
        return None;
    }
    if let Some(redirect) = redirect_to_page(req) {
        return Some(redirect);
    }
    let accepts = req
        .headers()
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .unwrap_or_default();
    let is_for_programs =
        ["/api/", "/assets/", "/docs/"].iter().any(|prefix| req.path().starts_with(prefix));
    (!is_for_programs && accepts.contains("text/html")).then(|| not_found(req, &context))
}

/// Returns a 308 to the page whose address differs only by letter case or by slashes at the end.
/// The query stays.
fn redirect_to_page(req: &HttpRequest) -> Option<HttpResponse> {
    let mut address = page_address(req.path()).filter(|address| address != req.path())?;
    if !req.query_string().is_empty() {
        address.push('?');
        address.push_str(req.query_string());
    }
    let location = HeaderValue::from_str(&address).ok()?;
    Some(HttpResponse::PermanentRedirect().insert_header((header::LOCATION, location)).finish())
}

/// Returns the correct address of the page that `path` means. It begins with one slash and the name
/// of the page; two slashes would lead to another site.
fn page_address(path: &str) -> Option<String> {
    let path = path.trim_end_matches('/');
    PAGES.iter().map(|page| page.address).chain([DOCS]).find_map(|address| {
        let (mut parts, mut names) = (path.split('/'), address.split('/'));
        let mut written = Vec::new();
        loop {
            match (parts.next(), names.next()) {
                (None, None) => return Some(written.join("/")),
                (Some(part), Some("{id}")) if !part.is_empty() => written.push(part),
                (Some(part), Some(name)) if part.eq_ignore_ascii_case(name) => written.push(name),
                _ => return None,
            }
        }
    })
}

/// Returns the page "not found" with status 404.
fn not_found(req: &HttpRequest, context: &HttpContext) -> HttpResponse {
    let head = DocumentHead {
        title: texts::NOT_FOUND.to_owned(),
        description: texts::SITE_DESCRIPTION.to_owned(),
        canonical: None,
        is_indexed: false,
        kind: "website",
        linked_data: None,
        requests: Vec::new(),
    };
    let main = html! {
        div.page.page-not-found {
            div.empty {
                h1 { (texts::NOT_FOUND) }
                p { (texts::NOT_FOUND_MORE) }
                p.empty-actions { a.button.button-primary href="/" { (texts::SEE_TICKETS) } }
            }
        }
    };
    Document::new(&context.pages.origin, &head, &main, None).error_response(
        req,
        context,
        StatusCode::NOT_FOUND,
    )
}

/// Returns the content of a page that the script renders later: its heading.
fn needs_script(title: &str) -> Markup {
    html! {
        div.page {
            h1 { (title) }
            noscript { p { (texts::PAGE_NEEDS_JAVASCRIPT) } }
        }
    }
}
