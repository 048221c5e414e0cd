//! The WebSocket endpoint: sends committed events to the connected clients.
//!
//! Events come from the store's feed only. Each process has one [`Hub`]. Each worker thread of the
//! HTTP server has one [`Shard`] of it: an actor that reads the feed and delivers it to the connections of that thread. Therefore an event crosses threads once per worker, not once per connection. A
//! connection has no actor and no mailbox. Its frames wait in a bounded `send_queue`, and the shard
//! writes them to the socket itself. The connection owns its socket: the HTTP server hands the
//! socket over together with the answer to the upgrade ([`AcceptedUpgrade`]). The connection's task
//! decodes the client's frames within the budget of `frame_decoder`, and waits for the socket when
//! the socket is full. The reasons are in `docs/adr/0005-websocket-without-session-actors.md` and
//! `docs/adr/0009-speed.md`.
//!
//! | file | holds |
//! | --- | --- |
//! | `hub`, `shared`, `shard` | the handle and the state of the process, and the part of one worker thread |
//! | `table`, `watch` | the connections of a shard, the tickets that they watch, and the delivery of events |
//! | `upgrade` | the handshake, and the takeover of the socket |
//! | `connection`, `task` | one socket: its queue, its state, its phases, and its input |
//! | `replay` | the position of a replay, and the bytes that may be replayed to the clients of one address |
//! | `send_queue`, `liveness`, `frame_decoder` | pure: the bounded queue, the timeouts, the bounded frame parser |
//! | `budget` | a bound that all connections of the process share |
//! | `protocol`, `command`, `asyncapi` | the server's frames, the client's frames, and the document of both |
//!
//! This module does not decide who may connect. `http` checks the origin and the session and passes
//! a [`Viewer`].

mod asyncapi;
mod budget;
mod closing;
mod command;
mod connection;
mod delivery;
mod frame_decoder;
mod hub;
mod limits;
mod liveness;
mod protocol;
mod replay;
mod replay_budget;
mod revocations;
mod send_queue;
mod shard;
mod shared;
mod subscriptions;
mod table;
mod task;
mod upgrade;
mod viewer;
mod watch;

pub use asyncapi::{Direction, asyncapi};
pub use hub::Hub;
pub use limits::SocketLimits;
pub use shard::Shard;
pub use upgrade::{AcceptedUpgrade, Refused, connect};
pub use viewer::Viewer;
