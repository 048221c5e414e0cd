//! Watchers during faults: sockets that move between replicas with their cursor. In the end each
//! must have received every change, or a notice that it missed changes.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::{Arc, OnceLock},
    time::Duration,
};

use gittix::{
    domain::{DomainEvent, EventSubject, invariants::never_backwards},
    store::Cursor,
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};

use super::fleet::Endpoints;
use crate::app::{Client, PATIENCE, Socket, world::Found};

/// Maximum time for the upgrade and the `Hello` before the next replica is tried.
const HELLO_MAX: Duration = Duration::from_millis(1_500);
/// Pause before the next replica is tried.
const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// Maximum wait for a frame before the watcher checks whether it has received the last ticket.
const CHECK_INTERVAL: Duration = Duration::from_millis(200);

/// The ticket listed last: a watcher that received it has received all events before it.
pub type LastTicket = Arc<OnceLock<String>>;

/// One watcher.
#[derive(Debug)]
pub struct Watcher {
    pub client: Client,
    /// Whether the watcher also receives private events.
    pub is_signed_in: bool,
    endpoints: Endpoints,
    random: StdRng,
    last: LastTicket,
    /// Time that the watcher stays connected to one replica, in milliseconds.
    stay_ms: Range<u64>,
    /// Connection that was opened before the watcher begins to read.
    connection: Option<Socket>,
    seen: Seen,
}

/// Frames that one watcher received, over all its connections.
#[derive(Debug, Default)]
pub struct Seen {
    cursors: Vec<Cursor>,
    tickets: BTreeMap<String, Vec<u64>>,
    /// Private frames: type and id.
    private: BTreeSet<(String, String)>,
    pub connections: u64,
    /// Number of connections that the watcher did not leave, by their end: close code or error.
    pub ends: BTreeMap<String, u64>,
    /// Number of notices that events were missed.
    pub resets: u64,
}

impl Watcher {
    pub fn new(
        client: Client,
        is_signed_in: bool,
        endpoints: Endpoints,
        last: LastTicket,
        seed: u64,
        stay_ms: Range<u64>,
    ) -> Self {
        Self {
            client,
            is_signed_in,
            endpoints,
            random: StdRng::seed_from_u64(seed),
            last,
            stay_ms,
            connection: None,
            seen: Seen::default(),
        }
    }

    /// Connects: the watcher must receive every event from now on.
    pub async fn connect_first(mut self) -> Self {
        while self.connection.is_none() {
            self.connection = self.connect_anywhere().await;
        }
        self
    }

    /// Watches until the last ticket is received, or until it is overdue by the timeout.
    pub async fn watch(mut self) -> Self {
        let mut overdue: Option<Instant> = None;
        while !self.has_seen_last() && overdue.is_none_or(|at| Instant::now() < at) {
            if self.last.get().is_some() && overdue.is_none() {
                overdue = Some(Instant::now() + PATIENCE);
            }
            let socket = match self.connection.take() {
                Some(socket) => Some(socket),
                None => self.connect_anywhere().await,
            };
            if let Some(socket) = socket {
                self.stay(socket).await;
            }
        }
        self
    }

    /// Connects to a random replica; returns `None`, after a pause, if that replica does not accept
    /// the connection.
    async fn connect_anywhere(&mut self) -> Option<Socket> {
        let endpoint = self.random.random_range(0..self.endpoints.len());
        let socket = self.connect(endpoint).await;
        if socket.is_none() {
            sleep(RETRY_PAUSE).await;
        }
        socket
    }

    /// Returns whether the last ticket was received. Its frame may arrive before the test has
    /// announced that it is the last.
    fn has_seen_last(&self) -> bool {
        self.last.get().is_some_and(|last| self.seen.tickets.contains_key(last))
    }

    async fn connect(&mut self, endpoint: usize) -> Option<Socket> {
        let after =
            self.seen.cursors.last().map(|cursor| format!("?after={cursor}")).unwrap_or_default();
        let client = self.client.at_addr(self.endpoints[endpoint].addr);
        let mut socket = timeout(HELLO_MAX, client.try_socket_at(&after)).await.ok()?.ok()?;
        let hello = socket.next_within(HELLO_MAX).await?.ok()?;
        assert_eq!(hello["type"], "Hello", "{hello}");
        self.seen.connections += 1;
        if hello["resumed"] != true {
            self.seen.resets += u64::from(!after.is_empty());
            self.seen.cursors.push(hello["cursor"].as_str()?.parse().ok()?);
        }
        Some(socket)
    }

