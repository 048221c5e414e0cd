//! Reads the content of a store and of the sandbox's ledger after their server has exited, through
//! the stores' own code, and checks it against the invariants of the domain. Also writes data into
//! a store before its server starts.

use std::{collections::BTreeMap, sync::Arc};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use gittix::{
    clock::wall_clock,
    domain::{
        DomainEvent, Email, Millis, Policy, Session, SessionDigest, Ticket, TicketId, TicketState,
        Timestamp, User, UserId, Version,
        decide::list_ticket,
        invariants::{
            Snapshot, events_match_changes, money_matches_orders, no_lock_left_over,
            no_money_for_nothing, nothing_lost, one_order_per_ticket, slots_match_locks,
        },
        samples,
    },
    payments::sandbox::{FileLedger, Ledger, MongoLedger, Sandbox},
    store::{Commit, CommitError, Inspect, Write, embedded::EmbeddedStore, mongo::MongoStore},
};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::Home;

/// Content of a store, with all its events in commit order.
#[derive(Debug, Clone)]
pub struct Found {
    pub world: Snapshot,
    pub events: Vec<DomainEvent>,
    /// Time of the read.
    pub at: Timestamp,
}

impl Found {
    /// Reads a store and the ledger beside it. With the embedded store the server must have exited.
    pub async fn read(home: &Home) -> Self {
        let store = open(home).await;
        let (mut world, events) =
            store.dump().await.expect("a store that was just opened can be read");
        world.payments = Sandbox::new(ledger(home).await, [0; 32])
            .entries()
            .await
            .expect("the ledger can be read");
        store.close().await;
        Self { world, events, at: wall_clock() }
    }

    /// Returns the invariants that do not hold, with the place. `acknowledged` maps documents to
    /// the greatest version that a client received.
    ///
    /// I6 concerns the order that one observer saw: it is checked where events are observed.
    pub fn violations(
        &self,
        policy: &Policy,
        sweep: Millis,
        acknowledged: &BTreeMap<Uuid, Version>,
    ) -> Vec<String> {
        [
            one_order_per_ticket(&self.world),
            money_matches_orders(&self.world),
            no_money_for_nothing(&self.world),
            no_lock_left_over(&self.world, policy, sweep, self.at),
            nothing_lost(&self.world, acknowledged),
            events_match_changes(&self.world, &self.events),
            slots_match_locks(&self.world),
        ]
        .into_iter()
        .filter_map(|held| held.err().map(|violation| violation.to_string()))
        .collect()
    }
}

/// Release of a lock after its end.
#[derive(Debug, Clone, Copy)]
pub struct Release {
    pub ticket: TicketId,
    /// End of the lock, as it was granted.
    pub due: Timestamp,
    /// Time at which the release was decided.
    pub at: Timestamp,
}

impl Release {
    pub fn lag(&self) -> Millis {
        self.at - self.due
    }
}

impl Found {
    /// Returns the releases of expired locks, without the locks that buyers cancelled.
    pub fn releases(&self) -> Vec<Release> {
        let mut held: BTreeMap<TicketId, &Ticket> = BTreeMap::new();
        let mut releases = Vec::new();
        for event in &self.events {
            let DomainEvent::TicketUpdated { ticket } = event else { continue };
            let before = held.insert(ticket.id, ticket);
            if let Some(lock) = before.and_then(Ticket::lock)
                && ticket.state == TicketState::Available
                && ticket.updated_at >= lock.unlocks_at
            {
                releases.push(Release {
                    ticket: ticket.id,
                    due: lock.unlocks_at,
                    at: ticket.updated_at,
                });
            }
        }
        releases
    }
}

/// Commits until the store has decided. A store that answers `Unavailable` wrote nothing, so the
/// commit is repeated, as a client would. MongoDB on a busy machine is too slow at times.
pub async fn decided(store: &dyn Inspect, commit: Commit) -> Result<(), CommitError> {
    const TRIES: u32 = 30;
    for _ in 1..TRIES {
        match store.commit(commit.clone()).await {
            Err(CommitError::Unavailable(_)) => {}
            answer => return answer,
        }
    }
    store.commit(commit).await
}

/// Opens the store that a server used or will use. The embedded store can be opened by one process
/// at a time.
pub async fn open(home: &Home) -> Arc<dyn Inspect> {
    match home.mongodb_uri() {
        None => EmbeddedStore::open(&home.data()).expect("no server has the store open"),
        Some(uri) => MongoStore::connect(uri).await.expect("the replica set answers"),
    }
}

