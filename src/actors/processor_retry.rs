//! Calls to the payment processor, repeated until it gives a definite answer.

use std::time::Duration;

use rand::RngExt;

use super::ActorError;
use crate::{domain::ChargeFailure, payments::ProcessorError};

/// Maximum number of tries of one step of a payment. After them, reconciliation continues the
/// charge.
pub(super) const TRIES_MAX: u32 = 6;

/// Pause before the second try, with jitter. It doubles with each try.
pub(super) const BACKOFF: Duration = Duration::from_millis(100);

/// Calls the processor until it gives a definite answer. A refusal is an error here, which the
/// processor should not give.
pub(super) async fn call_until_accepted<T, F>(call: impl Fn() -> F) -> Result<T, ActorError>
where
    F: Future<Output = Result<T, ProcessorError>>,
{
    call_until_definite(call).await?.map_err(|failure| refused(&failure))
}

/// Calls the processor until it gives a definite answer. The inner `Err` is a refusal.
///
/// # Errors
/// [`ActorError::Unavailable`] after [`TRIES_MAX`] calls without a definite answer.
pub(super) async fn call_until_definite<T, F>(
    call: impl Fn() -> F,
) -> Result<Result<T, ChargeFailure>, ActorError>
where
    F: Future<Output = Result<T, ProcessorError>>,
{
    let mut backoff = BACKOFF;
    for _ in 0..TRIES_MAX {
        match call().await {
            Ok(answer) => return Ok(Ok(answer)),
            Err(ProcessorError::Refused(failure)) => return Ok(Err(failure)),
            Err(ProcessorError::Unknown(detail)) => {
                tracing::warn!(%detail, "the payment processor gave no definite answer; the call is repeated");
                pause(&mut backoff).await;
            }
        }
    }
    Err(ActorError::Unavailable("the payment processor did not give a definite answer".into()))
}

/// Logs a refusal that the processor should not give (docs/operations.md says what to check), and
/// returns the error.
pub(super) fn refused(failure: &ChargeFailure) -> ActorError {
    tracing::error!(code = %failure.code, "the payment processor refused a call that it should accept");
    ActorError::Unavailable("the payment processor refused".into())
}

/// Waits for `backoff`, with jitter, and doubles it.
pub(super) async fn pause(backoff: &mut Duration) {
    let jitter = rand::rng().random_range(0.5..1.5);
    tokio::time::sleep(backoff.mul_f64(jitter)).await;
    *backoff *= 2;
}
