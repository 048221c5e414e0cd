//! The values in requests about accounts and in their answers.

use std::{fmt, net::IpAddr};

use crate::domain::{Email, NewPassword, PublicUser, SessionDigest, Timestamp, UserId};

/// The secret in a session's cookie: 32 random bytes, in base64url.
#[derive(Clone)]
pub struct SessionToken(pub String);

impl fmt::Debug for SessionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionToken(…)")
    }
}

/// The user and session of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedIn {
    pub user: UserId,
    pub session: SessionDigest,
    pub expires_at: Timestamp,
}

/// The browser that signs up or in.
#[derive(Debug, Clone)]
pub struct Browser {
    pub network: IpAddr,
    /// The session of the cookie that the browser sent, of any user. It ends in the commit that
    /// opens the new session.
    pub former: Option<SignedIn>,
}

/// A change of the user's own account. If `email` and `password` are `None`, only the current
/// password is checked.
#[derive(Clone)]
pub struct UserUpdate {
    pub email: Option<Email>,
    pub password: Option<NewPassword>,
    pub current_password: String,
}

impl fmt::Debug for UserUpdate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserUpdate")
            .field("email", &self.email)
            .field("password", &self.password.is_some())
            .finish_non_exhaustive()
    }
}

/// An account after a change.
#[derive(Debug, Clone)]
pub struct UserUpdated {
    pub public_user: PublicUser,
    /// Token of the session that replaces the session of the request, after a change of password.
    pub token: Option<SessionToken>,
}
