//! Mails that wait for their sending: the outbox.
//!
//! The commit of a change that a person must learn of also writes a [`Mail`]. A sender claims it by
//! a conditional write, renders it, and sends it. After [`Mail::CLAIM_MAX`] another sender may take
//! the claim over. So each mail is sent at least once, and at most once more for
//! each take-over.

use serde::{Deserialize, Serialize};

use super::{Email, MailId, Millis, ReplicaName, Timestamp, TokenNonce, UserId, Version};

/// An entry of the outbox.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mail {
    /// Also the mail's Message-ID, so that all sendings of one mail have the same one.
    #[serde(rename = "_id")]
    pub id: MailId,
    pub to: Email,
    /// Template and values. `None` once the mail was sent, because the values may contain what a link
    /// is made of.
    pub content: Option<MailContent>,
    #[serde(flatten)]
    pub state: MailState,
    /// Number of claims so far.
    pub attempts: u32,
    pub version: Version,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl Mail {
    /// Time after which a claim may be taken over: its sender has ended, or hangs.
    pub const CLAIM_MAX: Millis = Millis::from_secs(120);
    /// Number of claims after which a mail is not tried again. With the pauses between them, the
    /// last one is about 13 hours after the first.
    pub const ATTEMPTS_MAX: u32 = 20;
    /// Pause after the first failure. It doubles with each further failure.
    const FIRST_PAUSE: Millis = Millis::from_secs(30);
    /// Maximum of the pause between two attempts.
    const PAUSE_MAX: Millis = Millis::from_mins(60);
    /// Number of days for which an entry is kept after its sending.
    pub const SENT_KEPT_DAYS: i64 = 7;
    /// Maximum length of a stored reason of a failure, in bytes.
    const REASON_BYTES_MAX: usize = 500;

    /// Returns a new entry that is due at once.
    pub fn new(id: MailId, to: Email, content: MailContent, now: Timestamp) -> Self {
        Self {
            id,
            to,
            content: Some(content),
            state: MailState::Queued { due_at: now },
            attempts: 0,
            version: 0,
            created_at: now,
            updated_at: now,
        }
    }

    /// Returns the time from which on the mail may be claimed, or `None` if it needs no sending.
    pub fn due_at(&self) -> Option<Timestamp> {
        match self.state {
            MailState::Queued { due_at } => Some(due_at),
            MailState::Claimed { until, .. } => Some(until),
            MailState::Sent { .. } | MailState::Dead { .. } => None,
        }
    }

    /// Returns the mail as claimed by `by` for `span`, or `None` if it is not due. A mail that was
    /// claimed [`Self::ATTEMPTS_MAX`] times becomes Dead: its senders end before they can report a failure.
    #[must_use]
    pub fn claim(&self, by: ReplicaName, now: Timestamp, span: Millis) -> Option<Self> {
        self.due_at().filter(|due_at| *due_at <= now)?;
        if self.attempts >= Self::ATTEMPTS_MAX {
            let reason = "claimed too often, and never reported as sent or failed".into();
            return Some(self.in_state(MailState::Dead { since: now, reason }, now));
        }
        let claimed = self.in_state(MailState::Claimed { by, until: now + span }, now);
        Some(Self { attempts: self.attempts + 1, ..claimed })
    }

    /// Returns the mail after the mail server has accepted it. Its values are removed.
    #[must_use]
    pub fn sent(&self, now: Timestamp) -> Self {
        Self { content: None, ..self.in_state(MailState::Sent { sent_at: now }, now) }
    }

    /// Returns the mail after a failed attempt: queued again after a pause, or Dead if the failure
    /// is permanent or there were [`Self::ATTEMPTS_MAX`] attempts.
    #[must_use]
    pub fn failed(&self, reason: &str, is_permanent: bool, now: Timestamp) -> Self {
        if is_permanent || self.attempts >= Self::ATTEMPTS_MAX {
            let end = reason.floor_char_boundary(Self::REASON_BYTES_MAX);
            let reason = reason[..end].to_owned();
            return self.in_state(MailState::Dead { since: now, reason }, now);
        }
        let doublings = self.attempts.saturating_sub(1).min(16);
        let pause = Millis((Self::FIRST_PAUSE.0 << doublings).min(Self::PAUSE_MAX.0));
        self.in_state(MailState::Queued { due_at: now + pause }, now)
    }

    fn in_state(&self, state: MailState, now: Timestamp) -> Self {
        Self { state, version: self.version + 1, updated_at: now, ..self.clone() }
    }
}

