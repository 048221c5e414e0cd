//! The page as HTML: the template `web/docs/index.html`, filled with the operations of the OpenAPI
//! document, the frames of the AsyncAPI document and the error codes.

use std::fmt::Write;

use serde_json::{Map, Value};

use super::advice;
use crate::{
    http::{error::Code, openapi},
    ws::{self, Direction},
};

const TEMPLATE: &str = include_str!("../../../web/docs/index.html");
/// Names of the schemas that frames and responses share.
const SHARED_SHAPES: [&str; 4] = ["Charge", "Order", "Ticket", "User"];

/// Renders the page; `version` names the files that it loads.
pub fn render(version: &str) -> String {
    let fields = [
        ("{{version}}", version.to_owned()),
        ("{{operations}}", operations(&openapi::document())),
        ("{{frames}}", frames(&ws::asyncapi())),
        ("{{problems}}", problems()),
    ];
    fields.iter().fold(TEMPLATE.to_owned(), |page, (field, html)| page.replace(field, html))
}

/// Renders all operations of the OpenAPI document by tag. Each links to the operation in Swagger UI
/// (`reader.js` reads the address).
fn operations(document: &Value) -> String {
    let mut html = String::new();
    for tag in document["tags"].as_array().expect("the document has tags") {
        let name = tag["name"].as_str().expect("a tag has a name");
        let description = marked_up(tag["description"].as_str().unwrap_or_default());
        append(
            &mut html,
            format_args!(
                "<h3>{}</h3>\n<p>{description}</p>\n<ul class=\"operations\">\n",
                escaped(&capitalized(name))
            ),
        );
        for (path, item) in document["paths"].as_object().expect("the document has paths") {
            let of_tag = item
                .as_object()
                .into_iter()
                .flatten()
                .filter(|(_, operation)| operation["tags"][0] == name);
            for (method, operation) in of_tag {
                html.push_str(&entry(name, method, path, operation));
            }
        }
        html.push_str("</ul>\n");
    }
    html
}

/// Renders one operation of the index.
fn entry(tag: &str, method: &str, path: &str, operation: &Value) -> String {
    let id = operation["operationId"].as_str().expect("an operation has an id");
    let summary = marked_up(operation["summary"].as_str().unwrap_or_default());
    let (method, path) = (method.to_uppercase(), escaped(path));
    format!(
        "<li><a href=\"#/{tag}/{id}\"><code>{method} {path}</code></a>\n<p>{summary}</p></li>\n"
    )
}

/// Renders all messages of the AsyncAPI document, grouped by sender and recipient.
fn frames(document: &Value) -> String {
    let messages =
        document["components"]["messages"].as_object().expect("the document has messages");
    let mut html = String::new();
    for direction in Direction::ALL {
        let title = capitalized(direction.tag());
        append(
            &mut html,
            format_args!(
                "<h3>Frames: {}</h3>\n<p>{}</p>\n",
                escaped(&title),
                escaped(direction.description())
            ),
        );
        for (name, message) in
            messages.iter().filter(|(_, message)| message["tags"][0]["name"] == direction.tag())
        {
            let summary = marked_up(message["summary"].as_str().unwrap_or_default());
            let name = escaped(name);
            append(
                &mut html,
                format_args!(
                    "<article id=\"message-{name}\">\n<h4><code>{name}</code></h4>\n<p>{summary}</p>\n"
                ),
            );
            html.push_str(&members(&message["payload"]));
            html.push_str("</article>\n");
        }
    }
    html
}

/// Renders the members of a frame.
fn members(payload: &Value) -> String {
    let none = Map::new();
    let properties = payload["properties"].as_object().unwrap_or(&none);
    let is_required = |name: &str| {
        payload["required"]
            .as_array()
            .is_some_and(|required| required.iter().any(|one| one == name))
    };
    let mut html = String::new();
    for (name, schema) in properties.iter().filter(|(name, _)| *name != "type") {
        let optional = if is_required(name) { "" } else { ", may be absent" };
        let shape = format!("{}{optional}", shape(schema));
        append(
            &mut html,
            format_args!("<dt><code>{}</code></dt><dd>{}</dd>\n", escaped(name), marked_up(&shape)),
        );
    }
    if html.is_empty() {
        "<p>No members but <code>type</code>.</p>\n".to_owned()
    } else {
        format!("<dl>\n{html}</dl>\n")
    }
}

/// Describes a schema in a few words.
fn shape(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str().and_then(|place| place.rsplit('/').next()) {
        let from = if SHARED_SHAPES.contains(&name) { ", as in REST" } else { "" };
        return format!("`{name}`{from}");
    }
    let types = match &schema["type"] {
        Value::Array(types) => {
            types.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" or ")
        }
        one => one.as_str().unwrap_or("any value").to_owned(),
    };
    if types == "array" {
        let most =
            schema["maxItems"].as_u64().map(|most| format!(", at most {most}")).unwrap_or_default();
        return format!("list of {}{most}", shape(&schema["items"]));
    }
    schema["format"].as_str().map_or(types.clone(), |format| format!("{types} ({format})"))
}

/// Renders every error code once, with all its HTTP statuses.
fn problems() -> String {
    let mut html = String::new();
    for (at, &code) in Code::ALL.iter().enumerate() {
        let name = code.as_str();
        if Code::ALL[..at].iter().any(|earlier| earlier.as_str() == name) {
            continue;
        }
        let all: Vec<Code> =
            Code::ALL.iter().copied().filter(|other| other.as_str() == name).collect();
        let statuses: Vec<String> =
            all.iter().map(|code| code.status().as_u16().to_string()).collect();
        append(
            &mut html,
            format_args!(
                "<article id=\"{name}\">\n<h3><code>{name}</code> <span>{}</span></h3>\n",
                statuses.join(", ")
            ),
        );
        for code in all {
            append(
                &mut html,
                format_args!(
                    "<p>{} {}</p>\n",
                    marked_up(code.title()),
                    marked_up(advice::of(code))
                ),
            );
        }
        html.push_str("</article>\n");
    }
    html
}

fn append(html: &mut String, text: std::fmt::Arguments<'_>) {
    html.write_fmt(text).expect("a text takes what is written to it");
}

fn capitalized(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// Escapes text for HTML.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Escapes text for HTML; text between backticks becomes a `code` element.
pub(super) fn marked_up(text: &str) -> String {
    let mut html = String::new();
    for (at, part) in text.split('`').enumerate() {
        let part = escaped(part);
        if at % 2 == 1 {
            append(&mut html, format_args!("<code>{part}</code>"))
        } else {
            html.push_str(&part)
        }
    }
    html
}