    async fn stay(&mut self, mut socket: Socket) {
        let leave_at =
            Instant::now() + Duration::from_millis(self.random.random_range(self.stay_ms.clone()));
        // The last frame may arrive before it is known to be the last: then no other frame follows.
        while !self.has_seen_last() && Instant::now() < leave_at {
            let patience = CHECK_INTERVAL.min(leave_at.saturating_duration_since(Instant::now()));
            match socket.next_within(patience).await {
                Some(Ok(frame)) => self.seen.record(&frame),
                Some(Err(end)) => return *self.seen.ends.entry(end).or_default() += 1,
                None => {}
            }
        }
    }

    /// Returns the events that the watcher did not receive, or received in the wrong order (I6).
    pub fn missed(&self, found: &Found) -> Vec<String> {
        let who = if self.is_signed_in { self.client.email.as_str() } else { "a guest" };
        let mut wrong: Vec<String> = never_backwards(&self.seen.cursors)
            .err()
            .map(|violation| violation.to_string())
            .into_iter()
            .collect();
        let order_violations = self
            .seen
            .tickets
            .iter()
            .filter_map(|(id, versions)| Some((id, never_backwards(versions).err()?)));
        wrong.extend(order_violations.map(|(id, violation)| format!("{id}: {violation}")));
        if !self.has_seen_last() {
            wrong.push(format!("{who} did not receive the last ticket"));
        }
        if self.seen.resets == 0 {
            wrong.extend(found.events.iter().filter_map(|event| {
                self.seen.missing(event, self.is_signed_in.then_some(&*self.client.id))
            }));
        }
        wrong
            .into_iter()
            .map(|what| format!("{what} (watcher: {who}, {} connections)", self.seen.connections))
            .collect()
    }

    pub fn seen(&self) -> &Seen {
        &self.seen
    }
}

impl Seen {
    fn record(&mut self, frame: &Value) {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let kind = text(&frame["type"]).unwrap_or_default();
        if kind == "Reset" {
            self.resets += 1;
        }
        if let (Some(cursor), true) = (frame["cursor"].as_str(), frame.get("at").is_some()) {
            self.cursors.push(cursor.parse().expect("the cursor is valid"));
        }
        let (id, version) = match kind.as_str() {
            "TicketDeleted" => (&frame["ticketId"], &frame["version"]),
            _ => (&frame["ticket"]["id"], &frame["ticket"]["version"]),
        };
        if let (Some(id), Some(version)) = (text(id), version.as_u64()) {
            self.tickets.entry(id).or_default().push(version);
        }
        if let Some(id) = text(&frame["order"]["id"]).or_else(|| text(&frame["charge"]["id"])) {
            self.private.insert((kind, id));
        }
    }

    /// Returns a message if `event` concerns this watcher and was not received.
    fn missing(&self, event: &DomainEvent, viewer: Option<&str>) -> Option<String> {
        let is_viewers = |owner: String| viewer == Some(owner.as_str());
        let is_private_received =
            |id: String| self.private.contains(&(event.name().to_owned(), id));
        let is_received = match event.subject() {
            EventSubject::Ticket { id, version, .. } => self.has_version(&id.to_string(), version),
            EventSubject::Order(order) => {
                !is_viewers(order.buyer.to_string()) || is_private_received(order.id.to_string())
            }
            EventSubject::Charge(charge) => {
                !is_viewers(charge.buyer.to_string()) || is_private_received(charge.id.to_string())
            }
            EventSubject::User(_) => true,
        };
        (!is_received).then(|| format!("not received: {event:?}"))
    }

    fn has_version(&self, ticket: &str, version: u64) -> bool {
        self.tickets.get(ticket).is_some_and(|versions| versions.contains(&version))
    }
}

/// Negative control: one omitted change of a ticket is reported as missed.
#[test]
fn watcher_without_one_change_is_reported() {
    use gittix::domain::{TicketId, UserId, invariants::Snapshot};
    use serde_json::json;

    let (ticket, seller) =
        (TicketId::new(uuid::Uuid::from_u128(1)), UserId::new(uuid::Uuid::from_u128(2)));
    let events =
        (0..3).map(|version| DomainEvent::TicketDeleted { ticket, seller, version }).collect();
    let found = Found { world: Snapshot::default(), events, at: gittix::clock::wall_clock() };
    let last = LastTicket::default();
    last.set(ticket.to_string()).expect("it is set once");
    let violation_count = |versions: &[u64]| {
        let unused = Client::new(std::net::SocketAddr::from(([127, 0, 0, 1], 1)));
        let mut watcher = Watcher::new(unused, false, Endpoints::default(), last.clone(), 0, 0..1);
        for version in versions {
            watcher.seen.record(&json!({ "type": "TicketDeleted", "ticketId": ticket.to_string(), "version": version }));
        }
        watcher.missed(&found).len()
    };
    assert_eq!(
        (violation_count(&[0, 1, 2]), violation_count(&[0, 2]), violation_count(&[0, 2, 1])),
        (0, 1, 1)
    );
}
