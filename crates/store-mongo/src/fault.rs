//! Errors of this store in the driver's error type, and the text of errors.

use mongodb::error::Error;

/// An error that this store detects, for example in a reply that the driver accepted.
#[derive(Debug)]
struct ReplyError(String);

/// Builds an error of this store as an error of the driver.
pub(super) fn fault(what: impl Into<String>) -> Error {
    Error::custom(ReplyError(what.into()))
}

/// Returns the error as one line of text for logs and operators. Clients must not see it.
pub(super) fn describe(error: &Error) -> String {
    match error.get_custom::<ReplyError>() {
        Some(ReplyError(what)) => what.clone(),
        None => error.kind.to_string().replace(['\n', '\r'], " "),
    }
}
