//! Collections, their indexes, and the stored epoch and secrets.
//!
//! Documents are the domain types in their serde form. Some have additional fields, which reads of
//! the domain type ignore: `purgeAt` (a BSON date, for the TTL indexes), `open` on a charge that is
//! not Final, `nextAt` or `dead` on a mail that was not sent, and `signIns` on a user. Each index exists for the query in the comment next to it;
//! the indexes on `purgeAt` exist for MongoDB's TTL deletion.

use std::time::Duration;

use bson::{Binary, Document, Timestamp as ClusterTime, doc, spec::BinarySubtype};
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
    /// The outbox.
    Mails,
    /// Locks and declined payments of each user: `{_id: user, locks: [order], declines: [ms]}`. It
    /// is separate from the user, because it is written at other times and on other conditions. It
    /// is created with the user.
    Slots,
    Sessions,
    Idempotency,
    /// Handled events of the processor.
    Deliveries,
}

impl CommitCollection {
    pub const ALL: [Self; 9] = [
        Self::Tickets,
        Self::Orders,
        Self::Charges,
        Self::Users,
        Self::Mails,
        Self::Slots,
        Self::Sessions,
        Self::Idempotency,
        Self::Deliveries,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Tickets => "tickets",
            Self::Orders => "orders",
            Self::Charges => "charges",
            Self::Users => "users",
            Self::Mails => "mails",
            Self::Slots => "slots",
            Self::Sessions => "sessions",
            Self::Idempotency => "idempotency",
            Self::Deliveries => "deliveries",
        }
    }
}

/// One document for each transaction: the events of all its commits.
pub(super) const EVENTS: &str = "events";
/// Counters of hits.
pub(super) const COUNTERS: &str = "counters";
/// The epoch and the secrets.
const META: &str = "meta";

/// Maximum number of attempts, because another replica may create the same index at the same time.
const INDEX_ATTEMPTS_MAX: usize = 5;
const INDEX_RETRY_PAUSE: Duration = Duration::from_millis(200);

/// Creates missing indexes and their collections. Any number of replicas may do so at the same
/// time.
pub(super) async fn create_indexes(db: &Database) -> Result<(), Error> {
    let expiry = || {
        index(doc! { "purgeAt": 1 }, IndexOptions::builder().expire_after(Duration::ZERO).build())
    };
    let where_exists = |path: &str| {
        IndexOptions::builder()
            .partial_filter_expression(doc! { path: { "$exists": true } })
            .build()
    };
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
                index(
                    doc! { "expiresAt": 1 },
                    IndexOptions::builder()
                        .partial_filter_expression(doc! { "status": "Created" })
                        .build(),
                ),
            ],
        ),
        (
            CommitCollection::Charges.name(),
            vec![
                // charges_of, and the running charge of a sale
                index(doc! { "order": 1, "_id": 1 }, plain()),
                // charges_open
                index(
                    doc! { "open": 1, "_id": 1 },
                    IndexOptions::builder()
                        .partial_filter_expression(doc! { "open": true })
                        .build(),
                ),
            ],
        ),
        // user_by_email; the index also makes email addresses unique
        (
            CommitCollection::Users.name(),
            vec![index(doc! { "email": 1 }, IndexOptions::builder().unique(true).build())],
        ),
        (
            CommitCollection::Mails.name(),
            vec![
                // mails_due, and the number of mails to send
                index(doc! { "nextAt": 1 }, where_exists("nextAt")),
                // the number of dead mails
                index(doc! { "dead": 1 }, where_exists("dead")),
                expiry(),
            ],
        ),
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
    // The collection has no index that creates it. Its creation inside a transaction would conflict
    // with other transactions.
    match db.create_collection(CommitCollection::Slots.name()).await {
        Err(error) if !matches!(&*error.kind, ErrorKind::Command(command) if command.code == NAMESPACE_EXISTS) => {
            Err(error)
        }
        _ => Ok(()),
    }
}

/// MongoDB's error code for a collection that already exists (NamespaceExists).
const NAMESPACE_EXISTS: i32 = 48;

fn index(keys: Document, options: IndexOptions) -> IndexModel {
    IndexModel::builder().keys(keys).options(options).build()
}

/// The epoch of a database. All replicas share it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Epoch {
    /// Random number that is a part of each cursor.
    pub number: u32,
    /// Cluster time before the first event of this database. Databases of earlier versions do not
    /// have it.
    pub since: Option<ClusterTime>,
}

/// Returns the epoch of this database. The first replica draws it at the cluster time `now`.
pub(super) async fn epoch(db: &Database, now: ClusterTime) -> Result<Epoch, Error> {
    let drawn = rand::random_range(1..=u32::MAX);
    let stored =
        insert_if_absent(db, "epoch", doc! { "value": i64::from(drawn), "since": now }).await?;
    let number = stored.get_i64("value").ok().and_then(|number| u32::try_from(number).ok());
    let number = number
        .ok_or_else(|| fault(format!("the stored epoch is not a number of 32 bits: {stored}")))?;
    Ok(Epoch { number, since: stored.get_timestamp("since").ok() })
}

/// Returns the secret `name`. The first replica that asks creates it.
pub(super) async fn secret(db: &Database, name: &'static str) -> Result<[u8; 32], Error> {
    let mut drawn = [0u8; 32];
    getrandom::fill(&mut drawn).map_err(|error| fault(error.to_string()))?;
    let drawn = Binary { subtype: BinarySubtype::Generic, bytes: drawn.to_vec() };
    let stored = insert_if_absent(db, &secret_id(name), doc! { "value": drawn }).await?;
    match stored.get_binary_generic("value") {
        Ok(bytes) => bytes
            .as_slice()
            .try_into()
            .map_err(|_| fault("the stored secret does not have 32 bytes")),
        Err(_) => Err(fault("the stored secret is not binary data")),
    }
}

/// Returns whether the secret `name` exists.
pub(super) async fn has_secret(db: Database, name: &'static str) -> Result<bool, Error> {
    Ok(db.collection::<Document>(META).find_one(doc! { "_id": secret_id(name) }).await?.is_some())
}

fn secret_id(name: &str) -> String {
    format!("secret:{name}")
}

/// Returns the document with this id; inserts `fields` if there is none.
async fn insert_if_absent(db: &Database, id: &str, fields: Document) -> Result<Document, Error> {
    let meta = db.collection::<Document>(META);
    let insert = || {
        meta.find_one_and_update(doc! { "_id": id }, doc! { "$setOnInsert": fields.clone() })
            .upsert(true)
            .return_document(mongodb::options::ReturnDocument::After)
    };
    // One of two concurrent upserts fails on the unique key. Its second attempt finds the document
    // of the other.
    let found = match insert().await {
        Err(_) => insert().await?,
        Ok(found) => found,
    };
    found.ok_or_else(|| fault("an upsert returned nothing"))
}
