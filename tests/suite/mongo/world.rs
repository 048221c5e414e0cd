//! The database of each test, the commits that tests use, and injected server faults.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use bson::{Document, doc};
use gittix::{
    domain::{
        Email, IdempotencyKey, IdempotencyRecord, OrderId, Outcome, Policy, ReplicaName, Sale,
        Session, SessionDigest, SlotChange, Ticket, TicketCommand, TicketId, Timestamp, User,
        UserId, decide, decide::list_ticket, samples,
    },
    store::{Commit, FeedReader, FeedStep, Inspect, RecordedEvent, Write, mongo::MongoStore},
};
use mongodb::{Client, Collection, Database};
use uuid::Uuid;

/// Time limit of each wait of a test, long enough for a slow and busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The database of one test.
pub struct World {
    name: String,
    /// A client without a store, to read stored documents and to set faults.
    client: Client,
}

impl World {
    /// Creates a new database name.
    pub async fn new() -> Self {
        let client = Client::with_uri_str(server()).await.expect("MONGODB_URI is a URI");
        Self { name: format!("gittix_test_{}", Uuid::now_v7().simple()), client }
    }

    /// Opens a store with the `appName` `app`, so that a fault can be limited to it.
    pub async fn store_named(&self, app: &str) -> Arc<MongoStore> {
        let (scheme, rest) = server()
            .split_once("://")
            .map(|(scheme, rest)| (scheme.to_owned(), rest.to_owned()))
            .expect("a URI");
        let (host, options) =
            rest.split_once("/?").expect("MONGODB_URI has options and no database");
        let uri = format!("{scheme}://{host}/{}?appName={app}&{options}", self.name);
        MongoStore::connect(&uri).await.expect("MongoDB answers")
    }

    pub async fn store(&self) -> Arc<MongoStore> {
        self.store_named("gittix-test").await
    }

    pub fn db(&self) -> Database {
        self.client.database(&self.name)
    }

    pub fn raw(&self, collection: &str) -> Collection<Document> {
        self.db().collection(collection)
    }

    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Drops the database at the end of a passed test. A failed test keeps its database for
    /// inspection.
    pub async fn drop_database(self) {
        self.db().drop().await.expect("the database is dropped");
    }
}

fn server() -> String {
    std::env::var("MONGODB_URI")
        .expect("these tests need a MongoDB replica set: scripts/with-mongod cargo test")
}

/// Returns ascending times, one millisecond later with each call.
pub fn now() -> Timestamp {
    static NOW: AtomicI64 = AtomicI64::new(1_800_000_000_000);
    Timestamp(NOW.fetch_add(1, Ordering::Relaxed))
}

pub fn ticket_commit() -> (Ticket, Commit) {
    let at = now();
    let (id, seller) = (TicketId::new(Uuid::now_v7()), UserId::new(Uuid::now_v7()));
    let decision = list_ticket(id, seller, samples::details("A concert"), at);
    (decision.ticket.clone().expect("a new ticket"), Commit::of(decision, at))
}

/// Commits a new ticket and returns it.
pub async fn on_sale(store: &dyn Inspect) -> Ticket {
    let (ticket, commit) = ticket_commit();
    store.commit(commit).await.expect("a new ticket is committed");
    ticket
}

/// Returns the commit of a buyer's lock of `ticket` (ticket, order, slot and events), and the id of
/// the order.
pub fn lock_commit(ticket: &Ticket, buyer: UserId) -> (OrderId, Commit) {
    let (order, at) = (OrderId::new(Uuid::now_v7()), now());
    let command = TicketCommand::Lock {
        order,
        buyer,
        expected_price: None,
        expected_version: None,
        replica: ReplicaName::new("test"),
    };
    let decision = decide(&Sale::unlocked(ticket.clone()), &command, &Policy::default(), at)
        .expect("a free ticket can be locked");
    (order, Commit::of(decision, at))
}

pub fn user(version: u64, id: UserId, email: &str) -> User {
    let at = now();
    User {
        id,
        email: Email::parse(email).expect("an address"),
        email_verified: false,
        pending_email: None,
        password_hash: format!("hash {version}"),
        tokens: Vec::new(),
        version,
        created_at: at,
        updated_at: at,
    }
}

