//! Handlers of accounts and sessions.

use actix_web::http::StatusCode;
use serde::Serialize;

use super::{
    answer::{HandlerResult, json},
    body::{FieldError, Form, text},
    call::Call,
    error::ApiError,
};
use crate::{
    actors::{SessionToken, UserUpdate, UserUpdated},
    domain::{Email, NewPassword, PublicUser},
    wire::UserView,
};

/// A new account.
#[derive(Debug, utoipa::ToSchema)]
#[schema(as = SignUpSchema)]
pub struct SignUpSchema {
    /// Email address. It is trimmed and converted to NFC and lower case, and its domain to ASCII
    /// (IDNA); at most 254 characters.
    #[schema(value_type = String, format = "email", max_length = 254, example = "ann@example.com")]
    email: Email,
    /// Password. It is not trimmed or shortened; its length is counted after NFC. These passwords
    /// are refused: the 10,000 most common ones, one repeated character, and those with fewer than
    /// 6 characters left without parts of the email address and `gittix`.
    #[schema(value_type = String, min_length = 8, max_length = 128, example = "correct horse battery staple")]
    password: NewPassword,
}

/// Credentials. Only the pair is checked: the rules for new emails and passwords do not apply.
#[derive(Debug, utoipa::ToSchema)]
#[schema(as = SignInSchema)]
pub struct SignInSchema {
    #[schema(example = "ann@example.com")]
    email: String,
    #[schema(example = "correct horse battery staple")]
    password: String,
}

/// Changes of an account. Members that are left out stay unchanged.
#[derive(Debug, utoipa::ToSchema)]
#[schema(as = UserUpdate)]
#[serde(rename_all = "camelCase")]
pub struct UserUpdateSchema {
    #[schema(value_type = Option<String>, nullable = false, format = "email", max_length = 254, example = "ann@example.com")]
    email: Option<Email>,
    /// New password, with the rules of a new account.
    #[schema(value_type = Option<String>, nullable = false, min_length = 8, max_length = 128)]
    password: Option<NewPassword>,
    /// Current password. Ten wrong ones in a row end the session.
    #[schema(example = "correct horse battery staple")]
    current_password: String,
}

/// The token of a link in a mail.
#[derive(Debug, utoipa::ToSchema)]
#[schema(as = VerifySchema)]
pub struct VerifySchema {
    /// The part of the link after `#token=`.
    #[schema(example = "AZkAAAAAcACAAAAAAAAACQ")]
    token: String,
}

/// An email address whose password was forgotten.
#[derive(Debug, utoipa::ToSchema)]
#[schema(as = ResetRequestSchema)]
pub struct ResetRequestSchema {
    #[schema(value_type = String, format = "email", max_length = 254, example = "ann@example.com")]
    email: Email,
}

/// A new password, with the token of a link in a mail.
#[derive(Debug, utoipa::ToSchema)]
#[schema(as = ResetSchema)]
pub struct ResetSchema {
    /// The part of the link after `#token=`.
    #[schema(example = "AZkAAAAAcACAAAAAAAAACQ")]
    token: String,
    /// New password, with the rules of a new account.
    #[schema(value_type = String, min_length = 8, max_length = 128, example = "correct horse battery staple")]
    password: NewPassword,
}

impl VerifySchema {
    fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let mut form = Form::parse(body, &["token"])?;
        let token = form.required("token", text);
        form.finish(token.map(|token| Self { token }))
    }
}

impl ResetRequestSchema {
    fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let mut form = Form::parse(body, &["email"])?;
        let email = form.required("email", email);
        form.finish(email.map(|email| Self { email }))
    }
}

impl ResetSchema {
    fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let mut form = Form::parse(body, &["token", "password"])?;
        let values = form.required("token", text).zip(form.required("password", new_password));
        form.finish(values.map(|(token, password)| Self { token, password }))
    }
}

