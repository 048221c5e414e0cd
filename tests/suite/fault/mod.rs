//! What breaks, and what must not break with it: races, crashes, panics, floods, stalled readers, connections that
//! are held open, shutdown.
//!
//! Each proof that needs luck to find anything has a control in which the guard is taken out (feature `failpoints`) and
//! the same test must find the damage.

mod connections;
mod crash;
mod descriptors;
mod disk;
mod flood;
pub mod load;
mod log;
mod machine;
#[cfg(feature = "failpoints")]
mod panic;
mod race;
pub mod rounds;
mod shutdown;
#[cfg(feature = "failpoints")]
mod supervision;
