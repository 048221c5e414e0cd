//! The storage of a test's server: a folder, and with MongoDB a database, used by this test only.

use std::{
    collections::VecDeque,
    fmt, iter,
    path::PathBuf,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use bson::{Document, doc};
use futures_util::TryStreamExt;
use mongodb::{Client, error::Error};
use tokio::time::Instant;

/// Number of attempts to drop or to empty a database; each takes up to one second.
const TRIES: u32 = 20;

/// Store that a test runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    Embedded,
    /// The replica set that `MONGODB_URI` names (`scripts/with-mongod` starts one).
    MongoDb,
}

/// Folder, and with MongoDB a database, that no other test uses at the same time. On drop, the
/// folder is removed.
#[derive(Debug)]
pub struct Home {
    folder: PathBuf,
    database: Option<TestDatabase>,
    kept: bool,
}

impl Home {
    /// Returns empty storage.
    pub fn new(store: Backend) -> Self {
        Self::create((store == Backend::MongoDb).then(TestDatabase::take))
    }

    /// Returns empty storage on the given replica set.
    pub fn on(server: &str) -> Self {
        Self::create(Some(TestDatabase::on(server)))
    }

    fn create(database: Option<TestDatabase>) -> Self {
        let folder = std::env::temp_dir().join(unique_name());
        // A previous process with the same process id may have left a folder.
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("the temporary folder is writable");
        Self { folder, database, kept: false }
    }

    /// Returns the folder of the embedded store and of the ledger.
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Returns the URI, which includes the database's name.
    pub fn mongodb_uri(&self) -> Option<&str> {
        self.database.as_ref().map(TestDatabase::uri)
    }

    /// Keeps the folder and the database on drop, so that the state after a failure can be
    /// examined.
    pub fn keep(&mut self) {
        self.kept = true;
        if let Some(database) = &mut self.database {
            database.after_use = AfterUse::Keep;
        }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if !self.kept {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}

/// Databases of [`TestDatabase::take`] that no test uses now, the one that was returned first in
/// front.
static FREE: Mutex<VecDeque<String>> = Mutex::new(VecDeque::new());

/// What happens to a database when its test ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AfterUse {
    /// It is emptied and used by another test. Creating a database and dropping it takes mongod a
    /// third of a second of CPU time, more than most tests do, and the more the more files it has.
    Reuse,
    Drop,
    Keep,
}

/// A database that no other test uses at the same time.
#[derive(Debug)]
pub struct TestDatabase {
    name: String,
    uri: String,
    after_use: AfterUse,
}

impl TestDatabase {
    /// Returns an empty database of the replica set that `MONGODB_URI` names. It may have the
    /// indexes of an earlier test. Its URI has the database's name as `appName`, by which its
    /// connections are found.
    ///
    /// # Panics
    /// If `MONGODB_URI` is not set: a test that is silently skipped proves nothing.
    pub fn take() -> Self {
        let server = std::env::var("MONGODB_URI").expect(
            "MONGODB_URI must name a replica set; `scripts/with-mongod cargo test` starts one",
        );
        let uri_of = |name: &str| with_app_name(&with_database(&server, name), name);
        let free = || FREE.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        // A database that is still in use is not used again.
        let emptied = iter::from_fn(free)
            .find(|name| blocking(&uri_of(name), async |client| empty(&client, name).await));
        let name = emptied.unwrap_or_else(unique_name);
        let uri = uri_of(&name);
        // Proofs and benchmarks have no test harness. They write so much that a new database is
        // faster than an emptied one.
        let after_use = if cfg!(test) { AfterUse::Reuse } else { AfterUse::Drop };
        Self { name, uri, after_use }
    }

    /// Returns a new database of the given replica set.
    pub fn on(server: &str) -> Self {
        let name = unique_name();
        let uri = with_database(server, &name);
        Self { name, uri, after_use: AfterUse::Drop }
    }

    /// Returns the URI, which includes the database's name.
    pub fn uri(&self) -> &str {
        &self.uri
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        match self.after_use {
            AfterUse::Reuse => FREE
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push_back(std::mem::take(&mut self.name)),
            AfterUse::Drop => blocking(&self.uri, drop_with_retries),
            AfterUse::Keep => {}
        }
    }
}

/// Runs `work` on a thread of its own, because this also happens while a test's runtime is being
/// shut down.
///
/// # Panics
/// If `work` fails, except during another panic.
fn blocking<T: Send + fmt::Debug + Default>(
    uri: &str,
    work: impl AsyncFnOnce(Client) -> Result<T, Error> + Send,
) -> T {
    let outcome = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async { work(Client::with_uri_str(maintenance(uri)).await?).await })
        });
        thread.join()
    });
    match outcome {
        Ok(Ok(done)) => done,
        _ if std::thread::panicking() => T::default(),
        failed => panic!("the database of a test could not be emptied or dropped: {failed:?}"),
    }
}