impl SignUpSchema {
    fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let mut form = Form::parse(body, &["email", "password"])?;
        let account = form.required("email", email).zip(form.required("password", new_password));
        form.finish(account.map(|(email, password)| Self { email, password }))
    }
}

impl SignInSchema {
    fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let mut form = Form::parse(body, &["email", "password"])?;
        let credentials = form.required("email", text).zip(form.required("password", text));
        form.finish(credentials.map(|(email, password)| Self { email, password }))
    }
}

impl UserUpdateSchema {
    fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let mut form = Form::parse(body, &["email", "password", "currentPassword"])?;
        let email = form.optional("email", email);
        let password = form.optional("password", new_password);
        let current = form.required("currentPassword", text);
        form.finish(current.map(|current_password| Self { email, password, current_password }))
    }
}

/// The signed-in user.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Current<'a> {
    /// The user; null without a session.
    #[schema(required = true)]
    current_user: Option<UserView<'a>>,
}

/// Empty object.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Nothing {}

/// Creates an account and signs in. On success, the session of a cookie in the request ends.
#[utoipa::path(post, path = "/api/users/signup", tag = "users", operation_id = "signUp",
    request_body(content = SignUpSchema, content_type = "application/json"),
    responses(
        (status = 201, description = "The account exists and is signed in.", body = UserView<'static>, headers(("Set-Cookie" = String, description = "The session."))),
        (status = 409, description = "`email_in_use`"),
    ))]
pub async fn sign_up(mut call: Call) -> HandlerResult {
    call.state.context.limits.sign_in(call.client())?;
    let browser = call.browser().await?;
    let body = call.body().await?;
    let SignUpSchema { email, password } = SignUpSchema::parse(&body)?;
    let (public_user, token) = call.actors().users.sign_up(email, password, browser).await?;
    signed_in(&call, StatusCode::CREATED, &public_user, token)
}

/// Signs in. On success, the session of a cookie in the request ends. After 10 failures in 15
/// minutes for one email address from one network, further attempts for that address from that
/// network get 429; other networks are not refused, but may be
/// delayed.
#[utoipa::path(post, path = "/api/users/signin", tag = "users", operation_id = "signIn",
    request_body(content = SignInSchema, content_type = "application/json"),
    responses(
        (status = 200, description = "Signed in.", body = UserView<'static>, headers(("Set-Cookie" = String, description = "The session."))),
        (status = 401, description = "`invalid_credentials`: an unknown email, or a wrong password."),
    ))]
pub async fn sign_in(mut call: Call) -> HandlerResult {
    call.state.context.limits.sign_in(call.client())?;
    let browser = call.browser().await?;
    let body = call.body().await?;
    let SignInSchema { email, password } = SignInSchema::parse(&body)?;
    let (public_user, token) = call.actors().users.sign_in(&email, password, browser).await?;
    signed_in(&call, StatusCode::OK, &public_user, token)
}

/// Signs out: ends the session and closes its WebSockets. A request without a session succeeds too.
#[utoipa::path(post, path = "/api/users/signout", tag = "users", operation_id = "signOut",
    request_body(content = Option<Nothing>, content_type = "application/json"),
    responses((status = 200, description = "Signed out.", body = Nothing, headers(("Set-Cookie" = String, description = "Clears the session.")))),
    security((), ("session" = [])))]
pub async fn sign_out(mut call: Call) -> HandlerResult {
    call.expected_session().await?;
    let sessions = call.sessions().await?;
    let body = call.body().await?;
    Form::check_ignored_object(&body)?;
    // The sessions of all tried cookies must end: otherwise a remaining cookie would sign in the
    // next request.
    for session in &sessions {
        call.actors().users.sign_out(session).await?;
    }
    let mut answer = json(StatusCode::OK, &Nothing {});
    answer
        .add_cookie(&call.state.context.cookie.clear(call.req.headers()))
        .map_err(|error| unwritable(&error))?;
    Ok(answer)
}

