//! The dump of all documents, for the checker and for tests, and the removal of expired records.

use std::time::Duration;

use bson::{Bson, Document, doc};
use mongodb::{ClientSession, Database, error::Error};
use serde::{Deserialize, de::DeserializeOwned};

use super::{
    feed::{EventsDocument, commit_times},
    schema::{COUNTERS, CommitCollection, EVENTS},
};
use gittix_domain::{DomainEvent, OrderId, Timestamp, UserId, invariants::Snapshot};

/// Time limit of a dump and of a purge.
pub(super) const LIMIT: Duration = Duration::from_secs(60);

#[derive(Deserialize)]
struct SlotsDocument {
    #[serde(rename = "_id")]
    user: UserId,
    #[serde(default)]
    locks: Vec<OrderId>,
}

/// Returns all documents from one snapshot. Events are in commit order. Events older than five
/// minutes are in the order in which they were written; that order agrees with the commit order
/// where one commit could have read another.
pub(super) async fn dump(db: Database) -> Result<(Snapshot, Vec<DomainEvent>), Error> {
    let mut session = db.client().start_session().snapshot(true).await?;
    let by_id = doc! { "_id": 1 };
    let slots: Vec<SlotsDocument> =
        all(&db, CommitCollection::Slots.name(), by_id.clone(), &mut session).await?;
    let documents = Snapshot {
        tickets: all(&db, CommitCollection::Tickets.name(), by_id.clone(), &mut session).await?,
        orders: all(&db, CommitCollection::Orders.name(), by_id.clone(), &mut session).await?,
        charges: all(&db, CommitCollection::Charges.name(), by_id, &mut session).await?,
        slots: slots
            .into_iter()
            .flat_map(|document| {
                document.locks.into_iter().map(move |order| (document.user, order))
            })
            .collect(),
        payments: Vec::new(),
    };
    let mut batches: Vec<EventsDocument> =
        all(&db, EVENTS, doc! { "written": 1 }, &mut session).await?;
    let times = commit_times(&db).await?;
    batches.sort_by_key(|batch| times.get(&batch.id).copied().unwrap_or(batch.written));
    let events = batches
        .into_iter()
        .flat_map(|batch| batch.commits)
        .flat_map(|entry| entry.events)
        .collect();
    Ok((documents, events))
}

async fn all<T>(
    db: &Database,
    collection: &str,
    order: Document,
    session: &mut ClientSession,
) -> Result<Vec<T>, Error>
where
    T: DeserializeOwned + Send + Sync,
{
    // A snapshot session sets the read concern itself. The handle must therefore not have the one
    // of the store's database.
    let collection = db.client().database(db.name()).collection::<T>(collection);
    let mut cursor =
        collection.find(doc! {}).sort(order).allow_disk_use(true).session(&mut *session).await?;
    let mut found = Vec::new();
    while let Some(next) = cursor.next(session).await {
        found.push(next?);
    }
    Ok(found)
}

/// Removes expired records at once, by the caller's time. The TTL indexes do the same once a
/// minute, by the server's clock.
pub(super) async fn purge(db: Database, now: Timestamp) -> Result<(), Error> {
    let over = doc! { "purgeAt": { "$lte": Bson::DateTime(bson::DateTime::from_millis(now.0)) } };
    for collection in [
        CommitCollection::Sessions.name(),
        CommitCollection::Mails.name(),
        CommitCollection::Idempotency.name(),
        CommitCollection::Deliveries.name(),
        COUNTERS,
        EVENTS,
    ] {
        db.collection::<Document>(collection).delete_many(over.clone()).await?;
    }
    Ok(())
}
