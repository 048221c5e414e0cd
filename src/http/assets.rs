//! Functions for embedded files and pages: entity tags from the hash of the content, and headers.
//! The pages are in `pages/`; the page that shows the API documents is in `docs.rs`.

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{self, HeaderMap, HeaderValue},
};
use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::etag;
use crate::payments::processor_config::FormSources;

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

/// The headers that isolate a page from other sites and deny it browser features that it does not
/// use. With a processor's own form of payment, that form's frames may open windows and request
/// payments. Stripe does not support stronger isolation (cross-origin isolation).
#[derive(Debug)]
pub struct Isolation {
    opener: HeaderValue,
    permissions: HeaderValue,
}

impl Isolation {
    pub fn new(element: Option<FormSources>) -> Self {
        let (opener, payment) = match element {
            Some(element) => {
                ("same-origin-allow-popups", format!("self {}", element.payment_origins))
            }
            None => ("same-origin", String::new()),
        };
        let permissions = format!(
            "accelerometer=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), magnetometer=(), microphone=(), \
             midi=(), payment=({payment}), usb=()"
        );
        Self {
            opener: HeaderValue::from_static(opener),
            permissions: HeaderValue::from_str(&permissions).expect("visible ASCII"),
        }
    }

    /// Adds the headers to an answer.
    pub fn apply(&self, headers: &mut HeaderMap) {
        headers.insert(header::CROSS_ORIGIN_OPENER_POLICY, self.opener.clone());
        headers
            .insert(header::CROSS_ORIGIN_RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
        headers.insert(header::PERMISSIONS_POLICY, self.permissions.clone());
    }
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
