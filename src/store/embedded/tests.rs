//! What is special about this store: the file, the shared transactions, and a disk that fails. The contract itself is
//! proved by `tests/suite/store`.

mod disk;
mod faults;
mod reopening;

use std::{env, fs, path::PathBuf, process, sync::Arc, time::Duration};

use uuid::Uuid;

use super::*;
use crate::{
    domain::{Money, Title, decide::list_ticket},
    store::Write,
};

fn id(n: u128) -> TicketId {
    TicketId::new(Uuid::from_u128(n))
}

/// Puts ticket `n` on sale: one write, one event.
fn listing(n: u128, at: Timestamp) -> Commit {
    let title = Title::parse("A seat").expect("a title");
    let price = Money::from_minor(2_000).expect("a price");
    Commit::of(list_ticket(id(n), UserId::new(Uuid::from_u128(1)), title, price, at), at)
}

async fn list(store: &EmbeddedStore, n: u128) {
    store.commit(listing(n, wall_clock())).await.expect("committed");
}

/// A folder that is gone with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = env::temp_dir().join(format!("gittix-unit-{}-{name}", process::id()));
        fs::create_dir_all(&path).expect("the system's folder for temporary files is writable");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Nothing to be done about a folder that stays.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[tokio::test]
async fn a_commit_is_in_the_feed_when_it_is_acknowledged() {
    let folder = Folder::new("acknowledged");
    let store = EmbeddedStore::open(&folder.0).expect("opened");
    let mut reader = store.feed().subscribe();
    for n in 1..=20 {
        list(&store, n).await;
        assert!(reader.try_next().is_some(), "commit {n} was acknowledged before it was told");
    }
}

#[tokio::test(start_paused = true)]
async fn paused_time_stands_still_while_a_store_in_memory_works() {
    let store = EmbeddedStore::in_memory().expect("opened");
    let started = tokio::time::Instant::now();
    // What the runtime would skip to, if it took the work for idleness.
    let timer = tokio::spawn(tokio::time::sleep(Duration::from_secs(60)));
    for n in 1..=20 {
        list(&store, n).await;
    }
    store.tickets_after(None, 100).await.expect("read");
    store.purge(wall_clock()).await.expect("purged");
    assert_eq!(started.elapsed(), Duration::ZERO);
    timer.await.expect("no panic");
}

#[test]
fn a_document_with_a_member_that_a_later_version_added_can_be_read() {
    let ticket = listing(1, Timestamp(0)).writes.into_iter().find_map(|write| match write {
        Write::Ticket(ticket) => Some(ticket),
        _ => None,
    });
    let ticket = ticket.expect("a listing writes a ticket");
    let mut document = bson::serialize_to_document(&ticket).expect("a document");
    document.insert("seat", "A7");
    assert_eq!(tables::decode::<Ticket>(&tables::encode(&document).expect("bytes")).expect("read"), ticket);
}
