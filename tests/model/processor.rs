//! The payment processor of the model: a ledger of its own, and calls that are lost in either
//! direction or arrive late.

/// The processor's record of one charge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Payment {
    /// No attempt has arrived.
    Open,
    Declined,
    NeedsAction,
    Held,
    Captured,
    Voided,
    Refunded,
}

/// A call that changes the ledger when it arrives, which may be long after its sender crashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Request {
    /// An attempt to authorize, or a query after the buyer acted.
    Authorize,
    Capture,
}

/// The processor's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reply {
    Authorized,
    ActionRequired,
    Declined,
    UnknownToken,
    /// The answer to a query of a payment that does not exist.
    Nothing,
    Captured,
    CaptureRefused,
    Reversed {
        refund: bool,
    },
}

/// The result of an attempt, which the processor chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    Hold,
    Decline,
    AskBuyer,
    DoNotKnow,
}

impl Payment {
    /// Returns the possible results of an attempt. There is only one if the result is decided
    /// already.
    pub fn outcomes(self, request: Request) -> &'static [Outcome] {
        match (request, self) {
            (Request::Authorize, Self::Open) => {
                &[Outcome::Hold, Outcome::Decline, Outcome::AskBuyer, Outcome::DoNotKnow]
            }
            (Request::Authorize, Self::NeedsAction) => {
                &[Outcome::Hold, Outcome::Decline, Outcome::AskBuyer]
            }
            _ => &[Outcome::Hold],
        }
    }

    /// Processes a request that arrives.
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

    /// Returns the record of the payment.
    pub fn fetch(self) -> Reply {
        match self {
            Self::Open => Reply::Nothing,
            Self::NeedsAction => Reply::ActionRequired,
            Self::Held | Self::Captured => Reply::Authorized,
            Self::Declined | Self::Voided | Self::Refunded => Reply::Declined,
        }
    }

    /// Ensures that no money is held or kept, now or later.
    pub fn reverse(&mut self) -> Reply {
        *self = match self {
            Self::Captured | Self::Refunded => Self::Refunded,
            _ => Self::Voided,
        };
        Reply::Reversed { refund: *self == Self::Refunded }
    }
}
