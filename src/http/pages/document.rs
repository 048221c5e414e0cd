//! HTML documents: the template `web/index.html` with the title, description, content and data of
//! one address.

use std::sync::LazyLock;

use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header},
};
use bytes::Bytes;
use maud::{Markup, PreEscaped, html};
use serde_json::Value;

use super::{
    files::{SHELL, VERSION},
    texts,
};
use crate::http::{
    HttpContext, assets,
    caching::{NO_CACHE, NO_STORE},
    encoded::{Effort, Encoded},
};

pub(super) const HTML: &str = "text/html; charset=utf-8";

/// Head of a document, for search engines and link previews.
#[derive(Debug)]
pub(super) struct DocumentHead {
    pub(super) title: String,
    pub(super) description: String,
    /// Path of the canonical address; `None` for an error page (404, 503).
    pub(super) canonical: Option<String>,
    /// Whether search engines may list the page.
    pub(super) is_indexed: bool,
    /// Type of the page in the Open Graph protocol.
    pub(super) kind: &'static str,
    /// Content in the vocabulary of schema.org.
    pub(super) linked_data: Option<Value>,
    /// Paths of the API that the browser requests before the script has loaded.
    pub(super) requests: Vec<String>,
}

/// Response of the API that is embedded into the page, so that the script does not have to request
/// it.
#[derive(Debug)]
pub(super) struct EmbeddedResponse {
    pub(super) path: String,
    pub(super) body: Vec<u8>,
    /// Path of the next page.
    pub(super) next: Option<String>,
}

/// Rendered document.
#[derive(Debug)]
pub(super) struct Document {
    body: Encoded,
    tag: String,
}

/// Parts of the template between the fields head, main and data.
static PARTS: LazyLock<[String; 4]> = LazyLock::new(|| {
    let mut parts = [const { String::new() }; 4];
    let mut rest = SHELL;
    for (part, name) in parts.iter_mut().zip(["{{head}}", "{{main}}", "{{data}}"]) {
        let (before, after) = rest.split_once(name).expect("the template has each field once");
        *part = before.replace("{{version}}", &VERSION);
        rest = after;
    }
    parts[3] = rest.replace("{{version}}", &VERSION);
    parts
});

impl Document {
    /// Renders a document. `origin` is the scheme, host and port of absolute addresses.
    pub(super) fn new(
        origin: &str,
        head: &DocumentHead,
        main: &Markup,
        embedded: Option<&EmbeddedResponse>,
    ) -> Self {
        let [before_head, before_main, before_data, end] = &*PARTS;
        let (head, data) = (
            head_markup(origin, head).into_string(),
            embedded.map(embedded_markup).unwrap_or_default().into_string(),
        );
        let body = Bytes::from(
            [before_head, &head, before_main, &main.0, before_data, &data, end]
                .map(String::as_str)
                .concat(),
        );
        Self { tag: assets::tag(&body), body: Encoded::new(body, Effort::Low) }
    }

    /// Returns the response with this document, or 304 if the client has it.
    pub(super) fn response(&self, req: &HttpRequest, context: &HttpContext) -> HttpResponse {
        with_policies(self.body.response(req, &self.tag, HTML, NO_CACHE), context)
    }

    /// Returns an error response with this document.
    pub(super) fn error_response(
        &self,
        req: &HttpRequest,
        context: &HttpContext,
        status: StatusCode,
    ) -> HttpResponse {
        let mut response = HttpResponse::build(status);
        response
            .insert_header((header::ETAG, self.tag.as_str()))
            .insert_header((header::CACHE_CONTROL, NO_STORE));
        with_policies(
            self.body.send(req, response.insert_header((header::CONTENT_TYPE, HTML))),
            context,
        )
    }
}

fn with_policies(mut response: HttpResponse, context: &HttpContext) -> HttpResponse {
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, context.pages.policy.clone());
    context.isolation.apply(headers);
    response
}

fn head_markup(origin: &str, head: &DocumentHead) -> Markup {
    let DocumentHead { title, description, canonical, is_indexed, kind, linked_data, requests } =
        head;
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
        // The browser uses the response only if mode and credentials are those of `fetch` in
        // web/net/api.js (HTML, "preload").
        @for path in requests { link rel="preload" as="fetch" crossorigin="anonymous" href=(path); }
        @if let Some(data) = linked_data {
            script type="application/ld+json" { (json(&data.to_string())) }
        }
    }
}

fn embedded_markup(embedded: &EmbeddedResponse) -> Markup {
    html! {
        script type="application/json" id="served" data-path=(embedded.path) data-next=[embedded.next.as_deref()] {
            (json(&String::from_utf8_lossy(&embedded.body)))
        }
    }
}

/// Returns JSON for a `script` element. No text in it can end the element or begin a comment (HTML,
/// "Restrictions for contents of script elements").
fn json(text: &str) -> PreEscaped<String> {
    PreEscaped(text.replace('<', "\\u003c"))
}
