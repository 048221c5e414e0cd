//! The version condition of the embedded store, and the behaviour without it.
//!
//! Many buyers decide over the same stale copy of a ticket, like replicas without contact, and all
//! commit at the same time. The version condition accepts one commit. Without the condition, the
//! ticket is sold many times. So a test that finds one winner proves the condition.

use std::sync::Arc;

use futures_util::future::join_all;
use gittix::{
    domain::{
        DomainEvent, OrderId, Policy, ReplicaName, Sale, Ticket, TicketCommand, TicketId,
        Timestamp, UserId, decide,
        decide::list_ticket,
        invariants::{Snapshot, one_order_per_ticket},
        samples,
    },
    store::{Commit, CommitError, Inspect, embedded::EmbeddedStore},
};
use uuid::Uuid;

const BUYERS: usize = 1_000;
const NOW: Timestamp = Timestamp(1_000_000);

/// Returns the number of buyers, of a thousand with stale copies, whose commit succeeded, and the
/// store's content.
async fn buy_at_once() -> (usize, Snapshot) {
    let store: Arc<dyn Inspect> = EmbeddedStore::in_memory().expect("a store in memory opens");
    let ticket = listed(&*store).await;
    let sale = Sale { ticket, order: None, charge: None };
    let commits = (0..BUYERS).map(|_| {
        let (store, sale) = (Arc::clone(&store), sale.clone());
        async move { store.commit(locked(&sale)).await }
    });
    let answers = join_all(commits).await;
    for refused in answers.iter().filter_map(|answer| answer.as_ref().err()) {
        assert_eq!(*refused, CommitError::Stale);
    }
    let (world, _) = store.dump().await.expect("a store in memory can be read");
    (answers.iter().filter(|answer| answer.is_ok()).count(), world)
}

async fn listed(store: &dyn Inspect) -> Ticket {
    let (id, seller) = (TicketId::new(Uuid::now_v7()), UserId::new(Uuid::now_v7()));
    let decision = list_ticket(id, seller, samples::details("The only one"), NOW);
    let ticket = decision.ticket.clone().expect("listing creates a ticket");
    store.commit(Commit::of(decision, NOW)).await.expect("an empty store takes a ticket");
    ticket
}

fn locked(sale: &Sale) -> Commit {
    let buyer = UserId::new(Uuid::now_v7());
    let replica = ReplicaName::new("stale");
    let command = TicketCommand::Lock {
        order: OrderId::new(Uuid::now_v7()),
        buyer,
        expected_price: None,
        expected_version: None,
        replica,
    };
    let decision = decide(sale, &command, &Policy::default(), NOW)
        .expect("the copy shows an available ticket");
    assert!(decision.events.iter().any(|event| matches!(event, DomainEvent::OrderCreated { .. })));
    Commit::of(decision, NOW)
}

#[tokio::test]
async fn one_of_a_thousand_stale_buyers_wins_and_many_without_the_guard() {
    let (winners, world) = buy_at_once().await;
    assert_eq!(winners, 1);
    assert_eq!(one_order_per_ticket(&world), Ok(()));

    let scenario = fail::FailScenario::setup();
    fail::cfg("store::unguarded", "return").expect("the failpoint can be set");
    let (winners, world) = buy_at_once().await;
    scenario.teardown();
    assert!(winners > 1, "{winners} without the guard: the race did not occur");
    assert!(one_order_per_ticket(&world).is_err(), "the checker does not detect a double sale");
}
