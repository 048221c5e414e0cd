//! The ledger that all replicas share when the server uses MongoDB: a collection of its own. Each
//! write changes one document, outside of the store's transactions, so that the ledger is as
//! independent as that of a real processor.

use std::{fmt::Display, future::IntoFuture, time::Duration};

use async_trait::async_trait;
use futures_util::TryStreamExt;
use mongodb::{
    Collection, Database,
    bson::doc,
    error::{ErrorKind, WriteFailure},
    options::{
        Acknowledgment, CollectionOptions, ReadConcern, ReadPreference, SelectionCriteria,
        WriteConcern,
    },
};

use super::{
    ledger::{Ledger, LedgerError},
    payment::SandboxPayment,
};
use gittix_domain::PaymentId;

/// Time after which the server stops a read, or stops waiting for a majority. The outcome is then
/// unknown.
const SERVER_TIMEOUT: Duration = Duration::from_secs(4);

/// Time after which this program stops waiting. The driver has no time-out of its own for a server
/// that does not answer.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// MongoDB's code for a violated unique index.
const DUPLICATE_KEY: i32 = 11000;

/// The collection `sandbox_payments`.
#[derive(Debug, Clone)]
pub struct MongoLedger(Collection<SandboxPayment>);

impl MongoLedger {
    /// The collection's name.
    pub const COLLECTION: &'static str = "sandbox_payments";

    /// Creates a handle, without reading or writing.
    pub fn new(database: &Database) -> Self {
        let majority = WriteConcern::builder()
            .w(Acknowledgment::Majority)
            .journal(true)
            .w_timeout(SERVER_TIMEOUT)
            .build();
        let options = CollectionOptions::builder()
            .write_concern(majority)
            .read_concern(ReadConcern::majority())
            .selection_criteria(SelectionCriteria::ReadPreference(ReadPreference::Primary))
            .build();
        Self(database.collection_with_options(Self::COLLECTION, options))
    }
}

#[async_trait]
impl Ledger for MongoLedger {
    async fn open(&self, payment: SandboxPayment) -> Result<SandboxPayment, LedgerError> {
        if let Some(known) = self.find(&payment.id).await? {
            return Ok(known);
        }
        match within(self.0.insert_one(&payment)).await? {
            Ok(_) => Ok(payment),
            Err(error) if is_duplicate(&error) => self
                .find(&payment.id)
                .await?
                .ok_or_else(|| LedgerError("a payment that exists cannot be read".into())),
            Err(error) => Err(failed(error)),
        }
    }

    async fn find(&self, id: &PaymentId) -> Result<Option<SandboxPayment>, LedgerError> {
        within(self.0.find_one(doc! { "_id": id.as_str() }).max_time(SERVER_TIMEOUT))
            .await?
            .map_err(failed)
    }

    async fn replace(&self, payment: SandboxPayment) -> Result<bool, LedgerError> {
        let before = i64::try_from(payment.version).map_err(failed)? - 1;
        let filter = doc! { "_id": payment.id.as_str(), "version": before };
        let replaced = within(self.0.replace_one(filter, &payment)).await?.map_err(failed)?;
        Ok(replaced.matched_count == 1)
    }

    async fn all(&self) -> Result<Vec<SandboxPayment>, LedgerError> {
        let found = within(self.0.find(doc! {}).max_time(SERVER_TIMEOUT)).await?.map_err(failed)?;
        within(found.try_collect()).await?.map_err(failed)
    }
}

async fn within<F: IntoFuture>(call: F) -> Result<F::Output, LedgerError> {
    tokio::time::timeout(CALL_TIMEOUT, call).await.map_err(failed)
}

fn is_duplicate(error: &mongodb::error::Error) -> bool {
    matches!(&*error.kind, ErrorKind::Write(WriteFailure::WriteError(write)) if write.code == DUPLICATE_KEY)
}

fn failed(error: impl Display) -> LedgerError {
    LedgerError(error.to_string())
}
