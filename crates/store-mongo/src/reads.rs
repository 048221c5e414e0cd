//! The queries. Documents are read from the primary with read concern `majority`, or `snapshot` for
//! sales, so that a read returns every acknowledged commit. Counters are read and written without
//! waiting for a majority.

use std::{collections::HashMap, time::Duration};

use bson::{Bson, Document, doc};
use futures_util::TryStreamExt;
use mongodb::{
    ClientSession, Collection, Database, action::Find, error::Error, options::ReadConcern,
};
use serde::{Deserialize, de::DeserializeOwned};

use super::{fault::fault, schema::CommitCollection};
use gittix_domain::{
    Charge, ChargeId, Mail, Millis, Order, OrderId, Sale, Ticket, TicketId, Timestamp, UserId,
};
use gittix_store::{CounterValue, MailCounts, OrderScope};

/// Time limit of the server for one read (`maxTimeMS`).
pub(super) const READ_WORK_MAX: Duration = Duration::from_millis(1800);
/// Time limit of a read, including the network.
pub(super) const READ_MAX: Duration = Duration::from_secs(2);

type Result<T> = std::result::Result<T, Error>;

pub(super) async fn find_one<T: DeserializeOwned + Send + Sync>(
    db: Database,
    collection: CommitCollection,
    query: Document,
) -> Result<Option<T>> {
    db.collection(collection.name()).find_one(query).max_time(READ_WORK_MAX).await
}

/// Returns one page of documents in the order of `_id`.
async fn page<T>(
    db: &Database,
    collection: CommitCollection,
    mut query: Document,
    after: Option<String>,
    limit: usize,
) -> Result<Vec<T>>
where
    T: DeserializeOwned + Send + Sync,
{
    if let Some(after) = after {
        query.insert("_id", doc! { "$gt": after });
    }
    listed(db.collection(collection.name()), query, doc! { "_id": 1 }, limit).await
}

async fn listed<T: DeserializeOwned + Send + Sync>(
    from: Collection<T>,
    query: Document,
    order: Document,
    limit: usize,
) -> Result<Vec<T>> {
    let Some(limit) = limit_of(limit) else { return Ok(Vec::new()) };
    from.find(query).sort(order).limit(limit).max_time(READ_WORK_MAX).await?.try_collect().await
}

/// Returns the limit for MongoDB, or `None` for 0, because MongoDB treats a limit of 0 as no limit.
fn limit_of(limit: usize) -> Option<i64> {
    Some(i64::try_from(limit).unwrap_or(i64::MAX)).filter(|limit| *limit > 0)
}

/// Returns a sale by one aggregation with read concern `snapshot` (MongoDB 5.0 and later). The
/// joined documents are from one snapshot, in one round trip. With `majority` each stage could read
/// another state.
pub(super) async fn sale(db: Database, id: TicketId) -> Result<Option<Sale>> {
    #[derive(Deserialize)]
    struct Joined {
        ticket: Ticket,
        orders: Vec<Order>,
        charges: Vec<Charge>,
    }
    let held = "ticket.state.lock.order";
    let running = doc! { "$match": { "step.step": { "$nin": ["Final", "Reversing"] } } };
    let pipeline = [
        doc! { "$match": { "_id": id.to_string() } },
        doc! { "$project": { "_id": 0, "ticket": "$$ROOT" } },
        doc! { "$lookup": { "from": CommitCollection::Orders.name(), "localField": held, "foreignField": "_id", "as": "orders" } },
        doc! { "$lookup": { "from": CommitCollection::Charges.name(), "localField": held, "foreignField": "order", "pipeline": [running], "as": "charges" } },
    ];
    let tickets = db.collection::<Document>(CommitCollection::Tickets.name());
    let found = tickets
        .aggregate(pipeline)
        .read_concern(ReadConcern::snapshot())
        .max_time(READ_WORK_MAX)
        .with_type::<Joined>()
        .await?;
    let joined: Vec<Joined> = found.try_collect().await?;
    Ok(joined.into_iter().next().map(|Joined { ticket, orders, charges }| {
        // Without a lock nothing is joined, because every order has an id and every charge has an
        // order.
        Sale { order: orders.into_iter().next(), charge: charges.into_iter().next_back(), ticket }
    }))
}

pub(super) async fn tickets_after(
    db: Database,
    after: Option<TicketId>,
    limit: usize,
) -> Result<Vec<Ticket>> {
    page(
        &db,
        CommitCollection::Tickets,
        doc! { "state.status": { "$ne": "Deleted" } },
        after.map(|id| id.to_string()),
        limit,
    )
    .await
}

