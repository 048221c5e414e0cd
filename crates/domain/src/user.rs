//! Users and their sessions.

use serde::{Deserialize, Serialize};

use super::{Email, Timestamp, UserId, Version};

/// A person who sells or buys.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct User {
    #[serde(rename = "_id")]
    pub id: UserId,
    pub email: Email,
    /// Argon2id hash in PHC string format.
    pub password_hash: String,
    pub version: Version,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// The part of a user that is shown to clients and stored in events: without the password hash.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PublicUser {
    pub id: UserId,
    pub email: Email,
}

impl From<&User> for PublicUser {
    fn from(user: &User) -> Self {
        Self { id: user.id, email: user.email.clone() }
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
