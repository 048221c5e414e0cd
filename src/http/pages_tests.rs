//! The pages as they are served: which files, and what guards them.

use std::{collections::HashSet, path::Path as FilePath, sync::Arc};

use actix_web::{
    dev::ServiceResponse,
    middleware::from_fn,
    test::{TestRequest, call_service, init_service, read_body},
};
use clap::Parser;
use serde_json::Value;

use super::*;
use crate::http::edge::edge;

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    config: Config,
}

async fn answer_with(flags: &[&str], request: TestRequest) -> ServiceResponse {
    let flags = Flags::parse_from(["gittix"].iter().chain(flags));
    let app = init_service(crate::http::fronted(Arc::new(Front::new(&flags.config))).wrap(from_fn(edge))).await;
    call_service(&app, request.to_request()).await
}

async fn answer_to(path: &str) -> ServiceResponse {
    answer_with(&[], TestRequest::get().uri(path)).await
}

fn named(answer: &ServiceResponse, name: header::HeaderName) -> String {
    answer.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

/// All files below a folder, relative to it.
fn files_below(root: &FilePath, folder: &str, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(root.join(folder)).expect("a folder of the repository") {
        let entry = entry.expect("its entry");
        let name = entry.file_name().into_string().expect("a plain name");
        let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
        if entry.file_type().expect("its type").is_dir() { files_below(root, &path, found) } else { found.push(path) }
    }
}

#[test]
fn every_file_of_the_pages_is_in_the_table() {
    let mut found = Vec::new();
    files_below(&FilePath::new(env!("CARGO_MANIFEST_DIR")).join("web"), "", &mut found);
    let apart = |path: &String| {
        path.starts_with("docs/") || path.starts_with("styles/") || ["index.html", "README.md", "package.json"].contains(&path.as_str())
    };
    let found: HashSet<String> = found.into_iter().filter(|path| !apart(path)).collect();
    let table: HashSet<String> = FILES.iter().map(|file| file.path.to_owned()).collect();
    assert_eq!(found, table);
}

#[test]
fn every_import_of_a_module_leads_to_a_file_of_the_table() {
    for file in FILES.iter().filter(|file| file.path.ends_with(".js")) {
        let text = std::str::from_utf8(file.body).expect("UTF-8");
        for line in text.lines().filter(|line| line.starts_with("import ") || line.starts_with("} from ")) {
            let Some(target) = line.split('"').nth(1) else { continue };
            let folder = FilePath::new(file.path).parent().expect("a path in web/");
            let mut path: Vec<&str> = folder.iter().filter_map(|part| part.to_str()).collect();
            for part in target.split('/') {
                match part {
                    "." => {}
                    ".." => drop(path.pop()),
                    name => path.push(name),
                }
            }
            assert!(SENT.contains_key(path.join("/").as_str()), "{}: {target}", file.path);
        }
    }
}

#[actix_web::test]
async fn every_address_of_a_page_is_the_shell() {
    for path in [
        "/",
        "/tickets/new",
        "/tickets/0198c0de-0000-7000-8000-000000000000",
        "/listings",
        "/orders",
        "/orders/x",
        "/signup",
        "/signin?next=/orders",
        "/account",
    ] {
        let answer = answer_to(path).await;
        assert_eq!((answer.status(), named(&answer, header::CONTENT_TYPE)), (StatusCode::OK, HTML.into()), "{path}");
        let body = String::from_utf8(read_body(answer).await.to_vec()).expect("UTF-8");
        assert!(!body.contains("{{") && body.contains(&format!("/assets/{}/app.js", *VERSION)), "{path}");
    }
}

#[actix_web::test]
async fn a_file_is_kept_for_ever_under_its_version_and_asked_for_again_under_another() {
    let answer = answer_to(&format!("/assets/{}/core/dom.js", *VERSION)).await;
    assert_eq!(named(&answer, header::CACHE_CONTROL), "public, max-age=31536000, immutable");
    assert_eq!(named(&answer, header::CONTENT_TYPE), "text/javascript; charset=utf-8");
    let answer = answer_to("/assets/older/core/dom.js").await;
    assert_eq!((answer.status(), named(&answer, header::CACHE_CONTROL)), (StatusCode::OK, "no-cache".into()));
    for path in ["/assets/older/core/none.js", "/assets/older/../../Cargo.toml", "/assets/older/index.html"] {
        assert_eq!(answer_to(path).await.status(), StatusCode::NOT_FOUND, "{path}");
    }
}

#[actix_web::test]
async fn files_are_compressed_for_who_takes_that() {
    let request = TestRequest::get().uri("/assets/x/app.css").append_header((header::ACCEPT_ENCODING, "gzip, br"));
    let answer = answer_with(&[], request).await;
    assert_eq!(named(&answer, header::CONTENT_ENCODING), "br");
    let plain = read_body(answer_to("/assets/x/app.css").await).await;
    assert_eq!(plain, STYLES.concat().as_bytes());
}

#[actix_web::test]
async fn a_person_who_came_to_nowhere_gets_a_page_and_a_program_a_problem() {
    let request = TestRequest::get().uri("/nowhere").append_header((header::ACCEPT, "text/html,*/*;q=0.8"));
    let answer = answer_with(&[], request).await;
    assert_eq!((answer.status(), named(&answer, header::CONTENT_TYPE)), (StatusCode::NOT_FOUND, HTML.into()));
    for (path, accept) in [("/nowhere", "*/*"), ("/api/nowhere", "text/html")] {
        let answer = answer_with(&[], TestRequest::get().uri(path).append_header((header::ACCEPT, accept))).await;
        assert_eq!(named(&answer, header::CONTENT_TYPE), "application/problem+json", "{path}");
    }
}

#[actix_web::test]
async fn stripes_hosts_are_allowed_only_where_a_publishable_key_is_set() {
    let plain = named(&answer_to("/").await, header::CONTENT_SECURITY_POLICY);
    assert!(!plain.contains("stripe") && plain.contains("default-src 'none'") && plain.contains("trusted-types 'none'"), "{plain}");
    let flags = ["--stripe-publishable-key", "pk_test_1"];
    let with_key = answer_with(&flags, TestRequest::get().uri("/")).await;
    assert!(named(&with_key, header::CONTENT_SECURITY_POLICY).contains("script-src 'self' https://js.stripe.com https://*.js.stripe.com;"));
    let settings = answer_with(&flags, TestRequest::get().uri("/api/settings")).await;
    let settings: Value = serde_json::from_slice(&read_body(settings).await).expect("JSON");
    assert_eq!(settings["stripePublishableKey"], "pk_test_1");
}

#[actix_web::test]
async fn the_settings_tell_the_lengths_of_the_lock() {
    let answer =
        answer_with(&["--payment-window", "90s", "--lock-duration", "2500ms", "--early-release"], TestRequest::get().uri("/api/settings"))
            .await;
    let settings: Value = serde_json::from_slice(&read_body(answer).await).expect("JSON");
    let expected = serde_json::json!({"currency": "usd", "paymentWindowSeconds": 90, "lockDurationSeconds": 3, "earlyRelease": true, "stripePublishableKey": null});
    assert_eq!(settings, expected);
}

/// Every address at which a page is answered, with what is asked for.
fn page_requests() -> [TestRequest; 4] {
    let html = |path| TestRequest::get().uri(path).append_header((header::ACCEPT, "text/html"));
    [html("/"), html("/tickets/new"), html("/nowhere"), html("/docs")]
}

#[actix_web::test]
async fn every_page_is_isolated_from_other_sites_and_needs_nothing_of_the_browser() {
    for request in page_requests() {
        let answer = answer_with(&[], request).await;
        assert_eq!(named(&answer, header::CROSS_ORIGIN_OPENER_POLICY), "same-origin");
        assert_eq!(named(&answer, header::CROSS_ORIGIN_RESOURCE_POLICY), "same-origin");
        assert_eq!(
            named(&answer, header::PERMISSIONS_POLICY),
            "accelerometer=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), magnetometer=(), microphone=(), midi=(), \
             payment=(), usb=()"
        );
    }
}

#[actix_web::test]
async fn page_that_is_not_modified_has_the_same_policies() {
    let tag = named(&answer_to("/").await, header::ETAG);
    let answer = answer_with(&[], TestRequest::get().uri("/").append_header((header::IF_NONE_MATCH, tag))).await;
    assert_eq!(answer.status(), StatusCode::NOT_MODIFIED);
    assert_eq!(named(&answer, header::CROSS_ORIGIN_OPENER_POLICY), "same-origin");
}

#[actix_web::test]
async fn stripes_frames_may_open_windows_and_ask_for_payments_where_a_publishable_key_is_set() {
    let answer = answer_with(&["--stripe-publishable-key", "pk_test_1"], TestRequest::get().uri("/")).await;
    assert_eq!(named(&answer, header::CROSS_ORIGIN_OPENER_POLICY), "same-origin-allow-popups");
    assert_eq!(named(&answer, header::CROSS_ORIGIN_RESOURCE_POLICY), "same-origin");
    assert_eq!(
        named(&answer, header::PERMISSIONS_POLICY),
        "accelerometer=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), magnetometer=(), microphone=(), midi=(), \
         payment=(self \"https://js.stripe.com\" \"https://*.js.stripe.com\" \"https://hooks.stripe.com\"), usb=()"
    );
}

#[actix_web::test]
async fn transport_security_is_strict_exactly_where_the_first_origin_is_https() {
    let paths = ["/", "/docs", "/api/settings", "/api/nowhere", "/assets/x/app.js"];
    for path in paths {
        let flags = ["--public-origin", "https://tickets.example,http://localhost:3000"];
        let answer = answer_with(&flags, TestRequest::get().uri(path)).await;
        assert_eq!(named(&answer, header::STRICT_TRANSPORT_SECURITY), "max-age=31536000", "{path}");
        for flags in [&[][..], &["--public-origin", "http://localhost:3000,https://tickets.example"]] {
            let answer = answer_with(flags, TestRequest::get().uri(path)).await;
            assert!(!answer.headers().contains_key(header::STRICT_TRANSPORT_SECURITY), "{path} {flags:?}");
        }
    }
}
