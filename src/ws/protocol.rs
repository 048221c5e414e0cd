//! The frames that the server sends. Each type is both serialized and shown in the AsyncAPI
//! document.
//!
//! An event is rendered once for all connections ([`frames_of`]). The match over
//! [`DomainEvent`] is exhaustive, so each new event needs a decision here about its receivers.

use actix_http::ws::{OpCode, Parser};
use bytes::{Bytes, BytesMut};
use serde::{Serialize, Serializer};

use super::{send_queue::FrameKind, watch::Watch};
use crate::{
    domain::{Charge, DomainEvent, Order, OrderId, Ticket, TicketId, Timestamp, UserId, Version},
    store::{Cursor, RecordedEvent},
    wire::{ChargeView, OrderView, TicketView, UserView, WireTime},
};

/// A cursor that is serialized as its opaque text.
#[derive(Debug, Clone, Copy)]
pub struct CursorText(pub Cursor);

impl Serialize for CursorText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// A frame from the server. `cursor`: the position to resume after. `at`: the time of the event.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(tag = "type")]
pub enum ServerFrame<'a> {
    /// The first frame. `resumed: false` after a request to resume means: fetch a snapshot.
    Hello {
        #[serde(rename = "serverTime")]
        #[schema(value_type = String, format = DateTime)]
        server_time: WireTime,
        #[schema(value_type = String, pattern = "^[A-Za-z0-9_-]{1,64}$")]
        cursor: CursorText,
        resumed: bool,
    },
    /// Frames were skipped and cannot be replayed: fetch a snapshot.
    Reset {},
    /// The client's text is not a valid command. The connection stays open.
    Error { code: &'static str, message: String },
    /// The answer to `Watch` and `WatchAll`: how many tickets are watched, or null for all.
    Watching {
        #[schema(required = true)]
        tickets: Option<usize>,
        #[schema(value_type = String, pattern = "^[A-Za-z0-9_-]{1,64}$")]
        cursor: CursorText,
    },
    /// A ticket was put on sale.
    TicketCreated {
        #[schema(value_type = String, pattern = "^[A-Za-z0-9_-]{1,64}$")]
        cursor: CursorText,
        #[schema(value_type = String, format = DateTime)]
        at: WireTime,
        ticket: TicketView<'a>,
    },
    /// A ticket was edited, locked, released or sold, or only its version grew.
    TicketUpdated {
        #[schema(value_type = String, pattern = "^[A-Za-z0-9_-]{1,64}$")]
        cursor: CursorText,
        #[schema(value_type = String, format = DateTime)]
        at: WireTime,
        ticket: TicketView<'a>,
    },
    /// A ticket was taken off sale.
    TicketDeleted {
        #[schema(value_type = String, pattern = "^[A-Za-z0-9_-]{1,64}$")]
        cursor: CursorText,
        #[schema(value_type = String, format = DateTime)]
        at: WireTime,
        #[serde(rename = "ticketId")]
        #[schema(value_type = String, format = "uuid")]
        ticket_id: TicketId,
        #[schema(value_type = u64)]
        version: Version,
    },
    /// The time to pay an order ended. Only the order's owner gets `order`.
    OrderExpired {
        #[schema(value_type = String, pattern = "^[A-Za-z0-9_-]{1,64}$")]
        cursor: CursorText,
        #[schema(value_type = String, format = DateTime)]
        at: WireTime,
        #[serde(rename = "orderId")]
        #[schema(value_type = String, format = "uuid")]
        order_id: OrderId,
        #[serde(rename = "ticketId")]
        #[schema(value_type = String, format = "uuid")]
        ticket_id: TicketId,
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(value_type = OrderView<'static>, required = false)]
        order: Option<OrderView<'a>>,
    },
    /// To its owner: an order was placed.
    OrderCreated {
        #[schema(value_type = String, pattern = "^[A-Za-z0-9_-]{1,64}$")]
        cursor: CursorText,
        #[schema(value_type = String, format = DateTime)]
        at: WireTime,
        order: OrderView<'a>,
    },
    /// To its owner: the buyer cancelled an order.
    OrderCancelled {
        #[schema(value_type = String, pattern = "^[A-Za-z0-9_-]{1,64}$")]
        cursor: CursorText,
        #[schema(value_type = String, format = DateTime)]
        at: WireTime,
        order: OrderView<'a>,
    },
    /// To its owner: a payment was submitted.
    ChargeCreated {
        #[schema(value_type = String, pattern = "^[A-Za-z0-9_-]{1,64}$")]
        cursor: CursorText,
        #[schema(value_type = String, format = DateTime)]
        at: WireTime,
        charge: ChargeView<'a>,
    },
    /// To its owner: a payment succeeded.
    ChargeCompleted {
        #[schema(value_type = String, pattern = "^[A-Za-z0-9_-]{1,64}$")]
        cursor: CursorText,
        #[schema(value_type = String, format = DateTime)]
        at: WireTime,
        charge: ChargeView<'a>,
    },
    /// To its owner: a payment failed.
    ChargeFailed {
        #[schema(value_type = String, pattern = "^[A-Za-z0-9_-]{1,64}$")]
        cursor: CursorText,
        #[schema(value_type = String, format = DateTime)]
        at: WireTime,
        charge: ChargeView<'a>,
    },
    /// To its owner: money was paid back.
    ChargeRefunded {
        #[schema(value_type = String, pattern = "^[A-Za-z0-9_-]{1,64}$")]
        cursor: CursorText,
        #[schema(value_type = String, format = DateTime)]
        at: WireTime,
        charge: ChargeView<'a>,
    },
    /// To that user: their account changed. `user` is the account after the change.
    UserUpdated {
        #[schema(value_type = String, pattern = "^[A-Za-z0-9_-]{1,64}$")]
        cursor: CursorText,
        #[schema(value_type = String, format = DateTime)]
        at: WireTime,
        user: UserView<'a>,
    },
}

impl ServerFrame<'_> {
    /// Returns the text frame as it is sent, with its header (RFC 6455 §5.2).
    pub fn to_bytes(&self) -> Bytes {
        let text = serde_json::to_vec(self)
            .expect("frames have only text keys, and their members serialize without errors");
        let mut frame = BytesMut::with_capacity(text.len() + 10);
        Parser::write_message(&mut frame, text, OpCode::Text, true, false);
        frame.freeze()
    }
}

