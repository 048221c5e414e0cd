//! The start of a store: on a new database, together with other replicas, and without a server.

use std::time::Duration;

use bson::doc;
use futures_util::future::join_all;
use gittix::{
    domain::{DomainEvent, invariants},
    store::{CommitError, Cursor, Inspect, Store, mongo::MongoStore},
};
use tokio::time::Instant;

use super::world::{Fault, World, events, on_sale, ticket_commit};
use crate::app::world::decided;

#[tokio::test]
async fn replicas_that_start_at_once_agree_on_epoch_and_secrets() {
    let world = World::new().await;
    let stores = join_all((0..4).map(|_| world.store())).await;
    let secrets = join_all(stores.iter().map(|store| store.secret("idempotency"))).await;
    let first = *secrets[0].as_ref().expect("a secret");
    for secret in &secrets {
        assert_eq!(secret.as_ref().expect("a secret"), &first);
    }
    assert_ne!(stores[0].secret("other").await.expect("a secret"), first);
    let epochs: Vec<u32> = stores.iter().map(|store| store.feed().cursor().epoch).collect();
    assert!(epochs[0] != 0 && epochs.iter().all(|epoch| *epoch == epochs[0]), "{epochs:?}");
    world.drop_database().await;
}

#[tokio::test]
async fn unreachable_server_is_a_one_line_error_within_seconds() {
    let asked = Instant::now();
    let error = MongoStore::connect("mongodb://127.0.0.1:1/?replicaSet=rs0")
        .await
        .expect_err("no server listens on port 1")
        .to_string();
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    assert!(error.starts_with("MONGODB_URI: ") && !error.contains('\n'), "{error}");
    println!("{error}");
}

#[tokio::test]
async fn invalid_uri_is_a_one_line_error() {
    let error = MongoStore::connect("localhost:27017")
        .await
        .expect_err("the URI has no scheme")
        .to_string();
    assert!(error.starts_with("MONGODB_URI: ") && !error.contains('\n'), "{error}");
}

#[tokio::test]
async fn cursor_of_the_last_minutes_is_resumed_on_a_replica_started_later() {
    let world = World::new().await;
    let first = world.store().await;
    let mut reader = first.feed().subscribe();
    on_sale(&*first).await;
    on_sale(&*first).await;
    let seen = events(&mut reader, 2).await;
    let second = world.store().await;
    let mut resumed =
        second.feed().resume(seen[0].cursor).expect("the cursor is at most a minute old");
    let missed = events(&mut resumed, 1).await;
    assert_eq!(missed[0].cursor, seen[1].cursor);
    assert_eq!(missed[0].event, seen[1].event);
    world.drop_database().await;
}

#[tokio::test]
async fn database_without_the_time_of_its_epoch_is_read_five_minutes_back() {
    let world = World::new().await;
    let first = world.store().await;
    let cursor = first.feed().cursor();
    on_sale(&*first).await;
    let meta = world.raw("meta");
    let epoch = meta
        .find_one(doc! { "_id": "epoch" })
        .await
        .expect("MongoDB answers")
        .expect("the epoch is stored");
    assert!(epoch.get_timestamp("since").is_ok(), "{epoch}");
    // Databases of version 0.1.0 and before are in this state.
    meta.update_one(doc! { "_id": "epoch" }, doc! { "$unset": { "since": "" } })
        .await
        .expect("MongoDB answers");
    let second = world.store().await;
    let mut resumed = second.feed().resume(cursor).expect("the cursor is at most a minute old");
    assert_eq!(events(&mut resumed, 1).await.len(), 1);
    let before_the_epoch = Cursor { time: cursor.time - (60 << 32), ..cursor };
    assert!(
        second.feed().resume(before_the_epoch).is_some(),
        "the history begins five minutes ago"
    );
    assert!(
        first.feed().resume(before_the_epoch).is_none(),
        "the history of a new database begins with its epoch"
    );
    world.drop_database().await;
}

#[tokio::test]
async fn time_of_the_store_is_the_time_of_the_server() {
    let world = World::new().await;
    let store = world.store().await;
    let (first, second) =
        (store.time().await.expect("a time"), store.time().await.expect("a time"));
    assert!(first <= second && (second - first).0 < 10_000, "{first:?} {second:?}");
    let difference = (gittix::clock::wall_clock() - second).0.abs();
    assert!(
        difference < 60_000,
        "the test's server runs on this machine, but the times differ by {difference} ms"
    );
    world.drop_database().await;
}

#[test]
fn ended_process_with_open_transactions_blocks_other_commits_only_briefly() {
    let runtime =
        || tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (first, second) = (runtime(), runtime());
    let world = second.block_on(World::new());
    let store = first.block_on(world.store());
    let commits: Vec<_> = (0..500).map(|_| ticket_commit().1).collect();
    for commit in commits.clone() {
        let store = std::sync::Arc::clone(&store);
        first.spawn(async move { store.commit(commit).await });
    }
    // One commit is acknowledged, so the others are in progress. Then the runtime that runs them
    // ends.
    first.block_on(on_sale(&*store));
    drop(store);
    first.shutdown_background();
    second.block_on(async {
        // The open transactions would stay open on the server for a minute. The same documents are
        // written again.
        let after = world.store().await;
        let answers = join_all(commits.into_iter().map(|commit| decided(&*after, commit))).await;
        let other: Vec<_> = answers
            .iter()
            .filter(|answer| !matches!(answer, Ok(()) | Err(CommitError::Stale)))
            .collect();
        assert!(other.is_empty(), "{other:?}");
        let (stored, events_stored) = after.dump().await.expect("a dump");
        assert_eq!(stored.tickets.len(), 501);
        assert_eq!(invariants::events_match_changes(&stored, &events_stored), Ok(()));
        drop(after);
        world.drop_database().await;
    });
}

#[tokio::test]
async fn feed_begins_at_the_present_if_the_oplog_is_too_short() {
    let world = World::new().await;
    on_sale(&*world.store().await).await;
    let data = doc! { "failCommands": ["aggregate"], "errorCode": 286 };
    let fault = Fault::set(&world, "short-oplog", doc! { "times": 1 }, data).await;
    let store = world.store_named("short-oplog").await;
    fault.heal().await;
    let mut reader = store.feed().subscribe();
    let ticket = on_sale(&*store).await;
    assert_eq!(events(&mut reader, 1).await[0].event, DomainEvent::TicketCreated { ticket });
    world.drop_database().await;
}
