//! Answers in JSON.

use actix_web::{
    HttpResponse,
    http::{
        StatusCode,
        header::{self, HeaderValue},
    },
};
use serde::Serialize;

use super::error::ApiError;

/// What every handler comes to.
pub type HandlerResult = Result<HttpResponse, ApiError>;

/// May be kept, but must be asked for again each time.
pub const NO_CACHE: HeaderValue = HeaderValue::from_static("no-cache");
/// Is somebody's own, and kept by nobody else.
pub const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// An answer that no cache may keep.
pub fn json(status: StatusCode, value: &impl Serialize) -> HttpResponse {
    let body = serde_json::to_vec(value).expect("texts and numbers serialise");
    json_bytes(status, body.into(), NO_STORE)
}

/// JSON that is rendered already.
pub fn json_bytes(status: StatusCode, body: bytes::Bytes, caching: HeaderValue) -> HttpResponse {
    HttpResponse::build(status)
        .insert_header((header::CONTENT_TYPE, HeaderValue::from_static("application/json")))
        .insert_header((header::CACHE_CONTROL, caching))
        .body(body)
}

/// An address or tag of our own making as a header's value.
pub fn header_value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("ids and versions are visible ASCII")
}
