//! What has happened. Each event is committed with the change it tells of, and carries the whole new state.

use serde::{Deserialize, Serialize};

use super::{Charge, Order, PublicUser, SessionDigest, Ticket, TicketId, UserId, Version};

/// Something that is durable and that others may react to. The names are the mission's.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum Event {
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
    /// One session ended. Internal: it closes that session's sockets and clears caches, but is no frame.
    SessionRevoked {
        user: UserId,
        session: SessionDigest,
    },
    /// All sessions of a user ended but one, since the password changed. Internal.
    SessionsRevoked {
        user: UserId,
        except: Option<SessionDigest>,
    },
}

impl Event {
    /// As spelled in the contract.
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
