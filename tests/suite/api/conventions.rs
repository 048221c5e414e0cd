//! Rules of every route: methods, types, limits, origins, headers. (`app::Answer` asserts on every
//! response of the suite that each error is a problem document with all its members.)

use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::sleep,
};

use crate::app::{Backend, Client, TestApp, millis, on_both_stores, raw};

on_both_stores!(
    unsupported_method_of_a_known_path_is_405_with_the_allowed_methods,
    unknown_path_is_404,
    body_with_another_content_type_is_415,
    body_that_is_not_json_is_malformed,
    body_of_16_kib_is_accepted_and_one_byte_more_is_413,
    unknown_members_are_ignored,
    repeated_member_is_refused_with_its_name,
    foreign_origin_is_refused_on_unsafe_requests,
    host_is_the_own_origin_by_default,
    only_configured_public_origins_are_own_origins,
    times_are_in_utc_with_milliseconds,
    response_to_a_signed_in_user_is_not_cacheable,
    pipelined_requests_are_answered_in_their_order,
);

async fn unsupported_method_of_a_known_path_is_405_with_the_allowed_methods(store: Backend) {
    let app = TestApp::start(store).await;
    let user = app.user().await;
    let id = uuid::Uuid::now_v7();
    let routes = [
        ("/api/users/signup", "POST"),
        ("/api/users/signin", "POST"),
        ("/api/users/signout", "POST"),
        ("/api/users/verify", "POST"),
        ("/api/users/verify/resend", "POST"),
        ("/api/users/reset", "POST"),
        ("/api/users/reset/confirm", "POST"),
        ("/api/users/currentuser", "GET, PUT"),
        ("/api/tickets", "GET, POST"),
        ("/api/orders", "GET, POST"),
        ("/api/charges", "POST"),
        ("/api/payments", "POST"),
        (&format!("/api/tickets/{id}"), "GET, PUT, DELETE"),
        (&format!("/api/orders/{id}"), "GET, DELETE"),
        (&format!("/api/charges/{id}"), "GET"),
        (&format!("/api/charges/{id}/confirm"), "POST"),
        (&format!("/api/orders/{id}/charges"), "GET"),
        ("/api/openapi.json", "GET"),
        ("/api/asyncapi.json", "GET"),
        ("/healthz", "GET"),
        ("/readyz", "GET"),
        ("/metrics", "GET"),
    ];
    for (path, methods) in routes {
        let answer = user.call(Method::PATCH, path).await.refused(405, "method_not_allowed");
        let allowed: Vec<_> = answer.header("allow").split(',').map(str::trim).collect();
        assert!(
            methods.split(", ").all(|method| allowed.contains(&method)),
            "{path} allows {allowed:?}, not {methods}"
        );
        assert!(!allowed.contains(&"PATCH"), "{path} allows {allowed:?}");
    }
}

async fn unknown_path_is_404(store: Backend) {
    let app = TestApp::start(store).await;
    let user = app.user().await;
    for path in [
        "/api",
        "/api/",
        "/api/nothing",
        "/api/tickets/",
        "/api/tickets/a/b",
        "/api/webhooks/unknown",
        "/nothing",
        "/.env",
        "/index.php",
    ] {
        user.get(path).await.refused(404, "not_found");
        user.post(path, &json!({})).await.refused(404, "not_found");
    }
}

async fn body_with_another_content_type_is_415(store: Backend) {
    let app = TestApp::start(store).await;
    let user = app.user().await;
    let body = r#"{"title":"Row","price":20}"#;
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/jsonx",
        "json",
        "application/xml",
    ] {
        let call =
            user.call(Method::POST, "/api/tickets").header("content-type", kind).untyped(body);
        call.await.refused(415, "unsupported_media_type");
    }
    user.call(Method::POST, "/api/tickets")
        .untyped(body)
        .await
        .refused(415, "unsupported_media_type");
    for kind in ["application/json", "application/json; charset=utf-8", "Application/JSON"] {
        user.call(Method::POST, "/api/tickets")
            .header("content-type", kind)
            .untyped(body)
            .await
            .expect(201);
    }
}

