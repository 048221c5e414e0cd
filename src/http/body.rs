//! Request bodies: read within bounds, taken apart by hand.
//!
//! A body is at most 16 KiB, less than the connection's own read buffer, and there are as many as there are connections: they
//! need no budget of their own. What may be longer has one (`body_budget.rs`).
//!
//! `serde`'s derived structs stop at the first mistake and let the last of two members win; here every member is judged on
//! its own text, all mistakes are reported together, and a member given twice is one.

use std::{borrow::Cow, pin::pin};

use actix_web::{
    HttpRequest,
    dev::Payload,
    http::header::{self, HeaderMap},
    web::{Bytes, BytesMut},
};
use futures_util::{FutureExt, StreamExt};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::error::{ApiError, Code, Detail};

/// Bodies beyond this are 413.
pub const BODY_BYTES_MAX: usize = 16 * 1024;
/// A body that takes longer to arrive is 408.
const BODY_TIME_MAX: std::time::Duration = std::time::Duration::from_secs(15);

/// How deep a body may nest: far deeper than anybody means to.
const LEVELS_MAX: usize = 128;

/// Why a member is not what it should be.
pub type FieldError = Cow<'static, str>;

/// Reads a body of at most `bytes_max` to its end; empty if there is none.
///
/// # Errors
/// 415 for another content type, before anything is read; 413 as soon as the limit is passed, without reading on; 408.
pub async fn read(req: &HttpRequest, payload: &mut Payload, bytes_max: usize) -> Result<Bytes, ApiError> {
    if expected_bytes(req, bytes_max)?.is_none() {
        return Ok(Bytes::new());
    }
    let mut body = pin!(collect(payload, bytes_max));
    // Most bodies came with their heads: no timer for them.
    if let Some(body) = body.as_mut().now_or_never() {
        return body;
    }
    Box::pin(tokio::time::timeout(BODY_TIME_MAX, body)).await.unwrap_or_else(|_| Err(ApiError::new(Code::RequestTimeout)))
}

/// The most bytes that the body of a request can have, by its head; `None` if there is no body.
///
/// # Errors
/// 415 for another content type; 413 for a longer one.
pub fn expected_bytes(req: &HttpRequest, bytes_max: usize) -> Result<Option<usize>, ApiError> {
    let Some(length) = announced(req.headers()) else { return Ok(None) };
    if !is_json(req.headers()) {
        return Err(ApiError::new(Code::UnsupportedMediaType));
    }
    match length.map(usize::try_from) {
        Some(Ok(length)) if length <= bytes_max => Ok(Some(length)),
        Some(_) => Err(too_large(bytes_max)),
        None => Ok(Some(bytes_max)),
    }
}

/// Takes a body that nobody wants off the connection, if it is short: with a longer one the connection is closed.
pub async fn discard(req: &HttpRequest, payload: &mut Payload) {
    if announced(req.headers()).flatten().is_some_and(|length| length <= BODY_BYTES_MAX as u64) {
        // Whether it came whole does not matter: the answer is the same.
        let _ = tokio::time::timeout(BODY_TIME_MAX, collect(payload, BODY_BYTES_MAX)).await;
    }
}

/// `None`: no body follows. `Some(None)`: one of unknown length.
fn announced(headers: &HeaderMap) -> Option<Option<u64>> {
    if headers.contains_key(header::TRANSFER_ENCODING) {
        return Some(None);
    }
    let length = headers.get(header::CONTENT_LENGTH)?.to_str().ok().and_then(|text| text.trim().parse().ok());
    // Nothing at all under a content type is a body that is not JSON, rather than none.
    if length == Some(0) && !headers.contains_key(header::CONTENT_TYPE) { None } else { Some(length) }
}

fn is_json(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let essence = text(header::CONTENT_TYPE).and_then(|value| value.split(';').next()).unwrap_or_default();
    let plain = !headers.contains_key(header::CONTENT_ENCODING)
        || text(header::CONTENT_ENCODING).is_some_and(|coding| coding.eq_ignore_ascii_case("identity"));
    essence.trim().eq_ignore_ascii_case("application/json") && plain
}

async fn collect(payload: &mut Payload, bytes_max: usize) -> Result<Bytes, ApiError> {
    let broken = |_| ApiError::with_message(Code::MalformedJson, "The body ended early.");
    let Some(first) = payload.next().await.transpose().map_err(broken)? else { return Ok(Bytes::new()) };
    if first.len() > bytes_max {
        return Err(too_large(bytes_max));
    }
    let Some(second) = payload.next().await.transpose().map_err(broken)? else { return Ok(first) };
    let mut body = BytesMut::from(first.as_ref());
    let mut next = Some(second);
    while let Some(chunk) = next {
        if body.len() + chunk.len() > bytes_max {
            return Err(too_large(bytes_max));
        }
        body.extend_from_slice(&chunk);
        next = payload.next().await.transpose().map_err(broken)?;
    }
    Ok(body.freeze())
}

fn too_large(bytes_max: usize) -> ApiError {
    ApiError::with_message(Code::BodyTooLarge, format!("The body must have at most {} KiB.", bytes_max / 1024))
}

/// The members of an object that a route knows, each as its own text.
#[derive(Debug)]
pub struct Form<'a> {
    members: Vec<ObjectMember<'a>>,
    errors: Vec<Detail>,
}