/// Returns the signed-in user, or null without a session. The response is never 401.
#[utoipa::path(get, path = "/api/users/currentuser", tag = "users", operation_id = "currentUser",
    responses((status = 200, description = "The user, or null.", body = Current<'static>)),
    security((), ("session" = [])))]
pub async fn current(call: Call) -> HandlerResult {
    let public_user = match call.session().await? {
        Some(session) => call.actors().users.public_user(session.user).await?,
        None => None,
    };
    Ok(json(StatusCode::OK, &Current { current_user: public_user.as_ref().map(UserView::of) }))
}

/// Changes email or password. A new email address is pending until the link in a mail to it is
/// opened; until then the present one is used. A new password ends all sessions of the user; the
/// cookie of the response holds a new session.
#[utoipa::path(put, path = "/api/users/currentuser", tag = "users", operation_id = "updateUser",
    request_body(content = UserUpdateSchema, content_type = "application/json"),
    responses(
        (status = 200, description = "Changed.", body = UserView<'static>,
            headers(("Set-Cookie" = Option<String>, description = "The new session, after a change of password. A replay sets none."))),
        (status = 403, description = "`invalid_credentials`: `currentPassword` is wrong."),
        (status = 409, description = "`email_in_use`"),
    ),
    security(("session" = [])))]
pub async fn update(mut call: Call) -> HandlerResult {
    let session = call.signed_in().await?;
    let client = call.client();
    call.state.context.limits.sign_in(client)?;
    let body = call.body().await?;
    let work = async |key| {
        let UserUpdateSchema { email, password, current_password } =
            UserUpdateSchema::parse(&body)?;
        let update = UserUpdate { email, password, current_password };
        Ok(call.actors().users.update(&session, update, client.network(), key).await?)
    };
    let answer = |UserUpdated { public_user, token }| match token {
        Some(token) => signed_in(&call, StatusCode::OK, &public_user, token),
        None => Ok(json(StatusCode::OK, &UserView::of(&public_user))),
    };
    call.run_idempotent(session.user, &body, work, answer).await
}

/// Confirms an email address with the token of a mail. No session is needed. A token can be used
/// once, within 24 hours.
#[utoipa::path(post, path = "/api/users/verify", tag = "users", operation_id = "verifyEmail",
    request_body(content = VerifySchema, content_type = "application/json"),
    responses(
        (status = 200, description = "Confirmed.", body = UserView<'static>),
        (status = 400, description = "`invalid_token`, or a member is not valid."),
        (status = 409, description = "`email_in_use`: another user has confirmed the address meanwhile."),
    ))]
pub async fn verify(mut call: Call) -> HandlerResult {
    let client = call.client();
    call.state.context.limits.sign_in(client)?;
    let body = call.body().await?;
    let VerifySchema { token } = VerifySchema::parse(&body)?;
    let public_user = call.actors().users.verify(token, client.network()).await?;
    Ok(json(StatusCode::OK, &UserView::of(&public_user)))
}

/// Sends the mail that confirms the email address again. Nothing is sent if the address is
/// confirmed already. At most 3 mails an hour are sent to one address.
#[utoipa::path(post, path = "/api/users/verify/resend", tag = "users", operation_id = "resendVerification",
    request_body(content = Option<Nothing>, content_type = "application/json"),
    responses((status = 202, description = "The mail will be sent.", body = Nothing)),
    security(("session" = [])))]
pub async fn resend_verification(mut call: Call) -> HandlerResult {
    let session = call.signed_in().await?;
    let client = call.client();
    call.state.context.limits.sign_in(client)?;
    let body = call.body().await?;
    let work = async |key| {
        Form::check_ignored_object(&body)?;
        Ok(call.actors().users.resend_verification(&session, client.network(), key).await?)
    };
    let answer = |()| Ok(json(StatusCode::ACCEPTED, &Nothing {}));
    call.run_idempotent(session.user, &body, work, answer).await
}

