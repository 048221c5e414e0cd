//! The task that sends mails: claims what is due, renders it, sends it, and records the result.

use std::{sync::Arc, time::Duration};

use futures_util::StreamExt;
use lettre::message::Mailbox;
use rand::RngExt;
use tokio::time::Instant;

use super::{
    MailTransport, Outbox, SendError,
    message::message,
    template::{is_known, render},
};
use crate::{
    clock::Clock,
    domain::{Mail, MailContent, MailState, Millis, ReplicaName, Timestamp, User},
    metrics::METRICS,
    store::{Commit, CommitError, Store, Unavailable, Write},
};

/// Interval at which the outbox is read, because mails of other replicas and mails to try again
/// wake nothing.
const POLL_EVERY: Duration = Duration::from_secs(2);
/// Maximum number of mails that one read returns.
const PAGE: usize = 50;
/// Maximum number of mails that are sent at once.
const AT_ONCE: usize = 4;
/// A claim that is older is no longer sent by its own sender: the process may have been stopped,
/// and another replica may have taken the claim over.
const START_WITHIN: Duration = Duration::from_secs(30);
/// Number of tries to record a result, and the pause between them.
const RECORD_TRIES: usize = 3;
const RECORD_PAUSE: Duration = Duration::from_secs(1);

/// Everything that sending needs.
#[derive(Debug)]
pub struct MailSender {
    pub store: Arc<dyn Store>,
    pub clock: Clock,
    pub replica: ReplicaName,
    pub outbox: Outbox,
    pub transport: MailTransport,
    /// Sender of all mails.
    pub from: Mailbox,
    /// Address of the pages, which the links begin with, without a slash at the end.
    pub origin: String,
}

impl MailSender {
    /// Sends mails until the task ends.
    pub async fn run(self: Arc<Self>) {
        loop {
            // A full page is followed by the next one at once.
            if self.send_due().await < PAGE {
                let jitter = rand::rng().random_range(0.75..1.25);
                let pause = tokio::time::sleep(POLL_EVERY.mul_f64(jitter));
                tokio::select! {
                    () = pause => {}
                    () = self.outbox.woken() => {}
                }
            }
        }
    }

    /// Sends the mails that are due, at most a page. Returns the number of mails that need no further
    /// work in this round: without those that the store could not be written for.
    async fn send_due(&self) -> usize {
        let due = match self.store.mails_due(self.clock.now(), PAGE).await {
            Ok(due) => due,
            Err(error) => {
                tracing::warn!(%error, "the outbox could not be read; the next round tries again");
                return 0;
            }
        };
        self.count().await;
        let known = due.into_iter().filter(|mail| mail.content.as_ref().is_some_and(is_known));
        futures_util::stream::iter(known)
            .map(|mail| self.process(mail))
            .buffer_unordered(AT_ONCE)
            .filter(|is_done| std::future::ready(*is_done))
            .count()
            .await
    }

    async fn count(&self) {
        match self.store.mail_counts().await {
            Ok(counts) => {
                METRICS.mails_waiting.set(i64::try_from(counts.waiting).unwrap_or(i64::MAX));
                METRICS.mails_dead.set(i64::try_from(counts.dead).unwrap_or(i64::MAX));
            }
            Err(error) => {
                tracing::warn!(%error, "mails could not be counted; their metrics are not up to date");
            }
        }
    }

    /// Claims one mail, sends it, and records the result. Returns false if the mail is still due,
    /// because the store did not take the claim.
    async fn process(&self, mail: Mail) -> bool {
        let claimed_at = Instant::now();
        let mail = match self.claim(mail).await {
            Ok(Some(mail)) => mail,
            Ok(None) => return true,
            // Another replica has claimed it, or its user was changed. If it is still due, the next
            // round finds it.
            Err(CommitError::Stale) => return true,
            Err(error) => {
                tracing::warn!(%error, "a mail could not be claimed; the next round tries again");
                return false;
            }
        };
        fail::fail_point!("mail::claimed", |_| std::process::abort());
        let sent = self.send(&mail, claimed_at).await;
        fail::fail_point!("mail::sent", |_| std::process::abort());
        let now = self.clock.now();
        let recorded = match &sent {
            Ok(()) => mail.sent(now),
            Err(error) => mail.failed(&error.reason, error.is_permanent, now),
        };
        let outcome = match (&sent, &recorded.state) {
            (Ok(()), _) => "sent",
            (Err(_), MailState::Dead { .. }) => "dead",
            (Err(_), _) => "failed",
        };
        METRICS.mails.with_label_values(&[outcome]).inc();
        if let Err(error) = &sent {
            let (id, attempts) = (mail.id, mail.attempts);
            if outcome == "dead" {
                tracing::error!(mail = %id, attempts, %error, "mail given up; it is not tried again");
            } else {
                tracing::warn!(mail = %id, attempts, %error, "mail not sent; it is tried again");
            }
        }
        self.record(recorded).await;
        true
    }