#[derive(Debug)]
struct ObjectMember<'a> {
    name: &'static str,
    value: Option<&'a RawValue>,
    twice: bool,
}

impl<'a> Form<'a> {
    /// Takes apart a body of which `names` matter. JSON that is no object has none of them.
    ///
    /// # Errors
    /// 400 `malformed_json` for what is not JSON in UTF-8.
    pub fn parse(body: &'a [u8], names: &[&'static str]) -> Result<Self, ApiError> {
        let text = std::str::from_utf8(body).map_err(|_| ApiError::with_message(Code::MalformedJson, "The body is not UTF-8."))?;
        if levels(text) > LEVELS_MAX {
            return Err(ApiError::with_message(Code::MalformedJson, "The body is nested too deeply."));
        }
        let members = names.iter().map(|&name| ObjectMember { name, value: None, twice: false }).collect();
        let mut form = Self { members, errors: Vec::new() };
        let mut json = serde_json::Deserializer::from_str(text);
        let parsed = if text.trim_start_matches([' ', '\t', '\r', '\n']).starts_with('{') {
            json.deserialize_map(Members(&mut form.members))
        } else {
            serde::Deserialize::deserialize(&mut json).map(|IgnoredAny| ())
        };
        match parsed.and_then(|()| json.end()) {
            Ok(()) if form.members.iter().filter_map(|member| member.value).all(is_unicode) => Ok(form),
            Ok(()) => Err(ApiError::with_message(Code::MalformedJson, "The body has half a surrogate pair in it.")),
            Err(error) => Err(ApiError::with_message(
                Code::MalformedJson,
                format!("The body is not JSON (line {}, column {}).", error.line(), error.column()),
            )),
        }
    }

    /// A body that may be left out, and of which nothing matters but that it is an object.
    ///
    /// # Errors
    /// 400, as for any other body.
    pub fn nothing(body: &'a [u8]) -> Result<(), ApiError> {
        if body.is_empty() {
            return Ok(());
        }
        Self::parse(body, &[])?;
        if body.trim_ascii_start().starts_with(b"{") { Ok(()) } else { Err(ApiError::invalid("body", "must be an object, or left out")) }
    }

    /// A member that must be there. `None`: a complaint was noted.
    pub fn required<T>(&mut self, name: &'static str, parse: impl FnOnce(&str) -> Result<T, FieldError>) -> Option<T> {
        let value = self.optional(name, parse);
        if value.is_none() && !self.errors.iter().any(|error| error.field == Some(name)) {
            self.complain(name, "is required");
        }
        value
    }

    /// A member that may be left out. `None`: it was, or a complaint was noted.
    pub fn optional<T>(&mut self, name: &'static str, parse: impl FnOnce(&str) -> Result<T, FieldError>) -> Option<T> {
        let member = self.members.iter().find(|member| member.name == name)?;
        if member.twice {
            self.complain(name, "is given twice");
            return None;
        }
        match parse(member.value?.get()) {
            Ok(value) => Some(value),
            Err(complaint) => {
                self.complain(name, complaint);
                None
            }
        }
    }

    /// The whole, unless something was complained about. `whole` is `None` only then.
    ///
    /// # Errors
    /// 400 `validation_failed` with every complaint.
    pub fn finish<T>(self, whole: Option<T>) -> Result<T, ApiError> {
        match whole {
            Some(whole) if self.errors.is_empty() => Ok(whole),
            _ => Err(ApiError::validation(self.errors)),
        }
    }

    fn complain(&mut self, field: &'static str, message: impl Into<FieldError>) {
        self.errors.push(Detail { message: message.into(), field: Some(field) });
    }
}

/// How deep brackets and braces nest, whatever else is wrong with the text.
fn levels(text: &str) -> usize {
    let (mut deepest, mut level) = (0usize, 0usize);
    let (mut in_string, mut escaped) = (false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                level += 1;
                deepest = deepest.max(level);
            }
            b']' | b'}' if !in_string => level = level.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// Whether a value, if it is a string, is one of Unicode characters: the grammar lets half a surrogate pair pass.
fn is_unicode(value: &RawValue) -> bool {
    let raw = value.get();
    !raw.starts_with('"') || !raw.contains("\\u") || serde_json::from_str::<String>(raw).is_ok()
}

/// A JSON string's text.
pub fn text(raw: &str) -> Result<String, FieldError> {
    if !raw.starts_with('"') {
        return Err("must be a string".into());
    }
    serde_json::from_str(raw).map_err(|_| "must be a string of Unicode characters".into())
}

/// Fills in members as they come, and skips, however deep, what is not known.
struct Members<'m, 'a>(&'m mut Vec<ObjectMember<'a>>);

impl<'a> Visitor<'a> for Members<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(known) = map.next_key_seed(MemberNames(self.0))? {
            let Some(at) = known else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let value = map.next_value::<&'a RawValue>()?;
            let member = &mut self.0[at];
            member.twice = member.value.is_some();
            member.value = Some(value);
        }
        Ok(())
    }
}

/// Which of the members a key names.
struct MemberNames<'m, 'a>(&'m [ObjectMember<'a>]);

impl<'de> DeserializeSeed<'de> for MemberNames<'_, '_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for MemberNames<'_, '_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a member's name")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().position(|member| member.name == key))
    }
}

#[cfg(test)]
#[path = "body_tests.rs"]
mod tests;
