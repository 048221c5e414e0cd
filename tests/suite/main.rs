//! The integration suite: one binary, so that it links once. Each module says what it proves.
//!
//! What is tested here is the real program (`gittix serve` as a child process, over HTTP and WebSocket) and the stores
//! behind their trait. [`app`] is what tests talk to; it holds no assertion about the marketplace.

mod api;
mod app;
mod bundler;
mod deploy;
#[cfg(feature = "failpoints")]
#[path = "../fake_stripe/mod.rs"]
mod fake_stripe;
mod fault;
// Half of it is about servers that die at a named point.
#[cfg(feature = "failpoints")]
mod money;
mod mongo;
mod operations;
mod replicas;
// It runs a server that dies at a named point.
#[cfg(feature = "failpoints")]
mod smoke;
mod store;
mod tidy;
mod ws;
