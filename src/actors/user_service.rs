//! Sign-up, sign-in and changes of an account. Each is one conditional commit. The registry in
//! `users.rs` runs them.

use std::{net::IpAddr, sync::Arc};

use super::{
    ActorError,
    accounts::{Browser, SessionToken, SignedIn, UserUpdate, UserUpdated},
    context::{ActorContext, new_id},
    mail_limits::MailLimits,
    passwords::{PasswordCheck, Passwords},
    security::{self, PasswordFailure},
    sessions::{Sessions, new_token},
    sign_in_limits::{AttemptKeys, SignInLimits},
};
use crate::{
    domain::{
        DomainEvent, Email, IdempotencyKey, IdempotencyRecord, Millis, NewPassword, Outcome,
        PublicUser, Session, SessionDigest, Timestamp, User, UserId,
    },
    store::{Commit, CommitError, Write},
};

/// The operations on accounts and sessions. The registry owns it; the futures of its requests share
/// it, all on its thread.
#[derive(Debug)]
pub(super) struct UserService {
    pub(super) context: Arc<ActorContext>,
    pub(super) sessions: Sessions,
    limits: SignInLimits,
    pub(super) mail_limits: MailLimits,
    pub(super) passwords: Passwords,
    session_ttl: Millis,
}

impl UserService {
    /// Maximum number of tries of a change. It is tried again if the user was changed meanwhile.
    pub(super) const TRIES_MAX: usize = 4;
    /// Number of wrong `currentPassword` in a row, on all replicas together, that ends a session.
    const WRONG_CURRENT_PASSWORDS_MAX: u64 = 10;

    /// Starts the threads that hash passwords.
    pub(super) fn start(
        context: Arc<ActorContext>,
        sessions: Sessions,
        limits: SignInLimits,
        mail_limits: MailLimits,
        session_ttl: Millis,
    ) -> Self {
        Self { context, sessions, limits, mail_limits, passwords: Passwords::start(), session_ttl }
    }

    pub(super) async fn sign_up(
        &self,
        email: Email,
        password: NewPassword,
        browser: &Browser,
    ) -> Result<(PublicUser, SessionToken), ActorError> {
        password.check_for(&email)?;
        // Checked before the hash, which is expensive. The store's unique index makes the final
        // decision.
        if self.context.store.user_by_email(&email).await?.is_some() {
            return Err(ActorError::EmailInUse);
        }
        let password_hash = self.passwords.hash(browser.network, password).await?;
        let now = self.context.now();
        let user = User {
            id: UserId::new(new_id()),
            email,
            email_verified: false,
            pending_email: None,
            password_hash,
            tokens: Vec::new(),
            version: 0,
            created_at: now,
            updated_at: now,
        };
        let public_user = PublicUser::from(&user);
        let (token, session) = self.new_session(user.id, now);
        let (user, mail) = self.verification_mail(user, browser.network, now).await?;
        let mut writes = vec![Write::User(user), Write::OpenSession { session, user_version: 0 }];
        writes.extend(mail.map(Write::Mail));
        let events = vec![DomainEvent::UserCreated { user: public_user.clone() }];
        self.commit_session(Commit { writes, events, at: now }, browser).await?;
        self.context.outbox.wake();
        security::signed_up(public_user.id, browser.network);
        Ok((public_user, token))
    }

    pub(super) async fn sign_in(
        &self,
        email: &str,
        password: String,
        keys: &AttemptKeys,
        browser: &Browser,
    ) -> Result<(PublicUser, SessionToken), ActorError> {
        let address = Email::parse(email).ok();
        for _ in 0..Self::TRIES_MAX {
            let user = match &address {
                Some(address) => self.context.store.user_by_email(address).await?,
                None => None,
            };
            let (id, stored) =
                user.as_ref().map(|user| (user.id, user.password_hash.clone())).unzip();
            let check = self.passwords.verify(browser.network, password.clone(), stored).await?;
            let Some(user) = user.filter(|_| check != PasswordCheck::Wrong) else {
                self.limits.record_failure(keys).await?;
                security::password_refused(id, browser.network, PasswordFailure::WrongCredentials);
                return Err(ActorError::InvalidCredentials);
            };
            self.limits.recheck_pair(keys).await?;
            match self.open_session(user, check, browser).await {
                // The user was changed after it was read.
                Err(CommitError::Stale) => {}
                opened => {
                    let (public_user, token) = opened?;
                    security::signed_in(public_user.id, browser.network);
                    return Ok((public_user, token));
                }
            }
        }
        Err(ActorError::Busy("user"))
    }

