//! From a URI to a database that is ready: the driver's settings, the indexes, the open feed.

use std::{sync::Arc, time::Duration};

use mongodb::{
    Client, Database,
    options::{Acknowledgment, DatabaseOptions, ReadConcern, ReadPreference, SelectionCriteria, WriteConcern},
};

use super::{ConnectError, feed::FeedFollower, schema, seeds};

/// The database, if the URI names none.
const DATABASE: &str = "gittix";
/// What this program calls itself, if the URI does not say.
const APP_NAME: &str = "gittix";
/// How long to look for a primary, at the start and for every call.
const SERVER_SELECTION_MAX: Duration = Duration::from_secs(3);
/// How long opening one connection may take.
const CONNECT_MAX: Duration = Duration::from_secs(3);
/// Beyond some 32 writes in flight the server only gets slower; reads share them.
const CONNECTIONS_MAX: u32 = 32;
/// What a write outside of transactions may wait for the majority.
const MAJORITY_WAIT_MAX: Duration = Duration::from_millis(1500);

/// The database, for reads from the primary of what a majority has.
#[derive(Debug, Clone)]
pub(super) struct MongoConnection {
    pub db: Database,
    /// What this program calls itself to the server (`appName` in the URI): how it knows its own among the transactions
    /// there.
    pub app_name: Arc<str>,
}

/// Connects, prepares the database if need be, and opens the feed.
pub(super) async fn open(uri: String) -> Result<(MongoConnection, FeedFollower), ConnectError> {
    let mut options = seeds::parse(&uri).await?;
    let app_name = Arc::from(options.app_name.get_or_insert_with(|| APP_NAME.into()).as_str());
    options.server_selection_timeout.get_or_insert(SERVER_SELECTION_MAX);
    options.connect_timeout.get_or_insert(CONNECT_MAX);
    options.max_pool_size.get_or_insert(CONNECTIONS_MAX);
    let name = options.default_database.clone().unwrap_or_else(|| DATABASE.into());
    seeds::identify(&options).await?;
    let client = Client::with_options(options)?;
    let durable = WriteConcern::builder().w(Acknowledgment::Majority).w_timeout(MAJORITY_WAIT_MAX).build();
    let concerns = DatabaseOptions::builder()
        .read_concern(ReadConcern::majority())
        .write_concern(durable)
        .selection_criteria(SelectionCriteria::ReadPreference(ReadPreference::Primary))
        .build();
    let db = client.database_with_options(&name, concerns);
    schema::create_indexes(&db).await?;
    let epoch = schema::epoch(&db).await?;
    let tail = FeedFollower::open(db.clone(), epoch).await?;
    Ok((MongoConnection { db, app_name }, tail))
}
