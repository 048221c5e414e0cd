//! Users and their sessions.

use serde::{Deserialize, Serialize};

use super::{AccountToken, Email, Timestamp, UserId, Version};

/// A person who sells or buys.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct User {
    #[serde(rename = "_id")]
    pub id: UserId,
    pub email: Email,
    /// Whether the user has confirmed that the address is theirs.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub email_verified: bool,
    /// The address that replaces `email` when the user confirms it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending_email: Option<Email>,
    /// Argon2id hash in PHC string format.
    pub password_hash: String,
    /// Tokens that were sent to the user, at most one for each purpose.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tokens: Vec<AccountToken>,
    pub version: Version,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// The part of a user that is shown to clients and stored in events: without the password hash and
/// the tokens.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PublicUser {
    pub id: UserId,
    pub email: Email,
    #[serde(default)]
    pub email_verified: bool,
    #[serde(default)]
    pub pending_email: Option<Email>,
}

impl From<&User> for PublicUser {
    fn from(user: &User) -> Self {
        Self {
            id: user.id,
            email: user.email.clone(),
            email_verified: user.email_verified,
            pending_email: user.pending_email.clone(),
        }
    }
}

/// The SHA-256 of a session's token, in hex. The token itself is stored only in the user's cookie.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionDigest(String);

impl SessionDigest {
    /// Takes 64 hex digits, which are not checked.
    pub fn new(hex: String) -> Self {
        Self(hex)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A signed-in browser.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    #[serde(rename = "_id")]
    pub digest: SessionDigest,
    pub user: UserId,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
}
