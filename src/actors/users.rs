//! The user registry: accounts, passwords and sessions.

use std::{fmt, net::IpAddr, sync::Arc};

use actix::{Actor, Addr, ArbiterHandle, Context, Handler, Message, ResponseFuture, Supervised, Supervisor};
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use super::{
    Fault,
    passwords::{Passwords, Verdict},
    sessions::{Sessions, new_token},
    shop::{Shop, new_id},
};
use crate::{
    domain::{Email, Event, IdempotencyKey, IdempotencyRecord, Millis, Outcome, Session, SessionDigest, Timestamp, User, UserCard, UserId},
    metrics::METRICS,
    store::{Commit, CommitError, Write},
    tasks::Essential,
};

/// A handle on the user registry.
#[derive(Debug, Clone)]
pub struct Users {
    desk: Desk,
    registry: Addr<UserRegistry>,
    admitted: Arc<Semaphore>,
}

/// The registry: it sees a sign-up, sign-in or update through, whether or not its client waits.
#[derive(Debug)]
struct UserRegistry {
    desk: Desk,
    _essential: Essential,
}

/// What handle and registry both work with.
#[derive(Debug, Clone)]
struct Desk {
    shop: Arc<Shop>,
    sessions: Sessions,
    passwords: Passwords,
    session_ttl: Millis,
    rates: bool,
}

/// The secret in a session's cookie: 32 random bytes, base64url.
#[derive(Clone)]
pub struct SessionToken(pub String);

impl fmt::Debug for SessionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionToken(…)")
    }
}

/// Who sent a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedIn {
    pub user: UserId,
    pub session: SessionDigest,
    pub expires_at: Timestamp,
}

/// What a user changes about themselves. Both `None`: nothing, but the current password is checked all the same.
#[derive(Clone)]
pub struct UserUpdate {
    pub email: Option<Email>,
    /// 8 to 128 characters, checked by the caller.
    pub password: Option<String>,
    pub current_password: String,
}

impl fmt::Debug for UserUpdate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserUpdate").field("email", &self.email).field("password", &self.password.is_some()).finish_non_exhaustive()
    }
}

#[derive(Message)]
#[rtype(result = "Result<(UserCard, SessionToken), Fault>")]
struct SignUp {
    email: Email,
    password: String,
    network: IpAddr,
}

#[derive(Message)]
#[rtype(result = "Result<(UserCard, SessionToken), Fault>")]
struct SignIn {
    email: String,
    password: String,
    network: IpAddr,
}

#[derive(Message)]
#[rtype(result = "Result<(), Fault>")]
struct SignOut(SignedIn);

#[derive(Message)]
#[rtype(result = "Result<UserCard, Fault>")]
struct Update {
    who: SignedIn,
    update: UserUpdate,
    network: IpAddr,
    key: Option<IdempotencyKey>,
}

impl Actor for UserRegistry {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(Users::ADMITTED_MAX * 2);
    }
}

impl Supervised for UserRegistry {}

impl Handler<SignUp> for UserRegistry {
    type Result = ResponseFuture<Result<(UserCard, SessionToken), Fault>>;

    fn handle(&mut self, SignUp { email, password, network }: SignUp, _: &mut Context<Self>) -> Self::Result {
        let desk = self.desk.clone();
        Box::pin(async move { desk.sign_up(email, password, network).await })
    }
}

impl Handler<SignIn> for UserRegistry {
    type Result = ResponseFuture<Result<(UserCard, SessionToken), Fault>>;

    fn handle(&mut self, SignIn { email, password, network }: SignIn, _: &mut Context<Self>) -> Self::Result {
        let desk = self.desk.clone();
        Box::pin(async move { desk.sign_in(&email, password, network).await })
    }
}

impl Handler<SignOut> for UserRegistry {
    type Result = ResponseFuture<Result<(), Fault>>;

    fn handle(&mut self, SignOut(who): SignOut, _: &mut Context<Self>) -> Self::Result {
        let desk = self.desk.clone();
        Box::pin(async move { desk.sign_out(who).await })
    }
}

impl Handler<Update> for UserRegistry {
    type Result = ResponseFuture<Result<UserCard, Fault>>;

    fn handle(&mut self, Update { who, update, network, key }: Update, _: &mut Context<Self>) -> Self::Result {
        let desk = self.desk.clone();
        Box::pin(async move { desk.update(who, update, network, key).await })
    }
}

impl Desk {
    /// How often a change is decided anew because somebody else changed the user meanwhile.
    const TRIES_MAX: usize = 4;
    /// Sign-ins with one email address, right or wrong, on all replicas together.
    const PER_EMAIL_MAX: u64 = 30;
    /// Sign-ins from one network address, on all replicas together.
    const PER_CLIENT_MAX: u64 = 300;
    const RATE_SPAN: Millis = Millis::from_mins(1);

