//! The limits of WebSocket connections.

use std::time::Duration;

/// The limits of one connection, and of all connections together. [`SocketLimits::default`] has the
/// documented values; tests lower some of them, so that they do not take minutes.
#[derive(Debug, Clone, Copy)]
pub struct SocketLimits {
    /// Maximum number of open connections of the process; one more is refused with 503.
    pub connections_max: usize,
    /// Maximum number of connections of one client address (IPv6: of one /64); one more is refused
    /// with 503. Clients behind a trusted proxy are distinguished by the address that the proxy
    /// forwards.
    pub per_address_max: usize,
    /// Maximum burst of replayed bytes for the clients of one address, in KiB. It is enough for 500
    /// browsers behind one address that reconnect after half a minute of 30 events a second.
    pub replay_kib_max: u32,
    /// Sustained rate of replayed bytes for the clients of one address, in KiB a second.
    pub replay_kib_per_second: u32,
    /// Maximum payload of a client frame, in bytes. A larger frame is refused by its header, with
    /// 1009.
    pub frame_bytes_max: usize,
    /// Maximum of buffered bytes of incomplete client frames, for all connections of the process
    /// together. Each connection may buffer `FrameDecoder::OWN_BYTES` besides. The buffers grow by
    /// doubling, so they take up to twice this memory. A connection beyond the limit is closed with
    /// 1013. An incomplete frame is buffered for at most `silence_max`, since only complete frames
    /// count as signs of life.
    pub partial_bytes_max: usize,
    /// Maximum number of client frames within `frames_window`; one more closes the connection with
    /// 1008.
    pub frames_max: usize,
    pub frames_window: Duration,
    /// Maximum number of tickets that one connection may watch by id.
    pub watched_max: usize,
    /// The same for all connections of the process together. A connection beyond it is closed with
    /// 1013. Each watched ticket takes up to 300 bytes.
    pub watched_in_all_max: usize,
    /// Maximum number of queued frames of one connection. From a quarter of it on, the frames of a
    /// slow reader are merged per ticket. If more than half of this number is left after merging,
    /// the event frames are dropped for a `Reset`.
    pub backlog_frames_max: usize,
    /// The same in bytes. The frames themselves are shared by all connections of a worker thread,
    /// except one piece of about 64 KiB of each connection that does not accept it.
    pub backlog_bytes_max: usize,
    /// Size of the kernel's send buffer of one connection, in bytes (the kernel doubles it for its
    /// own data). The frames of a reader that is behind by more wait in its queue, where they can
    /// be merged, instead of in the kernel's memory.
    pub send_buffer_bytes: usize,
    /// Time for which the next events are gathered after a delivery; after a single event, two
    /// fifths of it. The first events after a pause are sent at once.
    pub gather: Duration,
    /// Interval of the periodic checks of connections: pings, deadlines, expired sessions.
    pub tick: Duration,
    /// Interval of the server's pings.
    pub ping_every: Duration,
    /// A connection from which no frame came for this time is closed.
    pub silence_max: Duration,
    /// A connection is ended without a close frame if its socket accepted no queued frame for this
    /// time, or if a ping was unanswered for this time. With `ping_every`, a peer that stops
    /// reading is disconnected within 50 s, even if it continues to send.
    pub stall_max: Duration,
    /// Maximum time that a peer may take to answer a close frame.
    pub close_wait_max: Duration,
    /// Time after which a shutdown ends the remaining connections.
    /// [`Hub::shutdown`](super::Hub::shutdown) waits at most a second longer.
    pub shutdown_max: Duration,
    /// Time for which a revocation is kept, to close a connection that is admitted with a session
    /// revoked just before.
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
