//! Shared transactions, a full queue, and a disk that fails before, or at, the moment of durability.

use super::{disk::Hand, *};
use crate::store::{
    FeedReader, FeedStep,
    embedded::queue::{BATCH_MAX, QUEUE_MAX},
};

fn store_on(hand: &Hand) -> Arc<EmbeddedStore> {
    EmbeddedStore::start(EmbeddedStore::on(hand.disk()).expect("made"), WriteQueue::with_thread).expect("opened")
}

/// Submits a commit without waiting for its answer.
fn submit(store: &EmbeddedStore, commit: Commit) -> Result<tokio::sync::oneshot::Receiver<writer::WriteResult>, CommitError> {
    store.queue.submit(Work::Commit(commit))
}

/// Keeps the writer at its flush, with ticket 0 in its hands.
fn busy(hand: &Hand, store: &EmbeddedStore) -> tokio::sync::oneshot::Receiver<writer::WriteResult> {
    hand.hold();
    let first = submit(store, listing(0, wall_clock())).expect("there is room");
    hand.wait_for_a_flush();
    first
}

#[tokio::test]
async fn commits_that_wait_share_one_transaction_and_are_judged_one_by_one() {
    let hand = Hand::default();
    let store = store_on(&hand);
    let mut reader = store.feed().subscribe();
    let first = busy(&hand, &store);
    // Every other one wants a ticket that the one before it makes.
    let waiting: Vec<_> = (0..100).map(|n| submit(&store, listing(1 + n / 2, wall_clock())).expect("there is room")).collect();
    hand.release();
    first.await.expect("answered").expect("committed");
    for (n, answer) in waiting.into_iter().enumerate() {
        match answer.await.expect("answered") {
            Ok(_) => assert_eq!(n % 2, 0),
            Err(error) => assert_eq!((n % 2, error), (1, CommitError::Stale)),
        }
    }
    let (world, events) = store.dump().await.expect("read");
    assert_eq!((world.tickets.len(), events.len()), (51, 51));
    // The number of its transaction is in each event's cursor.
    assert_eq!(transactions(&mut reader), [1, 50], "the first one's own, and one for all that waited");
    // The control: one after the other, each has its own.
    list(&store, 200).await;
    list(&store, 201).await;
    assert_eq!(transactions(&mut reader), [1, 1]);
}

/// How many events came of each transaction since the last call.
fn transactions(reader: &mut FeedReader) -> Vec<usize> {
    match reader.try_next() {
        Some(FeedStep::Events(events)) => events.chunk_by(|a, b| a.cursor.time == b.cursor.time).map(<[_]>::len).collect(),
        other => panic!("no events: {other:?}"),
    }
}

#[tokio::test]
async fn refused_commits_alone_cost_no_flush() {
    let hand = Hand::default();
    let store = store_on(&hand);
    list(&store, 1).await;
    let flushes = hand.flushes();
    assert_eq!(store.commit(listing(1, wall_clock())).await, Err(CommitError::Stale));
    assert_eq!(hand.flushes(), flushes);
}

#[tokio::test]
async fn a_full_queue_refuses_at_once_and_keeps_what_it_took() {
    let hand = Hand::default();
    let store = store_on(&hand);
    let first = busy(&hand, &store);
    let mut waiting = Vec::new();
    for n in 1..=QUEUE_MAX as u128 {
        waiting.push(submit(&store, listing(n, wall_clock())).expect("there is room"));
    }
    let refused = store.commit(listing(1_000_000, wall_clock())).await;
    assert!(matches!(refused, Err(CommitError::Unavailable(_))), "{refused:?}");
    hand.release();
    first.await.expect("answered").expect("committed");
    for answer in waiting {
        answer.await.expect("answered").expect("committed");
    }
    assert_eq!(store.dump().await.expect("read").0.tickets.len(), QUEUE_MAX + 1);
    const { assert!(QUEUE_MAX > BATCH_MAX, "more than one transaction's worth was queued") };
}

#[tokio::test]
async fn a_commit_is_written_though_its_caller_went_away() {
    let hand = Hand::default();
    let store = store_on(&hand);
    let first = busy(&hand, &store);
    let abandoned = timeout(Duration::ZERO, store.commit(listing(1, wall_clock()))).await;
    assert!(abandoned.is_err(), "nobody waited for it");
    hand.release();
    first.await.expect("answered").expect("committed");
    store.close().await;
    assert!(store.ticket(id(1)).await.expect("read").is_some());
}

#[tokio::test]
async fn close_waits_for_what_is_queued() {
    let hand = Hand::default();
    let store = store_on(&hand);
    let first = busy(&hand, &store);
    let waiting: Vec<_> = (1..=10).map(|n| submit(&store, listing(n, wall_clock())).expect("there is room")).collect();
    let closing = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.close().await }
    });
    hand.release();
    closing.await.expect("no panic");
    for mut answer in [first].into_iter().chain(waiting) {
        answer.try_recv().expect("answered before the close returned").expect("committed");
    }
    let late = store.commit(listing(11, wall_clock())).await;
    assert_eq!(late, Err(CommitError::Unavailable("the store is closed".into())));
}

