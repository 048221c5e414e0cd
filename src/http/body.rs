//! Request bodies: bounded reading, and parsing without derived structs.
//!
//! A body is at most 16 KiB, less than the size to which the read buffer of a connection may grow,
//! and a connection has one body at a time. These bodies need no budget. Longer bodies have one
//! (`body_budget.rs`).
//!
//! Structs derived by `serde` stop at the first error. Here each member is parsed from its own
//! text, and all errors, including repeated members, are reported together.

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

/// Maximum length of an ordinary body, in bytes; a longer body is 413.
pub const BODY_BYTES_MAX: usize = 16 * 1024;
/// Maximum time in which a body must arrive; a slower body is 408.
const BODY_TIME_MAX: std::time::Duration = std::time::Duration::from_secs(15);

/// Maximum nesting depth of a body, far beyond the depth of any valid one.
const DEPTH_MAX: usize = 128;

/// Message about an invalid member.
pub type FieldError = Cow<'static, str>;

/// Reads a body of at most `bytes_max` bytes to its end. Returns no bytes if the request has no
/// body.
///
/// # Errors
/// 415 for another content type, before anything is read; 413 as soon as the limit is exceeded,
/// without reading the rest; 408.
pub async fn read(
    req: &HttpRequest,
    payload: &mut Payload,
    bytes_max: usize,
) -> Result<Bytes, ApiError> {
    if expected_bytes(req, bytes_max)?.is_none() {
        return Ok(Bytes::new());
    }
    let mut body = pin!(collect(payload, bytes_max));
    // Most bodies arrive together with their heads and need no timer.
    if let Some(body) = body.as_mut().now_or_never() {
        return body;
    }
    Box::pin(tokio::time::timeout(BODY_TIME_MAX, body))
        .await
        .unwrap_or_else(|_| Err(ApiError::new(Code::RequestTimeout)))
}

/// Returns the maximum length of the body according to the head of the request, in bytes; `None`
/// without a body.
///
/// # Errors
/// 415 for another content type or a content encoding; 413 for a longer body.
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

/// Reads and drops a short body that no handler needs, so that the connection can be used again. A
/// longer body is not read here: actix-http then closes the connection or, for a chunked body,
/// reads and drops the rest.
pub async fn discard(req: &HttpRequest, payload: &mut Payload) {
    if announced(req.headers()).flatten().is_some_and(|length| length <= BODY_BYTES_MAX as u64) {
        // The response is the same if the body is incomplete.
        let _ = tokio::time::timeout(BODY_TIME_MAX, collect(payload, BODY_BYTES_MAX)).await;
    }
}

/// Returns the announced length in bytes: `None` without a body, `Some(None)` for a body of unknown
/// length.
fn announced(headers: &HeaderMap) -> Option<Option<u64>> {
    if headers.contains_key(header::TRANSFER_ENCODING) {
        return Some(None);
    }
    let length = headers
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()
        .and_then(|text| text.trim().parse().ok());
    // An empty body with a content type is a body that is not JSON.
    if length == Some(0) && !headers.contains_key(header::CONTENT_TYPE) {
        None
    } else {
        Some(length)
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let essence =
        text(header::CONTENT_TYPE).and_then(|value| value.split(';').next()).unwrap_or_default();
    let plain = !headers.contains_key(header::CONTENT_ENCODING)
        || text(header::CONTENT_ENCODING)
            .is_some_and(|coding| coding.eq_ignore_ascii_case("identity"));
    essence.trim().eq_ignore_ascii_case("application/json") && plain
}

async fn collect(payload: &mut Payload, bytes_max: usize) -> Result<Bytes, ApiError> {
    let broken = |_| ApiError::with_message(Code::MalformedJson, "The body ended early.");
    let Some(first) = payload.next().await.transpose().map_err(broken)? else {
        return Ok(Bytes::new());
    };
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
    ApiError::with_message(
        Code::BodyTooLarge,
        format!("The body must have at most {} KiB.", bytes_max / 1024),
    )
}

/// Members of a JSON object that a route uses, each as its own text.
#[derive(Debug)]
pub struct Form<'a> {
    members: Vec<ObjectMember<'a>>,
    errors: Vec<Detail>,
}

#[derive(Debug)]
struct ObjectMember<'a> {
    name: &'static str,
    value: Option<&'a RawValue>,
    is_repeated: bool,
}

