//! Email addresses in one canonical form, so that two spellings of an address cannot have two
//! accounts.

use std::fmt;

use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;

use super::text::is_default_ignorable;

/// An email address: trimmed, NFC, local part in lower case, domain in IDNA's ASCII form (UTS #46),
/// at most 254 characters before and after normalization. The limit of RFC 5321 §4.5.3.1.3 counts
/// octets; this one counts characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Email(Box<str>);

/// The reason why a text is not an email address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EmailError {
    #[error("must be an email address, such as ann@example.com")]
    Shape,
    #[error("must have at most 254 characters")]
    TooLong,
    #[error("must not contain spaces, control characters or characters that cannot be seen")]
    Character,
}

impl Email {
    /// Maximum length in characters, before and after the domain is converted to its ASCII form.
    pub const CHARS_MAX: usize = 254;

    /// Converts `text` to its canonical form.
    pub fn parse(text: &str) -> Result<Self, EmailError> {
        let text: String = text.trim().nfc().collect();
        if text.chars().count() > Self::CHARS_MAX {
            return Err(EmailError::TooLong);
        }
        if text.chars().any(|c| {
            c.is_control() || c.is_whitespace() || is_bidi_control(c) || is_default_ignorable(c)
        }) {
            return Err(EmailError::Character);
        }
        let (local, domain) = text.rsplit_once('@').ok_or(EmailError::Shape)?;
        if local.is_empty()
            || local.contains(['@', '<', '>', '(', ')', ',', ';', ':', '\\', '"', '[', ']'])
        {
            return Err(EmailError::Shape);
        }
        if local.starts_with('.') || local.ends_with('.') || local.contains("..") {
            return Err(EmailError::Shape);
        }
        let domain = canonical_domain(domain)?;
        // Conversion to lower case may decompose a character (İ becomes i with a dot above), so the
        // result is normalized to NFC again.
        let local: String = local.to_lowercase().nfc().collect();
        let email = format!("{local}@{domain}");
        if email.chars().count() > Self::CHARS_MAX {
            return Err(EmailError::TooLong);
        }
        Ok(Self(email.into_boxed_str()))
    }

    /// Returns the canonical form.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn canonical_domain(domain: &str) -> Result<String, EmailError> {
    let domain = idna::domain_to_ascii_strict(domain).map_err(|_| EmailError::Shape)?;
    let labels = domain.split('.').collect::<Vec<_>>();
    let valid = labels.len() >= 2
        && labels
            .iter()
            .all(|label| !label.is_empty() && !label.starts_with('-') && !label.ends_with('-'));
    if valid { Ok(domain) } else { Err(EmailError::Shape) }
}

/// Whether `c` has Unicode's property Bidi_Control (UAX #9). All such characters are
/// default-ignorable in the present version of Unicode. They are listed here too, because a later
/// version may change that.
fn is_bidi_control(c: char) -> bool {
    matches!(c, '\u{61C}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

impl fmt::Display for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn spellings_of_one_address_have_one_canonical_form() {
        for text in ["ann@example.com", "  ANN@Example.COM\n", "Ann@EXAMPLE.com"] {
            assert_eq!(
                Email::parse(text).map(|e| e.to_string()),
                Ok("ann@example.com".into()),
                "{text:?}"
            );
        }
        assert_eq!(
            Email::parse("Jose\u{301}@Bücher.example"),
            Email::parse("JOSÉ@xn--bcher-kva.example")
        );
    }

    #[test]
    fn invalid_address_returns_its_reason() {
        for text in [
            "",
            "ann",
            "@example.com",
            "ann@",
            "ann@example",
            "ann@.com",
            "a@b@c.com",
            "ann@-x.com",
            ".ann@example.com",
            "ann@exa_mple.com",
        ] {
            assert_eq!(Email::parse(text), Err(EmailError::Shape), "{text:?}");
        }
        for text in [
            "an n@example.com",
            "ann\u{0}@example.com",
            "ann\u{202E}@example.com",
            "ann\u{200B}@example.com",
        ] {
            assert_eq!(Email::parse(text), Err(EmailError::Character), "{text:?}");
        }
        for hidden in [
            '\u{AD}',
            '\u{34F}',
            '\u{115F}',
            '\u{17B4}',
            '\u{180E}',
            '\u{2064}',
            '\u{3164}',
            '\u{FE0F}',
            '\u{FFA0}',
            '\u{E0041}',
        ] {
            assert_eq!(
                Email::parse(&format!("a{hidden}nn@example.com")),
                Err(EmailError::Character),
                "{hidden:?} in the local part"
            );
            assert_eq!(
                Email::parse(&format!("ann@exam{hidden}ple.com")),
                Err(EmailError::Character),
                "{hidden:?} in the domain"
            );
        }
        assert_eq!(
            Email::parse(&format!("{}@example.com", "a".repeat(243))),
            Err(EmailError::TooLong)
        );
    }

    proptest! {
        #[test]
        fn canonical_form_is_parsed_to_itself(text in "\\PC{1,20}@[a-zA-Zäöü]{1,10}\\.[a-z]{2,4}") {
            if let Ok(email) = Email::parse(&text) {
                prop_assert_eq!(Email::parse(email.as_str()), Ok(email));
            }
        }
    }
}
