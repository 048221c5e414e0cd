//! Who watches while things break: sockets that move from replica to replica with their cursor, and must have been told
//! of every change in the end, or that they were not.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::{Arc, OnceLock},
    time::Duration,
};

use gittix::{
    domain::{Event, invariants::never_backwards},
    store::Cursor,
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};

use super::fleet::Doors;
use crate::app::{Client, PATIENCE, Socket, world::Found};

/// How long a replica may take to upgrade and say hello before the next one is asked.
const HELLO_MAX: Duration = Duration::from_millis(1_500);
/// Before the next replica is tried.
const MOVES_ON_AFTER: Duration = Duration::from_millis(50);
/// How long a watcher waits for a frame before it looks whether it has seen all there is.
const LOOKS_UP_AFTER: Duration = Duration::from_millis(200);

/// The last ticket of all: who was told of it was told of everything before it.
pub type Last = Arc<OnceLock<String>>;

/// One watcher.
#[derive(Debug)]
pub struct Watcher {
    pub client: Client,
    /// Whether private events come too.
    pub is_signed_in: bool,
    doors: Doors,
    random: StdRng,
    last: Last,
    /// How long it stays with one replica, in milliseconds.
    stays: Range<u64>,
    /// Where it is before it begins to watch.
    arrived: Option<Socket>,
    seen: Seen,
}

/// What one watcher was told, over all its connections.
#[derive(Debug, Default)]
pub struct Seen {
    cursors: Vec<Cursor>,
    tickets: BTreeMap<String, Vec<u64>>,
    /// Private frames: type and id.
    private: BTreeSet<(String, String)>,
    pub connections: u64,
    /// How connections ended that it did not leave: close codes, or what broke.
    pub ends: BTreeMap<String, u64>,
    /// Times that it was told that it missed something.
    pub resets: u64,
}

impl Watcher {
    pub fn new(client: Client, is_signed_in: bool, doors: Doors, last: Last, seed: u64, stays: Range<u64>) -> Self {
        Self { client, is_signed_in, doors, random: StdRng::seed_from_u64(seed), last, stays, arrived: None, seen: Seen::default() }
    }

    /// Connects: from here on it has to be told of everything.
    pub async fn arrive(mut self) -> Self {
        while self.arrived.is_none() {
            self.arrived = self.connect_anywhere().await;
        }
        self
    }

    /// Watches until it was told of the last ticket, or until that is known for so long that it never will be.
    pub async fn watch(mut self) -> Self {
        let mut overdue: Option<Instant> = None;
        while !self.has_seen_last() && overdue.is_none_or(|at| Instant::now() < at) {
            if self.last.get().is_some() && overdue.is_none() {
                overdue = Some(Instant::now() + PATIENCE);
            }
            let socket = match self.arrived.take() {
                Some(socket) => Some(socket),
                None => self.connect_anywhere().await,
            };
            if let Some(socket) = socket {
                self.stay(socket).await;
            }
        }
        self
    }

    /// `None`, after a moment, if that replica takes nobody.
    async fn connect_anywhere(&mut self) -> Option<Socket> {
        let door = self.random.random_range(0..self.doors.len());
        let socket = self.connect(door).await;
        if socket.is_none() {
            sleep(MOVES_ON_AFTER).await;
        }
        socket
    }

    /// The last ticket's frame may come before anybody here knows that it is the last.
    fn has_seen_last(&self) -> bool {
        self.last.get().is_some_and(|last| self.seen.tickets.contains_key(last))
    }

    async fn connect(&mut self, door: usize) -> Option<Socket> {
        let after = self.seen.cursors.last().map(|cursor| format!("?after={cursor}")).unwrap_or_default();
        let client = self.client.at_addr(self.doors[door].addr);
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
        let leaves = Instant::now() + Duration::from_millis(self.random.random_range(self.stays.clone()));
        // Its last frame may come before it is known to be the last: then no other follows.
        while !self.has_seen_last() && Instant::now() < leaves {
            let patience = LOOKS_UP_AFTER.min(leaves.saturating_duration_since(Instant::now()));
            match socket.next_within(patience).await {
                Some(Ok(frame)) => self.seen.remember(&frame),
                Some(Err(end)) => return *self.seen.ends.entry(end).or_default() += 1,
                None => {}
            }
        }
    }

