//! Connection of a client, as actix-http reads and writes it. It bounds the bytes that are read
//! ahead, records progress for the deadlines, and sends a problem document instead of the responses
//! that actix-http creates by itself.
//!
//! The reasons are in `docs/adr/0015-connections.md`.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use actix_web::rt::net::TcpStream;
use bytes::{Buf, Bytes};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    activity::MayRead,
    quota::Permit,
    refusal,
    worker::{End, TrackedConnection, WorkerEntry},
};

/// Size of the kernel's buffer for responses that a client has not read, in bytes (the kernel
/// doubles the value for its own data). Without this bound the buffer grows up to 4 MiB for each
/// connection.
const SEND_BUFFER_BYTES: usize = 128 * 1024;

/// Connection of a client.
#[derive(Debug)]
pub struct ClientStream {
    io: TcpStream,
    entry: WorkerEntry,
    permit: Permit,
    lingering: Option<LingeringClose>,
}

/// Close of a connection with a last response.
#[derive(Debug)]
struct LingeringClose {
    rest: Bytes,
    is_shut: bool,
}

impl ClientStream {
    pub fn new(io: TcpStream, entry: WorkerEntry, permit: Permit) -> Self {
        if let Err(error) = SockRef::from(&io).set_send_buffer_size(SEND_BUFFER_BYTES) {
            tracing::debug!(%error, "the send buffer size of a connection could not be set");
        }
        Self { io, entry, permit, lingering: None }
    }

    pub fn connection(&self) -> &std::rc::Rc<TrackedConnection> {
        &self.entry.0
    }

    /// Takes the connection out of the HTTP server. The connection counts against the quota until
    /// the permit is dropped.
    pub fn into_parts(self) -> (TcpStream, Permit) {
        (self.io, self.permit)
    }

    /// Ends the connection as decided. Ready when the connection can be dropped.
    fn poll_end(&mut self, end: End, cx: &mut Context<'_>) -> Poll<io::Error> {
        if end == End::Reset {
            // The peer does not read, so the kernel should not keep the queued bytes.
            let _ = SockRef::from(&self.io).set_linger(Some(Duration::ZERO));
        }
        let End::Linger(refusal) = end else { return Poll::Ready(io::ErrorKind::TimedOut.into()) };
        let lingering = self.lingering.get_or_insert_with(|| LingeringClose {
            rest: refusal.map(refusal::ConnectionRefusal::response).unwrap_or_default(),
            is_shut: false,
        });
        let error = match ready!(lingering.poll(&mut self.io, cx)) {
            Ok(()) => io::ErrorKind::ConnectionAborted.into(),
            Err(error) => error,
        };
        Poll::Ready(error)
    }
}

impl LingeringClose {
    /// Sends the response and closes the sending side. Then drops the bytes of the peer until it
    /// closes too: an immediate close could make the kernel of the peer drop the response (RFC 9112
    /// §9.6).
    fn poll(&mut self, io: &mut TcpStream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.rest.has_remaining() {
            let written = ready!(Pin::new(&mut *io).poll_write(cx, &self.rest))?;
            self.rest.advance(written);
        }
        if !self.is_shut {
            ready!(Pin::new(&mut *io).poll_shutdown(cx))?;
            self.is_shut = true;
        }
        let mut bytes = [0; 4096];
        loop {
            let mut buf = ReadBuf::new(&mut bytes);
            ready!(Pin::new(&mut *io).poll_read(cx, &mut buf))?;
            if buf.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

/// Reads into a buffer, at most as many bytes as the buffer of actix-http has at the start. The
/// buffer grows with a large head.
fn read_some(
    io: &mut TcpStream,
    cx: &mut Context<'_>,
    buf: &mut ReadBuf<'_>,
) -> Poll<io::Result<()>> {
    const READ_BYTES_MAX: usize = 8 * 1024;
    if buf.remaining() <= READ_BYTES_MAX {
        return Pin::new(io).poll_read(cx, buf);
    }
    let mut part = ReadBuf::new(buf.initialize_unfilled_to(READ_BYTES_MAX));
    ready!(Pin::new(io).poll_read(cx, &mut part))?;
    let length = part.filled().len();
    buf.advance(length);
    Poll::Ready(Ok(()))
}

impl AsyncRead for ClientStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let connection = &this.entry.0;
        connection.register_waker(cx.waker());
        if let Some(end) = connection.requested_end() {
            return this.poll_end(end, cx).map(Err);
        }
        match connection.activity.may_read() {
            MayRead::Yes => {}
            MayRead::AfterParsing => {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            MayRead::AfterAnswer => return Poll::Pending,
            MayRead::HeadTooLarge => {
                connection.refuse(refusal::ConnectionRefusal::HeadTooLarge);
                return Poll::Pending;
            }
        }
        let known = buf.filled().len();
        let outcome = read_some(&mut this.io, cx, buf);
        match outcome {
            Poll::Ready(Ok(())) => {
                connection.activity.on_read(&buf.filled()[known..], connection.now())
            }
            Poll::Pending => connection.activity.on_read_pending(),
            Poll::Ready(Err(_)) => {}
        }
        outcome
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let connection = &this.entry.0;
        connection.register_waker(cx.waker());
        if let Some(end) = connection.requested_end() {
            return this.poll_end(end, cx).map(Err);
        }
        // While a request is being processed, the parser's own response is queued behind its
        // response.
        if !connection.activity.is_answering()
            && let Some((start, refusal)) = refusal::find(bytes)
        {
            if start == 0 {
                connection.refuse(refusal);
                return Poll::Pending;
            }
            bytes = &bytes[..start];
        }
        let outcome = Pin::new(&mut this.io).poll_write(cx, bytes);
        match outcome {
            Poll::Ready(_) => {
                if connection.activity.on_write(connection.now()) {
                    connection.wake();
                }
            }
            Poll::Pending => connection.activity.on_write_pending(connection.now()),
        }
        outcome
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match this.entry.0.requested_end() {
            Some(end) => this.poll_end(end, cx).map(Err),
            None => Pin::new(&mut this.io).poll_shutdown(cx),
        }
    }
}
