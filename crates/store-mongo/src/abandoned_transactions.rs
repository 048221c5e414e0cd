//! Abortion of transactions whose process ended before it committed or aborted them.
//!
//! A mongod keeps such a transaction open, and its documents locked against other writers, until
//! the lifetime of the transaction is over: by default one minute
//! (`transactionLifetimeLimitSeconds`). That is too long for a ticket whose lock must end on time.
//! A group of commits that conflicts repeatedly therefore searches for idle transactions of this
//! program and aborts them. This is safe at any time: if the owner of an aborted transaction is
//! still running, it tries again.

use std::time::Duration;

use bson::{Bson, Document, doc};
use futures_util::TryStreamExt;
use mongodb::error::Error;
use tokio::time::timeout;

use super::{
    connection::MongoConnection,
    fault::{describe, fault},
};

/// Idle time after which a transaction counts as abandoned. Between two statements of a running
/// transaction there is one round trip, which takes some milliseconds.
const IDLE_MAX: Duration = Duration::from_secs(1);
/// Time limit for the search and the abortion.
const SEARCH_MAX: Duration = Duration::from_secs(1);

/// Aborts abandoned transactions. A failure is only logged, because the server aborts them itself
/// later.
pub(super) async fn abort_idle(connection: &MongoConnection) {
    match timeout(SEARCH_MAX, try_abort_idle(connection))
        .await
        .unwrap_or_else(|_| Err(fault("no answer in time")))
    {
        Ok(0) => {}
        Ok(ended) => tracing::warn!(
            ended,
            "aborted transactions that an ended or stalled process had left open; no action is needed"
        ),
        Err(error) => tracing::debug!(
            error = describe(&error),
            "abandoned transactions cannot be searched for"
        ),
    }
}

/// Returns the number of aborted transactions. Neither command needs a privilege for sessions of
/// the same user.
async fn try_abort_idle(connection: &MongoConnection) -> Result<usize, Error> {
    let admin = connection.db.client().database("admin");
    let idle = i64::try_from(IDLE_MAX.as_micros()).expect("a constant of seconds");
    let pipeline = [
        doc! { "$currentOp": { "allUsers": false, "idleSessions": true } },
        doc! { "$match": { "active": false, "appName": &*connection.app_name, "transaction.timeInactiveMicros": { "$gte": idle } } },
        doc! { "$project": { "lsid": 1 } },
    ];
    let found: Vec<Document> = admin.aggregate(pipeline).await?.try_collect().await?;
    // The reply also contains the digest of the owner, which `killSessions` does not accept from a
    // client.
    let ids = found.iter().filter_map(|session| {
        Some(doc! { "id": session.get_document("lsid").ok()?.get("id")?.clone() })
    });
    let ids: Vec<Bson> = ids.map(Bson::Document).collect();
    let count = ids.len();
    if count > 0 {
        admin.run_command(doc! { "killSessions": ids }).await?;
    }
    Ok(count)
}
