//! The connections of one shard, and the delivery of events to them.

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
    connection::{Connection, Due, Group},
    protocol::{self, CursorText, Frames, ServerFrame},
    replay::{CatchUp, ReplayMeter},
    send_queue::{FrameKind, Reduction},
    watch::Watch,
};
use crate::{
    clock::Clock,
    domain::{DomainEvent, SessionDigest, TicketId, UserId},
    metrics::METRICS,
    store::{Cursor, FeedLog, FeedStep, RecordedEvent},
};

/// The connections of one thread.
#[derive(Debug)]
pub struct ConnectionTable {
    feed: FeedLog,
    clock: Clock,
    limits: SocketLimits,
    /// Every event up to this cursor was queued for the live connections.
    position: Cursor,
    all: Group,
    /// Live connections that watch all tickets.
    watching_all: Group,
    /// Live connections that watch some tickets, by ticket.
    watching: HashMap<TicketId, Group>,
    by_user: HashMap<UserId, Group>,
    revocations: RecentRevocations,
    /// The number of the newest connection.
    last_number: u64,
    /// Connections for which [`ConnectionTable::deliver`] has queued frames; empty between two
    /// calls.
    due: Due,
    scratch: BytesMut,
    reset: Bytes,
    /// The bytes that this shard has added to the gauge of queued bytes.
    backlog_counted: i64,
    counters: DeliveryCounters,
}

/// The cursor from which a client resumes, and the budget of its replay.
#[derive(Debug)]
pub struct Resume {
    pub cursor: Cursor,
    pub meter: ReplayMeter,
}

/// Counters of delivered frames, looked up once: a lookup by label costs as much as a delivery.
#[derive(Debug)]
struct DeliveryCounters {
    public: IntCounter,
    private: IntCounter,
}

/// Sessions that were revoked a short time ago. A connection whose session was checked before the
/// revocation, and that is admitted after it, must be closed.
#[derive(Debug, Default)]
struct RecentRevocations(VecDeque<(Instant, UserId, RevokedSessions)>);

/// The sessions of a user that a revocation ends.
#[derive(Debug, Clone, PartialEq, Eq)]
enum RevokedSessions {
    One(SessionDigest),
    AllBut(Option<SessionDigest>),
}

impl RevokedSessions {
    fn covers(&self, session: &SessionDigest) -> bool {
        match self {
            Self::One(ended) => ended == session,
            Self::AllBut(kept) => kept.as_ref() != Some(session),
        }
    }
}

impl RecentRevocations {
    /// Maximum number of entries; a further one removes the oldest.
    const LEN_MAX: usize = 4096;

    fn add(&mut self, now: Instant, user: UserId, sessions: RevokedSessions) {
        if self.0.len() >= Self::LEN_MAX {
            self.0.pop_front();
        }
        self.0.push_back((now, user, sessions));
    }

    fn remove_old(&mut self, now: Instant, limits: &SocketLimits) {
        while self.0.front().is_some_and(|(at, ..)| now - *at > limits.revoked_kept) {
            self.0.pop_front();
        }
    }

