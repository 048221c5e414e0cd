//! The storage of the sandbox's payments: a trait, and an implementation in memory for tests.

use std::{collections::BTreeMap, fmt::Debug};

use async_trait::async_trait;
use parking_lot::Mutex;

use super::payment::SandboxPayment;
use gittix_domain::PaymentId;

/// The ledger could not be read or written. A failed write may have been stored nevertheless.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("sandbox ledger: {0}")]
pub struct LedgerError(pub String);

/// Payments by their id. An acknowledged write is durable.
#[async_trait]
pub trait Ledger: Send + Sync + Debug + 'static {
    /// Adds a payment, or returns the payment that exists with the same id.
    async fn open(&self, payment: SandboxPayment) -> Result<SandboxPayment, LedgerError>;

    async fn find(&self, id: &PaymentId) -> Result<Option<SandboxPayment>, LedgerError>;

    /// Writes version `v` of a payment over version `v - 1`. Returns `false`, and writes nothing,
    /// if another version is stored.
    async fn replace(&self, payment: SandboxPayment) -> Result<bool, LedgerError>;

    /// Returns all payments, for the checker of the invariants.
    async fn all(&self) -> Result<Vec<SandboxPayment>, LedgerError>;
}

/// A ledger in memory, without durability.
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
        let known = payments
            .get_mut(payment.id.as_str())
            .filter(|known| known.version + 1 == payment.version);
        Ok(known.map(|known| *known = payment).is_some())
    }

    async fn all(&self) -> Result<Vec<SandboxPayment>, LedgerError> {
        Ok(self.0.lock().values().cloned().collect())
    }
}
