//! Everything at once, for the checker and for tests; and the removal of what is past its time.

use std::time::Duration;

use bson::{Bson, Document, doc};
use mongodb::{ClientSession, Database, error::Error};
use serde::{Deserialize, de::DeserializeOwned};

use super::{
    feed::{EventsDocument, commit_times},
    schema::{COUNTERS, CommitCollection, EVENTS},
};
use crate::domain::{Event, OrderId, Timestamp, UserId, invariants::Snapshot};

/// How long either may take.
pub(super) const LIMIT: Duration = Duration::from_secs(60);

#[derive(Deserialize)]
struct SlotsDocument {
    #[serde(rename = "_id")]
    user: UserId,
    #[serde(default)]
    locks: Vec<OrderId>,
}

/// All of one moment: a snapshot session. Events are in the order of their commits; those older than five minutes in that
/// of their writing, which agrees with it wherever one commit could have seen another.
pub(super) async fn dump(db: Database) -> Result<(Snapshot, Vec<Event>), Error> {
    let mut session = db.client().start_session().snapshot(true).await?;
    let by_id = doc! { "_id": 1 };
    let holders: Vec<SlotsDocument> = all(&db, CommitCollection::Slots.name(), by_id.clone(), &mut session).await?;
    let world = Snapshot {
        tickets: all(&db, CommitCollection::Tickets.name(), by_id.clone(), &mut session).await?,
        orders: all(&db, CommitCollection::Orders.name(), by_id.clone(), &mut session).await?,
        charges: all(&db, CommitCollection::Charges.name(), by_id, &mut session).await?,
        slots: holders.into_iter().flat_map(|holder| holder.locks.into_iter().map(move |order| (holder.user, order))).collect(),
        payments: Vec::new(),
    };
    let mut batches: Vec<EventsDocument> = all(&db, EVENTS, doc! { "written": 1 }, &mut session).await?;
    let times = commit_times(&db).await?;
    batches.sort_by_key(|batch| times.get(&batch.id).copied().unwrap_or(batch.written));
    let events = batches.into_iter().flat_map(|batch| batch.commits).flat_map(|entry| entry.events).collect();
    Ok((world, events))
}

async fn all<T>(db: &Database, collection: &str, order: Document, session: &mut ClientSession) -> Result<Vec<T>, Error>
where
    T: DeserializeOwned + Send + Sync,
{
    // A snapshot session brings its own read concern; the database's must not stand beside it.
    let collection = db.client().database(db.name()).collection::<T>(collection);
    let mut cursor = collection.find(doc! {}).sort(order).allow_disk_use(true).session(&mut *session).await?;
    let mut found = Vec::new();
    while let Some(next) = cursor.next(session).await {
        found.push(next?);
    }
    Ok(found)
}

/// The TTL indexes do this by themselves, once a minute and by the server's clock. Here it is done at once, by the
/// caller's.
pub(super) async fn purge(db: Database, now: Timestamp) -> Result<(), Error> {
    let over = doc! { "purgeAt": { "$lte": Bson::DateTime(bson::DateTime::from_millis(now.0)) } };
    for collection in
        [CommitCollection::Sessions.name(), CommitCollection::Idempotency.name(), CommitCollection::Deliveries.name(), COUNTERS, EVENTS]
    {
        db.collection::<Document>(collection).delete_many(over.clone()).await?;
    }
    Ok(())
}
