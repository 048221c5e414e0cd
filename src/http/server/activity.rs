//! What one connection is doing, and when that has taken too long. Pure: time is a count of ticks that the caller passes in.
//!
//! Ticks are counted, not measured: time during which the worker itself stood still (a stopped process, a suspended machine)
//! is not held against its clients.

use std::{
    cell::{Cell, RefCell},
    time::Duration,
};

use super::framing::{Framing, NextRequest};

/// Deadlines of a connection. [`Deadlines::default`] is the public contract; tests shorten them.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    /// From the first byte of a request's head to its last.
    pub head: Duration,
    /// Without a request. Proxies keep connections for 60 s (ingress-nginx, load balancers of clouds). A server that keeps
    /// them for less closes some that a request is already on its way to, and a proxy does not repeat a POST.
    pub idle: Duration,
    /// While bytes are to be written, without the peer taking any of them.
    pub write: Duration,
    /// The first two for a connection that is only there for probes.
    pub limited: Duration,
    /// From a refusal of the connection to its close: for the peer to read the refusal.
    pub farewell: Duration,
    /// The interval between two checks. A deadline is exceeded by at most this.
    pub tick: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(15),
            idle: Duration::from_secs(75),
            write: Duration::from_secs(30),
            limited: Duration::from_secs(5),
            farewell: Duration::from_secs(2),
            tick: Duration::from_millis(500),
        }
    }
}

/// The same deadlines in ticks.
#[derive(Debug, Clone, Copy)]
pub struct Ticks {
    head: u32,
    idle: u32,
    write: u32,
    farewell: u32,
}

impl Ticks {
    /// `is_limited`: for a connection that is only there for probes.
    pub fn of(deadlines: &Deadlines, is_limited: bool) -> Self {
        let ticks = |deadline: Duration| {
            let ticks = deadline.as_nanos().div_ceil(deadlines.tick.as_nanos().max(1));
            u32::try_from(ticks).unwrap_or(u32::MAX)
        };
        let of_request = |deadline: Duration| ticks(if is_limited { deadlines.limited } else { deadline });
        Self {
            head: of_request(deadlines.head),
            idle: of_request(deadlines.idle),
            write: ticks(deadlines.write),
            farewell: ticks(deadlines.farewell),
        }
    }
}

/// Largest head of a request, in bytes: as much as nginx takes by default.
pub const HEAD_BYTES_MAX: usize = 32 * 1024;

/// Bytes that are read before the parser looks at them, and beyond the request that is being answered. The parser turns all
/// that was read into requests, each many times larger than its smallest text, so this bounds what pipelining costs.
pub const ROUND_BYTES_MAX: usize = 4 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RequestPhase {
    /// Between two requests, or before the first.
    Idle,
    /// A part of a head was read.
    Head,
    /// A request is being answered.
    Answering,
    /// The connection was refused; the peer may read why.
    Farewell,
}

/// What a deadline ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overdue {
    Idle,
    Head,
    Write,
    Farewell,
}

/// Whether to read from the socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MayRead {
    Yes,
    /// First the parser has to look at what was read.
    AfterParsing,
    /// Not until the peer has taken the answers to what it sent.
    AfterAnswer,
    /// What was read is not a head yet, and already too large for one.
    HeadTooLarge,
}

/// The body that a request announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    None,
    Sized(u64),
    Chunked,
}

