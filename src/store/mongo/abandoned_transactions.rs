//! Transactions whose process died in the middle of them.
//!
//! A mongod keeps such a transaction, and whatever it wrote locked against other writers, until its lifetime is over: a
//! minute, by default (`transactionLifetimeLimitSeconds`). For a ticket whose lock has to lapse on time that is too long. So
//! who runs into conflicts again and again looks for transactions of this program that nobody has touched for a while, and
//! ends them. That is safe at any time: one that is alive after all is aborted, and its owner tries again.

use std::time::Duration;

use bson::{Bson, Document, doc};
use futures_util::TryStreamExt;
use mongodb::error::Error;
use tokio::time::timeout;

use super::{
    connection::MongoConnection,
    fault::{describe, fault},
};

/// Between two statements of a living transaction lies a round trip, some milliseconds. So long without one, and its owner
/// is dead or has given up.
const IDLE_MAX: Duration = Duration::from_secs(1);
/// How long looking may take.
const LOOK_MAX: Duration = Duration::from_secs(1);

/// Ends what was abandoned. Best effort: a server that does not allow it ends them by itself, later.
pub(super) async fn end(connection: &MongoConnection) {
    match timeout(LOOK_MAX, try_end(connection)).await.unwrap_or_else(|_| Err(fault("no answer in time"))) {
        Ok(0) => {}
        Ok(ended) => tracing::warn!(ended, "ended transactions that their process had left open"),
        Err(error) => tracing::debug!(error = describe(&error), "abandoned transactions cannot be looked for"),
    }
}

/// Neither command needs a privilege for sessions of one's own user.
async fn try_end(connection: &MongoConnection) -> Result<usize, Error> {
    let admin = connection.db.client().database("admin");
    let idle = i64::try_from(IDLE_MAX.as_micros()).expect("a constant of seconds");
    let pipeline = [
        doc! { "$currentOp": { "allUsers": false, "idleSessions": true } },
        doc! { "$match": { "active": false, "appName": &*connection.app_name, "transaction.timeInactiveMicros": { "$gte": idle } } },
        doc! { "$project": { "lsid": 1 } },
    ];
    let found: Vec<Document> = admin.aggregate(pipeline).await?.try_collect().await?;
    // The answer also has the owner's digest, which only the server may set.
    let ids = found.iter().filter_map(|session| Some(doc! { "id": session.get_document("lsid").ok()?.get("id")?.clone() }));
    let ids: Vec<Bson> = ids.map(Bson::Document).collect();
    let count = ids.len();
    if count > 0 {
        admin.run_command(doc! { "killSessions": ids }).await?;
    }
    Ok(count)
}
