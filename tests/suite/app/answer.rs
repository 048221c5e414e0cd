//! An HTTP answer, checked against the rules of the contract that apply to every answer.

use std::ops::Index;

use reqwest::header::HeaderMap;
use serde_json::Value;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// HTTP answer, read completely.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Method and path of the request.
    pub asked: String,
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
    /// `Null` if the text is not JSON.
    pub body: Value,
}

impl Answer {
    /// # Panics
    /// If the answer violates a rule that applies to every answer.
    pub fn new(asked: String, status: u16, headers: HeaderMap, text: String) -> Self {
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        let answer = Self { asked, status, headers, text, body };
        answer.assert_common_rules();
        answer
    }

    fn assert_common_rules(&self) {
        assert_eq!(self.header("x-content-type-options"), "nosniff", "{self:?}");
        assert_ne!(self.header("referrer-policy"), "", "{self:?}");
        assert_eq!(self.header("server"), "", "{self:?}");
        assert_ne!(self.status, 500, "{self:?}");
        if self.status >= 400 {
            self.assert_problem();
        }
    }

    fn assert_problem(&self) {
        if self.asked.starts_with("HEAD ") {
            return;
        }
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        assert_eq!(self.body["status"], self.status, "{self:?}");
        for member in ["type", "title", "code"] {
            assert!(
                self.body[member].as_str().is_some_and(|text| !text.is_empty()),
                "{member} of {self:?}"
            );
        }
        let errors = self.body["errors"].as_array().unwrap_or_else(|| panic!("errors of {self:?}"));
        assert!(!errors.is_empty(), "{self:?}");
        for error in errors {
            assert!(error["message"].as_str().is_some_and(|text| !text.is_empty()), "{self:?}");
            assert!(self.code() != "validation_failed" || error["field"].is_string(), "{self:?}");
        }
        if matches!(self.status, 429 | 503) {
            let seconds = self.header("retry-after").parse::<u64>();
            assert!(seconds.as_ref().is_ok_and(|seconds| *seconds > 0), "{seconds:?} in {self:?}");
        }
        for detail in ["panicked", "redb", "mongodb", "MongoDB", "src/", ".rs:", "Backtrace"] {
            assert!(!self.text.contains(detail), "{detail:?} is an internal detail: {self:?}");
        }
    }

    /// # Panics
    /// If the status is another one.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{} answered {}", self.asked, self.text);
        self
    }

    /// # Panics
    /// If the status or the problem code is another one.
    #[track_caller]
    pub fn refused(self, status: u16, code: &str) -> Self {
        assert_eq!(
            (self.status, self.code()),
            (status, code),
            "{} answered {}",
            self.asked,
            self.text
        );
        self
    }

    /// # Panics
    /// If the answer is not 400 `validation_failed` with an error on this field.
    #[track_caller]
    pub fn invalid(self, field: &str) -> Self {
        let answer = self.refused(400, "validation_failed");
        let named = answer.body["errors"]
            .as_array()
            .is_some_and(|errors| errors.iter().any(|error| error["field"] == field));
        assert!(named, "{} answered {}, without {field}", answer.asked, answer.text);
        answer
    }

    /// Returns the problem code; empty if the answer is not a problem.
    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    #[track_caller]
    pub fn id(&self) -> String {
        self.body["id"].as_str().unwrap_or_else(|| panic!("no id in {self:?}")).to_owned()
    }

    /// Returns the header's value; empty if there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Returns the elements of the body, which must be a bare array.
    #[track_caller]
    pub fn items(&self) -> &[Value] {
        self.body.as_array().unwrap_or_else(|| panic!("no array in {self:?}"))
    }

    /// Returns the ids of the elements of the body, which must be a bare array, in its order.
    #[track_caller]
    pub fn ids(&self) -> Vec<String> {
        self.items().iter().map(|item| item["id"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// Returns path and query of `Link: <…>; rel="next"`, if there is a next page.
    pub fn next_page(&self) -> Option<String> {
        let link = self.header("link").split(',').find(|link| link.contains("rel=\"next\""))?;
        let target = link.split_once('<')?.1.split_once('>')?.0;
        let path = target.find("/api/").map_or(target, |at| &target[at..]);
        Some(path.to_owned())
    }
}

impl Index<&str> for Answer {
    type Output = Value;
    fn index(&self, member: &str) -> &Value {
        &self.body[member]
    }
}

/// Returns an RFC 3339 time with milliseconds, in UTC, as milliseconds since the epoch.
///
/// # Panics
/// If the time is not written in the form that the contract fixes.
#[track_caller]
pub fn millis(time: &Value) -> i64 {
    let text = time.as_str().unwrap_or_else(|| panic!("not a time: {time}"));
    assert!(
        text.len() == 24 && text.ends_with('Z') && text.as_bytes()[19] == b'.',
        "{text} is not RFC 3339 UTC with milliseconds"
    );
    let parsed =
        OffsetDateTime::parse(text, &Rfc3339).unwrap_or_else(|error| panic!("{text}: {error}"));
    i64::try_from(parsed.unix_timestamp_nanos() / 1_000_000)
        .expect("a present-day time fits an i64")
}
