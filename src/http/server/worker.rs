//! The connections of one worker thread, and the tick that ends those whose time is over.
//!
//! Requests only set cells of their connection's [`TrackedConnection`]. Twice a second the worker looks at all of its connections; one
//! that is overdue is marked and its task woken, and its stream ([`super::stream`]) does the rest.

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
    activity::{Activity, Body, Deadlines, Overdue, ROUND_BYTES_MAX, Ticks},
    quota::Exceeded,
    refusal::ConnectionRefusal,
};
use crate::metrics::METRICS;

/// How a connection ends by the server's will.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// At once.
    Cut,
    /// At once, and what the peer has not taken is thrown away.
    Reset,
    /// With an answer if there is one, and time for the peer to read what was sent.
    Farewell(Option<ConnectionRefusal>),
}

/// One connection, as its stream, its requests and its worker share it.
#[derive(Debug)]
pub struct TrackedConnection {
    pub activity: Activity,
    /// Beyond which bound the connection is; then it is only there for probes.
    pub exceeded: Option<Exceeded>,
    worker: Rc<Worker>,
    /// Its index among the worker's links.
    index: Cell<usize>,
    end: Cell<Option<End>>,
    /// The connection's task.
    waker: RefCell<Option<Waker>>,
}

/// The connections of one thread.
pub struct Worker {
    deadlines: Deadlines,
    ordinary: Ticks,
    limited: Ticks,
    now: Cell<u32>,
    links: RefCell<Vec<Rc<TrackedConnection>>>,
    /// Those that are only there for probes, the oldest first.
    for_probes: RefCell<VecDeque<Weak<TrackedConnection>>>,
}

/// A connection's entry in the worker's table, as long as it lasts.
#[derive(Debug)]
pub struct WorkerEntry(pub Rc<TrackedConnection>);

impl Worker {
    /// Connections beyond the quota that a worker keeps at a time. One more ends the oldest, so that a flood does not keep
    /// probes out: a probe needs its connection for a millisecond.
    pub const FOR_PROBES_MAX: usize = 8;

