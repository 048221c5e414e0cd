//! API documents, health, metrics and pages.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::app::{Backend, TestApp, on_both_stores};

on_both_stores!(
    openapi_document_contains_every_route_and_code,
    asyncapi_document_contains_every_frame,
    every_reference_of_the_documents_resolves,
    docs_page_loads_nothing_from_other_sites,
    root_page_contains_the_product_name,
    pages_have_a_restrictive_content_security_policy,
    health_and_readiness_are_200,
    every_metric_is_present_from_the_start,
    metrics_count_locks_sales_and_charges,
);

/// Routes of the contract.
const ROUTES: [(&str, &[&str]); 18] = [
    ("/api/users/signup", &["post"]),
    ("/api/users/signin", &["post"]),
    ("/api/users/signout", &["post"]),
    ("/api/users/verify", &["post"]),
    ("/api/users/verify/resend", &["post"]),
    ("/api/users/reset", &["post"]),
    ("/api/users/reset/confirm", &["post"]),
    ("/api/users/currentuser", &["get", "put"]),
    ("/api/tickets", &["get", "post"]),
    ("/api/tickets/{id}", &["get", "put", "delete"]),
    ("/api/orders", &["get", "post"]),
    ("/api/orders/{id}", &["get", "delete"]),
    ("/api/orders/{id}/charges", &["get"]),
    ("/api/charges", &["post"]),
    ("/api/charges/{id}", &["get"]),
    ("/api/charges/{id}/confirm", &["post"]),
    ("/api/payments", &["post"]),
    ("/healthz", &["get"]),
];

/// Codes of the contract, without the code of the webhook.
const CODES: [&str; 28] = [
    "validation_failed",
    "malformed_json",
    "invalid_token",
    "not_signed_in",
    "invalid_credentials",
    "card_declined",
    "not_owner",
    "own_ticket",
    "cross_origin",
    "not_found",
    "method_not_allowed",
    "email_in_use",
    "ticket_locked",
    "ticket_sold",
    "price_changed",
    "order_expired",
    "order_not_payable",
    "order_completed",
    "payment_in_flight",
    "idempotency_in_flight",
    "version_mismatch",
    "body_too_large",
    "unsupported_media_type",
    "idempotency_key_reused",
    "too_many_requests",
    "too_many_locks",
    "unavailable",
    "outcome_unknown",
];

async fn openapi_document_contains_every_route_and_code(store: Backend) {
    let app = TestApp::start(store).await;
    let document = app.guest().get("/api/openapi.json").await.expect(200);
    assert!(
        document["openapi"].as_str().is_some_and(|version| version.starts_with("3.")),
        "{}",
        document["openapi"]
    );
    for (path, methods) in ROUTES {
        for method in methods {
            assert!(document["paths"][path][method]["responses"].is_object(), "{method} {path}");
        }
    }
    for code in CODES {
        assert!(document.text.contains(code), "{code}");
    }
}

async fn asyncapi_document_contains_every_frame(store: Backend) {
    let app = TestApp::start(store).await;
    let document = app.guest().get("/api/asyncapi.json").await.expect(200);
    assert!(document["asyncapi"].is_string(), "{}", document["asyncapi"]);
    let frames = [
        "Hello",
        "Watching",
        "Reset",
        "Error",
        "TicketCreated",
        "TicketUpdated",
        "TicketDeleted",
        "OrderCreated",
        "OrderCancelled",
        "OrderExpired",
        "ChargeCreated",
        "ChargeCompleted",
        "ChargeFailed",
        "ChargeRefunded",
        "UserUpdated",
        "Watch",
        "WatchAll",
    ];
    for frame in frames {
        assert!(document.text.contains(&format!("\"{frame}\"")), "{frame}");
    }
}

async fn every_reference_of_the_documents_resolves(store: Backend) {
    let app = TestApp::start(store).await;
    for path in ["/api/openapi.json", "/api/asyncapi.json"] {
        let document = app.guest().get(path).await.expect(200).body;
        let mut references = BTreeSet::new();
        collect(&document, &mut references);
        for reference in references {
            let pointer = reference
                .strip_prefix('#')
                .unwrap_or_else(|| panic!("{reference} is outside of {path}"));
            assert!(document.pointer(pointer).is_some(), "{reference} of {path} does not resolve");
        }
    }
}

fn collect(value: &Value, references: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            references.extend(members.get("$ref").and_then(Value::as_str).map(ToOwned::to_owned));
            members.values().for_each(|member| collect(member, references));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, references)),
        _ => {}
    }
}

async fn docs_page_loads_nothing_from_other_sites(store: Backend) {
    let app = TestApp::start(store).await;
    let page = app.guest().get("/docs").await.expect(200);
    assert!(page.header("content-type").starts_with("text/html"), "{page:?}");
    // The page works without internet access, because it loads nothing from other sites.
    for tag in
        ["src=\"http", "src='http", "src=\"//", "@import", "<link rel=\"stylesheet\" href=\"http"]
    {
        assert!(!page.text.contains(tag), "{tag}");
    }
}

async fn root_page_contains_the_product_name(store: Backend) {
    let app = TestApp::start(store).await;
    let page = app.guest().get("/").await.expect(200);
    assert!(page.header("content-type").starts_with("text/html"), "{page:?}");
    assert!(page.text.contains("GitTix"), "{}", page.text);
}

async fn pages_have_a_restrictive_content_security_policy(store: Backend) {
    let app = TestApp::start(store).await;
    for path in ["/", "/docs"] {
        let page = app.guest().get(path).await.expect(200);
        let policy = page.header("content-security-policy").to_owned();
        assert!(
            policy.contains("default-src") && !policy.contains("unsafe-eval"),
            "{path}: {policy:?}"
        );
    }
}

async fn health_and_readiness_are_200(store: Backend) {
    let app = TestApp::start(store).await;
    app.guest().get("/healthz").await.expect(200);
    app.guest().get("/readyz").await.expect(200);
}

async fn every_metric_is_present_from_the_start(store: Backend) {
    let app = TestApp::start(store).await;
    let text = app.guest().get("/metrics").await.expect(200).text;
    for series in [
        "gittix_locks_granted_total 0",
        "gittix_tickets_sold_total 0",
        "gittix_ticket_actor_panics_total 0",
        "gittix_overdue_locks_found_total 0",
        "gittix_charges_total{outcome=\"lock_lost\"} 0",
        "gittix_requests_rejected_total{reason=\"passwords\"} 0",
        "gittix_sign_ins_failed_total{reason=\"wrong_credentials\"} 0",
        "gittix_charges_open_over_1m 0",
        "gittix_websockets_closed_total{reason=\"stalled\"} 0",
    ] {
        assert!(text.lines().any(|line| line == series), "{series} in {text}");
    }
}

async fn metrics_count_locks_sales_and_charges(store: Backend) {
    let app = TestApp::start(store).await;
    let (seller, buyer) = (app.user().await, app.user().await);
    let ticket = seller.sells("Front row").await;
    let order = buyer.locks(&ticket).await;
    buyer.place_order(&ticket).await.refused(409, "ticket_locked");
    buyer.pay(&order, "pm_card_visa").await.expect(201);
    let text = app.guest().get("/metrics").await.expect(200).text;
    for series in [
        "gittix_locks_granted_total 1",
        "gittix_lock_requests_refused_total 1",
        "gittix_tickets_sold_total 1",
        "gittix_charges_total{outcome=\"completed\"} 1",
        "gittix_passwords_hashed_total 2",
        "gittix_feed_live 1",
    ] {
        assert!(text.lines().any(|line| line == series), "{series} in {text}");
    }
}
