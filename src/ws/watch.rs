//! Which tickets a client watches.

use std::collections::HashSet;

use crate::domain::TicketId;

/// The tickets whose public frames the client wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Watch {
    All,
    These(HashSet<TicketId>),
}

impl Watch {
    /// Number of tickets that are watched by id.
    pub fn len(&self) -> usize {
        match self {
            Self::All => 0,
            Self::These(tickets) => tickets.len(),
        }
    }

    pub fn wants(&self, ticket: TicketId) -> bool {
        match self {
            Self::All => true,
            Self::These(tickets) => tickets.contains(&ticket),
        }
    }
}
