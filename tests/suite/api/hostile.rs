//! Hostile input and the response to it: tables of bodies, paths and headers, raw bytes, and
//! WebSocket frames. After each table the same server still sells a ticket; after the tables of
//! bytes and frames its memory has not grown.

use reqwest::Method;
use serde_json::json;

use crate::app::{Backend, Client, TestApp, on_both_stores, raw};

on_both_stores!(
    hostile_bodies_have_the_expected_response,
    hostile_queries_and_headers_have_the_expected_response,
    hostile_bytes_have_the_expected_response,
    request_refused_by_the_parser_gets_a_problem_and_the_connection_closes,
    hostile_frames_close_only_their_own_socket,
    endless_body_is_refused_at_the_limit,
    too_large_body_gets_one_response_in_every_encoding,
);

/// Maximum growth of the resident memory of a debug build during one table, in KiB. The table
/// announces far more bytes.
const GROWTH_KIB_MAX: u64 = 64 * 1024;

/// Description, route, body, status, code, and the named field (empty: none).
type Body = (&'static str, &'static str, String, u16, &'static str, &'static str);

const SIGN_UP: &str = "/api/users/signup";
const SIGN_IN: &str = "/api/users/signin";
const TICKETS: &str = "/api/tickets";
const ORDERS: &str = "/api/orders";
const CHARGES: &str = "/api/charges";

