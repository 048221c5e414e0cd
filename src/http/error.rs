//! Conversion of errors to responses: the table of codes, statuses and titles, and the problem
//! document (RFC 9457).
//!
//! Handlers return [`ApiError`]. Exhaustive matches convert the errors of the actors
//! ([`ActorError`], [`Refusal`]), so that a new variant does not compile without an entry here.
//! Responses contain no details of the store and no stack traces; these are logged.

use std::{borrow::Cow, fmt, sync::LazyLock};

use actix_web::{
    HttpResponse, ResponseError,
    http::{
        StatusCode,
        header::{self, HeaderValue},
    },
};
use bytes::Bytes;
use serde::Serialize;

use super::caching::NO_STORE;
use crate::{
    actors::ActorError,
    domain::{Charge, Millis, Refusal},
    wire::{ChargeView, FailureView},
};

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $status:ident $code:literal $title:literal;)*) => {
        /// Code of a problem document.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code {
            $($(#[$doc])* $variant,)*
        }

        impl Code {
            /// All codes.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            pub const fn status(self) -> StatusCode {
                match self { $(Self::$variant => StatusCode::$status,)* }
            }

            /// Returns the stable, machine-readable text.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }

            /// Returns one sentence for people, which is the same for every occurrence.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)* }
            }
        }
    };
}

codes! {
    ValidationFailed = BAD_REQUEST "validation_failed" "The request contains invalid values.";
    MalformedJson = BAD_REQUEST "malformed_json" "The body is not JSON.";
    MalformedRequest = BAD_REQUEST "malformed_request" "The request is not valid HTTP.";
    InvalidSignature = BAD_REQUEST "invalid_signature" "The signature of the delivery could not be verified.";
    InvalidToken = BAD_REQUEST "invalid_token" "This link is no longer valid.";
    NotSignedIn = UNAUTHORIZED "not_signed_in" "You are not signed in.";
    InvalidCredentials = UNAUTHORIZED "invalid_credentials" "Wrong email or password.";
    CardDeclined = PAYMENT_REQUIRED "card_declined" "The payment was declined.";
    NotOwner = FORBIDDEN "not_owner" "This belongs to another user.";
    OwnTicket = FORBIDDEN "own_ticket" "You cannot order your own ticket.";
    CrossOrigin = FORBIDDEN "cross_origin" "The request came from a page of another site.";
    /// Same text as for a failed sign-in, but another status, because the session stays valid.
    WrongCurrentPassword = FORBIDDEN "invalid_credentials" "The current password is wrong.";
    NotFound = NOT_FOUND "not_found" "The requested resource does not exist.";
    MethodNotAllowed = METHOD_NOT_ALLOWED "method_not_allowed" "This method is not allowed at this address.";
    RequestTimeout = REQUEST_TIMEOUT "request_timeout" "The request did not arrive in time.";
    OtherUser = CONFLICT "other_user" "The signed-in user is not the user that the request names.";
    EmailInUse = CONFLICT "email_in_use" "The email address is in use.";
    TicketLocked = CONFLICT "ticket_locked" "The ticket is locked by an order.";
    TicketSold = CONFLICT "ticket_sold" "The ticket is sold.";
    PriceChanged = CONFLICT "price_changed" "The price has changed.";
    TicketChanged = CONFLICT "ticket_changed" "The seller changed the ticket. Look at it again before you order.";
    OrderExpired = CONFLICT "order_expired" "The time to pay this order is over.";
    OrderNotPayable = CONFLICT "order_not_payable" "The order was cancelled.";
    OrderCompleted = CONFLICT "order_completed" "The order is paid already.";
    PaymentInFlight = CONFLICT "payment_in_flight" "A payment of this order is being processed.";
    IdempotencyInFlight = CONFLICT "idempotency_in_flight" "A request with this Idempotency-Key is being processed.";
    TooManyListings = CONFLICT "too_many_listings" "You have the maximum number of tickets on sale.";
    VersionMismatch = PRECONDITION_FAILED "version_mismatch" "The ticket changed since you read it.";
    BodyTooLarge = PAYLOAD_TOO_LARGE "body_too_large" "The body is too large.";
    UnsupportedMediaType = UNSUPPORTED_MEDIA_TYPE "unsupported_media_type" "The body must be application/json.";
    IdempotencyKeyReused = UNPROCESSABLE_ENTITY "idempotency_key_reused" "This Idempotency-Key was used for another request.";
    HeadersTooLarge = REQUEST_HEADER_FIELDS_TOO_LARGE "headers_too_large" "The request's headers are too large.";
    UpgradeRequired = UPGRADE_REQUIRED "upgrade_required" "This address accepts WebSocket connections only.";
    TooManyRequests = TOO_MANY_REQUESTS "too_many_requests" "Too many requests.";
    TooManyLocks = TOO_MANY_REQUESTS "too_many_locks" "You hold, or recently held, too many locks.";
    Internal = INTERNAL_SERVER_ERROR "internal_error" "Something went wrong on our side.";
    Unavailable = SERVICE_UNAVAILABLE "unavailable" "The service is not available right now.";
    OutcomeUnknown = SERVICE_UNAVAILABLE "outcome_unknown" "It is not known yet whether the request was carried out.";
}