    fn covers(&self, viewer: &Viewer) -> bool {
        self.0
            .iter()
            .any(|(_, user, sessions)| *user == viewer.user && sessions.covers(&viewer.session))
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
            all: Group::new(),
            watching_all: Group::new(),
            watching: HashMap::new(),
            by_user: HashMap::new(),
            revocations: RecentRevocations::default(),
            last_number: 0,
            due: Due::new(),
            scratch: BytesMut::new(),
            reset: ServerFrame::Reset {}.to_bytes(),
            backlog_counted: 0,
            counters: DeliveryCounters { public: counter("public"), private: counter("private") },
        }
    }

    pub fn limits(&self) -> &SocketLimits {
        &self.limits
    }

    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Adds a connection and sends it `head`, then `Hello`. `resume`: the cursor from which the
    /// client asks to resume.
    pub fn admit(
        &mut self,
        viewer: Option<Viewer>,
        socket: TcpStream,
        head: Bytes,
        resume: Option<Resume>,
    ) -> Rc<Connection> {
        let resumed = resume.and_then(|Resume { cursor, meter }| {
            let reader = self.feed.resume(cursor)?;
            // A client that missed no event needs no budget.
            let has_missed = cursor < self.feed.cursor();
            if has_missed && !meter.take(CatchUp::BYTES_MIN) {
                METRICS.replays_refused.inc();
                return None;
            }
            Some((cursor, CatchUp::new(reader, meter)))
        });
        let is_resumed = resumed.is_some();
        // The feed may be ahead of the events that this shard has delivered. A new connection does
        // not need those between.
        let (after, catch_up) = match resumed {
            Some((cursor, catch_up)) => (cursor, Some(catch_up)),
            None => (self.feed.cursor(), None),
        };
        self.last_number += 1;
        let connection = Rc::new(Connection::new(
            self.last_number,
            viewer,
            (socket, head),
            after,
            catch_up,
            &self.limits,
        ));
        connection.answer(protocol::hello(self.clock.now(), after, is_resumed));
        // `Hello` is written in most cases. An idle connection should hold no memory for its queue.
        connection.state_mut().send_queue.shrink();
        self.all.insert(connection.number, connection.clone());
        if let Some(viewer) = &connection.viewer {
            self.by_user
                .entry(viewer.user)
                .or_default()
                .insert(connection.number, connection.clone());
            if self.revocations.covers(viewer) {
                connection.close(DisconnectReason::SignedOut, &self.limits);
            }
        }
        if connection.has_caught_up() {
            self.add_live(&connection);
        }
        connection
    }

    /// Adds a connection that has caught up to the live connections: new events are delivered to
    /// it.
    pub fn add_live(&mut self, connection: &Rc<Connection>) {
        match &connection.state().watch {
            Watch::All => {
                self.watching_all.insert(connection.number, connection.clone());
            }
            Watch::These(tickets) => {
                for ticket in tickets {
                    self.watching
                        .entry(*ticket)
                        .or_default()
                        .insert(connection.number, connection.clone());
                }
            }
        }
    }

    /// Removes a connection that is over.
    pub fn remove(&mut self, connection: &Connection) {
        self.all.remove(&connection.number);
        self.unwatch(connection);
        if let Some(viewer) = &connection.viewer {
            remove_from_group(&mut self.by_user, &viewer.user, connection);
        }
    }

    /// Executes a client's command, and answers it.
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
        if connection.has_caught_up() {
            self.add_live(connection);
        }
        let cursor = CursorText(connection.position(self.position));
        connection.answer(ServerFrame::Watching { tickets: count, cursor }.to_bytes());
    }

    /// Delivers a step of the feed to the live connections. After it, `position` is the last
    /// delivered cursor.
    pub fn deliver(&mut self, step: &FeedStep, position: Cursor) {
        match step {
            FeedStep::Reset => {
                // A connection that catches up finds the reset with its own feed reader.
                for connection in self.all.values().filter(|connection| connection.has_caught_up())
                {
                    connection.reset(position, &self.reset);
                }
                // A revocation may be among the lost events.
                for connection in self.by_user.values().flat_map(Group::values) {
                    connection.close(DisconnectReason::SessionUnverified, &self.limits);
                }
            }
            FeedStep::Events(events) => {
                let mut reduction = Reduction::default();
                let (mut public, mut private) = (0, 0);
                let mut due = std::mem::take(&mut self.due);
                for recorded in events {
                    self.close_revoked(&recorded.event);
                    let frames = protocol::frames_of(recorded);
                    public += self.enqueue_for_watchers(recorded, frames, &mut reduction, &mut due);
                    private += self.enqueue_for_owner(recorded, frames, &mut reduction, &mut due);
                }
                due.drain(..).for_each(|connection| connection.write(&mut self.scratch));
                self.due = due;
                self.counters.public.inc_by(public);
                self.counters.private.inc_by(private);
                METRICS.frames_merged.inc_by(reduction.merged);
            }
        }
        self.position = position;
    }

    /// Queues the public frame for all connections that watch the ticket, except those of an owner
    /// who gets a private frame. Returns the number of connections.
    fn enqueue_for_watchers(
        &self,
        recorded: &RecordedEvent,
        frames: &Frames,
        reduction: &mut Reduction,
        due: &mut Due,
    ) -> u64 {
        let (Some(ticket), Some(frame)) = (frames.ticket, &frames.public) else { return 0 };
        let kind = protocol::public_kind(&recorded.event, ticket);
        // Each thread makes its own copy. With a shared one, the threads would contend for its
        // reference count, twice for each delivery.
        let frame = &Bytes::copy_from_slice(frame);
        let has_own = frames.private.is_some();
        let named = self.watching.get(&ticket).map(Group::values).into_iter().flatten();
        let mut delivered = 0;
        for connection in self.watching_all.values().chain(named) {
            if !(has_own && connection.is_owner(frames)) {
                delivered += u64::from(connection.enqueue(
                    recorded.cursor,
                    kind,
                    frame,
                    &self.reset,
                    reduction,
                    due,
                ));
            }
        }
        delivered
    }

    /// Queues the private frame for the live connections of its owner. Returns the number of
    /// connections.
    fn enqueue_for_owner(
        &self,
        recorded: &RecordedEvent,
        frames: &Frames,
        reduction: &mut Reduction,
        due: &mut Due,
    ) -> u64 {
        let (Some(owner), Some(frame)) = (frames.owner, &frames.private) else { return 0 };
        let mine = self
            .by_user
            .get(&owner)
            .map(Group::values)
            .into_iter()
            .flatten()
            .filter(|connection| connection.has_caught_up());
        mine.map(|connection| {
            u64::from(connection.enqueue(
                recorded.cursor,
                FrameKind::Private,
                frame,
                &self.reset,
                reduction,
                due,
            ))
        })
        .sum()
    }

    /// Closes the connections whose sessions the event revokes.
    fn close_revoked(&mut self, event: &DomainEvent) {
        let (user, sessions) = match event {
            DomainEvent::SessionRevoked { user, session } => {
                (*user, RevokedSessions::One(session.clone()))
            }
            DomainEvent::SessionsRevoked { user, except } => {
                (*user, RevokedSessions::AllBut(except.clone()))
            }
            _ => return,
        };
        for connection in self.by_user.get(&user).map(Group::values).into_iter().flatten() {
            if connection.viewer.as_ref().is_some_and(|viewer| sessions.covers(&viewer.session)) {
                connection.close(DisconnectReason::SignedOut, &self.limits);
            }
        }
        self.revocations.add(Instant::now(), user, sessions);
    }

    /// Runs the periodic checks of all connections, and updates the gauge of queued bytes.
    pub fn tick(&mut self) {
        let (now, time) = (Instant::now(), self.clock.now());
        self.revocations.remove_old(now, &self.limits);
        let mut backlog = 0;
        for connection in self.all.values() {
            connection.check(now, time, &self.limits);
            backlog += connection.state().send_queue.bytes();
        }
        let backlog = i64::try_from(backlog).unwrap_or(i64::MAX);
        METRICS.sockets_backlog_bytes.add(backlog - self.backlog_counted);
        self.backlog_counted = backlog;
    }

    pub fn close_all(&self, cause: DisconnectReason) {
        for connection in self.all.values() {
            connection.close(cause, &self.limits);
        }
    }

    pub fn abort_all(&self) {
        for connection in self.all.values() {
            connection.abort();
        }
    }

    fn unwatch(&mut self, connection: &Connection) {
        self.watching_all.remove(&connection.number);
        if let Watch::These(tickets) = &connection.state().watch {
            for ticket in tickets {
                remove_from_group(&mut self.watching, ticket, connection);
            }
        }
    }
}

impl Drop for ConnectionTable {
    fn drop(&mut self) {
        METRICS.sockets_backlog_bytes.sub(self.backlog_counted);
    }
}

/// Removes a connection from a group, and removes the group if it is then empty.
fn remove_from_group<K: std::hash::Hash + Eq>(
    groups: &mut HashMap<K, Group>,
    key: &K,
    connection: &Connection,
) {
    if let Some(group) = groups.get_mut(key) {
        group.remove(&connection.number);
        if group.is_empty() {
            groups.remove(key);
        }
    }
}
