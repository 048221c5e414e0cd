//! What commits do to documents, and the commands that do it for a whole group of them. Pure.
//!
//! An update is what MongoDB is slowest at: each statement is parsed, planned and executed by itself, which for a ticket
//! takes five times as long as inserting it. So updates that differ only in the document and in what it becomes are one
//! statement: it finds all of them by their ids, and picks for each what is meant for it. `docs/performance.md` has the
//! figures.

use bson::{
    RawArrayBuf, RawBson, RawDocument, RawDocumentBuf, Timestamp,
    oid::ObjectId,
    raw::{CString, cstr},
    rawdoc,
};

use super::{
    committer::PendingCommit,
    prepare::date,
    schema::{CommitCollection, EVENTS},
};
use crate::domain::{Millis, Policy, Version};

/// How long events are kept, from the time of their commit.
const EVENTS_KEPT: Millis = Millis::from_mins(30 * 24 * 60);

/// What a commit does to one document, or with [`Action::Delete`] to some.
#[derive(Debug, Clone)]
pub(super) struct Statement {
    pub place: CommitCollection,
    pub action: Action,
}

#[derive(Debug, Clone)]
pub(super) enum Action {
    Insert(RawDocumentBuf),
    /// Must match exactly one document.
    DocumentUpdate(DocumentUpdate),
    /// One entry of a `delete` command, for what is there.
    Delete(RawDocumentBuf),
}

/// A change of the document `id`, if `guard` holds of it.
#[derive(Debug, Clone)]
pub(super) struct DocumentUpdate {
    pub id: String,
    pub guard: RawDocumentBuf,
    pub change: UpdateAction,
    pub value: RawBson,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UpdateAction {
    /// The document becomes the value.
    Replace,
    /// The value is added to its `locks`.
    Take,
    /// The value is taken from its `locks`.
    Free,
    /// The value is added to its `declines`, of which the newest are kept.
    Decline,
    /// Its `signIns` are one more; of the value nothing is used.
    SignIn,
}

impl Statement {
    /// Its size in a command, about.
    pub fn bytes(&self) -> usize {
        match &self.action {
            Action::Insert(document) | Action::Delete(document) => document.as_bytes().len(),
            Action::DocumentUpdate(update) => {
                update.guard.as_bytes().len() + 2 * update.id.len() + update.value.as_document().map_or(64, |value| value.as_bytes().len())
            }
        }
    }
}

/// The document `id` as it was at `version`.
pub(super) fn at_version(version: Version) -> RawDocumentBuf {
    // The control of every race test: with the guard taken out, it must find the double sale.
    fail::fail_point!("store::unguarded", |_| RawDocumentBuf::new());
    // A version that BSON cannot hold matches nothing; its document could not be encoded in the first place.
    rawdoc! { "version": i64::try_from(version).unwrap_or(-1) }
}

/// A document of locks with less than `locks_max` of them: there is room for one more where the last place is empty.
pub(super) fn with_room(locks_max: u32) -> RawDocumentBuf {
    let last = CString::try_from(format!("locks.{}", locks_max.saturating_sub(1))).expect("digits hold no NUL");
    let mut room = RawDocumentBuf::new();
    room.append(last, rawdoc! { "$exists": false });
    room
}

/// A command of a transaction, and how many documents it must match.
#[derive(Debug)]
pub(super) struct TransactionStep {
    pub command: RawDocumentBuf,
    pub matches: Option<i64>,
}

/// The statements of all commits, one command for each collection and action.
///
/// New users come first, with their documents of locks, since the session of a sign-up is opened over them; sessions are
/// closed before others are opened.
pub(super) fn steps(group: &[PendingCommit]) -> Vec<TransactionStep> {
    let first = [CommitCollection::Users, CommitCollection::Slots];
    let mut steps: Vec<TransactionStep> = first.into_iter().filter_map(|place| inserts(group, place)).collect();
    steps.extend(CommitCollection::ALL.into_iter().filter_map(|place| updates(group, place)));
    steps.extend(deletes(group, CommitCollection::Sessions));
    steps.extend(CommitCollection::ALL.into_iter().filter(|place| !first.contains(place)).filter_map(|place| inserts(group, place)));
    steps.extend(events(group));
    steps
}

fn of(group: &[PendingCommit], place: CommitCollection) -> impl Iterator<Item = &Action> {
    let all = group.iter().flat_map(|waiting| &waiting.commit.statements);
    all.filter(move |statement| statement.place == place).map(|statement| &statement.action)
}

fn inserts(group: &[PendingCommit], place: CommitCollection) -> Option<TransactionStep> {
    let documents = of(group, place).filter_map(|action| match action {
        Action::Insert(document) => Some(&**document),
        _ => None,
    });
    let documents = list(documents)?;
    Some(TransactionStep { command: rawdoc! { "insert": place.name(), "documents": documents, "ordered": true }, matches: None })
}

fn deletes(group: &[PendingCommit], place: CommitCollection) -> Option<TransactionStep> {
    let deletes = of(group, place).filter_map(|action| match action {
        Action::Delete(delete) => Some(&**delete),
        _ => None,
    });
    let deletes = list(deletes)?;
    Some(TransactionStep { command: rawdoc! { "delete": place.name(), "deletes": deletes, "ordered": true }, matches: None })
}

fn updates(group: &[PendingCommit], place: CommitCollection) -> Option<TransactionStep> {
    let updates: Vec<&DocumentUpdate> = of(group, place)
        .filter_map(|action| match action {
            Action::DocumentUpdate(update) => Some(update),
            _ => None,
        })
        .collect();
    // In the order of the first of each. A document that a commit changes twice is in two statements: one finds it once.
    let mut alike: Vec<Vec<&DocumentUpdate>> = Vec::new();
    for update in &updates {
        let same = |other: &DocumentUpdate| other.change == update.change && other.guard.as_bytes() == update.guard.as_bytes();
        let fits = |some: &Vec<&DocumentUpdate>| same(some[0]) && some.iter().all(|other| other.id != update.id);
        match alike.iter_mut().find(|some| fits(some)) {
            Some(some) => some.push(update),
            None => alike.push(vec![update]),
        }
    }
    let statements: Vec<RawDocumentBuf> = alike.iter().map(|some| one_statement(some)).collect();
    let statements = list(statements.iter().map(|statement| &**statement))?;
    let matches = i64::try_from(updates.len()).ok();
    Some(TransactionStep { command: rawdoc! { "update": place.name(), "updates": statements, "ordered": true }, matches })
}

/// Updates of one kind under one guard, as one entry of an `update` command.
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
    // The place of the document's id among the ids is the place of its value among the values.
    let value = rawdoc! { "$arrayElemAt": [{ "$literal": values }, { "$indexOfArray": [{ "$literal": ids }, "$_id"] }] };
    let change: RawBson = match change {
        UpdateAction::Replace => pipeline(rawdoc! { "$replaceWith": value }),
        UpdateAction::Take => pipeline(rawdoc! { "$set": { "locks": { "$concatArrays": ["$locks", [value]] } } }),
        UpdateAction::Free => pipeline(rawdoc! { "$set": { "locks": { "$setDifference": ["$locks", [value]] } } }),
        UpdateAction::Decline => {
            let all = rawdoc! { "$concatArrays": [{ "$ifNull": ["$declines", []] }, [value]] };
            pipeline(rawdoc! { "$set": { "declines": { "$slice": [all, newest_declines()] } } })
        }
        UpdateAction::SignIn => rawdoc! { "$inc": { "signIns": 1 } }.into(),
    };
    rawdoc! { "q": which, "u": change, "multi": true }
}

