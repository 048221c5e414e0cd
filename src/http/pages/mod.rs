//! The browser's pages: one document for each address, and the files that it loads, embedded into the binary. What can be
//! read without JavaScript is rendered here, from the catalog; what pages do lives in `web/`.
//!
//! | file | holds |
//! | --- | --- |
//! | `files` | the embedded files and their version |
//! | `document` | the shell with its title, description and content |
//! | `list`, `ticket` | the two pages whose content the server renders |
//! | `sitemap` | `robots.txt`, `sitemap.xml` |
//! | `texts` | all words that the server writes into pages |
//!
//! The files are served under the hash of all of them together: a browser keeps them for ever, and one that loaded the
//! shell of another version gets that version's answer at least by name, never a mixture from its cache.

mod document;
mod files;
mod list;
mod sitemap;
#[cfg(test)]
mod tests;
mod texts;
mod ticket;

use std::net::SocketAddr;

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
    files::{SENT, VERSION},
    sitemap::Sitemap,
};
use super::{
    HttpContext,
    answer::{HandlerResult, NO_CACHE},
    call::Call,
    encoded::VARY,
    error::{ApiError, Code},
    etag,
    rendered::RenderedPages,
};
use crate::config::Config;

/// A page: an address, and what stands there.
#[derive(Debug)]
pub struct PageRoute {
    /// As the route table writes it. `web/app.js` has the same addresses, which a test checks.
    pub address: &'static str,
    title: &'static str,
    content: Content,
    /// Paths of the API that the page's script requests first for a signed-in user. `{id}` is the id in the address.
    requests: &'static [&'static str],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content {
    List,
    Ticket,
    /// Made by the script alone, for one user or for a form; not to be listed by search engines.
    Script,
}

/// All pages. The first address that matches counts.
pub const PAGES: [PageRoute; 9] = [
    PageRoute { address: "/", title: texts::TICKETS_FOR_SALE, content: Content::List, requests: &[] },
    PageRoute { address: "/tickets/new", title: texts::NEW_TICKET, content: Content::Script, requests: &[SETTINGS] },
    PageRoute { address: "/tickets/{id}", title: texts::TICKET, content: Content::Ticket, requests: &[] },
    PageRoute { address: "/listings", title: texts::MY_LISTINGS, content: Content::Script, requests: &[] },
    PageRoute {
        address: "/orders",
        title: texts::MY_ORDERS,
        content: Content::Script,
        requests: &["/api/orders", "/api/orders?status=all", SETTINGS],
    },
    PageRoute {
        address: "/orders/{id}",
        title: texts::ORDER,
        content: Content::Script,
        requests: &["/api/orders/{id}", "/api/orders/{id}/charges", SETTINGS],
    },
    PageRoute { address: "/signup", title: texts::SIGN_UP, content: Content::Script, requests: &[] },
    PageRoute { address: "/signin", title: texts::SIGN_IN, content: Content::Script, requests: &[] },
    PageRoute { address: "/account", title: texts::ACCOUNT, content: Content::Script, requests: &[] },
];

/// Where the files are.
pub const FILE_ADDRESS: &str = "/assets/{version}/{path:.*}";

/// The requests that several pages send first.
const SETTINGS: &str = "/api/settings";
const CURRENT_USER: &str = "/api/users/currentuser";

/// The reader of the interface's documents: no page, but an address that people type.
const DOCS: &str = "/docs";

/// Its content never changes under this address (RFC 8246).
const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");

/// What pages need of the settings, and what was rendered of them.
#[derive(Debug)]
pub struct PagesContext {
    /// Scheme, host and port of absolute addresses. Never from a request, whose `Host` a stranger may have written.
    origin: String,
    policy: HeaderValue,
    lists: RenderedPages<Document>,
    sitemap: Sitemap,
}

impl PagesContext {
    /// `addr`: where the server listens.
    pub fn new(config: &Config, addr: SocketAddr) -> Self {
        let origin = match config.public_origin.first() {
            Some(origin) => origin.as_str().to_owned(),
            None if addr.ip().is_unspecified() => format!("http://localhost:{}", addr.port()),
            None => format!("http://{addr}"),
        };
        Self { origin, policy: policy(config), lists: RenderedPages::default(), sitemap: Sitemap::default() }
    }
}

