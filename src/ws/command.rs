//! The commands of clients: `Watch` and `WatchAll`.

use std::collections::HashSet;

use serde::{Deserialize, de::IgnoredAny};

use super::protocol::ServerFrame;
use crate::domain::TicketId;

/// A valid command from a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientCommand {
    /// Watch these tickets only. A ticket that is named twice counts once.
    Watch(HashSet<TicketId>),
    /// Watch all tickets again.
    WatchAll,
}

/// The reason why a text frame is not a valid command. Mistakes that the REST interface also
/// reports have the same codes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    #[error("not JSON")]
    Malformed,
    #[error("expected an object with exactly one member `type`, a string")]
    NoType,
    #[error("unknown type; expected `Watch` or `WatchAll`")]
    UnknownType,
    #[error("`tickets` must be a list of ticket ids")]
    NoTickets,
    #[error("`tickets[{0}]` is not a ticket id")]
    NotAnId(usize),
    #[error("`tickets` may name at most {0}")]
    TooMany(usize),
}

impl CommandError {
    fn code(&self) -> &'static str {
        match self {
            Self::Malformed => "malformed_json",
            Self::UnknownType => "unknown_type",
            Self::NoType | Self::NoTickets | Self::NotAnId(_) | Self::TooMany(_) => {
                "validation_failed"
            }
        }
    }

    /// Returns the error frame for the client.
    pub fn frame(&self) -> ServerFrame<'static> {
        ServerFrame::Error { code: self.code(), message: self.to_string() }
    }
}

/// A frame from the client, before its ids are checked. The AsyncAPI document is made from this
/// type too.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(tag = "type")]
pub enum ClientFrame {
    /// Limits the public events to these tickets. The user's own events are sent in any case.
    Watch {
        #[schema(max_items = 1000)]
        tickets: Vec<String>,
    },
    /// Asks for the public events of all tickets again.
    WatchAll {},
}

/// The `type` of a frame alone, so that a mistake in it gets another error than a mistake in the
/// other members.
#[derive(Deserialize)]
struct TypeOnly {
    #[serde(rename = "type")]
    name: String,
}

impl ClientCommand {
    /// Returns the number of tickets that the command names.
    pub fn watched(&self) -> usize {
        match self {
            Self::Watch(tickets) => tickets.len(),
            Self::WatchAll => 0,
        }
    }

    /// Parses a command that names at most `watched_max` tickets.
    ///
    /// # Errors
    /// The error that the client receives.
    pub fn parse(text: &str, watched_max: usize) -> Result<Self, CommandError> {
        serde_json::from_str::<IgnoredAny>(text).map_err(|_| CommandError::Malformed)?;
        let TypeOnly { name } = serde_json::from_str(text).map_err(|_| CommandError::NoType)?;
        if !matches!(name.as_str(), "Watch" | "WatchAll") {
            return Err(CommandError::UnknownType);
        }
        match serde_json::from_str(text).map_err(|_| CommandError::NoTickets)? {
            ClientFrame::WatchAll {} => Ok(Self::WatchAll),
            ClientFrame::Watch { tickets } => {
                let id =
                    |(at, id): (usize, &String)| id.parse().map_err(|_| CommandError::NotAnId(at));
                let tickets =
                    tickets.iter().enumerate().map(id).collect::<Result<HashSet<TicketId>, _>>()?;
                if tickets.len() > watched_max {
                    Err(CommandError::TooMany(watched_max))
                } else {
                    Ok(Self::Watch(tickets))
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    fn id(n: usize) -> TicketId {
        TicketId::new(Uuid::from_u128(n as u128))
    }

    fn parse(value: serde_json::Value) -> Result<ClientCommand, CommandError> {
        ClientCommand::parse(&value.to_string(), 1000)
    }

    #[test]
    fn both_commands_are_parsed_and_unknown_members_ignored() {
        assert_eq!(parse(json!({"type": "WatchAll", "since": 1})), Ok(ClientCommand::WatchAll));
        assert_eq!(
            parse(json!({"tickets": [], "type": "Watch"})),
            Ok(ClientCommand::Watch(HashSet::new()))
        );
        assert_eq!(
            parse(json!({"type": "Watch", "tickets": [id(1), id(2), id(1)]})),
            Ok(ClientCommand::Watch(HashSet::from([id(1), id(2)])))
        );
    }

    #[test]
    fn watch_of_more_than_a_thousand_tickets_is_refused() {
        let watch = |count: usize| {
            parse(json!({"type": "Watch", "tickets": (0..count).map(id).collect::<Vec<_>>()}))
        };
        assert!(matches!(watch(1000), Ok(ClientCommand::Watch(tickets)) if tickets.len() == 1000));
        assert_eq!(watch(1001), Err(CommandError::TooMany(1000)));
    }

    #[test]
    fn invalid_command_gets_the_code_of_its_mistake() {
        let cases = [
            ("", "malformed_json"),
            ("{", "malformed_json"),
            ("null", "validation_failed"),
            ("[]", "validation_failed"),
            (r#"{"type":1}"#, "validation_failed"),
            (r#"{"type":"WatchAll","type":"Watch"}"#, "validation_failed"),
            (r#"{"type":"watch"}"#, "unknown_type"),
            (r#"{"type":"Watch"}"#, "validation_failed"),
            (r#"{"type":"Watch","tickets":"all"}"#, "validation_failed"),
            (r#"{"type":"Watch","tickets":[1]}"#, "validation_failed"),
            (r#"{"type":"Watch","tickets":["{$gt:1}"]}"#, "validation_failed"),
        ];
        for (text, code) in cases {
            assert_eq!(
                ClientCommand::parse(text, 1000).map_err(|error| error.code()),
                Err(code),
                "{text}"
            );
        }
    }

    proptest! {
        #[test]
        fn parsing_any_text_does_not_panic(text in "\\PC{0,80}") {
            let _ = ClientCommand::parse(&text, 10);
        }
    }
}
