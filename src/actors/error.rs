//! Why a request to the actors failed.

use crate::{
    domain::{Millis, PasswordError, Refusal},
    store::{CommitError, Unavailable},
};

/// Everything that a handle's method can fail with. `http/error.rs` maps each to its answer, exhaustively.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ActorError {
    /// The rules say no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// There is no such ticket, order or charge.
    #[error("not found")]
    NotFound,
    #[error("the email address is in use")]
    EmailInUse,
    /// An unknown email or a wrong password: nobody learns which.
    #[error("wrong email or password")]
    InvalidCredentials,
    /// The password cannot be chosen for this account.
    #[error("password {0}")]
    Password(#[from] PasswordError),
    /// `currentPassword` of a signed-in user is wrong.
    #[error("wrong current password")]
    WrongCurrentPassword,
    /// The session ended while the request ran.
    #[error("not signed in")]
    NotSignedIn,
    /// The payment processor does not know the token.
    #[error("the token is not known to the payment processor")]
    UnknownToken,
    /// Too many attempts to sign in.
    #[error("too many attempts")]
    TooManySignInAttempts { retry_after: Millis },
    /// The user has as many tickets on sale as they may.
    #[error("too many tickets on sale")]
    TooManyListings,
    /// The Idempotency-Key was used meanwhile: look its record up again.
    #[error("the idempotency key was used")]
    KeyUsed,
    /// A queue is full, or an actor is in a faulted state.
    #[error("busy: {0}")]
    Busy(&'static str),
    #[error("unavailable: {0}")]
    Unavailable(String),
    #[error("whether it was done is not known")]
    OutcomeUnknown,
}

impl From<Unavailable> for ActorError {
    fn from(Unavailable(detail): Unavailable) -> Self {
        Self::Unavailable(detail)
    }
}

impl From<CommitError> for ActorError {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Stale => Self::Busy("changed by others again and again"),
            CommitError::EmailInUse => Self::EmailInUse,
            CommitError::SlotsFull => Self::Refused(Refusal::TooManyLocks { retry_after: Millis::from_secs(60) }),
            CommitError::KeyUsed => Self::KeyUsed,
            CommitError::Unavailable(detail) => Self::Unavailable(detail),
            CommitError::OutcomeUnknown(_) => Self::OutcomeUnknown,
        }
    }
}
