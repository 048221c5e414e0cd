//! Which commits of a group made its transaction miss. A server's answer to a batch is one total, and a duplicate key is
//! the end of the whole transaction; so the documents are read again, and every commit is held against them.

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
use crate::{domain::Version, store::CommitError};

const READ_MAX: Duration = Duration::from_secs(1);

/// What requirements are about.
#[derive(Debug, Deserialize)]
struct CheckedDocument {
    #[serde(rename = "_id")]
    id: String,
    version: Option<Version>,
    email: Option<String>,
    locks: Option<Vec<String>>,
}

/// The documents of a group, as a majority has them.
#[derive(Debug)]
pub(super) struct Findings {
    documents: HashMap<(CommitCollection, String), CheckedDocument>,
    /// Address to user.
    emails: HashMap<String, String>,
}

/// How one commit stands to them.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Diagnosis {
    /// Nothing speaks against it: it may be tried again as it is.
    Holds,
    /// It may be tried again without these statements, which have nothing to do, and with documents of locks for these users.
    HoldsAmended {
        needless: Vec<usize>,
        holders: Vec<String>,
    },
    Fails(CommitError),
}

/// Reads what `group` requires, with one query for each collection.
pub(super) async fn read_preconditions(db: &Database, group: impl Iterator<Item = &Prepared>) -> Result<Findings, Error> {
    let mut wanted: HashMap<CommitCollection, Vec<&str>> = HashMap::new();
    let mut addresses = Vec::new();
    for requirement in group.flat_map(|commit| &commit.requirements) {
        match requirement {
            Requirement::Absent { place, id, .. } | Requirement::Version { place, id, .. } => wanted.entry(*place).or_default().push(id),
            Requirement::Room { user, .. } | Requirement::Holder { user, .. } | Requirement::NoHolder { user, .. } => {
                wanted.entry(CommitCollection::Slots).or_default().push(user);
            }
            Requirement::EmailFree { email, .. } => addresses.push(email.as_str()),
        }
    }
    let reads = wanted.into_iter().map(|(place, ids)| {
        let by_id = doc! { "_id": { "$in": ids } };
        let query = if place == CommitCollection::Users {
            doc! { "$or": [by_id, { "email": { "$in": &addresses } }] }
        } else {
            by_id
        };
        read(db, place, query)
    });
    let found = timeout(READ_MAX, try_join_all(reads)).await.map_err(|_| fault("no answer in time"))??;
    let mut findings = Findings { documents: HashMap::new(), emails: HashMap::new() };
    for (place, seen) in found.into_iter().flatten() {
        findings.emails.extend(seen.email.clone().map(|email| (email, seen.id.clone())));
        findings.documents.insert((place, seen.id.clone()), seen);
    }
    Ok(findings)
}

async fn read(db: &Database, place: CommitCollection, query: Document) -> Result<Vec<(CommitCollection, CheckedDocument)>, Error> {
    let fields = doc! { "version": 1, "email": 1, "locks": 1 };
    let documents: Vec<CheckedDocument> =
        db.collection(place.name()).find(query).projection(fields).max_time(READ_MAX).await?.try_collect().await?;
    Ok(documents.into_iter().map(|seen| (place, seen)).collect())
}

impl Findings {
    /// The first requirement that does not hold decides. A commit sees its own earlier writes.
    pub fn diagnose(&self, commit: &Prepared) -> Diagnosis {
        let mut written: HashMap<(CommitCollection, &str), Version> = HashMap::new();
        let (mut needless, mut holders) = (Vec::new(), Vec::new());
        for requirement in &commit.requirements {
            let failure = match requirement {
                Requirement::Absent { place, id, otherwise, .. } => {
                    written.insert((*place, id), 0);
                    self.document(*place, id).map(|_| otherwise.clone())
                }
                Requirement::Version { place, id, is, .. } => {
                    let found = written.get(&(*place, id.as_str())).copied().or_else(|| self.document(*place, id)?.version);
                    (found != Some(*is)).then_some(CommitError::Stale)
                }
                Requirement::EmailFree { user, email } => {
                    self.emails.get(email).filter(|owner| *owner != user).map(|_| CommitError::EmailInUse)
                }
                Requirement::Room { user, locks_max } => match self.document(CommitCollection::Slots, user) {
                    None => {
                        if written.insert((CommitCollection::Slots, user), 0).is_none() {
                            holders.push(user.clone());
                        }
                        (*locks_max == 0).then_some(CommitError::SlotsFull)
                    }
                    Some(seen) => {
                        let held = seen.locks.as_ref().map_or(0, Vec::len);
                        (held >= usize::try_from(*locks_max).unwrap_or(usize::MAX)).then_some(CommitError::SlotsFull)
                    }
                },
                Requirement::Holder { user, statement } => {
                    let there = self.document(CommitCollection::Slots, user).is_some()
                        || written.contains_key(&(CommitCollection::Slots, user.as_str()));
                    needless.extend((!there).then_some(*statement));
                    None
                }
                Requirement::NoHolder { user, statement } => {
                    written.insert((CommitCollection::Slots, user), 0);
                    needless.extend(self.document(CommitCollection::Slots, user).map(|_| *statement));
                    None
                }
            };
            if let Some(error) = failure {
                return Diagnosis::Fails(error);
            }
        }
        if needless.is_empty() && holders.is_empty() { Diagnosis::Holds } else { Diagnosis::HoldsAmended { needless, holders } }
    }

    /// The stored versions of what `commit` wanted to write over.
    pub fn versions<'a>(&'a self, commit: &'a Prepared) -> impl Iterator<Item = (ConflictKey, Version)> + 'a {
        commit.requirements.iter().filter_map(|requirement| match requirement {
            Requirement::Absent { place, id, key, .. } | Requirement::Version { place, id, key, .. } => {
                Some((*key, self.document(*place, id)?.version?))
            }
            _ => None,
        })
    }

    fn document(&self, place: CommitCollection, id: &str) -> Option<&CheckedDocument> {
        self.documents.get(&(place, id.to_owned()))
    }
}
