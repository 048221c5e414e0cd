//! Responses without the middleware: to bytes that are not a valid request, and to a head that is
//! too large or too slow: problem documents with the headers of every response, except
//! `Strict-Transport-Security`.
//!
//! actix-http responds by itself to requests that it cannot parse, without a body and without the
//! middleware. The stream of the connection ([`super::stream`]) detects such a response in the
//! written bytes and sends one from this module instead.

use std::fmt::Write;

use actix_web::{ResponseError, body::MessageBody, http::header};
use bytes::Bytes;

use crate::http::{
    error::{ApiError, Code},
    middleware,
};

/// Reason for the refusal of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionRefusal {
    /// The bytes are not a valid request.
    Malformed,
    HeadTooLarge,
    HeadTimeout,
    /// The parser reported an internal error.
    Internal,
}

impl ConnectionRefusal {
    /// Returns the label in the metric of ended connections.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Malformed | Self::Internal => "malformed",
            Self::HeadTooLarge => "head_too_large",
            Self::HeadTimeout => "head_timeout",
        }
    }

    /// Returns the label in the metric of responses.
    pub const fn status_class(self) -> &'static str {
        match self {
            Self::Malformed | Self::HeadTooLarge | Self::HeadTimeout => "4xx",
            Self::Internal => "5xx",
        }
    }

    fn error(self) -> ApiError {
        match self {
            Self::Malformed => ApiError::with_message(
                Code::MalformedRequest,
                "The request is not valid HTTP. Bytes outside ASCII in its first line must be percent-encoded.",
            ),
            Self::HeadTooLarge => ApiError::with_message(
                Code::HeadersTooLarge,
                "The request line and headers must have at most 32 KiB and 96 headers.",
            ),
            Self::HeadTimeout => ApiError::with_message(
                Code::RequestTimeout,
                "The request line and headers did not arrive in time.",
            ),
            Self::Internal => ApiError::new(Code::Internal),
        }
    }

    /// Returns the bytes of the response.
    #[expect(
        clippy::disallowed_methods,
        reason = "the Date header is the time of the host, as on all other responses"
    )]
    pub fn response(self) -> Bytes {
        let mut response = self.error().error_response();
        middleware::harden(response.headers_mut(), false);
        let status = response.status();
        let date = header::HttpDate::from(std::time::SystemTime::now());
        let mut head = format!("HTTP/1.1 {status}\r\nconnection: close\r\ndate: {date}\r\n");
        for (name, value) in response.headers() {
            // Writing to a string does not fail. All of these values are ASCII.
            let _ = write!(head, "{name}: {}\r\n", String::from_utf8_lossy(value.as_bytes()));
        }
        let body = response.into_body().try_into_bytes().unwrap_or_default();
        let _ = write!(head, "content-length: {}\r\n\r\n", body.len());
        [head.as_bytes(), &body].concat().into()
    }
}

/// Finds a response that actix-http created by itself at the end of the written bytes. Returns its
/// index and its meaning.
///
/// Such a response has no body and only the headers below; a response of a handler has more
/// headers.
pub fn find(written: &[u8]) -> Option<(usize, ConnectionRefusal)> {
    const LENGTH_MAX: usize = 160;
    const HEADERS: [&str; 3] = ["content-length: 0", "connection: ", "date: "];
    if !written.ends_with(b"\r\n\r\n") {
        return None;
    }
    let from = written.len().saturating_sub(LENGTH_MAX);
    let start = from
        + written[from..].windows(b"HTTP/1.".len()).rposition(|window| window == b"HTTP/1.")?;
    let text = std::str::from_utf8(&written[start..]).ok()?;
    let (line, headers) = text.split_once("\r\n")?;
    let refusal = match line.split(' ').nth(1)? {
        "400" => ConnectionRefusal::Malformed,
        "431" => ConnectionRefusal::HeadTooLarge,
        "500" => ConnectionRefusal::Internal,
        _ => return None,
    };
    let is_bare = headers
        .lines()
        .all(|header| header.is_empty() || HEADERS.iter().any(|bare| header.starts_with(bare)));
    is_bare.then_some((start, refusal))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BARE: &str = "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n";

    #[test]
    fn response_of_the_parser_is_found_alone_and_after_another() {
        assert_eq!(find(BARE.as_bytes()), Some((0, ConnectionRefusal::Malformed)));
        let other = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        assert_eq!(
            find(format!("{other}{BARE}").as_bytes()),
            Some((other.len(), ConnectionRefusal::Malformed))
        );
        let closing = BARE
            .replace("400 Bad Request", "431 Request Header Fields Too Large")
            .replace("date", "connection: close\r\ndate");
        assert_eq!(find(closing.as_bytes()), Some((0, ConnectionRefusal::HeadTooLarge)));
    }

    #[test]
    fn response_of_a_handler_is_not_replaced() {
        let hardened = BARE.replace("date", "x-content-type-options: nosniff\r\ndate");
        let texts = [
            hardened.as_str(),
            &BARE.replace("400 Bad Request", "404 Not Found"),
            &format!("{BARE}{{}}"),
            "",
            "HTTP/1.",
        ];
        for text in texts {
            assert_eq!(find(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn refusal_is_a_problem_document_with_the_headers_of_every_response() {
        for (refusal, status) in [
            (ConnectionRefusal::Malformed, "400 Bad Request"),
            (ConnectionRefusal::HeadTooLarge, "431 Request Header Fields Too Large"),
            (ConnectionRefusal::HeadTimeout, "408 Request Timeout"),
            (ConnectionRefusal::Internal, "500 Internal Server Error"),
        ] {
            let response = String::from_utf8(refusal.response().to_vec()).expect("text");
            let (head, body) = response.split_once("\r\n\r\n").expect("a head and a body");
            assert!(head.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{head}");
            for header in [
                "connection: close",
                "content-type: application/problem+json",
                "x-content-type-options: nosniff",
                "referrer-policy: same-origin",
                "cache-control: no-store",
                &format!("content-length: {}", body.len()),
            ] {
                assert!(
                    head.to_ascii_lowercase().lines().any(|line| line == header),
                    "{header} in {head}"
                );
            }
            let problem: serde_json::Value = serde_json::from_str(body).expect("JSON");
            assert!(
                problem["errors"][0]["message"].is_string()
                    && status.starts_with(&problem["status"].to_string()),
                "{problem}"
            );
        }
    }
}
