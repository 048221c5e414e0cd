//! Connection to a database: sets up the driver, creates the indexes and opens the feed.

use std::{sync::Arc, time::Duration};

use mongodb::{
    Client, Database,
    options::{
        Acknowledgment, DatabaseOptions, ReadConcern, ReadPreference, SelectionCriteria,
        WriteConcern,
    },
};

use super::{ConnectError, feed::FeedFollower, schema, seeds};

/// Default name of the database, if the URI has none.
const DATABASE: &str = "gittix";
/// Default `appName`, if the URI has none.
const APP_NAME: &str = "gittix";
/// Time limit for the selection of a primary, at the start and for each call.
const SERVER_SELECTION_MAX: Duration = Duration::from_secs(3);
/// Time limit for opening one connection.
const CONNECT_MAX: Duration = Duration::from_secs(3);
/// Maximum number of connections, for reads and writes. With more than about 32 concurrent writes
/// the server only gets slower.
const CONNECTIONS_MAX: u32 = 32;
/// Time limit of the majority acknowledgment of a write outside of transactions.
const MAJORITY_WAIT_MAX: Duration = Duration::from_millis(1500);

/// The database handle. Its defaults are reads from the primary with read concern `majority`.
#[derive(Debug, Clone)]
pub(super) struct MongoConnection {
    pub db: Database,
    /// `appName` of this program at the server. It identifies the transactions of this program
    /// there.
    pub app_name: Arc<str>,
}

/// Connects, creates missing indexes, and opens the feed.
pub(super) async fn open(uri: String) -> Result<(MongoConnection, FeedFollower), ConnectError> {
    let mut options = seeds::parse(&uri).await?;
    let app_name = Arc::from(options.app_name.get_or_insert_with(|| APP_NAME.into()).as_str());
    options.server_selection_timeout.get_or_insert(SERVER_SELECTION_MAX);
    options.connect_timeout.get_or_insert(CONNECT_MAX);
    options.max_pool_size.get_or_insert(CONNECTIONS_MAX);
    let name = options.default_database.clone().unwrap_or_else(|| DATABASE.into());
    seeds::identify(&options).await?;
    let client = Client::with_options(options)?;
    let durable =
        WriteConcern::builder().w(Acknowledgment::Majority).w_timeout(MAJORITY_WAIT_MAX).build();
    let concerns = DatabaseOptions::builder()
        .read_concern(ReadConcern::majority())
        .write_concern(durable)
        .selection_criteria(SelectionCriteria::ReadPreference(ReadPreference::Primary))
        .build();
    let db = client.database_with_options(&name, concerns);
    schema::create_indexes(&db).await?;
    let follower = FeedFollower::open(db.clone()).await?;
    Ok((MongoConnection { db, app_name }, follower))
}
