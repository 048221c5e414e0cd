//! Functions for embedded files and pages: entity tags from the hash of the content, and headers.
//! The pages are in `pages/`; the page that shows the API documents is in `docs.rs`.

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{self, HeaderMap, HeaderValue},
};
use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::etag;

/// Returns the entity tag of `body`. It is weak, because the content may be sent in several
/// encodings.
pub fn tag(body: &[u8]) -> String {
    format!("W/\"{}\"", digest(body))
}

/// Returns the first bytes of the SHA-256 hash, in hexadecimal.
pub fn digest(body: &[u8]) -> String {
    /// Enough to distinguish all versions of one file.
    const DIGEST_BYTES: usize = 8;
    hex::encode(&Sha256::digest(body)[..DIGEST_BYTES])
}

/// Adds headers that isolate a page from other sites and deny it browser features that it does not
/// use. With Stripe's own element, the frames of Stripe may open windows and request payments.
/// Stripe does not support stronger isolation (cross-origin isolation).
pub fn isolate(headers: &mut HeaderMap, has_stripe_element: bool) {
    const OURS: &str = "accelerometer=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), magnetometer=(), microphone=(), \
                        midi=(), payment=(), usb=()";
    const STRIPE: &str = "accelerometer=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), magnetometer=(), microphone=(), \
                          midi=(), payment=(self \"https://js.stripe.com\" \"https://*.js.stripe.com\" \"https://hooks.stripe.com\"), usb=()";
    let (opener, permissions) = if has_stripe_element {
        ("same-origin-allow-popups", STRIPE)
    } else {
        ("same-origin", OURS)
    };
    headers.insert(header::CROSS_ORIGIN_OPENER_POLICY, HeaderValue::from_static(opener));
    headers.insert(header::CROSS_ORIGIN_RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert(header::PERMISSIONS_POLICY, HeaderValue::from_static(permissions));
}

/// Returns the response with content that does not change while the process runs, or 304 if the
/// client has it.
pub fn serve_bytes(
    req: &HttpRequest,
    body: Bytes,
    content_type: &'static str,
    tag: &str,
) -> HttpResponse {
    let mut answer = if etag::if_none_match(req.headers(), tag) {
        HttpResponse::NotModified()
    } else {
        HttpResponse::Ok()
    };
    answer.insert_header((header::ETAG, tag)).insert_header((header::CACHE_CONTROL, "no-cache"));
    if etag::if_none_match(req.headers(), tag) {
        return answer.finish();
    }
    answer.insert_header((header::CONTENT_TYPE, content_type)).body(body)
}