/// Whatever is asked of a store that failed.
async fn assert_refuses_everything(store: &EmbeddedStore) {
    let later = store.commit(listing(9, wall_clock())).await;
    assert!(matches!(later, Err(CommitError::Unavailable(_))), "{later:?}");
    // What it would read may be less than what the disk holds.
    assert!(store.ticket(id(1)).await.is_err());
    assert!(store.tickets_after(None, 10).await.is_err());
    assert!(store.time().await.is_err(), "readiness must turn red");
}

#[tokio::test]
async fn the_outcome_is_unknown_when_the_flush_fails_and_nothing_is_told() {
    let hand = Hand::default();
    let store = store_on(&hand);
    list(&store, 1).await;
    let told = store.feed().cursor();
    hand.fail_flushes();
    let failed = store.commit(listing(2, wall_clock())).await;
    assert!(matches!(failed, Err(CommitError::OutcomeUnknown(_))), "{failed:?}");
    assert_eq!(store.feed().cursor(), told);
    assert_refuses_everything(&store).await;
}

#[tokio::test]
async fn nothing_was_written_when_the_disk_is_full_before_the_flush() {
    let hand = Hand::default();
    let store = store_on(&hand);
    list(&store, 1).await;
    hand.fail_growth();
    // More than the file has room for.
    let huge = Commit { writes: (10..6_000).flat_map(|n| listing(n, wall_clock()).writes).collect(), ..Commit::default() };
    let failed = store.commit(huge).await;
    assert!(matches!(failed, Err(CommitError::Unavailable(_))), "{failed:?}");
    assert_refuses_everything(&store).await;
}

/// A store that is opened again after its disk failed.
fn store_that_recovers(hand: &Hand) -> Arc<EmbeddedStore> {
    let again = hand.clone();
    let reopen: Reopen = Box::new(move || EmbeddedStore::on(again.disk()));
    EmbeddedStore::start_with(EmbeddedStore::on(hand.disk()).expect("made"), Some(reopen), None, WriteQueue::with_thread).expect("opened")
}

/// Asks until the store works again.
async fn recovered(store: &EmbeddedStore) {
    let works = async {
        while store.time().await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(60), works).await.expect("the store works again");
}

#[tokio::test]
async fn store_works_again_by_itself_after_its_disk_was_full() {
    let hand = Hand::default();
    let store = store_that_recovers(&hand);
    list(&store, 1).await;
    hand.fail_growth();
    let huge = Commit { writes: (10..6_000).flat_map(|n| listing(n, wall_clock()).writes).collect(), ..Commit::default() };
    let failed = store.commit(huge).await;
    assert!(matches!(failed, Err(CommitError::Unavailable(_))), "{failed:?}");
    hand.heal();
    recovered(&store).await;
    assert!(store.ticket(id(1)).await.expect("read").is_some(), "what was acknowledged is there");
    assert!(store.ticket(id(10)).await.expect("read").is_none(), "what was refused is not");
    let mut reader = store.feed().subscribe();
    list(&store, 2).await;
    assert_eq!(transactions(&mut reader), [1]);
}

#[tokio::test]
async fn commit_of_unknown_outcome_is_in_the_feed_if_it_was_written() {
    let hand = Hand::default();
    let store = store_that_recovers(&hand);
    list(&store, 1).await;
    let mut reader = store.feed().subscribe();
    hand.fail_flushes();
    let failed = store.commit(listing(2, wall_clock())).await;
    assert!(matches!(failed, Err(CommitError::OutcomeUnknown(_))), "{failed:?}");
    hand.heal();
    recovered(&store).await;
    let is_written = store.ticket(id(2)).await.expect("read").is_some();
    let in_feed = reader.try_next().is_some();
    assert_eq!(in_feed, is_written);
    list(&store, 3).await;
    let (world, events) = store.dump().await.expect("read");
    assert_eq!((world.tickets.len(), events.len()), (2 + usize::from(is_written), 2 + usize::from(is_written)));
}

/// Fails to open a file that failed once, again and again for a minute. Why it was given up, if it was.
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
async fn file_that_cannot_be_opened_again_is_given_up() {
    let damaged = || OpenError::Unreadable("damaged".into());
    assert_eq!(reopened_for_a_minute(damaged).await, Some(damaged().to_string()));
}

#[tokio::test(start_paused = true)]
async fn full_disk_is_waited_for_as_long_as_it_takes() {
    let full = || OpenError::Storage(redb::Error::Io(std::io::ErrorKind::StorageFull.into()));
    assert_eq!(reopened_for_a_minute(full).await, None);
}
