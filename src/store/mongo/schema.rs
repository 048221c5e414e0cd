//! Collections, their indexes, and what the database knows of itself.
//!
//! Documents are the domain types in their serde form. Beside their fields some have more, which reads of the domain type
//! pass over: `purgeAt` (a BSON date, for the TTL indexes), `open` on a charge that is not Final, `signIns` on a user. No index without a query: each is there for the one named beside it.

use std::time::Duration;

use bson::{Binary, Bson, Document, doc, spec::BinarySubtype};
use mongodb::{
    Database, IndexModel,
    error::{Error, ErrorKind},
    options::IndexOptions,
};

use super::fault::fault;

/// A collection whose documents a commit changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum CommitCollection {
    Tickets,
    Orders,
    Charges,
    Users,
    /// The locks that each user holds, and when their payments were declined: `{_id: user, locks: [order], declines: [ms]}`. Apart from the user, since it is written at another
    /// rhythm and on other conditions; made with the user, or else by their first lock.
    Slots,
    Sessions,
    Idempotency,
    /// The processor's events that were dealt with.
    Deliveries,
}

impl CommitCollection {
    pub const ALL: [Self; 8] =
        [Self::Tickets, Self::Orders, Self::Charges, Self::Users, Self::Slots, Self::Sessions, Self::Idempotency, Self::Deliveries];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Tickets => "tickets",
            Self::Orders => "orders",
            Self::Charges => "charges",
            Self::Users => "users",
            Self::Slots => "slots",
            Self::Sessions => "sessions",
            Self::Idempotency => "idempotency",
            Self::Deliveries => "deliveries",
        }
    }
}

/// One document for each transaction: the events of all its commits.
pub(super) const EVENTS: &str = "events";
/// Hits that are counted for a while.
pub(super) const COUNTERS: &str = "counters";
/// The epoch and the secrets.
const META: &str = "meta";

/// Waiting for another replica that builds the same index at the same moment.
const INDEX_ATTEMPTS_MAX: usize = 5;
const INDEX_RETRY_PAUSE: Duration = Duration::from_millis(200);

/// Creates every index that is not there yet, and with it its collection. Any number of replicas may do so at once.
pub(super) async fn create_indexes(db: &Database) -> Result<(), Error> {
    let expiry = || index(doc! { "purgeAt": 1 }, IndexOptions::builder().expire_after(Duration::ZERO).build());
    let where_exists = |path: &str| IndexOptions::builder().partial_filter_expression(doc! { path: { "$exists": true } }).build();
    let plain = IndexOptions::default;
    let wanted = [
        (
            CommitCollection::Tickets.name(),
            vec![
                // tickets_overdue, by the end of the lock
                index(doc! { "state.lock.unlocksAt": 1 }, where_exists("state.lock.unlocksAt")),
            ],
        ),
        (
            CommitCollection::Orders.name(),
            vec![
                // orders_of: a merge of the sorted runs of each status
                index(doc! { "buyer": 1, "status": 1, "_id": 1 }, plain()),
                // tickets_overdue, by the end of the payment window
                index(doc! { "expiresAt": 1 }, IndexOptions::builder().partial_filter_expression(doc! { "status": "Created" }).build()),
            ],
        ),
        (
            CommitCollection::Charges.name(),
            vec![
                // charges_of, and the running charge of a sale
                index(doc! { "order": 1, "_id": 1 }, plain()),
                // charges_open
                index(doc! { "open": 1, "_id": 1 }, IndexOptions::builder().partial_filter_expression(doc! { "open": true }).build()),
            ],
        ),
        // user_by_email; and no address belongs to two
        (CommitCollection::Users.name(), vec![index(doc! { "email": 1 }, IndexOptions::builder().unique(true).build())]),
        // closing all sessions of a user
        (CommitCollection::Sessions.name(), vec![index(doc! { "user": 1 }, plain()), expiry()]),
        (CommitCollection::Idempotency.name(), vec![expiry()]),
        (CommitCollection::Deliveries.name(), vec![expiry()]),
        (EVENTS, vec![expiry()]),
        (COUNTERS, vec![expiry()]),
    ];
    for (collection, indexes) in wanted {
        let collection = db.collection::<Document>(collection);
        let mut attempt = 1;
        while let Err(error) = collection.create_indexes(indexes.clone()).await {
            if attempt == INDEX_ATTEMPTS_MAX {
                return Err(error);
            }
            attempt += 1;
            tokio::time::sleep(INDEX_RETRY_PAUSE).await;
        }
    }
    // It has no index of its own, and making it in the middle of a transaction conflicts with all others.
    match db.create_collection(CommitCollection::Slots.name()).await {
        Err(error) if !matches!(&*error.kind, ErrorKind::Command(command) if command.code == NAMESPACE_EXISTS) => Err(error),
        _ => Ok(()),
    }
}

/// MongoDB's code for a collection that is there already.
const NAMESPACE_EXISTS: i32 = 48;

fn index(keys: Document, options: IndexOptions) -> IndexModel {
    IndexModel::builder().keys(keys).options(options).build()
}

/// The life of this database: drawn by whichever replica comes first, the same for all.
pub(super) async fn epoch(db: &Database) -> Result<u32, Error> {
    let drawn = rand::random_range(1..=u32::MAX);
    match insert_if_absent(db, "epoch", Bson::Int64(i64::from(drawn))).await? {
        Bson::Int64(epoch) => u32::try_from(epoch).map_err(|_| fault("the stored epoch is out of range")),
        other => Err(fault(format!("the stored epoch is {other}"))),
    }
}

/// The secret called `name`, made by whichever replica comes first.
pub(super) async fn secret(db: &Database, name: &'static str) -> Result<[u8; 32], Error> {
    let mut drawn = [0u8; 32];
    getrandom::fill(&mut drawn).map_err(|error| fault(error.to_string()))?;
    let drawn = Bson::Binary(Binary { subtype: BinarySubtype::Generic, bytes: drawn.to_vec() });
    match insert_if_absent(db, &secret_id(name), drawn).await? {
        Bson::Binary(Binary { bytes, .. }) => bytes.try_into().map_err(|_| fault("the stored secret has another length")),
        _ => Err(fault("the stored secret is no bytes")),
    }
}

/// Whether the secret called `name` was made.
pub(super) async fn has_secret(db: Database, name: &'static str) -> Result<bool, Error> {
    Ok(db.collection::<Document>(META).find_one(doc! { "_id": secret_id(name) }).await?.is_some())
}

fn secret_id(name: &str) -> String {
    format!("secret:{name}")
}

async fn insert_if_absent(db: &Database, id: &str, value: Bson) -> Result<Bson, Error> {
    let meta = db.collection::<Document>(META);
    let insert = || {
        meta.find_one_and_update(doc! { "_id": id }, doc! { "$setOnInsert": { "value": value.clone() } })
            .upsert(true)
            .return_document(mongodb::options::ReturnDocument::After)
    };
    // Of two upserts at the same moment one fails on the unique key; the second time it finds the other's document.
    let found = match insert().await {
        Err(_) => insert().await?,
        Ok(found) => found,
    };
    found.and_then(|mut found| found.remove("value")).ok_or_else(|| fault("an upsert returned nothing"))
}