/// Returns sales by three queries on one snapshot (MongoDB 5.0 and later). A join in the server
/// would run two more queries for each ticket.
pub(super) async fn sales(db: Database, ids: Vec<String>) -> Result<Vec<Sale>> {
    let mut session = db.client().start_session().snapshot(true).await?;
    let (tickets, orders, charges) = (
        db.collection(CommitCollection::Tickets.name()),
        db.collection(CommitCollection::Orders.name()),
        db.collection(CommitCollection::Charges.name()),
    );
    let tickets: Vec<Ticket> =
        in_snapshot(tickets.find(doc! { "_id": { "$in": ids } }), &mut session).await?;
    let held: Vec<String> =
        tickets.iter().filter_map(|ticket| Some(ticket.lock()?.order.to_string())).collect();
    let orders: Vec<Order> =
        in_snapshot(orders.find(doc! { "_id": { "$in": &held } }), &mut session).await?;
    let running =
        doc! { "order": { "$in": held }, "step.step": { "$nin": ["Final", "Reversing"] } };
    let charges: Vec<Charge> = in_snapshot(charges.find(running), &mut session).await?;
    let mut orders: HashMap<OrderId, Order> =
        orders.into_iter().map(|order| (order.id, order)).collect();
    let mut charges: HashMap<OrderId, Charge> =
        charges.into_iter().map(|charge| (charge.order, charge)).collect();
    let sale = |ticket: Ticket| {
        let held = ticket.order();
        Sale {
            order: held.and_then(|id| orders.remove(&id)),
            charge: held.and_then(|id| charges.remove(&id)),
            ticket,
        }
    };
    Ok(tickets.into_iter().map(sale).collect())
}

async fn in_snapshot<T: DeserializeOwned + Send + Sync>(
    find: Find<'_, T>,
    session: &mut ClientSession,
) -> Result<Vec<T>> {
    let mut found = find
        .read_concern(ReadConcern::snapshot())
        .max_time(READ_WORK_MAX)
        .session(&mut *session)
        .await?;
    found.stream(session).try_collect().await
}

/// Merges two sorted lists: tickets whose lock has ended, and tickets of orders whose payment
/// window has ended.
pub(super) async fn tickets_overdue(
    db: Database,
    cutoff: Timestamp,
    limit: usize,
) -> Result<Vec<TicketId>> {
    let due = doc! { "$lte": cutoff.0 };
    let tickets: Vec<Ticket> = listed(
        db.collection(CommitCollection::Tickets.name()),
        doc! { "state.lock.unlocksAt": due.clone() },
        doc! { "state.lock.unlocksAt": 1 },
        limit,
    )
    .await?;
    let unpaid = doc! { "status": "Created", "expiresAt": due };
    let orders: Vec<Order> = listed(
        db.collection(CommitCollection::Orders.name()),
        unpaid,
        doc! { "expiresAt": 1 },
        limit,
    )
    .await?;
    let over = tickets.iter().filter_map(|ticket| Some((ticket.lock()?.unlocks_at, ticket.id)));
    let mut all: Vec<(Timestamp, TicketId)> =
        over.chain(orders.iter().map(|order| (order.expires_at, order.ticket.id))).collect();
    all.sort_unstable();
    let mut seen = std::collections::HashSet::new();
    Ok(all.into_iter().map(|(_, id)| id).filter(|id| seen.insert(*id)).take(limit).collect())
}

pub(super) async fn orders_of(
    db: Database,
    buyer: UserId,
    scope: OrderScope,
    after: Option<OrderId>,
    limit: usize,
) -> Result<Vec<Order>> {
    // `All` names every status, so that the index on buyer, status and id returns the orders
    // sorted.
    let statuses: &[&str] = match scope {
        OrderScope::Active => &["Created", "AwaitingPayment"],
        OrderScope::All => &["Created", "AwaitingPayment", "Completed", "Cancelled"],
    };
    let query = doc! { "buyer": buyer.to_string(), "status": { "$in": statuses } };
    page(&db, CommitCollection::Orders, query, after.map(|id| id.to_string()), limit).await
}

pub(super) async fn charges_of(db: Database, order: OrderId) -> Result<Vec<Charge>> {
    page(
        &db,
        CommitCollection::Charges,
        doc! { "order": order.to_string() },
        None,
        CHARGES_OF_ORDER_MAX,
    )
    .await
}

/// More than the charges of one order: the number of declines and the rate of payments are limited.
const CHARGES_OF_ORDER_MAX: usize = 10_000;

pub(super) async fn charges_open(
    db: Database,
    cutoff: Timestamp,
    after: Option<ChargeId>,
    limit: usize,
) -> Result<Vec<Charge>> {
    let query = doc! { "open": true, "updatedAt": { "$lte": cutoff.0 } };
    page(&db, CommitCollection::Charges, query, after.map(|id| id.to_string()), limit).await
}

