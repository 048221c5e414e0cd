//! A commit as statements for MongoDB, with what each needs to find. Pure; done by the caller, on the caller's thread.

use std::hash::{DefaultHasher, Hash, Hasher};

use bson::{RawBson, RawDocumentBuf, error::Error, raw::cstr, rawdoc, serialize_to_raw_document_buf};
use serde::Serialize;
use uuid::Uuid;

use super::{
    schema::CommitCollection,
    statements::{Action, DocumentUpdate, Statement, UpdateAction, at_version, with_room},
};
use crate::{
    domain::{Delivery, Event, IdempotencyRecord, Millis, Session, SlotChange, Timestamp, User, UserId, Version},
    store::{Commit, CommitError, Write},
};

/// A document, or an email address, that a commit touches. Two commits with a key in common are never written at once.
/// What has a text for an id is known by its hash: a collision makes one commit wait for another, no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct ConflictKey(KeyKind, u128);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum KeyKind {
    Document(CommitCollection),
    Email,
}

impl ConflictKey {
    fn text(kind: KeyKind, text: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        Self(kind, u128::from(hasher.finish()))
    }

    fn document(place: CommitCollection, id: Uuid) -> Self {
        Self(KeyKind::Document(place), id.as_u128())
    }
}

/// What must be so for a commit's statements to match, and how it is answered when it is not.
#[derive(Debug, Clone)]
pub(super) enum Requirement {
    Absent {
        place: CommitCollection,
        id: String,
        key: ConflictKey,
        otherwise: CommitError,
    },
    Version {
        place: CommitCollection,
        id: String,
        key: ConflictKey,
        is: Version,
    },
    EmailFree {
        user: String,
        email: String,
    },
    /// Less than `locks_max` locks held. Whoever has no document of locks yet gets one.
    Room {
        user: String,
        locks_max: u32,
    },
    /// A document of locks, or nothing is to be freed: `statement` is dropped.
    Holder {
        user: String,
        statement: usize,
    },
    /// No document of locks, or none is to be made: `statement` is dropped.
    NoHolder {
        user: String,
        statement: usize,
    },
}

/// A commit, ready to be sent together with others.
#[derive(Debug)]
pub(super) struct Prepared {
    pub statements: Vec<Statement>,
    /// In the order of the commit's writes: the first that does not hold is the answer.
    pub requirements: Vec<Requirement>,
    pub keys: Vec<ConflictKey>,
    /// The version that it gives to each document. One that has it already makes the commit stale.
    pub versions: Vec<(ConflictKey, Version)>,
    /// Its part of the transaction's document of events.
    pub entry: Option<RawDocumentBuf>,
    pub at: Timestamp,
    /// The size of it all, encoded.
    pub bytes: usize,
}

/// The events of one commit, as they are stored.
#[derive(Serialize)]
struct EventsEntry<'a> {
    at: Timestamp,
    events: &'a [Event],
}

impl Prepared {
    /// # Errors
    /// A number that BSON cannot hold (a version beyond 2^63).
    pub fn new(commit: &Commit) -> Result<Self, Error> {
        let mut prepared = Self {
            statements: Vec::with_capacity(commit.writes.len()),
            requirements: Vec::with_capacity(commit.writes.len()),
            keys: Vec::with_capacity(commit.writes.len()),
            versions: Vec::with_capacity(commit.writes.len()),
            entry: None,
            at: commit.at,
            bytes: 0,
        };
        for write in &commit.writes {
            prepared.add(write)?;
        }
        if !commit.events.is_empty() {
            prepared.entry = Some(serialize_to_raw_document_buf(&EventsEntry { at: commit.at, events: &commit.events })?);
        }
        let statements: usize = prepared.statements.iter().map(Statement::bytes).sum();
        prepared.bytes = statements + prepared.entry.as_ref().map_or(0, |entry| entry.as_bytes().len());
        Ok(prepared)
    }

    /// Drops statements that turned out to have nothing to do, and makes documents of locks that turned out to be missing.
    pub fn amend(&mut self, needless: &[usize], holders: Vec<String>) {
        let mut indexes = 0..;
        self.statements.retain(|_| indexes.next().is_none_or(|index| !needless.contains(&index)));
        self.requirements.retain_mut(|requirement| match requirement {
            Requirement::Holder { statement, .. } | Requirement::NoHolder { statement, .. } => {
                let dropped = needless.contains(statement);
                *statement -= needless.iter().filter(|needless| *needless < statement).count();
                !dropped
            }
            _ => true,
        });
        for user in holders {
            // In front: who asks for room in it later finds it made.
            self.requirements.insert(0, Requirement::NoHolder { user: user.clone(), statement: self.statements.len() });
            self.push_holder(&user);
        }
    }

