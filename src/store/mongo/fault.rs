//! Errors of our own among the driver's, and all of them as one line of text.

use mongodb::error::Error;

/// Something that the driver does not call an error, but that is one to us.
#[derive(Debug)]
struct ReplyError(String);

/// An error of ours, where the driver's type is asked for.
pub(super) fn fault(what: impl Into<String>) -> Error {
    Error::custom(ReplyError(what.into()))
}

/// For logs and for whoever runs the server; never for clients.
pub(super) fn describe(error: &Error) -> String {
    match error.get_custom::<ReplyError>() {
        Some(ReplyError(what)) => what.clone(),
        None => error.kind.to_string().replace(['\n', '\r'], " "),
    }
}
