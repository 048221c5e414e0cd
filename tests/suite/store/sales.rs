//! A sale as one snapshot, and the ways to find the locks.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use gittix::{
    domain::{ChargeFailure, Order, OrderStatus, PaymentId, Sale, TicketCommand, TicketId},
    store::Store,
};

use super::samples::*;

const MINUTE: i64 = 60_000;

pub async fn an_unlocked_ticket_has_neither_order_nor_charge(store: Arc<dyn Store>) {
    assert_eq!(store.sale(ticket_id(1)).await.expect("read"), None);
    let id = list(&store, 1).await;
    act(&store, id, lock(1, 1, "a"), at(0)).await;
    let cancelled = act(&store, id, cancel(1, 1), at(1)).await;
    assert_eq!(cancelled.order, None);
    assert_eq!(store.sale(id).await.expect("read"), Some(cancelled));
}

pub async fn a_locked_ticket_comes_with_the_order_that_holds_it(store: Arc<dyn Store>) {
    let id = list(&store, 1).await;
    act(&store, id, lock(1, 1, "a"), at(0)).await;
    act(&store, id, cancel(1, 1), at(1)).await;
    let locked = act(&store, id, lock(2, 2, "a"), at(2)).await;
    assert_eq!(store.sale(id).await.expect("read"), Some(locked));
    // The window is over: the order lapsed, and holds the ticket all the same.
    let lapsed = act(&store, id, TicketCommand::DeadlinePassed { order: order_id(2) }, at(2 + 10 * MINUTE)).await;
    assert_eq!(lapsed.order.as_ref().map(|order| order.status), Some(OrderStatus::Cancelled));
    assert_eq!(store.sale(id).await.expect("read"), Some(lapsed));
}

pub async fn only_a_running_charge_is_part_of_the_sale(store: Arc<dyn Store>) {
    let id = list(&store, 1).await;
    act(&store, id, lock(1, 1, "a"), at(0)).await;
    let (first, second) = (charge_id(1), charge_id(2));
    let payment = PaymentId::new("pi_1");
    // Each step, and the charge that the sale must have after it.
    let steps = [
        (submit(1, 1, 1), Some(first)),
        (TicketCommand::ActionRequired { charge: first, payment: payment.clone() }, Some(first)),
        // The first is on its way back now.
        (submit(1, 1, 2), Some(second)),
        (TicketCommand::PaymentDeclined { charge: second, payment: None, failure: ChargeFailure::interrupted() }, None),
        (submit(1, 1, 3), Some(charge_id(3))),
        (TicketCommand::PaymentAuthorized { charge: charge_id(3), payment }, Some(charge_id(3))),
        (TicketCommand::PaymentCaptured { charge: charge_id(3) }, None),
    ];
    for (step, (command, expected)) in steps.into_iter().enumerate() {
        let sale = act(&store, id, command, at(1)).await;
        assert_eq!(sale.charge.as_ref().map(|charge| charge.id), expected, "step {step}");
        assert_eq!(store.sale(id).await.expect("read"), Some(sale), "step {step}");
    }
}

pub async fn a_sale_is_one_snapshot(store: Arc<dyn Store>) {
    let id = list(&store, 1).await;
    let done = Arc::new(AtomicBool::new(false));
    let reader = tokio::spawn({
        let (store, done) = (Arc::clone(&store), Arc::clone(&done));
        async move {
            while !done.load(Ordering::Relaxed) {
                let sale = store.sale(id).await.expect("read").expect("there");
                assert!(is_whole(&sale), "{sale:?}");
            }
        }
    });
    for round in 1..=100 {
        let now = at(i64::try_from(round).expect("small") * 60 * MINUTE);
        act(&store, id, lock(round, round, "a"), now).await;
        tokio::task::yield_now().await;
        act(&store, id, cancel(round, round), now).await;
    }
    done.store(true, Ordering::Relaxed);
    patient(reader).await.expect("no torn read");
    // The control: the same two documents, read apart with a commit in between, do not pass.
    let now = at(200 * 60 * MINUTE);
    act(&store, id, lock(200, 200, "a"), now).await;
    let ticket = store.ticket(id).await.expect("read").expect("there");
    act(&store, id, cancel(200, 200), now).await;
    let order = store.order(order_id(200)).await.expect("read");
    assert!(!is_whole(&Sale { ticket, order, charge: None }));
}

