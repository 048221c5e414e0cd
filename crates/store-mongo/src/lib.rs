//! MongoDB: transactions on a replica set, or on a sharded cluster.
//!
//! | file | contents |
//! | --- | --- |
//! | `driver_runtime` | the runtime thread for the driver's calls |
//! | `connection` | connection to a database: settings, indexes, feed |
//! | `seeds` | checks of the URI and of its servers; permanent errors |
//! | `schema` | collections, indexes, epoch and secrets |
//! | `statements` | what one write changes, and on which condition |
//! | `prepare` | a commit as statements, keys and requirements; pure |
//! | `pending` | a commit that waits for its answer |
//! | `steps` | the statements of a group of commits as commands |
//! | `committer` | the queue, and the distribution of commits to transactions |
//! | `group` | a group of commits, from its first attempt to its last answer |
//! | `transaction` | one attempt |
//! | `diagnosis` | the commits that made an attempt fail a precondition |
//! | `abandoned_transactions` | transactions that an ended process left open |
//! | `feed` | the change stream |
//! | `reads`, `dump` | the queries |
//! | `fault` | errors of this store in the driver's error type |
//!
//! The time of the store ([`Store::time`]) is the primary's wall clock. All state that outlives the
//! process is in the database. The store contains no rule about tickets.

mod abandoned_transactions;
mod committer;
mod connection;
mod diagnosis;
mod driver_runtime;
mod dump;
mod fault;
mod feed;
mod group;
mod pending;
mod prepare;
mod reads;
mod schema;
mod seeds;
mod statements;
mod steps;
mod transaction;

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use bson::doc;
use mongodb::{
    Database,
    error::Error,
    options::{ReadPreference, SelectionCriteria},
};
use parking_lot::Mutex;
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

use self::{
    committer::CommitQueue,
    connection::{MongoConnection, open},
    driver_runtime::DriverRuntime,
    fault::describe,
    feed::FeedFollower,
    pending::COMMIT_DEADLINE,
    prepare::{Prepared, idempotency_id},
    reads::READ_MAX,
    schema::CommitCollection,
};
use gittix_domain::{
    Charge, ChargeId, Delivery, DomainEvent, Email, IdempotencyRecord, Mail, MailId, Millis, Order,
    OrderId, Sale, Session, SessionDigest, Ticket, TicketId, Timestamp, User, UserId,
    invariants::Snapshot,
};
use gittix_runtime::{metrics::METRICS, tasks::supervise};
use gittix_store::{
    Commit, CommitError, CounterValue, FeedLog, Inspect, MailCounts, OrderScope, Store, Unavailable,
};

/// Time limit of the start, including the indexes and the events of the last minutes.
const START_MAX: Duration = Duration::from_secs(120);
/// Time after the deadline of a commit that its caller waits for the answer. After it the outcome
/// is unknown.
const ANSWER_GRACE: Duration = Duration::from_secs(1);

/// Time limit for the search for another member that answers while the primary does not.
const MEMBER_MAX: Duration = Duration::from_secs(1);
const MEMBER_RETRY_PAUSE: Duration = Duration::from_millis(50);

/// The reason why the store cannot be used, as one line for the operator who set `MONGODB_URI`. It
/// contains no password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("MONGODB_URI: {reason}")]
pub struct ConnectError {
    reason: String,
    is_permanent: bool,
}

impl ConnectError {
    fn permanent(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), is_permanent: true }
    }

    fn transient(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), is_permanent: false }
    }

    /// Returns whether every other attempt would fail too: the URI, its credentials or its TLS
    /// options are wrong, the server is standalone, or it belongs to another replica set.
    pub fn is_permanent(&self) -> bool {
        self.is_permanent
    }
}

impl From<Error> for ConnectError {
    fn from(error: Error) -> Self {
        Self { reason: describe(&error), is_permanent: seeds::is_permanent(&error) }
    }
}

/// A [`Store`] on a MongoDB database. Any number of replicas may share the database.
pub struct MongoStore {
    connection: MongoConnection,
    feed: FeedLog,
    /// `None` after the store was closed.
    queue: Mutex<Option<CommitQueue>>,
    committer: Mutex<Option<JoinHandle<()>>>,
    follower: JoinHandle<()>,
    /// Last field, because it must be dropped after the fields above, which use it.
    driver_runtime: DriverRuntime,
}

