//! Phase of one connection, and its deadlines. Pure: the caller passes the time as a count of
//! ticks.
//!
//! Ticks are counted and not measured, so time during which the worker did not run (a stopped
//! process, a suspended machine) does not count against clients.

use std::{
    cell::{Cell, RefCell},
    time::Duration,
};

use super::framing::{Body, Framing, NextRequest};

/// Deadlines of a connection. [`Deadlines::default`] has the values of the public contract; tests
/// use shorter ones.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    /// From the first byte of a request's head to the last.
    pub head: Duration,
    /// Without a request. Proxies keep idle connections for 60 s (ingress-nginx, load balancers of
    /// clouds). A server with a shorter time would close connections on which a request is
    /// arriving, and a proxy does not repeat a POST.
    pub idle: Duration,
    /// While bytes wait to be written and the peer receives none.
    pub write: Duration,
    /// Replacement of `head` and `idle` for a connection for probes only.
    pub limited: Duration,
    /// From the refusal of a connection to its close, so that the peer can read the refusal.
    pub linger: Duration,
    /// Interval between two checks. A deadline is exceeded by at most this time.
    pub tick: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(15),
            idle: Duration::from_secs(75),
            write: Duration::from_secs(30),
            limited: Duration::from_secs(5),
            linger: Duration::from_secs(2),
            tick: Duration::from_millis(500),
        }
    }
}

/// Deadlines in ticks.
#[derive(Debug, Clone, Copy)]
pub struct Ticks {
    head: u32,
    idle: u32,
    write: u32,
    linger: u32,
}

impl Ticks {
    /// Converts deadlines to ticks. `is_limited`: for a connection for probes only.
    pub fn of(deadlines: &Deadlines, is_limited: bool) -> Self {
        let ticks = |deadline: Duration| {
            let ticks = deadline.as_nanos().div_ceil(deadlines.tick.as_nanos().max(1));
            u32::try_from(ticks).unwrap_or(u32::MAX)
        };
        let of_request =
            |deadline: Duration| ticks(if is_limited { deadlines.limited } else { deadline });
        Self {
            head: of_request(deadlines.head),
            idle: of_request(deadlines.idle),
            write: ticks(deadlines.write),
            linger: ticks(deadlines.linger),
        }
    }
}

/// Maximum length of the head of a request, in bytes, as in nginx by default.
pub const HEAD_BYTES_MAX: usize = 32 * 1024;

/// Number of bytes after which reading stops until the parser has run, and beyond the request that
/// is being processed. One more read of up to 8 KiB may exceed it. The parser converts all read
/// bytes to requests, each many times larger than its shortest text, so this bounds the memory of
/// pipelining.
pub const ROUND_BYTES_MAX: usize = 4 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RequestPhase {
    /// Between two requests, or before the first.
    Idle,
    /// A part of a head has been read.
    Head,
    /// A request is being processed.
    Answering,
    /// The connection was refused, and the peer has time to read the response.
    Lingering,
}

/// Deadline that has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overdue {
    Idle,
    Head,
    Write,
    Linger,
}

/// Whether the stream may read from the socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MayRead {
    Yes,
    /// Not before the parser has seen the read bytes.
    AfterParsing,
    /// Not before the peer has received the responses to its requests.
    AfterAnswer,
    /// Never: the read bytes are too long for a head.
    HeadTooLarge,
}

/// Phase of one connection, with its progress.
#[derive(Debug)]
pub struct Activity {
    phase: Cell<RequestPhase>,
    /// Tick at which the phase began, or at which the peer received the last waiting bytes.
    since: Cell<u32>,
    /// While bytes wait for the peer: the tick at which the peer last received some.
    blocked_since: Cell<Option<u32>>,
    /// Number of bytes of the head that is being read.
    head_bytes: Cell<usize>,
    /// Number of bytes that were read since the parser last ran.
    round_bytes: Cell<usize>,
    /// Number of bytes that may still be read before the response is complete.
    allowance: Cell<u64>,
    /// Whether reading waits for the response or for the peer to receive bytes.
    is_deferred: Cell<bool>,
    framing: RefCell<Framing>,
    /// Whether the rest of a body that its handler dropped is being read.
    is_discarding: Cell<bool>,
}

impl Activity {
    pub fn new(now: u32) -> Self {
        Self {
            phase: Cell::new(RequestPhase::Idle),
            since: Cell::new(now),
            blocked_since: Cell::new(None),
            head_bytes: Cell::new(0),
            round_bytes: Cell::new(0),
            allowance: Cell::new(0),
            is_deferred: Cell::new(false),
            framing: RefCell::new(Framing::new()),
            is_discarding: Cell::new(false),
        }
    }

