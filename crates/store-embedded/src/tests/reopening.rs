//! Reopening of a store: the data that it contains, and the files that it refuses.

use super::*;
use crate::opening::OpenError;
use gittix_store::{Cursor, FeedStep};

fn cursors(step: Option<FeedStep>) -> Vec<Cursor> {
    match step {
        Some(FeedStep::Events(events)) => events.iter().map(|event| event.cursor).collect(),
        Some(FeedStep::Reset) => panic!("history was lost"),
        None => Vec::new(),
    }
}

#[tokio::test]
async fn acknowledged_commits_are_stored_after_a_drop_without_close() {
    let folder = Folder::new("dropped");
    let store = EmbeddedStore::open(&folder.0).expect("opened");
    let secret = store.secret("one").await.expect("a secret");
    for n in 1..=20 {
        list(&store, n).await;
    }
    let before = store.dump().await.expect("read");
    drop(store);
    let store =
        EmbeddedStore::open(&folder.0).expect("the file is free as soon as the store is dropped");
    assert_eq!(store.dump().await.expect("read"), before);
    assert_eq!(store.secret("one").await.expect("a secret"), secret);
}

#[tokio::test]
async fn cursor_of_a_client_is_resumed_after_a_restart() {
    let folder = Folder::new("cursor");
    let store = EmbeddedStore::open(&folder.0).expect("opened");
    let empty = store.feed().cursor();
    let mut reader = store.feed().subscribe();
    for n in 1..=3 {
        list(&store, n).await;
    }
    let pushed = cursors(reader.try_next());
    assert_eq!(pushed.len(), 3);
    drop((store, reader));
    let store = EmbeddedStore::open(&folder.0).expect("opened");
    for (skipped, cursor) in [empty].into_iter().chain(pushed.clone()).enumerate() {
        let mut reader =
            store.feed().resume(cursor).expect("the cursor is from the last five minutes");
        assert_eq!(cursors(reader.try_next()), pushed[skipped..]);
    }
    list(&store, 4).await;
    assert!(store.feed().cursor() > pushed[2], "cursors ascend across the restart");
}

#[tokio::test]
async fn restart_reads_only_the_events_of_the_last_minutes() {
    let folder = Folder::new("minutes");
    let store = EmbeddedStore::open(&folder.0).expect("opened");
    let mut reader = store.feed().subscribe();
    let long_ago = wall_clock() - Millis::from_mins(6);
    for n in 1..=2 {
        store.commit(listing(n, long_ago)).await.expect("committed");
    }
    list(&store, 3).await;
    let pushed = cursors(reader.try_next());
    drop((store, reader));
    let store = EmbeddedStore::open(&folder.0).expect("opened");
    assert!(store.feed().resume(pushed[0]).is_none(), "the events after it are not in the ring");
    let mut reader = store
        .feed()
        .resume(pushed[1])
        .expect("the cursor is directly before the first event in the ring");
    assert_eq!(cursors(reader.try_next()), pushed[2..]);
}

#[tokio::test]
async fn cursors_ascend_after_all_events_were_purged() {
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
fn file_in_use_is_refused_with_one_line() {
    let folder = Folder::new("in-use");
    let _first = EmbeddedStore::open(&folder.0).expect("opened");
    let error = EmbeddedStore::open(&folder.0).expect_err("the file is in use");
    assert!(matches!(error, OpenError::InUse { .. }), "{error:?}");
    assert!(error.to_string().ends_with("gittix.redb is in use by another process"), "{error}");
}

#[test]
fn impossible_folder_is_refused_with_one_line() {
    let folder = Folder::new("no-folder");
    let file = folder.0.join("file");
    fs::write(&file, "").expect("written");
    let error =
        EmbeddedStore::open(&file.join("data")).expect_err("a file cannot contain a folder");
    assert!(matches!(error, OpenError::Folder { .. }), "{error:?}");
    assert_eq!(error.to_string().lines().count(), 1);
}

#[test]
fn file_of_another_layout_is_refused() {
    let folder = Folder::new("layout");
    drop(EmbeddedStore::open(&folder.0).expect("opened"));
    let database = opening::database(&folder.0).expect("opened");
    let transaction = database.begin_write().expect("begun");
    let later = tables::SCHEMA + 1;
    transaction
        .open_table(tables::META)
        .expect("opened")
        .insert(tables::meta::SCHEMA, later)
        .expect("written");
    transaction.commit().expect("committed");
    drop(database);
    let error = EmbeddedStore::open(&folder.0).expect_err("the layout is not supported");
    assert!(matches!(error, OpenError::Layout { found } if found == later), "{error:?}");
}

#[test]
fn file_that_is_not_a_database_is_refused() {
    let folder = Folder::new("no-database");
    fs::write(folder.0.join("gittix.redb"), "tickets, tickets, tickets".repeat(1_000))
        .expect("written");
    let error = EmbeddedStore::open(&folder.0).expect_err("the file is not a database");
    assert!(matches!(error, OpenError::File { .. }), "{error:?}");
}
