//! The integration suite: one binary, so that it links once. The header of each module states what
//! the module tests.
//!
//! The suite tests the real program (`gittix serve` as a child process, over HTTP and WebSocket)
//! and the stores behind their trait. [`app`] holds the tools that tests use; it contains no
//! assertion about the marketplace.

mod api;
mod app;
mod bundler;
mod deploy;
#[cfg(feature = "failpoints")]
#[path = "../fake_stripe/mod.rs"]
mod fake_stripe;
mod fault;
// Half of this module tests servers that exit at a failpoint.
#[cfg(feature = "failpoints")]
mod money;
mod mongo;
mod operations;
mod replicas;
// This module runs a server that exits at a failpoint.
#[cfg(feature = "failpoints")]
mod smoke;
mod store;
mod tidy;
mod ws;
