//! The MongoDB store on the replica set of `MONGODB_URI`, with a database of its own for each test.

use std::sync::Arc;

use gittix::store::{Inspect, Store, mongo::MongoStore};

use crate::app::TestDatabase;

pub async fn on_replica_set<T>(_name: &str, test: impl FnOnce(Arc<dyn Inspect>) -> T)
where
    T: Future<Output = ()> + Send + 'static,
{
    let database = TestDatabase::take();
    let store = MongoStore::connect(database.uri()).await.expect("the replica set answers");
    let outcome = tokio::spawn(test(store.clone())).await;
    store.close().await;
    if let Err(panicked) = outcome {
        std::panic::resume_unwind(panicked.into_panic());
    }
}