/// Removes all documents of a database when the servers of its last test have no connection
/// anymore: a commit of a server that was killed may still be running. Returns false if one still
/// has a connection.
async fn empty(client: &Client, name: &str) -> Result<bool, Error> {
    /// More than the time in which mongod notices that a process was killed.
    const CONNECTED_MAX: Duration = Duration::from_secs(10);
    let deadline = Instant::now() + CONNECTED_MAX;
    let connections = [
        doc! { "$currentOp": { "idleConnections": true } },
        doc! { "$match": { "appName": name } },
        doc! { "$project": { "appName": 1 } },
    ];
    let open =
        async || client.database("admin").aggregate(connections.clone()).await?.try_next().await;
    while open().await?.is_some() {
        if deadline < Instant::now() {
            return Ok(false);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let database = client.database(name);
    with_retries(client, async || {
        for collection in database.list_collection_names().await? {
            database.collection::<Document>(&collection).delete_many(doc! {}).await?;
        }
        Ok(())
    })
    .await?;
    Ok(true)
}

async fn drop_with_retries(client: Client) -> Result<(), Error> {
    let database = client.default_database().expect("the URI names a database");
    with_retries(&client, async || {
        database.run_command(doc! { "dropDatabase": 1, "maxTimeMS": 1_000 }).await.map(drop)
    })
    .await
}

/// Repeats `work` until it succeeds. A server that was killed may have left a transaction open,
/// which mongod aborts after a minute only. Therefore transactions that were idle for 500 ms are
/// aborted.
async fn with_retries(
    client: &Client,
    work: impl AsyncFn() -> Result<(), Error>,
) -> Result<(), Error> {
    let admin = client.database("admin");
    let idle = doc! { "active": false, "transaction.timeInactiveMicros": { "$gte": 500_000 } };
    for _ in 0..TRIES {
        if work().await.is_ok() {
            return Ok(());
        }
        let sessions = [
            doc! { "$currentOp": { "idleSessions": true } },
            doc! { "$match": &idle },
            doc! { "$project": { "lsid": 1 } },
        ];
        let abandoned: Vec<Document> = admin.aggregate(sessions).await?.try_collect().await?;
        let id = |session: &Document| {
            Some(doc! { "id": session.get_document("lsid").ok()?.get("id")?.clone() })
        };
        let ids: Vec<Document> = abandoned.iter().filter_map(id).collect();
        // `killSessions` with an empty list kills all sessions, also those of other tests.
        if !ids.is_empty() {
            admin.run_command(doc! { "killSessions": ids }).await?;
        }
    }
    work().await
}

fn unique_name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("gittix_test_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Returns the URI with another database name and the same hosts and options.
fn with_database(uri: &str, database: &str) -> String {
    let (base, options) = uri.split_once('?').map_or((uri, ""), |(base, options)| (base, options));
    let (scheme, rest) = base.split_once("://").expect("a MongoDB URI has a scheme");
    let hosts = rest.split('/').next().unwrap_or(rest);
    let separator = if options.is_empty() { "" } else { "?" };
    format!("{scheme}://{hosts}/{database}{separator}{options}")
}

/// Returns the URI with another `appName`, which is the first of its options.
pub fn with_app_name(uri: &str, app_name: &str) -> String {
    let (base, options) = uri.split_once('?').map_or((uri, ""), |(base, options)| (base, options));
    let others =
        options.split('&').filter(|option| !option.is_empty() && !option.starts_with("appName="));
    let options: String = others.map(|option| format!("&{option}")).collect();
    format!("{base}?appName={app_name}{options}")
}

/// Returns the URI for connections that are not a server's.
fn maintenance(uri: &str) -> String {
    with_app_name(uri, "gittix-test-maintenance")
}

#[test]
fn uri_with_another_database_keeps_its_hosts_and_options() {
    for uri in [
        "mongodb://a:1,b:2/?replicaSet=rs",
        "mongodb://a:1,b:2/old?replicaSet=rs",
        "mongodb://a:1,b:2?replicaSet=rs",
    ] {
        assert_eq!(with_database(uri, "new"), "mongodb://a:1,b:2/new?replicaSet=rs", "{uri}");
    }
    assert_eq!(with_database("mongodb://a:1", "new"), "mongodb://a:1/new");
}

#[test]
fn uri_with_another_app_name_keeps_its_other_options() {
    assert_eq!(
        with_app_name("mongodb://a/db?replicaSet=rs&appName=old", "new"),
        "mongodb://a/db?appName=new&replicaSet=rs"
    );
    assert_eq!(with_app_name("mongodb://a/db", "new"), "mongodb://a/db?appName=new");
}
