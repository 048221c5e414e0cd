//! Diagnosis of a group whose transaction failed a precondition: finds the commits that caused it.
//!
//! The reply to a batch of statements is one total, and a duplicate key aborts the whole
//! transaction. The documents are therefore read again, and the preconditions of each commit are
//! compared with them.

use std::{collections::HashMap, time::Duration};

use bson::{Document, doc};
use futures_util::{TryStreamExt, future::try_join_all};
use mongodb::{Database, error::Error};
use serde::Deserialize;
use tokio::time::timeout;

use super::{
    fault::fault,
    prepare::{ConflictKey, Prepared, Requirement},
    schema::CommitCollection,
};
use gittix_domain::Version;
use gittix_store::CommitError;

/// Time limit of the reads.
const READ_MAX: Duration = Duration::from_secs(1);

/// The fields of a document that requirements compare.
#[derive(Debug, Deserialize)]
struct CheckedDocument {
    #[serde(rename = "_id")]
    id: String,
    version: Option<Version>,
    email: Option<String>,
    locks: Option<Vec<String>>,
}

/// The documents that the requirements of a group name, read with read concern `majority`.
#[derive(Debug)]
pub(super) struct Findings {
    documents: HashMap<(CommitCollection, String), CheckedDocument>,
    /// User ids by email address.
    emails: HashMap<String, String>,
}

/// Reads the documents that the requirements of `group` name, with one query for each collection.
pub(super) async fn read_preconditions(
    db: &Database,
    group: impl Iterator<Item = &Prepared>,
) -> Result<Findings, Error> {
    let mut wanted: HashMap<CommitCollection, Vec<&str>> = HashMap::new();
    let mut addresses = Vec::new();
    for requirement in group.flat_map(|commit| &commit.requirements) {
        match requirement {
            Requirement::Absent { collection, id, .. }
            | Requirement::Version { collection, id, .. } => {
                wanted.entry(*collection).or_default().push(id)
            }
            Requirement::FreeSlot { user, .. } => {
                wanted.entry(CommitCollection::Slots).or_default().push(user);
            }
            Requirement::EmailFree { email, .. } => addresses.push(email.as_str()),
        }
    }
    let reads = wanted.into_iter().map(|(collection, ids)| {
        let by_id = doc! { "_id": { "$in": ids } };
        let query = if collection == CommitCollection::Users {
            doc! { "$or": [by_id, { "email": { "$in": &addresses } }] }
        } else {
            by_id
        };
        read(db, collection, query)
    });
    let found =
        timeout(READ_MAX, try_join_all(reads)).await.map_err(|_| fault("no answer in time"))??;
    let mut findings = Findings { documents: HashMap::new(), emails: HashMap::new() };
    for (collection, seen) in found.into_iter().flatten() {
        findings.emails.extend(seen.email.clone().map(|email| (email, seen.id.clone())));
        findings.documents.insert((collection, seen.id.clone()), seen);
    }
    Ok(findings)
}

async fn read(
    db: &Database,
    collection: CommitCollection,
    query: Document,
) -> Result<Vec<(CommitCollection, CheckedDocument)>, Error> {
    let fields = doc! { "version": 1, "email": 1, "locks": 1 };
    let documents: Vec<CheckedDocument> = db
        .collection(collection.name())
        .find(query)
        .projection(fields)
        .max_time(READ_MAX)
        .await?
        .try_collect()
        .await?;
    Ok(documents.into_iter().map(|seen| (collection, seen)).collect())
}

impl Findings {
    /// Compares the requirements of `commit` in their order. A commit sees its own earlier writes.
    ///
    /// # Errors
    /// The error of the first requirement that does not hold.
    pub fn check(&self, commit: &Prepared) -> Result<(), CommitError> {
        let mut written: HashMap<(CommitCollection, &str), Version> = HashMap::new();
        for requirement in &commit.requirements {
            match requirement {
                Requirement::Absent { collection, id, otherwise, .. } => {
                    if self.document(*collection, id).is_some() {
                        return Err(otherwise.clone());
                    }
                    written.insert((*collection, id), 0);
                }
                Requirement::Version { collection, id, is, .. } => {
                    let found = written
                        .get(&(*collection, id.as_str()))
                        .copied()
                        .or_else(|| self.document(*collection, id)?.version);
                    if found != Some(*is) {
                        return Err(CommitError::Stale);
                    }
                }
                Requirement::EmailFree { user, email } => {
                    if self.emails.get(email).is_some_and(|owner| owner != user) {
                        return Err(CommitError::EmailInUse);
                    }
                }
                Requirement::FreeSlot { user, locks_max } => {
                    let slots = self.document(CommitCollection::Slots, user);
                    let held = slots.and_then(|slots| slots.locks.as_ref()).map_or(0, Vec::len);
                    if held >= usize::try_from(*locks_max).unwrap_or(usize::MAX) {
                        return Err(CommitError::SlotsFull);
                    }
                }
            }
        }
        Ok(())
    }

    /// Returns the stored versions of the documents that `commit` writes.
    pub fn versions<'a>(
        &'a self,
        commit: &'a Prepared,
    ) -> impl Iterator<Item = (ConflictKey, Version)> + 'a {
        commit.requirements.iter().filter_map(|requirement| match requirement {
            Requirement::Absent { collection, id, key, .. }
            | Requirement::Version { collection, id, key, .. } => {
                Some((*key, self.document(*collection, id)?.version?))
            }
            _ => None,
        })
    }

    fn document(&self, collection: CommitCollection, id: &str) -> Option<&CheckedDocument> {
        self.documents.get(&(collection, id.to_owned()))
    }
}
