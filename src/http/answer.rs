//! JSON responses.

use actix_web::{
    HttpResponse,
    http::{
        StatusCode,
        header::{self, HeaderValue},
    },
};
use serde::Serialize;

use super::{caching::NO_STORE, error::ApiError};

/// Result of a handler.
pub type HandlerResult = Result<HttpResponse, ApiError>;

/// Returns a JSON response that no cache may keep.
pub fn json(status: StatusCode, value: &impl Serialize) -> HttpResponse {
    let body = serde_json::to_vec(value).expect("the value consists of strings and numbers");
    json_bytes(status, body.into(), NO_STORE)
}

/// Returns a response with rendered JSON.
pub fn json_bytes(status: StatusCode, body: bytes::Bytes, caching: HeaderValue) -> HttpResponse {
    HttpResponse::build(status)
        .insert_header((header::CONTENT_TYPE, HeaderValue::from_static("application/json")))
        .insert_header((header::CACHE_CONTROL, caching))
        .body(body)
}

/// Returns an address or entity tag of this server as the value of a header. `text` must be visible
/// ASCII.
pub fn header_value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("ids and versions are visible ASCII")
}
