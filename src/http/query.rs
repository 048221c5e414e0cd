//! Query parameters. A known parameter that is invalid or repeated is refused; unknown parameters
//! are ignored.

use std::borrow::Cow;

use super::{
    body::FieldError,
    error::{ApiError, Detail},
};

/// Default number of items on a page.
pub const LIMIT_DEFAULT: usize = 100;
/// Maximum number of items on a page.
pub const LIMIT_MAX: usize = 1000;

/// Query parameters of a request, and the errors found in them.
#[derive(Debug)]
pub struct Params {
    /// Names and values. A name that is not UTF-8 is left out; a value that is not UTF-8 is `None`.
    pairs: Vec<(String, Option<String>)>,
    errors: Vec<Detail>,
}

impl Params {
    /// Parses a query string (`application/x-www-form-urlencoded`).
    pub fn parse(query: &str) -> Self {
        let pairs = query.split('&').filter_map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            Some((decode(name)?, decode(value)))
        });
        Self { pairs: pairs.collect(), errors: Vec::new() }
    }

    /// Returns an optional parameter. `None`: the parameter is absent, or an error was recorded.
    pub fn optional<T>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, FieldError>,
    ) -> Option<T> {
        let mut values = self.pairs.iter().filter(|(key, _)| key == name).map(|(_, value)| value);
        let parsed = match (values.next()?, values.next()) {
            (_, Some(_)) => Err(Cow::Borrowed("is given twice")),
            (Some(value), None) => parse(value),
            (None, None) => Err(Cow::Borrowed("must be text in UTF-8")),
        };
        parsed.map_err(|message| self.errors.push(Detail { message, field: Some(name) })).ok()
    }

    /// Returns `limit`. A value out of range is an error and is not clamped.
    pub fn limit(&mut self) -> usize {
        let parse = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            let limit = text.parse().ok().filter(|limit| digits && (1..=LIMIT_MAX).contains(limit));
            limit.ok_or(Cow::Borrowed("must be a number between 1 and 1000"))
        };
        self.optional("limit", parse).unwrap_or(LIMIT_DEFAULT)
    }

    /// Checks that no error was recorded.
    ///
    /// # Errors
    /// 400 `validation_failed` with all recorded errors.
    pub fn finish(self) -> Result<(), ApiError> {
        if self.errors.is_empty() { Ok(()) } else { Err(ApiError::validation(self.errors)) }
    }
}

/// Decodes a name or value (`application/x-www-form-urlencoded`). A percent sign without two
/// hexadecimal digits stays as it is. `None`: the bytes are not UTF-8.
pub fn decode(encoded: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let escaped = after.get(..2).filter(|_| first == b'%').and_then(|digits| {
            let digit = |at: usize| char::from(digits[at]).to_digit(16);
            u8::try_from(digit(0)? * 16 + digit(1)?).ok()
        });
        rest = if escaped.is_some() { &after[2..] } else { after };
        bytes.push(escaped.unwrap_or(if first == b'+' { b' ' } else { first }));
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(query: &str) -> Result<usize, ApiError> {
        let mut params = Params::parse(query);
        let limit = params.limit();
        params.finish().map(|()| limit)
    }

    #[test]
    fn limit_out_of_range_is_refused_and_not_clamped() {
        assert_eq!(limit("").expect("valid"), 100);
        assert_eq!(limit("limit=1").expect("valid"), 1);
        assert_eq!(limit("x=1&x=2&limit=1000&%ff=%zz").expect("valid"), 1000);
        for query in [
            "limit=0",
            "limit=1001",
            "limit=-1",
            "limit=%2B5",
            "limit=1.0",
            "limit=",
            "limit",
            "limit=99999999999999999999999",
            "limit=1&limit=1",
        ] {
            assert!(limit(query).is_err(), "{query}");
        }
    }

    #[test]
    fn value_that_is_not_utf_8_is_refused_and_unknown_name_is_ignored() {
        for query in ["limit=%FF", "limit=1%C3"] {
            assert!(limit(query).is_err(), "{query}");
        }
        assert_eq!(limit("%FF=1&x=%FF&=&&&limit=3").expect("valid"), 3);
        assert_eq!(decode("a+b%20%C3%A9%2B100%%zz%4").as_deref(), Some("a b é+100%%zz%4"));
    }

    #[test]
    fn names_are_decoded_before_the_comparison() {
        assert!(limit("limit=1&l%69mit=2").is_err());
    }
}
