//! Tests of `feed.rs`.

use super::*;
use gittix_domain::{TicketId, UserId};

const LIMITS: FeedLimits = FeedLimits { events_max: 4, silence_max: None, ahead_max: 0 };

fn cursor(time: u64) -> Cursor {
    Cursor { epoch: 7, time, ordinal: 0 }
}

fn event(time: u64) -> RecordedEvent {
    let id = uuid::Uuid::from_u128(time.into());
    let event = DomainEvent::TicketDeleted {
        ticket: TicketId::new(id),
        seller: UserId::new(id),
        version: 0,
    };
    RecordedEvent::new(cursor(time), Timestamp(0), event)
}

/// Creates a log into which events 1 to `newest` were pushed. It contains the last four of
/// them.
fn log(newest: u64) -> FeedLog {
    let log = FeedLog::new(cursor(0), LIMITS);
    log.push((1..=newest).map(event));
    log
}

/// Returns the cursor times of the events that a reader gets without waiting; `None` for a
/// reset.
fn step(reader: &mut FeedReader) -> Option<Vec<u64>> {
    match reader.try_next() {
        Some(FeedStep::Events(events)) => {
            Some(events.iter().map(|event| event.cursor.time).collect())
        }
        Some(FeedStep::Reset) => None,
        None => Some(Vec::new()),
    }
}

#[test]
fn reader_resumes_at_the_base_in_the_middle_and_at_the_end() {
    let log = log(6);
    for (from, expected) in [(2, vec![3, 4, 5, 6]), (4, vec![5, 6]), (6, vec![])] {
        let mut reader = log.resume(cursor(from)).expect("the cursor is in the ring");
        assert_eq!(step(&mut reader), Some(expected), "after {from}");
        assert_eq!(reader.cursor(), cursor(6));
    }
}

#[test]
fn cursor_before_the_ring_of_another_epoch_or_of_the_future_is_not_resumed() {
    let log = log(6);
    assert!(log.resume(cursor(1)).is_none(), "event 2 has left the ring");
    assert!(log.resume(Cursor { epoch: 6, ..cursor(4) }).is_none());
    assert!(log.resume(Cursor { epoch: 8, ..cursor(4) }).is_none());
    assert!(log.resume(cursor(7)).is_none());
    assert!(log.resume(Cursor { ordinal: 1, ..cursor(6) }).is_none());
}

#[test]
fn cursor_from_a_replica_slightly_ahead_skips_the_events_before_it() {
    let log = FeedLog::new(cursor(0), FeedLimits { ahead_max: 2, ..LIMITS });
    log.push((1..=3).map(event));
    assert!(log.resume(cursor(6)).is_none(), "too far ahead");
    let mut reader = log.resume(cursor(5)).expect("a little ahead");
    log.push((4..=6).map(event));
    assert_eq!(step(&mut reader), Some(vec![6]));
}

#[test]
fn cursor_taken_without_new_events_is_resumed_on_another_replica() {
    let (first, second) = (log(1), FeedLog::new(cursor(50), LIMITS));
    first.heartbeat_at(cursor(60));
    second.heartbeat_at(cursor(61));
    assert_eq!(first.cursor(), cursor(60));
    let taken = first.subscribe().cursor();
    // The history of the second replica begins long after the last event.
    let mut reader =
        second.resume(taken).expect("the history of the second replica begins before this cursor");
    second.push([event(62)]);
    assert_eq!(step(&mut reader), Some(vec![62]));
    assert!(second.resume(cursor(1)).is_none(), "the cursor is before its history");
}

#[test]
fn reader_behind_the_ring_is_reset_once_and_continues_at_the_end() {
    let log = log(1);
    let mut reader = log.resume(cursor(0)).expect("the cursor is in the ring");
    log.push((2..=5).map(event));
    assert_eq!(step(&mut reader), None);
    assert_eq!(step(&mut reader), Some(vec![]));
    assert_eq!(reader.cursor(), cursor(5));
    log.push([event(6)]);
    assert_eq!(step(&mut reader), Some(vec![6]));
}

#[test]
fn reader_at_the_oldest_event_of_the_ring_loses_no_event() {
    let log = log(1);
    let mut reader = log.resume(cursor(1)).expect("the cursor is in the ring");
    log.push((2..=5).map(event));
    assert_eq!(step(&mut reader), Some(vec![2, 3, 4, 5]));
}

#[test]
fn lost_history_resets_every_reader_and_ends_earlier_cursors() {
    let log = log(3);
    let (mut behind, mut at_the_end) =
        (log.resume(cursor(1)).expect("the cursor is in the ring"), log.subscribe());
    log.reset(cursor(10));
    assert_eq!((step(&mut behind), step(&mut at_the_end)), (None, None));
    assert!(log.resume(cursor(3)).is_none());
    assert!(log.resume(cursor(10)).is_some());
    log.push([event(11)]);
    assert_eq!((step(&mut behind), step(&mut at_the_end)), (Some(vec![11]), Some(vec![11])));
}

#[test]
fn event_whose_cursor_does_not_ascend_is_dropped() {
    let log = log(3);
    let mut reader = log.subscribe();
    log.push([event(2), event(3), event(4), event(4)]);
    assert_eq!(step(&mut reader), Some(vec![4]));
    assert_eq!(log.cursor(), cursor(4));
}

#[test]
fn step_is_bounded_and_the_next_step_continues_after_it() {
    let log =
        FeedLog::new(cursor(0), FeedLimits { events_max: 3 * FeedReader::STEP_MAX, ..LIMITS });
    let mut reader = log.subscribe();
    let count = FeedReader::STEP_MAX as u64 + 1;
    log.push((1..=count).map(event));
    assert_eq!(step(&mut reader).map(|events| events.len()), Some(FeedReader::STEP_MAX));
    assert_eq!(step(&mut reader), Some(vec![count]));
}

#[tokio::test]
async fn waiting_reader_receives_an_event_and_a_reset() {
    let log = log(0);
    let mut reader = log.subscribe();
    let waiting = tokio::spawn(async move {
        let first = matches!(reader.next().await, FeedStep::Events(events) if events.len() == 1);
        (first, matches!(reader.next().await, FeedStep::Reset))
    });
    // On this single-threaded runtime each yield runs the reader until it waits.
    tokio::task::yield_now().await;
    log.push([event(1)]);
    tokio::task::yield_now().await;
    log.reset(cursor(5));
    assert_eq!(waiting.await.expect("no panic"), (true, true));
}

#[tokio::test(start_paused = true)]
async fn feed_after_a_silence_is_not_live_until_the_next_heartbeat() {
    let silence_max = Some(Duration::from_secs(5));
    let log = FeedLog::new(cursor(0), FeedLimits { silence_max, ..LIMITS });
    tokio::time::advance(Duration::from_secs(5)).await;
    assert!(log.is_live());
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(!log.is_live());
    log.heartbeat();
    assert!(log.is_live());
}
