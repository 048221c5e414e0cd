//! Every bound of the socket, by name.

use std::time::Duration;

/// How much of everything a connection, and all of them together, may use. [`SocketLimits::default`] is what the contract
/// promises; tests shrink some so that they need not wait for minutes.
#[derive(Debug, Clone, Copy)]
pub struct SocketLimits {
    /// Open connections per process; one more is refused with 503.
    pub connections_max: usize,
    /// Of those, connections of one client address (of IPv6, one /64); one more is refused with 503. Clients behind a
    /// trusted proxy are distinguished by the address that it forwards.
    pub per_address_max: usize,
    /// Bytes of missed events that the clients of one address may have replayed at once, in KiB: 500 browsers behind one
    /// address that come back after half a minute of 30 events a second.
    pub replay_kib_max: u32,
    /// And in the long run, in KiB a second.
    pub replay_kib_per_second: u32,
    /// Payload of one client frame, in bytes; more is refused from the frame's header with 1009.
    pub frame_bytes_max: usize,
    /// Bytes, of all connections of the process together, of client frames that have not arrived as a whole; each connection
    /// has `FrameDecoder::OWN_BYTES` besides. The buffers grow by doubling, so that they take up
    /// to twice as much memory. Beyond it a connection is closed with 1013. A frame is given up after `silence_max` at the
    /// latest, since only whole frames are signs of life.
    pub partial_bytes_max: usize,
    /// Client frames within `frames_window`; one more ends the connection with 1008.
    pub frames_max: usize,
    pub frames_window: Duration,
    /// Tickets that one connection may watch by name.
    pub watched_max: usize,
    /// The same for all connections of the process together; one more is closed with 1013. An entry takes up to 300 bytes.
    pub watched_in_all_max: usize,
    /// Frames that wait for one connection. A slow reader's are merged per ticket from a quarter of this on; when merging
    /// leaves more than half of it, they are dropped for a `Reset`.
    pub backlog_frames_max: usize,
    /// The same in bytes. The frames themselves are shared by all connections that wait for them.
    pub backlog_bytes_max: usize,
    /// What the kernel may hold for one connection, in bytes (it doubles it for its own book-keeping): beyond that a
    /// reader counts as slow, and its frames are merged instead of piling up in the kernel.
    pub send_buffer_bytes: usize,
    /// After frames were handed out, how long the next ones are gathered; after a single one, two fifths of that. The first
    /// after a pause go out at once.
    pub gather: Duration,
    /// How often connections are looked after: pings, deadlines, expired sessions.
    pub tick: Duration,
    /// From one server ping to the next.
    pub ping_every: Duration,
    /// A connection from which nothing came for so long is closed.
    pub silence_max: Duration,
    /// A connection that took nothing from its queue for so long, or left a ping unanswered, is cut off from outside.
    /// With `ping_every`, a peer that stops reading is gone within 50 s even while it keeps writing.
    pub stall_max: Duration,
    /// How long a peer may take to answer a close frame.
    pub close_wait_max: Duration,
    /// How long [`Hub::shutdown`](super::Hub::shutdown) waits for all of them.
    pub shutdown_max: Duration,
    /// How long a session's end is remembered for a connection that was let in just before.
    pub revoked_kept: Duration,
}

impl Default for SocketLimits {
    fn default() -> Self {
        Self {
            connections_max: 20_000,
            per_address_max: 5_000,
            replay_kib_max: 256 * 1024,
            replay_kib_per_second: 8 * 1024,
            frame_bytes_max: 48 * 1024,
            partial_bytes_max: 32 * 1024 * 1024,
            frames_max: 20,
            frames_window: Duration::from_secs(10),
            watched_max: 1000,
            watched_in_all_max: 2_000_000,
            backlog_frames_max: 4096,
            backlog_bytes_max: 2 * 1024 * 1024,
            send_buffer_bytes: 128 * 1024,
            gather: Duration::from_millis(5),
            tick: Duration::from_millis(500),
            ping_every: Duration::from_secs(20),
            silence_max: Duration::from_secs(40),
            stall_max: Duration::from_secs(30),
            close_wait_max: Duration::from_secs(2),
            shutdown_max: Duration::from_secs(3),
            revoked_kept: Duration::from_secs(10),
        }
    }
}