    async fn open_session(
        &self,
        user: User,
        check: PasswordCheck,
        browser: &Browser,
    ) -> Result<(PublicUser, SessionToken), CommitError> {
        let now = self.context.now();
        let public_user = PublicUser::from(&user);
        let (token, session) = self.new_session(user.id, now);
        let mut commit = Commit { at: now, ..Commit::default() };
        let mut user_version = user.version;
        if let PasswordCheck::Outdated { fresh } = check {
            user_version += 1;
            commit.writes.push(Write::User(User {
                password_hash: fresh,
                version: user_version,
                updated_at: now,
                ..user
            }));
            commit.events.push(DomainEvent::UserUpdated { user: public_user.clone() });
        }
        commit.writes.push(Write::OpenSession { session, user_version });
        self.commit_session(commit, browser).await?;
        Ok((public_user, token))
    }

    /// Commits the writes that open a session, and ends the browser's earlier session in the same
    /// commit.
    pub(super) async fn commit_session(
        &self,
        mut commit: Commit,
        browser: &Browser,
    ) -> Result<(), CommitError> {
        if let Some(former) = &browser.former {
            commit.writes.push(Write::CloseSession(former.session.clone()));
            commit.events.push(DomainEvent::SessionRevoked {
                user: former.user,
                session: former.session.clone(),
            });
        }
        self.context.store.commit(commit).await?;
        if let Some(former) = &browser.former {
            self.sessions.revoke(&former.session);
        }
        Ok(())
    }

    pub(super) fn new_session(&self, user: UserId, now: Timestamp) -> (SessionToken, Session) {
        let (token, digest) = new_token();
        (token, Session { digest, user, created_at: now, expires_at: now + self.session_ttl })
    }

    /// Ends a session. A session that has ended already is no error.
    pub(super) async fn end_session(&self, signed_in: &SignedIn) -> Result<(), ActorError> {
        let event = DomainEvent::SessionRevoked {
            user: signed_in.user,
            session: signed_in.session.clone(),
        };
        let commit = Commit {
            writes: vec![Write::CloseSession(signed_in.session.clone())],
            events: vec![event],
            at: self.context.now(),
        };
        self.context.store.commit(commit).await?;
        self.sessions.revoke(&signed_in.session);
        Ok(())
    }

    pub(super) async fn update(
        &self,
        signed_in: SignedIn,
        update: UserUpdate,
        network: IpAddr,
        key: Option<IdempotencyKey>,
    ) -> Result<UserUpdated, ActorError> {
        let mut new_hash = None;
        let mut may_mail = false;
        for _ in 0..Self::TRIES_MAX {
            let user =
                self.context.store.user(signed_in.user).await?.ok_or(ActorError::NotSignedIn)?;
            let email = update.email.clone().unwrap_or_else(|| user.email.clone());
            if let Some(password) = &update.password {
                password.check_for(&email)?;
            }
            let unhashed = update.password.clone().filter(|_| new_hash.is_none());
            let (current, stored) = (update.current_password.clone(), user.password_hash.clone());
            let (check, hash) =
                self.passwords.verify_and_hash(network, current, stored, unhashed).await?;
            if check == PasswordCheck::Wrong {
                return Err(self.wrong_current_password(&signed_in, network).await?);
            }
            self.right_current_password(&signed_in.session).await?;
            new_hash = new_hash.or(hash);
            let changes_email = update.email.is_some() && email != *user.address_to_verify();
            if new_hash.is_none() && !changes_email {
                return Ok(UserUpdated { public_user: PublicUser::from(&user), token: None });
            }
            if changes_email && email != user.email && !may_mail {
                self.check_new_address(&email, network).await?;
                may_mail = true;
            }
            let email = Some(email).filter(|_| changes_email);
            match self.write_update(user, email, new_hash.clone(), key.clone()).await {
                Err(CommitError::Stale) => {}
                written => {
                    let updated = written?;
                    if updated.token.is_some() {
                        security::password_changed(updated.public_user.id, network);
                    }
                    return Ok(updated);
                }
            }
        }
        Err(ActorError::Busy("user"))
    }