    fn push_holder(&mut self, user: &str) {
        self.insert(CommitCollection::Slots, rawdoc! { "_id": user, "locks": bson::RawArrayBuf::new() });
    }

    fn add(&mut self, write: &Write) -> Result<(), Error> {
        match write {
            Write::Ticket(ticket) => {
                self.versioned(CommitCollection::Tickets, ticket.id.uuid(), ticket.version, serialize_to_raw_document_buf(ticket)?)
            }
            Write::Order(order) => {
                self.versioned(CommitCollection::Orders, order.id.uuid(), order.version, serialize_to_raw_document_buf(order)?)
            }
            Write::Charge(charge) => {
                let mut document = serialize_to_raw_document_buf(charge)?;
                if charge.is_open() {
                    document.append(cstr!("open"), true);
                }
                self.versioned(CommitCollection::Charges, charge.id.uuid(), charge.version, document);
            }
            Write::User(user) => self.user(user)?,
            Write::OpenSession { session, user_version } => self.open_session(session, *user_version)?,
            Write::CloseSession(digest) => {
                self.keys.push(ConflictKey::text(KeyKind::Document(CommitCollection::Sessions), digest.as_str()));
                self.delete(CommitCollection::Sessions, rawdoc! { "q": { "_id": digest.as_str() }, "limit": 1 });
            }
            Write::CloseSessions { user, except } => {
                self.keys.push(ConflictKey::document(CommitCollection::Users, user.uuid()));
                let mut which = rawdoc! { "user": user.to_string() };
                if let Some(digest) = except {
                    which.append(cstr!("_id"), rawdoc! { "$ne": digest.as_str() });
                }
                self.delete(CommitCollection::Sessions, rawdoc! { "q": which, "limit": 0 });
            }
            Write::Slot(change) => self.slot(change),
            Write::Decline { user, at } => self.decline(*user, *at),
            Write::Idempotency(record) => self.idempotency(record)?,
            Write::Delivery(delivery) => self.delivery(delivery)?,
        }
        Ok(())
    }

    fn insert(&mut self, place: CommitCollection, document: RawDocumentBuf) {
        self.statements.push(Statement { place, action: Action::Insert(document) });
    }

    fn update(&mut self, place: CommitCollection, update: DocumentUpdate) {
        self.statements.push(Statement { place, action: Action::DocumentUpdate(update) });
    }

    fn delete(&mut self, place: CommitCollection, delete: RawDocumentBuf) {
        self.statements.push(Statement { place, action: Action::Delete(delete) });
    }

    /// A document that is written only over the version before.
    fn versioned(&mut self, place: CommitCollection, id: Uuid, version: Version, document: RawDocumentBuf) {
        self.expect_version(place, id, version);
        match version.checked_sub(1) {
            None => self.insert(place, document),
            Some(before) => {
                let (guard, value) = (at_version(before), document.into());
                self.update(place, DocumentUpdate { id: id.to_string(), guard, change: UpdateAction::Replace, value });
            }
        }
    }

    fn expect_version(&mut self, place: CommitCollection, id: Uuid, version: Version) {
        let key = ConflictKey::document(place, id);
        self.keys.push(key);
        self.versions.push((key, version));
        let id = id.to_string();
        self.requirements.push(match version.checked_sub(1) {
            None => Requirement::Absent { place, id, key, otherwise: CommitError::Stale },
            Some(is) => Requirement::Version { place, id, key, is },
        });
    }

    fn user(&mut self, user: &User) -> Result<(), Error> {
        let id = user.id.uuid();
        self.versioned(CommitCollection::Users, id, user.version, serialize_to_raw_document_buf(user)?);
        self.requirements.push(Requirement::EmailFree { user: id.to_string(), email: user.email.as_str().into() });
        self.keys.push(ConflictKey::text(KeyKind::Email, user.email.as_str()));
        if user.version == 0 {
            self.keys.push(ConflictKey::document(CommitCollection::Slots, id));
            self.requirements.push(Requirement::NoHolder { user: id.to_string(), statement: self.statements.len() });
            self.push_holder(&id.to_string());
        }
        Ok(())
    }

