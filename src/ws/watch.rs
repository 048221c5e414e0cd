//! The tickets that a client watches.

use std::collections::HashSet;

use crate::domain::TicketId;

/// The tickets whose public frames the client wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Watch {
    All,
    These(HashSet<TicketId>),
}

impl Watch {
    /// Returns the number of tickets that are watched by id.
    pub fn len(&self) -> usize {
        match self {
            Self::All => 0,
            Self::These(tickets) => tickets.len(),
        }
    }

    /// Returns whether the client wants the public frames of a ticket.
    pub fn wants(&self, ticket: TicketId) -> bool {
        match self {
            Self::All => true,
            Self::These(tickets) => tickets.contains(&ticket),
        }
    }
}
