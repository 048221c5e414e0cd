//! Pages: addresses, content, files and security headers.

mod rendered;

use actix_web::{
    dev::ServiceResponse,
    test::{TestRequest, read_body},
};
use serde_json::Value;

use super::*;
use crate::http::tests::{Site, header_of as header_text};

const HTML: &str = "text/html; charset=utf-8";

/// Returns the response to a request, with an empty store in memory.
async fn response_with(flags: &[&str], request: TestRequest) -> ServiceResponse {
    Site::open(flags).await.answer(request).await
}

async fn response_to(path: &str) -> ServiceResponse {
    response_with(&[], TestRequest::get().uri(path)).await
}

fn html_request(path: &str) -> TestRequest {
    TestRequest::get().uri(path).append_header((header::ACCEPT, "text/html,*/*;q=0.8"))
}

#[test]
fn pages_have_the_addresses_that_links_and_bookmarks_use() {
    let addresses: Vec<&str> = PAGES.iter().map(|page| page.address).collect();
    let known = [
        "/",
        "/tickets/new",
        "/tickets/{id}",
        "/listings",
        "/orders",
        "/orders/{id}",
        "/signup",
        "/signin",
        "/account",
        "/forgot",
        "/reset",
        "/verify",
    ];
    assert_eq!(addresses, known);
}

#[actix_web::test]
async fn every_page_address_returns_the_document() {
    let site = Site::open(&[]).await;
    let ticket = format!("/tickets/{}", site.list("Front row", 2000).await.id);
    for path in [
        "/",
        "/tickets/new",
        &ticket,
        "/listings",
        "/orders",
        "/orders/x",
        "/signup",
        "/signin?next=/orders",
        "/account",
    ] {
        let answer = site.get(path).await;
        assert_eq!(
            (answer.status(), header_text(&answer, header::CONTENT_TYPE)),
            (StatusCode::OK, HTML.into()),
            "{path}"
        );
        let body = String::from_utf8(read_body(answer).await.to_vec()).expect("UTF-8");
        assert!(
            !body.contains("{{") && body.contains(&format!("/assets/{}/app.js", *VERSION)),
            "{path}"
        );
    }
}

#[actix_web::test]
async fn file_is_immutable_under_its_version_and_revalidated_under_another() {
    let answer = response_to(&format!("/assets/{}/app.js", *VERSION)).await;
    assert_eq!(header_text(&answer, header::CACHE_CONTROL), "public, max-age=31536000, immutable");
    assert_eq!(header_text(&answer, header::CONTENT_TYPE), "text/javascript; charset=utf-8");
    let answer = response_to("/assets/older/app.js").await;
    assert_eq!(
        (answer.status(), header_text(&answer, header::CACHE_CONTROL)),
        (StatusCode::OK, "no-cache".into())
    );
    for path in
        ["/assets/older/core/dom.js", "/assets/older/../../Cargo.toml", "/assets/older/index.html"]
    {
        assert_eq!(response_to(path).await.status(), StatusCode::NOT_FOUND, "{path}");
    }
}

#[actix_web::test]
async fn files_are_compressed_for_clients_that_accept_it() {
    let request = TestRequest::get()
        .uri("/assets/x/app.css")
        .append_header((header::ACCEPT_ENCODING, "gzip, br"));
    let answer = response_with(&[], request).await;
    assert_eq!(header_text(&answer, header::CONTENT_ENCODING), "br");
    let plain = read_body(response_to("/assets/x/app.css").await).await;
    let text = String::from_utf8(plain.to_vec()).expect("UTF-8");
    assert!(
        text.contains(include_str!("../../../../web/styles/pass.css")) && !text.contains("@import")
    );
}

#[actix_web::test]
async fn unknown_address_is_a_page_for_browsers_and_a_problem_for_programs() {
    let request =
        TestRequest::get().uri("/nowhere").append_header((header::ACCEPT, "text/html,*/*;q=0.8"));
    let answer = response_with(&[], request).await;
    assert_eq!(
        (answer.status(), header_text(&answer, header::CONTENT_TYPE)),
        (StatusCode::NOT_FOUND, HTML.into())
    );
    for (path, accept) in [("/nowhere", "*/*"), ("/api/nowhere", "text/html")] {
        let answer = response_with(
            &[],
            TestRequest::get().uri(path).append_header((header::ACCEPT, accept)),
        )
        .await;
        assert_eq!(
            header_text(&answer, header::CONTENT_TYPE),
            "application/problem+json",
            "{path}"
        );
    }
}

#[actix_web::test]
async fn stripe_hosts_are_allowed_only_with_a_publishable_key() {
    let plain = header_text(&response_to("/").await, header::CONTENT_SECURITY_POLICY);
    assert!(
        !plain.contains("stripe")
            && plain.contains("default-src 'none'")
            && plain.contains("trusted-types 'none'"),
        "{plain}"
    );
    let flags = ["--stripe-publishable-key", "pk_test_1"];
    let with_key = response_with(&flags, TestRequest::get().uri("/")).await;
    assert!(
        header_text(&with_key, header::CONTENT_SECURITY_POLICY)
            .contains("script-src 'self' https://js.stripe.com https://*.js.stripe.com;")
    );
    let settings = response_with(&flags, TestRequest::get().uri("/api/settings")).await;
    let settings: Value = serde_json::from_slice(&read_body(settings).await).expect("JSON");
    assert_eq!(settings["stripePublishableKey"], "pk_test_1");
}

