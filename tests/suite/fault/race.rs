//! A thousand buyers order one ticket at once.

use futures_util::future::join_all;

use crate::app::{Answer, Backend, Client, TestApp, on_both_stores, world::Found};

on_both_stores!(
    one_of_a_thousand_simultaneous_buyers_gets_the_ticket,
    each_ticket_is_paid_once_under_simultaneous_payments
);

const BUYERS: usize = 1_000;

/// Sends all orders at the same moment. A buyer who gets 503 retries under the same key: a thousand
/// requests at once may be too many for a busy machine.
async fn order_at_once(buyers: &[Client], ticket: &str) -> Vec<Answer> {
    const TRIES: u32 = 10;
    let order = async |buyer: &Client| {
        let mut answer = buyer.place_order(ticket).key(ticket).await;
        for _ in 1..TRIES {
            if answer.status != 503 {
                break;
            }
            answer = buyer.place_order(ticket).key(ticket).await;
        }
        answer
    };
    join_all(buyers.iter().map(order)).await
}

fn granted_count(answers: &[Answer]) -> usize {
    answers.iter().filter(|answer| answer.status == 201).count()
}

#[track_caller]
fn assert_one_winner(answers: Vec<Answer>) {
    assert_eq!(granted_count(&answers), 1);
    for answer in answers.into_iter().filter(|answer| answer.status != 201) {
        answer.refused(409, "ticket_locked");
    }
}

async fn one_of_a_thousand_simultaneous_buyers_gets_the_ticket(store: Backend) {
    let (mut app, buyers) = TestApp::start_with_people(store, &[], BUYERS).await;
    let ticket = app.user().await.sells("The only one").await;
    assert_one_winner(order_at_once(&buyers, &ticket).await);
    app.crash();
    let found = Found::read(&app.home).await;
    assert_eq!(found.world.orders.len(), 1);
    assert_eq!(
        found.violations(&Default::default(), Default::default(), &Default::default()),
        [] as [String; 0]
    );
}

async fn each_ticket_is_paid_once_under_simultaneous_payments(store: Backend) {
    const TICKETS: usize = 20;
    let (mut app, buyers) = TestApp::start_with_people(store, &[], 5 * TICKETS).await;
    let seller = app.user().await;
    let mut tickets = Vec::new();
    for number in 0..TICKETS {
        tickets.push(seller.sells(&format!("Row {number}")).await);
    }
    let sales = buyers.iter().enumerate().map(|(number, buyer)| {
        let ticket = &tickets[number % TICKETS];
        async move {
            let order = buyer.place_order(ticket).await;
            if order.status != 201 {
                assert!(["ticket_locked", "ticket_sold"].contains(&order.code()), "{order:?}");
                return 0;
            }
            let id = order.id();
            let paid =
                join_all((0..3).map(|_| async { buyer.pay(&id, "pm_card_visa").await.status }))
                    .await;
            paid.iter().filter(|status| **status == 201).count()
        }
    });
    let paid: usize = join_all(sales).await.into_iter().sum();
    assert_eq!(paid, TICKETS);
    app.crash();
    let found = Found::read(&app.home).await;
    assert_eq!(
        found.world.payments.iter().filter(|entry| entry.captured > entry.refunded).count(),
        TICKETS
    );
    assert_eq!(
        found.violations(&Default::default(), Default::default(), &Default::default()),
        [] as [String; 0]
    );
}

/// Starts two processes on one database; every second buyer uses the second process.
async fn two_processes(
    settings: &[(&str, &str)],
    buyers: usize,
) -> (TestApp, crate::app::Server, Vec<Client>) {
    let (app, people) = TestApp::start_with_people(Backend::MongoDb, settings, buyers).await;
    let second = app.replica("second").await;
    let people = people
        .into_iter()
        .enumerate()
        .map(|(number, buyer)| if number % 2 == 0 { buyer } else { buyer.at(&second) })
        .collect();
    (app, second, people)
}

#[tokio::test]
async fn one_of_a_thousand_buyers_on_two_processes_gets_the_ticket() {
    let (app, _second, buyers) = two_processes(&[], BUYERS).await;
    let ticket = app.user().await.sells("The only one").await;
    assert_one_winner(order_at_once(&buyers, &ticket).await);
}

/// Negative control; `tests/unguarded` has the one of the embedded store. Without the version
/// condition two processes sell one ticket twice, and this test detects it.
#[cfg(feature = "failpoints")]
#[tokio::test]
async fn two_processes_without_the_guard_sell_one_ticket_twice() {
    const TICKETS_MAX: usize = 20;
    let (app, _second, buyers) =
        two_processes(&[("FAILPOINTS", "store::unguarded=return")], 40).await;
    let seller = app.user().await;
    for _ in 0..TICKETS_MAX {
        let ticket = seller.sells("The only one").await;
        if granted_count(&order_at_once(&buyers, &ticket).await) > 1 {
            return;
        }
    }
    panic!("{TICKETS_MAX} tickets were sold once each: the race test cannot detect a double sale");
}