async fn ledger(home: &Home) -> Arc<dyn Ledger> {
    match home.mongodb_uri() {
        None => Arc::new(FileLedger::open(&home.data()).expect("no server has the ledger open")),
        Some(uri) => {
            let client = mongodb::Client::with_uri_str(uri).await.expect("a valid URI");
            Arc::new(MongoLedger::new(
                &client.default_database().expect("the URI names a database"),
            ))
        }
    }
}

/// Puts tickets into a store that no server uses yet, in a form that an earlier version of this
/// program may have stored. Bypasses the store's own code, which writes the present form.
pub async fn insert_tickets(home: &Home, tickets: &[bson::Document]) {
    match home.mongodb_uri() {
        None => {
            const TICKETS: redb::TableDefinition<'_, u128, &[u8]> =
                redb::TableDefinition::new("tickets");
            let file = redb::Database::open(home.data().join("gittix.redb"))
                .expect("no server has the store open");
            let write = file.begin_write().expect("a transaction");
            {
                let mut table = write.open_table(TICKETS).expect("the store created the table");
                for ticket in tickets {
                    let id = Uuid::try_parse(ticket.get_str("_id").expect("a text"))
                        .expect("an id")
                        .as_u128();
                    table
                        .insert(id, &bson::serialize_to_vec(ticket).expect("a document")[..])
                        .expect("written");
                }
            }
            write.commit().expect("committed");
        }
        Some(uri) => {
            let client = mongodb::Client::with_uri_str(uri).await.expect("a valid URI");
            let database = client.default_database().expect("the URI names a database");
            database
                .collection::<bson::Document>("tickets")
                .insert_many(tickets)
                .await
                .expect("written");
        }
    }
}

/// Puts tickets on sale through the store; each commit has the next seller in turn. Returns the
/// ids, oldest first. `title` receives the number of each ticket. `at` is the time of listing.
pub async fn seed_tickets(
    home: &Home,
    count: usize,
    at: Timestamp,
    sellers: &[UserId],
    title: impl Fn(usize) -> String,
) -> Vec<String> {
    const TICKETS_PER_COMMIT: usize = 500;
    let store = open(home).await;
    let mut ids = Vec::with_capacity(count);
    let mut sellers = sellers.iter().cycle();
    while ids.len() < count {
        let seller = *sellers.next().expect("there is a seller");
        let mut commit = Commit { at, ..Commit::default() };
        for _ in 0..TICKETS_PER_COMMIT.min(count - ids.len()) {
            let id = TicketId::new(Uuid::now_v7());
            let details = samples::details(&title(ids.len()));
            let listed = Commit::of(list_ticket(id, seller, details, at), at);
            commit.writes.extend(listed.writes);
            commit.events.extend(listed.events);
            ids.push(id.to_string());
        }
        store.commit(commit).await.expect("a store accepts new tickets");
    }
    store.close().await;
    ids
}

/// User with a session who was created without hashing a password: only the session can be used.
#[derive(Debug, Clone)]
pub struct Seeded {
    pub id: UserId,
    pub email: String,
    /// Value of the session cookie.
    pub token: String,
}

/// Puts users with one session each into a store that no server uses yet.
pub async fn seed_users(home: &Home, count: usize) -> Vec<Seeded> {
    /// Keeps commits small, far below the limits of the stores.
    const USERS_PER_COMMIT: usize = 50;
    std::fs::create_dir_all(home.data()).expect("the test's folder is writable");
    let store = open(home).await;
    let now = wall_clock();
    let seeded: Vec<Seeded> = (0..count).map(seeded_user).collect();
    for some in seeded.chunks(USERS_PER_COMMIT) {
        let writes = some.iter().flat_map(|user| writes_of(user, now)).collect();
        store
            .commit(Commit { writes, events: Vec::new(), at: now })
            .await
            .expect("an empty store accepts new users");
    }
    store.close().await;
    seeded
}

fn seeded_user(number: usize) -> Seeded {
    let token = URL_SAFE_NO_PAD.encode(Sha256::digest(format!("seeded {number}")));
    Seeded { id: UserId::new(Uuid::now_v7()), email: format!("seeded{number}@example.com"), token }
}

fn writes_of(seeded: &Seeded, now: Timestamp) -> [Write; 2] {
    let user = User {
        id: seeded.id,
        email: Email::parse(&seeded.email).expect("a plain address"),
        // This is not the hash of any known password.
        email_verified: false,
        pending_email: None,
        password_hash: "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".into(),
        tokens: Vec::new(),
        version: 0,
        created_at: now,
        updated_at: now,
    };
    let digest = hex::encode(Sha256::digest(&seeded.token));
    let session = Session {
        digest: SessionDigest::new(digest),
        user: seeded.id,
        created_at: now,
        expires_at: now + Millis::from_mins(24 * 60),
    };
    [Write::User(user), Write::OpenSession { session, user_version: 0 }]
}
