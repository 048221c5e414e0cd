//! Where the sandbox keeps its payments: a small trait, and one that lives in memory, for tests.

use std::{collections::BTreeMap, fmt::Debug};

use async_trait::async_trait;
use parking_lot::Mutex;

use super::payment::SandboxPayment;
use crate::domain::PaymentId;

/// The ledger could not be read or written; a write may have been done all the same.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the sandbox's ledger: {0}")]
pub struct LedgerError(pub String);

/// Payments by their id. What was answered is durable.
#[async_trait]
pub trait Ledger: Send + Sync + Debug + 'static {
    /// Adds a payment, or finds the one that is there under its id.
    async fn open(&self, payment: SandboxPayment) -> Result<SandboxPayment, LedgerError>;

    async fn find(&self, id: &PaymentId) -> Result<Option<SandboxPayment>, LedgerError>;

    /// Writes a state of version `v` over that of version `v - 1`. `false`: another version is there, nothing was written.
    async fn replace(&self, payment: SandboxPayment) -> Result<bool, LedgerError>;

    /// All of them, for the checker of the invariants.
    async fn all(&self) -> Result<Vec<SandboxPayment>, LedgerError>;
}

/// Gone with the process.
#[derive(Debug, Default)]
pub struct MemoryLedger(Mutex<BTreeMap<String, SandboxPayment>>);

#[async_trait]
impl Ledger for MemoryLedger {
    async fn open(&self, payment: SandboxPayment) -> Result<SandboxPayment, LedgerError> {
        Ok(self.0.lock().entry(payment.id.as_str().to_owned()).or_insert(payment).clone())
    }

    async fn find(&self, id: &PaymentId) -> Result<Option<SandboxPayment>, LedgerError> {
        Ok(self.0.lock().get(id.as_str()).cloned())
    }

    async fn replace(&self, payment: SandboxPayment) -> Result<bool, LedgerError> {
        let mut payments = self.0.lock();
        let known = payments.get_mut(payment.id.as_str()).filter(|known| known.version + 1 == payment.version);
        Ok(known.map(|known| *known = payment).is_some())
    }

    async fn all(&self) -> Result<Vec<SandboxPayment>, LedgerError> {
        Ok(self.0.lock().values().cloned().collect())
    }
}