impl MongoStore {
    /// Connects, creates missing indexes, and opens the feed with the events of the last five
    /// minutes.
    ///
    /// # Errors
    /// The URI or its credentials are wrong, the database is not ready within `START_MAX`, or the
    /// server is neither a member of the replica set nor a mongos.
    pub async fn connect(uri: &str) -> Result<Arc<Self>, ConnectError> {
        let driver_runtime = DriverRuntime::start().map_err(|error| {
            ConnectError::transient(format!("the thread for the driver cannot be started: {error}"))
        })?;
        let uri = uri.to_owned();
        let opened = driver_runtime.spawn(timeout(START_MAX, open(uri))).await;
        let (connection, feed_follower) = match opened {
            Ok(Ok(opened)) => opened?,
            Ok(Err(_)) => {
                return Err(ConnectError::transient(format!("not ready within {START_MAX:?}")));
            }
            Err(_) => return Err(ConnectError::transient("the start was interrupted")),
        };
        let feed = feed_follower.log().clone();
        let (queue, committer) = CommitQueue::new(connection.clone());
        let committer = Mutex::new(Some(driver_runtime.spawn(committer)));
        let feed_follower = Arc::new(tokio::sync::Mutex::new(feed_follower));
        let follower = driver_runtime
            .spawn(supervise("feed", move || FeedFollower::follow(Arc::clone(&feed_follower))));
        Ok(Arc::new(Self {
            connection,
            feed,
            queue: Mutex::new(Some(queue)),
            committer,
            follower,
            driver_runtime,
        }))
    }

    /// Returns the database, for the ledger of the sandbox, which has its own documents in it.
    pub fn database(&self) -> &Database {
        &self.connection.db
    }

    async fn read<T, F, R>(&self, read: F) -> Result<T, Unavailable>
    where
        T: Send + 'static,
        R: Future<Output = Result<T, Error>> + Send + 'static,
        F: FnOnce(Database) -> R,
    {
        self.driver_runtime.call(READ_MAX, read(self.connection.db.clone())).await
    }

    async fn by_id<T>(
        &self,
        collection: CommitCollection,
        id: String,
    ) -> Result<Option<T>, Unavailable>
    where
        T: serde::de::DeserializeOwned + Send + Sync + 'static,
    {
        self.read(move |db| reads::find_one(db, collection, doc! { "_id": id })).await
    }

    async fn submit(&self, commit: &Commit) -> Result<(), CommitError> {
        let prepared =
            Prepared::new(commit).map_err(|error| CommitError::Unavailable(error.to_string()))?;
        if prepared.statements.is_empty() && prepared.entry.is_none() {
            return Ok(());
        }
        let answered = match &*self.queue.lock() {
            Some(queue) => queue.submit(prepared)?,
            None => return Err(CommitError::Unavailable("the store is closed".into())),
        };
        match timeout(COMMIT_DEADLINE + ANSWER_GRACE, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(CommitError::OutcomeUnknown("the committer was interrupted".into())),
            Err(_) => Err(CommitError::OutcomeUnknown("no answer from the committer".into())),
        }
    }
}

#[async_trait]
impl Store for MongoStore {
    async fn commit(&self, commit: Commit) -> Result<(), CommitError> {
        let submitted = Instant::now();
        let result = self.submit(&commit).await;
        METRICS.commit_seconds.observe(submitted.elapsed().as_secs_f64());
        match &result {
            Ok(()) => METRICS.commits.inc(),
            Err(error) => METRICS.commits_failed.with_label_values(&[error.reason()]).inc(),
        }
        result
    }

    fn feed(&self) -> &FeedLog {
        &self.feed
    }

    async fn time(&self) -> Result<Timestamp, Unavailable> {
        self.read(reads::time).await
    }

    async fn secret(&self, name: &'static str) -> Result<[u8; 32], Unavailable> {
        self.read(move |db| async move { schema::secret(&db, name).await }).await
    }

    async fn has_mark(&self, name: &'static str) -> Result<bool, Unavailable> {
        self.read(move |db| schema::has_secret(db, name)).await
    }

    async fn other_member_answers(&self) -> bool {
        // Only secondaries are asked, because the driver still selects a stopped or isolated
        // primary for some time.
        let secondary =
            SelectionCriteria::ReadPreference(ReadPreference::Secondary { options: None });
        let admin = self.connection.db.client().database("admin");
        let search = async move {
            while admin
                .run_command(doc! { "hello": 1 })
                .selection_criteria(secondary.clone())
                .await
                .is_err()
            {
                sleep(MEMBER_RETRY_PAUSE).await;
            }
            Ok(())
        };
        self.driver_runtime.call(MEMBER_MAX, search).await.is_ok()
    }

    async fn ticket(&self, id: TicketId) -> Result<Option<Ticket>, Unavailable> {
        self.by_id(CommitCollection::Tickets, id.to_string()).await
    }

    async fn sale(&self, id: TicketId) -> Result<Option<Sale>, Unavailable> {
        self.read(move |db| reads::sale(db, id)).await
    }

    async fn tickets_after(
        &self,
        after: Option<TicketId>,
        limit: usize,
    ) -> Result<Vec<Ticket>, Unavailable> {
        self.read(move |db| reads::tickets_after(db, after, limit)).await
    }