impl<'a> Form<'a> {
    /// Parses a body and keeps the members in `names`. JSON that is not an object has none of them.
    ///
    /// # Errors
    /// 400 `malformed_json` for bytes that are not JSON in UTF-8, for nesting deeper than 128
    /// levels, and for unpaired surrogates.
    pub fn parse(body: &'a [u8], names: &[&'static str]) -> Result<Self, ApiError> {
        let text = std::str::from_utf8(body)
            .map_err(|_| ApiError::with_message(Code::MalformedJson, "The body is not UTF-8."))?;
        if nesting_depth(text) > DEPTH_MAX {
            return Err(ApiError::with_message(
                Code::MalformedJson,
                "The body is nested too deeply.",
            ));
        }
        let members = names
            .iter()
            .map(|&name| ObjectMember { name, value: None, is_repeated: false })
            .collect();
        let mut form = Self { members, errors: Vec::new() };
        let mut json = serde_json::Deserializer::from_str(text);
        let parsed = if text.trim_start_matches([' ', '\t', '\r', '\n']).starts_with('{') {
            json.deserialize_map(ObjectVisitor(&mut form.members))
        } else {
            serde::Deserialize::deserialize(&mut json).map(|IgnoredAny| ())
        };
        match parsed.and_then(|()| json.end()) {
            Ok(()) if form.members.iter().filter_map(|member| member.value).all(is_unicode) => {
                Ok(form)
            }
            Ok(()) => Err(ApiError::with_message(
                Code::MalformedJson,
                "A string in the body has an unpaired surrogate.",
            )),
            Err(error) => Err(ApiError::with_message(
                Code::MalformedJson,
                format!("The body is not JSON (line {}, column {}).", error.line(), error.column()),
            )),
        }
    }

    /// Checks an optional body that must be an object. Its members are ignored.
    ///
    /// # Errors
    /// 400 for another JSON value, and for bytes that are not JSON.
    pub fn check_ignored_object(body: &'a [u8]) -> Result<(), ApiError> {
        if body.is_empty() {
            return Ok(());
        }
        Self::parse(body, &[])?;
        if body.trim_ascii_start().starts_with(b"{") {
            Ok(())
        } else {
            Err(ApiError::invalid("body", "must be an object, or left out"))
        }
    }

    /// Returns a required member. `None`: an error was recorded.
    pub fn required<T>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, FieldError>,
    ) -> Option<T> {
        let value = self.optional(name, parse);
        if value.is_none() && !self.errors.iter().any(|error| error.field == Some(name)) {
            self.add_error(name, "is required");
        }
        value
    }

    /// Returns an optional member. `None`: the member is absent, or an error was recorded.
    pub fn optional<T>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, FieldError>,
    ) -> Option<T> {
        let member = self.members.iter().find(|member| member.name == name)?;
        if member.is_repeated {
            self.add_error(name, "is given twice");
            return None;
        }
        match parse(member.value?.get()) {
            Ok(value) => Some(value),
            Err(error) => {
                self.add_error(name, error);
                None
            }
        }
    }

    /// Returns `input` unless an error was recorded. `input` is `None` only if an error was
    /// recorded.
    ///
    /// # Errors
    /// 400 `validation_failed` with all recorded errors.
    pub fn finish<T>(self, input: Option<T>) -> Result<T, ApiError> {
        match input {
            Some(input) if self.errors.is_empty() => Ok(input),
            _ => Err(ApiError::validation(self.errors)),
        }
    }

    fn add_error(&mut self, field: &'static str, message: impl Into<FieldError>) {
        self.errors.push(Detail { message: message.into(), field: Some(field) });
    }
}

/// Returns the nesting depth of brackets and braces. The text need not be valid JSON.
fn nesting_depth(text: &str) -> usize {
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

/// Returns whether a value is not a string, or is a string of Unicode characters. The grammar of
/// JSON allows unpaired surrogates.
fn is_unicode(value: &RawValue) -> bool {
    let raw = value.get();
    !raw.starts_with('"') || !raw.contains("\\u") || serde_json::from_str::<String>(raw).is_ok()
}

/// Returns the text of a JSON string.
pub fn text(raw: &str) -> Result<String, FieldError> {
    if !raw.starts_with('"') {
        return Err("must be a string".into());
    }
    serde_json::from_str(raw).map_err(|_| "must be a string of Unicode characters".into())
}

/// Visitor that stores the used members of an object and skips the other ones.
struct ObjectVisitor<'m, 'a>(&'m mut Vec<ObjectMember<'a>>);

impl<'a> Visitor<'a> for ObjectVisitor<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(index) = map.next_key_seed(MemberNames(self.0))? {
            let Some(index) = index else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let value = map.next_value::<&'a RawValue>()?;
            let member = &mut self.0[index];
            member.is_repeated = member.value.is_some();
            member.value = Some(value);
        }
        Ok(())
    }
}

/// Deserializer of a key to the index of its member.
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
        f.write_str("the name of a member")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().position(|member| member.name == key))
    }
}

#[cfg(test)]
#[path = "body_tests.rs"]
mod tests;
