//! New entries of the outbox. A caller writes the entry in the commit of its cause, and wakes the
//! sender after the commit.

use std::sync::Arc;

use tokio::sync::Notify;
use uuid::Uuid;

use super::token::{TokenKey, digest_of, new_nonce};
use crate::domain::{Email, Mail, MailContent, MailId, Timestamp, TokenNonce, TokenPurpose, User};

/// Makes entries of the outbox. Clones wake the same sender.
#[derive(Debug, Clone)]
pub struct Outbox {
    key: TokenKey,
    wake: Arc<Notify>,
}

impl Outbox {
    pub fn new(key: TokenKey) -> Self {
        Self { key, wake: Arc::default() }
    }

    /// Returns the user with a token that confirms their pending or present address, and the mail
    /// with its link. The caller commits both. The user's version is not changed.
    pub fn verification(&self, user: User, now: Timestamp) -> (User, Mail) {
        let (user, nonce) = self.with_token(user, TokenPurpose::Verify, now);
        let content = MailContent::VerifyEmail {
            template_version: 1,
            user: user.id,
            nonce,
            expires_at: now + TokenPurpose::Verify.lifetime(),
        };
        let mail = Mail::new(new_mail_id(), user.address_to_verify().clone(), content, now);
        (user, mail)
    }

    /// Returns the entry of a request to reset the password of `email`, which may have no account.
    pub fn reset_request(&self, email: Email, now: Timestamp) -> Mail {
        Mail::new(new_mail_id(), email, MailContent::ResetRequested, now)
    }

    /// Returns the user with a token that sets a new password, and the content of the mail with its
    /// link. The user's version is not changed.
    pub(super) fn reset(&self, user: User, now: Timestamp) -> (User, MailContent) {
        let (user, nonce) = self.with_token(user, TokenPurpose::Reset, now);
        let content = MailContent::ResetPassword {
            template_version: 1,
            user: user.id,
            nonce,
            expires_at: now + TokenPurpose::Reset.lifetime(),
        };
        (user, content)
    }

    fn with_token(&self, user: User, purpose: TokenPurpose, now: Timestamp) -> (User, TokenNonce) {
        let nonce = new_nonce();
        let digest = digest_of(&self.key.token(purpose, user.id, &nonce));
        (user.with_token(purpose, digest, now), nonce)
    }

    pub(super) fn key(&self) -> &TokenKey {
        &self.key
    }

    /// Makes the sender of this replica look for mails at once.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// Waits for a call of [`Self::wake`].
    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }
}

pub(super) fn new_mail_id() -> MailId {
    MailId::new(Uuid::now_v7())
}
