//! GitTix: a ticket marketplace backend. Each ticket that is in use has an actor, which owns the
//! ticket's lock and timer.

pub mod actors;
pub mod app;
pub mod catalog;
pub mod config;
pub mod demo;
pub mod http;
pub mod logging;
pub mod probe;
pub mod wire;
pub mod ws;

// The layers below, under the names that this crate and its tests use.
pub use gittix_domain as domain;
pub use gittix_payments as payments;
pub use gittix_runtime::{clock, data_folder, metrics, tasks};

/// The contract of the stores, and its two implementations.
pub mod store {
    pub use gittix_store::*;
    pub use gittix_store_embedded as embedded;
    pub use gittix_store_mongo as mongo;
}

/// The memory allocator. With the system's allocator, the server spent a fifth to a quarter of its
/// CPU time in it, and memory fragmented. It is set in the library, not in the program, so that
/// benchmarks and tests use it too (docs/adr/0009-speed.md has the comparison).
#[cfg(not(feature = "system-allocator"))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
