//! Answers in Stripe's form: a status, a body, and whether the idempotency layer stores it.
//!
//! Stripe documents which errors are stored (<https://docs.stripe.com/api/idempotent_requests>):
//! every answer of an endpoint that began, including status 500, and no refusal before the endpoint
//! began.

use serde_json::{Value, json};

/// An answer that is not sent yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    pub status: u16,
    pub body: Value,
    /// Whether the answer is replayed for another request with the same key.
    pub kept: bool,
    /// Seconds for the header `Retry-After`.
    pub retry_after: Option<u32>,
}

impl Reply {
    pub fn ok(body: Value) -> Self {
        Self { status: 200, body, kept: true, retry_after: None }
    }

    fn error(status: u16, error: Value) -> Self {
        Self { status, body: json!({ "error": error }), kept: true, retry_after: None }
    }

    fn unkept(self) -> Self {
        Self { kept: false, ..self }
    }

    /// Returns the refusal of an endpoint that began.
    pub fn refused(code: &str, message: &str) -> Self {
        Self::error(
            400,
            json!({ "type": "invalid_request_error", "code": code, "message": message }),
        )
    }

    /// Returns the refusal because of the intent's state. Stripe includes the intent.
    pub fn unexpected_state(intent: &Value) -> Self {
        let message = format!(
            "This PaymentIntent could not be changed because it has a status of {}.",
            intent["status"]
        );
        let code = "payment_intent_unexpected_state";
        Self::error(
            400,
            json!({ "type": "invalid_request_error", "code": code, "message": message, "payment_intent": intent }),
        )
    }

    pub fn declined(error: Value) -> Self {
        Self::error(402, error)
    }

    /// Returns the refusal of parameters before the endpoint began.
    pub fn invalid(code: &str, parameter: &str) -> Self {
        let message = format!("{code}: {parameter}");
        Self::error(400, json!({ "type": "invalid_request_error", "code": code, "param": parameter, "message": message })).unkept()
    }

    /// Returns the error for an unknown id in a path.
    pub fn missing(kind: &str, id: &str) -> Self {
        let message = format!("No such {kind}: '{id}'");
        Self::error(404, json!({ "type": "invalid_request_error", "code": "resource_missing", "param": "id", "message": message })).unkept()
    }

    /// Returns the error for an unknown id in a parameter.
    pub fn missing_parameter(parameter: &str, id: &str) -> Self {
        let message = format!("No such {parameter}: '{id}'");
        Self::error(
            400,
            json!({ "type": "invalid_request_error", "code": "resource_missing", "param": parameter, "message": message }),
        )
    }

    pub fn no_route(method: &str, path: &str) -> Self {
        let message = format!("Unrecognized request URL ({method}: {path}).");
        Self::error(404, json!({ "type": "invalid_request_error", "message": message })).unkept()
    }

    pub fn unauthorized() -> Self {
        Self::error(
            401,
            json!({ "type": "invalid_request_error", "message": "Invalid API Key provided" }),
        )
        .unkept()
    }

    /// Returns the refusal of the rate limiter, which precedes the idempotency layer.
    pub fn rate_limited() -> Self {
        let error = json!({ "type": "invalid_request_error", "code": "rate_limit", "message": "Request rate limit exceeded." });
        Self { retry_after: Some(1), ..Self::error(429, error).unkept() }
    }

    /// Returns the error for an object that another request has locked.
    pub fn locked() -> Self {
        let error = json!({ "type": "invalid_request_error", "code": "lock_timeout", "message": "This object cannot be accessed right now." });
        Self::error(409, error).unkept()
    }

    /// Returns the error for a key whose first request is still being executed.
    pub fn key_in_use() -> Self {
        let message = "There is currently another in-progress request using this Idempotency Key.";
        Self::error(409, json!({ "type": "idempotency_error", "code": "idempotency_key_in_use", "message": message })).unkept()
    }

    /// Returns the error for a key that was used with another request.
    pub fn key_reused() -> Self {
        let message = "Keys for idempotent requests can only be used with the same parameters they were first used with.";
        Self::error(400, json!({ "type": "idempotency_error", "message": message })).unkept()
    }

    pub fn broken() -> Self {
        Self::error(500, json!({ "type": "api_error", "message": "An unknown error occurred." }))
    }

    /// Returns the answer of a gateway without a server behind it.
    pub fn unavailable() -> Self {
        Self { status: 503, ..Self::broken() }.unkept()
    }
}
