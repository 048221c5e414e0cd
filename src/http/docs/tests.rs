//! The served documentation: its page, its files, and its policy.

use std::sync::Arc;

use actix_web::{
    dev::ServiceResponse,
    http::StatusCode,
    middleware::from_fn,
    test::{TestRequest, call_service, init_service, read_body},
};
use clap::Parser;

use super::*;
use crate::{
    config,
    http::{HttpContext, middleware::middleware},
    ws::Direction,
};

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    config: config::Config,
}

async fn answer_with(request: TestRequest) -> ServiceResponse {
    let context = HttpContext::new(
        &Flags::parse_from(["gittix", "--rate-limit", "off"]).config,
        ([127, 0, 0, 1], 3000).into(),
    );
    let app =
        init_service(crate::http::with_context(Arc::new(context)).wrap(from_fn(middleware))).await;
    call_service(&app, request.to_request()).await
}

async fn answer_to(path: &str) -> ServiceResponse {
    answer_with(TestRequest::get().uri(path)).await
}

fn named(answer: &ServiceResponse, name: header::HeaderName) -> String {
    answer.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

async fn page_text() -> String {
    String::from_utf8(read_body(answer_to(PAGE).await).await.to_vec()).expect("UTF-8")
}

/// Returns the addresses in one attribute of the page.
fn addresses(page: &str, attribute: &str) -> Vec<String> {
    let opening = format!(" {attribute}=\"");
    let pieces = page.split(&opening).skip(1);
    pieces.filter_map(|piece| piece.split('"').next()).map(str::to_owned).collect()
}

#[actix_web::test]
async fn page_explains_every_error_code_once_under_its_own_anchor() {
    let page = page_text().await;
    for code in Code::ALL {
        assert_eq!(page.matches(&format!(" id=\"{}\"", code.as_str())).count(), 1, "{code:?}");
        assert!(page.contains(&page::marked_up(code.title())), "{code:?} has no title");
        assert!(page.contains(&page::marked_up(advice::of(*code))), "{code:?} has no advice");
    }
}

#[actix_web::test]
async fn page_lists_every_operation_once_with_its_summary_and_a_link_into_the_reader() {
    let page = page_text().await;
    let document = crate::http::openapi::document();
    let mut all = 0;
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("an item") {
            let (tag, id) = (
                operation["tags"][0].as_str().expect("a tag"),
                operation["operationId"].as_str().expect("an id"),
            );
            let entries: Vec<&str> =
                page.split(&format!("<a href=\"#/{tag}/{id}\">")).skip(1).collect();
            let [entry] = entries[..] else { panic!("{id} is listed {} times", entries.len()) };
            let entry = entry.split("</li>").next().expect("its end");
            assert!(
                entry.starts_with(&format!("<code>{} {path}</code></a>", method.to_uppercase())),
                "{entry}"
            );
            let summary = operation["summary"]
                .as_str()
                .filter(|summary| !summary.is_empty())
                .expect("a summary");
            assert!(entry.contains(&format!("<p>{}</p>", page::marked_up(summary))), "{entry}");
            all += 1;
        }
    }
    assert_eq!(page.matches("href=\"#/").count(), all);
}

#[actix_web::test]
async fn page_shows_every_frame_below_who_sends_it() {
    let page = page_text().await;
    let document = crate::ws::asyncapi();
    let position = |text: &str| page.find(text).unwrap_or_else(|| panic!("{text} is missing"));
    for (name, message) in document["components"]["messages"].as_object().expect("messages") {
        let at = position(&format!("id=\"message-{name}\""));
        let mut above = Direction::ALL
            .into_iter()
            .filter(|direction| position(&page::escaped(direction.description())) < at);
        assert_eq!(
            above.next_back().map(Direction::tag),
            message["tags"][0]["name"].as_str(),
            "{name}"
        );
        let properties = message["payload"]["properties"].as_object().expect("properties");
        let article = page[at..].split("</article>").next().expect("its article");
        for member in properties.keys().filter(|member| *member != "type") {
            assert!(
                article.contains(&format!("<dt><code>{member}</code></dt>")),
                "{name}.{member}"
            );
        }
    }
}

