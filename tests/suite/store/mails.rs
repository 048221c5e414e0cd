//! The outbox: mails in the order in which they are due, counted by their state, and removed after
//! their sending.

use std::sync::Arc;

use gittix::{
    domain::{Email, Mail, MailContent, MailId, MailState, Millis, ReplicaName, Version},
    store::{CommitError, Inspect, MailCounts, Write},
};
use uuid::Uuid;

use super::samples::*;

const DAY: i64 = 24 * 60 * 60_000;

fn mail(n: u128) -> Mail {
    let to = Email::parse("ann@example.com").expect("an address");
    Mail::new(MailId::new(Uuid::from_u128(n)), to, MailContent::ResetRequested, at(0))
}

fn claimed(mail: &Mail, ms: i64) -> Mail {
    mail.claim(ReplicaName::new("one"), at(ms), Mail::CLAIM_MAX).expect("the mail is due")
}

async fn due(store: &Arc<dyn Inspect>, ms: i64, limit: usize) -> Vec<u128> {
    let due = store.mails_due(at(ms), limit).await.expect("read");
    due.iter().map(|mail| mail.id.uuid().as_u128()).collect()
}

async fn counts(store: &Arc<dyn Inspect>) -> (u64, u64) {
    let MailCounts { waiting, dead } = store.mail_counts().await.expect("read");
    (waiting, dead)
}

pub async fn mail_replaces_only_its_previous_version(store: Arc<dyn Inspect>) {
    let version = |version: Version| Write::Mail(Mail { version, ..mail(1) });
    assert_eq!(store.commit(quiet(vec![version(1)])).await, Err(CommitError::Stale));
    written(&store, vec![version(0)]).await;
    assert_eq!(store.commit(quiet(vec![version(0)])).await, Err(CommitError::Stale));
    written(&store, vec![version(1)]).await;
    let id = MailId::new(Uuid::from_u128(1));
    assert_eq!(store.mail(id).await.expect("read"), Some(Mail { version: 1, ..mail(1) }));
}

pub async fn one_of_many_claims_of_a_mail_succeeds(store: Arc<dyn Inspect>) {
    written(&store, vec![Write::Mail(mail(1))]).await;
    let claims = (0..32).map(|_| quiet(vec![Write::Mail(claimed(&mail(1), 0))])).collect();
    let answers = at_once(&store, claims).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1, "{answers:?}");
    assert!(answers.iter().all(|answer| matches!(answer, Ok(()) | Err(CommitError::Stale))));
}

pub async fn mails_are_due_in_the_order_of_their_time(store: Arc<dyn Inspect>) {
    let later = |n, ms: i64| Mail { ..claimed(&mail(n), 0).failed("no answer", false, at(ms)) };
    written(&store, (1..=4).map(|n| Write::Mail(mail(n))).collect()).await;
    written(&store, (1..=4).map(|n| Write::Mail(claimed(&mail(n), 0))).collect()).await;
    assert_eq!(due(&store, Mail::CLAIM_MAX.0 - 1, 10).await, [] as [u128; 0]);
    let results = vec![
        Write::Mail(later(1, 3_000)),
        Write::Mail(later(2, 1_000)),
        Write::Mail(claimed(&mail(3), 0).sent(at(2_000))),
        Write::Mail(claimed(&mail(4), 0).failed("no such mailbox", true, at(2_000))),
    ];
    written(&store, results).await;
    assert_eq!(due(&store, 31_000, 10).await, [2]);
    assert_eq!(due(&store, 33_000, 10).await, [2, 1]);
    assert_eq!(due(&store, 33_000, 1).await, [2]);
    assert_eq!(counts(&store).await, (2, 1));
}

pub async fn dead_mail_that_is_queued_again_is_due(store: Arc<dyn Inspect>) {
    let dead = claimed(&mail(1), 0).failed("no such mailbox", true, at(0));
    let again = Mail {
        state: MailState::Queued { due_at: at(5_000) },
        version: dead.version + 1,
        ..dead.clone()
    };
    for version in [mail(1), claimed(&mail(1), 0), dead, again] {
        written(&store, vec![Write::Mail(version)]).await;
    }
    assert_eq!((due(&store, 5_000, 10).await, counts(&store).await), (vec![1], (1, 0)));
}

pub async fn sent_mail_is_purged_after_a_week(store: Arc<dyn Inspect>) {
    for version in [mail(1), claimed(&mail(1), 0), claimed(&mail(1), 0).sent(at(0))] {
        written(&store, vec![Write::Mail(version)]).await;
    }
    written(&store, vec![Write::Mail(mail(2))]).await;
    let left = async || {
        let mut left = Vec::new();
        for n in [1, 2] {
            let id = MailId::new(Uuid::from_u128(n));
            left.extend(store.mail(id).await.expect("read").map(|_| n));
        }
        left
    };
    store.purge(at(7 * DAY) - Millis(1)).await.expect("purged");
    assert_eq!(left().await, [1, 2]);
    store.purge(at(7 * DAY) + Millis(1)).await.expect("purged");
    assert_eq!(left().await, [2]);
}