async fn body_that_is_not_json_is_malformed(store: Backend) {
    let app = TestApp::start(store).await;
    let user = app.user().await;
    for body in [
        "",
        "{",
        "title=Row",
        r#"{"title":"Row","price":20}}"#,
        r#"{"title":"Row","price":020}"#,
        r#"{'title':'Row'}"#,
        "\u{feff}{}",
        r#"{"title":"\x"}"#,
    ] {
        user.call(Method::POST, "/api/tickets").text(body).await.refused(400, "malformed_json");
    }
    user.call(Method::POST, "/api/tickets")
        .text(vec![b'"', 0xff, b'"'])
        .await
        .refused(400, "malformed_json");
}

async fn body_of_16_kib_is_accepted_and_one_byte_more_is_413(store: Backend) {
    const BODY_BYTES_MAX: usize = 16 * 1024;
    let app = TestApp::start(store).await;
    let user = app.user().await;
    let padded = |bytes: usize| {
        let rest = r#"{"title":"Row","price":20,"pad":""}"#.len();
        format!(r#"{{"title":"Row","price":20,"pad":"{}"}}"#, "x".repeat(bytes - rest))
    };
    user.call(Method::POST, "/api/tickets").text(padded(BODY_BYTES_MAX)).await.expect(201);
    user.call(Method::POST, "/api/tickets")
        .text(padded(BODY_BYTES_MAX + 1))
        .await
        .refused(413, "body_too_large");
}

async fn unknown_members_are_ignored(store: Backend) {
    let app = TestApp::start(store).await;
    let user = app.user().await;
    let body = json!({ "title": "Row", "price": 20, "status": "Sold", "userId": "x", "version": 9, "__proto__": {}, "$where": "1" });
    let ticket = user.post("/api/tickets", &body).await.expect(201);
    assert_eq!(
        (&ticket["status"], &ticket["version"], &ticket["userId"]),
        (&json!("Available"), &json!(0), &json!(user.id))
    );
}

async fn repeated_member_is_refused_with_its_name(store: Backend) {
    let app = TestApp::start(store).await;
    let user = app.user().await;
    let call = |path: &str, body: &'static str| user.call(Method::POST, path).text(body);
    call("/api/tickets", r#"{"title":"Row","price":20,"price":1}"#).await.invalid("price");
    call("/api/tickets", r#"{"title":"Row","title":"Row","price":20}"#).await.invalid("title");
    call(
        "/api/users/signup",
        r#"{"email":"a@example.com","email":"b@example.com","password":"correct horse"}"#,
    )
    .await
    .invalid("email");
    call("/api/orders", r#"{"ticketId":"a","ticketId":"b"}"#).await.invalid("ticketId");
}

async fn foreign_origin_is_refused_on_unsafe_requests(store: Backend) {
    let app = TestApp::start(store).await;
    let user = app.user().await;
    let ticket = user.sells("Front row").await;
    let own = format!("http://{}", app.server.addr);
    let port = app.server.addr.port();
    for origin in [
        "null",
        "https://evil.example",
        "http://127.0.0.1",
        &format!("http://localhost:{port}"),
        &format!("{own}.evil.example"),
        "",
        "x",
    ] {
        user.list_ticket("Row", 20).header("origin", origin).await.refused(403, "cross_origin");
        user.edit_ticket(&ticket, "Row", 20)
            .header("origin", origin)
            .await
            .refused(403, "cross_origin");
        user.delist_ticket(&ticket).header("origin", origin).await.refused(403, "cross_origin");
        user.sign_out().header("origin", origin).await.refused(403, "cross_origin");
        app.guest()
            .sign_in(&user.email, Client::PASSWORD)
            .header("origin", origin)
            .await
            .refused(403, "cross_origin");
        user.ticket(&ticket).header("origin", origin).await.expect(200);
    }
    user.list_ticket("Row", 20)
        .header("sec-fetch-site", "cross-site")
        .await
        .refused(403, "cross_origin");
    user.tickets("").header("sec-fetch-site", "cross-site").await.expect(200);
}

async fn host_is_the_own_origin_by_default(store: Backend) {
    let app = TestApp::start(store).await;
    let user = app.user().await;
    let own = format!("http://{}", app.server.addr);
    user.list_ticket("Row", 20)
        .header("origin", &own)
        .header("sec-fetch-site", "same-origin")
        .await
        .expect(201);
    user.list_ticket("Row", 20)
        .header("host", "tickets.test")
        .header("origin", "http://tickets.test")
        .await
        .expect(201);
    user.list_ticket("Row", 20)
        .header("host", "tickets.test")
        .header("origin", &own)
        .await
        .refused(403, "cross_origin");
    user.list_ticket("Row", 20).await.expect(201);
}

async fn only_configured_public_origins_are_own_origins(store: Backend) {
    let app = TestApp::start_with(
        store,
        &[("GITTIX_PUBLIC_ORIGIN", "http://one.example, http://two.example:8080")],
    )
    .await;
    let user = app.user().await;
    for origin in ["http://one.example", "http://two.example:8080"] {
        user.list_ticket("Row", 20).header("origin", origin).await.expect(201);
    }
    for origin in
        [&format!("http://{}", app.server.addr), "https://one.example", "http://two.example"]
    {
        user.list_ticket("Row", 20).header("origin", origin).await.refused(403, "cross_origin");
    }
}

async fn times_are_in_utc_with_milliseconds(store: Backend) {
    let app = TestApp::start(store).await;
    let (seller, buyer) = (app.user().await, app.user().await);
    let mut socket = buyer.socket_at("").await;
    millis(&socket.expect("Hello").await["serverTime"]);
    let ticket = seller.list_ticket("Front row", 20).await.expect(201);
    let order = buyer.place_order(&ticket.id()).await.expect(201);
    let charge = buyer.pay(&order.id(), "pm_card_visa").await.expect(201);
    for (answer, members) in [
        (&ticket, ["createdAt", "updatedAt"]),
        (&order, ["expiresAt", "unlocksAt"]),
        (&charge, ["createdAt", "updatedAt"]),
    ] {
        for member in members {
            millis(&answer[member]);
        }
    }
    millis(&socket.event("TicketUpdated").await["at"]);
}

async fn response_to_a_signed_in_user_is_not_cacheable(store: Backend) {
    let app = TestApp::start(store).await;
    let user = app.user().await;
    for path in ["/api/users/currentuser", "/api/orders", "/api/tickets?seller=me"] {
        let cache = user.get(path).await.expect(200).header("cache-control").to_owned();
        assert!(
            cache.contains("no-store") || cache.contains("private") || cache.contains("no-cache"),
            "{path}: {cache:?}"
        );
    }
}

async fn pipelined_requests_are_answered_in_their_order(store: Backend) {
    let app = TestApp::start(store).await;
    let pipelined = format!(
        "GET /healthz HTTP/1.1\r\nHost: {0}\r\n\r\nGET /nothing HTTP/1.1\r\nHost: {0}\r\nConnection: close\r\n\r\n",
        app.server.addr
    );
    let answer = raw::exchange(app.server.addr, pipelined.as_bytes(), |_| false).await;
    let text = String::from_utf8_lossy(&answer);
    let statuses: Vec<_> =
        text.match_indices("HTTP/1.1 ").map(|(at, _)| &text[at + 9..at + 12]).collect();
    assert_eq!(statuses, ["200", "404"], "{text}");
}

/// A proxy keeps idle connections for a minute, and does not repeat a POST whose connection was
/// closed.
#[tokio::test]
async fn connection_may_be_idle_between_two_requests() {
    /// Longer than the default of actix.
    const IDLE: Duration = Duration::from_secs(6);
    let app = TestApp::start(Backend::Embedded).await;
    let mut connection = TcpStream::connect(app.server.addr).await.expect("the server listens");
    let request = |how: &str| {
        format!("GET /healthz HTTP/1.1\r\nHost: {}\r\nConnection: {how}\r\n\r\n", app.server.addr)
    };
    connection.write_all(request("keep-alive").as_bytes()).await.expect("the connection is open");
    sleep(IDLE).await;
    connection.write_all(request("close").as_bytes()).await.expect("the connection is still open");
    let mut answers = String::new();
    connection.read_to_string(&mut answers).await.expect("the connection ends without an error");
    assert_eq!(answers.matches("HTTP/1.1 200 ").count(), 2, "{answers}");
}
