//! Connections of one worker thread, and the tick that ends overdue ones.
//!
//! Requests only set cells of the [`TrackedConnection`] of their connection. Twice a second the
//! worker checks all of its connections. It marks an overdue one and wakes its task, whose stream
//! ([`super::stream`]) then ends it.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    fmt,
    pin::Pin,
    rc::{Rc, Weak},
    task::{Context, Poll, Waker},
};

use actix_http::{HttpMessage, Payload, Request};
use actix_web::{error::PayloadError, http::header, rt};
use bytes::Bytes;
use futures_util::Stream;
use tokio::time::sleep;

use super::{
    activity::{Activity, Deadlines, Overdue, ROUND_BYTES_MAX, Ticks},
    framing::Body,
    quota::Exceeded,
    refusal::ConnectionRefusal,
};
use crate::metrics::METRICS;

/// Way in which the server ends a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Immediate close.
    Close,
    /// Immediate close that drops the bytes that the peer has not received.
    Reset,
    /// Lingering close: with a response if there is one, and time for the peer to read it.
    Linger(Option<ConnectionRefusal>),
}

/// State of one connection, shared by its stream, its requests and its worker.
#[derive(Debug)]
pub struct TrackedConnection {
    pub activity: Activity,
    /// Bound that the connection exceeds. With one, the connection is for probes only.
    pub exceeded: Option<Exceeded>,
    worker: Rc<Worker>,
    /// Index among the worker's connections.
    index: Cell<usize>,
    end: Cell<Option<End>>,
    /// Waker of the connection's task.
    waker: RefCell<Option<Waker>>,
}

/// Connections of one thread.
pub struct Worker {
    deadlines: Deadlines,
    ordinary: Ticks,
    limited: Ticks,
    now: Cell<u32>,
    connections: RefCell<Vec<Rc<TrackedConnection>>>,
    /// Connections for probes only, the oldest first.
    for_probes: RefCell<VecDeque<Weak<TrackedConnection>>>,
}

/// Entry of a connection in the table of its worker, removed on drop.
#[derive(Debug)]
pub struct WorkerEntry(pub Rc<TrackedConnection>);

impl Worker {
    /// Maximum number of connections beyond the quota of one worker. If there is one more, the
    /// oldest is closed. So many such connections cannot block probes, because a probe needs its
    /// connection only for about a millisecond.
    pub const FOR_PROBES_MAX: usize = 8;

    /// Creates a worker and starts its tick on this thread, which must run an actix system. The
    /// tick ends when the last reference to the worker is dropped.
    pub fn start(deadlines: Deadlines) -> Rc<Self> {
        let worker = Rc::new(Self {
            deadlines,
            ordinary: Ticks::of(&deadlines, false),
            limited: Ticks::of(&deadlines, true),
            now: Cell::new(0),
            connections: RefCell::default(),
            for_probes: RefCell::default(),
        });
        let ticking = Rc::downgrade(&worker);
        rt::spawn(async move {
            loop {
                sleep(deadlines.tick).await;
                let Some(worker) = ticking.upgrade() else { return };
                worker.tick();
            }
        });
        worker
    }

    /// Adds a connection.
    pub fn enter(self: &Rc<Self>, exceeded: Option<Exceeded>) -> WorkerEntry {
        let mut connections = self.connections.borrow_mut();
        let connection = Rc::new(TrackedConnection {
            activity: Activity::new(self.now.get()),
            exceeded,
            worker: Rc::clone(self),
            index: Cell::new(connections.len()),
            end: Cell::new(None),
            waker: RefCell::default(),
        });
        connections.push(Rc::clone(&connection));
        if exceeded.is_some() {
            self.keep_for_probes(&connection);
        }
        WorkerEntry(connection)
    }

    fn keep_for_probes(&self, connection: &Rc<TrackedConnection>) {
        let mut for_probes = self.for_probes.borrow_mut();
        for_probes.retain(|connection| connection.strong_count() > 0);
        if for_probes.len() >= Self::FOR_PROBES_MAX
            && let Some(oldest) = for_probes.pop_front().and_then(|oldest| oldest.upgrade())
        {
            oldest.end(End::Close, Some("limited"));
        }
        for_probes.push_back(Rc::downgrade(connection));
    }

    fn tick(&self) {
        let now = self.now.get().wrapping_add(1);
        self.now.set(now);
        for connection in self.connections.borrow().iter() {
            let ticks = if connection.exceeded.is_some() { &self.limited } else { &self.ordinary };
            if let Some(overdue) = connection.activity.overdue(now, ticks) {
                connection.on_overdue(overdue);
            }
        }
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("deadlines", &self.deadlines)
            .field("connections", &self.connections.borrow().len())
            .finish_non_exhaustive()
    }
}

