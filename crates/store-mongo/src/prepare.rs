//! Conversion of a commit into statements for MongoDB, with their requirements. Pure; runs on the
//! caller's thread.

use std::hash::{DefaultHasher, Hash, Hasher};

use bson::{
    RawArrayBuf, RawBson, RawDocumentBuf, error::Error, raw::cstr, rawdoc,
    serialize_to_raw_document_buf,
};
use serde::Serialize;
use uuid::Uuid;

use super::{
    schema::CommitCollection,
    statements::{
        Action, DocumentUpdate, Statement, UpdateAction, at_version, date, with_free_slot,
    },
};
use gittix_domain::{
    Delivery, DomainEvent, IdempotencyRecord, Mail, MailState, Millis, Session, SlotChange,
    Timestamp, User, UserId, Version,
};
use gittix_store::{Commit, CommitError, Write};

/// Key of a document or of an email address that a commit touches. The committer does not write two
/// commits with a common key at the same time. A text id is represented by its hash: a collision
/// only makes one commit wait for another.
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

    fn document(collection: CommitCollection, id: Uuid) -> Self {
        Self(KeyKind::Document(collection), id.as_u128())
    }
}

/// A precondition of the statements of a commit.
#[derive(Debug, Clone)]
pub(super) enum Requirement {
    /// The document does not exist. Otherwise the commit fails with `otherwise`.
    Absent { collection: CommitCollection, id: String, key: ConflictKey, otherwise: CommitError },
    /// The document has the version `is`. Otherwise the commit fails with [`CommitError::Stale`].
    Version { collection: CommitCollection, id: String, key: ConflictKey, is: Version },
    /// No user but `user` has the email. Otherwise the commit fails with
    /// [`CommitError::EmailInUse`].
    EmailFree { user: String, email: String },
    /// The user holds fewer than `locks_max` locks. Otherwise the commit fails with
    /// [`CommitError::SlotsFull`].
    FreeSlot { user: String, locks_max: u32 },
}

/// A commit as statements, ready to be sent together with other commits.
#[derive(Debug)]
pub(super) struct Prepared {
    pub statements: Vec<Statement>,
    /// In the order of the commit's writes. The first that does not hold decides the answer.
    pub requirements: Vec<Requirement>,
    pub keys: Vec<ConflictKey>,
    /// New version of each versioned document. If a stored document already has this version, the
    /// commit is stale.
    pub versions: Vec<(ConflictKey, Version)>,
    /// Part of the commit in the transaction's document of events.
    pub entry: Option<RawDocumentBuf>,
    pub at: Timestamp,
    /// Encoded size of the statements and the events.
    pub bytes: usize,
}

/// The events of one commit in their stored form.
#[derive(Serialize)]
struct EventsEntry<'a> {
    at: Timestamp,
    events: &'a [DomainEvent],
}

