//! The WebSocket endpoint: sends committed events to the connected clients.
//!
//! Each process has one [`Hub`], and each worker thread of the HTTP server has one [`Shard`] of it.
//! Events come from the store's feed only. Each shard reads the feed and delivers it to the
//! connections of its thread, so an event crosses threads once per worker, not once per connection.
//! A connection has no actor and no mailbox: the shard queues and writes its frames. The reasons
//! are in `docs/adr/0005-websocket-without-session-actors.md` and `docs/adr/0009-speed.md`.
//!
//! # From the upgrade to the write of a frame
//!
//! 1. **Handshake.** `http/socket.rs::connect` checks the origin and the session, and passes a
//!    [`Viewer`]. This module does not decide who may connect. `upgrade.rs::connect` checks the
//!    handshake, takes a permit (`shared.rs::Shared::permit`), and puts an [`AcceptedUpgrade`] into
//!    the answer.
//! 2. **Takeover.** `http/server.rs::upgrade` hands over the socket with the bytes of the answer,
//!    which are not sent yet (`upgrade.rs::AcceptedUpgrade::begin`).
//! 3. **Admission.** `table.rs::ConnectionTable::admit` starts a replay if the client asks to
//!    resume (`replay.rs::Replay::start`), and creates the `connection.rs::Connection`. It sends
//!    the answer and `Hello`, closes the connection if its session was revoked meanwhile
//!    (`revocations.rs::RecentRevocations`), and adds it to `subscriptions.rs::Subscriptions`.
//!    `begin` then starts the connection's task (`task.rs::ConnectionTask`).
//! 4. **Replay.** The task calls `connection.rs::Connection::next`, which queues the missed events
//!    in slices (`replay.rs::Replay::enqueue_slice`). After the last one, the connection is live
//!    (`table.rs::ConnectionTable::add_live`). A connection without a replay is live at once.
//! 5. **Feed.** `shard.rs::FeedBatcher::next` reads the next step of the feed. The shard's actor
//!    calls `table.rs::ConnectionTable::deliver`.
//! 6. **Events.** For each event, `deliver` first closes the connections whose sessions it revokes.
//!    `delivery.rs::EventDelivery::enqueue` takes the frames of the event, which the first shard
//!    renders for the process (`protocol.rs::frames_of`), and selects the connections: those that
//!    watch the ticket and those of the owner (`Subscriptions::watchers`, `of_user`).
//! 7. **Queue.** `connection.rs::Connection::enqueue` puts the frame into the connection's bounded
//!    queue (`send_queue.rs::SendQueue::enqueue`), and the connection into the list of pending
//!    writes.
//! 8. **Write.** After the last event of the step, `delivery.rs::EventDelivery::write` calls
//!    `connection.rs::Connection::write` once for each connection in the list: the queued frames
//!    become one write in most cases.
//! 9. **Full socket.** If the socket does not accept all bytes, the rest stays in the queue. The
//!    connection's task waits for the socket and writes the rest (`task.rs::ConnectionTask::poll`,
//!    `Connection::next`), and the shard continues with other connections.
//!
//! In the other direction, the task decodes the bytes of the client within a budget
//! (`frame_decoder.rs::FrameDecoder::next`), and handles each frame
//! (`task.rs::ConnectionTask::on_frame`). A command changes what the connection watches
//! (`table.rs::ConnectionTable::handle_command`). Every half second the shard checks all of its
//! connections (`table.rs::ConnectionTable::tick`), and at a shutdown the [`Hub`] asks each shard
//! to close them (`table.rs::ConnectionTable::close_all`).
//!
//! # Words
//!
//! | word | meaning |
//! | --- | --- |
//! | admit, remove | add a connection to the shard's table, and take it out when it is over |
//! | deliver | bring one step of the feed to the live connections: enqueue, then write |
//! | enqueue | put a frame into the queue of a connection |
//! | write | give queued bytes to the socket |
//! | send | enqueue one frame of the connection itself, and write at once |
//! | close | begin the closing handshake with a close frame |
//! | abort | end the connection at once, without a close frame |
//!
//! # Files
//!
//! | file | holds |
//! | --- | --- |
//! | `hub`, `shared`, `shard` | the handle and the state of the process, and the part of one worker thread |
//! | `upgrade`, `viewer` | the handshake, the takeover of the socket, and the user of a connection |
//! | `table`, `delivery` | the connections of a shard, and the delivery of events to them |
//! | `subscriptions`, `watch`, `revocations` | who receives what, and whose session has ended |
//! | `connection`, `connection/state`, `task` | one socket, its queue and its phases, and its input |
//! | `replay`, `replay_budget` | the replay of missed events, and the bytes that may be replayed to one address |
//! | `send_queue`, `liveness`, `frame_decoder` | pure: the bounded queue, the timeouts, the bounded frame parser |
//! | `limits`, `budget` | the limits of connections, and a bound that all connections of the process share |
//! | `protocol`, `command`, `closing`, `asyncapi` | the server's frames, the client's frames, the close frames, and the document of the first two |

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
