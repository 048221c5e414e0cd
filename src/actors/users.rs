//! The user registry: accounts, passwords and sessions.

use std::fmt;

use crate::{
    actors::Fault,
    domain::{Email, IdempotencyKey, SessionDigest, Timestamp, UserCard, UserId},
};

/// A handle on the user registry.
#[derive(Debug, Clone)]
pub struct Users {}

/// The secret in a session's cookie: 32 random bytes, base64url.
#[derive(Clone)]
pub struct SessionToken(pub String);

impl fmt::Debug for SessionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionToken(…)")
    }
}

/// Who sent a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedIn {
    pub user: UserId,
    pub session: SessionDigest,
    pub expires_at: Timestamp,
}

/// What a user changes about themselves. Both `None`: nothing, but the current password is checked all the same.
#[derive(Debug, Clone)]
pub struct UserUpdate {
    pub email: Option<Email>,
    /// 8 to 128 characters, checked by the caller.
    pub password: Option<String>,
    pub current_password: String,
}

impl Users {
    /// `password` has 8 to 128 characters, checked by the caller.
    pub async fn sign_up(&self, _email: Email, _password: String) -> Result<(UserCard, SessionToken), Fault> {
        unimplemented!()
    }

    /// `email` is what the client sent; what is no address is just unknown, in the same time. `client` is the network
    /// address that sign-in rates count.
    pub async fn sign_in(&self, _email: &str, _password: String, _client: &str) -> Result<(UserCard, SessionToken), Fault> {
        unimplemented!()
    }

    /// Revokes the session. One that is gone already is fine.
    pub async fn sign_out(&self, _signed_in: &SignedIn) -> Result<(), Fault> {
        unimplemented!()
    }

    /// Who the token belongs to, if it is a session's that neither ended nor expired.
    pub async fn authenticate(&self, _token: &str) -> Result<Option<SignedIn>, Fault> {
        unimplemented!()
    }

    pub async fn card(&self, _user: UserId) -> Result<Option<UserCard>, Fault> {
        unimplemented!()
    }

    /// Changes email or password; a new password ends the user's other sessions.
    pub async fn update(&self, _who: &SignedIn, _update: UserUpdate, _key: Option<IdempotencyKey>) -> Result<UserCard, Fault> {
        unimplemented!()
    }
}
