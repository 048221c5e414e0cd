//! One request as handlers use it: its session, client address, ids and body.

use std::{future, net::IpAddr, str::FromStr};

use actix_web::{
    FromRequest, HttpRequest,
    dev::Payload,
    http::header::{HeaderMap, HeaderName},
    web::{Bytes, Data},
};

use super::{
    AppState, body,
    client::{self, ClientAddress},
    error::{ApiError, Code},
    origin,
};
use crate::{
    actors::{Actors, Browser, SignedIn},
    domain::UserId,
};

/// Header of an unsafe request with the id of the user that the client shows as signed in.
pub const EXPECTED_USER: HeaderName = HeaderName::from_static("gittix-user");

/// One request. Each part is checked only when a handler asks for it.
pub struct Call {
    pub req: HttpRequest,
    pub state: Data<AppState>,
    payload: Payload,
}

impl FromRequest for Call {
    type Error = ApiError;
    type Future = future::Ready<Result<Self, ApiError>>;

    fn from_request(req: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let state =
            req.app_data::<Data<AppState>>().cloned().ok_or_else(|| ApiError::new(Code::Internal));
        future::ready(state.map(|state| Self { req: req.clone(), state, payload: payload.take() }))
    }
}

impl Call {
    pub fn actors(&self) -> &Actors {
        &self.state.actors
    }

    /// Returns the client address of the caller.
    pub fn client(&self) -> ClientAddress {
        ClientAddress::of(self.req.peer_addr(), self.req.headers(), &self.state.context.proxies)
    }

    /// Returns the network whose locks are limited together; `None` if they are not limited for
    /// this caller.
    pub fn lock_network(&self) -> Option<IpAddr> {
        let context = &self.state.context;
        if !context.limits_network_locks {
            return None;
        }
        client::lock_network(self.req.peer_addr(), self.req.headers(), &context.proxies)
    }

    /// Returns the maximum length of the body according to the head of the request, in bytes;
    /// `None` without a body. Does not read the body.
    ///
    /// # Errors
    /// 415, 413: see [`body::expected_bytes`].
    pub fn expected_body_bytes(&self, bytes_max: usize) -> Result<Option<usize>, ApiError> {
        body::expected_bytes(&self.req, bytes_max)
    }

    /// Returns the session of the request, if there is one.
    ///
    /// # Errors
    /// 503 while the session cannot be looked up.
    pub async fn session(&self) -> Result<Option<SignedIn>, ApiError> {
        session(&self.state, self.req.headers()).await
    }

    /// Returns the sessions of the first four session cookies of the request. It has several only
    /// if it has several cookies with sessions.
    ///
    /// # Errors
    /// 503 while the sessions cannot be looked up.
    pub async fn sessions(&self) -> Result<Vec<SignedIn>, ApiError> {
        let mut sessions = Vec::new();
        for token in self.state.context.cookie.read(self.req.headers()) {
            sessions.extend(self.actors().users.authenticate(token).await?);
        }
        Ok(sessions)
    }

    /// Returns the session of the request. Without a session, a short body is read and dropped, so
    /// that the client may sign in and repeat the request on the same connection.
    ///
    /// # Errors
    /// 401; 409 `other_user`; 503 while the session cannot be looked up.
    pub async fn signed_in(&mut self) -> Result<SignedIn, ApiError> {
        match self.expected_session().await? {
            Some(session) => Ok(session),
            None => {
                Box::pin(body::discard(&self.req, &mut self.payload)).await;
                Err(ApiError::new(Code::NotSignedIn))
            }
        }
    }

    /// Returns the session of the request, if there is one. If an unsafe request names a user, the
    /// session must be of that user.
    ///
    /// # Errors
    /// 409 `other_user`; 503 while the session cannot be looked up.
    pub async fn expected_session(&mut self) -> Result<Option<SignedIn>, ApiError> {
        let session = self.session().await?;
        if let Some(current) = &session
            && !origin::is_safe(self.req.method())
            && self.names_other_user(current.user)
        {
            Box::pin(body::discard(&self.req, &mut self.payload)).await;
            return Err(ApiError::new(Code::OtherUser));
        }
        Ok(session)
    }

    /// Returns whether `GitTix-User` has a value other than the id of `user`.
    fn names_other_user(&self, user: UserId) -> bool {
        let mut names = self.req.headers().get_all(EXPECTED_USER);
        names.any(|name| name.to_str().ok().and_then(|name| name.trim().parse().ok()) != Some(user))
    }

    /// Returns the browser that signs up or signs in with this request.
    ///
    /// # Errors
    /// Those of [`Self::expected_session`].
    pub async fn browser(&mut self) -> Result<Browser, ApiError> {
        Ok(Browser { network: self.client().network(), former: self.expected_session().await? })
    }

    /// Reads the whole body. Returns no bytes without a body.
    ///
    /// # Errors
    /// 415, 413, 408: see [`body::read`].
    pub async fn body(&mut self) -> Result<Bytes, ApiError> {
        self.body_within(body::BODY_BYTES_MAX).await
    }

    /// Reads the whole body, with another maximum length than [`Self::body`].
    ///
    /// # Errors
    /// Those of [`Self::body`].
    pub async fn body_within(&mut self, bytes_max: usize) -> Result<Bytes, ApiError> {
        body::read(&self.req, &mut self.payload, bytes_max).await
    }

    /// Returns the id in the path.
    ///
    /// # Errors
    /// 404 if the text is not a UUID, because no resource has such an id.
    pub fn id<T: FromStr>(&self) -> Result<T, ApiError> {
        id(self.req.match_info().get("id").unwrap_or_default())
    }
}

/// Returns the first valid session among the cookies of a request.
///
/// # Errors
/// 503 while the session cannot be looked up.
pub async fn session(state: &AppState, headers: &HeaderMap) -> Result<Option<SignedIn>, ApiError> {
    for token in state.context.cookie.read(headers) {
        if let Some(session) = state.actors.users.authenticate(token).await? {
            return Ok(Some(session));
        }
    }
    Ok(None)
}

/// Parses an id that a client sent in a path or a body.
///
/// # Errors
/// 404 if the text is not a UUID.
pub fn id<T: FromStr>(text: &str) -> Result<T, ApiError> {
    text.parse().map_err(|_| ApiError::new(Code::NotFound))
}