#[actix_web::test]
async fn page_has_no_unfilled_field_and_a_unique_id_for_each_element() {
    let page = page_text().await;
    assert!(!page.contains("{{"), "{page}");
    let mut ids = addresses(&page, "id");
    ids.sort_unstable();
    let all = ids.len();
    ids.dedup();
    assert_eq!(ids.len(), all);
}

#[actix_web::test]
async fn every_file_of_the_page_is_immutable_and_comes_from_this_server() {
    let page = page_text().await;
    let links = addresses(&page, "href").into_iter().filter(|address| address.contains("?v="));
    let files: Vec<String> = links
        .chain(["src", "data-script", "data-style"].iter().flat_map(|name| addresses(&page, name)))
        .collect();
    assert_eq!(files.len(), FILES.len(), "{files:?}");
    for file in files {
        let answer = answer_to(&file).await;
        assert_eq!(
            (answer.status(), named(&answer, header::CACHE_CONTROL)),
            (StatusCode::OK, "public, max-age=31536000, immutable".into())
        );
        assert!(file.starts_with("/docs/"), "{file}");
    }
}

#[actix_web::test]
async fn file_under_another_version_is_revalidated() {
    for path in ["/docs/reader.js", "/docs/reader.js?v=0", "/docs/swagger-ui.css?v="] {
        let answer = answer_to(path).await;
        assert_eq!(
            (answer.status(), named(&answer, header::CACHE_CONTROL)),
            (StatusCode::OK, "no-cache".into()),
            "{path}"
        );
        let again = answer_with(
            TestRequest::get()
                .uri(path)
                .append_header((header::IF_NONE_MATCH, named(&answer, header::ETAG))),
        )
        .await;
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED, "{path}");
    }
    for path in ["/docs/index.html", "/docs/none", "/docs/swagger-initializer.js"] {
        assert_eq!(answer_to(path).await.status(), StatusCode::NOT_FOUND, "{path}");
    }
}

#[actix_web::test]
async fn script_of_swagger_ui_is_sent_in_the_encoding_that_the_client_takes() {
    let path = "/docs/swagger-ui-bundle.js";
    let mut plain = None;
    for (accepted, encoding) in [
        (None, ""),
        (Some("identity"), ""),
        (Some("gzip, deflate, br"), "gzip"),
        (Some("br"), "br"),
        (Some("gzip;q=0"), ""),
    ] {
        let request = accepted.map_or_else(TestRequest::get, |accepted| {
            TestRequest::get().append_header((header::ACCEPT_ENCODING, accepted))
        });
        let answer = answer_with(request.uri(path)).await;
        assert_eq!(
            (answer.status(), named(&answer, header::CONTENT_ENCODING)),
            (StatusCode::OK, encoding.into()),
            "{accepted:?}"
        );
        assert!(
            named(&answer, header::VARY).eq_ignore_ascii_case("accept-encoding"),
            "{accepted:?}"
        );
        let body = read_body(answer).await;
        let body = match encoding {
            "gzip" => unzipped(&body),
            "br" => continue,
            _ => body,
        };
        assert!(
            body.len() > 1_000_000 && String::from_utf8_lossy(&body).contains("SwaggerUIBundle"),
            "{accepted:?}"
        );
        assert_eq!(plain.get_or_insert(body.clone()), &body);
    }
}

#[actix_web::test]
async fn address_with_a_slash_redirects_to_the_page() {
    let answer = answer_to("/docs/").await;
    assert_eq!(
        (answer.status(), named(&answer, header::LOCATION)),
        (StatusCode::PERMANENT_REDIRECT, "/docs".into())
    );
}

#[actix_web::test]
async fn policy_of_the_page_allows_only_files_of_this_server() {
    let answer = answer_to(PAGE).await;
    let policy = named(&answer, header::CONTENT_SECURITY_POLICY);
    for directive in [
        "default-src 'none'",
        "script-src 'self';",
        "style-src 'self';",
        "connect-src 'self';",
        "frame-ancestors 'none'",
    ] {
        assert!(policy.contains(directive), "{policy}");
    }
    assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
    let other = answer_with(
        TestRequest::get().uri("/nowhere").append_header((header::ACCEPT, "text/html")),
    )
    .await;
    let other = named(&other, header::CONTENT_SECURITY_POLICY);
    assert!(other.contains("require-trusted-types-for 'script'"), "{other}");
}