    /// The guard is a write, not a read: under snapshot isolation a sign-in that only read the user would pass a change of
    /// the password at the same moment. Two writes of one document never pass each other.
    fn open_session(&mut self, session: &Session, user_version: Version) -> Result<(), Error> {
        let user = session.user.uuid();
        let key = ConflictKey::document(CommitCollection::Users, user);
        self.keys.push(key);
        self.requirements.push(Requirement::Version { place: CommitCollection::Users, id: user.to_string(), key, is: user_version });
        let guard = at_version(user_version);
        self.update(
            CommitCollection::Users,
            DocumentUpdate { id: user.to_string(), guard, change: UpdateAction::SignIn, value: RawBson::Null },
        );
        let mut document = serialize_to_raw_document_buf(session)?;
        document.append(cstr!("purgeAt"), date(session.expires_at));
        self.insert_once(CommitCollection::Sessions, session.digest.as_str(), CommitError::Stale, document);
        Ok(())
    }

    fn insert_once(&mut self, place: CommitCollection, id: &str, otherwise: CommitError, document: RawDocumentBuf) {
        let key = ConflictKey::text(KeyKind::Document(place), id);
        self.keys.push(key);
        self.requirements.push(Requirement::Absent { place, id: id.into(), key, otherwise });
        self.insert(place, document);
    }

    fn slot(&mut self, change: &SlotChange) {
        let (SlotChange::Take { user, order, .. } | SlotChange::Free { user, order }) = *change;
        self.keys.push(ConflictKey::document(CommitCollection::Slots, user.uuid()));
        let (user, order) = (user.to_string(), order.to_string());
        let (guard, change) = match *change {
            SlotChange::Take { locks_max, .. } => {
                self.requirements.push(Requirement::Room { user: user.clone(), locks_max });
                (with_room(locks_max), UpdateAction::Take)
            }
            SlotChange::Free { .. } => {
                self.requirements.push(Requirement::Holder { user: user.clone(), statement: self.statements.len() });
                (RawDocumentBuf::new(), UpdateAction::Free)
            }
        };
        self.update(CommitCollection::Slots, DocumentUpdate { id: user, guard, change, value: order.into() });
    }

    /// Kept with the user's locks: whose payment is declined holds one, so the document is there.
    fn decline(&mut self, user: UserId, at: Timestamp) {
        self.keys.push(ConflictKey::document(CommitCollection::Slots, user.uuid()));
        let user = user.to_string();
        self.requirements.push(Requirement::Holder { user: user.clone(), statement: self.statements.len() });
        self.update(
            CommitCollection::Slots,
            DocumentUpdate { id: user, guard: RawDocumentBuf::new(), change: UpdateAction::Decline, value: RawBson::Int64(at.0) },
        );
    }

    fn idempotency(&mut self, record: &IdempotencyRecord) -> Result<(), Error> {
        let id = idempotency_id(&record.key.user.to_string(), &record.key.key);
        let mut document = rawdoc! { "_id": id.as_str() };
        let purge_at = record.created_at + Millis::from_mins(60 * IdempotencyRecord::KEPT_HOURS);
        document.append(cstr!("purgeAt"), date(purge_at));
        for field in &serialize_to_raw_document_buf(record)? {
            let (name, value) = field?;
            document.append(name, value);
        }
        self.insert_once(CommitCollection::Idempotency, &id, CommitError::KeyUsed, document);
        Ok(())
    }

    fn delivery(&mut self, delivery: &Delivery) -> Result<(), Error> {
        let mut document = serialize_to_raw_document_buf(delivery)?;
        document.append(cstr!("purgeAt"), date(delivery.at + Millis::from_mins(24 * 60 * Delivery::KEPT_DAYS)));
        self.insert_once(CommitCollection::Deliveries, &delivery.event, CommitError::KeyUsed, document);
        Ok(())
    }
}

/// A user's id has 36 characters and no space: no two pairs share a text.
pub(super) fn idempotency_id(user: &str, key: &str) -> String {
    format!("{user} {key}")
}

pub(super) fn date(at: Timestamp) -> bson::DateTime {
    bson::DateTime::from_millis(at.0)
}
