//! GitTix: a ticket marketplace backend. Each ticket that is in use has an actor, which owns the ticket's lock and timer.

pub mod actors;
pub mod app;
pub mod catalog;
pub mod clock;
pub mod config;
pub mod data_folder;
pub mod demo;
pub mod domain;
pub mod http;
pub mod logging;
pub mod metrics;
pub mod payments;
pub mod probe;
pub mod store;
pub mod tasks;
pub mod wire;
pub mod ws;

/// The memory allocator. With the system's allocator, the server spent a fifth to a quarter of its CPU time in it, and
/// memory fragmented. It is set in the library, not in the program, so that benchmarks and tests use it too
/// (docs/adr/0009-speed.md has the comparison).
#[cfg(not(feature = "system-allocator"))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
