//! The changes of an account that a link in a mail causes: confirmation of an email address, and a
//! new password.
//!
//! A user has at most one token for each purpose: a new one replaces the former one. A token is in
//! the document of its user, so that the commit that uses it also removes it, under the condition
//! of the user's version. Of two uses of one token at once, one fails.

use serde::{Deserialize, Serialize};

use super::{Email, Millis, Timestamp, User};

/// What a token permits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TokenPurpose {
    /// To confirm an email address.
    Verify,
    /// To set a new password.
    Reset,
}

impl TokenPurpose {
    /// Returns the time for which a token can be used. Source: docs/adr/0019-mail-outbox.md.
    pub const fn lifetime(self) -> Millis {
        match self {
            Self::Verify => Millis::from_mins(24 * 60),
            Self::Reset => Millis::from_mins(60),
        }
    }

    /// Returns the name of the purpose, which is a part of what a token is made of.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Verify => "verify",
            Self::Reset => "reset",
        }
    }
}

/// The random part that a token is made of: 16 bytes, in hex. Only the outbox has it, until the
/// mail is sent.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TokenNonce(pub Box<str>);

/// The SHA-256 of a token, in hex.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AccountTokenDigest(pub Box<str>);

/// A token that was sent to a user and can be used once.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AccountToken {
    pub purpose: TokenPurpose,
    pub digest: AccountTokenDigest,
    /// The address that the token was sent to.
    pub email: Email,
    pub expires_at: Timestamp,
}

impl User {
    /// Returns the address that is to be confirmed: the pending one, or the present one.
    pub fn address_to_verify(&self) -> &Email {
        self.pending_email.as_ref().unwrap_or(&self.email)
    }

    /// Adds a token. It replaces the earlier token of its purpose.
    #[must_use]
    pub fn with_token(
        self,
        purpose: TokenPurpose,
        digest: AccountTokenDigest,
        now: Timestamp,
    ) -> Self {
        let email = match purpose {
            TokenPurpose::Verify => self.address_to_verify().clone(),
            TokenPurpose::Reset => self.email.clone(),
        };
        let token = AccountToken { purpose, digest, email, expires_at: now + purpose.lifetime() };
        let others = self.tokens.iter().filter(|other| other.purpose != purpose).cloned();
        let tokens = others.chain([token]).collect();
        Self { tokens, ..self }
    }

    /// Returns the token with this digest and purpose, unless it has expired.
    pub fn token(
        &self,
        purpose: TokenPurpose,
        digest: &AccountTokenDigest,
        now: Timestamp,
    ) -> Option<&AccountToken> {
        self.tokens.iter().find(|token| {
            token.purpose == purpose && token.digest == *digest && now < token.expires_at
        })
    }

    /// Returns the user with another pending address, or without one if `email` is the present
    /// address. All tokens are removed. The version is not changed.
    #[must_use]
    pub fn with_pending_email(self, email: Email) -> Self {
        let pending_email = Some(email).filter(|email| *email != self.email);
        Self { pending_email, tokens: Vec::new(), ..self }
    }

    /// Returns the user after the confirmation of the address that the token was sent to. A pending
    /// address replaces the present one, and all tokens are removed. `None` if the user has no such
    /// token.
    #[must_use]
    pub fn verified(&self, digest: &AccountTokenDigest, now: Timestamp) -> Option<Self> {
        let token = self.token(TokenPurpose::Verify, digest, now)?;
        let is_pending = self.pending_email.as_ref() == Some(&token.email);
        let others = self.tokens.iter().filter(|other| *other != token && !is_pending);
        Some(Self {
            email: token.email.clone(),
            email_verified: true,
            pending_email: self.pending_email.clone().filter(|_| !is_pending),
            tokens: others.cloned().collect(),
            version: self.version + 1,
            updated_at: now,
            ..self.clone()
        })
    }

