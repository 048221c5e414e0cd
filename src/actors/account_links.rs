//! What the links in mails do: confirm an email address, and set a new password. Each is one
//! conditional commit, which also removes the token.

use std::net::IpAddr;

use super::{
    ActorError,
    accounts::{Browser, SessionToken, SignedIn},
    mail_limits::MailLimits,
    security,
    user_service::UserService,
};
use crate::{
    domain::{
        DomainEvent, Email, IdempotencyKey, IdempotencyRecord, Mail, NewPassword, Outcome,
        PublicUser, Timestamp, TokenPurpose, User,
    },
    mail::{digest_of, user_of},
    store::{Commit, CommitError, Write},
};

impl UserService {
    /// Returns a new user with the token of their verification mail, and the mail. Without a mail,
    /// if the limits of mails do not permit one: the user can request it later.
    pub(super) async fn verification_mail(
        &self,
        user: User,
        network: IpAddr,
        now: Timestamp,
    ) -> Result<(User, Option<Mail>), ActorError> {
        if !self.mail_limits.permit(user.address_to_verify(), network).await? {
            return Ok((user, None));
        }
        let (user, mail) = self.context.outbox.verification(user, now);
        Ok((user, Some(mail)))
    }

    /// Sends the verification mail again, with a new link. Does nothing if the address is verified.
    pub(super) async fn resend_verification(
        &self,
        signed_in: &SignedIn,
        network: IpAddr,
        key: Option<IdempotencyKey>,
    ) -> Result<(), ActorError> {
        let mut is_permitted = false;
        for _ in 0..Self::TRIES_MAX {
            let user =
                self.context.store.user(signed_in.user).await?.ok_or(ActorError::NotSignedIn)?;
            if user.email_verified && user.pending_email.is_none() {
                return Ok(());
            }
            is_permitted =
                is_permitted || self.mail_limits.permit(user.address_to_verify(), network).await?;
            if !is_permitted {
                return Err(ActorError::TooManyMails { retry_after: MailLimits::WINDOW });
            }
            let now = self.context.now();
            let (user, mail) = self.context.outbox.verification(user, now);
            let user = User { version: user.version + 1, updated_at: now, ..user };
            let writes = vec![Write::User(user), Write::Mail(mail)];
            let record = key.clone().map(|key| IdempotencyRecord {
                key,
                outcome: Outcome::VerificationSent,
                created_at: now,
            });
            let commit = Commit { writes, events: Vec::new(), at: now };
            match self.context.store.commit(commit.with_idempotency_record(record)).await {
                Err(CommitError::Stale) => {}
                written => {
                    written?;
                    self.context.outbox.wake();
                    return Ok(());
                }
            }
        }
        Err(ActorError::Busy("user"))
    }

    /// Confirms the email address that the token was sent to.
    pub(super) async fn verify(
        &self,
        token: &str,
        network: IpAddr,
    ) -> Result<PublicUser, ActorError> {
        let (id, digest) = (user_of(token).ok_or(ActorError::InvalidToken)?, digest_of(token));
        for _ in 0..Self::TRIES_MAX {
            let now = self.context.now();
            let user = self.context.store.user(id).await?;
            let verified = user.and_then(|user| user.verified(&digest, now));
            let verified = verified.ok_or(ActorError::InvalidToken)?;
            let public_user = PublicUser::from(&verified);
            let commit = Commit {
                writes: vec![Write::User(verified)],
                events: vec![DomainEvent::UserUpdated { user: public_user.clone() }],
                at: now,
            };
            match self.context.store.commit(commit).await {
                Err(CommitError::Stale) => {}
                written => {
                    written?;
                    security::email_verified(id, network);
                    return Ok(public_user);
                }
            }
        }
        Err(ActorError::Busy("user"))
    }

    /// Records that a person asked for a new password. The work is the same for every address, also
    /// for one without an account: two counters, and one commit.
    pub(super) async fn request_reset(
        &self,
        email: Email,
        network: IpAddr,
    ) -> Result<(), ActorError> {
        let is_permitted = self.mail_limits.permit(&email, network).await?;
        if !is_permitted {
            // The answer must not say more about one address than about another.
            return Ok(());
        }
        let now = self.context.now();
        let mail = self.context.outbox.reset_request(email, now);
        let commit = Commit { writes: vec![Write::Mail(mail)], events: Vec::new(), at: now };
        self.context.store.commit(commit).await?;
        self.context.outbox.wake();
        Ok(())
    }

    /// Sets a new password, ends all sessions of the user, and opens a new one.
    pub(super) async fn reset_password(
        &self,
        token: &str,
        password: NewPassword,
        browser: &Browser,
    ) -> Result<(PublicUser, SessionToken), ActorError> {
        let (id, digest) = (user_of(token).ok_or(ActorError::InvalidToken)?, digest_of(token));
        let mut new_hash = None;
        for _ in 0..Self::TRIES_MAX {
            let user = self.context.store.user(id).await?.ok_or(ActorError::InvalidToken)?;
            // Before the hash, so that a wrong token does not cost one.
            let now = self.context.now();
            user.token(TokenPurpose::Reset, &digest, now).ok_or(ActorError::InvalidToken)?;
            password.check_for(&user.email)?;
            let hash = match new_hash.take() {
                Some(hash) => hash,
                None => self.passwords.hash(browser.network, password.clone()).await?,
            };
            let now = self.context.now();
            let user = user
                .with_reset_password(&digest, hash.clone(), now)
                .ok_or(ActorError::InvalidToken)?;
            new_hash = Some(hash);
            let (public_user, user_version) = (PublicUser::from(&user), user.version);
            let (session_token, session) = self.new_session(id, now);
            let except = Some(session.digest.clone());
            let commit = Commit {
                writes: vec![
                    Write::User(user),
                    Write::CloseSessions { user: id, except: except.clone() },
                    Write::OpenSession { session, user_version },
                ],
                events: vec![
                    DomainEvent::UserUpdated { user: public_user.clone() },
                    DomainEvent::SessionsRevoked { user: id, except: except.clone() },
                ],
                at: now,
            };
            match self.commit_session(commit, browser).await {
                Err(CommitError::Stale) => {}
                written => {
                    written?;
                    self.sessions.revoke_all(id, except.as_ref());
                    security::password_changed(id, browser.network);
                    return Ok((public_user, session_token));
                }
            }
        }
        Err(ActorError::Busy("user"))
    }
}
