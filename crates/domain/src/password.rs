//! Rules for new passwords.

use std::{borrow::Cow, fmt};

use unicode_normalization::{UnicodeNormalization, is_nfc};

use super::Email;

/// Common passwords of 8 and more characters, one a line, in lower case. Origin and licence:
/// `common_passwords.md`.
const COMMON: &str = include_str!("common_passwords.txt");

/// A password for a new account or a password change, in NFC: 8 to 128 characters, not a common
/// password and not one repeated character. It is never trimmed or truncated.
#[derive(Clone, PartialEq, Eq)]
pub struct NewPassword(Box<str>);

/// The reason why a password is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    #[error("must have 8 to 128 characters")]
    Length,
    #[error("must not be one repeated character")]
    Repeated,
    #[error("is one of the most common passwords; choose another one")]
    Common,
    #[error("is too close to the email address or to the name of this site; choose another one")]
    LikeEmail,
}

impl NewPassword {
    /// Minimum length in Unicode scalar values after NFC. NIST SP 800-63B §5.1.1.2 requires a
    /// minimum of at least 8, and recommends that at least 64 are permitted.
    pub const CHARS_MIN: usize = 8;
    /// Maximum length. Argon2 accepts any length; the maximum bounds the work of each request.
    pub const CHARS_MAX: usize = 128;
    /// Minimum number of characters outside the parts of the email address and the site's name.
    const OWN_CHARS_MIN: usize = 6;
    /// Minimum length of a local part that is compared with the password.
    const LOCAL_PART_CHARS_MIN: usize = 3;
    const SITE: &str = "gittix";

    /// Brings `text` into NFC and applies the rules that do not depend on the user.
    ///
    /// # Errors
    /// The first rule that the password breaks.
    pub fn parse(text: &str) -> Result<Self, PasswordError> {
        let password = normalized(text);
        if !(Self::CHARS_MIN..=Self::CHARS_MAX).contains(&password.chars().count()) {
            return Err(PasswordError::Length);
        }
        let folded = password.to_lowercase();
        let mut chars = folded.chars();
        let first = chars.next();
        if chars.all(|c| Some(c) == first) {
            return Err(PasswordError::Repeated);
        }
        if COMMON.lines().any(|common| common == folded) {
            return Err(PasswordError::Common);
        }
        Ok(Self(password.into()))
    }

    /// Checks that the password is not made of the email address of its user.
    ///
    /// # Errors
    /// [`PasswordError::LikeEmail`].
    pub fn check_for(&self, email: &Email) -> Result<(), PasswordError> {
        if Email::parse(&self.0).as_ref() == Ok(email) {
            return Err(PasswordError::LikeEmail);
        }
        let (local, domain) = email.as_str().rsplit_once('@').unwrap_or_default();
        // A label in IDNA's ASCII form is compared in Unicode too, because people type it in
        // Unicode.
        let (unicode_domain, _) = idna::domain_to_unicode(domain);
        let mut parts: Vec<&str> =
            domain.split('.').chain(unicode_domain.split('.')).chain([Self::SITE]).collect();
        if local.chars().count() >= Self::LOCAL_PART_CHARS_MIN {
            parts.push(local);
        }
        let own = chars_outside(&normalized(&self.0.to_lowercase()), &parts);
        if own < Self::OWN_CHARS_MIN { Err(PasswordError::LikeEmail) } else { Ok(()) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for NewPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NewPassword(…)")
    }
}

/// Returns the form of a password that is hashed. Keyboards of different systems send the same
/// characters composed or decomposed.
pub fn normalized(password: &str) -> Cow<'_, str> {
    if is_nfc(password) { password.into() } else { password.nfc().collect::<String>().into() }
}