    /// Starts the tick on this thread, which must run an actix system. It ends with the last user of the worker.
    pub fn start(deadlines: Deadlines) -> Rc<Self> {
        let worker = Rc::new(Self {
            deadlines,
            ordinary: Ticks::of(&deadlines, false),
            limited: Ticks::of(&deadlines, true),
            now: Cell::new(0),
            links: RefCell::default(),
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

    /// Enters a connection.
    pub fn enter(self: &Rc<Self>, exceeded: Option<Exceeded>) -> WorkerEntry {
        let mut links = self.links.borrow_mut();
        let link = Rc::new(TrackedConnection {
            activity: Activity::new(self.now.get()),
            exceeded,
            worker: Rc::clone(self),
            index: Cell::new(links.len()),
            end: Cell::new(None),
            waker: RefCell::default(),
        });
        links.push(Rc::clone(&link));
        if exceeded.is_some() {
            self.keep_for_probes(&link);
        }
        WorkerEntry(link)
    }

    fn keep_for_probes(&self, link: &Rc<TrackedConnection>) {
        let mut for_probes = self.for_probes.borrow_mut();
        for_probes.retain(|link| link.strong_count() > 0);
        if for_probes.len() >= Self::FOR_PROBES_MAX
            && let Some(oldest) = for_probes.pop_front().and_then(|oldest| oldest.upgrade())
        {
            oldest.end(End::Cut, Some("limited"));
        }
        for_probes.push_back(Rc::downgrade(link));
    }

    fn tick(&self) {
        let now = self.now.get().wrapping_add(1);
        self.now.set(now);
        for link in self.links.borrow().iter() {
            let ticks = if link.exceeded.is_some() { &self.limited } else { &self.ordinary };
            if let Some(overdue) = link.activity.overdue(now, ticks) {
                link.on_overdue(overdue);
            }
        }
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("deadlines", &self.deadlines).field("links", &self.links.borrow().len()).finish_non_exhaustive()
    }
}

impl Drop for WorkerEntry {
    fn drop(&mut self) {
        let mut links = self.0.worker.links.borrow_mut();
        let index = self.0.index.get();
        links.swap_remove(index);
        if let Some(moved) = links.get(index) {
            moved.index.set(index);
        }
    }
}

impl TrackedConnection {
    /// The worker's time.
    pub fn now(&self) -> u32 {
        self.worker.now.get()
    }

    /// Registers the connection's task.
    pub fn will_wake(&self, waker: &Waker) {
        let mut known = self.waker.borrow_mut();
        if !known.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *known = Some(waker.clone());
        }
    }

    pub fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// How the connection is to end, once that is decided.
    pub fn ending(&self) -> Option<End> {
        self.end.get()
    }

    /// Ends the connection; `label` names the reason in the metric.
    pub fn end(&self, end: End, label: Option<&str>) {
        if let Some(label) = label {
            METRICS.connections_ended.with_label_values(&[label]).inc();
        }
        if let End::Farewell(refusal) = end {
            self.activity.on_farewell(self.now());
            if let Some(refusal) = refusal {
                METRICS.http_requests.with_label_values(&[refusal.status_class()]).inc();
            }
        }
        self.end.set(Some(end));
        self.wake();
    }

    /// Refuses what was read, with an answer unless it is the rest of a body.
    pub fn refuse(&self, refusal: ConnectionRefusal) {
        let refused = (!self.activity.is_discarding()).then_some(refusal);
        self.end(End::Farewell(refused), Some(refusal.label()));
    }

    fn on_overdue(&self, overdue: Overdue) {
        match overdue {
            _ if matches!(self.end.get(), Some(End::Cut | End::Reset)) => {}
            Overdue::Head => self.refuse(ConnectionRefusal::HeadTimeout),
            Overdue::Idle => self.end(End::Cut, Some(if self.exceeded.is_some() { "limited" } else { "idle" })),
            Overdue::Write => self.end(End::Reset, Some("write_timeout")),
            Overdue::Farewell => self.end(End::Cut, None),
        }
    }
}

/// A request that is being answered; dropped when that is done.
#[derive(Debug)]
pub struct Turn(Rc<TrackedConnection>);

impl Turn {
    /// Begins a request. `None`: its connection is not one of a [`Worker`].
    pub fn begin(request: &mut Request) -> Option<Self> {
        let link = Rc::clone(request.conn_data::<Rc<TrackedConnection>>()?);
        let body = match request.payload() {
            Payload::None => Body::None,
            _ => announced(request),
        };
        link.activity.on_request(body, link.now());
        // Most bodies are short and come with their heads: it does not matter when those end.
        if body == Body::Chunked || matches!(body, Body::Sized(length) if length > ROUND_BYTES_MAX as u64) {
            let watched = WatchedBody { payload: request.take_payload(), link: Rc::clone(&link), is_whole: false };
            *request.payload() = Payload::Stream { payload: Box::pin(watched) };
        }
        Some(Self(link))
    }

    /// Beyond which bound the connection is.
    pub fn exceeded(&self) -> Option<Exceeded> {
        self.0.exceeded
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.0.activity.on_answer(self.0.now()) {
            self.0.wake();
        }
    }
}

fn announced(request: &Request) -> Body {
    let length = request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.trim().parse().ok());
    length.map_or(Body::Chunked, Body::Sized)
}

/// A body that reports its end.
struct WatchedBody {
    payload: Payload,
    link: Rc<TrackedConnection>,
    is_whole: bool,
}

impl Stream for WatchedBody {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let next = Pin::new(&mut this.payload).poll_next(cx);
        if matches!(next, Poll::Ready(None)) && !std::mem::replace(&mut this.is_whole, true) {
            this.link.activity.on_body_end(true);
        }
        next
    }
}

impl Drop for WatchedBody {
    fn drop(&mut self) {
        if !self.is_whole {
            self.link.activity.on_body_end(false);
        }
    }
}
