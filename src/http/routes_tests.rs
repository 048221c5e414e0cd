//! The route table as a client meets it: methods, limits, headers.

use std::sync::Arc;

use actix_web::{
    App, HttpRequest,
    body::BoxBody,
    dev::ServiceResponse,
    http::{
        StatusCode,
        header::{HeaderMap, HeaderName},
    },
    middleware::from_fn,
    test::{TestRequest, call_service, init_service, read_body, try_call_service},
};
use clap::Parser;
use serde_json::Value;

use super::*;
use crate::{
    config::Config,
    http::{HttpContext, middleware::middleware, tests::Site},
};

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    config: Config,
}

/// A header's text; empty if there is none.
fn named(headers: &HeaderMap, name: HeaderName) -> &str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn context(flags: &[&str]) -> Arc<HttpContext> {
    let flags = Flags::parse_from(["gittix"].iter().chain(flags));
    Arc::new(HttpContext::new(&flags.config, ([127, 0, 0, 1], 3000).into()))
}

/// The routes without what stands behind them: enough for all that is judged before a handler asks for anything.
async fn answer_of(request: TestRequest) -> ServiceResponse {
    let app = init_service(crate::http::with_context(context(&["--rate-limit", "off"])).wrap(from_fn(middleware))).await;
    call_service(&app, request.to_request()).await
}

async fn problem(answer: ServiceResponse) -> Value {
    assert_eq!(named(answer.headers(), header::CONTENT_TYPE), "application/problem+json");
    serde_json::from_slice(&read_body(answer).await).expect("JSON")
}

#[actix_web::test]
async fn an_unknown_path_is_a_problem_of_its_own() {
    for path in ["/nothing", "/api/tickets/", "/api/webhooks/", "/docs/../x", "/%ff"] {
        let answer = answer_of(TestRequest::get().uri(path)).await;
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{path}");
        assert_eq!(problem(answer).await["code"], "not_found", "{path}");
    }
}

#[actix_web::test]
async fn another_method_is_405_and_learns_which_are_allowed() {
    let cases = [
        ("/api/tickets", Method::DELETE, "GET, HEAD, POST, OPTIONS"),
        ("/api/tickets/x", Method::PATCH, "GET, HEAD, PUT, DELETE, OPTIONS"),
        ("/api/users/signup", Method::GET, "POST, OPTIONS"),
        ("/api/charges/x/confirm", Method::TRACE, "POST, OPTIONS"),
        ("/healthz", Method::POST, "GET, HEAD, OPTIONS"),
    ];
    for (path, method, allowed) in cases {
        let answer = answer_of(TestRequest::default().method(method).uri(path)).await;
        assert_eq!((answer.status(), named(answer.headers(), header::ALLOW)), (StatusCode::METHOD_NOT_ALLOWED, allowed));
        assert_eq!(problem(answer).await["code"], "method_not_allowed");
    }
    let answer = answer_of(TestRequest::default().method(Method::OPTIONS).uri("/api/tickets")).await;
    assert_eq!((answer.status(), named(answer.headers(), header::ALLOW)), (StatusCode::NO_CONTENT, "GET, HEAD, POST, OPTIONS"));
}

#[actix_web::test]
async fn a_foreign_page_changes_nothing() {
    let foreign = |request: TestRequest| request.uri("/api/users/signin").append_header(("origin", "https://evil.example"));
    let answer = answer_of(foreign(TestRequest::post())).await;
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    assert_eq!(problem(answer).await["code"], "cross_origin");
    assert_eq!(answer_of(foreign(TestRequest::get())).await.status(), StatusCode::METHOD_NOT_ALLOWED);
}

#[actix_web::test]
async fn every_answer_has_the_security_headers() {
    for path in ["/", "/healthz", "/metrics", "/nothing", "/api/openapi.json", "/docs/reader.js"] {
        let answer = answer_of(TestRequest::get().uri(path)).await;
        let headers = answer.headers();
        assert_eq!(named(headers, header::X_CONTENT_TYPE_OPTIONS), "nosniff", "{path}");
        assert!(headers.contains_key(header::REFERRER_POLICY) && headers.contains_key(header::CONTENT_SECURITY_POLICY), "{path}");
        assert!(!headers.contains_key(header::SERVER), "{path}");
    }
}

#[actix_web::test]
async fn pages_run_only_scripts_of_their_own() {
    for path in ["/", "/docs"] {
        let answer = Site::open(&[]).await.get(path).await;
        let policy = named(answer.headers(), header::CONTENT_SECURITY_POLICY).to_owned();
        assert!(policy.contains("script-src 'self'") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(named(answer.headers(), header::CONTENT_TYPE), "text/html; charset=utf-8");
        let page = String::from_utf8(read_body(answer).await.to_vec()).expect("UTF-8");
        assert!(!page.contains("<style") && !page.contains("onclick") && !page.contains("<script>"), "{path} has something inline");
    }
}

#[actix_web::test]
async fn a_file_that_the_client_has_is_not_sent_again() {
    let tag = answer_of(TestRequest::get().uri("/docs/style.css")).await;
    let tag = named(tag.headers(), header::ETAG).to_owned();
    let answer = answer_of(TestRequest::get().uri("/docs/style.css").append_header((header::IF_NONE_MATCH, tag))).await;
    assert_eq!(answer.status(), StatusCode::NOT_MODIFIED);
}

#[actix_web::test]
async fn metrics_are_prometheus_text() {
    let answer = answer_of(TestRequest::get().uri("/metrics")).await;
    assert!(named(answer.headers(), header::CONTENT_TYPE).starts_with("text/plain; version=0.0.4"));
    assert!(String::from_utf8_lossy(&read_body(answer).await).contains("gittix_http_requests_total{status=\"2xx\"}"));
}

#[actix_web::test]
async fn a_client_beyond_its_rate_is_told_when_to_come_back_and_probes_are_not() {
    let app = init_service(crate::http::with_context(context(&[])).wrap(from_fn(middleware))).await;
    let mut last = None;
    // Far beyond the burst and what comes free meanwhile.
    for _ in 0..20_000 {
        let answer = call_service(&app, TestRequest::get().uri("/nothing").to_request()).await;
        if answer.status() != StatusCode::NOT_FOUND {
            last = Some(answer);
            break;
        }
    }
    let answer = last.expect("the rate was never reached");
    assert_eq!((answer.status(), named(answer.headers(), header::RETRY_AFTER)), (StatusCode::TOO_MANY_REQUESTS, "1"));
    let probe = call_service(&app, TestRequest::get().uri("/healthz").to_request()).await;
    assert_eq!(probe.status(), StatusCode::OK);
}

#[actix_web::test]
async fn a_panic_is_500_and_says_nothing() {
    async fn panics(_: HttpRequest) -> HttpResponse {
        panic!("the secret is 42")
    }
    let app = App::new().app_data(web::Data::from(context(&[]))).route("/", web::get().to(panics)).wrap(from_fn(middleware));
    let app = init_service(app).await;
    let error = try_call_service(&app, TestRequest::get().to_request()).await.expect_err("the panic's error");
    let answer: HttpResponse<BoxBody> = error.error_response();
    assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(named(answer.headers(), header::X_CONTENT_TYPE_OPTIONS), "nosniff");
    let body = actix_web::body::to_bytes(answer.into_body()).await.expect("a body in memory");
    assert!(!String::from_utf8_lossy(&body).contains("42"));
}