    /// Returns the user with a new password. All tokens are removed. The address is verified,
    /// because the token was sent to it. `None` if the user has no such token.
    #[must_use]
    pub fn with_reset_password(
        &self,
        digest: &AccountTokenDigest,
        password_hash: String,
        now: Timestamp,
    ) -> Option<Self> {
        self.token(TokenPurpose::Reset, digest, now)?;
        Some(Self {
            password_hash,
            email_verified: true,
            pending_email: None,
            tokens: Vec::new(),
            version: self.version + 1,
            updated_at: now,
            ..self.clone()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    const NOW: Timestamp = Timestamp(1_000_000);

    fn digest(name: &str) -> AccountTokenDigest {
        AccountTokenDigest(name.into())
    }

    #[test]
    fn token_verifies_the_address_once() {
        let user = samples::user().with_token(TokenPurpose::Verify, digest("a"), NOW);
        let verified = user.verified(&digest("a"), NOW).expect("the token is valid");
        assert!(verified.email_verified);
        assert_eq!(verified.version, user.version + 1);
        assert_eq!(verified.verified(&digest("a"), NOW), None);
    }

    #[test]
    fn token_is_valid_before_its_end_and_for_its_purpose_only() {
        let user = samples::user().with_token(TokenPurpose::Reset, digest("a"), NOW);
        let end = NOW + TokenPurpose::Reset.lifetime();
        assert!(user.token(TokenPurpose::Reset, &digest("a"), end - Millis(1)).is_some());
        assert!(user.token(TokenPurpose::Reset, &digest("a"), end).is_none());
        assert_eq!(user.verified(&digest("a"), NOW), None);
        assert_eq!(user.with_reset_password(&digest("b"), "hash".into(), NOW), None);
    }

    #[test]
    fn newer_token_replaces_the_earlier_one_of_its_purpose() {
        let user = samples::user()
            .with_token(TokenPurpose::Verify, digest("v"), NOW)
            .with_token(TokenPurpose::Reset, digest("a"), NOW)
            .with_token(TokenPurpose::Reset, digest("b"), NOW);
        assert!(user.token(TokenPurpose::Reset, &digest("a"), NOW).is_none());
        assert!(user.token(TokenPurpose::Reset, &digest("b"), NOW).is_some());
        assert!(user.token(TokenPurpose::Verify, &digest("v"), NOW).is_some());
    }

    #[test]
    fn confirmed_pending_address_replaces_the_present_one_and_voids_other_tokens() {
        let other = Email::parse("ann@example.org").expect("an address");
        let user = samples::user()
            .with_token(TokenPurpose::Verify, digest("old"), NOW)
            .with_pending_email(other.clone())
            .with_token(TokenPurpose::Verify, digest("new"), NOW)
            .with_token(TokenPurpose::Reset, digest("r"), NOW);
        assert_eq!(user.verified(&digest("old"), NOW), None);
        let user = user.verified(&digest("new"), NOW).expect("the token is valid");
        assert_eq!((&user.email, &user.pending_email), (&other, &None));
        assert!(user.email_verified && user.tokens.is_empty(), "{user:?}");
    }

    #[test]
    fn present_address_ends_a_pending_change() {
        let other = Email::parse("ann@example.org").expect("an address");
        let user = samples::user().with_pending_email(other);
        let present = user.email.clone();
        assert_eq!(user.with_pending_email(present).pending_email, None);
    }

    #[test]
    fn reset_sets_the_password_verifies_the_address_and_removes_all_tokens() {
        let user = samples::user().with_token(TokenPurpose::Verify, digest("v"), NOW).with_token(
            TokenPurpose::Reset,
            digest("a"),
            NOW,
        );
        let user = user.with_reset_password(&digest("a"), "new".into(), NOW).expect("valid");
        assert_eq!(user.password_hash, "new");
        assert!(user.email_verified && user.tokens.is_empty(), "{user:?}");
    }
}
