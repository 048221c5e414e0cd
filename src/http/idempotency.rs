//! Idempotency-Keys: a request under a key that was used before gets the answer of its first use.
//!
//! Not the answer's bytes are kept but the effect, by the actors, in the same commit. It goes through the very function
//! that made the first answer, so what depends on the moment (`expiresInSeconds`, `clientSecret`) is fresh.

use actix_web::{
    HttpResponse, ResponseError,
    http::{
        StatusCode,
        header::{HeaderMap, HeaderName, HeaderValue},
    },
};

use super::{
    answer::HandlerResult,
    call::Call,
    error::{ApiError, Code},
};
use crate::{
    actors::{Actors, PaymentResult, UserUpdated},
    domain::{IdempotencyKey, Order, Outcome, Ticket, UserId},
};

/// The request's header.
pub const KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Says that an answer was given before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// In characters.
const KEY_CHARS_MAX: usize = 255;

/// What a request changed, as far as its answer needs it.
pub trait Effect: Sized {
    /// The effect again, from what was kept. `None`: it is another kind of effect.
    async fn replay(outcome: Outcome, actors: &Actors, user: UserId) -> Result<Option<Self>, ApiError>;
}

impl Effect for Ticket {
    async fn replay(outcome: Outcome, _: &Actors, _: UserId) -> Result<Option<Self>, ApiError> {
        match outcome {
            Outcome::TicketCreated { ticket } | Outcome::TicketUpdated { ticket } => Ok(Some(ticket)),
            _ => Ok(None),
        }
    }
}

impl Effect for Order {
    async fn replay(outcome: Outcome, _: &Actors, _: UserId) -> Result<Option<Self>, ApiError> {
        match outcome {
            Outcome::OrderCreated { order } => Ok(Some(order)),
            _ => Ok(None),
        }
    }
}

impl Effect for UserUpdated {
    async fn replay(outcome: Outcome, _: &Actors, _: UserId) -> Result<Option<Self>, ApiError> {
        match outcome {
            // No record holds a token. Who could ask again has the cookie of the first answer already.
            Outcome::UserUpdated { user } => Ok(Some(Self { card: user, token: None })),
            _ => Ok(None),
        }
    }
}

/// Something is gone, and there is nothing to show.
impl Effect for () {
    async fn replay(outcome: Outcome, _: &Actors, _: UserId) -> Result<Option<Self>, ApiError> {
        Ok(matches!(outcome, Outcome::TicketDeleted | Outcome::OrderCancelled).then_some(()))
    }
}

/// The charge was committed before its payment ended: how it stands now is the answer.
impl Effect for PaymentResult {
    async fn replay(outcome: Outcome, actors: &Actors, user: UserId) -> Result<Option<Self>, ApiError> {
        match outcome {
            Outcome::Charge { charge } => Ok(Some(actors.orders.charge(charge, user).await?)),
            _ => Ok(None),
        }
    }
}

impl Call {
    /// Does `work`, unless the request's Idempotency-Key says that it was done before; either way, `answer` tells of it.
    ///
    /// # Errors
    /// 400 for what is no key; 409 while the first request under it runs; 422 if that was another request; and those of
    /// `work` and `answer`.
    pub async fn run_idempotent<T: Effect>(
        &self,
        user: UserId,
        body: &[u8],
        work: impl AsyncFnOnce(Option<IdempotencyKey>) -> Result<T, ApiError>,
        answer: impl Fn(T) -> HandlerResult,
    ) -> HandlerResult {
        let Some(key) = key(self.req.headers())? else {
            return answer(work(None).await?);
        };
        let keys = &self.actors().idempotency;
        let fingerprint = keys.fingerprint(&[self.req.method().as_str().as_bytes(), self.req.path().as_bytes(), body]);
        let key = IdempotencyKey { user, key: key.to_owned(), fingerprint };
        let Some(_in_use) = keys.begin(&key) else {
            return Err(ApiError::new(Code::IdempotencyInFlight));
        };
        if let Some(effect) = Box::pin(self.replay(&key)).await? {
            return Ok(replayed(answer(effect)));
        }
        match work(Some(key.clone())).await {
            // Another replica may have been faster, and what refuses this request may be what its first attempt did there.
            Err(error) if is_by_state(error.code()) => match Box::pin(self.replay(&key)).await? {
                Some(effect) => Ok(replayed(answer(effect))),
                None => Err(error),
            },
            done => answer(done?),
        }
    }

    async fn replay<T: Effect>(&self, key: &IdempotencyKey) -> Result<Option<T>, ApiError> {
        let Some(record) = self.actors().idempotency.find(key.user, &key.key).await? else { return Ok(None) };
        if record.key.fingerprint != key.fingerprint {
            return Err(ApiError::new(Code::IdempotencyKeyReused));
        }
        // The fingerprint holds the route, so an effect of another kind cannot be found; if it were, it would be another use.
        let effect = T::replay(record.outcome, self.actors(), key.user).await?;
        effect.map(Some).ok_or_else(|| ApiError::new(Code::IdempotencyKeyReused))
    }
}

/// Whether a refusal comes from how things stand, which the request itself may have changed before.
fn is_by_state(code: Code) -> bool {
    code == Code::TooManyLocks || matches!(code.status(), StatusCode::CONFLICT | StatusCode::NOT_FOUND | StatusCode::PRECONDITION_FAILED)
}

fn replayed(answer: HandlerResult) -> HttpResponse {
    let mut answer = answer.unwrap_or_else(|error| error.error_response());
    answer.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    answer
}

/// The request's key, if it has one.
fn key(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    let mut lines = headers.get_all(KEY);
    let Some(key) = lines.next() else { return Ok(None) };
    let bytes = key.as_bytes();
    let shaped = (1..=KEY_CHARS_MAX).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic);
    match key.to_str() {
        Ok(key) if shaped && lines.next().is_none() => Ok(Some(key)),
        _ => Err(ApiError::invalid("Idempotency-Key", "must be 1 to 255 visible ASCII characters, once")),
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn parsed(lines: &[&[u8]]) -> Result<Option<String>, ApiError> {
        let request = lines.iter().fold(TestRequest::post(), |request, line| {
            request.append_header((KEY, HeaderValue::from_bytes(line).expect("a header's bytes")))
        });
        key(request.to_http_request().headers()).map(|key| key.map(str::to_owned))
    }

    #[test]
    fn a_key_is_1_to_255_visible_ascii_characters() {
        assert_eq!(parsed(&[]).expect("valid"), None);
        assert_eq!(parsed(&[b"!~a-B"]).expect("valid").as_deref(), Some("!~a-B"));
        assert_eq!(parsed(&[&[b'k'; 255]]).expect("valid").map(|key| key.len()), Some(255));
        let bad: [&[&[u8]]; 5] = [&[b""], &[&[b'k'; 256]], &[b"a b"], &["é".as_bytes()], &[b"a", b"a"]];
        for lines in bad {
            assert_eq!(parsed(lines).expect_err("must be refused").code(), Code::ValidationFailed, "{lines:?}");
        }
    }
}
