//! What a restart finds, and what it refuses to open.

use super::*;
use crate::store::{Cursor, FeedStep, embedded::opening::OpenError};

fn cursors(step: Option<FeedStep>) -> Vec<Cursor> {
    match step {
        Some(FeedStep::Events(events)) => events.iter().map(|event| event.cursor).collect(),
        Some(FeedStep::Reset) => panic!("history was lost"),
        None => Vec::new(),
    }
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_drop_without_a_close() {
    let folder = Folder::new("dropped");
    let store = EmbeddedStore::open(&folder.0).expect("opened");
    let secret = store.secret("one").await.expect("a secret");
    for n in 1..=20 {
        list(&store, n).await;
    }
    let before = store.dump().await.expect("read");
    drop(store);
    let store = EmbeddedStore::open(&folder.0).expect("the file is free as soon as the store is dropped");
    assert_eq!(store.dump().await.expect("read"), before);
    assert_eq!(store.secret("one").await.expect("a secret"), secret);
}

#[tokio::test]
async fn a_clients_cursor_survives_a_restart() {
    let folder = Folder::new("cursor");
    let store = EmbeddedStore::open(&folder.0).expect("opened");
    let empty = store.feed().cursor();
    let mut reader = store.feed().subscribe();
    for n in 1..=3 {
        list(&store, n).await;
    }
    let told = cursors(reader.try_next());
    assert_eq!(told.len(), 3);
    drop((store, reader));
    let store = EmbeddedStore::open(&folder.0).expect("opened");
    for (skipped, cursor) in [empty].into_iter().chain(told.clone()).enumerate() {
        let mut reader = store.feed().resume(cursor).expect("it is from the last five minutes");
        assert_eq!(cursors(reader.try_next()), told[skipped..]);
    }
    list(&store, 4).await;
    assert!(store.feed().cursor() > told[2], "cursors go on from where they were");
}

#[tokio::test]
async fn only_the_last_minutes_are_read_back() {
    let folder = Folder::new("minutes");
    let store = EmbeddedStore::open(&folder.0).expect("opened");
    let mut reader = store.feed().subscribe();
    let long_ago = wall_clock() - Millis::from_mins(6);
    for n in 1..=2 {
        store.commit(listing(n, long_ago)).await.expect("committed");
    }
    list(&store, 3).await;
    let told = cursors(reader.try_next());
    drop((store, reader));
    let store = EmbeddedStore::open(&folder.0).expect("opened");
    assert!(store.feed().resume(told[0]).is_none(), "what came after it is not in memory");
    let mut reader = store.feed().resume(told[1]).expect("the place before the first that is");
    assert_eq!(cursors(reader.try_next()), told[2..]);
}

#[tokio::test]
async fn cursors_do_not_begin_again_when_all_events_were_purged() {
    let folder = Folder::new("purged");
    let store = EmbeddedStore::open(&folder.0).expect("opened");
    list(&store, 1).await;
    let last = store.feed().cursor();
    store.purge(wall_clock() + Millis::from_mins(31 * 24 * 60)).await.expect("purged");
    assert_eq!(store.dump().await.expect("read").1, []);
    drop(store);
    let store = EmbeddedStore::open(&folder.0).expect("opened");
    assert_eq!(store.feed().cursor(), last);
    list(&store, 2).await;
    assert!(store.feed().cursor() > last);
}

#[test]
fn a_file_that_is_open_elsewhere_is_refused_in_one_line() {
    let folder = Folder::new("in-use");
    let _first = EmbeddedStore::open(&folder.0).expect("opened");
    let error = EmbeddedStore::open(&folder.0).expect_err("it is in use");
    assert!(matches!(error, OpenError::InUse { .. }), "{error:?}");
    assert!(error.to_string().ends_with("gittix.redb is in use by another process"), "{error}");
}

#[test]
fn a_folder_that_cannot_be_is_refused_in_one_line() {
    let folder = Folder::new("no-folder");
    let file = folder.0.join("file");
    fs::write(&file, "").expect("written");
    let error = EmbeddedStore::open(&file.join("data")).expect_err("a file has no folders in it");
    assert!(matches!(error, OpenError::Folder { .. }), "{error:?}");
    assert_eq!(error.to_string().lines().count(), 1);
}

#[test]
fn a_file_of_another_layout_is_refused() {
    let folder = Folder::new("layout");
    drop(EmbeddedStore::open(&folder.0).expect("opened"));
    let database = opening::database(&folder.0).expect("opened");
    let transaction = database.begin_write().expect("begun");
    let later = tables::SCHEMA + 1;
    transaction.open_table(tables::META).expect("opened").insert(tables::meta::SCHEMA, later).expect("written");
    transaction.commit().expect("committed");
    drop(database);
    let error = EmbeddedStore::open(&folder.0).expect_err("nobody knows that layout");
    assert!(matches!(error, OpenError::Layout { found } if found == later), "{error:?}");
}

#[test]
fn a_file_that_is_no_database_is_refused() {
    let folder = Folder::new("no-database");
    fs::write(folder.0.join("gittix.redb"), "tickets, tickets, tickets".repeat(1_000)).expect("written");
    let error = EmbeddedStore::open(&folder.0).expect_err("that is no database");
    assert!(matches!(error, OpenError::File { .. }), "{error:?}");
}
