//! The feed: commit order without gaps or duplicates, and cursors that can be resumed.

use std::{collections::BTreeMap, sync::Arc};

use gittix::{
    domain::{DomainEvent, Ticket, TicketId, Version},
    store::{Commit, Cursor, FeedStep, Inspect, RecordedEvent, Write},
};

use super::samples::*;

const COMMITTERS: u128 = 64;
const COMMITS_EACH: Version = 10;

/// Returns a commit that writes version `version` of ticket `n`, with two events.
fn step(n: u128, version: Version) -> Commit {
    let ticket = Ticket { version, ..ticket(n) };
    let deleted = DomainEvent::TicketDeleted { ticket: ticket.id, seller: ticket.seller, version };
    Commit {
        events: vec![DomainEvent::TicketUpdated { ticket: ticket.clone() }, deleted],
        writes: vec![Write::Ticket(ticket)],
        at: at(0),
    }
}

fn identity(event: &DomainEvent) -> (TicketId, Version) {
    match event {
        DomainEvent::TicketUpdated { ticket } => (ticket.id, ticket.version),
        DomainEvent::TicketDeleted { ticket, version, .. } => (*ticket, *version),
        other => panic!("no commit has this event: {other:?}"),
    }
}

fn cursors(events: &[Arc<RecordedEvent>]) -> Vec<Cursor> {
    events.iter().map(|event| event.cursor).collect()
}

pub async fn feed_has_the_commit_order_of_64_committers(store: Arc<dyn Inspect>) {
    let mut reader = store.feed().subscribe();
    let committers: Vec<_> = (0..COMMITTERS)
        .map(|n| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for version in 0..COMMITS_EACH {
                    store.commit(step(n, version)).await.expect("only this task writes the ticket");
                }
            })
        })
        .collect();
    let count = usize::try_from(COMMITTERS).expect("small")
        * usize::try_from(COMMITS_EACH).expect("small")
        * 2;
    let events = events(&mut reader, count).await;
    for committer in committers {
        patient(committer).await.expect("no committer panics");
    }
    assert!(reader.try_next().is_none(), "the feed has no duplicate");

    assert!(
        cursors(&events).is_sorted_by(|earlier, later| earlier < later),
        "cursors ascend strictly"
    );
    let mut next: BTreeMap<TicketId, Version> = BTreeMap::new();
    for pair in events.chunks(2) {
        let (ticket, version) = identity(&pair[0].event);
        assert_eq!(
            identity(&pair[1].event),
            (ticket, version),
            "the events of one commit are adjacent"
        );
        let expected = next.entry(ticket).or_default();
        assert_eq!(version, *expected, "the feed has the commits of each ticket in their order");
        *expected += 1;
    }
    let (_, stored) = store.dump().await.expect("read");
    assert_eq!(
        stored,
        events.iter().map(|event| event.event.clone()).collect::<Vec<_>>(),
        "the dump has the events of the feed"
    );
}

pub async fn reader_resumes_after_any_cursor(store: Arc<dyn Inspect>) {
    let beginning = store.feed().cursor();
    let mut reader = store.feed().subscribe();
    for version in 0..10 {
        store.commit(step(1, version)).await.expect("committed");
    }
    let all = events(&mut reader, 20).await;
    for (skipped, cursor) in [beginning].into_iter().chain(cursors(&all)).enumerate() {
        // The cursor takes the text form that clients use.
        let cursor: Cursor = cursor.to_string().parse().expect("a cursor");
        let mut reader =
            store.feed().resume(cursor).expect("the ring contains the events after the cursor");
        if skipped < all.len() {
            assert_eq!(
                cursors(&events(&mut reader, all.len() - skipped).await),
                cursors(&all[skipped..])
            );
        }
        assert!(reader.try_next().is_none());
    }
    assert_eq!(store.feed().cursor(), all.last().expect("events").cursor);
}

pub async fn cursor_of_another_epoch_or_of_the_future_is_not_resumed(store: Arc<dyn Inspect>) {
    let mut reader = store.feed().subscribe();
    store.commit(step(1, 0)).await.expect("committed");
    let newest = events(&mut reader, 2).await.last().expect("events").cursor;
    assert!(store.feed().resume(newest).is_some(), "the control: the newest cursor is resumed");
    let invalid = [
        Cursor { epoch: newest.epoch ^ 1, ..newest },
        Cursor { time: newest.time + (1 << 44), ..newest },
        Cursor { time: 0, ordinal: 0, epoch: newest.epoch ^ 1 },
    ];
    for cursor in invalid {
        assert!(store.feed().resume(cursor).is_none(), "{cursor:?}");
    }
}

pub async fn subscriber_gets_only_later_events(store: Arc<dyn Inspect>) {
    let mut early = store.feed().subscribe();
    store.commit(step(1, 0)).await.expect("committed");
    events(&mut early, 2).await;
    let mut late = store.feed().subscribe();
    assert!(late.try_next().is_none());
    store.commit(step(1, 1)).await.expect("committed");
    assert_eq!(identity(&events(&mut late, 2).await[0].event), (ticket_id(1), 1));
    // A commit without events adds nothing to the feed.
    store.commit(quiet(vec![Write::Ticket(ticket(2))])).await.expect("committed");
    store.commit(step(1, 2)).await.expect("committed");
    match patient(late.next()).await {
        FeedStep::Events(events) => assert_eq!(identity(&events[0].event), (ticket_id(1), 2)),
        FeedStep::Reset => panic!("no history was lost"),
    }
}