/// A ping without data, as it is sent.
pub const PING: Bytes = Bytes::from_static(&[0x89, 0x00]);

/// Returns the answer to a ping, with the same data (RFC 6455 §5.5.3).
pub fn pong(data: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(data.len() + 2);
    Parser::write_message(&mut frame, data, OpCode::Pong, true, false);
    frame.freeze()
}

/// The rendered WebSocket messages of one event.
#[derive(Debug, Clone, Default)]
pub struct Frames {
    /// Ticket whose watchers receive `public`.
    pub ticket: Option<TicketId>,
    pub public: Option<Bytes>,
    /// The only user who receives `private`. This user does not receive `public`.
    pub private_to: Option<UserId>,
    pub private: Option<Bytes>,
}

impl Frames {
    /// Returns whether `user` is the user who receives `private` instead of `public`.
    pub fn is_private_to(&self, user: Option<UserId>) -> bool {
        self.private_to.is_some() && self.private_to == user
    }
}

/// Returns the messages of an event. They are rendered once for all watchers of the process.
pub fn frames_of(recorded: &RecordedEvent) -> &Frames {
    recorded.derived(render)
}

/// Renders the public and the private frame of an event, with the ticket and the owner that select
/// their receivers.
pub fn render(recorded: &RecordedEvent) -> Frames {
    let (cursor, at) = (CursorText(recorded.cursor), WireTime(recorded.at));
    match &recorded.event {
        DomainEvent::TicketCreated { ticket } => {
            ticket_frames(ticket, |ticket| ServerFrame::TicketCreated { cursor, at, ticket })
        }
        DomainEvent::TicketUpdated { ticket } => {
            ticket_frames(ticket, |ticket| ServerFrame::TicketUpdated { cursor, at, ticket })
        }
        DomainEvent::TicketDeleted { ticket, version, .. } => {
            let frame =
                ServerFrame::TicketDeleted { cursor, at, ticket_id: *ticket, version: *version };
            Frames { ticket: Some(*ticket), public: Some(frame.to_bytes()), ..Frames::default() }
        }
        DomainEvent::OrderExpired { order: expired } => {
            let (order_id, ticket_id) = (expired.id, expired.ticket.id);
            let frame = |order| {
                ServerFrame::OrderExpired { cursor, at, order_id, ticket_id, order }.to_bytes()
            };
            Frames {
                ticket: Some(ticket_id),
                public: Some(frame(None)),
                private_to: Some(expired.buyer),
                private: Some(frame(Some(OrderView::of(expired, recorded.at)))),
            }
        }
        DomainEvent::OrderCreated { order } => {
            order_frame(order, recorded.at, |order| ServerFrame::OrderCreated { cursor, at, order })
        }
        DomainEvent::OrderCancelled { order } => order_frame(order, recorded.at, |order| {
            ServerFrame::OrderCancelled { cursor, at, order }
        }),
        DomainEvent::ChargeCreated { charge } => {
            charge_frame(charge, |charge| ServerFrame::ChargeCreated { cursor, at, charge })
        }
        DomainEvent::ChargeCompleted { charge } => {
            charge_frame(charge, |charge| ServerFrame::ChargeCompleted { cursor, at, charge })
        }
        DomainEvent::ChargeFailed { charge } => {
            charge_frame(charge, |charge| ServerFrame::ChargeFailed { cursor, at, charge })
        }
        DomainEvent::ChargeRefunded { charge } => {
            charge_frame(charge, |charge| ServerFrame::ChargeRefunded { cursor, at, charge })
        }
        DomainEvent::UserUpdated { user } => private_frame(
            user.id,
            &ServerFrame::UserUpdated { cursor, at, user: UserView::of(user) },
        ),
        // A new user cannot have a connection yet. The end of a session closes its connections
        // without an event frame.
        DomainEvent::UserCreated { .. }
        | DomainEvent::SessionRevoked { .. }
        | DomainEvent::SessionsRevoked { .. } => Frames::default(),
    }
}

