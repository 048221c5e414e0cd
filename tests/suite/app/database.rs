//! The storage of a test's server: a folder, and with MongoDB a database, used by this test only. Both are removed when
//! the test ends.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
};

use bson::{Document, doc};
use futures_util::TryStreamExt;
use mongodb::{Client, error::Error};

/// Number of attempts to drop a database; each takes up to one second.
const TRIES: u32 = 20;

/// Store that a test runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    Embedded,
    /// The replica set that `MONGODB_URI` names (`scripts/with-mongod` starts one).
    MongoDb,
}

/// Folder, and with MongoDB a database, that no other test uses. Both are drop_with_retries on drop.
#[derive(Debug)]
pub struct Home {
    folder: PathBuf,
    uri: Option<String>,
    kept: bool,
}

impl Home {
    /// Returns empty storage.
    pub fn new(store: Backend) -> Self {
        Self::create((store == Backend::MongoDb).then(server_uri))
    }

    /// Returns empty storage on the given replica set.
    pub fn on(server: &str) -> Self {
        Self::create(Some(server.to_owned()))
    }

    fn create(server: Option<String>) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("gittix_test_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(&name);
        // A previous process with the same process id may have left a folder.
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("the temporary folder is writable");
        let uri = server.map(|server| with_database(&server, &name));
        let home = Self { folder, uri, kept: false };
        home.drop_database();
        home
    }

    /// Returns the folder of the embedded store and of the ledger.
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Returns the URI, which includes the database's name.
    pub fn mongodb_uri(&self) -> Option<&str> {
        self.uri.as_deref()
    }

    /// Keeps the folder and the database on drop, so that the state after a failure can be examined.
    pub fn keep(&mut self) {
        self.kept = true;
    }

    fn drop_database(&self) {
        let Some(uri) = self.uri.clone() else { return };
        // This also runs while a test's runtime is being shut down, so it needs a separate thread.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(drop_with_retries(&uri))
        })
        .join();
        if !matches!(dropped, Ok(Ok(()))) && !std::thread::panicking() {
            panic!("the database of a test could not be dropped: {dropped:?}");
        }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if !self.kept {
            self.drop_database();
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}

/// Drops the database of a URI. A server that was killed may have left a transaction open, and `dropDatabase` waits until
/// mongod aborts it after a minute. Therefore transactions that were idle for 500 ms are aborted.
async fn drop_with_retries(uri: &str) -> Result<(), Error> {
    let client = Client::with_uri_str(uri).await?;
    let (database, admin) = (client.default_database().expect("the URI names a database"), client.database("admin"));
    let idle = doc! { "active": false, "transaction.timeInactiveMicros": { "$gte": 500_000 } };
    for _ in 0..TRIES {
        if database.run_command(doc! { "dropDatabase": 1, "maxTimeMS": 1_000 }).await.is_ok() {
            return Ok(());
        }
        let sessions = [doc! { "$currentOp": { "idleSessions": true } }, doc! { "$match": &idle }, doc! { "$project": { "lsid": 1 } }];
        let abandoned: Vec<Document> = admin.aggregate(sessions).await?.try_collect().await?;
        let id = |session: &Document| Some(doc! { "id": session.get_document("lsid").ok()?.get("id")?.clone() });
        let ids: Vec<Document> = abandoned.iter().filter_map(id).collect();
        // `killSessions` with an empty list kills all sessions, also those of other tests.
        if !ids.is_empty() {
            admin.run_command(doc! { "killSessions": ids }).await?;
        }
    }
    database.drop().await
}

/// # Panics
/// If `MONGODB_URI` is not set: a test that is silently skipped proves nothing.
fn server_uri() -> String {
    std::env::var("MONGODB_URI").expect("MONGODB_URI must name a replica set; `scripts/with-mongod cargo test` starts one")
}

/// Returns the URI with another database name.
fn with_database(uri: &str, database: &str) -> String {
    let (base, options) = uri.split_once('?').map_or((uri, ""), |(base, options)| (base, options));
    let (scheme, rest) = base.split_once("://").expect("a MongoDB URI has a scheme");
    let hosts = rest.split('/').next().unwrap_or(rest);
    let separator = if options.is_empty() { "" } else { "?" };
    format!("{scheme}://{hosts}/{database}{separator}{options}")
}

#[test]
fn uri_with_another_database_keeps_its_options() {
    assert_eq!(with_database("mongodb://a:1,b:2/?replicaSet=rs", "x"), "mongodb://a:1,b:2/x?replicaSet=rs");
    assert_eq!(with_database("mongodb://a:1/old?replicaSet=rs", "x"), "mongodb://a:1/x?replicaSet=rs");
    assert_eq!(with_database("mongodb://a:1", "x"), "mongodb://a:1/x");
}
