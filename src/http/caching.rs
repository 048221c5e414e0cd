//! Values of the header `Cache-Control`.

use actix_web::http::header::HeaderValue;

/// For content that a cache may keep but must revalidate before each use.
pub const NO_CACHE: HeaderValue = HeaderValue::from_static("no-cache");
/// For content that no cache may keep, such as content of one user.
pub const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
