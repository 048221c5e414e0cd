//! Behavior of the route table for clients: methods, limits, headers.

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

/// Returns the text of a header, or an empty text without the header.
fn header_text(headers: &HeaderMap, name: HeaderName) -> &str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn context(flags: &[&str]) -> Arc<HttpContext> {
    let flags = Flags::parse_from(["gittix"].iter().chain(flags));
    Arc::new(HttpContext::new(&flags.config, ([127, 0, 0, 1], 3000).into()))
}

/// Returns the response of the routes without actors and store, which suffices for checks before a
/// handler uses them.
async fn response_to(request: TestRequest) -> ServiceResponse {
    let app = init_service(
        crate::http::with_context(context(&["--rate-limit", "off"])).wrap(from_fn(middleware)),
    )
    .await;
    call_service(&app, request.to_request()).await
}

async fn problem(answer: ServiceResponse) -> Value {
    assert_eq!(header_text(answer.headers(), header::CONTENT_TYPE), "application/problem+json");
    serde_json::from_slice(&read_body(answer).await).expect("JSON")
}

#[actix_web::test]
async fn unknown_path_is_404_with_a_problem_document() {
    for path in ["/nothing", "/api/tickets/", "/api/webhooks/", "/docs/../x", "/%ff"] {
        let answer = response_to(TestRequest::get().uri(path)).await;
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{path}");
        assert_eq!(problem(answer).await["code"], "not_found", "{path}");
    }
}

#[actix_web::test]
async fn unsupported_method_is_405_with_the_allowed_methods() {
    let cases = [
        ("/api/tickets", Method::DELETE, "GET, HEAD, POST, OPTIONS"),
        ("/api/tickets/x", Method::PATCH, "GET, HEAD, PUT, DELETE, OPTIONS"),
        ("/api/users/signup", Method::GET, "POST, OPTIONS"),
        ("/api/charges/x/confirm", Method::TRACE, "POST, OPTIONS"),
        ("/healthz", Method::POST, "GET, HEAD, OPTIONS"),
    ];
    for (path, method, allowed) in cases {
        let answer = response_to(TestRequest::default().method(method).uri(path)).await;
        assert_eq!(
            (answer.status(), header_text(answer.headers(), header::ALLOW)),
            (StatusCode::METHOD_NOT_ALLOWED, allowed)
        );
        assert_eq!(problem(answer).await["code"], "method_not_allowed");
    }
    let answer =
        response_to(TestRequest::default().method(Method::OPTIONS).uri("/api/tickets")).await;
    assert_eq!(
        (answer.status(), header_text(answer.headers(), header::ALLOW)),
        (StatusCode::NO_CONTENT, "GET, HEAD, POST, OPTIONS")
    );
}

#[actix_web::test]
async fn unsafe_request_from_a_foreign_origin_is_403() {
    let foreign = |request: TestRequest| {
        request.uri("/api/users/signin").append_header(("origin", "https://evil.example"))
    };
    let answer = response_to(foreign(TestRequest::post())).await;
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    assert_eq!(problem(answer).await["code"], "cross_origin");
    assert_eq!(
        response_to(foreign(TestRequest::get())).await.status(),
        StatusCode::METHOD_NOT_ALLOWED
    );
}

#[actix_web::test]
async fn every_response_has_the_security_headers() {
    for path in ["/", "/healthz", "/metrics", "/nothing", "/api/openapi.json", "/docs/reader.js"] {
        let answer = response_to(TestRequest::get().uri(path)).await;
        let headers = answer.headers();
        assert_eq!(header_text(headers, header::X_CONTENT_TYPE_OPTIONS), "nosniff", "{path}");
        assert!(
            headers.contains_key(header::REFERRER_POLICY)
                && headers.contains_key(header::CONTENT_SECURITY_POLICY),
            "{path}"
        );
        assert!(!headers.contains_key(header::SERVER), "{path}");
    }
}

#[actix_web::test]
async fn pages_allow_only_scripts_of_this_server() {
    for path in ["/", "/docs"] {
        let answer = Site::open(&[]).await.get(path).await;
        let policy = header_text(answer.headers(), header::CONTENT_SECURITY_POLICY).to_owned();
        assert!(policy.contains("script-src 'self'") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(header_text(answer.headers(), header::CONTENT_TYPE), "text/html; charset=utf-8");
        let page = String::from_utf8(read_body(answer).await.to_vec()).expect("UTF-8");
        assert!(
            !page.contains("<style") && !page.contains("onclick") && !page.contains("<script>"),
            "{path} has inline style or script"
        );
    }
}

#[actix_web::test]
async fn file_that_the_client_has_is_304() {
    let tag = response_to(TestRequest::get().uri("/docs/style.css")).await;
    let tag = header_text(tag.headers(), header::ETAG).to_owned();
    let answer = response_to(
        TestRequest::get().uri("/docs/style.css").append_header((header::IF_NONE_MATCH, tag)),
    )
    .await;
    assert_eq!(answer.status(), StatusCode::NOT_MODIFIED);
}

#[actix_web::test]
async fn metrics_are_prometheus_text() {
    let answer = response_to(TestRequest::get().uri("/metrics")).await;
    assert!(
        header_text(answer.headers(), header::CONTENT_TYPE)
            .starts_with("text/plain; version=0.0.4")
    );
    assert!(
        String::from_utf8_lossy(&read_body(answer).await)
            .contains("gittix_http_requests_total{status=\"2xx\"}")
    );
}

#[actix_web::test]
async fn client_beyond_its_rate_is_429_with_retry_after_and_probes_are_exempt() {
    let app = init_service(crate::http::with_context(context(&[])).wrap(from_fn(middleware))).await;
    let mut last = None;
    // This is far more than the burst and the requests that the rate allows meanwhile.
    for _ in 0..20_000 {
        let answer = call_service(&app, TestRequest::get().uri("/nothing").to_request()).await;
        if answer.status() != StatusCode::NOT_FOUND {
            last = Some(answer);
            break;
        }
    }
    let answer = last.expect("the rate was never reached");
    assert_eq!(
        (answer.status(), header_text(answer.headers(), header::RETRY_AFTER)),
        (StatusCode::TOO_MANY_REQUESTS, "1")
    );
    let probe = call_service(&app, TestRequest::get().uri("/healthz").to_request()).await;
    assert_eq!(probe.status(), StatusCode::OK);
}

#[actix_web::test]
async fn panic_is_500_without_details() {
    async fn panics(_: HttpRequest) -> HttpResponse {
        panic!("the secret is 42")
    }
    let app = App::new()
        .app_data(web::Data::from(context(&[])))
        .route("/", web::get().to(panics))
        .wrap(from_fn(middleware));
    let app = init_service(app).await;
    let error = try_call_service(&app, TestRequest::get().to_request())
        .await
        .expect_err("the panic's error");
    let answer: HttpResponse<BoxBody> = error.error_response();
    assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(header_text(answer.headers(), header::X_CONTENT_TYPE_OPTIONS), "nosniff");
    let body = actix_web::body::to_bytes(answer.into_body()).await.expect("a body in memory");
    assert!(!String::from_utf8_lossy(&body).contains("42"));
}