    async fn sales(&self, ids: &[TicketId]) -> Result<Vec<Sale>, Unavailable> {
        let ids: Vec<String> = ids.iter().map(TicketId::to_string).collect();
        self.read(move |db| reads::sales(db, ids)).await
    }

    async fn tickets_overdue(
        &self,
        cutoff: Timestamp,
        limit: usize,
    ) -> Result<Vec<TicketId>, Unavailable> {
        self.read(move |db| reads::tickets_overdue(db, cutoff, limit)).await
    }

    async fn order(&self, id: OrderId) -> Result<Option<Order>, Unavailable> {
        self.by_id(CommitCollection::Orders, id.to_string()).await
    }

    async fn orders_of(
        &self,
        buyer: UserId,
        scope: OrderScope,
        after: Option<OrderId>,
        limit: usize,
    ) -> Result<Vec<Order>, Unavailable> {
        self.read(move |db| reads::orders_of(db, buyer, scope, after, limit)).await
    }

    async fn charge(&self, id: ChargeId) -> Result<Option<Charge>, Unavailable> {
        self.by_id(CommitCollection::Charges, id.to_string()).await
    }

    async fn charges_of(&self, order: OrderId) -> Result<Vec<Charge>, Unavailable> {
        self.read(move |db| reads::charges_of(db, order)).await
    }

    async fn charges_open(
        &self,
        cutoff: Timestamp,
        after: Option<ChargeId>,
        limit: usize,
    ) -> Result<Vec<Charge>, Unavailable> {
        self.read(move |db| reads::charges_open(db, cutoff, after, limit)).await
    }

    async fn user(&self, id: UserId) -> Result<Option<User>, Unavailable> {
        self.by_id(CommitCollection::Users, id.to_string()).await
    }

    async fn user_by_email(&self, email: &Email) -> Result<Option<User>, Unavailable> {
        let query = doc! { "email": email.as_str() };
        self.read(move |db| reads::find_one(db, CommitCollection::Users, query)).await
    }

    async fn mails_due(&self, now: Timestamp, limit: usize) -> Result<Vec<Mail>, Unavailable> {
        self.read(move |db| reads::mails_due(db, now, limit)).await
    }

    async fn mail_counts(&self) -> Result<MailCounts, Unavailable> {
        self.read(reads::mail_counts).await
    }

    async fn session(&self, digest: &SessionDigest) -> Result<Option<Session>, Unavailable> {
        self.by_id(CommitCollection::Sessions, digest.as_str().to_owned()).await
    }

    async fn idempotency(
        &self,
        user: UserId,
        key: &str,
    ) -> Result<Option<IdempotencyRecord>, Unavailable> {
        self.by_id(CommitCollection::Idempotency, idempotency_id(&user.to_string(), key)).await
    }

    async fn delivery(&self, event: &str) -> Result<Option<Delivery>, Unavailable> {
        self.by_id(CommitCollection::Deliveries, event.to_owned()).await
    }

    async fn declines_of(&self, user: UserId) -> Result<Vec<Timestamp>, Unavailable> {
        self.read(move |db| reads::declines_of(db, user)).await
    }

    async fn count_hit(
        &self,
        key: &str,
        window: Millis,
        now: Timestamp,
    ) -> Result<u64, Unavailable> {
        let key = key.to_owned();
        self.read(move |db| reads::count_hit(db, key, window, now)).await
    }

    async fn count(&self, key: &str, now: Timestamp) -> Result<CounterValue, Unavailable> {
        let key = key.to_owned();
        self.read(move |db| reads::count(db, key, now)).await
    }

    async fn clear_count(&self, key: &str) -> Result<(), Unavailable> {
        let key = key.to_owned();
        self.read(move |db| reads::clear_count(db, key)).await
    }

    async fn purge(&self, now: Timestamp) -> Result<(), Unavailable> {
        self.driver_runtime.call(dump::LIMIT, dump::purge(self.connection.db.clone(), now)).await
    }

    async fn close(&self) {
        // After the queue is dropped, the committer answers the waiting commits within their
        // deadlines and ends.
        drop(self.queue.lock().take());
        let committer = self.committer.lock().take();
        if let Some(committer) = committer {
            let _ = timeout(COMMIT_DEADLINE + ANSWER_GRACE, committer).await;
        }
        self.follower.abort();
        METRICS.feed_live.set(0);
    }
}

#[async_trait]
impl Inspect for MongoStore {
    async fn mail(&self, id: MailId) -> Result<Option<Mail>, Unavailable> {
        self.by_id(CommitCollection::Mails, id.to_string()).await
    }

    async fn dump(&self) -> Result<(Snapshot, Vec<DomainEvent>), Unavailable> {
        self.driver_runtime.call(dump::LIMIT, dump::dump(self.connection.db.clone())).await
    }
}

impl fmt::Debug for MongoStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MongoStore")
            .field("database", &self.connection.db.name())
            .finish_non_exhaustive()
    }
}