    /// Checks that a user may request the confirmation of `email`. The address may be taken until
    /// it is confirmed: the store's unique index makes the final decision.
    async fn check_new_address(&self, email: &Email, network: IpAddr) -> Result<(), ActorError> {
        if self.context.store.user_by_email(email).await?.is_some() {
            return Err(ActorError::EmailInUse);
        }
        if !self.mail_limits.permit(email, network).await? {
            return Err(ActorError::TooManyMails { retry_after: MailLimits::WINDOW });
        }
        Ok(())
    }

    /// Counts a wrong `currentPassword`, and ends the session after too many in a row. Returns the
    /// error for the client.
    async fn wrong_current_password(
        &self,
        signed_in: &SignedIn,
        network: IpAddr,
    ) -> Result<ActorError, ActorError> {
        security::password_refused(
            Some(signed_in.user),
            network,
            PasswordFailure::WrongCurrentPassword,
        );
        let wrong = self
            .context
            .store
            .count_hit(
                &current_password_key(&signed_in.session),
                self.session_ttl,
                self.context.now(),
            )
            .await?;
        if wrong < Self::WRONG_CURRENT_PASSWORDS_MAX {
            return Ok(ActorError::WrongCurrentPassword);
        }
        self.end_session(signed_in).await?;
        if wrong > Self::WRONG_CURRENT_PASSWORDS_MAX {
            // Another request has ended the session meanwhile.
            return Ok(ActorError::NotSignedIn);
        }
        security::session_ended(signed_in.user, network);
        Ok(ActorError::WrongCurrentPassword)
    }

    /// Clears the count of wrong passwords. Fails if the session was ended meanwhile.
    async fn right_current_password(&self, session: &SessionDigest) -> Result<(), ActorError> {
        let key = current_password_key(session);
        match self.context.store.count(&key, self.context.now()).await?.hits {
            0 => Ok(()),
            wrong if wrong >= Self::WRONG_CURRENT_PASSWORDS_MAX => Err(ActorError::NotSignedIn),
            _ => Ok(self.context.store.clear_count(&key).await?),
        }
    }

    async fn write_update(
        &self,
        user: User,
        new_email: Option<Email>,
        new_hash: Option<String>,
        key: Option<IdempotencyKey>,
    ) -> Result<UserUpdated, CommitError> {
        let now = self.context.now();
        // The user may change the password because an attacker has the session token. So the
        // session is replaced.
        let renewed = new_hash.as_ref().map(|_| self.new_session(user.id, now));
        let user = match new_hash {
            // Older tokens are void.
            Some(password_hash) => User { password_hash, tokens: Vec::new(), ..user },
            None => user,
        };
        let (user, mail) = match new_email {
            Some(email) if email != user.email => {
                let user = user.with_pending_email(email);
                let (user, mail) = self.context.outbox.verification(user, now);
                (user, Some(mail))
            }
            Some(email) => (user.with_pending_email(email), None),
            None => (user, None),
        };
        let has_mail = mail.is_some();
        let user = User { version: user.version + 1, updated_at: now, ..user };
        let (public_user, user_version) = (PublicUser::from(&user), user.version);
        let mut commit = Commit {
            writes: [Write::User(user)].into_iter().chain(mail.map(Write::Mail)).collect(),
            events: vec![DomainEvent::UserUpdated { user: public_user.clone() }],
            at: now,
        };
        if let Some((_, session)) = &renewed {
            let except = Some(session.digest.clone());
            commit
                .writes
                .push(Write::CloseSessions { user: public_user.id, except: except.clone() });
            commit.writes.push(Write::OpenSession { session: session.clone(), user_version });
            commit.events.push(DomainEvent::SessionsRevoked { user: public_user.id, except });
        }
        // The record has no token: a replay sets no cookie.
        let outcome = Outcome::UserUpdated { user: public_user.clone() };
        let record = key.map(|key| IdempotencyRecord { key, outcome, created_at: now });
        self.context.store.commit(commit.with_idempotency_record(record)).await?;
        if has_mail {
            self.context.outbox.wake();
        }
        let token = renewed.map(|(token, session)| {
            self.sessions.revoke_all(public_user.id, Some(&session.digest));
            token
        });
        Ok(UserUpdated { public_user, token })
    }
}

fn current_password_key(session: &SessionDigest) -> String {
    format!("current-password:{}", session.as_str())
}