#[actix_web::test]
async fn settings_contain_the_durations_of_the_lock() {
    let answer = response_with(
        &["--payment-window", "90s", "--lock-duration", "2500ms", "--early-release"],
        TestRequest::get().uri("/api/settings"),
    )
    .await;
    let settings: Value = serde_json::from_slice(&read_body(answer).await).expect("JSON");
    let expected = serde_json::json!({"currency": "usd", "paymentWindowSeconds": 90, "lockDurationSeconds": 3, "earlyRelease": true, "stripePublishableKey": null});
    assert_eq!(settings, expected);
}

/// Requests to each kind of page.
fn page_requests() -> [TestRequest; 4] {
    let html = |path| TestRequest::get().uri(path).append_header((header::ACCEPT, "text/html"));
    [html("/"), html("/tickets/new"), html("/nowhere"), html("/docs")]
}

#[actix_web::test]
async fn every_page_is_isolated_from_other_sites_and_denied_browser_features() {
    for request in page_requests() {
        let answer = response_with(&[], request).await;
        assert_eq!(header_text(&answer, header::CROSS_ORIGIN_OPENER_POLICY), "same-origin");
        assert_eq!(header_text(&answer, header::CROSS_ORIGIN_RESOURCE_POLICY), "same-origin");
        assert_eq!(
            header_text(&answer, header::PERMISSIONS_POLICY),
            "accelerometer=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), magnetometer=(), microphone=(), midi=(), \
             payment=(), usb=()"
        );
    }
}

#[actix_web::test]
async fn page_that_is_not_modified_has_the_same_policies() {
    let tag = header_text(&response_to("/").await, header::ETAG);
    let answer =
        response_with(&[], TestRequest::get().uri("/").append_header((header::IF_NONE_MATCH, tag)))
            .await;
    assert_eq!(answer.status(), StatusCode::NOT_MODIFIED);
    assert_eq!(header_text(&answer, header::CROSS_ORIGIN_OPENER_POLICY), "same-origin");
}

#[actix_web::test]
async fn stripe_frames_may_open_windows_and_request_payments_with_a_publishable_key() {
    let answer =
        response_with(&["--stripe-publishable-key", "pk_test_1"], TestRequest::get().uri("/"))
            .await;
    assert_eq!(
        header_text(&answer, header::CROSS_ORIGIN_OPENER_POLICY),
        "same-origin-allow-popups"
    );
    assert_eq!(header_text(&answer, header::CROSS_ORIGIN_RESOURCE_POLICY), "same-origin");
    assert_eq!(
        header_text(&answer, header::PERMISSIONS_POLICY),
        "accelerometer=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), magnetometer=(), microphone=(), midi=(), \
         payment=(self \"https://js.stripe.com\" \"https://*.js.stripe.com\" \"https://hooks.stripe.com\"), usb=()"
    );
}

#[actix_web::test]
async fn transport_security_is_strict_only_if_the_first_origin_is_https() {
    let paths = ["/", "/docs", "/api/settings", "/api/nowhere", "/assets/x/app.js"];
    for path in paths {
        let flags = ["--public-origin", "https://tickets.example,http://localhost:3000"];
        let answer = response_with(&flags, TestRequest::get().uri(path)).await;
        assert_eq!(
            header_text(&answer, header::STRICT_TRANSPORT_SECURITY),
            "max-age=31536000",
            "{path}"
        );
        for flags in
            [&[][..], &["--public-origin", "http://localhost:3000,https://tickets.example"]]
        {
            let answer = response_with(flags, TestRequest::get().uri(path)).await;
            assert!(
                !answer.headers().contains_key(header::STRICT_TRANSPORT_SECURITY),
                "{path} {flags:?}"
            );
        }
    }
}

#[actix_web::test]
async fn misspelled_address_of_a_page_is_redirected_with_its_query() {
    let site = Site::open(&[]).await;
    let id = "0198c0de-0000-7000-8000-000000000000";
    for (path, expected) in [
        ("/docs/", "/docs"),
        ("/Docs?x=1", "/docs?x=1"),
        ("/Orders", "/orders"),
        ("/ORDERS/?status=all&x=%2F%2Fy", "/orders?status=all&x=%2F%2Fy"),
        ("/tickets/new/", "/tickets/new"),
        ("/tickets/NEW", "/tickets/new"),
        (&format!("/tickets/{id}/"), &format!("/tickets/{id}")),
        (&format!("/Tickets/{id}?q=1"), &format!("/tickets/{id}?q=1")),
        ("/orders//", "/orders"),
        ("/signin/?next=//evil.example", "/signin?next=//evil.example"),
    ] {
        let answer = site.get(path).await;
        assert_eq!(
            (answer.status(), header_text(&answer, header::LOCATION)),
            (StatusCode::PERMANENT_REDIRECT, expected.into()),
            "{path}"
        );
    }
}

#[actix_web::test]
async fn only_addresses_of_pages_are_redirected() {
    let site = Site::open(&[]).await;
    for path in [
        "//",
        "//evil.example",
        "//evil.example/",
        "//orders/",
        "/%2F/orders/",
        "/\\evil.example/",
        "/api/tickets/",
        "/tickets/",
        "/nowhere/",
        "/assets/",
        "/docs/x/",
    ] {
        let answer = site.answer(html_request(path)).await;
        assert_eq!(
            (answer.status(), header_text(&answer, header::LOCATION)),
            (StatusCode::NOT_FOUND, String::new()),
            "{path}"
        );
    }
    let answer = site.answer(TestRequest::post().uri("/Orders")).await;
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
}

#[actix_web::test]
async fn robots_file_allows_everything_and_names_the_sitemap() {
    let site = Site::open(&["--public-origin", "https://tickets.example"]).await;
    let robots = site.text("/robots.txt").await;
    assert!(
        robots.contains("Sitemap: https://tickets.example/sitemap.xml")
            && !robots.contains("Disallow: /"),
        "{robots}"
    );
}
