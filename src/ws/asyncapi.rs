//! The AsyncAPI 3.0 document of the WebSocket, made from the types that are serialized and parsed.

use serde_json::{Map, Value, json};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{RefOr, Schema},
};

use super::{command::ClientFrame, protocol::ServerFrame};

/// Returns the document that is served under `/api/asyncapi.json`.
pub fn asyncapi() -> Value {
    let (sent, received) = (messages::<ServerFrame<'static>>(), messages::<ClientFrame>());
    let refer = |messages: &Map<String, Value>, place: &str| -> Vec<Value> {
        messages.keys().map(|name| json!({ "$ref": format!("#/{place}/{name}") })).collect()
    };
    let all: Map<String, Value> = sent.clone().into_iter().chain(received.clone()).collect();
    let channel: Map<String, Value> = all
        .keys()
        .map(|name| (name.clone(), json!({ "$ref": format!("#/components/messages/{name}") })))
        .collect();
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "GitTix live",
            "version": env!("CARGO_PKG_VERSION"),
            "description": DESCRIPTION,
            "tags": Direction::ALL.map(|direction| json!({ "name": direction.tag(), "description": direction.description() })),
        },
        "defaultContentType": "application/json",
        "channels": {
            "ws": {
                "address": "/ws",
                "messages": channel,
                "bindings": { "ws": { "method": "GET", "query": {
                    "type": "object",
                    "properties": { "after": {
                        "type": "string",
                        "pattern": "^[A-Za-z0-9_-]{1,64}$",
                        "description": "Resume after this cursor. Hello states whether this was possible.",
                    } },
                } } },
            },
        },
        "operations": {
            "sendFrame": {
                "action": "send",
                "channel": { "$ref": "#/channels/ws" },
                "messages": refer(&sent, "channels/ws/messages"),
            },
            "receiveFrame": {
                "action": "receive",
                "channel": { "$ref": "#/channels/ws" },
                "messages": refer(&received, "channels/ws/messages"),
            },
        },
        "components": { "messages": all, "schemas": schemas() },
    })
}

/// The sender and the receivers of a frame. Each message of the document is tagged with one of
/// these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    ClientToServer,
    ServerToOne,
    ServerToWatchers,
    ServerToUser,
}

impl Direction {
    pub const ALL: [Self; 4] =
        [Self::ClientToServer, Self::ServerToOne, Self::ServerToWatchers, Self::ServerToUser];

    /// Returns the name of the tag.
    pub const fn tag(self) -> &'static str {
        match self {
            Self::ClientToServer => "client to server",
            Self::ServerToOne => "server to this connection",
            Self::ServerToWatchers => "server to all who watch the ticket",
            Self::ServerToUser => "server to one user",
        }
    }

    pub const fn description(self) -> &'static str {
        match self {
            Self::ClientToServer => {
                "The client sends these to choose the tickets that it watches. A client may also send nothing."
            }
            Self::ServerToOne => "The server sends these about the connection itself.",
            Self::ServerToWatchers => {
                "The server sends these to every client that watches the ticket, signed in or not."
            }
            Self::ServerToUser => {
                "The server sends these only to connections with the session cookie of that user, independent of the watched tickets."
            }
        }
    }

    fn of(message: &str) -> Option<Self> {
        match message {
            "Watch" | "WatchAll" => Some(Self::ClientToServer),
            "Hello" | "Reset" | "Error" | "Watching" => Some(Self::ServerToOne),
            "TicketCreated" | "TicketUpdated" | "TicketDeleted" | "OrderExpired" => {
                Some(Self::ServerToWatchers)
            }
            "OrderCreated" | "OrderCancelled" | "ChargeCreated" | "ChargeCompleted"
            | "ChargeFailed" | "ChargeRefunded" | "UserUpdated" => Some(Self::ServerToUser),
            _ => None,
        }
    }
}

