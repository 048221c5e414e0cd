//! The user registry: accounts, passwords and sessions. Its operations are in `user_service.rs`.

use std::{net::IpAddr, rc::Rc, sync::Arc};

use actix::{
    Actor, Addr, ArbiterHandle, Context, Handler, Message, ResponseFuture, Supervised, Supervisor,
};

use super::{
    ActorError,
    accounts::{Browser, SessionToken, SignedIn, UserUpdate, UserUpdated},
    admission::Admission,
    context::ActorContext,
    mail_limits::MailLimits,
    sessions::Sessions,
    sign_in_limits::{AttemptKeys, SignInLimits},
    user_service::UserService,
};
use crate::{
    domain::{Email, IdempotencyKey, Millis, NewPassword, PublicUser, UserId},
    tasks::EssentialTask,
};

/// A handle on the user registry. It finds sessions and reads users itself.
#[derive(Debug, Clone)]
pub struct Users {
    context: Arc<ActorContext>,
    sessions: Sessions,
    limits: SignInLimits,
    registry: Addr<UserRegistry>,
    admission: Admission,
}

/// The registry actor. It owns the hashing of passwords, with its queue and its threads. It
/// finishes each sign-up, sign-in, sign-out or update, whether or not its client still waits.
#[derive(Debug)]
struct UserRegistry {
    service: Rc<UserService>,
    _essential: EssentialTask,
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
    keys: AttemptKeys,
    browser: Browser,
}

#[derive(Message)]
#[rtype(result = "Result<(), ActorError>")]
struct SignOut(SignedIn);

#[derive(Message)]
#[rtype(result = "Result<(), ActorError>")]
struct ResendVerification {
    signed_in: SignedIn,
    network: IpAddr,
    key: Option<IdempotencyKey>,
}

#[derive(Message)]
#[rtype(result = "Result<PublicUser, ActorError>")]
struct Verify {
    token: String,
    network: IpAddr,
}

#[derive(Message)]
#[rtype(result = "Result<(), ActorError>")]
struct RequestReset {
    email: Email,
    network: IpAddr,
}

#[derive(Message)]
#[rtype(result = "Result<(PublicUser, SessionToken), ActorError>")]
struct ResetPassword {
    token: String,
    password: NewPassword,
    browser: Browser,
}

#[derive(Message)]
#[rtype(result = "Result<UserUpdated, ActorError>")]
struct UpdateUser {
    signed_in: SignedIn,
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

    fn handle(
        &mut self,
        SignUp { email, password, browser }: SignUp,
        _: &mut Context<Self>,
    ) -> Self::Result {
        let service = Rc::clone(&self.service);
        Box::pin(async move { service.sign_up(email, password, &browser).await })
    }
}

impl Handler<SignIn> for UserRegistry {
    type Result = ResponseFuture<Result<(PublicUser, SessionToken), ActorError>>;

    fn handle(
        &mut self,
        SignIn { email, password, keys, browser }: SignIn,
        _: &mut Context<Self>,
    ) -> Self::Result {
        let service = Rc::clone(&self.service);
        Box::pin(async move { service.sign_in(&email, password, &keys, &browser).await })
    }
}

impl Handler<SignOut> for UserRegistry {
    type Result = ResponseFuture<Result<(), ActorError>>;

    fn handle(&mut self, SignOut(signed_in): SignOut, _: &mut Context<Self>) -> Self::Result {
        let service = Rc::clone(&self.service);
        Box::pin(async move { service.end_session(&signed_in).await })
    }
}

impl Handler<UpdateUser> for UserRegistry {
    type Result = ResponseFuture<Result<UserUpdated, ActorError>>;

    fn handle(
        &mut self,
        UpdateUser { signed_in, update, network, key }: UpdateUser,
        _: &mut Context<Self>,
    ) -> Self::Result {
        let service = Rc::clone(&self.service);
        Box::pin(async move { service.update(signed_in, update, network, key).await })
    }
}

impl Handler<ResendVerification> for UserRegistry {
    type Result = ResponseFuture<Result<(), ActorError>>;

    fn handle(
        &mut self,
        ResendVerification { signed_in, network, key }: ResendVerification,
        _: &mut Context<Self>,
    ) -> Self::Result {
        let service = Rc::clone(&self.service);
        Box::pin(async move { service.resend_verification(&signed_in, network, key).await })
    }
}

impl Handler<Verify> for UserRegistry {
    type Result = ResponseFuture<Result<PublicUser, ActorError>>;

    fn handle(&mut self, Verify { token, network }: Verify, _: &mut Context<Self>) -> Self::Result {
        let service = Rc::clone(&self.service);
        Box::pin(async move { service.verify(&token, network).await })
    }
}

impl Handler<RequestReset> for UserRegistry {
    type Result = ResponseFuture<Result<(), ActorError>>;

    fn handle(
        &mut self,
        RequestReset { email, network }: RequestReset,
        _: &mut Context<Self>,
    ) -> Self::Result {
        let service = Rc::clone(&self.service);
        Box::pin(async move { service.request_reset(email, network).await })
    }
}

