//! An answer, held against what the contract promises of every one of them.

use std::ops::Index;

use reqwest::header::HeaderMap;
use serde_json::Value;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// An HTTP answer that was read whole.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Method and path that it answers.
    pub asked: String,
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
    /// `Null` if it is no JSON.
    pub body: Value,
}

impl Answer {
    /// # Panics
    /// If it breaks a promise that holds for every answer.
    pub fn new(asked: String, status: u16, headers: HeaderMap, text: String) -> Self {
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        let answer = Self { asked, status, headers, text, body };
        answer.keeps_the_common_promises();
        answer
    }

    fn keeps_the_common_promises(&self) {
        assert_eq!(self.header("x-content-type-options"), "nosniff", "{self:?}");
        assert_ne!(self.header("referrer-policy"), "", "{self:?}");
        assert_eq!(self.header("server"), "", "{self:?}");
        assert_ne!(self.status, 500, "{self:?}");
        if self.status >= 400 {
            self.is_a_problem();
        }
    }

    fn is_a_problem(&self) {
        if self.asked.starts_with("HEAD ") {
            return;
        }
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        assert_eq!(self.body["status"], self.status, "{self:?}");
        for member in ["type", "title", "code"] {
            assert!(self.body[member].as_str().is_some_and(|text| !text.is_empty()), "{member} of {self:?}");
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
            assert!(!self.text.contains(detail), "{detail:?} tells too much: {self:?}");
        }
    }

    /// # Panics
    /// Unless it has this status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{} answered {}", self.asked, self.text);
        self
    }

    /// # Panics
    /// Unless it is this problem.
    #[track_caller]
    pub fn refused(self, status: u16, code: &str) -> Self {
        assert_eq!((self.status, self.code()), (status, code), "{} answered {}", self.asked, self.text);
        self
    }

    /// # Panics
    /// Unless it is 400 `validation_failed` and names this field.
    #[track_caller]
    pub fn invalid(self, field: &str) -> Self {
        let answer = self.refused(400, "validation_failed");
        let named = answer.body["errors"].as_array().is_some_and(|errors| errors.iter().any(|error| error["field"] == field));
        assert!(named, "{} answered {}, not naming {field}", answer.asked, answer.text);
        answer
    }

    /// Empty for an answer that is no problem.
    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    #[track_caller]
    pub fn id(&self) -> String {
        self.body["id"].as_str().unwrap_or_else(|| panic!("an id in {self:?}")).to_owned()
    }

    /// Empty if there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The elements of a bare array.
    #[track_caller]
    pub fn items(&self) -> &[Value] {
        self.body.as_array().unwrap_or_else(|| panic!("an array in {self:?}"))
    }

    /// The ids of a bare array, in its order.
    #[track_caller]
    pub fn ids(&self) -> Vec<String> {
        self.items().iter().map(|item| item["id"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// Path and query of `Link: <…>; rel="next"`, if there is a next page.
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

/// An RFC 3339 time with milliseconds, in UTC, as milliseconds since the epoch.
///
/// # Panics
/// If it is written in any other way than the contract's.
#[track_caller]
pub fn millis(time: &Value) -> i64 {
    let text = time.as_str().unwrap_or_else(|| panic!("a time, not {time}"));
    assert!(text.len() == 24 && text.ends_with('Z') && text.as_bytes()[19] == b'.', "{text} is not RFC 3339 UTC with milliseconds");
    let parsed = OffsetDateTime::parse(text, &Rfc3339).unwrap_or_else(|error| panic!("{text}: {error}"));
    i64::try_from(parsed.unix_timestamp_nanos() / 1_000_000).expect("a time of our days")
}