    /// Returns whether the caller may read now. After any value except [`MayRead::Yes`] the caller
    /// must wait or refuse accordingly.
    pub fn may_read(&self) -> MayRead {
        let is_exhausted = self.phase.get() == RequestPhase::Answering && self.allowance.get() == 0;
        if is_exhausted || self.blocked_since.get().is_some() {
            self.is_deferred.set(true);
            return MayRead::AfterAnswer;
        }
        if self.round_bytes.get() >= ROUND_BYTES_MAX {
            self.round_bytes.set(0);
            return MayRead::AfterParsing;
        }
        let is_head = self.phase.get() == RequestPhase::Head && self.round_bytes.get() == 0;
        if is_head && self.head_bytes.get() >= HEAD_BYTES_MAX {
            MayRead::HeadTooLarge
        } else {
            MayRead::Yes
        }
    }

    /// Records that bytes were read. At the end of the stream `bytes` is empty.
    pub fn on_read(&self, bytes: &[u8], now: u32) {
        self.round_bytes.set(self.round_bytes.get() + bytes.len());
        let completes_request = self.framing.borrow_mut().on_read(bytes);
        match self.phase.get() {
            RequestPhase::Answering => {
                self.allowance.set(self.allowance.get().saturating_sub(bytes.len() as u64))
            }
            RequestPhase::Idle if !bytes.is_empty() => {
                self.enter(RequestPhase::Head, now);
                self.head_bytes.set(bytes.len());
            }
            RequestPhase::Head => self.head_bytes.set(self.head_bytes.get() + bytes.len()),
            RequestPhase::Idle | RequestPhase::Lingering => {}
        }
        if completes_request && self.phase.get() == RequestPhase::Head {
            self.enter(RequestPhase::Idle, now);
            self.head_bytes.set(0);
        }
    }

    /// Records that no bytes were available. The parser runs next.
    pub fn on_read_pending(&self) {
        self.round_bytes.set(0);
    }

    /// Records that a head is complete and its request is being processed.
    pub fn on_request(&self, body: Body, now: u32) {
        self.enter(RequestPhase::Answering, now);
        self.framing.borrow_mut().on_request(body);
        self.is_discarding.set(false);
        self.allowance.set(match body {
            Body::None => ROUND_BYTES_MAX as u64,
            Body::Sized(length) => length.saturating_add(ROUND_BYTES_MAX as u64),
            Body::Chunked => u64::MAX,
        });
    }

    /// Records that a body was read to its end or, if not `is_whole`, that its handler dropped the
    /// rest. The caller must report this for chunked bodies, and for bodies longer than
    /// [`ROUND_BYTES_MAX`].
    pub fn on_body_end(&self, is_whole: bool) {
        self.allowance.set(ROUND_BYTES_MAX as u64);
        self.is_discarding.set(!is_whole);
    }

    /// Records that the response is complete, except for bytes that wait to be written. Returns
    /// whether reading was deferred.
    pub fn on_answer(&self, now: u32) -> bool {
        let next = self.framing.borrow_mut().on_answer();
        self.enter(
            if next == NextRequest::Begun { RequestPhase::Head } else { RequestPhase::Idle },
            now,
        );
        self.head_bytes.set(0);
        self.is_deferred.replace(false)
    }

    /// Records that the peer received some or all bytes. Returns whether reading was deferred.
    pub fn on_write(&self, now: u32) -> bool {
        if self.blocked_since.take().is_none() {
            return false;
        }
        // The deadline of the phase counts from here: while bytes wait, only the write deadline
        // applies.
        self.since.set(now);
        self.is_deferred.replace(false)
    }

    /// Records that the peer receives no bytes.
    pub fn on_write_pending(&self, now: u32) {
        if self.blocked_since.get().is_none() {
            self.blocked_since.set(Some(now));
        }
    }

    /// Records that the connection is refused.
    pub fn on_linger(&self, now: u32) {
        self.blocked_since.set(None);
        self.enter(RequestPhase::Lingering, now);
    }

    pub fn is_answering(&self) -> bool {
        self.phase.get() == RequestPhase::Answering
    }

    /// Returns whether the rest of a body that its handler dropped is being read.
    pub fn is_discarding(&self) -> bool {
        self.is_discarding.get()
    }

    /// Returns the deadline that has passed, if any.
    pub fn overdue(&self, now: u32, ticks: &Ticks) -> Option<Overdue> {
        let over = |since: u32, ticks: u32| now.wrapping_sub(since) > ticks;
        if let Some(since) = self.blocked_since.get() {
            return over(since, ticks.write).then_some(Overdue::Write);
        }
        let (overdue, ticks) = match self.phase.get() {
            RequestPhase::Answering => return None,
            RequestPhase::Idle => (Overdue::Idle, ticks.idle),
            RequestPhase::Head => (Overdue::Head, ticks.head),
            RequestPhase::Lingering => (Overdue::Linger, ticks.linger),
        };
        over(self.since.get(), ticks).then_some(overdue)
    }

    fn enter(&self, phase: RequestPhase, now: u32) {
        self.phase.set(phase);
        self.since.set(now);
    }
}

#[cfg(test)]
#[path = "activity_tests.rs"]
mod tests;
