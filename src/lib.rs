//! GitTix: a ticket marketplace backend in which every ticket is a supervised actor that owns its lock and its timer.

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

/// A fifth to a quarter of a server's CPU time was spent in the system's allocator, which also fragments. It is set here
/// and not in the program, so that benchmarks and tests run with the same (docs/adr/0009-speed.md has the comparison).
#[cfg(not(feature = "system-allocator"))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
