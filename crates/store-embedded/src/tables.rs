//! The tables of the file, their keys, and the encoding of documents.
//!
//! Documents are the domain types in BSON. Other tools can read them, and a member that a later
//! version adds is ignored. Tickets, orders, charges, users and mails are keyed by the 128 bits of their
//! UUID, which have the same order as its text. Sessions, emails, idempotency keys, deliveries and
//! secrets have text in their keys. The tables of pairs (except `slots`), deadlines and ages, and
//! `emails` and `charges_open`, are indexes over the documents. `apply` updates them in the
//! transaction that changes the documents.

use redb::{Table, TableDefinition, TableError, WriteTransaction};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use gittix_domain::{Charge, DomainEvent, Mail, Order, Ticket, Timestamp, User, Version};

/// Layout of the file that this program reads and writes. A file of another layout is refused.
pub(super) const SCHEMA: u64 = 1;

/// Keys of [`META`].
pub(super) mod meta {
    pub const SCHEMA: &str = "schema";
    pub const EPOCH: &str = "epoch";
    /// Key of the last purged event, as two entries.
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
            /// Opens every table. Creates those that do not exist.
            pub(super) fn open(transaction: &'t WriteTransaction) -> Result<Self, TableError> {
                Ok(Self { $($field: transaction.open_table($name)?,)* })
            }
        }
    };
}

tables! {
    /// Numbers of the file: its layout, its epoch and the last purged event.
    meta, META: &'static str => u64;
    secrets, SECRETS: &'static str => &'static [u8; 32];
    tickets, TICKETS: u128 => &'static [u8];
    /// Locked tickets by (unlocksAt, ticket).
    locks_due, LOCKS_DUE: (i64, u128) => ();
    orders, ORDERS: u128 => &'static [u8];
    /// Created orders by (expiresAt, order), with their ticket.
    windows_due, WINDOWS_DUE: (i64, u128) => u128;
    /// Orders by (buyer, order).
    orders_by_buyer, ORDERS_BY_BUYER: (u128, u128) => ();
    /// Created and AwaitingPayment orders by (buyer, order). Few rows, also for a buyer with many
    /// orders.
    orders_active, ORDERS_ACTIVE: (u128, u128) => ();
    charges, CHARGES: u128 => &'static [u8];
    /// Charges by (order, charge).
    charges_by_order, CHARGES_BY_ORDER: (u128, u128) => ();
    /// Charges that are not Final, with the time of their last update.
    charges_open, CHARGES_OPEN: u128 => i64;
    users, USERS: u128 => &'static [u8];
    /// Users by the canonical form of their email.
    emails, EMAILS: &'static str => u128;
    /// Entries of the outbox.
    mails, MAILS: u128 => &'static [u8];
    /// Mails to send by (time at which they may be claimed, mail).
    mails_due, MAILS_DUE: (i64, u128) => ();
    /// Mails that were sent, by (time, mail).
    mails_sent, MAILS_SENT: (i64, u128) => ();
    /// Mails that are not tried again.
    mails_dead, MAILS_DEAD: u128 => ();
    /// Sessions by digest.
    sessions, SESSIONS: &'static str => &'static [u8];
    /// Sessions by (user, digest).
    sessions_by_user, SESSIONS_BY_USER: (u128, &'static str) => ();
    /// Sessions by (expiresAt, digest).
    sessions_due, SESSIONS_DUE: (i64, &'static str) => ();
    /// Lock slots in use, by (user, order).
    slots, SLOTS: (u128, u128) => ();
    /// Times of the newest declined payments of each user, in milliseconds, oldest first.
    declines, DECLINES: u128 => Vec<i64>;
    /// Idempotency records by (user, key).
    idempotency, IDEMPOTENCY: (u128, &'static str) => &'static [u8];
    /// Idempotency records by (createdAt, user, key).
    idempotency_age, IDEMPOTENCY_AGE: (i64, u128, &'static str) => ();
    /// Handled events of the processor.
    deliveries, DELIVERIES: &'static str => &'static [u8];
    /// Deliveries by (time at which they were handled, event).
    deliveries_age, DELIVERIES_AGE: (i64, &'static str) => ();
    /// Events by (number of their transaction, ordinal in it). This is the commit order.
    events, EVENTS: (u64, u32) => &'static [u8];
}

/// Error of a transaction or of a read.
#[derive(Debug, thiserror::Error)]
pub(super) enum StorageFault {
    /// The file failed. redb refuses every operation until the file is opened again.
    #[error("{0}")]
    Storage(#[source] redb::Error),
    /// One document cannot be encoded or decoded. The file itself is not damaged.
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

/// A document with an id and a version.
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
documents!(Ticket, Order, Charge, User, Mail);

/// A stored event.
#[derive(Debug, Deserialize)]
pub(super) struct StoredEvent {
    pub at: Timestamp,
    pub event: DomainEvent,
}

/// An event to store, with a borrowed value. It is encoded like [`StoredEvent`].
#[derive(Debug, Serialize)]
pub(super) struct EventToStore<'a> {
    pub at: Timestamp,
    pub event: &'a DomainEvent,
}

pub(super) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, StorageFault> {
    Ok(bson::serialize_to_vec(value)?)
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, StorageFault> {
    Ok(bson::deserialize_from_slice(bytes)?)
}
