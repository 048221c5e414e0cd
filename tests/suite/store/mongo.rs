//! The MongoDB store on the replica set that `MONGODB_URI` names, a database for each test.

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

/// Databases that this process made.
static COUNT: AtomicU32 = AtomicU32::new(0);

pub async fn on_replica_set<T>(name: &str, test: impl FnOnce(Arc<dyn Store>) -> T)
where
    T: Future<Output = ()> + Send + 'static,
{
    let server = env::var("MONGODB_URI").expect("MONGODB_URI names a MongoDB replica set; scripts/test starts one");
    // Of this moment, this process and this test, so that neither a run beside it nor one that was killed is in the way.
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

/// `uri` with its database replaced, its options kept.
fn with_database(uri: &str, database: &str) -> String {
    let (scheme, rest) = uri.split_once("://").expect("a MongoDB URI has a scheme");
    let (address, options) = rest.split_once('?').map_or((rest, None), |(address, options)| (address, Some(options)));
    let hosts = address.split('/').next().unwrap_or(address);
    let options = options.map(|options| format!("?{options}")).unwrap_or_default();
    format!("{scheme}://{hosts}/{database}{options}")
}

#[test]
fn a_uri_keeps_its_hosts_and_options() {
    for uri in ["mongodb://a:1,b:2/?replicaSet=rs", "mongodb://a:1,b:2/old?replicaSet=rs", "mongodb://a:1,b:2?replicaSet=rs"] {
        assert_eq!(with_database(uri, "new"), "mongodb://a:1,b:2/new?replicaSet=rs", "{uri}");
    }
    assert_eq!(with_database("mongodb://a:1", "new"), "mongodb://a:1/new");
}