impl Handler<ResetPassword> for UserRegistry {
    type Result = ResponseFuture<Result<(PublicUser, SessionToken), ActorError>>;

    fn handle(
        &mut self,
        ResetPassword { token, password, browser }: ResetPassword,
        _: &mut Context<Self>,
    ) -> Self::Result {
        let service = Rc::clone(&self.service);
        Box::pin(async move { service.reset_password(&token, password, &browser).await })
    }
}

impl Users {
    /// Maximum number of requests to the registry at once. More are rejected.
    const ADMITTED_MAX: usize = 1024;

    pub(super) fn start(
        context: Arc<ActorContext>,
        session_ttl: Millis,
        is_limited: bool,
        arbiter: &ArbiterHandle,
    ) -> Self {
        let sessions = Sessions::new(Arc::clone(&context));
        let limits =
            SignInLimits::new(Arc::clone(&context.store), context.clock.clone(), is_limited);
        let mail_limits =
            MailLimits::new(Arc::clone(&context.store), context.clock.clone(), is_limited);
        let registry = {
            let (context, sessions, limits) =
                (Arc::clone(&context), sessions.clone(), limits.clone());
            Supervisor::start_in_arbiter(arbiter, move |_| UserRegistry {
                // First, so that a panic in what follows ends the process.
                _essential: EssentialTask::new("user registry"),
                service: Rc::new(UserService::start(
                    context,
                    sessions,
                    limits,
                    mail_limits,
                    session_ttl,
                )),
            })
        };
        let admission = Admission::new(Self::ADMITTED_MAX, "users");
        Self { context, sessions, limits, registry, admission }
    }

    pub(super) fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// Opens an account and its first session.
    pub async fn sign_up(
        &self,
        email: Email,
        password: NewPassword,
        browser: Browser,
    ) -> Result<(PublicUser, SessionToken), ActorError> {
        self.send(SignUp { email, password, browser }).await
    }

    /// Opens a session. `email` is the text that the client sent: a text that is not an address is
    /// answered like an unknown address, in the same time.
    pub async fn sign_in(
        &self,
        email: &str,
        password: String,
        browser: Browser,
    ) -> Result<(PublicUser, SessionToken), ActorError> {
        let address = Email::parse(email);
        let keys = AttemptKeys::new(address.as_ref().map_or(email, Email::as_str), browser.network);
        // Before the registry, so that a delayed attempt does not use up the admission of other
        // requests.
        self.limits.admit(&keys).await?;
        self.send(SignIn { email: email.into(), password, keys, browser }).await
    }

    /// Revokes the session. A session that has ended already is no error.
    pub async fn sign_out(&self, signed_in: &SignedIn) -> Result<(), ActorError> {
        self.send(SignOut(signed_in.clone())).await
    }

    /// Sends the verification mail again, with a new link. Does nothing if the address is verified.
    pub async fn resend_verification(
        &self,
        signed_in: &SignedIn,
        network: IpAddr,
        key: Option<IdempotencyKey>,
    ) -> Result<(), ActorError> {
        self.send(ResendVerification { signed_in: signed_in.clone(), network, key }).await
    }

    /// Confirms the email address that the token of a link was sent to.
    pub async fn verify(&self, token: String, network: IpAddr) -> Result<PublicUser, ActorError> {
        self.send(Verify { token, network }).await
    }

    /// Records a request for a new password. The result is the same for every address, also for one
    /// without an account.
    pub async fn request_reset(&self, email: Email, network: IpAddr) -> Result<(), ActorError> {
        self.send(RequestReset { email, network }).await
    }

    /// Sets a new password with the token of a link, ends all sessions, and opens a new one.
    pub async fn reset_password(
        &self,
        token: String,
        password: NewPassword,
        browser: Browser,
    ) -> Result<(PublicUser, SessionToken), ActorError> {
        self.send(ResetPassword { token, password, browser }).await
    }

    /// Returns the user and session of a token, or `None` if the session has ended or expired.
    pub async fn authenticate(&self, token: &str) -> Result<Option<SignedIn>, ActorError> {
        self.sessions.find(token).await
    }

    /// Returns the public data of a user.
    pub async fn public_user(&self, user: UserId) -> Result<Option<PublicUser>, ActorError> {
        Ok(self.context.store.user(user).await?.as_ref().map(PublicUser::from))
    }

    /// Changes the email address or the password. A new password ends all sessions of the user and
    /// opens a new one for this browser.
    pub async fn update(
        &self,
        signed_in: &SignedIn,
        update: UserUpdate,
        network: IpAddr,
        key: Option<IdempotencyKey>,
    ) -> Result<UserUpdated, ActorError> {
        self.send(UpdateUser { signed_in: signed_in.clone(), update, network, key }).await
    }

    async fn send<M, T>(&self, message: M) -> Result<T, ActorError>
    where
        M: Message<Result = Result<T, ActorError>> + Send + 'static,
        T: Send + 'static,
        UserRegistry: Handler<M>,
    {
        let _permit = self.admission.admit()?;
        self.registry.send(message).await.unwrap_or(Err(ActorError::OutcomeUnknown))
    }
}