/// Returns the number of characters of `text` that are in no occurrence of any of `parts`.
fn chars_outside(text: &str, parts: &[&str]) -> usize {
    let mut inside = vec![false; text.len()];
    for part in parts.iter().filter(|part| !part.is_empty()) {
        for (start, _) in text.char_indices().filter(|(start, _)| text[*start..].starts_with(part))
        {
            inside[start..start + part.len()].fill(true);
        }
    }
    text.char_indices().filter(|(start, _)| !inside[*start]).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(password: &str, email: &str) -> Result<(), PasswordError> {
        NewPassword::parse(password)?.check_for(&Email::parse(email).expect("the address is valid"))
    }

    #[test]
    fn password_is_changed_only_by_nfc() {
        assert_eq!(
            NewPassword::parse(" Tr0ub4dor ").map(|password| password.as_str().to_owned()),
            Ok(" Tr0ub4dor ".into())
        );
        assert_eq!(
            NewPassword::parse("cafe\u{301} cre\u{300}me"),
            NewPassword::parse("café crème")
        );
        assert_eq!(
            NewPassword::parse("café crème").map(|password| password.as_str().chars().count()),
            Ok(10)
        );
    }

    #[test]
    fn length_counts_characters_after_nfc() {
        let decomposed = |chars: usize| "e\u{301}a".repeat(chars / 2);
        assert_eq!(
            NewPassword::parse(&decomposed(6)),
            Err(PasswordError::Length),
            "9 characters before NFC, 6 after"
        );
        assert!(NewPassword::parse(&decomposed(8)).is_ok());
        assert!(
            NewPassword::parse(&decomposed(128)).is_ok(),
            "192 characters before NFC, 128 after"
        );
        assert_eq!(NewPassword::parse(&decomposed(130)), Err(PasswordError::Length));
        assert_eq!(NewPassword::parse(&"ab".repeat(65)), Err(PasswordError::Length));
        assert_eq!(NewPassword::parse("1234567"), Err(PasswordError::Length));
    }

    #[test]
    fn repeated_character_is_refused() {
        for password in
            ["aaaaaaaa", "        ", "😀😀😀😀😀😀😀😀", "AaAaAaAaAa", &"e\u{301}".repeat(20)]
        {
            assert_eq!(NewPassword::parse(password), Err(PasswordError::Repeated), "{password:?}");
        }
        assert!(NewPassword::parse("aaaaaaab").is_ok());
    }

    #[test]
    fn common_password_is_refused_in_any_case() {
        for password in
            ["password", "PassWord", "12345678", "QWERTYUIOP", "iloveyou", "starwars", "mercedes"]
        {
            assert_eq!(NewPassword::parse(password), Err(PasswordError::Common), "{password}");
        }
        for password in ["correct horse", "password is fine with more", "12345678 "] {
            assert!(NewPassword::parse(password).is_ok(), "{password}");
        }
    }

    #[test]
    fn common_password_list_has_only_valid_lengths_and_is_sorted() {
        let lines: Vec<&str> = COMMON.lines().collect();
        assert!(lines.len() > 5_000, "{}", lines.len());
        assert!(lines.is_sorted());
        for line in lines {
            assert!(
                (NewPassword::CHARS_MIN..=NewPassword::CHARS_MAX).contains(&line.chars().count()),
                "{line}"
            );
            assert_eq!(line, normalized(&line.to_lowercase()), "{line}");
        }
    }

    #[test]
    fn password_made_of_the_email_address_is_refused() {
        for password in [
            "ann@example.com",
            " ANN@Example.COM",
            "annexample",
            "Ann-Example-Com",
            "gittix2026",
            "GitTix-ann-12",
            "annannann",
            "example12345",
        ] {
            assert_eq!(
                checked(password, "ann@example.com"),
                Err(PasswordError::LikeEmail),
                "{password}"
            );
        }
        assert_eq!(checked("büchergittix", "ann@bücher.example"), Err(PasswordError::LikeEmail));
        assert_eq!(checked("xn--bcher-kva", "ann@bücher.example"), Err(PasswordError::LikeEmail));
    }

    #[test]
    fn password_with_6_characters_of_its_own_is_accepted() {
        for password in ["ann correct", "example123456", "gittix horses"] {
            assert_eq!(checked(password, "ann@example.com"), Ok(()), "{password}");
        }
        assert_eq!(
            checked("jo12345x", "jo@example.com"),
            Ok(()),
            "a local part of 2 characters is not compared"
        );
        assert_eq!(checked("jon1234x", "jon@example.com"), Err(PasswordError::LikeEmail));
    }

    #[test]
    fn debug_output_does_not_show_the_password() {
        let password = NewPassword::parse("correct horse").expect("the password is accepted");
        assert!(!format!("{password:?}").contains("horse"));
    }
}
