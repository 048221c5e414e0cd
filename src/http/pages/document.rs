//! A whole document: the shell of `web/index.html` with what is particular to one address.

use std::sync::LazyLock;

use actix_web::{
    HttpRequest, HttpResponse,
    http::{
        StatusCode,
        header::{self, HeaderValue},
    },
};
use bytes::Bytes;
use maud::{Markup, PreEscaped, html};
use serde_json::Value;

use super::{
    files::{SHELL, VERSION},
    texts,
};
use crate::http::{
    HttpContext,
    answer::{NO_CACHE, NO_STORE},
    assets,
    encoded::{Effort, Encoded, VARY},
    etag,
};

pub(super) const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");

/// What search engines and previews of links are shown.
#[derive(Debug)]
pub(super) struct DocumentHead {
    pub(super) title: String,
    pub(super) description: String,
    /// Path and query of the address by which the page is known; `None` if there is no such page.
    pub(super) canonical: Option<String>,
    /// Whether search engines may list it.
    pub(super) is_indexed: bool,
    /// The type of the page in the Open Graph protocol.
    pub(super) kind: &'static str,
    /// The content in terms of schema.org.
    pub(super) linked_data: Option<Value>,
    /// Paths of the API that the browser requests before the script has loaded.
    pub(super) requests: Vec<String>,
}

/// The answer to a request of the interface, which the page's script would otherwise send first.
#[derive(Debug)]
pub(super) struct Served {
    pub(super) path: String,
    pub(super) body: Vec<u8>,
    /// The path of the next page.
    pub(super) next: Option<String>,
}

/// A document as it is sent.
#[derive(Debug)]
pub(super) struct Document {
    body: Encoded,
    tag: String,
}

/// The shell around what is filled in, in the order head, main, data.
static PARTS: LazyLock<[String; 4]> = LazyLock::new(|| {
    let mut parts = [const { String::new() }; 4];
    let mut rest = SHELL;
    for (part, name) in parts.iter_mut().zip(["{{head}}", "{{main}}", "{{data}}"]) {
        let (before, after) = rest.split_once(name).expect("the shell has each of them once");
        *part = before.replace("{{version}}", &VERSION);
        rest = after;
    }
    parts[3] = rest.replace("{{version}}", &VERSION);
    parts
});

impl Document {
    /// `origin`: scheme, host and port of absolute addresses.
    pub(super) fn new(origin: &str, head: &DocumentHead, main: &Markup, served: Option<&Served>) -> Self {
        let [before_head, before_main, before_data, end] = &*PARTS;
        let (head, data) = (head_markup(origin, head).into_string(), served.map(served_markup).unwrap_or_default().into_string());
        let body = Bytes::from([before_head, &head, before_main, &main.0, before_data, &data, end].map(String::as_str).concat());
        Self { tag: assets::tag(&body), body: Encoded::new(body, Effort::Low) }
    }

    /// The answer with this document, or 304 if the client has it.
    pub(super) fn answer(&self, req: &HttpRequest, context: &HttpContext) -> HttpResponse {
        if etag::if_none_match(req.headers(), &self.tag) {
            let mut answer = HttpResponse::NotModified();
            return self.guarded(answer.insert_header((header::CACHE_CONTROL, NO_CACHE)).finish(), context);
        }
        self.with_body(req, context, StatusCode::OK, NO_CACHE)
    }

    /// The answer with this document in place of one that there is not.
    pub(super) fn refusal(&self, req: &HttpRequest, context: &HttpContext, status: StatusCode) -> HttpResponse {
        self.with_body(req, context, status, NO_STORE)
    }

    fn with_body(&self, req: &HttpRequest, context: &HttpContext, status: StatusCode, caching: HeaderValue) -> HttpResponse {
        let mut answer = HttpResponse::build(status);
        answer.insert_header((header::CONTENT_TYPE, HTML)).insert_header((header::CACHE_CONTROL, caching));
        self.guarded(self.body.send(req, &mut answer), context)
    }

    fn guarded(&self, mut answer: HttpResponse, context: &HttpContext) -> HttpResponse {
        let headers = answer.headers_mut();
        headers.insert(header::ETAG, HeaderValue::from_str(&self.tag).expect("a tag is ASCII"));
        headers.insert(header::VARY, VARY);
        headers.insert(header::CONTENT_SECURITY_POLICY, context.pages.policy.clone());
        assets::isolate(headers, context.has_stripe_element);
        answer
    }
}

fn head_markup(origin: &str, head: &DocumentHead) -> Markup {
    let DocumentHead { title, description, canonical, is_indexed, kind, linked_data, requests } = head;
    html! {
        title { (texts::window_title(title)) }
        meta name="description" content=(description);
        @if !is_indexed { meta name="robots" content="noindex"; }
        meta property="og:title" content=(title);
        meta property="og:description" content=(description);
        meta property="og:type" content=(kind);
        meta property="og:site_name" content=(texts::SITE);
        meta property="og:image" content=(format!("{origin}/assets/{}/preview.png", *VERSION));
        meta property="og:image:alt" content=(texts::PREVIEW_IMAGE);
        meta name="twitter:card" content="summary_large_image";
        @if let Some(path) = canonical {
            meta property="og:url" content=(format!("{origin}{path}"));
            link rel="canonical" href=(format!("{origin}{path}"));
        }
        // Mode and credentials are those of `fetch` in web/net/api.js, or the answer would not be used (HTML, "preload").
        @for path in requests { link rel="preload" as="fetch" crossorigin="anonymous" href=(path); }
        @if let Some(data) = linked_data {
            script type="application/ld+json" { (json(&data.to_string())) }
        }
    }
}

fn served_markup(served: &Served) -> Markup {
    html! {
        script type="application/json" id="served" data-path=(served.path) data-next=[served.next.as_deref()] {
            (json(&String::from_utf8_lossy(&served.body)))
        }
    }
}

/// JSON inside of an element `script`: no text in it can end the element or begin a comment (HTML, "Restrictions for contents
/// of script elements").
fn json(text: &str) -> PreEscaped<String> {
    PreEscaped(text.replace('<', "\\u003c"))
}