const DESCRIPTION: &str = "Text frames of JSON. No sign-in is needed to watch tickets. With a session cookie, the user's private \
    events are sent too. Frames are delivered in commit order, at least once; use `version` (of a charge `updatedAt`) to ignore \
    repeated ones. A client that reads slowly gets only the newest state of each ticket; if its queued frames exceed the limit, \
    it gets a Reset instead of them. It is disconnected after 30 s without progress, without a close frame. Close codes: 1001 at \
    a shutdown, 1002 for an invalid frame, 1003 for binary and fragmented messages, 1007 for text that is not UTF-8, 1008 after a \
    sign-out, at the end of the session, for more than 20 frames in 10 s and after 40 s of silence, 1009 for client frames over \
    48 KiB, 1011 for an internal error, 1012 for signed-in clients when the server lost events (connect again), 1013 when the \
    server is too busy for a frame. The server pings every 20 s.";

/// Returns one message for each variant of a frame, named as its `type`.
fn messages<F: PartialSchema>() -> Map<String, Value> {
    let schema = serde_json::to_value(F::schema()).expect("a schema is JSON");
    let variants = schema["oneOf"].as_array().cloned().unwrap_or_default();
    let message = |variant: Value| {
        let name = variant["properties"]["type"]["enum"][0]
            .as_str()
            .expect("each variant is tagged with its name")
            .to_owned();
        let summary = variant["description"].as_str().unwrap_or_default().to_owned();
        let tags: Vec<Value> = Direction::of(&name)
            .iter()
            .map(|direction| json!({ "name": direction.tag() }))
            .collect();
        (
            name.clone(),
            json!({ "name": name, "summary": summary, "tags": tags, "payload": variant }),
        )
    };
    variants.into_iter().map(message).collect()
}

/// Returns the schemas that the messages refer to.
fn schemas() -> Map<String, Value> {
    let mut schemas: Vec<(String, RefOr<Schema>)> = Vec::new();
    <ServerFrame<'static> as ToSchema>::schemas(&mut schemas);
    <ClientFrame as ToSchema>::schemas(&mut schemas);
    schemas
        .into_iter()
        .map(|(name, schema)| (name, serde_json::to_value(schema).expect("a schema is JSON")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the targets of all references.
    fn references(value: &Value) -> Vec<String> {
        match value {
            Value::Object(members) => members
                .iter()
                .flat_map(|(name, value)| match (name.as_str(), value.as_str()) {
                    ("$ref", Some(place)) => vec![place.to_owned()],
                    _ => references(value),
                })
                .collect(),
            Value::Array(values) => values.iter().flat_map(references).collect(),
            _ => Vec::new(),
        }
    }

    #[test]
    fn every_reference_has_a_target() {
        let document = asyncapi();
        let places = references(&document);
        assert!(places.len() > 20, "{places:?}");
        for place in places {
            let pointer = place.strip_prefix('#').expect("a reference into this document");
            assert!(document.pointer(pointer).is_some(), "{place}");
        }
    }

    #[test]
    fn message_direction_matches_its_operation() {
        let document = asyncapi();
        for (operation, from_client) in [("sendFrame", false), ("receiveFrame", true)] {
            for message in document["operations"][operation]["messages"].as_array().expect("a list")
            {
                let name = message["$ref"]
                    .as_str()
                    .and_then(|place| place.rsplit('/').next())
                    .expect("a name");
                let tags = &document["components"]["messages"][name]["tags"];
                let tagged = Direction::ALL
                    .into_iter()
                    .filter(|direction| *tags == json!([{ "name": direction.tag() }]));
                let directions: Vec<bool> =
                    tagged.map(|direction| direction == Direction::ClientToServer).collect();
                assert_eq!(directions, [from_client], "{name}: {tags}");
            }
        }
    }

    #[test]
    fn operations_list_all_messages() {
        let document = asyncapi();
        let sent = document["operations"]["sendFrame"]["messages"].as_array().map(Vec::len);
        let received = document["operations"]["receiveFrame"]["messages"].as_array().map(Vec::len);
        assert_eq!((sent, received), (Some(15), Some(2)));
    }
}
