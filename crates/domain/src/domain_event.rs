//! Domain events. Each event is stored in the same commit as the change that it reports.
//!
//! Events of tickets, orders and charges carry the new state. `TicketDeleted` carries ids and the
//! version, `SessionRevoked` and `SessionsRevoked` carry ids, and events of users carry the public
//! part of the user.

use serde::{Deserialize, Serialize};

use super::{Charge, Order, PublicUser, SessionDigest, Ticket, TicketId, UserId, Version};

/// A durable event that other parts of the system may process. The names are those of the
/// specification.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum DomainEvent {
    UserCreated {
        user: PublicUser,
    },
    UserUpdated {
        user: PublicUser,
    },
    TicketCreated {
        ticket: Ticket,
    },
    TicketUpdated {
        ticket: Ticket,
    },
    TicketDeleted {
        ticket: TicketId,
        seller: UserId,
        version: Version,
    },
    OrderCreated {
        order: Order,
    },
    OrderCancelled {
        order: Order,
    },
    OrderExpired {
        order: Order,
    },
    ChargeCreated {
        charge: Charge,
    },
    ChargeCompleted {
        charge: Charge,
    },
    ChargeFailed {
        charge: Charge,
    },
    ChargeRefunded {
        charge: Charge,
    },
    /// One session ended. Internal: when a process reads it, that session's WebSockets are closed
    /// and its cache entry is removed; it is not sent to clients.
    SessionRevoked {
        user: UserId,
        session: SessionDigest,
    },
    /// All sessions of a user but one ended because the password changed. Internal.
    SessionsRevoked {
        user: UserId,
        except: Option<SessionDigest>,
    },
}

/// The document that an event reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventSubject<'a> {
    /// A version of a ticket. `ticket` is the ticket after the change, or `None` if it was deleted.
    Ticket {
        id: TicketId,
        version: Version,
        ticket: Option<&'a Ticket>,
    },
    Order(&'a Order),
    Charge(&'a Charge),
    /// The account or the sessions of this user.
    User(UserId),
}

impl DomainEvent {
    /// Returns the document that the event reports.
    pub fn subject(&self) -> EventSubject<'_> {
        match self {
            Self::TicketCreated { ticket } | Self::TicketUpdated { ticket } => {
                EventSubject::Ticket {
                    id: ticket.id,
                    version: ticket.version,
                    ticket: Some(ticket),
                }
            }
            Self::TicketDeleted { ticket, version, .. } => {
                EventSubject::Ticket { id: *ticket, version: *version, ticket: None }
            }
            Self::OrderCreated { order }
            | Self::OrderCancelled { order }
            | Self::OrderExpired { order } => EventSubject::Order(order),
            Self::ChargeCreated { charge }
            | Self::ChargeCompleted { charge }
            | Self::ChargeFailed { charge }
            | Self::ChargeRefunded { charge } => EventSubject::Charge(charge),
            Self::UserCreated { user } | Self::UserUpdated { user } => EventSubject::User(user.id),
            Self::SessionRevoked { user, .. } | Self::SessionsRevoked { user, .. } => {
                EventSubject::User(*user)
            }
        }
    }

    /// Returns the name of the event, spelled as in the public API.
    pub fn name(&self) -> &'static str {
        match self {
            Self::UserCreated { .. } => "UserCreated",
            Self::UserUpdated { .. } => "UserUpdated",
            Self::TicketCreated { .. } => "TicketCreated",
            Self::TicketUpdated { .. } => "TicketUpdated",
            Self::TicketDeleted { .. } => "TicketDeleted",
            Self::OrderCreated { .. } => "OrderCreated",
            Self::OrderCancelled { .. } => "OrderCancelled",
            Self::OrderExpired { .. } => "OrderExpired",
            Self::ChargeCreated { .. } => "ChargeCreated",
            Self::ChargeCompleted { .. } => "ChargeCompleted",
            Self::ChargeFailed { .. } => "ChargeFailed",
            Self::ChargeRefunded { .. } => "ChargeRefunded",
            Self::SessionRevoked { .. } => "SessionRevoked",
            Self::SessionsRevoked { .. } => "SessionsRevoked",
        }
    }
}
