//! The actors: one for each ticket that something happens to, and three registries.
//!
//! Callers hold handles with async methods ([`Tickets`], [`Orders`], [`Users`]), never an address. Waiting goes one way,
//! http -> registry -> ticket. Admission is bounded in front of the registries and sheds with [`Fault::Busy`].

mod fault;
mod idempotency;
mod orders;
mod tickets;
mod users;

pub use fault::Fault;
pub use idempotency::Idempotency;
pub use orders::{Orders, Paid};
pub use tickets::Tickets;
pub use users::{SessionToken, SignedIn, UserUpdate, Users};

/// All that HTTP handlers talk to. Clones are handles on the same actors.
#[derive(Debug, Clone)]
pub struct Actors {
    pub tickets: Tickets,
    pub orders: Orders,
    pub users: Users,
    pub idempotency: Idempotency,
}
