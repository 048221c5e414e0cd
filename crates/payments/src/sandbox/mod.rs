//! The built-in sandbox processor. It accepts Stripe's published test tokens and moves no money.
//! Like Stripe, it has a durable ledger of its own that is not part of this program's commits.
//!
//! A call that changes a payment reads it, computes the next state with the module `payment`, and
//! writes that state over the version that was read. If another call changed the payment, the next
//! state is computed again. Tokens, client secrets and keys are never logged.

mod file;
mod ledger;
mod mongo;
mod payment;
#[cfg(test)]
mod tests;
mod tokens;

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;

pub use file::FileLedger;
pub use ledger::{Ledger, LedgerError, MemoryLedger};
pub use mongo::MongoLedger;
pub use payment::SandboxPayment;

use super::{
    Authorization, ClientSecret, PaymentState, PaymentToken, Processor, ProcessorError, Reversal,
    failing, keyed, record_outcome,
};
use gittix_domain::{
    Charge, ChargeFailure, ChargeId, PaymentId, ProcessorName, TokenDigest, invariants::LedgerEntry,
};
use payment::{AttemptState, Reversed, Stage, Transition};
use tokens::{CaptureManner, InjectedFault, behavior};

/// Maximum number of tries of a call because other calls changed the payment. Each repetition
/// means that another call succeeded.
const TRIES_MAX: usize = 32;

/// The time limit of an attempt. Tests use slower tokens to exceed it.
const AUTHORIZE_TIMEOUT: Duration = Duration::from_secs(8);

/// The sandbox processor. Clones share one ledger.
#[derive(Clone)]
pub struct Sandbox {
    ledger: Arc<dyn Ledger>,
    key: [u8; 32],
}

impl fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sandbox").field("ledger", &self.ledger).finish_non_exhaustive()
    }
}

impl Sandbox {
    /// `key` is used for token digests and client secrets. All replicas must have the same key.
    pub fn new(ledger: Arc<dyn Ledger>, key: [u8; 32]) -> Self {
        Self { ledger, key }
    }

    /// Returns the captured and refunded amounts of every payment, for the checker of the
    /// invariants.
    ///
    /// # Errors
    /// Fails if the ledger cannot be read.
    pub async fn entries(&self) -> Result<Vec<LedgerEntry>, LedgerError> {
        let entry = |payment: &SandboxPayment| LedgerEntry {
            order: payment.order,
            user: payment.user,
            captured: payment.captured,
            refunded: payment.refunded,
        };
        Ok(self.ledger.all().await?.iter().map(entry).collect())
    }

    async fn found(&self, id: &PaymentId) -> Result<SandboxPayment, ProcessorError> {
        self.ledger.find(id).await?.ok_or_else(missing)
    }

    async fn found_of(
        &self,
        charge: ChargeId,
        id: &PaymentId,
    ) -> Result<SandboxPayment, ProcessorError> {
        let payment = self.found(id).await?;
        if payment.charge == charge { Ok(payment) } else { Err(missing()) }
    }

    /// Computes the next state of a payment and writes it over the version that was read. Repeats
    /// both if the payment was changed in the meantime.
    async fn change<T>(
        &self,
        read: &SandboxPayment,
        transition: impl Fn(&SandboxPayment) -> Transition<T> + Send,
    ) -> Result<T, ProcessorError> {
        let mut payment = read.clone();
        for _ in 0..TRIES_MAX {
            let (next, answer) = transition(&payment).map_err(ProcessorError::Refused)?;
            let written = match next {
                Some(next) => self.ledger.replace(next).await?,
                None => true,
            };
            if written {
                return Ok(answer);
            }
            payment = self.found(&read.id).await?;
        }
        Err(ProcessorError::Unknown("too many concurrent changes of the payment".into()))
    }

    fn authorization(&self, payment: &PaymentId, attempt_state: AttemptState) -> Authorization {
        match attempt_state {
            AttemptState::Authorized => Authorization::Authorized,
            AttemptState::ActionRequired => {
                Authorization::ActionRequired { client_secret: self.client_secret(payment) }
            }
            AttemptState::Declined(failure) => Authorization::Declined { failure },
        }
    }

    /// Returns a client secret of Stripe's form: the payment's id and an unguessable part.
    fn client_secret(&self, payment: &PaymentId) -> ClientSecret {
        const HEX_DIGITS: usize = 32;
        let secret = keyed(&self.key, "client secret", payment.as_str());
        ClientSecret(format!("{payment}_secret_{}", &secret[..HEX_DIGITS]))
    }

    async fn do_authorize(
        &self,
        charge: ChargeId,
        payment: &PaymentId,
        token: &PaymentToken,
    ) -> Result<Authorization, ProcessorError> {
        failing("sandbox::before_authorize", Some(payment))?;
        let Some(behavior) = behavior(token) else { return Ok(Authorization::InvalidToken) };
        wait(behavior.delay).await;
        if behavior.fault == Some(InjectedFault::NothingDone) {
            return Err(ProcessorError::Unknown("the test token requests an error".into()));
        }
        let before = self.found_of(charge, payment).await?;
        let attempt_state = self.change(&before, |payment| payment.authorize(&behavior)).await?;
        failing("sandbox::after_authorize", Some(payment))?;
        if behavior.fault == Some(InjectedFault::AnswerLost)
            && matches!(before.stage, Stage::Open { .. })
        {
            return Err(lost());
        }
        Ok(self.authorization(payment, attempt_state))
    }