    async fn sign_up(&self, email: Email, password: String, network: IpAddr) -> Result<(UserCard, SessionToken), Fault> {
        // Before the hash, since it is dear. The store's unique index has the last word.
        if self.shop.store.user_by_email(&email).await?.is_some() {
            return Err(Fault::EmailInUse);
        }
        let password_hash = self.passwords.hash(network, password).await?;
        let now = self.shop.now();
        let user = User { id: UserId::new(new_id()), email, password_hash, version: 0, created_at: now, updated_at: now };
        let card = UserCard::from(&user);
        let (token, session) = self.new_session(user.id, now);
        let writes = vec![Write::User(user), Write::OpenSession { session, user_version: 0 }];
        let events = vec![Event::UserCreated { user: card.clone() }];
        self.shop.store.commit(Commit { writes, events, at: now }).await?;
        Ok((card, token))
    }

    async fn sign_in(&self, email: &str, password: String, network: IpAddr) -> Result<(UserCard, SessionToken), Fault> {
        let address = Email::parse(email).ok();
        self.count_attempt(address.as_ref().map_or(email, Email::as_str), &network.to_string()).await?;
        for _ in 0..Self::TRIES_MAX {
            let user = match &address {
                Some(address) => self.shop.store.user_by_email(address).await?,
                None => None,
            };
            let verdict = self.passwords.verify(network, password.clone(), user.as_ref().map(|user| user.password_hash.clone())).await?;
            let Some(user) = user.filter(|_| verdict != Verdict::Wrong) else {
                return Err(Fault::InvalidCredentials);
            };
            match self.open_session(user, verdict).await {
                // Email or password changed since it was verified.
                Err(CommitError::Stale) => {}
                opened => return Ok(opened?),
            }
        }
        Err(Fault::Busy("user"))
    }

    async fn open_session(&self, user: User, verdict: Verdict) -> Result<(UserCard, SessionToken), CommitError> {
        let now = self.shop.now();
        let card = UserCard::from(&user);
        let (token, session) = self.new_session(user.id, now);
        let mut commit = Commit { at: now, ..Commit::default() };
        let mut user_version = user.version;
        if let Verdict::Outdated { fresh } = verdict {
            user_version += 1;
            commit.writes.push(Write::User(User { password_hash: fresh, version: user_version, updated_at: now, ..user }));
            commit.events.push(Event::UserUpdated { user: card.clone() });
        }
        commit.writes.push(Write::OpenSession { session, user_version });
        self.shop.store.commit(commit).await?;
        Ok((card, token))
    }

    fn new_session(&self, user: UserId, now: Timestamp) -> (SessionToken, Session) {
        let (token, digest) = new_token();
        (token, Session { digest, user, created_at: now, expires_at: now + self.session_ttl })
    }

    async fn count_attempt(&self, email: &str, client: &str) -> Result<(), Fault> {
        if !self.rates {
            return Ok(());
        }
        // Digests: what people type into the wrong field does not get into the store.
        let hashed = |text: &str| Sha256::digest(text.as_bytes()).iter().take(16).map(|byte| format!("{byte:02x}")).collect::<String>();
        let counters = [("email", hashed(email), Self::PER_EMAIL_MAX), ("client", hashed(client), Self::PER_CLIENT_MAX)];
        for (what, digest, at_most) in counters {
            let hits = self.shop.store.count_hit(&format!("signin:{what}:{digest}"), Self::RATE_SPAN, self.shop.now()).await?;
            if hits > at_most {
                METRICS.shed.with_label_values(&["signin_rate"]).inc();
                return Err(Fault::TooMany { retry_after: Self::RATE_SPAN });
            }
        }
        Ok(())
    }

    async fn sign_out(&self, who: SignedIn) -> Result<(), Fault> {
        let event = Event::SessionRevoked { user: who.user, session: who.session.clone() };
        let commit = Commit { writes: vec![Write::CloseSession(who.session.clone())], events: vec![event], at: self.shop.now() };
        self.shop.store.commit(commit).await?;
        self.sessions.revoke(&who.session);
        Ok(())
    }

