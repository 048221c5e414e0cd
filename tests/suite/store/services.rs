//! Functions of a store besides documents: secrets, marks, counters, time and closing.

use std::sync::Arc;

use gittix::{
    clock::wall_clock,
    domain::Millis,
    store::{CommitError, CounterValue, Inspect, Write},
};

use super::samples::*;

pub async fn secret_is_stable_and_differs_by_name(store: Arc<dyn Inspect>) {
    let asked: Vec<_> = (0..16)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.secret("one").await.expect("a secret") })
        })
        .collect();
    let first = store.secret("one").await.expect("a secret");
    for answer in asked {
        assert_eq!(
            patient(answer).await.expect("no panic"),
            first,
            "all calls return the secret that the first call created"
        );
    }
    assert_ne!(first, store.secret("two").await.expect("a secret"));
    assert_ne!(first, [0; 32]);
}

pub async fn mark_stays_set(store: Arc<dyn Inspect>) {
    assert!(!store.has_mark("one").await.expect("read"));
    for _ in 0..2 {
        store.set_mark("one").await.expect("set");
        assert!(store.has_mark("one").await.expect("read"));
    }
    assert!(!store.has_mark("two").await.expect("read"), "reading a mark does not set it");
}

pub async fn hits_are_counted_within_their_window(store: Arc<dyn Inspect>) {
    let hit =
        async |key: &str, ms| store.count_hit(key, Millis(1_000), at(ms)).await.expect("counted");
    assert_eq!(hit("a", 0).await, 1);
    assert_eq!(hit("a", 500).await, 2);
    assert_eq!(hit("b", 500).await, 1, "keys have separate counters");
    assert_eq!(hit("a", 999).await, 3, "the window begins with the first hit, not with the last");
    assert_eq!(hit("a", 1_001).await, 1);
    assert_eq!(hit("a", 1_900).await, 2);
    store.purge(at(1_950)).await.expect("purged");
    assert_eq!(hit("a", 1_960).await, 3, "a running counter is not purged");
}

pub async fn concurrent_hits_are_all_counted(store: Arc<dyn Inspect>) {
    let hits: Vec<_> = (0..64)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                store.count_hit("a", Millis(60_000), at(0)).await.expect("counted")
            })
        })
        .collect();
    let mut counts = Vec::new();
    for hit in hits {
        counts.push(patient(hit).await.expect("no panic"));
    }
    counts.sort_unstable();
    assert_eq!(counts, (1..=64).collect::<Vec<u64>>());
}

pub async fn reading_a_counter_does_not_add_a_hit(store: Arc<dyn Inspect>) {
    let count = async |ms| store.count("a", at(ms)).await.expect("read");
    assert_eq!(count(0).await.hits, 0);
    for ms in [100, 200, 300] {
        store.count_hit("a", Millis(1_000), at(ms)).await.expect("counted");
    }
    store.count_hit("b", Millis(1_000), at(300)).await.expect("counted");
    for _ in 0..2 {
        assert_eq!(count(1_099).await, CounterValue { hits: 3, ends_at: at(1_100) });
    }
    assert_eq!(count(1_100).await.hits, 0, "the window has passed");
}

pub async fn cleared_counter_starts_at_zero(store: Arc<dyn Inspect>) {
    store.clear_count("a").await.expect("clearing an unknown counter is not an error");
    for key in ["a", "a", "b"] {
        store.count_hit(key, Millis(1_000), at(0)).await.expect("counted");
    }
    store.clear_count("a").await.expect("cleared");
    assert_eq!(store.count("a", at(1)).await.expect("read").hits, 0);
    assert_eq!(store.count("b", at(1)).await.expect("read").hits, 1, "other keys are not cleared");
    assert_eq!(store.count_hit("a", Millis(1_000), at(500)).await.expect("counted"), 1);
    assert_eq!(
        store.count("a", at(1_499)).await.expect("read").hits,
        1,
        "the window begins with the first hit after the clearing"
    );
}

pub async fn closed_store_refuses_commits(store: Arc<dyn Inspect>) {
    written(&store, vec![Write::Ticket(ticket(1))]).await;
    store.close().await;
    let late = store.commit(quiet(vec![Write::Ticket(ticket(2))])).await;
    assert!(matches!(late, Err(CommitError::Unavailable(_))), "{late:?}");
    store.close().await;
}

pub async fn queued_commits_are_answered_before_the_store_closes(store: Arc<dyn Inspect>) {
    let commits: Vec<_> = (0..64)
        .map(|n| {
            let store = Arc::clone(&store);
            tokio::spawn(
                async move { (n, store.commit(quiet(vec![Write::Ticket(ticket(n))])).await) },
            )
        })
        .collect();
    store.close().await;
    for commit in commits {
        let (n, answer) = patient(commit).await.expect("no panic");
        match answer {
            Ok(()) | Err(CommitError::Unavailable(_)) => {}
            other => panic!("ticket {n}: the commit is neither written nor refused: {other:?}"),
        }
    }
}

pub async fn time_of_the_store_is_close_to_the_wall_clock(store: Arc<dyn Inspect>) {
    let (before, now) = (wall_clock(), store.time().await.expect("the time"));
    let after = wall_clock();
    // A test's store runs on this machine, so the times differ only by the duration of the call.
    // One second is tolerated.
    assert!(
        now >= before - Millis(1_000) && now <= after + Millis(1_000),
        "{before:?} {now:?} {after:?}"
    );
}
