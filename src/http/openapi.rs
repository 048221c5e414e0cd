//! The OpenAPI document of the REST API.
//!
//! The attribute of a handler describes what is particular to that operation. Parameters, headers
//! and error responses that follow from the kind of operation (it changes state, it needs a
//! session) are added here, so that no handler can omit them.

use std::sync::LazyLock;

use actix_web::{HttpRequest, HttpResponse};
use bytes::Bytes;
use serde_json::{Map, Value, json};
use utoipa::OpenApi;

use super::{
    assets,
    error::{Code, Problem},
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "GitTix",
        description = "A ticket marketplace: list a ticket, lock it, pay it. Changes are sent at once on the WebSocket at `/ws`, which \
                       `/api/asyncapi.json` describes. Errors are `application/problem+json` (RFC 9457) with a stable `code`.",
    ),
    paths(
        super::users::sign_up, super::users::sign_in, super::users::sign_out, super::users::current, super::users::update,
        super::users::verify, super::users::resend_verification, super::users::request_reset, super::users::reset_password,
        super::listing::list, super::tickets::create, super::tickets::get, super::tickets::edit, super::tickets::delist,
        super::orders::place, super::orders::list, super::orders::get, super::orders::cancel,
        super::charges::pay, super::charges::get, super::charges::confirm, super::charges::of_order, super::charges::pay_alias, super::webhook::receive,
        super::health::alive, super::health::ready, super::health::metrics,
        super::settings::serve, super::socket::asyncapi, serve,
    ),
    components(schemas(Problem<'static>)),
    tags(
        (name = "users", description = "Accounts and sessions."),
        (name = "tickets", description = "What is on sale."),
        (name = "orders", description = "The lock on a ticket, and the time to pay it."),
        (name = "charges", description = "Attempts to pay an order."),
        (name = "webhooks", description = "For the payment processor's own messages."),
        (name = "operation", description = "Probes, metrics, settings and the API documents."),
    ),
)]
struct Described;

static DOCUMENT: LazyLock<(Bytes, String)> = LazyLock::new(|| {
    let body = document().to_string();
    let tag = assets::tag(body.as_bytes());
    (body.into(), tag)
});

/// Returns the OpenAPI document.
#[utoipa::path(get, path = "/api/openapi.json", tag = "operation", operation_id = "openapi",
    responses((status = 200, description = "OpenAPI 3.1.", body = Value, content_type = "application/json")))]
pub async fn serve(req: HttpRequest) -> HttpResponse {
    let (body, tag) = &*DOCUMENT;
    assets::serve_bytes(&req, body.clone(), "application/json", tag)
}

/// Builds the whole document.
pub fn document() -> Value {
    let mut document =
        serde_json::to_value(Described::openapi()).expect("a document of texts and numbers");
    // Relative to the address of the document, so that it is right for every host name, port and
    // proxy.
    document["servers"] = json!([{"url": "/", "description": "This server."}]);
    document["components"]["securitySchemes"]["session"] = json!({
        "type": "apiKey", "in": "cookie", "name": "gittix_session_3000",
        "description": "Set by sign-up, by sign-in and by a change of password. Over http the name ends with the port of the public origin, else of `Host` (80 if it has \
                        none); where the public origin is https, it is `__Host-gittix_session`.",
    });
    let mut codes: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
    codes.sort_unstable();
    codes.dedup();
    document["components"]["schemas"]["Problem"]["properties"]["code"]["enum"] = json!(codes);
    document["x-problems"] =
        Code::ALL.iter().map(|code| json!({"code": code.as_str(), "status": code.status().as_u16(), "title": code.title()})).collect();
    for item in document["paths"].as_object_mut().into_iter().flat_map(Map::values_mut) {
        for (method, operation) in item.as_object_mut().into_iter().flatten() {
            split_summary(operation);
            complete(method, operation);
        }
    }
    document
}

/// Keeps the first sentence as the summary, which viewers show in one line. The rest becomes the
/// description.
fn split_summary(operation: &mut Value) {
    let text = operation["summary"].as_str().unwrap_or_default().replace('\n', " ");
    let (summary, rest) = match text.split_once(". ") {
        Some((first, rest)) => (format!("{first}."), rest),
        None => (text.clone(), ""),
    };
    let description = [rest, operation["description"].as_str().unwrap_or_default()].join("\n\n");
    operation["summary"] = summary.into();
    if !description.trim().is_empty() {
        operation["description"] = description.trim().into();
    }
}

