//! A client's connection, as actix-http reads and writes it: bounds what is read ahead, notes progress for the deadlines,
//! and sends our own answer where actix-http would send a bare one.
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

/// What the kernel keeps of the answers that a client does not read, in bytes (it doubles it for its own book-keeping).
/// Without a bound it takes up to 4 MiB for each connection.
const SEND_BUFFER_BYTES: usize = 128 * 1024;

/// A client's connection.
#[derive(Debug)]
pub struct ClientStream {
    io: TcpStream,
    member: WorkerEntry,
    permit: Permit,
    farewell: Option<Farewell>,
}

/// The last words of a connection that is refused.
#[derive(Debug)]
struct Farewell {
    rest: Bytes,
    is_shut: bool,
}

impl ClientStream {
    pub fn new(io: TcpStream, member: WorkerEntry, permit: Permit) -> Self {
        if let Err(error) = SockRef::from(&io).set_send_buffer_size(SEND_BUFFER_BYTES) {
            tracing::debug!(%error, "a socket's options could not be set");
        }
        Self { io, member, permit, farewell: None }
    }

    pub fn link(&self) -> &std::rc::Rc<TrackedConnection> {
        &self.member.0
    }

    /// Takes the connection out of the HTTP server. It stays counted as long as the permit lives.
    pub fn into_parts(self) -> (TcpStream, Permit) {
        (self.io, self.permit)
    }

    /// Carries out what was decided on the connection's end; ready when it can be dropped.
    fn poll_end(&mut self, end: End, cx: &mut Context<'_>) -> Poll<io::Error> {
        if end == End::Reset {
            // The peer does not read: nothing of what is queued for it is worth the kernel's memory.
            let _ = SockRef::from(&self.io).set_linger(Some(Duration::ZERO));
        }
        let End::Farewell(refusal) = end else { return Poll::Ready(io::ErrorKind::TimedOut.into()) };
        let farewell = self
            .farewell
            .get_or_insert_with(|| Farewell { rest: refusal.map(refusal::ConnectionRefusal::answer).unwrap_or_default(), is_shut: false });
        let error = match ready!(farewell.poll(&mut self.io, cx)) {
            Ok(()) => io::ErrorKind::ConnectionAborted.into(),
            Err(error) => error,
        };
        Poll::Ready(error)
    }
}

impl Farewell {
    /// Sends the answer and closes our side. What the peer still sends is thrown away until it closes too: to close at once
    /// would make its kernel throw the answer away (RFC 9112 §9.6).
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

/// Reads into a buffer, but no more than actix-http's has room for to begin with: after a large head it has more.
fn read_some(io: &mut TcpStream, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
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
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let link = &this.member.0;
        link.will_wake(cx.waker());
        if let Some(end) = link.ending() {
            return this.poll_end(end, cx).map(Err);
        }
        match link.activity.may_read() {
            MayRead::Yes => {}
            MayRead::AfterParsing => {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            MayRead::AfterAnswer => return Poll::Pending,
            MayRead::HeadTooLarge => {
                link.refuse(refusal::ConnectionRefusal::HeadTooLarge);
                return Poll::Pending;
            }
        }
        let known = buf.filled().len();
        let outcome = read_some(&mut this.io, cx, buf);
        match outcome {
            Poll::Ready(Ok(())) => link.activity.on_read(&buf.filled()[known..], link.now()),
            Poll::Pending => link.activity.on_read_pending(),
            Poll::Ready(Err(_)) => {}
        }
        outcome
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, mut bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let link = &this.member.0;
        link.will_wake(cx.waker());
        if let Some(end) = link.ending() {
            return this.poll_end(end, cx).map(Err);
        }
        // While a request is being answered, the parser's own answer waits behind it.
        if !link.activity.is_answering()
            && let Some((start, refusal)) = refusal::find(bytes)
        {
            if start == 0 {
                link.refuse(refusal);
                return Poll::Pending;
            }
            bytes = &bytes[..start];
        }
        let outcome = Pin::new(&mut this.io).poll_write(cx, bytes);
        match outcome {
            Poll::Ready(_) => {
                if link.activity.on_write(link.now()) {
                    link.wake();
                }
            }
            Poll::Pending => link.activity.on_write_pending(link.now()),
        }
        outcome
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match this.member.0.ending() {
            Some(end) => this.poll_end(end, cx).map(Err),
            None => Pin::new(&mut this.io).poll_shutdown(cx),
        }
    }
}