/// One error of a request. `field` is the name of the member, query parameter or header, or `body`
/// for the whole body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Detail {
    #[schema(value_type = String)]
    pub message: Cow<'static, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    pub field: Option<&'static str>,
}

/// Problem document (RFC 9457). `errors` is never empty, so that a client may show its messages
/// only.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Problem<'a> {
    /// Link to the description of the code in the API documentation.
    #[schema(format = "uri-reference")]
    r#type: String,
    title: &'a str,
    /// Status code of the response.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// Stable, machine-readable code.
    code: &'a str,
    #[schema(min_items = 1)]
    errors: &'a [Detail],
    /// Failed charge, with `card_declined`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    charge: Option<ChargeView<'a>>,
}

/// Error of a request, which becomes a problem document.
#[derive(Debug)]
pub struct ApiError {
    code: Code,
    /// Errors of the document; if empty, the title of the code is the only error.
    errors: Vec<Detail>,
    retry_after: Option<Millis>,
    charge: Option<Box<Charge>>,
    /// Value of the `Allow` header, with 405.
    allow: Option<&'static str>,
}

impl ApiError {
    /// Time after which a request to a busy store or actor may be repeated.
    const RETRY_BUSY: Millis = Millis::from_secs(1);
    /// Time after which a request to a store or actor that is not available may be repeated.
    const RETRY_UNAVAILABLE: Millis = Millis::from_secs(2);

    /// Creates an error whose message is the title of `code`.
    pub fn new(code: Code) -> Self {
        Self::with_errors(code, Vec::new())
    }

    pub fn with_message(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self::with_errors(code, vec![Detail { message: message.into(), field: None }])
    }

    /// Creates a 400 with one error, on `field`.
    pub fn invalid(field: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::validation(vec![Detail { message: message.into(), field: Some(field) }])
    }

    /// Creates a 400 with several errors. `errors` must not be empty.
    pub fn validation(errors: Vec<Detail>) -> Self {
        debug_assert!(!errors.is_empty(), "errors must not be empty: clients may show them only");
        Self::with_errors(Code::ValidationFailed, errors)
    }

    /// Creates a 429.
    pub fn too_many_requests(retry_after: Millis) -> Self {
        Self::new(Code::TooManyRequests).retry_after(retry_after)
    }

    /// Creates a 503 whose message says what is not available.
    pub fn unavailable(message: impl Into<Cow<'static, str>>) -> Self {
        Self::with_message(Code::Unavailable, message).retry_after(Self::RETRY_UNAVAILABLE)
    }

    /// Creates a 402 with the Failed charge and the reason of the payment processor.
    pub fn declined(charge: Charge) -> Self {
        let message = charge.failure().map(|failure| FailureView::of(failure).message.to_owned());
        let mut error = Self::with_message(
            Code::CardDeclined,
            message.map_or(Cow::Borrowed(Code::CardDeclined.title()), Cow::Owned),
        );
        error.charge = Some(Box::new(charge));
        error
    }

    /// Creates a 405. `allow` is the value of the `Allow` header.
    pub fn method_not_allowed(allow: &'static str) -> Self {
        let mut error =
            Self::with_message(Code::MethodNotAllowed, format!("Allowed here: {allow}."));
        error.allow = Some(allow);
        error
    }

    pub fn code(&self) -> Code {
        self.code
    }

    fn with_errors(code: Code, errors: Vec<Detail>) -> Self {
        Self { code, errors, retry_after: None, charge: None, allow: None }
    }

    fn retry_after(mut self, after: Millis) -> Self {
        self.retry_after = Some(after);
        self
    }
}

/// Rendered problem documents without details, by code. They are rendered once, because orders for
/// a popular ticket are refused thousands of times a second.
static TITLES: LazyLock<Vec<Bytes>> =
    LazyLock::new(|| Code::ALL.iter().map(|code| render(*code, &[], None)).collect());

fn render(code: Code, errors: &[Detail], charge: Option<&Charge>) -> Bytes {
    let title = [Detail { message: code.title().into(), field: None }];
    let problem = Problem {
        r#type: format!("/docs#{}", code.as_str()),
        title: code.title(),
        status: code.status().as_u16(),
        code: code.as_str(),
        errors: if errors.is_empty() { &title } else { errors },
        charge: charge.map(ChargeView::of),
    };
    serde_json::to_vec(&problem).expect("texts and numbers serialise").into()
}

