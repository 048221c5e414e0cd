//! Versions as entity tags (RFC 9110 §8.8.3, §13.1): `ETag`, `If-Match`, `If-None-Match`.

use actix_web::http::header::{self, HeaderMap, HeaderName};

use super::error::ApiError;
use crate::domain::Version;

/// Value of `If-Match` or `If-None-Match`.
#[derive(Debug, PartialEq, Eq)]
enum Tags<'a> {
    /// `*`
    Any,
    List(Vec<Tag<'a>>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tag<'a> {
    weak: bool,
    opaque: &'a str,
}

/// Condition of a change.
#[derive(Debug, PartialEq, Eq)]
pub enum Precondition {
    /// No condition, or only that the resource exists.
    None,
    /// The resource must have one of these versions. An empty list matches no version.
    OneOf(Vec<Version>),
}

/// Returns the strong entity tag of a version.
pub fn of(version: Version) -> String {
    format!("\"{version}\"")
}

/// Returns the condition of `If-Match`. The comparison is strong: a weak tag never matches.
///
/// # Errors
/// 400 for a value that is not a list of tags. Ignoring it would make the change unconditional.
pub fn if_match(headers: &HeaderMap) -> Result<Precondition, ApiError> {
    let Some(text) = joined(headers, &header::IF_MATCH).transpose() else {
        return Ok(Precondition::None);
    };
    let malformed =
        || ApiError::invalid("If-Match", "must be * or a list of entity tags, such as \"3\"");
    match text.ok().as_deref().and_then(parse).ok_or_else(malformed)? {
        Tags::Any => Ok(Precondition::None),
        Tags::List(tags) => Ok(Precondition::OneOf(
            tags.into_iter()
                .filter(|tag| !tag.weak)
                .filter_map(|tag| version(tag.opaque))
                .collect(),
        )),
    }
}

/// Returns whether the client has `etag` already. The comparison is weak. A value that is not a
/// list of tags matches nothing.
pub fn if_none_match(headers: &HeaderMap, etag: &str) -> bool {
    let Ok(Some(text)) = joined(headers, &header::IF_NONE_MATCH) else { return false };
    let opaque = etag.trim_start_matches("W/").trim_matches('"');
    match parse(&text) {
        Some(Tags::Any) => true,
        Some(Tags::List(tags)) => tags.iter().any(|tag| tag.opaque == opaque),
        None => false,
    }
}

/// Returns all lines of a list header as one list (RFC 9110 §5.3). `Err`: the value is not ASCII.
fn joined(headers: &HeaderMap, name: &HeaderName) -> Result<Option<String>, ()> {
    let lines: Vec<&str> = headers
        .get_all(name)
        .map(|line| line.to_str().map_err(|_| ()))
        .collect::<Result<_, ()>>()?;
    Ok((!lines.is_empty()).then(|| lines.join(", ")))
}

fn parse(text: &str) -> Option<Tags<'_>> {
    let mut rest = text.trim();
    if rest == "*" {
        return Some(Tags::Any);
    }
    let mut tags = Vec::new();
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        if rest.is_empty() {
            break;
        }
        let (weak, quoted) = rest.strip_prefix("W/").map_or((false, rest), |quoted| (true, quoted));
        let (opaque, after) = quoted.strip_prefix('"')?.split_once('"')?;
        if !opaque.bytes().all(|b| b.is_ascii_graphic()) {
            return None;
        }
        rest = after.trim_start_matches([' ', '\t']);
        if !rest.is_empty() && !rest.starts_with(',') {
            return None;
        }
        tags.push(Tag { weak, opaque });
    }
    (!tags.is_empty()).then_some(Tags::List(tags))
}

/// Returns the version of a tag, if the tag has the form in which this server writes versions.
fn version(opaque: &str) -> Option<Version> {
    opaque.parse().ok().filter(|version: &Version| version.to_string() == opaque)
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn precondition(lines: &[&'static str]) -> Result<Precondition, ApiError> {
        let request = lines
            .iter()
            .fold(TestRequest::get(), |request, line| request.append_header(("if-match", *line)));
        if_match(request.to_http_request().headers())
    }

    fn is_known(lines: &[&'static str], version: Version) -> bool {
        let request = lines.iter().fold(TestRequest::get(), |request, line| {
            request.append_header(("if-none-match", *line))
        });
        if_none_match(request.to_http_request().headers(), &of(version))
    }

    #[test]
    fn if_match_compares_strongly() {
        assert_eq!(precondition(&[]).expect("valid"), Precondition::None);
        assert_eq!(precondition(&[" * "]).expect("valid"), Precondition::None);
        assert_eq!(precondition(&["\"3\""]).expect("valid"), Precondition::OneOf(vec![3]));
        assert_eq!(
            precondition(&["\"3\" , \"5\"", "\"7\""]).expect("valid"),
            Precondition::OneOf(vec![3, 5, 7])
        );
        assert_eq!(
            precondition(&["W/\"3\", \"03\", \"+3\", \"abc\", \"\""]).expect("valid"),
            Precondition::OneOf(vec![])
        );
    }

    #[test]
    fn malformed_if_match_is_refused() {
        for text in ["3", "", ",", "\"3", "\"3\" \"4\"", "w/\"3\"", "*, \"3\"", "\"a b\""] {
            assert!(precondition(&[text]).is_err(), "{text:?}");
        }
    }

    #[test]
    fn if_none_match_compares_weakly() {
        assert!(
            is_known(&["\"3\""], 3)
                && is_known(&["W/\"3\""], 3)
                && is_known(&["\"1\",\"3\""], 3)
                && is_known(&["*"], 3)
        );
        assert!(!is_known(&[], 3) && !is_known(&["\"13\""], 3) && !is_known(&["3"], 3));
    }
}
