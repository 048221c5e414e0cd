//! The commands of a transaction: the statements of all commits of a group, joined.
//!
//! Updates are the slowest operation of MongoDB: each statement is parsed, planned and executed
//! separately, which for a ticket takes five times as long as an insert. Updates that differ only
//! in their document and their value are therefore one statement. It finds all documents by their
//! ids and selects the value of each by its id. The figures are in docs/adr/0009-speed.md, "Updates
//! of one kind are one statement".

use bson::{
    RawArrayBuf, RawBson, RawDocument, RawDocumentBuf, Timestamp, oid::ObjectId, raw::cstr, rawdoc,
};

use super::{
    pending::PendingCommit,
    schema::{CommitCollection, EVENTS},
    statements::{Action, DocumentUpdate, UpdateAction, date},
};
use gittix_domain::{Millis, Policy};

/// Time for which events are kept, counted from their commit.
const EVENTS_KEPT: Millis = Millis::from_mins(30 * 24 * 60);

/// A command of a transaction, and the number of documents that it must match.
#[derive(Debug)]
pub(super) struct TransactionStep {
    pub command: RawDocumentBuf,
    pub matches: Option<i64>,
}

/// Returns the commands for the statements of all commits: one command for each collection and
/// action.
///
/// Inserts of users and of their slots are first, because the session of a sign-up
/// requires its user. Sessions are deleted before new ones are inserted.
pub(super) fn steps(group: &[PendingCommit]) -> Vec<TransactionStep> {
    let first = [CommitCollection::Users, CommitCollection::Slots];
    let mut steps: Vec<TransactionStep> =
        first.into_iter().filter_map(|collection| inserts(group, collection)).collect();
    steps.extend(
        CommitCollection::ALL.into_iter().filter_map(|collection| updates(group, collection)),
    );
    steps.extend(deletes(group, CommitCollection::Sessions));
    steps.extend(
        CommitCollection::ALL
            .into_iter()
            .filter(|collection| !first.contains(collection))
            .filter_map(|collection| inserts(group, collection)),
    );
    steps.extend(events(group));
    steps
}

fn actions(group: &[PendingCommit], collection: CommitCollection) -> impl Iterator<Item = &Action> {
    let all = group.iter().flat_map(|waiting| &waiting.commit.statements);
    all.filter(move |statement| statement.collection == collection)
        .map(|statement| &statement.action)
}

fn inserts(group: &[PendingCommit], collection: CommitCollection) -> Option<TransactionStep> {
    let documents = actions(group, collection).filter_map(|action| match action {
        Action::Insert(document) => Some(&**document),
        _ => None,
    });
    let documents = list(documents)?;
    Some(TransactionStep {
        command: rawdoc! { "insert": collection.name(), "documents": documents, "ordered": true },
        matches: None,
    })
}

fn deletes(group: &[PendingCommit], collection: CommitCollection) -> Option<TransactionStep> {
    let deletes = actions(group, collection).filter_map(|action| match action {
        Action::Delete(delete) => Some(&**delete),
        _ => None,
    });
    let deletes = list(deletes)?;
    Some(TransactionStep {
        command: rawdoc! { "delete": collection.name(), "deletes": deletes, "ordered": true },
        matches: None,
    })
}

fn updates(group: &[PendingCommit], collection: CommitCollection) -> Option<TransactionStep> {
    let updates: Vec<&DocumentUpdate> = actions(group, collection)
        .filter_map(|action| match action {
            Action::DocumentUpdate(update) => Some(update),
            _ => None,
        })
        .collect();
    // Groups are in the order of their first update. A document that a commit changes twice is in
    // two statements, because one statement matches it once.
    let mut alike: Vec<Vec<&DocumentUpdate>> = Vec::new();
    for update in &updates {
        let same = |other: &DocumentUpdate| {
            other.change == update.change && other.guard.as_bytes() == update.guard.as_bytes()
        };
        let fits = |some: &Vec<&DocumentUpdate>| {
            same(some[0]) && some.iter().all(|other| other.id != update.id)
        };
        match alike.iter_mut().find(|some| fits(some)) {
            Some(some) => some.push(update),
            None => alike.push(vec![update]),
        }
    }
    let statements: Vec<RawDocumentBuf> = alike.iter().map(|some| one_statement(some)).collect();
    let statements = list(statements.iter().map(|statement| &**statement))?;
    let matches = i64::try_from(updates.len()).ok();
    Some(TransactionStep {
        command: rawdoc! { "update": collection.name(), "updates": statements, "ordered": true },
        matches,
    })
}