/// The template of a mail, its version, and its values.
///
/// The text of a template version never changes, so that a mail has the same content each time it
/// is sent. A change of a text is a new version.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "template", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum MailContent {
    /// Asks the owner of the address to confirm it.
    VerifyEmail {
        template_version: u16,
        user: UserId,
        nonce: TokenNonce,
        /// The time from which on the link cannot be used.
        expires_at: Timestamp,
    },
    /// A person asked to reset the password of this address. The address may have no account: the
    /// entry is the same, so that the request takes the same time. The claim turns it into
    /// [`MailContent::ResetPassword`], or ends it.
    ResetRequested,
    /// A link that sets a new password.
    ResetPassword { template_version: u16, user: UserId, nonce: TokenNonce, expires_at: Timestamp },
    /// A template that only a newer version of the program knows. This version leaves the mail to
    /// the replicas of the newer one.
    #[serde(other)]
    Unknown,
}

/// The state of an entry.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "state", rename_all_fields = "camelCase")]
pub enum MailState {
    /// Waits for its first sending, or for the next one after a failure.
    Queued { due_at: Timestamp },
    /// The replica `by` sends it. From `until` on, another sender may claim it.
    Claimed { by: ReplicaName, until: Timestamp },
    /// The mail server has accepted it, or there was nothing to send.
    Sent { sent_at: Timestamp },
    /// It was refused for good, or failed too often. It is not tried again.
    Dead { since: Timestamp, reason: String },
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000);

    fn mail() -> Mail {
        let to = Email::parse("ann@example.com").expect("an address");
        Mail::new(MailId::new(Uuid::from_u128(1)), to, MailContent::ResetRequested, NOW)
    }

    fn claimed(mail: &Mail, now: Timestamp) -> Mail {
        mail.claim(ReplicaName::new("one"), now, Mail::CLAIM_MAX).expect("the mail is due")
    }

    #[test]
    fn claim_can_be_taken_over_only_after_its_time() {
        let first = claimed(&mail(), NOW);
        assert_eq!((first.version, first.attempts), (1, 1));
        let other = || ReplicaName::new("two");
        let end = NOW + Mail::CLAIM_MAX;
        assert_eq!(first.claim(other(), end - Millis(1), Mail::CLAIM_MAX), None);
        let second = first.claim(other(), end, Mail::CLAIM_MAX).expect("the claim has ended");
        assert_eq!((second.version, second.attempts), (2, 2));
    }

    #[test]
    fn sent_mail_has_no_values_and_is_not_due() {
        let sent = claimed(&mail(), NOW).sent(NOW);
        assert_eq!((sent.content, sent.state), (None, MailState::Sent { sent_at: NOW }));
        assert_eq!(claimed(&mail(), NOW).sent(NOW).due_at(), None);
    }

    #[test]
    fn pauses_after_failures_double_up_to_an_hour() {
        let mut mail = mail();
        let mut pauses = Vec::new();
        while let Some(now) = mail.due_at() {
            mail = claimed(&mail, now).failed("no answer", false, now);
            pauses.extend(mail.due_at().map(|due_at| (due_at - now).0 / 1000));
        }
        assert_eq!(pauses[..9], [30, 60, 120, 240, 480, 960, 1920, 3600, 3600]);
        assert_eq!(pauses.len(), usize::try_from(Mail::ATTEMPTS_MAX).unwrap_or(0) - 1);
        assert!(matches!(mail.state, MailState::Dead { .. }), "{mail:?}");
    }

    #[test]
    fn permanent_failure_ends_a_mail_at_once() {
        let dead = claimed(&mail(), NOW).failed("no such mailbox", true, NOW);
        assert!(
            matches!(&dead.state, MailState::Dead { reason, .. } if reason == "no such mailbox")
        );
        assert_eq!(dead.due_at(), None);
    }

    #[test]
    fn mail_whose_senders_never_report_is_given_up() {
        let mut mail = mail();
        for _ in 0..Mail::ATTEMPTS_MAX {
            mail = claimed(&mail, mail.due_at().expect("it is claimed or queued"));
        }
        let last = claimed(&mail, mail.due_at().expect("it is claimed"));
        assert!(matches!(last.state, MailState::Dead { .. }), "{last:?}");
    }

    #[test]
    fn reason_of_a_failure_is_cut_between_characters() {
        let dead = claimed(&mail(), NOW).failed(&"é".repeat(400), true, NOW);
        let MailState::Dead { reason, .. } = dead.state else { panic!("{dead:?}") };
        assert_eq!(reason, "é".repeat(250));
    }
}
