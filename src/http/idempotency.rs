//! Idempotency-Keys: if the first request under a key changed state, a later request under that key
//! gets the first response again.
//!
//! The actors store the effect of the request in the commit of that effect; the bytes of the
//! response are not stored. A replay passes the stored effect to the function that created the
//! first response, so members that depend on the time (`expiresInSeconds`, `clientSecret`) are
//! current, and a charge is shown in its present state.
//!
//! A first use that was refused, or that changed nothing, leaves no record: its repetition is
//! processed again. Apart from such members, a replay differs from the first response in four
//! points: it has the header `Idempotency-Replayed`; it sets no session cookie after a change of
//! the password; a charge may have another status since; and a token that only the attempt showed
//! to be unknown is first a 400, and in the replay a 402 with the Failed charge.

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

/// Request header with the key.
pub const KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Response header of a replay.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// Maximum length of a key, in characters.
const KEY_CHARS_MAX: usize = 255;

/// Effect of a request, from which its response is created.
pub trait Effect: Sized {
    /// Restores the effect from its stored outcome. `None`: the outcome is of another kind of
    /// effect.
    async fn replay(
        outcome: Outcome,
        actors: &Actors,
        user: UserId,
    ) -> Result<Option<Self>, ApiError>;
}

impl Effect for Ticket {
    async fn replay(outcome: Outcome, _: &Actors, _: UserId) -> Result<Option<Self>, ApiError> {
        match outcome {
            Outcome::TicketCreated { ticket } | Outcome::TicketUpdated { ticket } => {
                Ok(Some(ticket))
            }
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
            // No record contains a token. A client that can repeat the request has the cookie of
            // the first response.
            Outcome::UserUpdated { user } => Ok(Some(Self { public_user: user, token: None })),
            _ => Ok(None),
        }
    }
}

/// Effect of a request without content in its response, such as a deletion.
impl Effect for () {
    async fn replay(outcome: Outcome, _: &Actors, _: UserId) -> Result<Option<Self>, ApiError> {
        let is_empty = matches!(
            outcome,
            Outcome::TicketDeleted | Outcome::OrderCancelled | Outcome::VerificationSent
        );
        Ok(is_empty.then_some(()))
    }
}

/// The record has the charge from before the end of its payment, so the replay reads its present
/// state.
impl Effect for PaymentResult {
    async fn replay(
        outcome: Outcome,
        actors: &Actors,
        user: UserId,
    ) -> Result<Option<Self>, ApiError> {
        match outcome {
            Outcome::Charge { charge } => Ok(Some(actors.orders.charge(charge, user).await?)),
            _ => Ok(None),
        }
    }
}

impl Call {
    /// Runs `work` and returns the response that `respond` creates from its effect. If the
    /// Idempotency-Key has a record, `work` does not run, and `respond` gets the recorded effect.
    ///
    /// # Errors
    /// 400 for an invalid key; 409 while another request with the key is in progress in this
    /// process; 422 if the first request was a different one; and the errors of `work` and
    /// `respond`.
    pub async fn run_idempotent<T: Effect>(
        &self,
        user: UserId,
        body: &[u8],
        work: impl AsyncFnOnce(Option<IdempotencyKey>) -> Result<T, ApiError>,
        respond: impl Fn(T) -> HandlerResult,
    ) -> HandlerResult {
        let Some(key) = key(self.req.headers())? else {
            return respond(work(None).await?);
        };
        let keys = &self.actors().idempotency;
        let fingerprint = keys.fingerprint(&[
            self.req.method().as_str().as_bytes(),
            self.req.path().as_bytes(),
            body,
        ]);
        let key = IdempotencyKey { user, key: key.to_owned(), fingerprint };
        let Some(_in_use) = keys.begin(&key) else {
            return Err(ApiError::new(Code::IdempotencyInFlight));
        };
        if let Some(effect) = Box::pin(self.replay(&key)).await? {
            return Ok(replayed(respond(effect)));
        }
        match work(Some(key.clone())).await {
            // The first attempt may have succeeded on another replica, and its effect may be the
            // reason of this refusal.
            Err(error) if is_by_state(error.code()) => match Box::pin(self.replay(&key)).await? {
                Some(effect) => Ok(replayed(respond(effect))),
                None => Err(error),
            },
            done => respond(done?),
        }
    }

    async fn replay<T: Effect>(&self, key: &IdempotencyKey) -> Result<Option<T>, ApiError> {
        let Some(record) = self.actors().idempotency.find(key.user, &key.key).await? else {
            return Ok(None);
        };
        if record.key.fingerprint != key.fingerprint {
            return Err(ApiError::new(Code::IdempotencyKeyReused));
        }
        // The fingerprint covers method and path, so the effect has the right kind. Another kind
        // would mean another request.
        let effect = T::replay(record.outcome, self.actors(), key.user).await?;
        effect.map(Some).ok_or_else(|| ApiError::new(Code::IdempotencyKeyReused))
    }
}

/// Returns whether a refusal depends on state that the first attempt of the same request may have
/// changed. The limit of declined payments is not one of them.
fn is_by_state(code: Code) -> bool {
    code == Code::TooManyLocks
        || matches!(
            code.status(),
            StatusCode::CONFLICT | StatusCode::NOT_FOUND | StatusCode::PRECONDITION_FAILED
        )
}

fn replayed(response: HandlerResult) -> HttpResponse {
    let mut response = response.unwrap_or_else(|error| error.error_response());
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    response
}

/// Returns the key of the request, if it has one.
fn key(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    let mut lines = headers.get_all(KEY);
    let Some(key) = lines.next() else { return Ok(None) };
    let bytes = key.as_bytes();
    let is_valid =
        (1..=KEY_CHARS_MAX).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic);
    match key.to_str() {
        Ok(key) if is_valid && lines.next().is_none() => Ok(Some(key)),
        _ => Err(ApiError::invalid(
            "Idempotency-Key",
            "must be 1 to 255 visible ASCII characters, once",
        )),
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
    fn key_is_1_to_255_visible_ascii_characters() {
        assert_eq!(parsed(&[]).expect("valid"), None);
        assert_eq!(parsed(&[b"!~a-B"]).expect("valid").as_deref(), Some("!~a-B"));
        assert_eq!(parsed(&[&[b'k'; 255]]).expect("valid").map(|key| key.len()), Some(255));
        let bad: [&[&[u8]]; 5] =
            [&[b""], &[&[b'k'; 256]], &[b"a b"], &["é".as_bytes()], &[b"a", b"a"]];
        for lines in bad {
            assert_eq!(
                parsed(lines).expect_err("must be refused").code(),
                Code::ValidationFailed,
                "{lines:?}"
            );
        }
    }
}
