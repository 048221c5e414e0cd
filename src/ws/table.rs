//! Who is connected to one shard, and who is told what.

use std::{
    collections::{HashMap, VecDeque},
    rc::Rc,
};

use actix_web::rt::net::TcpStream;
use bytes::{Bytes, BytesMut};
use prometheus::IntCounter;
use tokio::time::Instant;

use super::{
    SocketLimits, Viewer,
    closing::DisconnectReason,
    command::ClientCommand,
    connection::{Connection, Due, Group, Watch},
    protocol::{self, CursorText, ServerFrame},
    replay::{CatchUp, ReplayMeter},
    send_queue::{Bounded, FrameKind},
};
use crate::{
    clock::Clock,
    domain::{Event, SessionDigest, TicketId, UserId},
    metrics::METRICS,
    store::{Cursor, FeedLog, FeedStep, RecordedEvent, feed::Frames},
};

/// The connections of one thread.
#[derive(Debug)]
pub struct ConnectionTable {
    feed: FeedLog,
    clock: Clock,
    limits: SocketLimits,
    /// Everything up to here was told to the live connections.
    position: Cursor,
    every: Group,
    /// The live ones that watch all tickets.
    watching_all: Group,
    /// The live ones that watch some, by ticket.
    watching: HashMap<TicketId, Group>,
    by_user: HashMap<UserId, Group>,
    revoked: Revoked,
    latest: u64,
    /// Those that an announcement has queued something for; empty between two of them.
    due: Due,
    scratch: BytesMut,
    reset: Bytes,
    /// What was last added to the gauge of queued bytes.
    backlog_shown: i64,
    counters: DeliveryCounters,
}

/// What a client wants to resume from, and the budget that its replay is on.
#[derive(Debug)]
pub struct Resume {
    pub cursor: Cursor,
    pub meter: ReplayMeter,
}

/// Looked up once: finding a series by its label costs as much as a delivery.
#[derive(Debug)]
struct DeliveryCounters {
    public: IntCounter,
    private: IntCounter,
}