/// Adds the parameters, headers and responses that follow from the kind of the operation.
fn complete(method: &str, operation: &mut Value) {
    let changes = method != "get";
    // The webhook is verified by its signature only. Its origin is not checked, and its rate only
    // when it is refused.
    let signed = operation["tags"][0] == "webhooks";
    let signed_in = operation["security"] == json!([{"session": []}]);
    let queried = operation["parameters"]
        .as_array()
        .is_some_and(|all| all.iter().any(|parameter| parameter["in"] == "query"));
    if changes && !signed {
        problem(
            operation,
            Code::MalformedJson.status().as_u16(),
            "`validation_failed`, `malformed_json`",
        );
        problem(operation, 403, "`cross_origin`");
    }
    if changes {
        problem(operation, 408, "`request_timeout`");
        problem(operation, 413, "`body_too_large`");
        problem(operation, 415, "`unsupported_media_type`");
    } else if queried {
        problem(operation, 400, "`validation_failed`");
    }
    if signed_in {
        problem(operation, 401, "`not_signed_in`");
    }
    if changes && !signed {
        problem(operation, 409, "`other_user`");
        header(operation, expected_user());
    }
    if changes && signed_in {
        problem(operation, 409, "`idempotency_in_flight`");
        problem(operation, 422, "`idempotency_key_reused`");
        problem(operation, 503, "`outcome_unknown`");
        header(operation, idempotency_key());
    }
    if let Some(schema) = operation.pointer_mut("/requestBody/content/application~1json/schema")
        && schema.get("oneOf").is_some()
    {
        // An optional body may be absent, but not null.
        *schema = schema["oneOf"][0].take();
        operation["requestBody"]["required"] = false.into();
    }
    for answer in operation["responses"].as_object_mut().into_iter().flat_map(Map::values_mut) {
        // An optional header may be absent, but not null.
        for header in answer
            .get_mut("headers")
            .and_then(Value::as_object_mut)
            .into_iter()
            .flat_map(Map::values_mut)
        {
            if let Some(kind) = header.pointer_mut("/schema/type/0") {
                header["schema"]["type"] = kind.take();
            }
        }
    }
    // `get_mut`, because indexing would insert a null, and null is not a list of parameters.
    for parameter in
        operation.get_mut("parameters").and_then(Value::as_array_mut).into_iter().flatten()
    {
        // An optional parameter may be absent, but not null: a query string cannot express null.
        if let Some(kind) = parameter.pointer_mut("/schema/type/0") {
            parameter["schema"]["type"] = kind.take();
        }
    }
    let probe = ["alive", "ready", "metrics"].iter().any(|id| operation["operationId"] == *id);
    if !probe && !signed {
        problem(operation, 429, "`too_many_requests`");
    }
    if operation["tags"][0] != "operation" {
        problem(operation, 503, "`unavailable`");
    }
    for (status, answer) in operation["responses"].as_object_mut().into_iter().flatten() {
        if status.as_str() >= "400" {
            render_problem(status, answer);
        }
    }
}

/// Declares a response, or adds reasons to a declared one.
fn problem(operation: &mut Value, status: u16, codes: &str) {
    let answer = &mut operation["responses"][status.to_string()];
    let description = match answer["description"].as_str() {
        Some(own) => format!("{own}; {codes}"),
        None => codes.to_owned(),
    };
    answer["description"] = description.into();
}

fn render_problem(status: &str, answer: &mut Value) {
    answer["content"]["application/problem+json"]["schema"]["$ref"] =
        "#/components/schemas/Problem".into();
    if ["429", "503"].contains(&status) {
        answer["headers"]["Retry-After"] = json!({"description": "Seconds to wait.", "required": true, "schema": {"type": "integer", "minimum": 1}});
    }
}

fn idempotency_key() -> Value {
    json!({
        "name": "Idempotency-Key", "in": "header", "required": false,
        "description": "If the first request under this key changed something, a repetition gets its answer, with `Idempotency-Replayed: true`. Keys are kept for 24 hours.",
        "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
    })
}

fn expected_user() -> Value {
    json!({
        "name": "GitTix-User", "in": "header", "required": false,
        "description": "The id of the user who is signed in, as far as the client knows. If the session belongs to another user, the answer is 409 \
                        `other_user`, and nothing is done.",
        "schema": {"type": "string", "format": "uuid"},
    })
}