impl Drop for WorkerEntry {
    fn drop(&mut self) {
        let mut connections = self.0.worker.connections.borrow_mut();
        let index = self.0.index.get();
        connections.swap_remove(index);
        if let Some(moved) = connections.get(index) {
            moved.index.set(index);
        }
    }
}

impl TrackedConnection {
    /// Returns the time of the worker, in ticks.
    pub fn now(&self) -> u32 {
        self.worker.now.get()
    }

    /// Registers the waker of the connection's task.
    pub fn register_waker(&self, waker: &Waker) {
        let mut registered = self.waker.borrow_mut();
        if !registered.as_ref().is_some_and(|registered| registered.will_wake(waker)) {
            *registered = Some(waker.clone());
        }
    }

    pub fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// Returns how the connection must end, after [`Self::end`].
    pub fn requested_end(&self) -> Option<End> {
        self.end.get()
    }

    /// Ends the connection. `label` is the reason in the metric.
    pub fn end(&self, end: End, label: Option<&str>) {
        if let Some(label) = label {
            METRICS.connections_ended.with_label_values(&[label]).inc();
        }
        if let End::Linger(refusal) = end {
            self.activity.on_linger(self.now());
            if let Some(refusal) = refusal {
                METRICS.http_requests.with_label_values(&[refusal.status_class()]).inc();
            }
        }
        self.end.set(Some(end));
        self.wake();
    }

    /// Refuses the bytes that were read. There is no response if they are the rest of a body.
    pub fn refuse(&self, refusal: ConnectionRefusal) {
        let refused = (!self.activity.is_discarding()).then_some(refusal);
        self.end(End::Linger(refused), Some(refusal.label()));
    }

    fn on_overdue(&self, overdue: Overdue) {
        match overdue {
            _ if matches!(self.end.get(), Some(End::Close | End::Reset)) => {}
            Overdue::Head => self.refuse(ConnectionRefusal::HeadTimeout),
            Overdue::Idle => {
                self.end(End::Close, Some(if self.exceeded.is_some() { "limited" } else { "idle" }))
            }
            Overdue::Write => self.end(End::Reset, Some("write_timeout")),
            Overdue::Linger => self.end(End::Close, None),
        }
    }
}

/// Request that is being processed; dropped when its response is complete.
#[derive(Debug)]
pub struct ActiveRequest(Rc<TrackedConnection>);

impl ActiveRequest {
    /// Records the start of a request. `None`: the connection does not belong to a [`Worker`].
    pub fn begin(request: &mut Request) -> Option<Self> {
        let connection = Rc::clone(request.conn_data::<Rc<TrackedConnection>>()?);
        let body = match request.payload() {
            Payload::None => Body::None,
            _ => announced(request),
        };
        connection.activity.on_request(body, connection.now());
        // Most bodies are short and arrive with their heads: their end needs no report.
        if body == Body::Chunked
            || matches!(body, Body::Sized(length) if length > ROUND_BYTES_MAX as u64)
        {
            let watched = WatchedBody {
                payload: request.take_payload(),
                connection: Rc::clone(&connection),
                is_whole: false,
            };
            *request.payload() = Payload::Stream { payload: Box::pin(watched) };
        }
        Some(Self(connection))
    }

    /// Returns the bound that the connection exceeds, if any.
    pub fn exceeded(&self) -> Option<Exceeded> {
        self.0.exceeded
    }
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        if self.0.activity.on_answer(self.0.now()) {
            self.0.wake();
        }
    }
}

fn announced(request: &Request) -> Body {
    let length = request
        .headers()
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.trim().parse().ok());
    length.map_or(Body::Chunked, Body::Sized)
}

/// Body that reports its end.
struct WatchedBody {
    payload: Payload,
    connection: Rc<TrackedConnection>,
    is_whole: bool,
}

impl Stream for WatchedBody {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let next = Pin::new(&mut this.payload).poll_next(cx);
        if matches!(next, Poll::Ready(None)) && !std::mem::replace(&mut this.is_whole, true) {
            this.connection.activity.on_body_end(true);
        }
        next
    }
}

impl Drop for WatchedBody {
    fn drop(&mut self) {
        if !self.is_whole {
            self.connection.activity.on_body_end(false);
        }
    }
}