/// Requests a mail with a link that sets a new password. The answer is the same for every email
/// address, also for one without an account. At most 3 mails an hour are sent to one address.
#[utoipa::path(post, path = "/api/users/reset", tag = "users", operation_id = "requestPasswordReset",
    request_body(content = ResetRequestSchema, content_type = "application/json"),
    responses((status = 202, description = "If the address has an account, a mail will be sent to it.", body = Nothing)))]
pub async fn request_reset(mut call: Call) -> HandlerResult {
    let client = call.client();
    call.state.context.limits.sign_in(client)?;
    let body = call.body().await?;
    let ResetRequestSchema { email } = ResetRequestSchema::parse(&body)?;
    call.actors().users.request_reset(email, client.network()).await?;
    Ok(json(StatusCode::ACCEPTED, &Nothing {}))
}

/// Sets a new password with the token of a mail, and signs in. All other sessions of the user end.
/// Only the newest token can be used, once, within an hour. The email address counts as confirmed.
#[utoipa::path(post, path = "/api/users/reset/confirm", tag = "users", operation_id = "resetPassword",
    request_body(content = ResetSchema, content_type = "application/json"),
    responses(
        (status = 200, description = "The password is set, and the user is signed in.", body = UserView<'static>, headers(("Set-Cookie" = String, description = "The session."))),
        (status = 400, description = "`invalid_token`, or a member is not valid."),
    ))]
pub async fn reset_password(mut call: Call) -> HandlerResult {
    call.state.context.limits.sign_in(call.client())?;
    let browser = call.browser().await?;
    let body = call.body().await?;
    let ResetSchema { token, password } = ResetSchema::parse(&body)?;
    let (public_user, token) = call.actors().users.reset_password(token, password, browser).await?;
    signed_in(&call, StatusCode::OK, &public_user, token)
}

fn signed_in(
    call: &Call,
    status: StatusCode,
    public_user: &PublicUser,
    token: SessionToken,
) -> HandlerResult {
    let mut answer = json(status, &UserView::of(public_user));
    answer
        .add_cookie(&call.state.context.cookie.set(call.req.headers(), token))
        .map_err(|error| unwritable(&error))?;
    Ok(answer)
}

/// Logs and returns an internal error. A session cookie is plain ASCII, so this is a bug of the
/// server.
fn unwritable(error: &impl std::fmt::Display) -> ApiError {
    tracing::error!(%error, "a session cookie could not be written; this is a bug: please report it");
    ApiError::new(super::error::Code::Internal)
}

fn email(raw: &str) -> Result<Email, FieldError> {
    Email::parse(&text(raw)?).map_err(|error| error.to_string().into())
}

/// Parses a new password. This check comes before hashing.
fn new_password(raw: &str) -> Result<NewPassword, FieldError> {
    NewPassword::parse(&text(raw)?).map_err(|error| error.to_string().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_password_is_a_string_within_the_rules() {
        assert_eq!(new_password(r#"" 1234567""#).as_ref().map(NewPassword::as_str), Ok(" 1234567"));
        assert_eq!(
            new_password(&format!("\"{}\"", "😀🎸".repeat(64)))
                .map(|password| password.as_str().len()),
            Ok(512)
        );
        for raw in [
            "\"1234567\"",
            &format!("\"{}\"", "xy".repeat(65)),
            "12345678",
            "null",
            "[\"12345678\"]",
        ] {
            assert!(new_password(raw).is_err(), "{raw}");
        }
    }

    #[test]
    fn object_with_an_operator_is_not_an_email() {
        assert_eq!(email(r#"{"$gt":""}"#), Err("must be a string".into()));
        assert_eq!(
            email(r#"" Ann@Example.COM ""#).map(|email| email.to_string()),
            Ok("ann@example.com".into())
        );
    }
}