/// The same for one document: without a pipeline it is faster, and one buyer alone waits for nothing else.
fn single(update: &DocumentUpdate) -> RawDocumentBuf {
    let value = update.value.clone();
    let change: RawBson = match update.change {
        UpdateAction::Replace => value,
        UpdateAction::Take => rawdoc! { "$addToSet": { "locks": value } }.into(),
        UpdateAction::Free => rawdoc! { "$pull": { "locks": value } }.into(),
        UpdateAction::Decline => rawdoc! { "$push": { "declines": { "$each": [value], "$slice": newest_declines() } } }.into(),
        UpdateAction::SignIn => rawdoc! { "$inc": { "signIns": 1 } }.into(),
    };
    rawdoc! { "q": guarded(rawdoc! { "_id": update.id.as_str() }, &update.guard), "u": change }
}

/// How many declined payments of a user are kept, as `$slice` counts from the end.
fn newest_declines() -> i32 {
    -i32::from(Policy::DECLINES_PER_USER_MAX)
}

fn guarded(mut which: RawDocumentBuf, guard: &RawDocument) -> RawDocumentBuf {
    for field in guard {
        let (name, value) = field.expect("it was built here");
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

/// One document for all events of the transaction: the change stream tells of them in one piece, in this order.
fn events(group: &[PendingCommit]) -> Option<TransactionStep> {
    let commits = list(group.iter().filter_map(|waiting| waiting.commit.entry.as_deref()))?;
    let newest = group.iter().map(|waiting| waiting.commit.at).max()?;
    let mut document = rawdoc! { "_id": ObjectId::new() };
    // The server puts its cluster time here on insert, later than any commit that this one could have seen: so whoever
    // reads the collection has the events in an order that agrees with their causes.
    document.append(cstr!("written"), Timestamp { time: 0, increment: 0 });
    document.append(cstr!("purgeAt"), date(newest + EVENTS_KEPT));
    document.append(cstr!("commits"), commits);
    let documents = list(std::iter::once(&*document))?;
    Some(TransactionStep { command: rawdoc! { "insert": EVENTS, "documents": documents }, matches: None })
}
