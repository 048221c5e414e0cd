//! The WebSocket: what was committed, told to whoever is connected.
//!
//! Announces from the store's feed only. One [`Hub`] per process; one [`Shard`] of it per worker thread of the HTTP
//! server, an actor that reads the feed and owns that thread's connections, so that an event crosses threads once per
//! worker and not once per connection. A connection has no actor and no mailbox: what it is told stands in a bounded
//! `send_queue`, which the shard writes to the socket by itself. The socket is the connection's own: the HTTP server has given
//! it away with the answer to the upgrade ([`AcceptedUpgrade`]). Its task reads what the peer says behind the `frame_decoder` budget,
//! and waits for the socket once that is full.
//! The reasons are in `docs/adr/0005-websocket-without-session-actors.md` and `docs/adr/0009-speed.md`.
//!
//! | file | holds |
//! | --- | --- |
//! | `hub`, `shard` | the process's and the thread's share of all connections |
//! | `table` | who is connected to a shard, who watches what, who is told what |
//! | `upgrade` | the handshake, and how the socket is taken over |
//! | `connection`, `task` | one socket: its queue, its state, its phases; what is read from it |
//! | `replay` | bytes that may be replayed to the clients of one address |
//! | `send_queue`, `liveness`, `frame_decoder` | pure: the bounded queue, the signs of life, the frame parser's budget |
//! | `budget` | what all connections of the process may use together |
//! | `protocol`, `command`, `asyncapi` | what is said, what is understood, and the document of both |
//!
//! What must not live here: who may connect. `http` checks the origin and the session and hands over a [`Viewer`].

mod asyncapi;
mod budget;
mod closing;
mod command;
mod connection;
mod frame_decoder;
mod hub;
mod limits;
mod liveness;
mod protocol;
mod replay;
mod send_queue;
mod shard;
mod table;
mod task;
mod upgrade;

pub use asyncapi::{Direction, asyncapi};
pub use hub::Hub;
pub use limits::SocketLimits;
pub use shard::Shard;
pub use upgrade::{AcceptedUpgrade, Refused, Viewer, connect};
