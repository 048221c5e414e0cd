//! Files that are served as they are, with the hash of their content as tag: here the reader of the API's documents. The
//! pages themselves are in `pages.rs`.

use std::{collections::HashMap, sync::LazyLock};

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{self, HeaderMap, HeaderValue},
};
use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::etag;

/// One embedded file.
#[derive(Debug)]
pub struct Asset {
    pub path: &'static str,
    content_type: &'static str,
    body: &'static [u8],
}

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

/// The table.
pub static ALL: &[Asset] = &[
    Asset { path: "/docs", content_type: HTML, body: include_bytes!("../../web/docs/index.html") },
    Asset { path: "/docs/reader.js", content_type: SCRIPT, body: include_bytes!("../../web/docs/reader.js") },
    Asset { path: "/docs/style.css", content_type: STYLE, body: include_bytes!("../../web/docs/style.css") },
];

/// Pages load nothing from elsewhere and run no script that is not a file of ours; nobody frames them.
const PAGE_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'self'; \
     frame-ancestors 'none'",
);

static TAGS: LazyLock<HashMap<&str, String>> = LazyLock::new(|| ALL.iter().map(|asset| (asset.path, tag(asset.body))).collect());

/// A weak tag: what is sent may be compressed in one way or another.
pub fn tag(body: &[u8]) -> String {
    /// Enough to tell all versions of one file apart.
    const DIGEST_BYTES: usize = 8;
    let digest = Sha256::digest(body);
    let hex: String = digest[..DIGEST_BYTES].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("W/\"{hex}\"")
}

/// One file of the table.
pub fn serve(req: &HttpRequest, asset: &'static Asset) -> HttpResponse {
    let tag = TAGS.get(asset.path).map_or("", String::as_str);
    let mut answer = serve_bytes(req, Bytes::from_static(asset.body), asset.content_type, tag);
    if asset.content_type == HTML {
        answer.headers_mut().insert(header::CONTENT_SECURITY_POLICY, PAGE_POLICY);
        isolate(answer.headers_mut(), false);
    }
    answer
}

/// Keeps a page apart from others, and from what it does not need of the browser. With Stripe's own element, its frames may
/// open a window and ask for a payment; Stripe does not support more isolation than that (no cross-origin isolation).
pub fn isolate(headers: &mut HeaderMap, has_stripe_element: bool) {
    const OURS: &str = "accelerometer=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), magnetometer=(), microphone=(), \
                        midi=(), payment=(), usb=()";
    const STRIPE: &str = "accelerometer=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), magnetometer=(), microphone=(), \
                          midi=(), payment=(self \"https://js.stripe.com\" \"https://*.js.stripe.com\" \"https://hooks.stripe.com\"), usb=()";
    let (opener, permissions) = if has_stripe_element { ("same-origin-allow-popups", STRIPE) } else { ("same-origin", OURS) };
    headers.insert(header::CROSS_ORIGIN_OPENER_POLICY, HeaderValue::from_static(opener));
    headers.insert(header::CROSS_ORIGIN_RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert(header::PERMISSIONS_POLICY, HeaderValue::from_static(permissions));
}

/// Content that stays as long as the process lives.
pub fn serve_bytes(req: &HttpRequest, body: Bytes, content_type: &'static str, tag: &str) -> HttpResponse {
    let mut answer = if etag::if_none_match(req.headers(), tag) { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    answer.insert_header((header::ETAG, tag)).insert_header((header::CACHE_CONTROL, "no-cache"));
    if etag::if_none_match(req.headers(), tag) {
        return answer.finish();
    }
    answer.insert_header((header::CONTENT_TYPE, content_type)).body(body)
}
