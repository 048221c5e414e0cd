//! The MongoDB store on the replica set of `MONGODB_URI`, with one database for each test.

use std::{
    env, process,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use gittix::{
    clock::wall_clock,
    store::{Store, mongo::MongoStore},
};

/// Number of databases that this process created.
static COUNT: AtomicU32 = AtomicU32::new(0);

pub async fn on_replica_set<T>(name: &str, test: impl FnOnce(Arc<dyn Store>) -> T)
where
    T: Future<Output = ()> + Send + 'static,
{
    let server = env::var("MONGODB_URI").expect("MONGODB_URI names a MongoDB replica set; scripts/test starts one");
    // The name contains the time, the process and the test, so that parallel or killed runs do not use the same database.
    let unique = format!("gx{:x}_{}_{}", wall_clock().0, process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    // MongoDB allows 63 characters.
    let database: String = format!("{unique}_{name}").chars().take(63).collect();
    let uri = with_database(&server, &database);
    let store = MongoStore::connect(&uri).await.expect("the replica set answers");
    let outcome = tokio::spawn(test(store.clone())).await;
    store.close().await;
    let client = mongodb::Client::with_uri_str(&server).await.expect("the URI is valid");
    client.database(&database).drop().await.expect("a test's database can be dropped");
    if let Err(panicked) = outcome {
        std::panic::resume_unwind(panicked.into_panic());
    }
}

/// Returns `uri` with another database and the same hosts and options.
fn with_database(uri: &str, database: &str) -> String {
    let (scheme, rest) = uri.split_once("://").expect("a MongoDB URI has a scheme");
    let (address, options) = rest.split_once('?').map_or((rest, None), |(address, options)| (address, Some(options)));
    let hosts = address.split('/').next().unwrap_or(address);
    let options = options.map(|options| format!("?{options}")).unwrap_or_default();
    format!("{scheme}://{hosts}/{database}{options}")
}

#[test]
fn uri_with_another_database_keeps_its_hosts_and_options() {
    for uri in ["mongodb://a:1,b:2/?replicaSet=rs", "mongodb://a:1,b:2/old?replicaSet=rs", "mongodb://a:1,b:2?replicaSet=rs"] {
        assert_eq!(with_database(uri, "new"), "mongodb://a:1,b:2/new?replicaSet=rs", "{uri}");
    }
    assert_eq!(with_database("mongodb://a:1", "new"), "mongodb://a:1/new");
}
