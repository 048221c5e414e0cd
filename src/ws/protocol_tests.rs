//! Tests of the frames of each event, their receivers, and their description in the AsyncAPI
//! document.

use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::{
    domain::{
        CancelReason, ChargeId, ChargeState, Currency, Email, Lock, Millis, Money, Order,
        OrderState, PaymentId, PublicUser, ReplicaName, SessionDigest, TicketDetails,
        TicketSnapshot, TicketState, samples,
    },
    ws::{asyncapi, command::CommandError},
};

/// 2026-09-01T12:34:56.789Z.
const AT: Timestamp = Timestamp(1_788_266_096_789);

fn uuid(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

fn seller() -> UserId {
    UserId::new(uuid(1))
}

fn buyer() -> UserId {
    UserId::new(uuid(0xb0b))
}

fn ticket() -> Ticket {
    let lock = Lock {
        order: OrderId::new(uuid(3)),
        buyer: buyer(),
        unlocks_at: AT + Millis::from_mins(15),
        replica: ReplicaName::new("r1"),
    };
    Ticket {
        id: TicketId::new(uuid(2)),
        seller: seller(),
        details: TicketDetails {
            price: Money::from_minor(1999).expect("in range"),
            ..samples::details("Café")
        },
        state: TicketState::Locked { lock: Box::new(lock) },
        version: 1,
        created_at: AT,
        updated_at: AT,
        ..samples::ticket()
    }
}

fn order() -> Order {
    Order {
        id: OrderId::new(uuid(3)),
        buyer: buyer(),
        state: OrderState::Cancelled { reason: CancelReason::Expired },
        ticket: TicketSnapshot::from(&ticket()),
        price: Money::from_minor(1999).expect("in range"),
        currency: Currency::Usd,
        expires_at: AT + Millis::from_mins(10),
        unlocks_at: AT + Millis::from_mins(15),
        declines: 0,
        version: 1,
        created_at: AT,
        updated_at: AT,
    }
}

fn charge() -> Charge {
    Charge {
        id: ChargeId::new(uuid(4)),
        order: OrderId::new(uuid(3)),
        ticket: TicketId::new(uuid(2)),
        buyer: buyer(),
        state: ChargeState::AwaitingAction { payment: PaymentId::new("pi_1") },
        version: 1,
        created_at: AT,
        updated_at: AT,
        ..samples::charge()
    }
}

fn card() -> PublicUser {
    PublicUser {
        id: buyer(),
        email: Email::parse("bob@example.com").expect("an address"),
        email_verified: false,
        pending_email: None,
    }
}

fn every_event() -> Vec<DomainEvent> {
    let session = SessionDigest::new("5e55".into());
    vec![
        DomainEvent::UserCreated { user: card() },
        DomainEvent::UserUpdated { user: card() },
        DomainEvent::TicketCreated { ticket: ticket() },
        DomainEvent::TicketUpdated { ticket: ticket() },
        DomainEvent::TicketDeleted { ticket: ticket().id, seller: seller(), version: 7 },
        DomainEvent::OrderCreated { order: order() },
        DomainEvent::OrderCancelled { order: order() },
        DomainEvent::OrderExpired { order: order() },
        DomainEvent::ChargeCreated { charge: charge() },
        DomainEvent::ChargeCompleted { charge: charge() },
        DomainEvent::ChargeFailed { charge: charge() },
        DomainEvent::ChargeRefunded { charge: charge() },
        DomainEvent::SessionRevoked { user: buyer(), session: session.clone() },
        DomainEvent::SessionsRevoked { user: buyer(), except: Some(session) },
    ]
}

fn rendered(event: DomainEvent) -> Frames {
    render(&RecordedEvent::new(Cursor { epoch: 1, time: 2, ordinal: 3 }, AT, event))
}

/// Returns the JSON of a frame, and checks the length in the frame's header.
fn json_of(frame: &Bytes) -> Value {
    let (header, length) = match frame[1] {
        126 => (4, usize::from(u16::from_be_bytes([frame[2], frame[3]]))),
        short => (2, usize::from(short)),
    };
    assert_eq!((frame[0], frame.len()), (0x81, header + length), "one whole, unmasked text frame");
    serde_json::from_slice(&frame[header..]).expect("JSON")
}

#[test]
fn ticket_update_has_only_a_public_frame() {
    let frames = rendered(DomainEvent::TicketUpdated { ticket: ticket() });
    let frame = json_of(frames.public.as_ref().expect("public"));
    assert_eq!(
        (&frame["type"], &frame["at"], &frame["ticket"]["status"]),
        (&json!("TicketUpdated"), &json!("2026-09-01T12:34:56.789Z"), &json!("Locked"))
    );
    assert_eq!(frame["cursor"], json!(Cursor { epoch: 1, time: 2, ordinal: 3 }.to_string()));
    assert_eq!((frames.ticket, frames.private_to, frames.private), (Some(ticket().id), None, None));
}

#[test]
fn public_frames_do_not_contain_the_buyer() {
    for event in every_event() {
        let name = event.name();
        if let Some(public) = rendered(event).public {
            let text = json_of(&public).to_string();
            assert!(
                !text.contains(&buyer().to_string()) && !text.contains("bob@"),
                "{name}: {text}"
            );
        }
    }
}

#[test]
fn expired_order_is_complete_for_its_owner_and_two_ids_for_others() {
    let frames = rendered(DomainEvent::OrderExpired { order: order() });
    let public = json_of(frames.public.as_ref().expect("public"));
    let private = json_of(frames.private.as_ref().expect("private"));
    let members: Vec<_> =
        public.as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(
        members.iter().collect::<std::collections::BTreeSet<_>>(),
        ["at", "cursor", "orderId", "ticketId", "type"].iter().collect()
    );
    assert_eq!(
        (&private["type"], &private["order"]["cancelReason"]),
        (&json!("OrderExpired"), &json!("expired"))
    );
    assert_eq!(frames.private_to, Some(buyer()));
}

#[test]
fn seconds_left_are_relative_to_the_time_of_the_event() {
    let frames = rendered(DomainEvent::OrderCreated { order: order() });
    assert_eq!(
        json_of(frames.private.as_ref().expect("private"))["order"]["expiresInSeconds"],
        json!(600)
    );
}

#[test]
fn private_event_has_no_public_frame() {
    for event in every_event() {
        let name = event.name();
        let frames = rendered(event);
        if name.starts_with("Charge")
            || matches!(name, "OrderCreated" | "OrderCancelled" | "UserUpdated")
        {
            assert_eq!((frames.private_to, &frames.public), (Some(buyer()), &None), "{name}");
            assert_eq!(json_of(frames.private.as_ref().expect("private"))["type"], json!(name));
        }
    }
}

#[test]
fn internal_event_has_no_frame() {
    for event in every_event() {
        if matches!(
            event,
            DomainEvent::UserCreated { .. }
                | DomainEvent::SessionRevoked { .. }
                | DomainEvent::SessionsRevoked { .. }
        ) {
            let frames = rendered(event);
            assert_eq!((frames.public, frames.private), (None, None));
        }
    }
}

/// Checks that `value` has every member that `schema` requires, and no member that `schema` does
/// not describe.
fn assert_matches(document: &Value, schema: &Value, value: &Value) {
    if let Some(reference) = schema["$ref"].as_str() {
        let schema = document.pointer(&reference[1..]).expect("the reference has a target");
        return assert_matches(document, schema, value);
    }
    if let Some(allowed) = schema["enum"].as_array() {
        assert!(allowed.contains(value), "{value} is not one of {allowed:?}");
    }
    let (Some(properties), Some(members)) = (schema["properties"].as_object(), value.as_object())
    else {
        return;
    };
    for required in schema["required"].as_array().into_iter().flatten() {
        assert!(
            members.contains_key(required.as_str().expect("a name")),
            "{required} is missing in {value}"
        );
    }
    for (name, member) in members {
        assert_matches(
            document,
            properties.get(name).unwrap_or_else(|| panic!("{name} is not described")),
            member,
        );
    }
}

#[test]
fn every_frame_matches_the_asyncapi_document() {
    let document = asyncapi();
    let cursor = Cursor::default();
    let answers = [
        hello(AT, cursor, true),
        ServerFrame::Reset {}.to_bytes(),
        CommandError::Malformed.frame().to_bytes(),
        ServerFrame::Watching { tickets: None, cursor: CursorText(cursor) }.to_bytes(),
        ServerFrame::Watching { tickets: Some(2), cursor: CursorText(cursor) }.to_bytes(),
    ];
    let events = every_event()
        .into_iter()
        .map(rendered)
        .flat_map(|frames| [frames.public, frames.private])
        .flatten();
    let mut seen = std::collections::BTreeSet::new();
    for frame in events.chain(answers) {
        let value = json_of(&frame);
        let name = value["type"].as_str().expect("a type").to_owned();
        assert_matches(&document, &document["components"]["messages"][&name]["payload"], &value);
        assert!(document["components"]["messages"][&name].is_object(), "{name} is not described");
        seen.insert(name);
    }
    let described = document["operations"]["sendFrame"]["messages"].as_array().map(Vec::len);
    assert_eq!(Some(seen.len()), described, "each described message is rendered: {seen:?}");
}

#[test]
fn answers_have_the_documented_members() {
    let watching = json_of(
        &ServerFrame::Watching { tickets: None, cursor: CursorText(Cursor::default()) }.to_bytes(),
    );
    assert_eq!(
        watching,
        json!({"type": "Watching", "tickets": null, "cursor": Cursor::default().to_string()})
    );
    assert_eq!(json_of(&ServerFrame::Reset {}.to_bytes()), json!({"type": "Reset"}));
    let hello = json_of(&hello(AT, Cursor::default(), false));
    assert_eq!(
        (&hello["type"], &hello["serverTime"], &hello["resumed"]),
        (&json!("Hello"), &json!("2026-09-01T12:34:56.789Z"), &json!(false))
    );
}