/// Returns the frame of an event that a connection of `user` receives if it watches `watch`, and
/// the kind under which it is queued.
pub fn frame_for<'a>(
    recorded: &'a RecordedEvent,
    user: Option<UserId>,
    watch: &Watch,
) -> Option<(FrameKind, &'a Bytes)> {
    let frames = frames_of(recorded);
    match (&frames.private, &frames.public, frames.ticket) {
        (Some(private), ..) if frames.is_private_to(user) => Some((FrameKind::Private, private)),
        (_, Some(public), Some(ticket)) if watch.wants(ticket) => {
            Some((public_kind(&recorded.event, ticket), public))
        }
        _ => None,
    }
}

/// Returns the kind under which the public frame of an event for this ticket is queued.
pub fn public_kind(event: &DomainEvent, ticket: TicketId) -> FrameKind {
    if matches!(event, DomainEvent::OrderExpired { .. }) {
        FrameKind::Expired(ticket)
    } else {
        FrameKind::Ticket(ticket)
    }
}

fn ticket_frames<'a>(
    ticket: &'a Ticket,
    frame: impl FnOnce(TicketView<'a>) -> ServerFrame<'a>,
) -> Frames {
    // A ticket without a view was taken off sale, and `TicketDeleted` was sent for it.
    let public = TicketView::of(ticket).map(|view| frame(view).to_bytes());
    Frames { ticket: Some(ticket.id), public, ..Frames::default() }
}

fn order_frame<'a>(
    order: &'a Order,
    at: Timestamp,
    frame: impl FnOnce(OrderView<'a>) -> ServerFrame<'a>,
) -> Frames {
    private_frame(order.buyer, &frame(OrderView::of(order, at)))
}

fn charge_frame<'a>(
    charge: &'a Charge,
    frame: impl FnOnce(ChargeView<'a>) -> ServerFrame<'a>,
) -> Frames {
    private_frame(charge.buyer, &frame(ChargeView::of(charge)))
}

fn private_frame(owner: UserId, frame: &ServerFrame<'_>) -> Frames {
    Frames { private_to: Some(owner), private: Some(frame.to_bytes()), ..Frames::default() }
}

/// Renders the first frame of a connection.
pub fn hello(server_time: Timestamp, cursor: Cursor, resumed: bool) -> Bytes {
    ServerFrame::Hello { server_time: WireTime(server_time), cursor: CursorText(cursor), resumed }
        .to_bytes()
}

#[cfg(test)]
#[path = "protocol_tests.rs"]
mod tests;
