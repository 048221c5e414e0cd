//! The payment processor of the model: a ledger of its own, and calls that get lost on either way, or arrive late.

/// What the processor has of one charge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Payment {
    /// No attempt arrived.
    Open,
    Declined,
    NeedsAction,
    Held,
    Captured,
    Voided,
    Refunded,
}

/// A call that changes the ledger when it arrives, which may be long after its sender died.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Request {
    /// Attempt to take the authorization, or ask again after the buyer acted.
    Authorize,
    Capture,
}

/// What the processor answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reply {
    Authorized,
    ActionRequired,
    Declined,
    UnknownToken,
    /// It was asked what it has, and has nothing.
    Nothing,
    Captured,
    CaptureRefused,
    Reversed {
        refund: bool,
    },
}

/// What an attempt comes to; the processor's choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    Hold,
    Decline,
    AskBuyer,
    DoNotKnow,
}

impl Payment {
    /// What an attempt may come to now; only one choice where it has been decided before.
    pub fn outcomes(self, request: Request) -> &'static [Outcome] {
        match (request, self) {
            (Request::Authorize, Self::Open) => &[Outcome::Hold, Outcome::Decline, Outcome::AskBuyer, Outcome::DoNotKnow],
            (Request::Authorize, Self::NeedsAction) => &[Outcome::Hold, Outcome::Decline, Outcome::AskBuyer],
            _ => &[Outcome::Hold],
        }
    }

    /// A request arrives.
    pub fn land(&mut self, request: Request, outcome: Outcome) -> Reply {
        match (request, *self) {
            (Request::Authorize, Self::Open | Self::NeedsAction) => {
                let (state, reply) = match outcome {
                    Outcome::Hold => (Self::Held, Reply::Authorized),
                    Outcome::Decline => (Self::Declined, Reply::Declined),
                    Outcome::AskBuyer => (Self::NeedsAction, Reply::ActionRequired),
                    Outcome::DoNotKnow => (Self::Open, Reply::UnknownToken),
                };
                *self = state;
                reply
            }
            (Request::Authorize, _) => self.fetch(),
            (Request::Capture, Self::Held | Self::Captured) => {
                *self = Self::Captured;
                Reply::Captured
            }
            (Request::Capture, _) => Reply::CaptureRefused,
        }
    }

    /// What it has.
    pub fn fetch(self) -> Reply {
        match self {
            Self::Open => Reply::Nothing,
            Self::NeedsAction => Reply::ActionRequired,
            Self::Held | Self::Captured => Reply::Authorized,
            Self::Declined | Self::Voided | Self::Refunded => Reply::Declined,
        }
    }

    /// Nothing of it is held or kept, now or later.
    pub fn reverse(&mut self) -> Reply {
        *self = match self {
            Self::Captured | Self::Refunded => Self::Refunded,
            _ => Self::Voided,
        };
        Reply::Reversed { refund: *self == Self::Refunded }
    }
}
