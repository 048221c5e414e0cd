//! What is in the file: the tables, their keys, and how a document becomes bytes.
//!
//! Documents are BSON of the domain's own types: readable by other tools, and tolerant of members that a later version
//! adds. Keys are numbers; an id is the 128 bits of its UUID, which ascend as its text does. Every other table is an
//! index over the documents, kept by `apply` in the transaction that changes them. No rule is decided here.

use redb::{Table, TableDefinition, TableError, WriteTransaction};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::domain::{Charge, Event, Order, Ticket, Timestamp, User, Version};

/// Which layout of the file this program reads and writes. A file with another one is refused.
pub(super) const SCHEMA: u64 = 1;

/// The names in [`META`].
pub(super) mod meta {
    pub const SCHEMA: &str = "schema";
    pub const EPOCH: &str = "epoch";
    /// The place of the last event that was purged, as two entries.
    pub const PURGED_TIME: &str = "purged_time";
    pub const PURGED_ORDINAL: &str = "purged_ordinal";
}

macro_rules! tables {
    ($($(#[doc = $doc:literal])* $field:ident, $name:ident: $key:ty => $value:ty;)*) => {
        $($(#[doc = $doc])* pub(super) const $name: TableDefinition<'static, $key, $value> = TableDefinition::new(stringify!($field));)*

        /// All tables of one write transaction.
        pub(super) struct Tables<'t> {
            $(pub $field: Table<'t, $key, $value>,)*
        }

        impl<'t> Tables<'t> {
            /// Opens every table; what is not there yet is made.
            pub(super) fn open(transaction: &'t WriteTransaction) -> Result<Self, TableError> {
                Ok(Self { $($field: transaction.open_table($name)?,)* })
            }
        }
    };
}

tables! {
    /// Numbers about the file itself.
    meta, META: &'static str => u64;
    secrets, SECRETS: &'static str => &'static [u8; 32];
    tickets, TICKETS: u128 => &'static [u8];
    /// Locked tickets by (unlocksAt, ticket).
    locks_due, LOCKS_DUE: (i64, u128) => ();
    orders, ORDERS: u128 => &'static [u8];
    /// Orders that are Created by (expiresAt, order), with their ticket.
    windows_due, WINDOWS_DUE: (i64, u128) => u128;
    /// Orders by (buyer, order).
    orders_by_buyer, ORDERS_BY_BUYER: (u128, u128) => ();
    /// Created and AwaitingPayment orders by (buyer, order): few, however long the history.
    orders_active, ORDERS_ACTIVE: (u128, u128) => ();
    charges, CHARGES: u128 => &'static [u8];
    /// Charges by (order, charge).
    charges_by_order, CHARGES_BY_ORDER: (u128, u128) => ();
    /// Charges that are not Final, with the time of their last update.
    charges_open, CHARGES_OPEN: u128 => i64;
    users, USERS: u128 => &'static [u8];
    /// Users by the canonical form of their email.
    emails, EMAILS: &'static str => u128;
    /// Sessions by digest.
    sessions, SESSIONS: &'static str => &'static [u8];
    /// Sessions by (user, digest).
    sessions_by_user, SESSIONS_BY_USER: (u128, &'static str) => ();
    /// Sessions by (expiresAt, digest).
    sessions_due, SESSIONS_DUE: (i64, &'static str) => ();
    /// The locks that are counted for a user: (user, order).
    slots, SLOTS: (u128, u128) => ();
    /// Declined payments: of each user the newest, as times in milliseconds, oldest first.
    declines, DECLINES: u128 => Vec<i64>;
    /// Idempotency records by (user, key).
    idempotency, IDEMPOTENCY: (u128, &'static str) => &'static [u8];
    /// Idempotency records by (createdAt, user, key).
    idempotency_age, IDEMPOTENCY_AGE: (i64, u128, &'static str) => ();
    /// The processor's events that were dealt with.
    deliveries, DELIVERIES: &'static str => &'static [u8];
    /// Deliveries by (when they were dealt with, event).
    deliveries_age, DELIVERIES_AGE: (i64, &'static str) => ();
    /// Events by (number of their transaction, ordinal in it): commit order.
    events, EVENTS: (u64, u32) => &'static [u8];
}

/// Why a transaction got no further.
#[derive(Debug, thiserror::Error)]
pub(super) enum StorageFault {
    /// The file failed. redb refuses everything from then on, until it is opened anew.
    #[error("{0}")]
    Storage(#[source] redb::Error),
    /// One document is not what it should be; the file is well.
    #[error("a stored document cannot be read or written: {0}")]
    Document(#[from] bson::error::Error),
}

macro_rules! storage_faults {
    ($($error:ty),*) => {$(
        impl From<$error> for StorageFault {
            fn from(error: $error) -> Self {
                Self::Storage(error.into())
            }
        }
    )*};
}
storage_faults!(redb::StorageError, TableError, redb::TransactionError, redb::CommitError);

/// A document that counts its changes.
pub(super) trait Document: Serialize + DeserializeOwned {
    fn key(&self) -> u128;
    fn version(&self) -> Version;
}

macro_rules! documents {
    ($($name:ty),*) => {$(
        impl Document for $name {
            fn key(&self) -> u128 {
                self.id.uuid().as_u128()
            }
            fn version(&self) -> Version {
                self.version
            }
        }
    )*};
}
documents!(Ticket, Order, Charge, User);

/// An event as it is stored.
#[derive(Debug, Deserialize)]
pub(super) struct StoredEvent {
    pub at: Timestamp,
    pub event: Event,
}

/// The same, borrowed.
#[derive(Debug, Serialize)]
pub(super) struct EventToStore<'a> {
    pub at: Timestamp,
    pub event: &'a Event,
}

pub(super) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, StorageFault> {
    Ok(bson::serialize_to_vec(value)?)
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, StorageFault> {
    Ok(bson::deserialize_from_slice(bytes)?)
}
