//! Sales as one snapshot, and the query for overdue tickets.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use gittix::{
    domain::{ChargeFailure, Order, OrderStatus, PaymentId, Sale, TicketCommand, TicketId},
    store::Inspect,
};

use super::samples::*;

const MINUTE: i64 = 60_000;

pub async fn sale_of_an_unlocked_ticket_has_no_order_and_no_charge(store: Arc<dyn Inspect>) {
    assert_eq!(store.sale(ticket_id(1)).await.expect("read"), None);
    let id = list(&store, 1).await;
    act(&store, id, lock(1, 1, "a"), at(0)).await;
    let cancelled = act(&store, id, cancel(1, 1), at(1)).await;
    assert_eq!(cancelled.order, None);
    assert_eq!(store.sale(id).await.expect("read"), Some(cancelled));
}

pub async fn sale_of_a_locked_ticket_has_the_order_that_holds_it(store: Arc<dyn Inspect>) {
    let id = list(&store, 1).await;
    act(&store, id, lock(1, 1, "a"), at(0)).await;
    act(&store, id, cancel(1, 1), at(1)).await;
    let locked = act(&store, id, lock(2, 2, "a"), at(2)).await;
    assert_eq!(store.sale(id).await.expect("read"), Some(locked));
    // The payment window has passed: the order lapsed and still holds the ticket.
    let lapsed =
        act(&store, id, TicketCommand::DeadlinePassed { order: order_id(2) }, at(2 + 10 * MINUTE))
            .await;
    assert_eq!(lapsed.order.as_ref().map(|order| order.status()), Some(OrderStatus::Cancelled));
    assert_eq!(store.sale(id).await.expect("read"), Some(lapsed));
}

pub async fn sale_has_only_a_running_charge(store: Arc<dyn Inspect>) {
    let id = list(&store, 1).await;
    act(&store, id, lock(1, 1, "a"), at(0)).await;
    let (first, second) = (charge_id(1), charge_id(2));
    let payment = PaymentId::new("pi_1");
    // Each command, with the charge that the sale must have after it.
    let steps = [
        (submit(1, 1, 1), Some(first)),
        (TicketCommand::ActionRequired { charge: first, payment: payment.clone() }, Some(first)),
        // The first charge is reversing now.
        (submit(1, 1, 2), Some(second)),
        (
            TicketCommand::PaymentDeclined {
                charge: second,
                payment: None,
                failure: ChargeFailure::interrupted(),
            },
            None,
        ),
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

pub async fn sale_is_read_from_one_snapshot(store: Arc<dyn Inspect>) {
    let id = list(&store, 1).await;
    let done = Arc::new(AtomicBool::new(false));
    let reader = tokio::spawn({
        let (store, done) = (Arc::clone(&store), Arc::clone(&done));
        async move {
            while !done.load(Ordering::Relaxed) {
                let sale = store.sale(id).await.expect("read").expect("the document exists");
                assert!(is_from_one_commit(&sale), "{sale:?}");
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
    patient(reader).await.expect("every read is from one snapshot");
    // The control: the same two documents, read separately with a commit in between, fail the
    // check.
    let now = at(200 * 60 * MINUTE);
    act(&store, id, lock(200, 200, "a"), now).await;
    let ticket = store.ticket(id).await.expect("read").expect("the document exists");
    act(&store, id, cancel(200, 200), now).await;
    let order = store.order(order_id(200)).await.expect("read");
    assert!(!is_from_one_commit(&Sale { ticket, order, charge: None }));
}

/// Returns whether ticket and order are from one commit, given that each lock begins and ends
/// together with its order.
fn is_from_one_commit(sale: &Sale) -> bool {
    let holder = sale.ticket.lock().map(|lock| lock.order);
    sale.order.as_ref().map(|order| order.id) == holder
        && sale.order.as_ref().is_none_or(Order::is_active)
}

async fn overdue(store: &Arc<dyn Inspect>, ms: i64, limit: usize) -> Vec<TicketId> {
    store.tickets_overdue(at(ms), limit).await.expect("read")
}

pub async fn ticket_is_overdue_after_its_lock_or_its_payment_window(store: Arc<dyn Inspect>) {
    let (created, paying) = (list(&store, 1).await, list(&store, 2).await);
    list(&store, 3).await;
    act(&store, created, lock(1, 1, "a"), at(0)).await;
    act(&store, paying, lock(2, 2, "a"), at(0)).await;
    act(&store, paying, submit(2, 2, 2), at(1)).await;
    assert_eq!(overdue(&store, 10 * MINUTE - 1, 9).await, []);
    assert_eq!(overdue(&store, 10 * MINUTE, 9).await, [created]);
    // After the order lapsed, the next deadline is the end of the lock.
    act(&store, created, TicketCommand::DeadlinePassed { order: order_id(1) }, at(10 * MINUTE))
        .await;
    assert_eq!(overdue(&store, 15 * MINUTE - 1, 9).await, []);
    assert_eq!(overdue(&store, 15 * MINUTE, 9).await, [created, paying]);
    for (ticket, order) in [(created, 1), (paying, 2)] {
        act(
            &store,
            ticket,
            TicketCommand::DeadlinePassed { order: order_id(order) },
            at(15 * MINUTE),
        )
        .await;
    }
    assert_eq!(overdue(&store, 60 * MINUTE, 9).await, []);
}

pub async fn overdue_tickets_are_limited_and_sorted_by_deadline(store: Arc<dyn Inspect>) {
    // The tickets are locked in another order than that of their ids.
    for (n, ms) in [(2, 0), (4, 1_000), (1, 2_000), (3, 3_000)] {
        let id = list(&store, n).await;
        act(&store, id, lock(n, n, "a"), at(ms)).await;
    }
    // The payment window of a paid order does not count. Its ticket is last, by the end of its
    // lock.
    act(&store, ticket_id(2), submit(2, 2, 2), at(4_000)).await;
    let longest_first = [4, 1, 3, 2].map(ticket_id);
    assert_eq!(overdue(&store, 60 * MINUTE, 9).await, longest_first);
    assert_eq!(overdue(&store, 60 * MINUTE, 2).await, longest_first[..2]);
    assert_eq!(overdue(&store, 10 * MINUTE + 2_000, 9).await, longest_first[..2]);
}

pub async fn sales_of_many_tickets_equal_the_single_sales(store: Arc<dyn Inspect>) {
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
            assert_eq!(
                store.sale(sale.ticket.id).await.expect("read").as_ref(),
                Some(sale),
                "the single read returns the same sale"
            );
        }
        let mut ids: Vec<TicketId> = sales.into_iter().map(|sale| sale.ticket.id).collect();
        ids.sort_unstable();
        ids
    };
    assert_eq!(shown(&[4, 2, 1, 3]).await, [1, 2, 3, 4].map(ticket_id));
    assert_eq!(shown(&[2, 99]).await, [ticket_id(2)], "a ticket that does not exist is omitted");
    assert_eq!(shown(&[]).await, []);
}