/// What one connection is doing.
#[derive(Debug)]
pub struct Activity {
    phase: Cell<RequestPhase>,
    /// The tick at which the phase began, or at which the peer had taken all that was written.
    since: Cell<u32>,
    /// Bytes wait for the peer: the tick at which it last took some.
    blocked_since: Cell<Option<u32>>,
    /// Bytes of the head that is being read.
    head_bytes: Cell<usize>,
    /// Bytes that were read since the parser last looked.
    round_bytes: Cell<usize>,
    /// Bytes that may still be read before the request is answered.
    allowance: Cell<u64>,
    /// Reading was put off until the request is answered or the peer takes bytes.
    held: Cell<bool>,
    framing: RefCell<Framing>,
    /// The rest of a body that its handler did not want is being read.
    discards: Cell<bool>,
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
            held: Cell::new(false),
            framing: RefCell::new(Framing::new()),
            discards: Cell::new(false),
        }
    }

    /// Whether to read now. Anything but [`MayRead::Yes`] is what the caller then does.
    pub fn may_read(&self) -> MayRead {
        let is_over = self.phase.get() == RequestPhase::Answering && self.allowance.get() == 0;
        if is_over || self.blocked_since.get().is_some() {
            self.held.set(true);
            return MayRead::AfterAnswer;
        }
        if self.round_bytes.get() >= ROUND_BYTES_MAX {
            self.round_bytes.set(0);
            return MayRead::AfterParsing;
        }
        let is_head = self.phase.get() == RequestPhase::Head && self.round_bytes.get() == 0;
        if is_head && self.head_bytes.get() >= HEAD_BYTES_MAX { MayRead::HeadTooLarge } else { MayRead::Yes }
    }

    /// Bytes were read; none at the end of the stream.
    pub fn on_read(&self, bytes: &[u8], now: u32) {
        self.round_bytes.set(self.round_bytes.get() + bytes.len());
        let completes_request = self.framing.borrow_mut().on_read(bytes);
        match self.phase.get() {
            RequestPhase::Answering => self.allowance.set(self.allowance.get().saturating_sub(bytes.len() as u64)),
            RequestPhase::Idle if !bytes.is_empty() => {
                self.enter(RequestPhase::Head, now);
                self.head_bytes.set(bytes.len());
            }
            RequestPhase::Head => self.head_bytes.set(self.head_bytes.get() + bytes.len()),
            RequestPhase::Idle | RequestPhase::Farewell => {}
        }
        if completes_request && self.phase.get() == RequestPhase::Head {
            self.enter(RequestPhase::Idle, now);
            self.head_bytes.set(0);
        }
    }

    /// Nothing was there to read: the parser looks next.
    pub fn on_read_pending(&self) {
        self.round_bytes.set(0);
    }

    /// A head is complete, and its request is being answered.
    pub fn on_request(&self, body: Body, now: u32) {
        self.enter(RequestPhase::Answering, now);
        self.framing.borrow_mut().on_request(body);
        self.discards.set(false);
        self.allowance.set(match body {
            Body::None => ROUND_BYTES_MAX as u64,
            Body::Sized(length) => length.saturating_add(ROUND_BYTES_MAX as u64),
            Body::Chunked => u64::MAX,
        });
    }

    /// A body was read to its end; or, if not `is_whole`, its handler wants no more of it. To be called for those in chunks,
    /// and for those that are longer than what is read in one round.
    pub fn on_body_end(&self, is_whole: bool) {
        self.allowance.set(ROUND_BYTES_MAX as u64);
        self.discards.set(!is_whole);
    }

    /// The request is answered, except for what waits to be written. Returns whether reading was put off until now.
    pub fn on_answer(&self, now: u32) -> bool {
        let next = self.framing.borrow_mut().on_answer();
        self.enter(if next == NextRequest::Begun { RequestPhase::Head } else { RequestPhase::Idle }, now);
        self.head_bytes.set(0);
        self.held.replace(false)
    }

    /// The peer took bytes, perhaps not all. Returns whether reading was put off until now.
    pub fn on_write(&self, now: u32) -> bool {
        if self.blocked_since.take().is_none() {
            return false;
        }
        // What follows is counted from here: while bytes wait, only the deadline of the write applies.
        self.since.set(now);
        self.held.replace(false)
    }

    /// The peer takes no bytes.
    pub fn on_write_pending(&self, now: u32) {
        if self.blocked_since.get().is_none() {
            self.blocked_since.set(Some(now));
        }
    }

    /// The connection is refused.
    pub fn on_farewell(&self, now: u32) {
        self.blocked_since.set(None);
        self.enter(RequestPhase::Farewell, now);
    }

    pub fn is_answering(&self) -> bool {
        self.phase.get() == RequestPhase::Answering
    }

    /// Whether what is being read is the rest of a body that its handler did not want.
    pub fn is_discarding(&self) -> bool {
        self.discards.get()
    }

    /// The deadline that has passed, if any.
    pub fn overdue(&self, now: u32, ticks: &Ticks) -> Option<Overdue> {
        let over = |since: u32, ticks: u32| now.wrapping_sub(since) > ticks;
        if let Some(since) = self.blocked_since.get() {
            return over(since, ticks.write).then_some(Overdue::Write);
        }
        let (overdue, ticks) = match self.phase.get() {
            RequestPhase::Answering => return None,
            RequestPhase::Idle => (Overdue::Idle, ticks.idle),
            RequestPhase::Head => (Overdue::Head, ticks.head),
            RequestPhase::Farewell => (Overdue::Farewell, ticks.farewell),
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
