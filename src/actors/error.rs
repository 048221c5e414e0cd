//! The errors of requests to the actors.

use crate::{
    domain::{Millis, PasswordError, Refusal},
    store::{CommitError, Unavailable},
};

/// The errors of all methods of the handles. `http/error.rs` maps each variant to an HTTP answer,
/// exhaustively.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ActorError {
    /// The rules refuse the command.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The ticket, order or charge does not exist.
    #[error("not found")]
    NotFound,
    #[error("the email address is in use")]
    EmailInUse,
    /// The email address is unknown or the password is wrong. The answer does not say which.
    #[error("wrong email or password")]
    InvalidCredentials,
    /// This account cannot have this password.
    #[error("password {0}")]
    Password(#[from] PasswordError),
    /// `currentPassword` of a signed-in user is wrong.
    #[error("wrong current password")]
    WrongCurrentPassword,
    /// The session ended while the request ran.
    #[error("not signed in")]
    NotSignedIn,
    /// The payment processor has no such token.
    #[error("the payment processor has no such token")]
    UnknownToken,
    /// The token of a link is unknown, was used, was replaced by a newer one, or has expired.
    #[error("the token is not valid")]
    InvalidToken,
    /// There were too many mails to this address, or from this network.
    #[error("too many mails")]
    TooManyMails { retry_after: Millis },
    /// There were too many attempts to sign in.
    #[error("too many attempts")]
    TooManySignInAttempts { retry_after: Millis },
    /// The user has the maximum number of tickets on sale.
    #[error("too many tickets on sale")]
    TooManyListings,
    /// Another request used the Idempotency-Key meanwhile. The caller looks its record up again.
    #[error("the idempotency key was used")]
    KeyUsed,
    /// The request may be repeated soon: a queue is full, a job waited too long, another task works
    /// on the payment or the order, other requests changed the document too often, or the rules or
    /// an actor panicked.
    #[error("busy: {0}")]
    Busy(&'static str),
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// The request may have been carried out or not.
    #[error("the outcome is not known")]
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
            CommitError::Stale => Self::Busy("another request changed it"),
            CommitError::EmailInUse => Self::EmailInUse,
            CommitError::SlotsFull => {
                Self::Refused(Refusal::TooManyLocks { retry_after: Millis::from_secs(60) })
            }
            CommitError::KeyUsed => Self::KeyUsed,
            CommitError::Unavailable(detail) => Self::Unavailable(detail),
            CommitError::OutcomeUnknown(_) => Self::OutcomeUnknown,
        }
    }
}
