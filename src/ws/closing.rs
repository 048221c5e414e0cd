//! Why a connection ends, and what its peer is told (RFC 6455 §7.4.1).

use actix_http::ws::{CloseCode, CloseReason, Parser};
use bytes::{Bytes, BytesMut};

/// Why the server ends a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DisconnectReason {
    /// The peer broke RFC 6455: unmasked, reserved bits, an unknown opcode, a control frame that cannot be.
    Protocol,
    /// A binary or a fragmented message.
    Unsupported,
    NotUtf8,
    FrameTooBig,
    TooManyFrames,
    /// All connections together use as much as they may; the client may come back.
    Overloaded,
    /// Nothing was heard for too long.
    Silent,
    /// It does not read.
    Stalled,
    SignedOut,
    SessionExpired,
    /// The feed lost its history: whether the session was revoked meanwhile shows when the client comes back.
    SessionUnverified,
    Shutdown,
    /// The shard broke down; the client may come back at once and resume.
    Internal,
}

impl DisconnectReason {
    /// The label of the metric.
    pub const fn label(self) -> Option<&'static str> {
        match self {
            Self::Protocol | Self::Unsupported | Self::NotUtf8 => Some("protocol"),
            Self::FrameTooBig | Self::TooManyFrames | Self::Overloaded => Some("limit"),
            Self::Silent => Some("silent"),
            Self::Stalled => Some("stalled"),
            Self::SignedOut | Self::SessionExpired => Some("signed_out"),
            Self::Shutdown => Some("shutdown"),
            Self::Internal | Self::SessionUnverified => None,
        }
    }

    /// Whether what the peer sends cannot be understood any more, so that its answer to the close frame is not waited for.
    pub const fn peer_unparsable(self) -> bool {
        matches!(self, Self::Protocol | Self::Unsupported | Self::NotUtf8 | Self::FrameTooBig | Self::Overloaded)
    }

    /// Whether what is queued is still true and wanted.
    pub const fn keeps_queue(self) -> bool {
        matches!(self, Self::Shutdown | Self::SessionUnverified)
    }

    const fn code(self) -> CloseCode {
        match self {
            Self::Protocol => CloseCode::Protocol,
            Self::Unsupported => CloseCode::Unsupported,
            Self::NotUtf8 => CloseCode::Invalid,
            Self::FrameTooBig => CloseCode::Size,
            Self::TooManyFrames | Self::Silent | Self::Stalled | Self::SignedOut | Self::SessionExpired => CloseCode::Policy,
            Self::Overloaded => CloseCode::Again,
            Self::Shutdown => CloseCode::Away,
            Self::SessionUnverified => CloseCode::Restart,
            Self::Internal => CloseCode::Error,
        }
    }

    const fn reason(self) -> &'static str {
        match self {
            Self::Protocol => "not a valid frame",
            Self::Unsupported => "only whole text messages are understood",
            Self::NotUtf8 => "not UTF-8",
            Self::FrameTooBig => "frame too big",
            Self::TooManyFrames => "too many frames",
            Self::Overloaded => "too busy, try again later",
            Self::Silent => "no sign of life",
            Self::Stalled => "not reading",
            Self::SignedOut => "signed out",
            Self::SessionExpired => "session expired",
            Self::SessionUnverified => "come back, to be recognized anew",
            Self::Shutdown => "going away",
            Self::Internal => "internal error",
        }
    }

    /// The close frame, as it goes over the wire.
    pub fn frame(self) -> Bytes {
        close_frame(Some(CloseReason { code: self.code(), description: Some(self.reason().to_owned()) }))
    }
}

/// The answer to a peer's close frame: the same code (RFC 6455 §5.5.1), without its words.
pub fn echo(reason: Option<&CloseReason>) -> Bytes {
    close_frame(reason.map(|reason| CloseReason::from(reason.code)))
}

fn close_frame(reason: Option<CloseReason>) -> Bytes {
    let mut frame = BytesMut::new();
    Parser::write_close(&mut frame, reason, false);
    frame.freeze()
}
