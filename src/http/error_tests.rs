//! The table of codes compared with the contract, and a test of each code by name.

use std::collections::HashSet;

use actix_web::{
    body::to_bytes,
    http::header::{HeaderMap, HeaderName},
};
use serde_json::Value;

use super::*;

/// Returns the text of a header, or an empty text without the header.
fn header_text(headers: &HeaderMap, name: HeaderName) -> &str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Table of the contract. The codes `headers_too_large`, `internal_error`, `malformed_request`,
/// `request_timeout` and `upgrade_required` are additions of this server.
const CONTRACT: &[(u16, &str)] = &[
    (400, "validation_failed"),
    (400, "malformed_json"),
    (400, "invalid_token"),
    (400, "invalid_signature"),
    (401, "not_signed_in"),
    (401, "invalid_credentials"),
    (402, "card_declined"),
    (403, "not_owner"),
    (403, "own_ticket"),
    (403, "cross_origin"),
    (403, "invalid_credentials"),
    (404, "not_found"),
    (405, "method_not_allowed"),
    (409, "email_in_use"),
    (409, "other_user"),
    (409, "ticket_locked"),
    (409, "ticket_sold"),
    (409, "price_changed"),
    (409, "ticket_changed"),
    (409, "order_expired"),
    (409, "order_not_payable"),
    (409, "order_completed"),
    (409, "payment_in_flight"),
    (409, "idempotency_in_flight"),
    (409, "too_many_listings"),
    (412, "version_mismatch"),
    (413, "body_too_large"),
    (415, "unsupported_media_type"),
    (422, "idempotency_key_reused"),
    (429, "too_many_requests"),
    (429, "too_many_locks"),
    (503, "unavailable"),
    (503, "outcome_unknown"),
];

async fn rendered(error: ApiError) -> (HttpResponse<()>, Value) {
    let (head, body) = error.error_response().into_parts();
    let body = to_bytes(body).await.expect("a body in memory");
    (head, serde_json::from_slice(&body).expect("JSON"))
}

fn every_refusal() -> Vec<Refusal> {
    let charge = crate::domain::ChargeId::new(uuid::Uuid::nil());
    vec![
        Refusal::NotFound,
        Refusal::NotOwner,
        Refusal::OwnTicket,
        Refusal::VersionMismatch,
        Refusal::TicketLocked,
        Refusal::TicketSold,
        Refusal::PriceChanged,
        Refusal::TicketChanged,
        Refusal::TooManyLocks { retry_after: Millis(1) },
        Refusal::OrderExpired,
        Refusal::OrderNotPayable,
        Refusal::OrderCompleted,
        Refusal::PaymentInFlight,
        Refusal::TooManyDeclines { retry_after: Millis(1) },
        Refusal::AwaitingAction { charge },
        Refusal::OrderGone,
        Refusal::NothingToDo,
    ]
}

#[test]
fn every_code_of_the_contract_has_its_status() {
    let table: HashSet<_> =
        Code::ALL.iter().map(|code| (code.status().as_u16(), code.as_str())).collect();
    for row in CONTRACT {
        assert!(table.contains(row), "{row:?} is missing");
    }
    let additions: Vec<_> = table.iter().filter(|row| !CONTRACT.contains(row)).collect();
    assert!(
        additions.iter().all(|(_, code)| [
            "headers_too_large",
            "internal_error",
            "malformed_request",
            "request_timeout",
            "upgrade_required"
        ]
        .contains(code)),
        "not in the contract: {additions:?}"
    );
}

#[test]
fn every_code_is_used_in_the_source() {
    let sources: String = [
        include_str!("error.rs").split_once("impl ApiError").expect("the table is before it").1,
        include_str!("body.rs"),
        include_str!("call.rs"),
        include_str!("middleware.rs"),
        include_str!("idempotency.rs"),
        include_str!("routes.rs"),
        include_str!("server/refusal.rs"),
        include_str!("socket.rs"),
        include_str!("webhook.rs"),
    ]
    .concat();
    for code in Code::ALL {
        assert!(sources.contains(&format!("Code::{code:?}")), "{code:?} is never used");
    }
}

#[actix_web::test]
async fn problem_document_has_its_status_and_a_message() {
    for &code in Code::ALL {
        let (head, problem) = rendered(ApiError::new(code)).await;
        assert_eq!(header_text(head.headers(), header::CONTENT_TYPE), "application/problem+json");
        assert_eq!(problem["status"], head.status().as_u16());
        assert_eq!(problem["code"], code.as_str());
        assert!(
            problem["errors"][0]["message"].as_str().is_some_and(|text| !text.is_empty()),
            "{problem}"
        );
        assert!(problem["type"].is_string() && problem["title"].is_string(), "{problem}");
    }
}

#[actix_web::test]
async fn every_429_and_503_of_the_actors_has_retry_after() {
    let errors = [
        ActorError::TooManySignInAttempts { retry_after: Millis(1) },
        ActorError::Busy("queue"),
        ActorError::Unavailable("the server at 10.0.0.1 closed the connection".into()),
        ActorError::OutcomeUnknown,
    ];
    let errors = errors.into_iter().chain(every_refusal().into_iter().map(ActorError::Refused));
    for error in errors {
        let (head, problem) = rendered(error.into()).await;
        let waits = [429, 503].contains(&head.status().as_u16());
        let after = head
            .headers()
            .get(header::RETRY_AFTER)
            .map(|value| value.to_str().expect("ASCII").parse::<u64>().expect("seconds"));
        assert_eq!(after.is_some_and(|secs| secs >= 1), waits, "{problem}");
        assert!(
            !problem.to_string().contains("10.0.0.1"),
            "the problem has a detail of the store: {problem}"
        );
    }
}

#[actix_web::test]
async fn retry_after_is_rounded_up_to_whole_seconds() {
    let (head, _) = rendered(ApiError::too_many_requests(Millis(1001))).await;
    assert_eq!(header_text(head.headers(), header::RETRY_AFTER), "2");
}

#[actix_web::test]
async fn wrong_current_password_is_403_and_failed_sign_in_is_401_with_the_same_code() {
    let (head, problem) = rendered(ActorError::WrongCurrentPassword.into()).await;
    assert_eq!(
        (head.status().as_u16(), &problem["code"]),
        (403, &Value::from("invalid_credentials"))
    );
    let (head, problem) = rendered(ActorError::InvalidCredentials.into()).await;
    assert_eq!(
        (head.status().as_u16(), &problem["code"]),
        (401, &Value::from("invalid_credentials"))
    );
}
