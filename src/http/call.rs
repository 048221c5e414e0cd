//! One request, as handlers get it: who sent it, its ids, its body.

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

/// Names the user who is signed in as far as the client of an unsafe request knows.
pub const EXPECTED_USER: HeaderName = HeaderName::from_static("gittix-user");

/// One request. Nothing of it is judged before a handler asks.
pub struct Call {
    pub req: HttpRequest,
    pub state: Data<AppState>,
    payload: Payload,
}

impl FromRequest for Call {
    type Error = ApiError;
    type Future = future::Ready<Result<Self, ApiError>>;

    fn from_request(req: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let state = req.app_data::<Data<AppState>>().cloned().ok_or_else(|| ApiError::new(Code::Internal));
        future::ready(state.map(|state| Self { req: req.clone(), state, payload: payload.take() }))
    }
}

impl Call {
    pub fn actors(&self) -> &Actors {
        &self.state.actors
    }

    /// The caller's network address.
    pub fn client(&self) -> ClientAddress {
        ClientAddress::of(self.req.peer_addr(), self.req.headers(), &self.state.context.proxies)
    }

    /// The network whose locks are limited together; `None` if they are not limited for this caller.
    pub fn lock_network(&self) -> Option<IpAddr> {
        let context = &self.state.context;
        if !context.limits_network_locks {
            return None;
        }
        client::lock_network(self.req.peer_addr(), self.req.headers(), &context.proxies)
    }

    /// The most bytes that the body can have, by its head; `None` if there is no body. Reads nothing.
    ///
    /// # Errors
    /// 415, 413: see [`body::expected_bytes`].
    pub fn expected_body_bytes(&self, bytes_max: usize) -> Result<Option<usize>, ApiError> {
        body::expected_bytes(&self.req, bytes_max)
    }

    /// Who is calling, if somebody is signed in.
    ///
    /// # Errors
    /// 503 while that cannot be told.
    pub async fn session(&self) -> Result<Option<SignedIn>, ApiError> {
        session(&self.state, self.req.headers()).await
    }

    /// All sessions that the request carries: more than one only if it has several cookies with sessions.
    ///
    /// # Errors
    /// 503 while the store cannot be asked.
    pub async fn sessions(&self) -> Result<Vec<SignedIn>, ApiError> {
        let mut sessions = Vec::new();
        for token in self.state.context.cookie.read(self.req.headers()) {
            sessions.extend(self.actors().users.authenticate(token).await?);
        }
        Ok(sessions)
    }

    /// Who is calling. A short body of somebody unknown is read and thrown away, so that they may sign in and try again
    /// on the same connection.
    ///
    /// # Errors
    /// 401; 409 `other_user`; 503 while the session cannot be looked up.
    pub async fn signed_in(&mut self) -> Result<SignedIn, ApiError> {
        match self.expected_session().await? {
            Some(who) => Ok(who),
            None => {
                Box::pin(body::discard(&self.req, &mut self.payload)).await;
                Err(ApiError::new(Code::NotSignedIn))
            }
        }
    }

    /// The request's session, if there is one and it belongs to the user whom the request names, if it names one.
    ///
    /// # Errors
    /// 409 `other_user`; 503 while the session cannot be looked up.
    pub async fn expected_session(&mut self) -> Result<Option<SignedIn>, ApiError> {
        let session = self.session().await?;
        if let Some(who) = &session
            && !origin::is_safe(self.req.method())
            && self.names_other_than(who.user)
        {
            Box::pin(body::discard(&self.req, &mut self.payload)).await;
            return Err(ApiError::new(Code::OtherUser));
        }
        Ok(session)
    }

    /// Whether `GitTix-User` names anything but `user`. What is no id names no user of ours.
    fn names_other_than(&self, user: UserId) -> bool {
        let mut names = self.req.headers().get_all(EXPECTED_USER);
        names.any(|name| name.to_str().ok().and_then(|name| name.trim().parse().ok()) != Some(user))
    }

    /// The browser that signs up or in with this request.
    ///
    /// # Errors
    /// As of [`Self::expected_session`].
    pub async fn browser(&mut self) -> Result<Browser, ApiError> {
        Ok(Browser { network: self.client().network(), former: self.expected_session().await? })
    }

    /// The whole body; empty if there is none.
    ///
    /// # Errors
    /// 415, 413, 408: see [`body::read`].
    pub async fn body(&mut self) -> Result<Bytes, ApiError> {
        self.body_within(body::BODY_BYTES_MAX).await
    }

    /// The same, for what may be longer or shorter than other bodies.
    ///
    /// # Errors
    /// As of [`Self::body`].
    pub async fn body_within(&mut self, bytes_max: usize) -> Result<Bytes, ApiError> {
        body::read(&self.req, &mut self.payload, bytes_max).await
    }

    /// The id in the path.
    ///
    /// # Errors
    /// 404 if it is no UUID: nothing has such an id.
    pub fn id<T: FromStr>(&self) -> Result<T, ApiError> {
        id(self.req.match_info().get("id").unwrap_or_default())
    }
}

/// The session that the headers of a request belong to.
///
/// # Errors
/// 503 while it cannot be looked up.
pub async fn session(state: &AppState, headers: &HeaderMap) -> Result<Option<SignedIn>, ApiError> {
    for token in state.context.cookie.read(headers) {
        if let Some(who) = state.actors.users.authenticate(token).await? {
            return Ok(Some(who));
        }
    }
    Ok(None)
}

/// An id that a client sent, wherever it stood.
///
/// # Errors
/// 404 if it is no UUID.
pub fn id<T: FromStr>(text: &str) -> Result<T, ApiError> {
    text.parse().map_err(|_| ApiError::new(Code::NotFound))
}
