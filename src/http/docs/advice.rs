//! Advice for each error code: what a client can do. The documentation shows it after the code's
//! title.

use crate::http::error::Code;

/// Returns a few sentences, with `code` between backticks.
pub const fn of(code: Code) -> &'static str {
    match code {
        Code::ValidationFailed => {
            "`errors` names each member, parameter or header that is not valid, and why. Correct them and send the request again."
        }
        Code::MalformedJson => "Send a body that is one JSON document.",
        Code::MalformedRequest => {
            "The request line or a header breaks the rules of HTTP. Check the client or the proxy that wrote it."
        }
        Code::InvalidSignature => {
            "Check the webhook's signing secret and the clock of the server; a signature is valid for 300 seconds."
        }
        Code::InvalidToken => {
            "The link was used, replaced by a newer one, or is too old. Request a new mail."
        }
        Code::NotSignedIn => {
            "Sign in, or send the session cookie. A session also ends by itself after some days."
        }
        Code::InvalidCredentials => {
            "The answer does not say whether the email address or the password is wrong."
        }
        Code::CardDeclined => {
            "The order stays open: pay with another card before its time is over. `charge` holds the failed charge with the reason."
        }
        Code::NotOwner => {
            "Only the user who listed the ticket, or who placed the order, may do this."
        }
        Code::OwnTicket => "Delete the listing instead if it should not be sold.",
        Code::CrossOrigin => {
            "Only pages of this site may send requests that change something, or open `/ws`. Clients without a browser send no `Origin` header."
        }
        Code::WrongCurrentPassword => {
            "A change of email address or password needs the current password. Ten wrong ones in a row end the session."
        }
        Code::NotFound => {
            "The address, or an id in it or in the body, does not exist, or the ticket was taken off sale."
        }
        Code::MethodNotAllowed => "The `Allow` header lists the methods of this address.",
        Code::RequestTimeout => "Send the request again, on a connection that is fast enough.",
        Code::OtherUser => {
            "`GitTix-User` names another user than the session belongs to. Nothing was done. Find out who is signed in before you try again."
        }
        Code::EmailInUse => {
            "Sign in to the account that has this email address, or choose another one."
        }
        Code::TicketLocked => {
            "It becomes available again if the order that holds it is not paid. A `TicketUpdated` frame on the WebSocket announces that."
        }
        Code::TicketSold => "This is final. Choose another ticket.",
        Code::PriceChanged => {
            "Load the ticket, show its new price, and order again with the new `expectedPrice`."
        }
        Code::TicketChanged => {
            "Order again with the new `expectedVersion` once the buyer has seen the change."
        }
        Code::OrderExpired => "Place a new order once the ticket is available again.",
        Code::OrderNotPayable => "Place a new order if the ticket is still available.",
        Code::OrderCompleted => "The order is paid, and the ticket belongs to the buyer.",
        Code::PaymentInFlight => {
            "Wait for its outcome: load the charge, or wait for a `ChargeCompleted` or `ChargeFailed` frame."
        }
        Code::IdempotencyInFlight => {
            "Wait a moment and send the same request again: you then receive the outcome of the first one."
        }
        Code::TooManyListings => "Take a ticket off sale, or wait until one is sold.",
        Code::VersionMismatch => {
            "Load the ticket, apply the change to what it is now, and send its new `ETag` as `If-Match`."
        }
        Code::BodyTooLarge => "Send less: bodies have at most 16 KiB (webhook: 256 KiB).",
        Code::UnsupportedMediaType => "Set the header `Content-Type: application/json`.",
        Code::IdempotencyKeyReused => {
            "Use a new key for each new request; a retry repeats method, path and body exactly."
        }
        Code::HeadersTooLarge => {
            "Send fewer or shorter headers. Cookies of other sites on the same host count too."
        }
        Code::UpgradeRequired => {
            "Connect with a WebSocket client, which sends the headers of the handshake."
        }
        Code::TooManyRequests => "Wait as many seconds as the `Retry-After` header says.",
        Code::TooManyLocks => {
            "Pay or cancel an order that you have, or wait as many seconds as the `Retry-After` header says."
        }
        Code::Internal => {
            "The error is in the server's log. Trying again may help; with the same `Idempotency-Key` it is safe."
        }
        Code::Unavailable => {
            "Try again after as many seconds as the `Retry-After` header says. Send the same `Idempotency-Key`: the operation may have been done, and \
             is not done twice."
        }
        Code::OutcomeUnknown => {
            "Send the same request with the same `Idempotency-Key` again: it is done at most once, and you receive its outcome."
        }
    }
}
