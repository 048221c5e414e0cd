//! Errors of request bodies, and the fields that they name.

use actix_web::test::TestRequest;
use serde_json::Value;

use super::*;

fn problem(error: &ApiError) -> (u16, Vec<(String, String)>) {
    let answer = actix_web::ResponseError::error_response(error);
    let status = answer.status().as_u16();
    let body =
        actix_web::body::MessageBody::try_into_bytes(answer.into_body()).expect("a body in memory");
    let problem: Value = serde_json::from_slice(&body).expect("JSON");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let errors = problem["errors"]
        .as_array()
        .expect("errors")
        .iter()
        .map(|e| (text(&e["field"]), text(&e["message"])))
        .collect();
    (status, errors)
}

/// Parses a required title (a string) and an optional count (a number).
fn parse(body: &[u8]) -> Result<(String, Option<String>), ApiError> {
    let mut form = Form::parse(body, &["title", "count"])?;
    let title = form.required("title", text);
    let count = form.optional("count", |raw| {
        if raw.starts_with('"') { Err("must be a number".into()) } else { Ok(raw.to_owned()) }
    });
    form.finish(title.map(|title| (title, count)))
}

fn fields(body: &[u8]) -> Vec<String> {
    let error = parse(body).expect_err("must be refused");
    assert_eq!(error.code(), Code::ValidationFailed);
    problem(&error).1.into_iter().map(|(field, _)| field).collect()
}

#[test]
fn members_are_parsed_from_their_own_text() {
    let (title, count) =
        parse(br#" {"count": 1e999, "title" : "a\u00e9\ud83d\ude00" } "#).expect("valid");
    assert_eq!((title.as_str(), count.as_deref()), ("aé😀", Some("1e999")));
}

#[test]
fn all_invalid_members_are_reported_together() {
    assert_eq!(fields(br#"{"title":{"$gt":""},"count":"1"}"#), ["title", "count"]);
    assert_eq!(fields(b"{}"), ["title"]);
}

#[test]
fn repeated_member_is_refused_also_with_escapes_in_its_name() {
    assert_eq!(fields(br#"{"title":"a","title":"a"}"#), ["title"]);
    assert_eq!(fields(br#"{"title":"a","t\u0069tle":"b"}"#), ["title"]);
    assert_eq!(fields(br#"{"title":"a","count":1,"count":1,"count":1}"#), ["count"]);
}

#[test]
fn unknown_members_are_ignored_at_any_depth_and_if_repeated() {
    let deep =
        format!(r#"{{"x":{0}1{1},"x":{0}{1},"title":"a"}}"#, "[".repeat(100), "]".repeat(100));
    assert_eq!(parse(deep.as_bytes()).expect("valid").0, "a");
    let brackets = format!(r#"{{"title":"a","x":"{}\"{}"}}"#, "[".repeat(500), "{".repeat(500));
    assert_eq!(parse(brackets.as_bytes()).expect("brackets in a string do not count").0, "a");
}

#[test]
fn too_deeply_nested_body_is_malformed() {
    for body in [
        "[".repeat(8_000),
        format!("{}{}", "[".repeat(8_000), "]".repeat(8_000)),
        r#"{"a":"#.repeat(3_000),
    ] {
        assert_eq!(
            parse(body.as_bytes()).expect_err("must be refused").code(),
            Code::MalformedJson
        );
    }
}

#[test]
fn value_other_than_an_object_lacks_every_required_member() {
    for body in ["[]", "null", "\"title\"", "7", " true "] {
        assert_eq!(fields(body.as_bytes()), ["title"], "{body}");
    }
}

#[test]
fn unpaired_surrogate_is_malformed() {
    for body in [
        &br#"{"title":"\ud800"}"#[..],
        br#"{"title":"\udc00\ud800"}"#,
        br#"{"title":"a","count":"\ud800x"}"#,
    ] {
        assert_eq!(parse(body).expect_err("must be refused").code(), Code::MalformedJson);
    }
    assert!(parse(br#"{"title":"a","x":"\ud800"}"#).is_ok(), "unknown members are not parsed");
}

#[test]
fn null_is_not_a_string() {
    assert_eq!(fields(br#"{"title":null}"#), ["title"]);
}

#[test]
fn body_that_is_not_json_is_malformed() {
    let bodies: [&[u8]; 9] = [
        b"",
        b"{",
        b"{\"title\":\"a\"} x",
        b"{'title':'a'}",
        b"{\"title\":\"a\",}",
        b"\xff\xfe",
        b"{\"title\":\"\xc3\"}",
        b"title=a",
        b"NaN",
    ];
    for body in bodies {
        assert_eq!(
            parse(body).expect_err("must be refused").code(),
            Code::MalformedJson,
            "{body:?}"
        );
    }
}

#[test]
fn optional_body_must_be_an_object() {
    assert!(matches!(Form::check_ignored_object(b""), Ok(())));
    assert!(matches!(Form::check_ignored_object(b" {\"x\":1}"), Ok(())));
    assert_eq!(
        Form::check_ignored_object(b"[]").expect_err("not an object").code(),
        Code::ValidationFailed
    );
    assert_eq!(Form::check_ignored_object(b"{").expect_err("not JSON").code(), Code::MalformedJson);
}

async fn read_with(
    headers: &[(&'static str, &'static str)],
    body: Vec<Bytes>,
) -> Result<Bytes, ApiError> {
    let mut request = TestRequest::post();
    for header in headers {
        request = request.append_header(*header);
    }
    let chunks = futures_util::stream::iter(body.into_iter().map(Ok));
    read(
        &request.to_http_request(),
        &mut Payload::Stream { payload: Box::pin(chunks) },
        BODY_BYTES_MAX,
    )
    .await
}

#[actix_web::test]
async fn content_type_is_checked_before_the_body_is_read() {
    for kind in ["text/plain", "application/jsonx", "application/x-www-form-urlencoded", ""] {
        let error = read_with(&[("content-length", "2"), ("content-type", kind)], vec![])
            .await
            .expect_err("must be refused");
        assert_eq!(error.code(), Code::UnsupportedMediaType, "{kind}");
    }
    let error = read_with(
        &[
            ("content-length", "2"),
            ("content-type", "application/json"),
            ("content-encoding", "gzip"),
        ],
        vec![],
    )
    .await;
    assert_eq!(error.expect_err("must be refused").code(), Code::UnsupportedMediaType);
    let body = read_with(
        &[("content-length", "2"), ("content-type", "Application/JSON; charset=utf-8")],
        vec![Bytes::from_static(b"{}")],
    )
    .await;
    assert_eq!(body.expect("valid"), "{}");
}

#[actix_web::test]
async fn endless_body_is_refused_at_the_limit() {
    let json = ("content-type", "application/json");
    let chunk = Bytes::from(vec![b' '; 1000]);
    let endless = vec![chunk.clone(); 17];
    let error = read_with(&[json, ("transfer-encoding", "chunked")], endless)
        .await
        .expect_err("must be refused");
    assert_eq!(error.code(), Code::BodyTooLarge);
    let error =
        read_with(&[json, ("content-length", "16385")], vec![]).await.expect_err("must be refused");
    assert_eq!(error.code(), Code::BodyTooLarge);
    let body = read_with(
        &[json, ("content-length", "16384")],
        vec![Bytes::from(vec![b' '; BODY_BYTES_MAX])],
    )
    .await;
    assert_eq!(body.expect("a body of the maximum length").len(), BODY_BYTES_MAX);
}
