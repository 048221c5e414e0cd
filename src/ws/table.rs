//! The connections of one shard: their admission, their commands, the delivery of events to them,
//! their periodic checks, and their end.

use std::{rc::Rc, sync::Arc};

use actix_web::rt::net::TcpStream;
use bytes::Bytes;
use tokio::time::Instant;

use super::{
    SocketLimits, Viewer,
    closing::DisconnectReason,
    command::ClientCommand,
    connection::{Connection, NewConnection},
    delivery::EventDelivery,
    protocol::{self, CursorText, ServerFrame},
    replay::{Replay, ReplayRequest},
    revocations::{RecentRevocations, Revocation},
    subscriptions::{ConnectionGroup, Subscriptions},
    watch::Watch,
};
use crate::{
    clock::Clock,
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
    all: ConnectionGroup,
    subscriptions: Subscriptions,
    revocations: RecentRevocations,
    delivery: EventDelivery,
    /// The number of the newest connection.
    last_number: u64,
    /// The bytes that this shard has added to the gauge of queued bytes.
    backlog_counted: i64,
}

impl ConnectionTable {
    pub fn new(feed: FeedLog, clock: Clock, limits: SocketLimits, position: Cursor) -> Self {
        Self {
            feed,
            clock,
            limits,
            position,
            all: ConnectionGroup::new(),
            subscriptions: Subscriptions::default(),
            revocations: RecentRevocations::default(),
            delivery: EventDelivery::new(),
            last_number: 0,
            backlog_counted: 0,
        }
    }

    pub fn limits(&self) -> &SocketLimits {
        &self.limits
    }

    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Adds a connection and sends it `head`, then `Hello`. `resume`: the replay that the client
    /// asks for.
    pub fn admit(
        &mut self,
        viewer: Option<Viewer>,
        socket: TcpStream,
        head: Bytes,
        resume: Option<ReplayRequest>,
    ) -> Rc<Connection> {
        let replay = resume.and_then(|request| Replay::start(&self.feed, request));
        let is_resumed = replay.is_some();
        // The feed may be ahead of the events that this shard has delivered. A new connection does
        // not need those between.
        let after = replay.as_ref().map_or_else(|| self.feed.cursor(), Replay::position);
        self.last_number += 1;
        let number = self.last_number;
        let connection = NewConnection { number, viewer, socket, head, after, replay };
        let connection = Rc::new(Connection::new(connection, &self.limits));
        connection.send_control(protocol::hello(self.clock.now(), after, is_resumed));
        // `Hello` is written in most cases. An idle connection should hold no memory for its queue.
        connection.state_mut().send_queue.shrink();
        if connection.viewer.as_ref().is_some_and(|viewer| self.revocations.covers(viewer)) {
            connection.close(DisconnectReason::SignedOut, &self.limits);
        }
        self.all.insert(number, connection.clone());
        self.subscriptions.add(&connection);
        connection
    }

    /// Delivers new events to a connection from now on, because its replay is finished.
    pub fn add_live(&mut self, connection: &Rc<Connection>) {
        self.subscriptions.add_watcher(connection);
    }

    /// Executes a client's command, and answers it.
    pub fn handle_command(&mut self, connection: &Rc<Connection>, command: ClientCommand) {
        let (watch, count) = match command {
            ClientCommand::WatchAll => (Watch::All, None),
            ClientCommand::Watch(tickets) => {
                let count = tickets.len();
                (Watch::These(tickets), Some(count))
            }
        };
        self.subscriptions.set_watch(connection, watch);
        let cursor = CursorText(connection.position(self.position));
        connection.send_control(ServerFrame::Watching { tickets: count, cursor }.to_bytes());
    }

    /// Delivers a step of the feed to the live connections. `position`: the feed's cursor after the
    /// step.
    pub fn deliver(&mut self, step: &FeedStep, position: Cursor) {
        match step {
            FeedStep::Events(events) => self.deliver_events(events),
            FeedStep::Reset => self.deliver_reset(position),
        }
        self.position = position;
    }

    fn deliver_events(&mut self, events: &[Arc<RecordedEvent>]) {
        for recorded in events {
            if let Some(revocation) = Revocation::of(&recorded.event) {
                self.close_revoked(revocation);
            }
            self.delivery.enqueue(recorded, &self.subscriptions);
        }
        self.delivery.write();
    }

    /// Closes the connections whose sessions a revocation ends.
    fn close_revoked(&mut self, revocation: Revocation) {
        for connection in self.subscriptions.of_user(revocation.user) {
            if connection.viewer.as_ref().is_some_and(|viewer| revocation.covers(viewer)) {
                connection.close(DisconnectReason::SignedOut, &self.limits);
            }
        }
        self.revocations.add(Instant::now(), revocation);
    }

    fn deliver_reset(&self, position: Cursor) {
        let frame = ServerFrame::Reset {}.to_bytes();
        // A connection that replays missed events finds the reset with its own feed reader.
        for connection in self.all.values().filter(|connection| connection.is_live()) {
            connection.send_reset(position, frame.clone());
        }
        // A revocation may be among the lost events.
        for connection in self.subscriptions.of_all_users() {
            connection.close(DisconnectReason::SessionUnverified, &self.limits);
        }
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

    /// Starts the closing handshake of all connections.
    pub fn close_all(&mut self, reason: DisconnectReason) {
        self.delivery.clear();
        for connection in self.all.values() {
            connection.close(reason, &self.limits);
        }
    }

    /// Ends all connections at once.
    pub fn abort_all(&self) {
        for connection in self.all.values() {
            connection.abort();
        }
    }

    /// Removes a connection that is over.
    pub fn remove(&mut self, connection: &Connection) {
        self.all.remove(&connection.number);
        self.subscriptions.remove(connection);
    }
}

impl Drop for ConnectionTable {
    fn drop(&mut self) {
        METRICS.sockets_backlog_bytes.sub(self.backlog_counted);
    }
}
