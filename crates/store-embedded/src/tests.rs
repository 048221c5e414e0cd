//! Tests of the parts that only this store has: the file, the shared transactions, and disk
//! failures. `tests/suite/store` tests the contract of all stores.

mod disk;
mod faults;
mod reopening;

use std::{env, fs, path::PathBuf, process, sync::Arc, time::Duration};

use uuid::Uuid;

use super::*;
use gittix_domain::{decide::list_ticket, samples};
use gittix_store::Write;

fn id(n: u128) -> TicketId {
    TicketId::new(Uuid::from_u128(n))
}

/// Returns a commit that lists ticket `n`: one write, one event.
fn listing(n: u128, at: Timestamp) -> Commit {
    let seller = UserId::new(Uuid::from_u128(1));
    Commit::of(list_ticket(id(n), seller, samples::details("A seat"), at), at)
}

async fn list(store: &EmbeddedStore, n: u128) {
    store.commit(listing(n, wall_clock())).await.expect("committed");
}

/// A temporary folder that is deleted when the test ends.
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
        // A failure only leaves a temporary folder behind.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[tokio::test]
async fn acknowledged_commit_is_in_the_feed() {
    let folder = Folder::new("acknowledged");
    let store = EmbeddedStore::open(&folder.0).expect("opened");
    let mut reader = store.feed().subscribe();
    for n in 1..=20 {
        list(&store, n).await;
        assert!(
            reader.try_next().is_some(),
            "commit {n} was acknowledged before its event was in the feed"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn paused_time_does_not_advance_during_calls_of_a_store_in_memory() {
    let store = EmbeddedStore::in_memory().expect("opened");
    let started = tokio::time::Instant::now();
    // The runtime would advance its clock to this timer if it were idle during the calls.
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
fn document_with_an_unknown_member_is_decoded() {
    let ticket = listing(1, Timestamp(0)).writes.into_iter().find_map(|write| match write {
        Write::Ticket(ticket) => Some(ticket),
        _ => None,
    });
    let ticket = ticket.expect("a listing writes a ticket");
    let mut document = bson::serialize_to_document(&ticket).expect("a document");
    document.insert("seat", "A7");
    assert_eq!(
        tables::decode::<Ticket>(&tables::encode(&document).expect("bytes")).expect("read"),
        ticket
    );
}
