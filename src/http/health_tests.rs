//! Readiness: its checks, how often it is computed, and the outages that it tolerates.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures_util::future::join_all;

use super::*;
use crate::domain::Timestamp;

/// Store whose parts can fail.
#[derive(Debug)]
struct Parts {
    store: AtomicBool,
    member: AtomicBool,
    feed: AtomicBool,
    checks: AtomicUsize,
}

#[async_trait]
impl Health for Parts {
    async fn store_answers(&self) -> bool {
        self.checks.fetch_add(1, Ordering::Relaxed);
        // Other requests arrive meanwhile, as while a machine responds.
        tokio::task::yield_now().await;
        self.store.load(Ordering::Relaxed)
    }

    async fn other_member_answers(&self) -> bool {
        self.member.load(Ordering::Relaxed)
    }

    fn feed_is_live(&self) -> bool {
        self.feed.load(Ordering::Relaxed)
    }
}

fn healthy() -> (Arc<Parts>, Arc<Readiness>) {
    let on = || AtomicBool::new(true);
    let parts =
        Arc::new(Parts { store: on(), member: on(), feed: on(), checks: AtomicUsize::new(0) });
    let readiness = Readiness::new(Arc::<Parts>::clone(&parts), Clock::starting_at(Timestamp(0)));
    (parts, readiness)
}

/// Returns the result of the next check.
async fn next(readiness: &Arc<Readiness>) -> Checked {
    tokio::time::advance(Readiness::FRESH_FOR).await;
    readiness.current().await
}

#[test]
fn verdict_lists_every_failed_check() {
    assert_eq!(verdict(true, true, true), Ok(()));
    let reason = verdict(false, false, false).expect_err("all checks failed");
    assert_eq!(reason, "the store does not answer, the feed is not live, the clock is not sound");
    assert_eq!(verdict(true, true, false), Err("the clock is not sound".into()));
}

#[actix_web::test]
async fn thousand_requests_within_half_a_second_cause_one_check() {
    tokio::time::pause();
    let (parts, readiness) = healthy();
    let answers = join_all((0..1_000).map(|_| readiness.current())).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(parts.checks.load(Ordering::Relaxed), 1);
    tokio::time::advance(Readiness::FRESH_FOR).await;
    join_all((0..1_000).map(|_| readiness.current())).await;
    assert_eq!(parts.checks.load(Ordering::Relaxed), 2);
}

#[actix_web::test]
async fn abandoned_requests_cause_no_additional_checks() {
    tokio::time::pause();
    let (parts, readiness) = healthy();
    for _ in 0..100 {
        let abandoned = tokio::time::timeout(Duration::ZERO, readiness.current()).await;
        drop(abandoned);
    }
    readiness.current().await.expect("ready");
    assert_eq!(parts.checks.load(Ordering::Relaxed), 1);
}

#[actix_web::test]
async fn outage_of_the_primary_is_tolerated_for_the_time_of_an_election() {
    tokio::time::pause();
    let (parts, readiness) = healthy();
    next(&readiness).await.expect("ready");
    parts.store.store(false, Ordering::Relaxed);
    parts.feed.store(false, Ordering::Relaxed);
    let began = Instant::now();
    while began.elapsed() + Readiness::FRESH_FOR < Readiness::OUTAGE_MAX {
        next(&readiness).await.expect("the election is not over");
    }
    tokio::time::advance(Readiness::FRESH_FOR * 2).await;
    let reason = next(&readiness).await.expect_err("longer than an election");
    assert_eq!(reason, "the store does not answer, the feed is not live");
    // The store responds again and then fails again: the time starts again.
    parts.store.store(true, Ordering::Relaxed);
    parts.feed.store(true, Ordering::Relaxed);
    next(&readiness).await.expect("ready again");
    parts.store.store(false, Ordering::Relaxed);
    next(&readiness).await.expect("another election");
}

#[actix_web::test]
async fn outage_of_the_feed_is_tolerated_for_the_time_of_an_election() {
    tokio::time::pause();
    let (parts, readiness) = healthy();
    parts.feed.store(false, Ordering::Relaxed);
    next(&readiness).await.expect("it is being opened again");
    tokio::time::advance(Readiness::OUTAGE_MAX).await;
    assert_eq!(next(&readiness).await, Err("the feed is not live".into()));
}

#[actix_web::test]
async fn replica_that_reaches_no_member_becomes_unready_at_once() {
    tokio::time::pause();
    let (parts, readiness) = healthy();
    next(&readiness).await.expect("ready");
    parts.store.store(false, Ordering::Relaxed);
    parts.member.store(false, Ordering::Relaxed);
    assert_eq!(next(&readiness).await, Err("the store does not answer".into()));
}