impl From<ActorError> for ApiError {
    fn from(error: ActorError) -> Self {
        match error {
            ActorError::Refused(refusal) => refusal.into(),
            ActorError::NotFound => Self::new(Code::NotFound),
            ActorError::EmailInUse => Self::new(Code::EmailInUse),
            ActorError::InvalidCredentials => Self::new(Code::InvalidCredentials),
            ActorError::Password(error) => Self::invalid("password", error.to_string()),
            ActorError::WrongCurrentPassword => Self::new(Code::WrongCurrentPassword),
            ActorError::NotSignedIn => Self::new(Code::NotSignedIn),
            ActorError::UnknownToken => {
                Self::invalid("token", "is not known to the payment processor")
            }
            ActorError::TooManySignInAttempts { retry_after } => {
                Self::too_many_requests(retry_after)
            }
            ActorError::InvalidToken => Self::new(Code::InvalidToken),
            ActorError::TooManyMails { retry_after } => Self::with_message(
                Code::TooManyRequests,
                "Too many mails were sent. Try again later.",
            )
            .retry_after(retry_after),
            ActorError::TooManyListings => Self::new(Code::TooManyListings),
            ActorError::KeyUsed => Self::new(Code::IdempotencyInFlight),
            ActorError::Busy(what) => {
                tracing::debug!(
                    what,
                    "request rejected because a part of the server is busy; see `what`"
                );
                Self::new(Code::Unavailable).retry_after(Self::RETRY_BUSY)
            }
            ActorError::Unavailable(detail) => {
                tracing::warn!(
                    detail,
                    "request failed with 503 because a service did not respond; see `detail`"
                );
                Self::new(Code::Unavailable).retry_after(Self::RETRY_UNAVAILABLE)
            }
            ActorError::OutcomeUnknown => {
                tracing::warn!(
                    "request failed with 503 because the outcome of its commit is unknown; the client should repeat it"
                );
                Self::with_message(
                    Code::OutcomeUnknown,
                    "It is not known yet whether the request was carried out. Send it again with the same Idempotency-Key.",
                )
                .retry_after(Self::RETRY_UNAVAILABLE)
            }
        }
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NotFound => Self::new(Code::NotFound),
            Refusal::NotOwner => Self::new(Code::NotOwner),
            Refusal::OwnTicket => Self::new(Code::OwnTicket),
            Refusal::VersionMismatch => Self::new(Code::VersionMismatch),
            Refusal::TicketLocked => Self::new(Code::TicketLocked),
            Refusal::TicketSold => Self::new(Code::TicketSold),
            Refusal::PriceChanged => Self::new(Code::PriceChanged),
            Refusal::TicketChanged => Self::new(Code::TicketChanged),
            Refusal::TooManyLocks { retry_after } => {
                Self::new(Code::TooManyLocks).retry_after(retry_after)
            }
            Refusal::TooManyDeclines { retry_after } => Self::with_message(
                Code::TooManyRequests,
                "Too many payments were declined. Try again later.",
            )
            .retry_after(retry_after),
            Refusal::OrderExpired => Self::new(Code::OrderExpired),
            Refusal::OrderNotPayable => Self::new(Code::OrderNotPayable),
            Refusal::OrderCompleted => Self::new(Code::OrderCompleted),
            // For `AwaitingAction` the registry responds with the waiting charge, and not with this
            // code.
            Refusal::PaymentInFlight | Refusal::AwaitingAction { .. } => {
                Self::new(Code::PaymentInFlight)
            }
            // For `OrderGone` the registry responds with the state of the ended order, and not with
            // this code.
            Refusal::OrderGone => Self::new(Code::OrderExpired),
            Refusal::NothingToDo => Self::new(Code::Unavailable).retry_after(Self::RETRY_BUSY),
        }
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code.as_str())
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        self.code.status()
    }

    fn error_response(&self) -> HttpResponse {
        let body = match (&self.errors[..], &self.charge) {
            ([], None) => TITLES[self.code as usize].clone(),
            (errors, charge) => render(self.code, errors, charge.as_deref()),
        };
        let mut response = HttpResponse::build(self.code.status());
        response
            .insert_header((
                header::CONTENT_TYPE,
                HeaderValue::from_static("application/problem+json"),
            ))
            .insert_header((header::CACHE_CONTROL, NO_STORE));
        if let Some(after) = self.retry_after {
            response.insert_header((header::RETRY_AFTER, after.whole_secs_left().max(1)));
        }
        if let Some(allow) = self.allow {
            response.insert_header((header::ALLOW, allow));
        }
        if self.code.status() == StatusCode::UNAUTHORIZED {
            // RFC 9110 §11.6.1 requires a challenge. Browsers ignore an unknown scheme.
            response.insert_header((header::WWW_AUTHENTICATE, "Cookie realm=\"GitTix\""));
        }
        if self.code == Code::UpgradeRequired {
            // RFC 9110 §15.5.22 and RFC 6455 §4.4.
            response
                .insert_header((header::UPGRADE, "websocket"))
                .insert_header((header::SEC_WEBSOCKET_VERSION, "13"));
        }
        response.body(body)
    }
}

#[cfg(test)]
#[path = "error_tests.rs"]
mod tests;