impl Prepared {
    /// Converts a commit.
    ///
    /// # Errors
    /// A number that BSON cannot represent (a version of 2^63 or more).
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
            prepared.entry = Some(serialize_to_raw_document_buf(&EventsEntry {
                at: commit.at,
                events: &commit.events,
            })?);
        }
        let statements: usize = prepared.statements.iter().map(Statement::bytes).sum();
        prepared.bytes =
            statements + prepared.entry.as_ref().map_or(0, |entry| entry.as_bytes().len());
        Ok(prepared)
    }

    fn add(&mut self, write: &Write) -> Result<(), Error> {
        match write {
            Write::Ticket(ticket) => self.versioned(
                CommitCollection::Tickets,
                ticket.id.uuid(),
                ticket.version,
                serialize_to_raw_document_buf(ticket)?,
            ),
            Write::Order(order) => self.versioned(
                CommitCollection::Orders,
                order.id.uuid(),
                order.version,
                serialize_to_raw_document_buf(order)?,
            ),
            Write::Charge(charge) => {
                let mut document = serialize_to_raw_document_buf(charge)?;
                if charge.is_open() {
                    document.append(cstr!("open"), true);
                }
                self.versioned(
                    CommitCollection::Charges,
                    charge.id.uuid(),
                    charge.version,
                    document,
                );
            }
            Write::User(user) => self.user(user)?,
            Write::Mail(mail) => self.mail(mail)?,
            Write::OpenSession { session, user_version } => {
                self.open_session(session, *user_version)?
            }
            Write::CloseSession(digest) => {
                self.keys.push(ConflictKey::text(
                    KeyKind::Document(CommitCollection::Sessions),
                    digest.as_str(),
                ));
                self.delete(
                    CommitCollection::Sessions,
                    rawdoc! { "q": { "_id": digest.as_str() }, "limit": 1 },
                );
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

    fn insert(&mut self, collection: CommitCollection, document: RawDocumentBuf) {
        self.statements.push(Statement { collection, action: Action::Insert(document) });
    }

    fn update(&mut self, collection: CommitCollection, update: DocumentUpdate) {
        self.statements.push(Statement { collection, action: Action::DocumentUpdate(update) });
    }

    fn delete(&mut self, collection: CommitCollection, delete: RawDocumentBuf) {
        self.statements.push(Statement { collection, action: Action::Delete(delete) });
    }

    /// Adds a document that replaces only its previous version.
    fn versioned(
        &mut self,
        collection: CommitCollection,
        id: Uuid,
        version: Version,
        document: RawDocumentBuf,
    ) {
        self.expect_version(collection, id, version);
        match version.checked_sub(1) {
            None => self.insert(collection, document),
            Some(before) => {
                let (guard, value) = (at_version(before), document.into());
                self.update(
                    collection,
                    DocumentUpdate {
                        id: id.to_string(),
                        guard,
                        change: UpdateAction::Replace,
                        value,
                    },
                );
            }
        }
    }

    fn expect_version(&mut self, collection: CommitCollection, id: Uuid, version: Version) {
        let key = ConflictKey::document(collection, id);
        self.keys.push(key);
        self.versions.push((key, version));
        let id = id.to_string();
        self.requirements.push(match version.checked_sub(1) {
            None => Requirement::Absent { collection, id, key, otherwise: CommitError::Stale },
            Some(is) => Requirement::Version { collection, id, key, is },
        });
    }

    fn user(&mut self, user: &User) -> Result<(), Error> {
        let id = user.id.uuid();
        self.versioned(
            CommitCollection::Users,
            id,
            user.version,
            serialize_to_raw_document_buf(user)?,
        );
        self.requirements.push(Requirement::EmailFree {
            user: id.to_string(),
            email: user.email.as_str().into(),
        });
        self.keys.push(ConflictKey::text(KeyKind::Email, user.email.as_str()));
        // Each user has a document of locks from sign-up on, so that a statement that changes the
        // locks of several users at once finds all of them.
        if user.version == 0 {
            self.keys.push(ConflictKey::document(CommitCollection::Slots, id));
            self.insert(
                CommitCollection::Slots,
                rawdoc! { "_id": id.to_string(), "locks": RawArrayBuf::new() },
            );
        }
        Ok(())
    }

    fn mail(&mut self, mail: &Mail) -> Result<(), Error> {
        let mut document = serialize_to_raw_document_buf(mail)?;
        if let Some(due_at) = mail.due_at() {
            document.append(cstr!("nextAt"), due_at.0);
        }
        match mail.state {
            MailState::Sent { sent_at } => {
                let kept = Millis::from_mins(24 * 60 * Mail::SENT_KEPT_DAYS);
                document.append(cstr!("purgeAt"), date(sent_at + kept));
            }
            MailState::Dead { .. } => document.append(cstr!("dead"), true),
            MailState::Queued { .. } | MailState::Claimed { .. } => {}
        }
        self.versioned(CommitCollection::Mails, mail.id.uuid(), mail.version, document);
        Ok(())
    }

    /// Adds a session. The version check of the user is a write, not a read: under snapshot
    /// isolation a sign-in that only read the user would succeed together with a concurrent change
    /// of the password. Two concurrent writes of one document conflict.
    fn open_session(&mut self, session: &Session, user_version: Version) -> Result<(), Error> {
        let user = session.user.uuid();
        let key = ConflictKey::document(CommitCollection::Users, user);
        self.keys.push(key);
        self.requirements.push(Requirement::Version {
            collection: CommitCollection::Users,
            id: user.to_string(),
            key,
            is: user_version,
        });
        let guard = at_version(user_version);
        self.update(
            CommitCollection::Users,
            DocumentUpdate {
                id: user.to_string(),
                guard,
                change: UpdateAction::SignIn,
                value: RawBson::Null,
            },
        );
        let mut document = serialize_to_raw_document_buf(session)?;
        document.append(cstr!("purgeAt"), date(session.expires_at));
        self.insert_once(
            CommitCollection::Sessions,
            session.digest.as_str(),
            CommitError::Stale,
            document,
        );
        Ok(())
    }

    fn insert_once(
        &mut self,
        collection: CommitCollection,
        id: &str,
        otherwise: CommitError,
        document: RawDocumentBuf,
    ) {
        let key = ConflictKey::text(KeyKind::Document(collection), id);
        self.keys.push(key);
        self.requirements.push(Requirement::Absent { collection, id: id.into(), key, otherwise });
        self.insert(collection, document);
    }

    fn slot(&mut self, change: &SlotChange) {
        let (SlotChange::Take { user, order, .. } | SlotChange::Free { user, order }) = *change;
        self.keys.push(ConflictKey::document(CommitCollection::Slots, user.uuid()));
        let (user, order) = (user.to_string(), order.to_string());
        let (guard, change) = match *change {
            SlotChange::Take { locks_max, .. } => {
                self.requirements.push(Requirement::FreeSlot { user: user.clone(), locks_max });
                (with_free_slot(locks_max), UpdateAction::Take)
            }
            SlotChange::Free { .. } => (RawDocumentBuf::new(), UpdateAction::Free),
        };
        self.update(
            CommitCollection::Slots,
            DocumentUpdate { id: user, guard, change, value: order.into() },
        );
    }

    /// Adds a declined payment to the user's document of locks.
    fn decline(&mut self, user: UserId, at: Timestamp) {
        self.keys.push(ConflictKey::document(CommitCollection::Slots, user.uuid()));
        let user = user.to_string();
        self.update(
            CommitCollection::Slots,
            DocumentUpdate {
                id: user,
                guard: RawDocumentBuf::new(),
                change: UpdateAction::Decline,
                value: RawBson::Int64(at.0),
            },
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
        document.append(
            cstr!("purgeAt"),
            date(delivery.at + Millis::from_mins(24 * 60 * Delivery::KEPT_DAYS)),
        );
        self.insert_once(
            CommitCollection::Deliveries,
            &delivery.event,
            CommitError::KeyUsed,
            document,
        );
        Ok(())
    }
}

/// Returns the id of an idempotency record. A user id has 36 characters and no space, so two
/// different pairs have different ids.
pub(super) fn idempotency_id(user: &str, key: &str) -> String {
    format!("{user} {key}")
}
