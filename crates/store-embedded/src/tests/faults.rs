//! Shared transactions, a full queue, and a disk that fails before or during the flush.

use super::{disk::DiskControl, *};
use crate::queue::{BATCH_MAX, QUEUE_MAX};
use gittix_store::{FeedReader, FeedStep};

fn store_on(disk: &DiskControl) -> Arc<EmbeddedStore> {
    EmbeddedStore::start(EmbeddedStore::on(disk.backend()).expect("made"), WriteQueue::with_thread)
        .expect("opened")
}

/// Submits a commit without waiting for its answer.
fn submit(
    store: &EmbeddedStore,
    commit: Commit,
) -> Result<tokio::sync::oneshot::Receiver<writer::WriteResult>, CommitError> {
    store.queue.submit(Work::Commit(commit))
}

/// Blocks the writer in the flush of a commit that lists ticket 0.
fn block_writer(
    disk: &DiskControl,
    store: &EmbeddedStore,
) -> tokio::sync::oneshot::Receiver<writer::WriteResult> {
    disk.block_flushes();
    let first = submit(store, listing(0, wall_clock())).expect("the queue has room");
    disk.wait_for_blocked_flush();
    first
}

#[tokio::test]
async fn waiting_commits_share_one_transaction_and_are_validated_one_by_one() {
    let disk = DiskControl::default();
    let store = store_on(&disk);
    let mut reader = store.feed().subscribe();
    let first = block_writer(&disk, &store);
    // Every second commit creates the same ticket as the commit before it.
    let waiting: Vec<_> = (0..100)
        .map(|n| submit(&store, listing(1 + n / 2, wall_clock())).expect("the queue has room"))
        .collect();
    disk.unblock_flushes();
    first.await.expect("answered").expect("committed");
    for (n, answer) in waiting.into_iter().enumerate() {
        match answer.await.expect("answered") {
            Ok(_) => assert_eq!(n % 2, 0),
            Err(error) => assert_eq!((n % 2, error), (1, CommitError::Stale)),
        }
    }
    let (stored, events) = store.dump().await.expect("read");
    assert_eq!((stored.tickets.len(), events.len()), (51, 51));
    // Each cursor contains the number of its transaction.
    assert_eq!(
        transactions(&mut reader),
        [1, 50],
        "one transaction for the first commit, and one for all waiting commits"
    );
    // The control: commits one after the other have separate transactions.
    list(&store, 200).await;
    list(&store, 201).await;
    assert_eq!(transactions(&mut reader), [1, 1]);
}

/// Returns the number of events of each transaction since the last call.
fn transactions(reader: &mut FeedReader) -> Vec<usize> {
    match reader.try_next() {
        Some(FeedStep::Events(events)) => {
            events.chunk_by(|a, b| a.cursor.time == b.cursor.time).map(<[_]>::len).collect()
        }
        other => panic!("no events: {other:?}"),
    }
}

#[tokio::test]
async fn batch_of_refused_commits_causes_no_flush() {
    let disk = DiskControl::default();
    let store = store_on(&disk);
    list(&store, 1).await;
    let flushes = disk.flushes();
    assert_eq!(store.commit(listing(1, wall_clock())).await, Err(CommitError::Stale));
    assert_eq!(disk.flushes(), flushes);
}

#[tokio::test]
async fn full_queue_refuses_new_commits_and_keeps_the_queued_ones() {
    let disk = DiskControl::default();
    let store = store_on(&disk);
    let first = block_writer(&disk, &store);
    let mut waiting = Vec::new();
    for n in 1..=QUEUE_MAX as u128 {
        waiting.push(submit(&store, listing(n, wall_clock())).expect("the queue has room"));
    }
    let refused = store.commit(listing(1_000_000, wall_clock())).await;
    assert!(matches!(refused, Err(CommitError::Unavailable(_))), "{refused:?}");
    disk.unblock_flushes();
    first.await.expect("answered").expect("committed");
    for answer in waiting {
        answer.await.expect("answered").expect("committed");
    }
    assert_eq!(store.dump().await.expect("read").0.tickets.len(), QUEUE_MAX + 1);
    const { assert!(QUEUE_MAX > BATCH_MAX, "the queued commits need more than one transaction") };
}

#[tokio::test]
async fn commit_is_written_after_its_caller_stopped_waiting() {
    let disk = DiskControl::default();
    let store = store_on(&disk);
    let first = block_writer(&disk, &store);
    let abandoned = timeout(Duration::ZERO, store.commit(listing(1, wall_clock()))).await;
    assert!(abandoned.is_err(), "the caller stopped waiting");
    disk.unblock_flushes();
    first.await.expect("answered").expect("committed");
    store.close().await;
    assert!(store.ticket(id(1)).await.expect("read").is_some());
}

#[tokio::test]
async fn close_waits_for_queued_commits() {
    let disk = DiskControl::default();
    let store = store_on(&disk);
    let first = block_writer(&disk, &store);
    let waiting: Vec<_> = (1..=10)
        .map(|n| submit(&store, listing(n, wall_clock())).expect("the queue has room"))
        .collect();
    let closing = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.close().await }
    });
    disk.unblock_flushes();
    closing.await.expect("no panic");
    for mut answer in [first].into_iter().chain(waiting) {
        answer
            .try_recv()
            .expect("the commit is answered before `close` returns")
            .expect("committed");
    }
    let late = store.commit(listing(11, wall_clock())).await;
    assert_eq!(late, Err(CommitError::Unavailable("the store is closed".into())));
}