    /// What it should have been told and was not, or was told in the wrong order (I6).
    pub fn missed(&self, found: &Found) -> Vec<String> {
        let who = if self.is_signed_in { self.client.email.as_str() } else { "a guest" };
        let mut wrong: Vec<String> = never_backwards(&self.seen.cursors).err().map(|violation| violation.to_string()).into_iter().collect();
        let backwards = self.seen.tickets.iter().filter_map(|(id, versions)| Some((id, never_backwards(versions).err()?)));
        wrong.extend(backwards.map(|(id, violation)| format!("{id}: {violation}")));
        if !self.has_seen_last() {
            wrong.push(format!("{who} was never told of the last ticket"));
        }
        if self.seen.resets == 0 {
            wrong.extend(found.events.iter().filter_map(|event| self.seen.lacks(event, self.is_signed_in.then_some(&*self.client.id))));
        }
        wrong.into_iter().map(|what| format!("{what} (told to {who}, over {} connections)", self.seen.connections)).collect()
    }

    pub fn seen(&self) -> &Seen {
        &self.seen
    }
}

impl Seen {
    fn remember(&mut self, frame: &Value) {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let kind = text(&frame["type"]).unwrap_or_default();
        if kind == "Reset" {
            self.resets += 1;
        }
        if let (Some(cursor), true) = (frame["cursor"].as_str(), frame.get("at").is_some()) {
            self.cursors.push(cursor.parse().expect("a cursor of ours"));
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

    /// What is missing of `event`, if it was to be told to this watcher.
    fn lacks(&self, event: &Event, viewer: Option<&str>) -> Option<String> {
        let is_viewers = |owner: String| viewer == Some(owner.as_str());
        let is_told = match event {
            Event::TicketCreated { ticket } | Event::TicketUpdated { ticket } => self.knows(&ticket.id.to_string(), ticket.version),
            Event::TicketDeleted { ticket, version, .. } => self.knows(&ticket.to_string(), *version),
            Event::OrderCreated { order } | Event::OrderCancelled { order } | Event::OrderExpired { order } => {
                !is_viewers(order.buyer.to_string()) || self.private.contains(&(event.name().into(), order.id.to_string()))
            }
            Event::ChargeCreated { charge }
            | Event::ChargeCompleted { charge }
            | Event::ChargeFailed { charge }
            | Event::ChargeRefunded { charge } => {
                !is_viewers(charge.buyer.to_string()) || self.private.contains(&(event.name().into(), charge.id.to_string()))
            }
            Event::UserCreated { .. } | Event::UserUpdated { .. } | Event::SessionRevoked { .. } | Event::SessionsRevoked { .. } => true,
        };
        (!is_told).then(|| format!("never told: {event:?}"))
    }

    fn knows(&self, ticket: &str, version: u64) -> bool {
        self.tickets.get(ticket).is_some_and(|versions| versions.contains(&version))
    }
}

/// The control: one change of a ticket, or one private frame, that was left out is seen to be.
#[test]
fn a_watcher_who_was_told_of_all_changes_but_one_is_seen_to_have_missed_it() {
    use gittix::domain::{TicketId, UserId, invariants::Snapshot};
    use serde_json::json;

    let (ticket, seller) = (TicketId::new(uuid::Uuid::from_u128(1)), UserId::new(uuid::Uuid::from_u128(2)));
    let events = (0..3).map(|version| Event::TicketDeleted { ticket, seller, version }).collect();
    let found = Found { world: Snapshot::default(), events, at: gittix::clock::wall_clock() };
    let last = Last::default();
    last.set(ticket.to_string()).expect("it is set once");
    let told_of = |versions: &[u64]| {
        let nobody = Client::new(std::net::SocketAddr::from(([127, 0, 0, 1], 1)));
        let mut watcher = Watcher::new(nobody, false, Doors::default(), last.clone(), 0, 0..1);
        for version in versions {
            watcher.seen.remember(&json!({ "type": "TicketDeleted", "ticketId": ticket.to_string(), "version": version }));
        }
        watcher.missed(&found).len()
    };
    assert_eq!((told_of(&[0, 1, 2]), told_of(&[0, 2]), told_of(&[0, 2, 1])), (0, 1, 1));
}
