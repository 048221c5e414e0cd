//! One request, as handlers get it: who sent it, its ids, its body.

use std::{future, str::FromStr};

use actix_web::{
    FromRequest, HttpRequest,
    dev::Payload,
    web::{Bytes, Data},
};

use super::{
    State, body,
    client::Client,
    error::{ApiError, Code},
};
use crate::actors::{Actors, SignedIn};

/// One request. Nothing of it is judged before a handler asks.
pub struct Call {
    pub req: HttpRequest,
    pub state: Data<State>,
    payload: Payload,
}

impl FromRequest for Call {
    type Error = ApiError;
    type Future = future::Ready<Result<Self, ApiError>>;

    fn from_request(req: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let state = req.app_data::<Data<State>>().cloned().ok_or_else(|| ApiError::new(Code::Internal));
        future::ready(state.map(|state| Self { req: req.clone(), state, payload: payload.take() }))
    }
}

impl Call {
    pub fn actors(&self) -> &Actors {
        &self.state.actors
    }

    /// The caller's network address.
    pub fn client(&self) -> Client {
        Client::of(self.req.peer_addr(), self.req.headers(), &self.state.front.proxies)
    }

    /// Who is calling, if somebody is signed in.
    ///
    /// # Errors
    /// 503 while that cannot be told.
    pub async fn session(&self) -> Result<Option<SignedIn>, ApiError> {
        match self.state.front.cookie.read(self.req.headers()) {
            Some(token) => Ok(self.actors().users.authenticate(token).await?),
            None => Ok(None),
        }
    }

    /// Who is calling. A short body of somebody unknown is read and thrown away, so that they may sign in and try again
    /// on the same connection.
    ///
    /// # Errors
    /// 401, or 503 while that cannot be told.
    pub async fn signed_in(&mut self) -> Result<SignedIn, ApiError> {
        match self.session().await? {
            Some(who) => Ok(who),
            None => {
                body::discard(&self.req, &mut self.payload).await;
                Err(ApiError::new(Code::NotSignedIn))
            }
        }
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

/// An id that a client sent, wherever it stood.
///
/// # Errors
/// 404 if it is no UUID.
pub fn id<T: FromStr>(text: &str) -> Result<T, ApiError> {
    text.parse().map_err(|_| ApiError::new(Code::NotFound))
}