#[rustfmt::skip]
fn bodies() -> Vec<Body> {
    let text = |text: &str| text.to_owned();
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let megabyte = "x".repeat(1024 * 1024);
    let ticket = |title: &str| format!(r#"{{"title":{title},"price":20}}"#);
    let price = |price: &str| format!(r#"{{"title":"Row","price":{price}}}"#);
    let account = |email: &str, password: &str| format!(r#"{{"email":{email},"password":{password}}}"#);
    vec![
        ("an operator for an email",       SIGN_UP, account(r#"{"$gt":""}"#, r#""correct horse""#),            400, "validation_failed", "email"),
        ("an operator when signing in",    SIGN_IN, account(r#"{"$gt":""}"#, r#""correct horse""#),            400, "validation_failed", "email"),
        ("an operator for a password",     SIGN_IN, account(r#""ann@example.com""#, r#"{"$ne":null}"#),        400, "validation_failed", "password"),
        ("an expression for an email",     SIGN_UP, account(r#"{"$where":"sleep(9999)"}"#, r#""12345678""#),   400, "validation_failed", "email"),
        ("a list for an email",            SIGN_UP, account(r#"["ann@example.com"]"#, r#""correct horse""#),   400, "validation_failed", "email"),
        ("NUL in an email",                SIGN_UP, account(r#""ann\u0000@example.com""#, r#""12345678""#),    400, "validation_failed", "email"),
        ("bidi in an email",               SIGN_UP, account(r#""ann\u202e@example.com""#, r#""12345678""#),    400, "validation_failed", "email"),
        ("zero width in an email",         SIGN_UP, account(r#""ann\u200b@example.com""#, r#""12345678""#),    400, "validation_failed", "email"),
        ("a line break in an email",       SIGN_UP, account(r#""ann@example.com\r\nBcc: x@y.z""#, r#""12345678""#), 400, "validation_failed", "email"),
        ("a lone surrogate in an email",   SIGN_UP, account(r#""\ud800@example.com""#, r#""12345678""#),       400, "malformed_json", ""),
        ("a password of 1 MB",             SIGN_UP, account(r#""ann@example.com""#, &format!("\"{megabyte}\"")), 413, "body_too_large", ""),
        ("a password of 129 characters",   SIGN_UP, account(r#""ann@example.com""#, &format!("\"{}\"", "x".repeat(129))), 400, "validation_failed", "password"),
        ("a number for a password",        SIGN_UP, account(r#""ann@example.com""#, "12345678"),               400, "validation_failed", "password"),
        ("NUL in a title",                 TICKETS, ticket(r#""a\u0000b""#),                                   400, "validation_failed", "title"),
        ("an escape sequence in a title",  TICKETS, ticket(r#""\u001b[2J""#),                                  400, "validation_failed", "title"),
        ("a page in a title",              TICKETS, ticket(r#""<script>alert(1)</script>""#),                  201, "", ""),
        ("1e999 for a price",              TICKETS, price("1e999"),                                            400, "validation_failed", "price"),
        ("-1e999 for a price",             TICKETS, price("-1e999"),                                           400, "validation_failed", "price"),
        ("10.999 for a price",             TICKETS, price("10.999"),                                           400, "validation_failed", "price"),
        ("-1 for a price",                 TICKETS, price("-1"),                                               400, "validation_failed", "price"),
        ("-0.00 for a price",              TICKETS, price("-0.00"),                                            400, "validation_failed", "price"),
        ("a thousand digits for a price",  TICKETS, price(&"9".repeat(1_000)),                                 400, "validation_failed", "price"),
        ("a thousand decimals for a price", TICKETS, price(&format!("20.{}", "1".repeat(1_000))),              400, "validation_failed", "price"),
        ("a huge exponent for a price",    TICKETS, price("1e99999999999999999999"),                           400, "validation_failed", "price"),
        ("a tiny exponent for a price",    TICKETS, price("1e-99999999999999999999"),                          400, "validation_failed", "price"),
        ("NaN for a price",                TICKETS, price("NaN"),                                              400, "malformed_json", ""),
        ("Infinity for a price",           TICKETS, price("Infinity"),                                         400, "malformed_json", ""),
        ("hexadecimal for a price",        TICKETS, price("0x14"),                                             400, "malformed_json", ""),
        ("an operator for a price",        TICKETS, price(r#"{"$numberDecimal":"20"}"#),                       400, "validation_failed", "price"),
        ("a member given twice",           TICKETS, text(r#"{"title":"Row","price":20,"price":1}"#),           400, "validation_failed", "price"),
        ("a member twice, once escaped",   TICKETS, text(r#"{"title":"Row","price":20,"pr\u0069ce":1}"#),      400, "validation_failed", "price"),
        ("100 levels in an unknown member",    TICKETS, format!(r#"{{"title":"Row","price":20,"x":{}}}"#, nested(100)), 201, "", ""),
        ("100 levels for a title",         TICKETS, ticket(&nested(100)),                                      400, "validation_failed", "title"),
        ("8,000 levels",                   TICKETS, nested(8_000),                                             400, "malformed_json", ""),
        ("8,000 levels never closed",      TICKETS, "[".repeat(8_000),                                         400, "malformed_json", ""),
        ("8,000 objects never closed",     TICKETS, r#"{"a":"#.repeat(3_000),                                  400, "malformed_json", ""),
        ("a list for an object",           TICKETS, text(r#"["Row",20]"#),                                     400, "validation_failed", ""),
        ("nothing for an object",          TICKETS, text("null"),                                              400, "validation_failed", ""),
        ("two documents",                  TICKETS, text(r#"{"title":"Row","price":20}{"x":1}"#),              400, "malformed_json", ""),
        ("a comment",                      TICKETS, text(r#"{"title":"Row",/**/"price":20}"#),                 400, "malformed_json", ""),
        ("an operator for a ticket",       ORDERS,  text(r#"{"ticketId":{"$ne":null}}"#),                      400, "validation_failed", "ticketId"),
        ("a regular expression",           ORDERS,  text(r#"{"ticketId":{"$regex":".*"}}"#),                   400, "validation_failed", "ticketId"),
        ("SQL for a ticket",               ORDERS,  text(r#"{"ticketId":"' OR 1=1 --"}"#),                     404, "not_found", ""),
        ("an operator for a token",        CHARGES, text(r#"{"orderId":"x","token":{"$gt":""}}"#),             400, "validation_failed", "token"),
        ("a card number for a token",      CHARGES, format!(r#"{{"orderId":"{}","token":"4242424242424242"}}"#, uuid::Uuid::nil()), 404, "not_found", ""),
    ]
}

async fn hostile_bodies_have_the_expected_response(store: Backend) {
    let app = TestApp::start(store).await;
    let user = app.user().await;
    let mut wrong = Vec::new();
    for (what, path, body, status, code, field) in bodies() {
        // A sign-up or sign-in must not replace the cookie of the seller.
        let client = if path == SIGN_UP || path == SIGN_IN { app.guest() } else { user.clone() };
        let answer = client.call(Method::POST, path).text(body).await;
        let named = field.is_empty()
            || answer.body["errors"]
                .as_array()
                .is_some_and(|all| all.iter().any(|error| error["field"] == field));
        if (answer.status, answer.code()) != (status, code) || !named {
            wrong.push(format!(
                "{what}: {} {} instead of {status} {code} {field}",
                answer.status, answer.text
            ));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_still_sells(&app).await;
}

async fn hostile_queries_and_headers_have_the_expected_response(store: Backend) {
    let app = TestApp::start(store).await;
    let user = app.user().await;
    let long = "x".repeat(3_000);
    let paths = [
        ("/api/tickets?limit=1e3", 400),
        ("/api/tickets?limit=+1", 400),
        ("/api/tickets?limit=%00", 400),
        ("/api/tickets?limit[$gt]=1", 200),
        ("/api/tickets?status[]=Sold", 200),
        ("/api/tickets?status=%7B%22$gt%22%3A%22%22%7D", 400),
        ("/api/tickets?q=%00", 200),
        ("/api/tickets?q=%FF%FE", 400),
        ("/api/tickets?q=((((((((((((a%2B)%2B)%2B)%2B)%2B)%2B)%2B)%2B)%2B)%2B)%2B)%2B)$", 200),
        ("/api/tickets?cursor=../../etc/passwd", 400),
        ("/api/tickets?minPrice=-0", 400),
        ("/api/tickets?minPrice=1e999", 400),
        ("/api/tickets?limit=1&limit=2", 400),
        ("/api/tickets?=&&&=", 200),
        ("/api/tickets/%2e%2e%2f%2e%2e%2fetc%2fpasswd", 404),
        ("/api/tickets/%00", 404),
        ("/api/tickets/%F0%9F%8E%AB", 404),
        ("/docs/../../Cargo.toml", 404),
        ("/%2e%2e/%2e%2e/etc/passwd", 404),
        ("//evil.example/", 404),
    ];
    let mut wrong = Vec::new();
    for (path, status) in paths {
        let answer = user.get(path).await;
        if answer.status != status {
            wrong.push(format!("{path}: {} {} instead of {status}", answer.status, answer.text));
        }
    }
    let headers = [
        ("idempotency-key", long.as_str(), 400),
        ("idempotency-key", "two\twords", 400),
        ("idempotency-key", "{\"$gt\":\"\"}", 201),
        ("cookie", long.as_str(), 401),
        ("cookie", ";;;=;=;", 401),
        ("content-encoding", "gzip", 415),
        ("x-forwarded-for", "127.0.0.1, ::1, x", 201),
        ("x-http-method-override", "DELETE", 201),
        ("forwarded", "for=\"_x\"", 201),
        ("accept", "application/xml", 201),
        ("expect", "the-unexpected", 201),
    ];
    for (name, value, status) in headers {
        let client = if name == "cookie" { app.guest() } else { user.clone() };
        let answer = client.list_ticket("Row", 20).header(name, value).await;
        // An unsupported encoding or expectation may also have another status (RFC 9110, 10.1.1 and
        // 12.5.3).
        if answer.status != status
            && !(name == "expect" && answer.status == 417)
            && !(name == "content-encoding" && answer.status == 400)
        {
            wrong.push(format!(
                "{name}: {value}: {} {} instead of {status}",
                answer.status, answer.text
            ));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_still_sells(&app).await;
}

async fn hostile_bytes_have_the_expected_response(store: Backend) {
    let app = TestApp::start(store).await;
    let before = app.server.resident_kib();
    let host = format!("Host: {}\r\n", app.server.addr);
    let json = format!("{host}Content-Type: application/json\r\n");
    // 0 means that the connection is closed without a response, which is acceptable.
    let rows: [(&str, String, &[u16]); 14] = [
        (
            "bytes that are not HTTP",
            "\x16\x03\x01\x02\x00\x01\x00\x01\u{7f}\r\n\r\n".into(),
            &[400, 0],
        ),
        ("another protocol", "SSH-2.0-OpenSSH_9.6\r\n\r\n".into(), &[400, 0]),
        ("no host", "GET /healthz HTTP/1.1\r\n\r\n".into(), &[200, 400]),
        ("HTTP/9.9", format!("GET /healthz HTTP/9.9\r\n{host}\r\n"), &[400, 505, 0]),
        ("TRACE", format!("TRACE /api/tickets HTTP/1.1\r\n{host}\r\n"), &[405]),
        ("CONNECT", format!("CONNECT evil.example:443 HTTP/1.1\r\n{host}\r\n"), &[400, 404, 405]),
        ("an unknown method", format!("BREW /api/tickets HTTP/1.1\r\n{host}\r\n"), &[405]),
        (
            "1 MB of header",
            format!("GET /healthz HTTP/1.1\r\n{host}X: {}\r\n\r\n", "x".repeat(1024 * 1024)),
            &[400, 413, 431, 0],
        ),
        (
            "10,000 headers",
            format!("GET /healthz HTTP/1.1\r\n{host}{}\r\n", "X: x\r\n".repeat(10_000)),
            &[400, 413, 431, 0],
        ),
        (
            "a path of 1 MB",
            format!("GET /{} HTTP/1.1\r\n{host}\r\n", "x".repeat(1024 * 1024)),
            &[400, 404, 413, 414, 431, 0],
        ),
        (
            "a terabyte announced",
            format!("POST {SIGN_UP} HTTP/1.1\r\n{json}Content-Length: 1099511627776\r\n\r\n{{"),
            &[413],
        ),
        (
            "an invalid length",
            format!("POST {SIGN_UP} HTTP/1.1\r\n{json}Content-Length: -1\r\n\r\n{{}}"),
            &[400, 0],
        ),
        (
            "two lengths",
            format!(
                "POST {SIGN_UP} HTTP/1.1\r\n{json}Content-Length: 2\r\nContent-Length: 3\r\n\r\n{{}}"
            ),
            &[400, 0],
        ),
        (
            "a length and chunks",
            format!(
                "POST {SIGN_UP} HTTP/1.1\r\n{json}Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
            ),
            &[400, 0],
        ),
    ];
    let mut wrong = Vec::new();
    for (what, bytes, statuses) in rows {
        let (status, text) = raw::request(app.server.addr, bytes.as_bytes()).await;
        if !statuses.contains(&status) {
            wrong.push(format!(
                "{what}: {status} instead of {statuses:?}: {}",
                text.chars().take(300).collect::<String>()
            ));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_memory_did_not_grow(&app, before);
    assert_still_sells(&app).await;
}

async fn request_refused_by_the_parser_gets_a_problem_and_the_connection_closes(store: Backend) {
    let app = TestApp::start(store).await;
    let host = format!("Host: {}\r\n", app.server.addr);
    let large = "x".repeat(64 * 1024);
    let rows: [(&str, Vec<u8>, u16, &str); 9] = [
        (
            "raw UTF-8 in a query",
            format!("GET /api/tickets?q=Köln HTTP/1.1\r\n{host}\r\n").into(),
            400,
            "malformed_request",
        ),
        (
            "raw UTF-8 in a path",
            format!("GET /köln HTTP/1.1\r\n{host}\r\n").into(),
            400,
            "malformed_request",
        ),
        (
            "bytes that are not UTF-8",
            [b"GET /\xff\xfe HTTP/1.1\r\n".as_slice(), host.as_bytes(), b"\r\n"].concat(),
            400,
            "malformed_request",
        ),
        (
            "raw UTF-8 in a method",
            format!("GËT / HTTP/1.1\r\n{host}\r\n").into(),
            400,
            "malformed_request",
        ),
        ("another protocol", b"SSH-2.0-OpenSSH_9.6\r\n\r\n".to_vec(), 400, "malformed_request"),
        ("no host", b"GET /healthz HTTP/1.1\r\n\r\n".to_vec(), 400, "malformed_request"),
        (
            "two lengths",
            format!(
                "POST {SIGN_UP} HTTP/1.1\r\n{host}Content-Length: 2\r\nContent-Length: 3\r\n\r\n"
            )
            .into(),
            400,
            "malformed_request",
        ),
        (
            "a head of 64 KiB",
            format!("GET /healthz HTTP/1.1\r\n{host}X: {large}\r\n\r\n").into(),
            431,
            "headers_too_large",
        ),
        (
            "100 headers",
            format!("GET /healthz HTTP/1.1\r\n{host}{}\r\n", "X: x\r\n".repeat(100)).into(),
            431,
            "headers_too_large",
        ),
    ];
    let valid = format!("GET /healthz HTTP/1.1\r\n{host}\r\n").into_bytes();
    for (what, bytes, status, code) in rows {
        // Alone, and after a request with an ordinary response.
        for before in [Vec::new(), valid.clone()] {
            let stream =
                raw::exchange(app.server.addr, &[before.clone(), bytes.clone()].concat(), |_| {
                    false
                })
                .await;
            let stream = String::from_utf8(stream).expect("text");
            let answer = stream.rfind("HTTP/1.1 ").map_or("", |at| &stream[at..]);
            assert_eq!(
                stream.matches("HTTP/1.1 ").count(),
                1 + usize::from(!before.is_empty()),
                "{what}: {stream}"
            );
            let (head, body) =
                answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{what}: {stream}"));
            let head = head.to_ascii_lowercase();
            assert!(head.starts_with(&format!("http/1.1 {status} ")), "{what}: {head}");
            for header in [
                "connection: close",
                "content-type: application/problem+json",
                "x-content-type-options: nosniff",
                "referrer-policy: same-origin",
                &format!("content-length: {}", body.len()),
            ] {
                assert!(head.lines().any(|line| line == header), "{what}: {header} in {head}");
            }
            assert!(!head.contains("\nserver:") && head.contains("\ndate: "), "{what}: {head}");
            let problem: serde_json::Value = serde_json::from_str(body).expect("JSON");
            assert_eq!(
                (&problem["status"], &problem["code"]),
                (&json!(status), &json!(code)),
                "{what}"
            );
            assert!(problem["errors"][0]["message"].is_string(), "{what}: {problem}");
        }
    }
    assert_still_sells(&app).await;
}

async fn endless_body_is_refused_at_the_limit(store: Backend) {
    let app = TestApp::start(store).await;
    let before = app.server.resident_kib();
    let addr = app.server.addr;
    let mut endless =
        format!("POST {SIGN_UP} HTTP/1.1\r\nHost: {addr}\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
            .into_bytes();
    // 64 MiB of chunks without a last one.
    let chunk = [b"10000\r\n".as_slice(), &[b' '; 0x10000], b"\r\n"].concat();
    endless.extend(chunk.repeat(1_024));
    let (status, text) = raw::request(addr, &endless).await;
    assert!(status == 413 && text.contains("body_too_large"), "{status} {text}");
    assert_memory_did_not_grow(&app, before);
    assert_still_sells(&app).await;
}

async fn too_large_body_gets_one_response_in_every_encoding(store: Backend) {
    let app = TestApp::start(store).await;
    let head = format!(
        "POST {SIGN_UP} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n",
        app.server.addr
    );
    let body = " ".repeat(300_000);
    for request in [
        format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()),
        format!("{head}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n", body.len()),
    ] {
        let stream = raw::exchange(app.server.addr, request.as_bytes(), |_| false).await;
        let text = String::from_utf8_lossy(&stream);
        assert!(text.starts_with("HTTP/1.1 413 ") && text.contains("body_too_large"), "{text}");
        assert_eq!(text.matches("HTTP/1.1 ").count(), 1, "{text}");
    }
}

async fn hostile_frames_close_only_their_own_socket(store: Backend) {
    let app = TestApp::start(store).await;
    let mut bystander = app.socket().await;
    let before = app.server.resident_kib();
    let huge = [0x81, 0xff, 0, 0, 1, 0, 0, 0, 0, 0, 1, 2, 3, 4];
    // The bytes after the handshake, and the allowed close codes (RFC 6455, 7.4.1).
    let rows: [(&str, Vec<u8>, &[u16]); 11] = [
        ("a frame of 2^40 bytes", [huge.as_slice(), &[b'x'; 100_000]].concat(), &[1009]),
        (
            "a frame of 2^63 bytes",
            vec![0x81, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4],
            &[1009, 1002],
        ),
        ("a frame without a mask", vec![0x81, 0x02, b'{', b'}'], &[1002]),
        ("reserved bits", vec![0xf1, 0x82, 0, 0, 0, 0, b'{', b'}'], &[1002]),
        ("a reserved opcode", vec![0x83, 0x82, 0, 0, 0, 0, b'{', b'}'], &[1002, 1003]),
        (
            "a ping of 126 bytes",
            [[0x89, 0xfe, 0, 126, 0, 0, 0, 0].as_slice(), &[0; 126]].concat(),
            &[1002],
        ),
        ("a fragmented ping", vec![0x09, 0x80, 0, 0, 0, 0], &[1002]),
        ("text that is not UTF-8", vec![0x81, 0x82, 0, 0, 0, 0, 0xff, 0xfe], &[1007, 1002]),
        ("a continuation of nothing", vec![0x80, 0x80, 0, 0, 0, 0], &[1002, 1003]),
        ("a text without its last fragment", vec![0x01, 0x82, 0, 0, 0, 0, b'{', b'}'], &[1003]),
        (
            "bytes that are not a frame",
            b"GET / HTTP/1.1\r\n\r\n".repeat(1_000),
            &[1002, 1003, 1009],
        ),
    ];
    let mut wrong = Vec::new();
    for (what, frames, codes) in rows {
        let bytes = [raw::upgrade(app.server.addr), frames].concat();
        let stream = raw::exchange(app.server.addr, &bytes, |_| false).await;
        // A server may also close without a code (RFC 6455, 7.1.7).
        match raw::close_code(&stream) {
            Some(code) if !codes.contains(&code) => {
                wrong.push(format!("{what}: {code} instead of {codes:?}"))
            }
            _ => {}
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_memory_did_not_grow(&app, before);
    let marker = app.user().await.sells("A marker").await;
    bystander.reached(&marker).await;
    assert_still_sells(&app).await;
}

#[track_caller]
fn assert_memory_did_not_grow(app: &TestApp, before_kib: u64) {
    let after_kib = app.server.resident_kib();
    assert!(after_kib < before_kib + GROWTH_KIB_MAX, "from {before_kib} to {after_kib} KiB");
}

async fn assert_still_sells(app: &TestApp) {
    let (seller, buyer): (Client, Client) = (app.user().await, app.user().await);
    let order = buyer.locks(&seller.sells("Still here").await).await;
    assert_eq!(buyer.pay(&order, "pm_card_visa").await.expect(201)["status"], json!("Completed"));
}