    async fn update(&self, who: SignedIn, update: UserUpdate, network: IpAddr, key: Option<IdempotencyKey>) -> Result<UserCard, Fault> {
        let mut new_hash = None;
        for _ in 0..Self::TRIES_MAX {
            let user = self.shop.store.user(who.user).await?.ok_or(Fault::NotSignedIn)?;
            let verdict = self.passwords.verify(network, update.current_password.clone(), Some(user.password_hash.clone())).await?;
            if verdict == Verdict::Wrong {
                return Err(Fault::WrongCurrentPassword);
            }
            if let (Some(password), None) = (&update.password, &new_hash) {
                new_hash = Some(self.passwords.hash(network, password.clone()).await?);
            }
            let email = update.email.clone().unwrap_or_else(|| user.email.clone());
            if new_hash.is_none() && email == user.email {
                return Ok(UserCard::from(&user));
            }
            match self.write_update(&who, user, email, new_hash.clone(), key.clone()).await {
                Err(CommitError::Stale) => {}
                written => return Ok(written?),
            }
        }
        Err(Fault::Busy("user"))
    }

    async fn write_update(
        &self,
        who: &SignedIn,
        user: User,
        email: Email,
        new_hash: Option<String>,
        key: Option<IdempotencyKey>,
    ) -> Result<UserCard, CommitError> {
        let now = self.shop.now();
        let password_changed = new_hash.is_some();
        let password_hash = new_hash.unwrap_or_else(|| user.password_hash.clone());
        let user = User { email, password_hash, version: user.version + 1, updated_at: now, ..user };
        let card = UserCard::from(&user);
        let mut commit = Commit { writes: vec![Write::User(user)], events: vec![Event::UserUpdated { user: card.clone() }], at: now };
        if password_changed {
            let except = Some(who.session.clone());
            commit.writes.push(Write::CloseSessions { user: who.user, except: except.clone() });
            commit.events.push(Event::SessionsRevoked { user: who.user, except });
        }
        let outcome = Outcome::UserUpdated { user: card.clone() };
        let record = key.map(|key| IdempotencyRecord { key, outcome, created_at: now });
        self.shop.store.commit(commit.remembering(record)).await?;
        if password_changed {
            self.sessions.revoke_all(who.user, Some(&who.session));
        }
        Ok(card)
    }
}

impl Users {
    /// Requests to the registry at once; more are shed.
    const ADMITTED_MAX: usize = 1024;

    pub(super) fn start(shop: Arc<Shop>, session_ttl: Millis, rates: bool, arbiter: &ArbiterHandle) -> Self {
        let sessions = Sessions::new(Arc::clone(&shop));
        let desk = Desk { shop, sessions, passwords: Passwords::start(), session_ttl, rates };
        let registry = {
            let desk = desk.clone();
            Supervisor::start_in_arbiter(arbiter, move |_| UserRegistry { desk, _essential: Essential::new("user registry") })
        };
        Self { desk, registry, admitted: Arc::new(Semaphore::new(Self::ADMITTED_MAX)) }
    }

    pub(super) fn sessions(&self) -> &Sessions {
        &self.desk.sessions
    }

    /// `password` has 8 to 128 characters, checked by the caller. `network` is the client's.
    pub async fn sign_up(&self, email: Email, password: String, network: IpAddr) -> Result<(UserCard, SessionToken), Fault> {
        self.send(SignUp { email, password, network }).await
    }

    /// `email` is what the client sent; what is no address is just unknown, in the same time. `network` is the
    /// client's.
    pub async fn sign_in(&self, email: &str, password: String, network: IpAddr) -> Result<(UserCard, SessionToken), Fault> {
        self.send(SignIn { email: email.into(), password, network }).await
    }

    /// Revokes the session. One that is gone already is fine.
    pub async fn sign_out(&self, signed_in: &SignedIn) -> Result<(), Fault> {
        self.send(SignOut(signed_in.clone())).await
    }

    /// Who the token belongs to, if it is a session's that neither ended nor expired.
    pub async fn authenticate(&self, token: &str) -> Result<Option<SignedIn>, Fault> {
        self.desk.sessions.find(token).await
    }

    pub async fn card(&self, user: UserId) -> Result<Option<UserCard>, Fault> {
        Ok(self.desk.shop.store.user(user).await?.as_ref().map(UserCard::from))
    }

    /// Changes email or password; a new password ends the user's other sessions.
    pub async fn update(
        &self,
        who: &SignedIn,
        update: UserUpdate,
        network: IpAddr,
        key: Option<IdempotencyKey>,
    ) -> Result<UserCard, Fault> {
        self.send(Update { who: who.clone(), update, network, key }).await
    }

    async fn send<M, T>(&self, message: M) -> Result<T, Fault>
    where
        M: Message<Result = Result<T, Fault>> + Send + 'static,
        T: Send + 'static,
        UserRegistry: Handler<M>,
    {
        let Ok(_admission) = self.admitted.try_acquire() else { return Err(Fault::Busy("users")) };
        self.registry.send(message).await.unwrap_or(Err(Fault::OutcomeUnknown))
    }
}