/// Adds a request header of the operation.
fn header(operation: &mut Value, parameter: Value) {
    match operation.get_mut("parameters").and_then(Value::as_array_mut) {
        Some(parameters) => parameters.push(parameter),
        None => operation["parameters"] = json!([parameter]),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn operations() -> Vec<(String, String, Value)> {
        let document = document();
        let paths = document["paths"].as_object().expect("paths").clone();
        let methods = |item: &Value| item.as_object().expect("an item").clone();
        paths
            .iter()
            .flat_map(|(path, item)| {
                methods(item)
                    .into_iter()
                    .map(move |(method, operation)| (path.clone(), method, operation))
            })
            .collect()
    }

    /// Returns every `$ref` in a value.
    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                found.extend(members.get("$ref").and_then(Value::as_str).map(str::to_owned));
                members.values().for_each(|member| references(member, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }

    #[test]
    fn it_is_openapi_3_1_and_every_reference_leads_somewhere() {
        let document = document();
        assert!(
            document["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")),
            "{}",
            document["openapi"]
        );
        let mut found = Vec::new();
        references(&document, &mut found);
        for reference in found {
            let pointer = reference.trim_start_matches('#');
            assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
        }
    }

    #[test]
    fn every_route_of_the_contract_is_described_once() {
        let described: HashSet<_> =
            operations().into_iter().map(|(path, method, _)| format!("{method} {path}")).collect();
        let contract = [
            "post /api/users/signup",
            "post /api/users/signin",
            "post /api/users/signout",
            "post /api/users/verify",
            "post /api/users/verify/resend",
            "post /api/users/reset",
            "post /api/users/reset/confirm",
            "get /api/users/currentuser",
            "put /api/users/currentuser",
            "get /api/tickets",
            "get /api/tickets/{id}",
            "post /api/tickets",
            "put /api/tickets/{id}",
            "delete /api/tickets/{id}",
            "post /api/orders",
            "get /api/orders",
            "get /api/orders/{id}",
            "delete /api/orders/{id}",
            "post /api/charges",
            "post /api/charges/{id}/confirm",
            "get /api/charges/{id}",
            "get /api/orders/{id}/charges",
            "post /api/payments",
            "post /api/webhooks/stripe",
        ];
        for route in contract {
            assert!(described.contains(route), "{route} is missing from {described:?}");
        }
        let ids: Vec<_> = operations()
            .into_iter()
            .map(|(_, _, operation)| operation["operationId"].to_string())
            .collect();
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len(), "{ids:?}");
    }

    #[test]
    fn every_error_is_a_problem_and_every_wait_states_its_duration() {
        for (path, method, operation) in operations() {
            for (status, answer) in operation["responses"].as_object().expect("responses") {
                let problem = answer.pointer("/content/application~1problem+json").is_some();
                assert_eq!(problem, status.as_str() >= "400", "{method} {path} {status}");
                let waits = answer.pointer("/headers/Retry-After").is_some();
                assert_eq!(
                    waits,
                    ["429", "503"].contains(&status.as_str()),
                    "{method} {path} {status}"
                );
            }
        }
    }

    #[test]
    fn requests_go_to_the_server_that_served_the_document() {
        assert_eq!(document()["servers"], json!([{"url": "/", "description": "This server."}]));
    }

    #[test]
    fn every_summary_is_one_sentence_of_one_line() {
        for (path, method, operation) in operations() {
            let summary = operation["summary"].as_str().unwrap_or_default();
            assert!(
                !summary.is_empty() && !summary.contains('\n') && !summary.contains(". "),
                "{method} {path}: {summary}"
            );
        }
        let mut operation = json!({"summary": "One. Two\nthree.", "description": "Four."});
        split_summary(&mut operation);
        assert_eq!(operation, json!({"summary": "One.", "description": "Two three.\n\nFour."}));
    }

    #[test]
    fn request_members_and_parameters_are_never_nullable() {
        for (path, method, operation) in operations() {
            assert!(
                !operation["parameters"].to_string().contains("\"null\""),
                "{method} {path}: {}",
                operation["parameters"]
            );
            assert!(
                operation.get("parameters").is_none_or(Value::is_array),
                "{method} {path} has parameters that are no list"
            );
            assert!(
                !operation["requestBody"].to_string().contains("\"null\""),
                "{method} {path}: {}",
                operation["requestBody"]
            );
        }
    }

    #[test]
    fn change_by_a_signed_in_user_takes_an_idempotency_key() {
        for (path, method, operation) in operations() {
            let takes = operation["parameters"]
                .as_array()
                .is_some_and(|all| all.iter().any(|one| one["name"] == "Idempotency-Key"));
            let open = [
                "/api/users/signup",
                "/api/users/signin",
                "/api/users/signout",
                "/api/users/verify",
                "/api/users/reset",
                "/api/users/reset/confirm",
                "/api/webhooks/stripe",
            ]
            .contains(&path.as_str());
            assert_eq!(takes, method != "get" && !open, "{method} {path}");
            assert_eq!(operation["responses"].get("422").is_some(), takes, "{method} {path}");
        }
    }
}