/// Whether ticket and order are of one commit, where each lock is taken and cancelled together with its order.
fn is_whole(sale: &Sale) -> bool {
    let holder = sale.ticket.lock().map(|lock| lock.order);
    sale.order.as_ref().map(|order| order.id) == holder && sale.order.as_ref().is_none_or(Order::is_active)
}

async fn overdue(store: &Arc<dyn Store>, ms: i64, limit: usize) -> Vec<TicketId> {
    store.tickets_overdue(at(ms), limit).await.expect("read")
}

pub async fn a_ticket_is_overdue_when_its_lock_or_its_payment_window_is(store: Arc<dyn Store>) {
    let (created, paying) = (list(&store, 1).await, list(&store, 2).await);
    list(&store, 3).await;
    act(&store, created, lock(1, 1, "a"), at(0)).await;
    act(&store, paying, lock(2, 2, "a"), at(0)).await;
    act(&store, paying, submit(2, 2, 2), at(1)).await;
    assert_eq!(overdue(&store, 10 * MINUTE - 1, 9).await, []);
    assert_eq!(overdue(&store, 10 * MINUTE, 9).await, [created]);
    // Lapsed: what is due next is the end of the lock.
    act(&store, created, TicketCommand::DeadlinePassed { order: order_id(1) }, at(10 * MINUTE)).await;
    assert_eq!(overdue(&store, 15 * MINUTE - 1, 9).await, []);
    assert_eq!(overdue(&store, 15 * MINUTE, 9).await, [created, paying]);
    for (ticket, order) in [(created, 1), (paying, 2)] {
        act(&store, ticket, TicketCommand::DeadlinePassed { order: order_id(order) }, at(15 * MINUTE)).await;
    }
    assert_eq!(overdue(&store, 60 * MINUTE, 9).await, []);
}

pub async fn the_longest_overdue_come_first_and_not_too_many(store: Arc<dyn Store>) {
    // Locked one after the other, in another order than that of their ids.
    for (n, ms) in [(2, 0), (4, 1_000), (1, 2_000), (3, 3_000)] {
        let id = list(&store, n).await;
        act(&store, id, lock(n, n, "a"), at(ms)).await;
    }
    // Its window does not count any more, only its lock: it comes last.
    act(&store, ticket_id(2), submit(2, 2, 2), at(4_000)).await;
    let longest_first = [4, 1, 3, 2].map(ticket_id);
    assert_eq!(overdue(&store, 60 * MINUTE, 9).await, longest_first);
    assert_eq!(overdue(&store, 60 * MINUTE, 2).await, longest_first[..2]);
    assert_eq!(overdue(&store, 10 * MINUTE + 2_000, 9).await, longest_first[..2]);
}

pub async fn many_sales_are_shown_as_each_is_shown_alone(store: Arc<dyn Store>) {
    for n in 1..=4 {
        let id = list(&store, n).await;
        act(&store, id, lock(n, n, "a"), at(0)).await;
    }
    act(&store, ticket_id(2), submit(2, 2, 2), at(1)).await;
    act(&store, ticket_id(3), cancel(3, 3), at(1)).await;
    let shown = async |ids: &[u128]| {
        let ids: Vec<TicketId> = ids.iter().copied().map(ticket_id).collect();
        let sales = store.sales(&ids).await.expect("read");
        for sale in &sales {
            assert_eq!(store.sale(sale.ticket.id).await.expect("read").as_ref(), Some(sale), "as it is shown alone");
        }
        let mut ids: Vec<TicketId> = sales.into_iter().map(|sale| sale.ticket.id).collect();
        ids.sort_unstable();
        ids
    };
    assert_eq!(shown(&[4, 2, 1, 3]).await, [1, 2, 3, 4].map(ticket_id));
    assert_eq!(shown(&[2, 99]).await, [ticket_id(2)], "what is not there is left out");
    assert_eq!(shown(&[]).await, []);
}
