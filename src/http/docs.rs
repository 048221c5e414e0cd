//! The API documentation at `/docs`. The index of the REST operations, the WebSocket and the error
//! codes are rendered here, so that they need no script. Swagger UI below them sends requests
//! (docs/adr/0017).
//!
//! The files are served below `/docs/`. The page refers to each file with the hash of all files
//! (`?v=`). The content of such an address never changes. Without the hash, or with another one,
//! clients must revalidate.

mod advice;
mod page;
#[cfg(test)]
mod tests;

use std::{
    borrow::Cow,
    io::Read,
    sync::{Arc, LazyLock},
};

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{self, AcceptEncoding, Encoding, Header, HeaderValue},
    web::Path,
};
use bytes::Bytes;
use flate2::read::GzDecoder;

use super::{
    answer::HandlerResult,
    assets::{self, Isolation},
    error::{ApiError, Code},
};

/// Path of the page.
pub const PAGE: &str = "/docs";
/// Path of its files.
pub const FILE: &str = "/docs/{name}";

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
/// For an address whose content never changes (RFC 8246).
const IMMUTABLE: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");

/// Content-Security-Policy of this page alone. As on the other pages, only script files of this
/// server run, and requests go to this server only. Trusted Types are not required: Swagger UI
/// turns the Markdown of descriptions into HTML, sanitized by DOMPurify.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'",
);

/// An embedded file.
#[derive(Debug)]
struct ReaderFile {
    name: &'static str,
    content_type: &'static str,
    body: Bytes,
    is_gzipped: bool,
    tag: String,
}

static FILES: LazyLock<[ReaderFile; 4]> = LazyLock::new(|| {
    [
        own("style.css", STYLE, include_bytes!("../../web/docs/style.css")),
        own("reader.js", SCRIPT, include_bytes!("../../web/docs/reader.js")),
        of_swagger_ui("swagger-ui.css", STYLE),
        of_swagger_ui("swagger-ui-bundle.js", SCRIPT),
    ]
});

/// Hash of all files together.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let tags: Vec<&str> = FILES.iter().map(|file| file.tag.as_str()).collect();
    assets::digest(tags.concat().as_bytes())
});

/// The rendered page and its entity tag.
static RENDERED: LazyLock<(Bytes, String)> = LazyLock::new(|| {
    let body = page::render(&VERSION);
    let tag = assets::tag(body.as_bytes());
    (body.into(), tag)
});

fn own(name: &'static str, content_type: &'static str, body: &'static [u8]) -> ReaderFile {
    ReaderFile {
        name,
        content_type,
        body: Bytes::from_static(body),
        is_gzipped: false,
        tag: assets::tag(body),
    }
}

/// Returns a file of the Swagger UI distribution that the crate embeds.
fn of_swagger_ui(name: &'static str, content_type: &'static str) -> ReaderFile {
    let file = utoipa_swagger_ui::serve(name, Arc::default())
        .ok()
        .flatten()
        .expect("the distribution has this file");
    let body = match file.bytes {
        Cow::Borrowed(body) => Bytes::from_static(body),
        Cow::Owned(body) => body.into(),
    };
    ReaderFile { name, content_type, tag: assets::tag(&body), body, is_gzipped: file.gzpipped }
}

/// The headers that isolate the page, which has no form of payment.
static ISOLATION: LazyLock<Isolation> = LazyLock::new(|| Isolation::new(None));

/// Serves the page.
pub async fn page(req: HttpRequest) -> HttpResponse {
    let (body, tag) = &*RENDERED;
    let mut answer = assets::serve_bytes(&req, body.clone(), HTML, tag);
    answer.headers_mut().insert(header::CONTENT_SECURITY_POLICY, POLICY);
    ISOLATION.apply(answer.headers_mut());
    answer
}

/// Serves one file.
pub async fn file(req: HttpRequest, name: Path<String>) -> HandlerResult {
    let file = FILES
        .iter()
        .find(|file| file.name == *name)
        .ok_or_else(|| ApiError::new(Code::NotFound))?;
    let is_sent_gzipped = file.is_gzipped && takes_gzip(&req);
    let body =
        if file.is_gzipped && !is_sent_gzipped { unzipped(&file.body) } else { file.body.clone() };
    let mut answer = assets::serve_bytes(&req, body, file.content_type, &file.tag);
    let headers = answer.headers_mut();
    if file.is_gzipped {
        headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    }
    if is_sent_gzipped {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    if req.query_string().strip_prefix("v=").is_some_and(|version| version == *VERSION) {
        headers.insert(header::CACHE_CONTROL, IMMUTABLE);
    }
    Ok(answer)
}

fn takes_gzip(req: &HttpRequest) -> bool {
    let supported = [Encoding::gzip(), Encoding::identity()];
    AcceptEncoding::parse(req).ok().and_then(|accepted| accepted.negotiate(supported.iter()))
        == Some(Encoding::gzip())
}

/// Decompresses a file for a client that does not accept gzip.
fn unzipped(body: &[u8]) -> Bytes {
    let mut plain = Vec::new();
    GzDecoder::new(body).read_to_end(&mut plain).expect("what was embedded is whole");
    plain.into()
}
