//! Where a test's server keeps its state: a folder of its own, and with MongoDB a database of its own. Both go with the
//! test.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
};

use bson::{Document, doc};
use futures_util::TryStreamExt;
use mongodb::{Client, error::Error};

/// How often to try to drop a database, a second each.
const TRIES: u32 = 20;

/// Which store a test runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    Embedded,
    /// The replica set that `MONGODB_URI` names (`scripts/with-mongod` starts one).
    MongoDb,
}

/// A folder, and perhaps a database, that nobody else uses; both are removed in the end.
#[derive(Debug)]
pub struct Home {
    folder: PathBuf,
    uri: Option<String>,
    kept: bool,
}

impl Home {
    /// An empty one.
    pub fn new(store: Backend) -> Self {
        Self::made((store == Backend::MongoDb).then(server_uri))
    }

    /// An empty one on a replica set of one's own.
    pub fn on(server: &str) -> Self {
        Self::made(Some(server.to_owned()))
    }

    fn made(server: Option<String>) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("gittix_test_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(&name);
        // A process with our number may have left one behind.
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("a folder can be made among the temporary files");
        let uri = server.map(|server| with_database(&server, &name));
        let home = Self { folder, uri, kept: false };
        home.drop_database();
        home
    }

    /// The embedded store's folder, and the ledger's.
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// With the database's name in it.
    pub fn mongodb_uri(&self) -> Option<&str> {
        self.uri.as_deref()
    }

    /// Leaves everything where it is, for whoever wants to see how it came to that.
    pub fn keep(&mut self) {
        self.kept = true;
    }

    fn drop_database(&self) {
        let Some(uri) = self.uri.clone() else { return };
        // A thread of its own: this also runs while a test's runtime is being torn down.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(removed(&uri))
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

/// Drops the database of a URI. A server that was killed may have left a transaction open, which would be waited for until
/// mongod ends it after a minute: so whatever transaction nobody has touched for a while is ended.
async fn removed(uri: &str) -> Result<(), Error> {
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
        // An empty list would mean all sessions, those of other tests among them.
        if !ids.is_empty() {
            admin.run_command(doc! { "killSessions": ids }).await?;
        }
    }
    database.drop().await
}

/// # Panics
/// Without `MONGODB_URI`: a test that is silently skipped proves nothing.
fn server_uri() -> String {
    std::env::var("MONGODB_URI").expect("MONGODB_URI must name a replica set; `scripts/with-mongod cargo test` starts one")
}

/// The same URI for another database.
fn with_database(uri: &str, database: &str) -> String {
    let (base, options) = uri.split_once('?').map_or((uri, ""), |(base, options)| (base, options));
    let (scheme, rest) = base.split_once("://").expect("a MongoDB URI has a scheme");
    let hosts = rest.split('/').next().unwrap_or(rest);
    let separator = if options.is_empty() { "" } else { "?" };
    format!("{scheme}://{hosts}/{database}{separator}{options}")
}

#[test]
fn a_uri_keeps_its_options_when_its_database_changes() {
    assert_eq!(with_database("mongodb://a:1,b:2/?replicaSet=rs", "x"), "mongodb://a:1,b:2/x?replicaSet=rs");
    assert_eq!(with_database("mongodb://a:1/old?replicaSet=rs", "x"), "mongodb://a:1/x?replicaSet=rs");
    assert_eq!(with_database("mongodb://a:1", "x"), "mongodb://a:1/x");
}
