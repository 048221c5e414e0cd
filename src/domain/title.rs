//! A ticket's title.

use std::fmt;

use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;

/// What a ticket is for: trimmed, NFC, 1 to 200 characters, no controls.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Title(Box<str>);

/// Why a text is no title.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TitleError {
    #[error("must not be empty")]
    Empty,
    #[error("must have at most 200 characters")]
    TooLong,
    #[error("must not contain control characters")]
    Control,
}

impl Title {
    /// In Unicode scalar values, counted after normalization.
    pub const CHARS_MAX: usize = 200;

    /// Brings `text` into its stored form.
    pub fn parse(text: &str) -> Result<Self, TitleError> {
        let title: String = text.trim().nfc().collect();
        if title.is_empty() {
            return Err(TitleError::Empty);
        }
        if title.chars().any(char::is_control) {
            return Err(TitleError::Control);
        }
        if title.chars().count() > Self::CHARS_MAX {
            return Err(TitleError::TooLong);
        }
        Ok(Self(title.into_boxed_str()))
    }

    /// The stored form.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Title {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stored_form_is_trimmed_and_composed() {
        assert_eq!(Title::parse("  Cafe\u{301} del Mar ").map(|t| t.to_string()), Ok("Café del Mar".into()));
        assert_eq!(Title::parse(&"é".repeat(200)).map(|t| t.as_str().chars().count()), Ok(200));
    }

    #[test]
    fn what_is_no_title_says_why() {
        assert_eq!(Title::parse(" \t\n"), Err(TitleError::Empty));
        assert_eq!(Title::parse("a\u{0}b"), Err(TitleError::Control));
        assert_eq!(Title::parse("a\nb"), Err(TitleError::Control));
        assert_eq!(Title::parse(&"x".repeat(201)), Err(TitleError::TooLong));
    }
}