/// Commits a new user with a unique email and returns it.
pub async fn signed_up(store: &dyn Inspect) -> User {
    let id = UserId::new(Uuid::now_v7());
    let user = user(0, id, &format!("{}@example.com", id.uuid().simple()));
    store.commit(one(Write::User(user.clone()))).await.expect("a new user is committed");
    user
}

pub fn session(of: UserId) -> Session {
    let at = now();
    let digest = format!("{}{}", Uuid::now_v7().simple(), Uuid::now_v7().simple());
    Session {
        digest: SessionDigest::new(digest),
        user: of,
        created_at: at,
        expires_at: Timestamp(at.0 + 60_000),
    }
}

pub fn take(user: UserId, locks_max: u32) -> Write {
    Write::Slot(SlotChange::Take { user, order: OrderId::new(Uuid::now_v7()), locks_max })
}

pub fn idempotency_write(user: UserId, key: &str) -> Write {
    let key = IdempotencyKey { user, key: key.into(), fingerprint: "print".into() };
    Write::Idempotency(IdempotencyRecord {
        key,
        outcome: Outcome::OrderCancelled,
        created_at: now(),
    })
}

/// Returns a commit with one write and no events.
pub fn one(write: Write) -> Commit {
    Commit { writes: vec![write], events: Vec::new(), at: now() }
}

/// Reads the next `count` events.
pub async fn events(reader: &mut FeedReader, count: usize) -> Vec<Arc<RecordedEvent>> {
    let mut events = Vec::new();
    while events.len() < count {
        match tokio::time::timeout(PATIENCE, reader.next()).await {
            Ok(FeedStep::Events(more)) => events.extend(more),
            Ok(FeedStep::Reset) => {
                panic!("history was lost after {} of {count} events", events.len())
            }
            Err(_) => panic!("only {} of {count} events arrived", events.len()),
        }
    }
    events
}

/// An injected fault: commands of the store with a given `appName` fail until [`Fault::heal`].
pub struct Fault<'a> {
    world: &'a World,
    /// Number of failed commands before this fault was set.
    failures_before: i64,
    _turn: Turn,
}

/// The permit to set a fault. A server has only one `failCommand`, so the tests that set it run one
/// after the other.
///
/// A test with open sockets, which it must read regularly, takes the permit before it opens them.
pub struct Turn(
    #[expect(dead_code, reason = "the lock is held until this value is dropped")]
    tokio::sync::MutexGuard<'static, ()>,
);

impl Turn {
    /// Waits for the permit.
    pub async fn wait() -> Self {
        static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
        Self(TURN.lock().await)
    }

    /// Sets a fault. `mode` is `{"times": n}` or `"alwaysOn"`; `data` names the commands that fail
    /// and their failure.
    pub async fn set<'a>(
        self,
        world: &'a World,
        app: &str,
        mode: impl Into<bson::Bson>,
        mut data: Document,
    ) -> Fault<'a> {
        data.insert("appName", app);
        let fault = doc! { "configureFailPoint": "failCommand", "mode": mode.into(), "data": data };
        let reply = world
            .client()
            .database("admin")
            .run_command(fault)
            .await
            .expect("enableTestCommands is on");
        Fault { world, failures_before: failures(&reply), _turn: self }
    }
}

impl<'a> Fault<'a> {
    /// Waits for the permit and sets a fault, see [`Turn::set`].
    pub async fn set(
        world: &'a World,
        app: &str,
        mode: impl Into<bson::Bson>,
        data: Document,
    ) -> Self {
        Turn::wait().await.set(world, app, mode, data).await
    }

    /// Removes the fault.
    ///
    /// # Panics
    /// If no command failed because of it, since the test has then tested nothing.
    pub async fn heal(self) {
        let off = doc! { "configureFailPoint": "failCommand", "mode": "off" };
        let reply = self
            .world
            .client()
            .database("admin")
            .run_command(off)
            .await
            .expect("the fault is removed");
        assert!(
            failures(&reply) > self.failures_before,
            "no command failed because of the fault: {reply}"
        );
    }
}

/// Returns the number of commands that `failCommand` has made fail so far, from a reply of the
/// server.
fn failures(reply: &Document) -> i64 {
    reply.get_i64("count").or_else(|_| reply.get_i32("count").map(i64::from)).expect("a count")
}