    /// Commits the claim of `mail`. Returns `None` if there is nothing to send.
    async fn claim(&self, mail: Mail) -> Result<Option<Mail>, CommitError> {
        let now = self.clock.now();
        let Some(mut claimed) = mail.claim(self.replica.clone(), now, claim_span()) else {
            return Ok(None);
        };
        let mut writes = Vec::new();
        if matches!(claimed.state, MailState::Dead { .. }) {
            let (id, attempts) = (claimed.id, claimed.attempts);
            self.commit(vec![Write::Mail(claimed)], now).await?;
            METRICS.mails.with_label_values(&["dead"]).inc();
            tracing::error!(mail = %id, attempts, "mail given up: its senders end before they report a result");
            return Ok(None);
        }
        if claimed.content == Some(MailContent::ResetRequested) {
            match self.store.user_by_email(&claimed.to).await.map_err(unread)? {
                Some(user) => {
                    let (user, content) = self.outbox.reset(user, now);
                    let version = user.version + 1;
                    writes.push(Write::User(User { version, updated_at: now, ..user }));
                    claimed.content = Some(content);
                }
                None => {
                    self.commit(vec![Write::Mail(claimed.sent(now))], now).await?;
                    METRICS.mails.with_label_values(&["dropped"]).inc();
                    return Ok(None);
                }
            }
        }
        writes.push(Write::Mail(claimed.clone()));
        self.commit(writes, now).await?;
        Ok(Some(claimed))
    }

    async fn commit(&self, writes: Vec<Write>, now: Timestamp) -> Result<(), CommitError> {
        self.store.commit(Commit { writes, events: Vec::new(), at: now }).await
    }

    async fn send(&self, mail: &Mail, claimed_at: Instant) -> Result<(), SendError> {
        let permanent = |reason: String| SendError { reason, is_permanent: true };
        let rendered = render(mail, &self.origin, self.outbox.key())
            .ok_or_else(|| permanent("the mail has no text".into()))?;
        let message = message(mail.id, &mail.to, mail.created_at, &rendered, &self.from)
            .map_err(permanent)?;
        if claimed_at.elapsed() > START_WITHIN {
            let reason = "this process was stopped after it had claimed the mail".into();
            return Err(SendError { reason, is_permanent: false });
        }
        self.transport.send(mail.id, message).await
    }

    /// Records the result of an attempt. If it cannot be recorded, the claim is taken over later,
    /// and the mail is sent once more.
    async fn record(&self, mail: Mail) {
        for attempt in 1..=RECORD_TRIES {
            match self.commit(vec![Write::Mail(mail.clone())], mail.updated_at).await {
                // Stale: the claim was taken over, or an earlier try was written.
                Ok(()) | Err(CommitError::Stale) => return,
                Err(error) if attempt == RECORD_TRIES => {
                    tracing::warn!(mail = %mail.id, %error, "the result of a mail could not be recorded; it is sent once more after its claim has ended");
                }
                Err(_) => tokio::time::sleep(RECORD_PAUSE).await,
            }
        }
    }
}

/// Returns the time of a claim. Tests shorten it by a failpoint, which has the milliseconds.
fn claim_span() -> Millis {
    fail::fail_point!("mail::claim_span", |text| {
        Millis(text.and_then(|text| text.parse().ok()).unwrap_or(Mail::CLAIM_MAX.0))
    });
    Mail::CLAIM_MAX
}

/// Returns the error of a claim whose user could not be read.
fn unread(Unavailable(detail): Unavailable) -> CommitError {
    CommitError::Unavailable(detail)
}
