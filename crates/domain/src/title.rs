//! A ticket's title.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::text::{TextError, visible_text};

/// The text that describes a ticket: trimmed, NFC, 1 to 200 characters, one line, with at least one
/// visible character.
///
/// A stored title is not checked. Earlier versions had fewer rules, and tickets with such titles
/// can still be read, sold and deleted.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Title(Box<str>);

impl Title {
    /// Maximum length in Unicode scalar values, counted after normalization.
    pub const CHARS_MAX: usize = 200;

    /// Returns the stored form of `text`.
    ///
    /// # Errors
    /// The errors of [`visible_text`].
    pub fn parse(text: &str) -> Result<Self, TextError> {
        visible_text(text, Self::CHARS_MAX).map(Self)
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
    fn stored_form_is_trimmed_and_composed() {
        assert_eq!(
            Title::parse("  Cafe\u{301} del Mar ").map(|t| t.to_string()),
            Ok("Café del Mar".into())
        );
        assert_eq!(Title::parse(&"é".repeat(200)).map(|t| t.as_str().chars().count()), Ok(200));
    }

    #[test]
    fn invalid_title_returns_its_reason() {
        assert_eq!(Title::parse(" \t\n"), Err(TextError::Empty));
        assert_eq!(Title::parse("a\u{0}b"), Err(TextError::Control));
        assert_eq!(Title::parse("a\nb"), Err(TextError::Control));
        assert_eq!(Title::parse(&"x".repeat(201)), Err(TextError::TooLong { chars_max: 200 }));
        assert_eq!(Title::parse("\u{200B}"), Err(TextError::Invisible));
    }
}
