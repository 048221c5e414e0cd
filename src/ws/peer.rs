//! A second hold on a connection's socket, to end it from outside, and to write to it past the server.
//!
//! Whoever does not read makes the HTTP server wait for its socket to accept bytes: the body is not polled, and no code
//! of ours runs in the connection's own task. Shutting the socket down wakes that task and fails its write.

use std::{
    io,
    net::Shutdown,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
};

use socket2::SockRef;

use super::Limits;

/// The socket under an HTTP connection. `app` puts one into each connection's extensions by `HttpServer::on_connect`;
/// it costs a file descriptor as long as the connection lives, because what it refers to cannot be asked for later
/// without unsafe code.
#[derive(Debug, Clone)]
pub struct PeerSocket(Arc<OwnedFd>);

impl PeerSocket {
    /// `None` if the process has no file descriptor left; the connection then lives by the kernel's time-outs alone.
    pub fn of(stream: &impl AsFd) -> Option<Self> {
        stream.as_fd().try_clone_to_owned().ok().map(|fd| Self(Arc::new(fd)))
    }

    /// Frames are small and should leave at once; what is not acknowledged, or meets a closed window, within `silence_max`
    /// ends the connection.
    pub(super) fn prepare(&self, limits: &Limits) {
        let socket = SockRef::from(&*self.0);
        let outcome = socket.set_tcp_nodelay(true).and_then(|()| socket.set_send_buffer_size(limits.send_buffer_bytes));
        // Elsewhere than on Linux the pings and the stalled queue have to find it out.
        #[cfg(target_os = "linux")]
        let outcome = outcome.and_then(|()| socket.set_tcp_user_timeout(Some(limits.silence_max)));
        if let Err(error) = outcome {
            tracing::debug!(%error, "a socket's options could not be set");
        }
    }

    /// Hands bytes to the kernel; how many it took. Never waits, since the server made the socket non-blocking.
    ///
    /// # Errors
    /// `WouldBlock` if it takes none; others if the connection is gone.
    pub(super) fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        SockRef::from(&*self.0).send(bytes)
    }

    /// Cuts the connection off, whatever is queued.
    pub(super) fn cut(&self) {
        self.shutdown(Shutdown::Both);
    }

    /// Makes the server see the end of the peer's bytes, so that it closes as soon as all of ours were written.
    pub(super) fn stop_reading(&self) {
        self.shutdown(Shutdown::Read);
    }

    /// Tells the peer that nothing more will come.
    pub(super) fn stop_writing(&self) {
        self.shutdown(Shutdown::Write);
    }

    fn shutdown(&self, how: Shutdown) {
        // It fails only if the peer was faster, and then there is nothing left to do.
        let _ = SockRef::from(&*self.0).shutdown(how);
    }
}
