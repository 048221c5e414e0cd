//! What all embedded files have in common: a tag made of the hash of their content, and the headers of a page. The pages
//! are in `pages/`, the reader of the API's documents in `docs.rs`.

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{self, HeaderMap, HeaderValue},
};
use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::etag;

/// A weak tag: what is sent may be compressed in one way or another.
pub fn tag(body: &[u8]) -> String {
    format!("W/\"{}\"", digest(body))
}

/// The beginning of a hash, in hex.
pub fn digest(body: &[u8]) -> String {
    /// Enough to tell all versions of one file apart.
    const DIGEST_BYTES: usize = 8;
    Sha256::digest(body)[..DIGEST_BYTES].iter().map(|byte| format!("{byte:02x}")).collect()
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
