//! Declined payments of each buyer.

use std::sync::Arc;

use gittix::{
    domain::{ChargeFailure, PaymentId, Policy, TicketCommand, Timestamp},
    store::{Commit, CommitError, Inspect, Write},
};

use super::samples::*;

const HOUR: i64 = 60 * 60_000;

fn declined(charge: u128) -> TicketCommand {
    let payment = Some(PaymentId::new("pi_1"));
    TicketCommand::PaymentDeclined {
        charge: charge_id(charge),
        payment,
        failure: ChargeFailure::new("stolen_card", "Declined."),
    }
}

async fn declines(store: &Arc<dyn Inspect>, user: u128) -> Vec<Timestamp> {
    store.declines_of(user_id(user)).await.expect("read")
}

pub async fn decline_is_counted_in_the_commit_that_records_it(store: Arc<dyn Inspect>) {
    let id = list(&store, 1).await;
    act(&store, id, lock(1, 1, "a"), at(0)).await;
    assert_eq!(declines(&store, 1).await, []);
    for n in 1..=2 {
        act(&store, id, submit(1, 1, n), at(1)).await;
        let sale = act(&store, id, declined(n), at(i64::try_from(n).expect("small"))).await;
        assert_eq!(
            sale.order.expect("the order holds the ticket").declines,
            u32::try_from(n).expect("small")
        );
    }
    assert_eq!(declines(&store, 1).await, [at(1), at(2)]);
    assert_eq!(
        store.order(order_id(1)).await.expect("read").expect("the document exists").declines,
        2
    );
    // A refused commit counts no decline.
    let stale = vec![Write::Order(order(1)), Write::Decline { user: user_id(1), at: at(3) }];
    assert_eq!(store.commit(quiet(stale)).await, Err(CommitError::Stale));
    assert_eq!(declines(&store, 1).await, [at(1), at(2)]);
    assert_eq!(declines(&store, 2).await, []);
}

/// Makes user `n` hold a lock, as a buyer does whose payment is declined.
async fn buyer(store: &Arc<dyn Inspect>, n: u128) {
    sign_up(store, n).await;
    written(store, vec![take(n, n, 4)]).await;
}

pub async fn newest_declines_of_a_user_are_kept(store: Arc<dyn Inspect>) {
    let kept = usize::from(Policy::DECLINES_PER_USER_MAX);
    buyer(&store, 1).await;
    buyer(&store, 2).await;
    let times: Vec<Timestamp> = (0..25).map(at).collect();
    for time in &times {
        written(&store, vec![Write::Decline { user: user_id(1), at: *time }]).await;
    }
    written(&store, vec![Write::Decline { user: user_id(2), at: at(7) }]).await;
    assert_eq!(declines(&store, 1).await, times[times.len() - kept..]);
    assert_eq!(declines(&store, 2).await, [at(7)]);
}

pub async fn concurrent_declines_are_all_counted(store: Arc<dyn Inspect>) {
    buyer(&store, 1).await;
    buyer(&store, 2).await;
    let commit = |n: u128| quiet(vec![Write::Decline { user: user_id(1 + n % 2), at: at(5) }]);
    let answers = at_once(&store, (0..20).map(commit).collect::<Vec<Commit>>()).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!((declines(&store, 1).await.len(), declines(&store, 2).await.len()), (10, 10));
}

pub async fn declines_are_kept_for_a_day(store: Arc<dyn Inspect>) {
    buyer(&store, 1).await;
    for hour in [0, 2] {
        written(&store, vec![Write::Decline { user: user_id(1), at: at(hour * HOUR) }]).await;
    }
    store.purge(at(25 * HOUR)).await.expect("purged");
    assert!(
        declines(&store, 1).await.contains(&at(2 * HOUR)),
        "the decline is less than a day old"
    );
    store.purge(at(27 * HOUR)).await.expect("purged");
    // A store may keep declines longer. The policy ignores those that are too old.
    let left = declines(&store, 1).await;
    assert_eq!(Policy::default().declines_wait_until(&left, 0, at(27 * HOUR)), None);
}
