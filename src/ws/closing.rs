//! The reasons why the server ends a connection, and their close frames (RFC 6455 §7.4.1).

use actix_http::ws::{CloseCode, CloseReason, Parser};
use bytes::{Bytes, BytesMut};

/// The reason why the server ends a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DisconnectReason {
    /// The peer broke RFC 6455: an unmasked frame, reserved bits, an unknown opcode, an invalid
    /// control frame.
    Protocol,
    /// A binary or a fragmented message.
    Unsupported,
    NotUtf8,
    FrameTooBig,
    TooManyFrames,
    /// A bound of all connections together is reached; the client may reconnect later.
    Overloaded,
    /// The peer sent no frame for `silence_max`.
    Silent,
    /// The peer does not read, or does not answer a ping. The connection is ended without a close
    /// frame, so the reason below is never sent.
    Stalled,
    SignedOut,
    SessionExpired,
    /// The feed lost events, which may include the revocation of the session. The session is
    /// checked when the client reconnects.
    SessionUnverified,
    Shutdown,
    /// The shard panicked; the client may reconnect at once and resume.
    Internal,
}

impl DisconnectReason {
    /// Returns the label of the metric; `None`: the reason is not counted.
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

    /// Returns whether the peer's input is not read any more, because it cannot be parsed or would
    /// take too much memory. Then its answer to the close frame is not awaited.
    pub const fn stops_reading(self) -> bool {
        matches!(
            self,
            Self::Protocol
                | Self::Unsupported
                | Self::NotUtf8
                | Self::FrameTooBig
                | Self::Overloaded
        )
    }

    /// Returns whether the queued frames are still sent before the close frame.
    pub const fn keeps_queue(self) -> bool {
        matches!(self, Self::Shutdown | Self::SessionUnverified)
    }

    const fn code(self) -> CloseCode {
        match self {
            Self::Protocol => CloseCode::Protocol,
            Self::Unsupported => CloseCode::Unsupported,
            Self::NotUtf8 => CloseCode::Invalid,
            Self::FrameTooBig => CloseCode::Size,
            Self::TooManyFrames
            | Self::Silent
            | Self::Stalled
            | Self::SignedOut
            | Self::SessionExpired => CloseCode::Policy,
            Self::Overloaded => CloseCode::Again,
            Self::Shutdown => CloseCode::Away,
            Self::SessionUnverified => CloseCode::Restart,
            Self::Internal => CloseCode::Error,
        }
    }

    const fn description(self) -> &'static str {
        match self {
            Self::Protocol => "not a valid frame",
            Self::Unsupported => "only whole text messages are understood",
            Self::NotUtf8 => "not UTF-8",
            Self::FrameTooBig => "frame too big",
            Self::TooManyFrames => "too many frames",
            Self::Overloaded => "too busy, try again later",
            Self::Silent => "no frame received",
            Self::Stalled => "not reading",
            Self::SignedOut => "signed out",
            Self::SessionExpired => "session expired",
            Self::SessionUnverified => "reconnect, so that the session is checked again",
            Self::Shutdown => "going away",
            Self::Internal => "internal error",
        }
    }

    /// Returns the close frame, as it is sent.
    pub fn frame(self) -> Bytes {
        close_frame(Some(CloseReason {
            code: self.code(),
            description: Some(self.description().to_owned()),
        }))
    }
}

/// Returns the answer to a peer's close frame: the same code (RFC 6455 §5.5.1), without the reason
/// text.
pub fn echo(reason: Option<&CloseReason>) -> Bytes {
    close_frame(reason.map(|reason| CloseReason::from(reason.code)))
}

fn close_frame(reason: Option<CloseReason>) -> Bytes {
    let mut frame = BytesMut::new();
    Parser::write_close(&mut frame, reason, false);
    frame.freeze()
}