/// Asserts that a failed store refuses commits, reads and its time.
async fn assert_refuses_everything(store: &EmbeddedStore) {
    let later = store.commit(listing(9, wall_clock())).await;
    assert!(matches!(later, Err(CommitError::Unavailable(_))), "{later:?}");
    // A read could return less than the disk contains.
    assert!(store.ticket(id(1)).await.is_err());
    assert!(store.tickets_after(None, 10).await.is_err());
    assert!(store.time().await.is_err(), "readiness must fail");
}

#[tokio::test]
async fn failed_flush_makes_the_outcome_unknown_and_pushes_no_event() {
    let disk = DiskControl::default();
    let store = store_on(&disk);
    list(&store, 1).await;
    let before = store.feed().cursor();
    disk.fail_flushes();
    let failed = store.commit(listing(2, wall_clock())).await;
    assert!(matches!(failed, Err(CommitError::OutcomeUnknown(_))), "{failed:?}");
    assert_eq!(store.feed().cursor(), before);
    assert_refuses_everything(&store).await;
}

#[tokio::test]
async fn full_disk_before_the_flush_makes_the_commit_unavailable() {
    let disk = DiskControl::default();
    let store = store_on(&disk);
    list(&store, 1).await;
    disk.fail_growth();
    // This commit needs more space than the file has.
    let huge = Commit {
        writes: (10..6_000).flat_map(|n| listing(n, wall_clock()).writes).collect(),
        ..Commit::default()
    };
    let failed = store.commit(huge).await;
    assert!(matches!(failed, Err(CommitError::Unavailable(_))), "{failed:?}");
    assert_refuses_everything(&store).await;
}

/// Opens a store that reopens its database after a failure.
fn store_that_recovers(disk: &DiskControl) -> Arc<EmbeddedStore> {
    let again = disk.clone();
    let reopen: Reopen = Box::new(move || EmbeddedStore::on(again.backend()));
    EmbeddedStore::start_with(
        EmbeddedStore::on(disk.backend()).expect("made"),
        Some(reopen),
        None,
        WriteQueue::with_thread,
    )
    .expect("opened")
}

/// Waits until the store works again.
async fn recovered(store: &EmbeddedStore) {
    let works = async {
        while store.time().await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(60), works).await.expect("the store works again");
}

#[tokio::test]
async fn store_recovers_after_its_disk_was_full() {
    let disk = DiskControl::default();
    let store = store_that_recovers(&disk);
    list(&store, 1).await;
    disk.fail_growth();
    let huge = Commit {
        writes: (10..6_000).flat_map(|n| listing(n, wall_clock()).writes).collect(),
        ..Commit::default()
    };
    let failed = store.commit(huge).await;
    assert!(matches!(failed, Err(CommitError::Unavailable(_))), "{failed:?}");
    disk.end_failures();
    recovered(&store).await;
    assert!(
        store.ticket(id(1)).await.expect("read").is_some(),
        "the acknowledged commit is stored"
    );
    assert!(
        store.ticket(id(10)).await.expect("read").is_none(),
        "the refused commit is not stored"
    );
    let mut reader = store.feed().subscribe();
    list(&store, 2).await;
    assert_eq!(transactions(&mut reader), [1]);
}

#[tokio::test]
async fn commit_of_unknown_outcome_is_in_the_feed_exactly_if_it_was_written() {
    let disk = DiskControl::default();
    let store = store_that_recovers(&disk);
    list(&store, 1).await;
    let mut reader = store.feed().subscribe();
    disk.fail_flushes();
    let failed = store.commit(listing(2, wall_clock())).await;
    assert!(matches!(failed, Err(CommitError::OutcomeUnknown(_))), "{failed:?}");
    disk.end_failures();
    recovered(&store).await;
    let is_written = store.ticket(id(2)).await.expect("read").is_some();
    let in_feed = reader.try_next().is_some();
    assert_eq!(in_feed, is_written);
    list(&store, 3).await;
    let (stored, events) = store.dump().await.expect("read");
    assert_eq!(
        (stored.tickets.len(), events.len()),
        (2 + usize::from(is_written), 2 + usize::from(is_written))
    );
}

/// Attempts for a minute to open a failed file again. Each attempt fails with `error`. Returns the
/// reason if the attempts end.
async fn reopened_for_a_minute(error: impl Fn() -> OpenError + Send + 'static) -> Option<String> {
    let file = DatabaseFile::new(EmbeddedStore::on(InMemoryBackend::new()).expect("made"));
    file.fail("the disk failed".into());
    let mut reopening = Reopening::new(Box::new(move || Err(error())));
    for _ in 0..60 {
        tokio::time::advance(Duration::from_secs(1)).await;
        reopening.attempt(&file, |_| Ok(()));
        assert!(file.check().is_err());
    }
    timeout(Duration::ZERO, file.file_failed()).await.ok()
}

#[tokio::test(start_paused = true)]
async fn reopening_of_a_damaged_file_ends() {
    let damaged = || OpenError::Unreadable("damaged".into());
    assert_eq!(reopened_for_a_minute(damaged).await, Some(damaged().to_string()));
}

#[tokio::test(start_paused = true)]
async fn reopening_with_a_full_disk_does_not_end() {
    let full = || OpenError::Storage(redb::Error::Io(std::io::ErrorKind::StorageFull.into()));
    assert_eq!(reopened_for_a_minute(full).await, None);
}
