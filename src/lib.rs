//! GitTix: a ticket marketplace backend. Sellers list tickets; a buyer locks a ticket, pays for it
//! and owns it; every open browser shows each change at once.
//!
//! Each ticket that is in use has an actor, which owns the ticket's lock and timer. The rules are
//! pure functions. One conditional commit writes a decision, and one feed announces it on every
//! server.
//!
//! # Crates and modules, in reading order
//!
//! The lower layers are crates in `crates/`, so that the compiler enforces their dependencies. This
//! crate re-exports them under the names of the first column.
//!
//! | name | crate | content |
//! | --- | --- | --- |
//! | [`domain`] | `gittix-domain` | The rules: values, the states of tickets, orders and charges, and [`domain::decide()`], without I/O and clock. |
//! | [`store`] | `gittix-store` | The contract of durable state: the trait [`store::Store`], commits, cursors and the feed. |
//! | [`store::embedded`] | `gittix-store-embedded` | The store in one file, for a single server. |
//! | [`store::mongo`] | `gittix-store-mongo` | The store on a MongoDB replica set, for any number of servers. |
//! | [`payments`] | `gittix-payments` | The trait [`payments::Processor`], and its implementations for Stripe and for test payments. |
//! | [`clock`], [`tasks`], [`metrics`], [`settings`], [`http_client`], [`data_folder`] | `gittix-runtime` | What every layer with I/O uses: time, supervision, metrics, values of settings, HTTP clients and private files. |
//! | [`catalog`] | this one | All tickets in memory: it answers lists and searches, and refuses early. |
//! | [`actors`] | this one | Ticket actors and registries: they load, decide, commit, and bring payments to their end. |
//! | [`mail`] | this one | Mails: the outbox, the texts, and the sending. |
//! | [`wire`] | this one | The public JSON forms in responses and frames. |
//! | [`ws`] | this one | The WebSocket: it sends the events of the feed to the browsers. |
//! | [`http`] | this one | Routes, checks of requests, handlers, pages, and the HTTP server. |
//! | [`app`] | this one | The composition root: it starts all of them, and stops them in order. |
//!
//! Beside them are [`config`] (the settings), [`logging`], [`demo`] (`gittix demo`) and [`probe`]
//! (`gittix health`).
//!
//! # A purchase in five steps
//!
//! 1. [`http`] checks `POST /api/orders` and calls [`actors::Orders`]. If the [`catalog`] shows the
//!    ticket as locked or sold, the order is usually refused here. Otherwise [`actors::Tickets`]
//!    passes the command to the ticket's actor.
//! 2. The actor calls [`domain::decide()`], which returns the locked ticket, the new order and the
//!    events. [`store::Store::commit`] writes all of it, or nothing if the ticket has changed since
//!    it was read.
//! 3. `POST /api/charges` commits a charge. Then a [`payments::Processor`] is asked to hold the
//!    money.
//! 4. A commit claims the order, the processor captures the money, and another commit completes
//!    the sale.
//! 5. The events of each commit arrive in the [`store::FeedLog`] of every server. The task
//!    [`catalog::follow()`] updates the catalog, and each [`ws::Shard`] sends the events to its
//!    browsers in the forms of [`wire`].
//!
//! If the buyer does not pay, the actor's timer ends the order and frees the ticket.
//!
//! # Where to read next
//!
//! `ARCHITECTURE.md` has the glossary, the full walkthroughs, the invariants and the failure map.
//! `docs/adr` explains the decisions. In the code, begin with [`domain::decide()`] and
//! [`store::Store`].

pub mod actors;
pub mod app;
pub mod catalog;
pub mod config;
pub mod demo;
pub mod http;
pub mod logging;
pub mod mail;
pub mod probe;
pub mod wire;
pub mod ws;

// The layers below, under the names that this crate and its tests use.
pub use gittix_domain as domain;
pub use gittix_payments as payments;
pub use gittix_runtime::{clock, data_folder, http_client, metrics, settings, tasks};

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
