//! The change stream: one order for all replicas, no gap after a fault, and a reset after lost
//! history.

use std::time::Duration;

use bson::doc;
use futures_util::future::join_all;
use gittix::store::{FeedStep, Store};
use tokio::time::timeout;

use super::world::{Fault, PATIENCE, World, events, on_sale, ticket_commit};

#[tokio::test]
async fn two_replicas_have_the_same_events_with_the_same_cursors() {
    let world = World::new().await;
    let stores = [world.store_named("first").await, world.store_named("second").await];
    let mut readers = stores.each_ref().map(|store| store.feed().subscribe());
    let commits: Vec<_> = (0..200).map(|_| ticket_commit().1).collect();
    let answers = join_all(
        commits.into_iter().enumerate().map(|(turn, commit)| stores[turn % 2].commit(commit)),
    )
    .await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    let [first, second] = &mut readers;
    let (first, second) = tokio::join!(events(first, 200), events(second, 200));
    for (one, other) in first.iter().zip(&second) {
        assert_eq!((one.cursor, one.at, &one.event), (other.cursor, other.at, &other.event));
    }
    assert!(first.windows(2).all(|pair| pair[0].cursor < pair[1].cursor), "cursors ascend");
    world.drop_database().await;
}

#[tokio::test]
async fn reader_gets_events_in_the_order_of_acknowledgment() {
    let world = World::new().await;
    let store = world.store().await;
    let mut reader = store.feed().subscribe();
    let mut acknowledged = Vec::new();
    for _ in 0..20 {
        acknowledged.push(on_sale(&*store).await);
    }
    let events_read = events(&mut reader, 20).await;
    for (ticket, recorded) in acknowledged.into_iter().zip(events_read) {
        assert_eq!(recorded.event, gittix::domain::DomainEvent::TicketCreated { ticket });
    }
    world.drop_database().await;
}

#[tokio::test]
async fn idle_feed_stays_live() {
    let world = World::new().await;
    let store = world.store_named("idle").await;
    // The loop is longer than the silence limit of the feed, so heartbeats must arrive during it.
    let mut watch = tokio::time::interval(Duration::from_millis(250));
    for _ in 0..26 {
        watch.tick().await;
        assert!(store.feed().is_live());
    }
    world.drop_database().await;
}

#[tokio::test]
async fn feed_loses_no_event_when_connections_break() {
    let world = World::new().await;
    let store = world.store_named("broken-feed").await;
    let mut reader = store.feed().subscribe();
    let data = doc! { "failCommands": ["getMore", "aggregate"], "closeConnection": true };
    let fault = Fault::set(&world, "broken-feed", doc! { "times": 6 }, data).await;
    let mut committed = Vec::new();
    for _ in 0..50 {
        let (ticket, commit) = ticket_commit();
        // Each fault clears the connection pool, so a commit may be tried again. It must not be
        // written twice.
        store.commit(commit).await.expect("the commit is tried again");
        committed.push(ticket.id);
    }
    let events_read = events(&mut reader, 50).await;
    let ids: Vec<_> = events_read
        .iter()
        .map(|recorded| match &recorded.event {
            gittix::domain::DomainEvent::TicketCreated { ticket } => ticket.id,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(ids, committed);
    fault.heal().await;
    world.drop_database().await;
}

#[tokio::test]
async fn lost_history_resets_the_feed_which_then_continues() {
    let world = World::new().await;
    let store = world.store_named("lost-history").await;
    let mut reader = store.feed().subscribe();
    let data = doc! { "failCommands": ["getMore"], "errorCode": 286, "errorLabels": ["NonResumableChangeStreamError"] };
    let fault = Fault::set(&world, "lost-history", doc! { "times": 1 }, data).await;
    let before = store.feed().cursor();
    let step = timeout(PATIENCE, reader.next()).await.expect("the feed is reset in time");
    assert!(matches!(step, FeedStep::Reset), "{step:?}");
    assert!(store.feed().cursor() >= before, "cursors never go backwards");
    let ticket = on_sale(&*store).await;
    let events_read = events(&mut reader, 1).await;
    assert_eq!(events_read[0].event, gittix::domain::DomainEvent::TicketCreated { ticket });
    fault.heal().await;
    world.drop_database().await;
}

#[tokio::test]
async fn undecodable_document_of_events_resets_the_feed() {
    let world = World::new().await;
    let store = world.store().await;
    let mut reader = store.feed().subscribe();
    world
        .raw("events")
        .insert_one(doc! { "commits": "of another version" })
        .await
        .expect("an insert");
    let step = timeout(PATIENCE, reader.next()).await.expect("the feed is reset in time");
    assert!(matches!(step, FeedStep::Reset), "{step:?}");
    let ticket = on_sale(&*store).await;
    assert_eq!(
        events(&mut reader, 1).await[0].event,
        gittix::domain::DomainEvent::TicketCreated { ticket }
    );
    world.drop_database().await;
}