/// What pages may load: files of ours, and Stripe's own element where a publishable key is set (Stripe's documentation
/// names the hosts). Without it, nothing can turn text into a script either.
fn policy(config: &Config) -> HeaderValue {
    const COMMON: &str = "default-src 'none'; style-src 'self'; img-src 'self' data:; manifest-src 'self'; form-action 'self'; \
                          base-uri 'none'; frame-ancestors 'none'";
    const OURS: &str = "script-src 'self'; connect-src 'self'; require-trusted-types-for 'script'; trusted-types 'none'";
    const STRIPE: &str = "script-src 'self' https://js.stripe.com https://*.js.stripe.com; connect-src 'self' https://api.stripe.com; \
                          frame-src https://js.stripe.com https://*.js.stripe.com https://hooks.stripe.com";
    let sources = if config.stripe.publishable_key.is_some() { STRIPE } else { OURS };
    HeaderValue::from_str(&format!("{COMMON}; {sources}")).expect("visible ASCII")
}

/// The document of a page.
pub async fn show(call: Call, page: &'static PageRoute) -> HttpResponse {
    match page.content {
        Content::List => list::answer(&call),
        Content::Ticket => ticket::answer(&call).await,
        Content::Script => {
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
            Document::new(&context.pages.origin, &head, &needs_script(page.title), None).answer(&call.req, context)
        }
    }
}

/// Paths that the browser may request while it still loads the page's script, which will request them first.
async fn first_requests(call: &Call, page: &PageRoute) -> Vec<String> {
    let mut paths = vec![CURRENT_USER.to_owned()];
    let id = call.req.match_info().get("id").unwrap_or_default();
    let is_id = id.is_empty() || Uuid::try_parse(id).is_ok();
    // Without a session the others would be refused. A page is shown even while the store cannot be asked.
    if is_id && !page.requests.is_empty() && matches!(call.session().await, Ok(Some(_))) {
        paths.extend(page.requests.iter().map(|path| path.replace("{id}", id)));
    }
    paths
}

/// One file.
pub async fn file(req: HttpRequest, named: Path<(String, String)>) -> HandlerResult {
    let (version, path) = named.into_inner();
    let file = SENT.get(path.as_str()).ok_or_else(|| ApiError::new(Code::NotFound))?;
    // Another version is asked for while replicas of two versions run: what is here is better than nothing, this once.
    let caching = if version == *VERSION { FOR_EVER } else { NO_CACHE };
    let is_known = etag::if_none_match(req.headers(), &file.tag);
    let mut answer = if is_known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    answer.insert_header((header::ETAG, file.tag.as_str())).insert_header((header::CACHE_CONTROL, caching));
    if is_known {
        return Ok(answer.insert_header((header::VARY, VARY)).finish());
    }
    Ok(file.body.send(&req, answer.insert_header((header::CONTENT_TYPE, file.content_type))))
}

/// For an address at which there is nothing: the way to the one that was meant, or a page that says so, if it is a person who
/// came there.
pub async fn not_found_page(req: &HttpRequest, context: Data<HttpContext>) -> Option<HttpResponse> {
    if !matches!(*req.method(), Method::GET | Method::HEAD) {
        return None;
    }
    if let Some(redirect) = respelled(req) {
        return Some(redirect);
    }
    let accepts = req.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let machine = ["/api/", "/assets/", "/docs/"].iter().any(|prefix| req.path().starts_with(prefix));
    (!machine && accepts.contains("text/html")).then(|| not_found(req, &context))
}

/// 308 to the page whose address differs by letter case or by slashes at the end only. The query stays.
fn respelled(req: &HttpRequest) -> Option<HttpResponse> {
    let mut address = page_address(req.path()).filter(|address| address != req.path())?;
    if !req.query_string().is_empty() {
        address.push('?');
        address.push_str(req.query_string());
    }
    let location = HeaderValue::from_str(&address).ok()?;
    Some(HttpResponse::PermanentRedirect().insert_header((header::LOCATION, location)).finish())
}

/// The address of a page as it should be written. It begins with the name of the page: never with two slashes, which would
/// lead to another site.
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

/// The page that says that there is none, with status 404.
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
    Document::new(&context.pages.origin, &head, &main, None).refusal(req, context, StatusCode::NOT_FOUND)
}

/// The content of a page that the script makes: its heading, until then.
fn needs_script(title: &str) -> Markup {
    html! {
        div.page {
            h1 { (title) }
            noscript { p { (texts::PAGE_NEEDS_JAVASCRIPT) } }
        }
    }
}
