//! Fault tests: races, crashes, panics, floods, stalled readers, connections that are held open,
//! shutdown. Each test injects a fault and checks what must still hold.
//!
//! A test that finds a defect only by chance has a negative control (feature `failpoints`): the
//! guard is removed, and the same test must then find the damage.

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
mod sign_in_flood;
#[cfg(feature = "failpoints")]
mod supervision;