/// Builds one entry of an `update` command from updates with the same action and the same
/// condition.
fn one_statement(updates: &[&DocumentUpdate]) -> RawDocumentBuf {
    if let [update] = updates {
        return single(update);
    }
    let (mut ids, mut values) = (RawArrayBuf::new(), RawArrayBuf::new());
    for update in updates {
        ids.push(update.id.as_str());
        values.push(update.value.as_raw_bson_ref());
    }
    let (guard, change) = (&updates[0].guard, updates[0].change);
    let which = guarded(rawdoc! { "_id": { "$in": ids.clone() } }, guard);
    // The index of the document's id in `ids` is the index of its value in `values`.
    let value = rawdoc! { "$arrayElemAt": [{ "$literal": values }, { "$indexOfArray": [{ "$literal": ids }, "$_id"] }] };
    let change: RawBson = match change {
        UpdateAction::Replace => pipeline(rawdoc! { "$replaceWith": value }),
        UpdateAction::Take => {
            pipeline(rawdoc! { "$set": { "locks": { "$concatArrays": ["$locks", [value]] } } })
        }
        UpdateAction::Free => {
            pipeline(rawdoc! { "$set": { "locks": { "$setDifference": ["$locks", [value]] } } })
        }
        UpdateAction::Decline => {
            let all = rawdoc! { "$concatArrays": [{ "$ifNull": ["$declines", []] }, [value]] };
            pipeline(rawdoc! { "$set": { "declines": { "$slice": [all, newest_declines()] } } })
        }
        UpdateAction::SignIn => rawdoc! { "$inc": { "signIns": 1 } }.into(),
    };
    rawdoc! { "q": which, "u": change, "multi": true }
}

/// Builds one entry of an `update` command for one document, without a pipeline. This is faster,
/// for the common case of a single buyer.
fn single(update: &DocumentUpdate) -> RawDocumentBuf {
    let value = update.value.clone();
    let change: RawBson = match update.change {
        UpdateAction::Replace => value,
        UpdateAction::Take => rawdoc! { "$addToSet": { "locks": value } }.into(),
        UpdateAction::Free => rawdoc! { "$pull": { "locks": value } }.into(),
        UpdateAction::Decline => {
            rawdoc! { "$push": { "declines": { "$each": [value], "$slice": newest_declines() } } }
                .into()
        }
        UpdateAction::SignIn => rawdoc! { "$inc": { "signIns": 1 } }.into(),
    };
    rawdoc! { "q": guarded(rawdoc! { "_id": update.id.as_str() }, &update.guard), "u": change }
}

/// Returns the argument of `$slice` that keeps the newest declines of a user. It is negative, so
/// that it counts from the end.
fn newest_declines() -> i32 {
    -i32::from(Policy::DECLINES_PER_USER_MAX)
}

fn guarded(mut which: RawDocumentBuf, guard: &RawDocument) -> RawDocumentBuf {
    for field in guard {
        let (name, value) = field.expect("the guard was built by this program");
        which.append(name, value);
    }
    which
}

fn pipeline(stage: RawDocumentBuf) -> RawBson {
    let mut stages = RawArrayBuf::new();
    stages.push(stage);
    stages.into()
}

fn list<'a>(documents: impl Iterator<Item = &'a RawDocument>) -> Option<RawArrayBuf> {
    let mut list = RawArrayBuf::new();
    for document in documents {
        list.push(document);
    }
    (!list.is_empty()).then_some(list)
}

/// Inserts one document with all events of the transaction, so that the change stream returns them
/// together and in this order.
fn events(group: &[PendingCommit]) -> Option<TransactionStep> {
    let commits = list(group.iter().filter_map(|waiting| waiting.commit.entry.as_deref()))?;
    let newest = group.iter().map(|waiting| waiting.commit.at).max()?;
    let mut document = rawdoc! { "_id": ObjectId::new() };
    // The server replaces this value with its cluster time at the insert, which is later than every
    // commit that this one could have read. Sorted by it, the events are in an order that agrees
    // with their causes.
    document.append(cstr!("written"), Timestamp { time: 0, increment: 0 });
    document.append(cstr!("purgeAt"), date(newest + EVENTS_KEPT));
    document.append(cstr!("commits"), commits);
    let documents = list(std::iter::once(&*document))?;
    Some(TransactionStep {
        command: rawdoc! { "insert": EVENTS, "documents": documents },
        matches: None,
    })
}
