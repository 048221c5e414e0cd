//! Lists and their pagination.

use std::sync::Arc;

use gittix::{
    domain::{
        Charge, ChargeFailure, ChargeState, Order, OrderId, PaymentId, TicketCommand,
        VersionCondition,
    },
    store::{Inspect, OrderScope, Write},
};

use super::samples::*;

pub async fn tickets_are_listed_by_id_without_deleted_ones(store: Arc<dyn Inspect>) {
    for n in [3, 1, 4, 2, 5] {
        list(&store, n).await;
    }
    act(
        &store,
        ticket_id(2),
        TicketCommand::Delist { by: user_id(SELLER), if_match: VersionCondition::Any },
        at(1),
    )
    .await;
    act(&store, ticket_id(4), lock(4, 4, "a"), at(1)).await;
    let page = async |after: Option<u128>, limit| {
        let tickets = store.tickets_after(after.map(ticket_id), limit).await.expect("read");
        tickets.into_iter().map(|ticket| ticket.id).collect::<Vec<_>>()
    };
    assert_eq!(page(None, 9).await, [1, 3, 4, 5].map(ticket_id));
    assert_eq!(page(None, 2).await, [1, 3].map(ticket_id));
    assert_eq!(page(Some(3), 2).await, [4, 5].map(ticket_id));
    // A deleted ticket is also a valid start of a page.
    assert_eq!(page(Some(2), 1).await, [ticket_id(3)]);
    assert_eq!(page(Some(5), 9).await, []);
    assert!(
        store.ticket(ticket_id(2)).await.expect("read").is_some_and(|ticket| ticket.is_deleted()),
        "the tombstone stays"
    );
}

pub async fn orders_are_listed_by_buyer_and_scope(store: Arc<dyn Inspect>) {
    for n in 1..=6 {
        let id = list(&store, n).await;
        let buyer = if n == 3 { 2 } else { 1 };
        act(&store, id, lock(n, buyer, "a"), at(0)).await;
        if n == 2 {
            act(&store, id, cancel(n, buyer), at(1)).await;
        }
        if n == 4 {
            act(&store, id, submit(n, buyer, n), at(1)).await;
        }
        if n == 5 {
            act(&store, id, TicketCommand::DeadlinePassed { order: order_id(n) }, at(600_000))
                .await;
        }
    }
    let page = async |buyer, scope, after: Option<u128>, limit| {
        let orders =
            store.orders_of(user_id(buyer), scope, after.map(order_id), limit).await.expect("read");
        orders.into_iter().map(|order: Order| order.id).collect::<Vec<OrderId>>()
    };
    assert_eq!(page(1, OrderScope::All, None, 9).await, [1, 2, 4, 5, 6].map(order_id));
    assert_eq!(page(1, OrderScope::All, None, 2).await, [1, 2].map(order_id));
    assert_eq!(page(1, OrderScope::All, Some(2), 2).await, [4, 5].map(order_id));
    assert_eq!(page(1, OrderScope::Active, None, 9).await, [1, 4, 6].map(order_id));
    assert_eq!(page(1, OrderScope::Active, Some(1), 1).await, [order_id(4)]);
    assert_eq!(page(2, OrderScope::All, None, 9).await, [order_id(3)]);
    assert_eq!(page(3, OrderScope::All, None, 9).await, []);
}

pub async fn charges_are_listed_by_order(store: Arc<dyn Inspect>) {
    let of = |id, order| {
        Write::Charge(Charge { id: charge_id(id), order: order_id(order), ..charge(1) })
    };
    written(&store, vec![of(3, 1), of(1, 1), of(2, 2)]).await;
    let ids = async |order| {
        let charges = store.charges_of(order_id(order)).await.expect("read");
        charges.into_iter().map(|charge| charge.id).collect::<Vec<_>>()
    };
    assert_eq!(ids(1).await, [1, 3].map(charge_id));
    assert_eq!(ids(2).await, [charge_id(2)]);
    assert_eq!(ids(3).await, []);
}

pub async fn open_charges_are_listed_by_age(store: Arc<dyn Inspect>) {
    let updated = |id, ms, version, state| {
        Write::Charge(Charge { id: charge_id(id), updated_at: at(ms), version, state, ..charge(1) })
    };
    let authorizing = || ChargeState::Authorizing { payment: None };
    let awaiting_action = || ChargeState::AwaitingAction { payment: PaymentId::new("pi_1") };
    let capturing = || ChargeState::Capturing { payment: PaymentId::new("pi_1") };
    let failed = || gittix::domain::samples::failed(ChargeFailure::lock_lost());
    written(&store, vec![updated(1, 0, 0, authorizing()), updated(2, 500, 0, capturing())]).await;
    written(&store, vec![updated(3, 100, 0, awaiting_action()), updated(4, 0, 0, failed())]).await;
    let page = async |ms, after: Option<u128>, limit| {
        let charges = store.charges_open(at(ms), after.map(charge_id), limit).await.expect("read");
        charges.into_iter().map(|charge| charge.id).collect::<Vec<_>>()
    };
    assert_eq!(page(1_000, None, 9).await, [1, 2, 3].map(charge_id));
    assert_eq!(
        page(100, None, 9).await,
        [1, 3].map(charge_id),
        "the second charge was updated later"
    );
    assert_eq!(page(99, None, 9).await, [charge_id(1)]);
    assert_eq!(page(1_000, None, 2).await, [1, 2].map(charge_id));
    assert_eq!(page(1_000, Some(1), 9).await, [2, 3].map(charge_id));
    // An updated charge has a new age. A final charge is no longer listed.
    written(&store, vec![updated(1, 900, 1, capturing()), updated(3, 900, 1, failed())]).await;
    assert_eq!(page(899, None, 9).await, [charge_id(2)]);
    assert_eq!(page(900, None, 9).await, [1, 2].map(charge_id));
}