/// Sessions that ended just now: a connection whose session was checked before that, and that arrives after, must not stay.
#[derive(Debug, Default)]
struct Revoked(VecDeque<(Instant, UserId, Scope)>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Scope {
    One(SessionDigest),
    AllBut(Option<SessionDigest>),
}

impl Scope {
    fn covers(&self, session: &SessionDigest) -> bool {
        match self {
            Self::One(ended) => ended == session,
            Self::AllBut(kept) => kept.as_ref() != Some(session),
        }
    }
}

impl Revoked {
    /// Remembered at once; sign-outs beyond that push the oldest out.
    const LEN_MAX: usize = 4096;

    fn add(&mut self, now: Instant, user: UserId, scope: Scope) {
        if self.0.len() >= Self::LEN_MAX {
            self.0.pop_front();
        }
        self.0.push_back((now, user, scope));
    }

    fn forget(&mut self, now: Instant, limits: &SocketLimits) {
        while self.0.front().is_some_and(|(at, ..)| now - *at > limits.revoked_kept) {
            self.0.pop_front();
        }
    }

    fn covers(&self, viewer: &Viewer) -> bool {
        self.0.iter().any(|(_, user, scope)| *user == viewer.user && scope.covers(&viewer.session))
    }
}

impl ConnectionTable {
    pub fn new(feed: FeedLog, clock: Clock, limits: SocketLimits, position: Cursor) -> Self {
        let counter = |kind| METRICS.frames.with_label_values(&[kind]);
        Self {
            feed,
            clock,
            limits,
            position,
            every: Group::new(),
            watching_all: Group::new(),
            watching: HashMap::new(),
            by_user: HashMap::new(),
            revoked: Revoked::default(),
            latest: 0,
            due: Due::new(),
            scratch: BytesMut::new(),
            reset: ServerFrame::Reset {}.to_bytes(),
            backlog_shown: 0,
            counters: DeliveryCounters { public: counter("public"), private: counter("private") },
        }
    }

    pub fn limits(&self) -> &SocketLimits {
        &self.limits
    }

    pub fn len(&self) -> usize {
        self.every.len()
    }

    /// Takes in a connection and greets it, after the `head`. `resume`: what the client wants to resume from, if it does.
    pub fn admit(&mut self, viewer: Option<Viewer>, socket: TcpStream, head: Bytes, resume: Option<Resume>) -> Rc<Connection> {
        let resumed = resume.and_then(|Resume { cursor, meter }| {
            let reader = self.feed.resume(cursor)?;
            // A client that missed nothing needs no budget.
            let has_missed = cursor < self.feed.cursor();
            if has_missed && !meter.take(CatchUp::BYTES_MIN) {
                METRICS.replays_refused.inc();
                return None;
            }
            Some((cursor, CatchUp::new(reader, meter)))
        });
        let is_resumed = resumed.is_some();
        // The log may be ahead of what this shard has told of; who comes now has no use for what was before.
        let (after, catch_up) = match resumed {
            Some((cursor, catch_up)) => (cursor, Some(catch_up)),
            None => (self.feed.cursor(), None),
        };
        self.latest += 1;
        let connection = Rc::new(Connection::new(self.latest, viewer, (socket, head), after, catch_up, &self.limits));
        connection.answer(protocol::hello(self.clock.now(), after, is_resumed));
        // The greeting's room; who never hears anything needs none.
        connection.state_mut().send_queue.shrink();
        self.every.insert(connection.number, connection.clone());
        if let Some(viewer) = &connection.viewer {
            self.by_user.entry(viewer.user).or_default().insert(connection.number, connection.clone());
            if self.revoked.covers(viewer) {
                connection.close(DisconnectReason::SignedOut, &self.limits);
            }
        }
        if connection.is_live() {
            self.go_live(&connection);
        }
        connection
    }

    /// From here on the connection is told of the present.
    pub fn go_live(&mut self, connection: &Rc<Connection>) {
        match &connection.state().watch {
            Watch::All => {
                self.watching_all.insert(connection.number, connection.clone());
            }
            Watch::These(tickets) => {
                for ticket in tickets {
                    self.watching.entry(*ticket).or_default().insert(connection.number, connection.clone());
                }
            }
        }
    }

    /// The connection is over.
    pub fn remove(&mut self, connection: &Connection) {
        self.every.remove(&connection.number);
        self.unwatch(connection);
        if let Some(viewer) = &connection.viewer {
            leave(&mut self.by_user, &viewer.user, connection);
        }
    }

    /// Does what a client asked for, and answers.
    pub fn handle_command(&mut self, connection: &Rc<Connection>, command: ClientCommand) {
        self.unwatch(connection);
        let (watch, count) = match command {
            ClientCommand::WatchAll => (Watch::All, None),
            ClientCommand::Watch(tickets) => {
                let count = tickets.len();
                (Watch::These(tickets), Some(count))
            }
        };
        connection.state_mut().watch = watch;
        if connection.is_live() {
            self.go_live(connection);
        }
        let cursor = CursorText(connection.position(self.position));
        connection.answer(ServerFrame::Watching { tickets: count, cursor }.to_bytes());
    }

    /// Tells of a step of the feed, after which everything up to `position` was told.
    pub fn announce(&mut self, step: &FeedStep, position: Cursor) {
        match step {
            FeedStep::Reset => {
                // Those that catch up find it in their own reading.
                for connection in self.every.values().filter(|connection| connection.is_live()) {
                    connection.reset(position, &self.reset);
                }
                // A revocation may be among what was lost.
                for connection in self.by_user.values().flat_map(Group::values) {
                    connection.close(DisconnectReason::SessionUnverified, &self.limits);
                }
            }
            FeedStep::Events(events) => {
                let mut bounded = Bounded::default();
                let (mut public, mut private) = (0, 0);
                let mut due = std::mem::take(&mut self.due);
                for recorded in events {
                    self.end_sessions(&recorded.event);
                    let frames = recorded.frames.get_or_init(|| protocol::render(recorded));
                    public += self.tell_watchers(recorded, frames, &mut bounded, &mut due);
                    private += self.tell_owner(recorded, frames, &mut bounded, &mut due);
                }
                due.drain(..).for_each(|connection| connection.write(&mut self.scratch));
                self.due = due;
                self.counters.public.inc_by(public);
                self.counters.private.inc_by(private);
                METRICS.frames_merged.inc_by(bounded.merged);
            }
        }
        self.position = position;
    }

    /// Everybody who watches, but for an owner who gets a frame of their own.
    fn tell_watchers(&self, recorded: &RecordedEvent, frames: &Frames, bounded: &mut Bounded, due: &mut Due) -> u64 {
        let (Some(ticket), Some(frame)) = (frames.ticket, &frames.public) else { return 0 };
        let kind = protocol::public_kind(&recorded.event, ticket);
        // A copy of this thread's own: the threads would fight over the count of references to a common one, twice for
        // every delivery.
        let frame = &Bytes::copy_from_slice(frame);
        let has_own = frames.private.is_some();
        let named = self.watching.get(&ticket).map(Group::values).into_iter().flatten();
        let mut delivered = 0;
        for connection in self.watching_all.values().chain(named) {
            if !(has_own && connection.is_owner(frames)) {
                delivered += u64::from(connection.enqueue(recorded.cursor, kind, frame, &self.reset, bounded, due));
            }
        }
        delivered
    }

    fn tell_owner(&self, recorded: &RecordedEvent, frames: &Frames, bounded: &mut Bounded, due: &mut Due) -> u64 {
        let (Some(owner), Some(frame)) = (frames.owner, &frames.private) else { return 0 };
        let mine = self.by_user.get(&owner).map(Group::values).into_iter().flatten().filter(|connection| connection.is_live());
        mine.map(|connection| u64::from(connection.enqueue(recorded.cursor, FrameKind::Private, frame, &self.reset, bounded, due))).sum()
    }

    fn end_sessions(&mut self, event: &Event) {
        let (user, scope) = match event {
            Event::SessionRevoked { user, session } => (*user, Scope::One(session.clone())),
            Event::SessionsRevoked { user, except } => (*user, Scope::AllBut(except.clone())),
            _ => return,
        };
        for connection in self.by_user.get(&user).map(Group::values).into_iter().flatten() {
            if connection.viewer.as_ref().is_some_and(|viewer| scope.covers(&viewer.session)) {
                connection.close(DisconnectReason::SignedOut, &self.limits);
            }
        }
        self.revoked.add(Instant::now(), user, scope);
    }

    /// Looks after all connections.
    pub fn tick(&mut self) {
        let (now, time) = (Instant::now(), self.clock.now());
        self.revoked.forget(now, &self.limits);
        let mut backlog = 0;
        for connection in self.every.values() {
            connection.look_after(now, time, &self.limits);
            backlog += connection.state().send_queue.bytes();
        }
        let backlog = i64::try_from(backlog).unwrap_or(i64::MAX);
        METRICS.sockets_backlog_bytes.add(backlog - self.backlog_shown);
        self.backlog_shown = backlog;
    }

    pub fn close_all(&self, cause: DisconnectReason) {
        for connection in self.every.values() {
            connection.close(cause, &self.limits);
        }
    }

    pub fn cut_all(&self) {
        for connection in self.every.values() {
            connection.cut();
        }
    }

    fn unwatch(&mut self, connection: &Connection) {
        self.watching_all.remove(&connection.number);
        if let Watch::These(tickets) = &connection.state().watch {
            for ticket in tickets {
                leave(&mut self.watching, ticket, connection);
            }
        }
    }
}

impl Drop for ConnectionTable {
    fn drop(&mut self) {
        METRICS.sockets_backlog_bytes.sub(self.backlog_shown);
    }
}

/// Takes a connection out of a group, and the group away with its last one.
fn leave<K: std::hash::Hash + Eq>(groups: &mut HashMap<K, Group>, key: &K, connection: &Connection) {
    if let Some(group) = groups.get_mut(key) {
        group.remove(&connection.number);
        if group.is_empty() {
            groups.remove(key);
        }
    }
}