    async fn do_capture(
        &self,
        charge: ChargeId,
        payment: &PaymentId,
    ) -> Result<(), ProcessorError> {
        failing("sandbox::before_capture", Some(payment))?;
        let before = self.found_of(charge, payment).await?;
        if let CaptureManner::Slow { millis } = before.capture {
            wait(Duration::from_millis(u64::from(millis))).await;
        }
        self.change(&before, SandboxPayment::capture).await?;
        failing("sandbox::after_capture", Some(payment))?;
        if before.capture == CaptureManner::AnswerLost && before.stage == Stage::Authorized {
            return Err(lost());
        }
        Ok(())
    }

    async fn do_resume(
        &self,
        charge: ChargeId,
        payment: &PaymentId,
    ) -> Result<Authorization, ProcessorError> {
        let before = self.found_of(charge, payment).await?;
        let attempt_state = self.change(&before, SandboxPayment::resume).await?;
        Ok(self.authorization(payment, attempt_state))
    }

    async fn do_reverse(
        &self,
        charge: ChargeId,
        payment: &PaymentId,
    ) -> Result<Reversal, ProcessorError> {
        failing("sandbox::before_reverse", Some(payment))?;
        let before = self.found_of(charge, payment).await?;
        let reversed = self.change(&before, SandboxPayment::reverse).await?;
        failing("sandbox::after_reverse", Some(payment))?;
        Ok(match reversed {
            Reversed::Voided => Reversal::Voided,
            Reversed::Refunded(refund) => Reversal::Refunded { refund },
        })
    }
}

#[async_trait]
impl Processor for Sandbox {
    fn name(&self) -> ProcessorName {
        ProcessorName::new("sandbox")
    }

    async fn token_exists(&self, token: &PaymentToken) -> Result<bool, ProcessorError> {
        Ok(behavior(token).is_some())
    }

    async fn open(&self, charge: &Charge) -> Result<PaymentId, ProcessorError> {
        let opened =
            self.ledger.open(SandboxPayment::of(charge)).await.map_err(ProcessorError::from);
        let same = opened.and_then(|payment| {
            match payment.amount == charge.amount && payment.currency == charge.currency {
                true => Ok(payment.id),
                false => {
                    Err(refused("idempotency_error", "The charge was opened with another amount."))
                }
            }
        });
        record_outcome(same, |_| "ok")
    }

    async fn authorize(
        &self,
        charge: &Charge,
        payment: &PaymentId,
        token: &PaymentToken,
    ) -> Result<Authorization, ProcessorError> {
        record_outcome(self.do_authorize(charge.id, payment, token).await, Authorization::outcome)
    }

    async fn resume(
        &self,
        charge: &Charge,
        payment: &PaymentId,
    ) -> Result<Authorization, ProcessorError> {
        record_outcome(self.do_resume(charge.id, payment).await, Authorization::outcome)
    }

    async fn fetch(
        &self,
        charge: &Charge,
        payment: &PaymentId,
    ) -> Result<PaymentState, ProcessorError> {
        let found = self.found_of(charge.id, payment).await.map(|found| match found.stage {
            Stage::Open { declined } => PaymentState::Open { declined },
            Stage::ActionRequired { .. } => {
                PaymentState::ActionRequired { client_secret: self.client_secret(payment) }
            }
            Stage::Authorized => PaymentState::Authorized,
            Stage::Captured => PaymentState::Captured,
            Stage::Voided => PaymentState::Voided,
            Stage::Refunded { refund } => PaymentState::Refunded { refund },
        });
        record_outcome(found, |_| "ok")
    }

    async fn capture(&self, charge: &Charge, payment: &PaymentId) -> Result<(), ProcessorError> {
        record_outcome(self.do_capture(charge.id, payment).await, |()| "ok")
    }

    async fn reverse(
        &self,
        charge: &Charge,
        payment: &PaymentId,
    ) -> Result<Reversal, ProcessorError> {
        record_outcome(self.do_reverse(charge.id, payment).await, |_| "ok")
    }

    async fn charge_of(&self, payment: &PaymentId) -> Result<Option<ChargeId>, ProcessorError> {
        let found = self.ledger.find(payment).await.map_err(ProcessorError::from);
        record_outcome(found.map(|found| found.map(|payment| payment.charge)), |_| "ok")
    }

    fn digest(&self, token: &PaymentToken) -> TokenDigest {
        TokenDigest::new(&keyed(&self.key, "token", token.expose()))
    }

    fn authorize_timeout(&self) -> Duration {
        AUTHORIZE_TIMEOUT
    }
}

impl From<LedgerError> for ProcessorError {
    fn from(error: LedgerError) -> Self {
        Self::Unknown(error.to_string())
    }
}

async fn wait(delay: Duration) {
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
}

fn refused(code: &str, message: &str) -> ProcessorError {
    ProcessorError::Refused(ChargeFailure::new(code, message))
}

/// Stripe's code for a payment that does not exist or belongs to another account.
fn missing() -> ProcessorError {
    refused("resource_missing", "There is no such payment.")
}

fn lost() -> ProcessorError {
    ProcessorError::Unknown("the test token requests that the answer is lost".into())
}
