//! The statements of commits: what one write changes, and on which condition.

use bson::{RawBson, RawDocumentBuf, raw::CString, rawdoc};

use super::schema::CommitCollection;
use gittix_domain::Version;

/// A change of one document, or with [`Action::Delete`] of any number of documents.
#[derive(Debug, Clone)]
pub(super) struct Statement {
    pub collection: CommitCollection,
    pub action: Action,
}

#[derive(Debug, Clone)]
pub(super) enum Action {
    Insert(RawDocumentBuf),
    /// Must match exactly one document.
    DocumentUpdate(DocumentUpdate),
    /// One entry of a `delete` command. It may match any number of documents.
    Delete(RawDocumentBuf),
}

/// An update of the document `id` on the condition `guard`.
#[derive(Debug, Clone)]
pub(super) struct DocumentUpdate {
    pub id: String,
    pub guard: RawDocumentBuf,
    pub change: UpdateAction,
    pub value: RawBson,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UpdateAction {
    /// Replaces the document with the value.
    Replace,
    /// Adds the value to `locks`.
    Take,
    /// Removes the value from `locks`.
    Free,
    /// Adds the value to `declines`, and keeps only the newest ones.
    Decline,
    /// Adds one to `signIns`. Does not use the value.
    SignIn,
}

impl Statement {
    /// Returns the approximate size in a command, in bytes.
    pub fn bytes(&self) -> usize {
        match &self.action {
            Action::Insert(document) | Action::Delete(document) => document.as_bytes().len(),
            Action::DocumentUpdate(update) => {
                update.guard.as_bytes().len()
                    + 2 * update.id.len()
                    + update.value.as_document().map_or(64, |value| value.as_bytes().len())
            }
        }
    }
}

/// Returns the condition that the document has this version.
pub(super) fn at_version(version: Version) -> RawDocumentBuf {
    // The negative control of the race tests: without the version check they must find a double
    // sale.
    fail::fail_point!("store::unguarded", |_| RawDocumentBuf::new());
    // No document matches -1. A version that BSON cannot represent does not get here, because its
    // document cannot be encoded.
    rawdoc! { "version": i64::try_from(version).unwrap_or(-1) }
}

/// Returns the condition that a document of locks has fewer than `locks_max` entries: the array has
/// no element with the last allowed index.
pub(super) fn with_free_slot(locks_max: u32) -> RawDocumentBuf {
    let last = CString::try_from(format!("locks.{}", locks_max.saturating_sub(1)))
        .expect("the name of the field contains no NUL");
    let mut condition = RawDocumentBuf::new();
    condition.append(last, rawdoc! { "$exists": false });
    condition
}

pub(super) fn date(at: gittix_domain::Timestamp) -> bson::DateTime {
    bson::DateTime::from_millis(at.0)
}