pub(super) async fn mails_due(db: Database, now: Timestamp, limit: usize) -> Result<Vec<Mail>> {
    let due = doc! { "nextAt": { "$lte": now.0 } };
    listed(db.collection(CommitCollection::Mails.name()), due, doc! { "nextAt": 1 }, limit).await
}

pub(super) async fn mail_counts(db: Database) -> Result<MailCounts> {
    let mails = db.collection::<Document>(CommitCollection::Mails.name());
    let waiting = doc! { "nextAt": { "$exists": true } };
    Ok(MailCounts {
        waiting: mails.count_documents(waiting).max_time(READ_WORK_MAX).await?,
        dead: mails.count_documents(doc! { "dead": true }).max_time(READ_WORK_MAX).await?,
    })
}

pub(super) async fn declines_of(db: Database, user: UserId) -> Result<Vec<Timestamp>> {
    #[derive(Deserialize)]
    struct Declines {
        #[serde(default)]
        declines: Vec<Timestamp>,
    }
    let slots = db.collection::<Declines>(CommitCollection::Slots.name());
    let found = slots
        .find_one(doc! { "_id": user.to_string() })
        .projection(doc! { "declines": 1 })
        .max_time(READ_WORK_MAX)
        .await?;
    Ok(found.map(|found| found.declines).unwrap_or_default())
}

/// Adds one hit, in one statement. A counter whose window has passed restarts.
pub(super) async fn count_hit(
    db: Database,
    key: String,
    window: Millis,
    now: Timestamp,
) -> Result<u64> {
    // A counter that ends later than a new one would end was started before the clock was set back.
    // It restarts.
    let running =
        doc! { "$and": [{ "$gt": ["$until", now.0] }, { "$lte": ["$until", (now + window).0] }] };
    let count = doc! { "$set": {
        "hits": { "$cond": [running.clone(), { "$add": ["$hits", 1_i64] }, 1_i64] },
        "until": { "$cond": [running, "$until", (now + window).0] },
    } };
    let expire = doc! { "$set": { "purgeAt": { "$toDate": "$until" } } };
    let counters = db.collection::<Document>(super::schema::COUNTERS);
    let hit = || {
        counters
            .find_one_and_update(doc! { "_id": &key }, vec![count.clone(), expire.clone()])
            .upsert(true)
            .return_document(mongodb::options::ReturnDocument::After)
            // Acknowledged by the primary alone: a hit that is lost in an election does no harm.
            .write_concern(mongodb::options::WriteConcern::from(
                mongodb::options::Acknowledgment::Nodes(1),
            ))
            .max_time(READ_WORK_MAX)
    };
    // One of two concurrent first hits fails on the unique key. Its second attempt finds the
    // counter of the other.
    let found = match hit().await {
        Err(_) => hit().await?,
        Ok(found) => found,
    };
    match found.and_then(|found| found.get("hits").and_then(Bson::as_i64)) {
        Some(hits) => Ok(u64::try_from(hits).unwrap_or(0)),
        None => Err(fault("a stored counter has no valid count")),
    }
}

pub(super) async fn count(db: Database, key: String, now: Timestamp) -> Result<CounterValue> {
    let counters = db.collection::<Document>(super::schema::COUNTERS);
    let running = doc! { "_id": key, "until": { "$gt": now.0 } };
    // Hits do not wait for a majority, so the read does not either.
    let found = counters
        .find_one(running)
        .read_concern(ReadConcern::local())
        .max_time(READ_WORK_MAX)
        .await?;
    let Some(found) = found else { return Ok(CounterValue::default()) };
    let number = |name| found.get(name).and_then(Bson::as_i64);
    match (number("hits"), number("until")) {
        (Some(hits), Some(until)) => {
            Ok(CounterValue { hits: u64::try_from(hits).unwrap_or(0), ends_at: Timestamp(until) })
        }
        _ => Err(fault("a stored counter has no valid count")),
    }
}

pub(super) async fn clear_count(db: Database, key: String) -> Result<()> {
    let counters = db.collection::<Document>(super::schema::COUNTERS);
    // The same write concern as that of the hits.
    let concern = mongodb::options::WriteConcern::from(mongodb::options::Acknowledgment::Nodes(1));
    counters.delete_one(doc! { "_id": key }).write_concern(concern).await?;
    Ok(())
}

/// Returns the time of the primary's wall clock.
pub(super) async fn time(db: Database) -> Result<Timestamp> {
    let hello = db.run_command(doc! { "hello": 1 }).await?;
    let now = hello
        .get_datetime("localTime")
        .map_err(|_| fault("the reply of the server has no localTime"))?;
    Ok(Timestamp(now.timestamp_millis()))
}
