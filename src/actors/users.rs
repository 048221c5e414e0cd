//! The user registry: accounts, passwords and sessions. What it does is in `user_service.rs`.

use std::{fmt, net::IpAddr, sync::Arc};

use actix::{Actor, Addr, ArbiterHandle, Context, Handler, Message, ResponseFuture, Supervised, Supervisor};
use tokio::sync::Semaphore;

use super::{
    ActorError,
    context::ActorContext,
    sessions::Sessions,
    sign_in_limits::AttemptKeys,
    user_service::{UserService, UserUpdated},
};
use crate::{
    domain::{Email, IdempotencyKey, Millis, NewPassword, PublicUser, SessionDigest, Timestamp, UserId},
    tasks::EssentialTask,
};

/// A handle on the user registry.
#[derive(Debug, Clone)]
pub struct Users {
    service: UserService,
    registry: Addr<UserRegistry>,
    admitted: Arc<Semaphore>,
}

/// The registry: it sees a sign-up, sign-in or update through, whether or not its client waits.
#[derive(Debug)]
struct UserRegistry {
    service: UserService,
    _essential: EssentialTask,
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

/// The browser that signs up or in.
#[derive(Debug, Clone)]
pub struct Browser {
    pub network: IpAddr,
    /// The session whose cookie it sent, whichever user's: it ends in the commit that opens the new one.
    pub former: Option<SignedIn>,
}

/// What a user changes about themselves. Both `None`: nothing, but the current password is checked all the same.
#[derive(Clone)]
pub struct UserUpdate {
    pub email: Option<Email>,
    pub password: Option<NewPassword>,
    pub current_password: String,
}

impl fmt::Debug for UserUpdate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserUpdate").field("email", &self.email).field("password", &self.password.is_some()).finish_non_exhaustive()
    }
}

#[derive(Message)]
#[rtype(result = "Result<(PublicUser, SessionToken), ActorError>")]
struct SignUp {
    email: Email,
    password: NewPassword,
    browser: Browser,
}

#[derive(Message)]
#[rtype(result = "Result<(PublicUser, SessionToken), ActorError>")]
struct SignIn {
    email: String,
    password: String,
    attempt: AttemptKeys,
    browser: Browser,
}

#[derive(Message)]
#[rtype(result = "Result<(), ActorError>")]
struct SignOut(SignedIn);

#[derive(Message)]
#[rtype(result = "Result<UserUpdated, ActorError>")]
struct UpdateUser {
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
    type Result = ResponseFuture<Result<(PublicUser, SessionToken), ActorError>>;

    fn handle(&mut self, SignUp { email, password, browser }: SignUp, _: &mut Context<Self>) -> Self::Result {
        let service = self.service.clone();
        Box::pin(async move { service.sign_up(email, password, &browser).await })
    }
}

impl Handler<SignIn> for UserRegistry {
    type Result = ResponseFuture<Result<(PublicUser, SessionToken), ActorError>>;

    fn handle(&mut self, SignIn { email, password, attempt, browser }: SignIn, _: &mut Context<Self>) -> Self::Result {
        let service = self.service.clone();
        Box::pin(async move { service.sign_in(&email, password, &attempt, &browser).await })
    }
}

impl Handler<SignOut> for UserRegistry {
    type Result = ResponseFuture<Result<(), ActorError>>;

    fn handle(&mut self, SignOut(who): SignOut, _: &mut Context<Self>) -> Self::Result {
        let service = self.service.clone();
        Box::pin(async move { service.end_session(&who).await })
    }
}

impl Handler<UpdateUser> for UserRegistry {
    type Result = ResponseFuture<Result<UserUpdated, ActorError>>;

    fn handle(&mut self, UpdateUser { who, update, network, key }: UpdateUser, _: &mut Context<Self>) -> Self::Result {
        let service = self.service.clone();
        Box::pin(async move { service.update(who, update, network, key).await })
    }
}

impl Users {
    /// Requests to the registry at once; more are shed.
    const ADMITTED_MAX: usize = 1024;

    pub(super) fn start(context: Arc<ActorContext>, session_ttl: Millis, rates: bool, arbiter: &ArbiterHandle) -> Self {
        let service = UserService::start(context, session_ttl, rates);
        let registry = {
            let service = service.clone();
            Supervisor::start_in_arbiter(arbiter, move |_| UserRegistry { service, _essential: EssentialTask::new("user registry") })
        };
        Self { service, registry, admitted: Arc::new(Semaphore::new(Self::ADMITTED_MAX)) }
    }

    pub(super) fn sessions(&self) -> &Sessions {
        &self.service.sessions
    }

    /// Opens an account and its first session.
    pub async fn sign_up(&self, email: Email, password: NewPassword, browser: Browser) -> Result<(PublicUser, SessionToken), ActorError> {
        self.send(SignUp { email, password, browser }).await
    }

    /// `email` is what the client sent; what is no address is just unknown, in the same time.
    pub async fn sign_in(&self, email: &str, password: String, browser: Browser) -> Result<(PublicUser, SessionToken), ActorError> {
        let address = Email::parse(email);
        let attempt = AttemptKeys::new(address.as_ref().map_or(email, Email::as_str), browser.network);
        // Before the registry: a try that is delayed takes no place from others there.
        self.service.limits.admit(&attempt).await?;
        self.send(SignIn { email: email.into(), password, attempt, browser }).await
    }

    /// Revokes the session. One that is gone already is fine.
    pub async fn sign_out(&self, signed_in: &SignedIn) -> Result<(), ActorError> {
        self.send(SignOut(signed_in.clone())).await
    }

    /// Who the token belongs to, if it is a session's that neither ended nor expired.
    pub async fn authenticate(&self, token: &str) -> Result<Option<SignedIn>, ActorError> {
        self.service.sessions.find(token).await
    }

    pub async fn card(&self, user: UserId) -> Result<Option<PublicUser>, ActorError> {
        self.service.card(user).await
    }

    /// Changes email or password. A new password ends all of the user's sessions and opens a new one for this browser.
    pub async fn update(
        &self,
        who: &SignedIn,
        update: UserUpdate,
        network: IpAddr,
        key: Option<IdempotencyKey>,
    ) -> Result<UserUpdated, ActorError> {
        self.send(UpdateUser { who: who.clone(), update, network, key }).await
    }

    async fn send<M, T>(&self, message: M) -> Result<T, ActorError>
    where
        M: Message<Result = Result<T, ActorError>> + Send + 'static,
        T: Send + 'static,
        UserRegistry: Handler<M>,
    {
        let Ok(_admission) = self.admitted.try_acquire() else { return Err(ActorError::Busy("users")) };
        self.registry.send(message).await.unwrap_or(Err(ActorError::OutcomeUnknown))
    }
}
