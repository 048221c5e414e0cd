//! Removal of expired and old records, a bounded number in each transaction.

use redb::ReadableTable;

use super::{
    apply,
    tables::{StorageFault, StoredEvent, Tables, decode, meta},
};
use gittix_domain::{Delivery, IdempotencyRecord, Mail, Millis, Policy, Session, Timestamp};

/// Maximum number of records of each kind that one transaction removes. This is about ten
/// milliseconds of work, which delays the commits of the same transaction.
pub(super) const STEP_MAX: usize = 1_000;

/// Time for which events are kept. docs/security.md states it.
const EVENTS_KEPT: Millis = Millis::from_mins(30 * 24 * 60);
const KEYS_KEPT: Millis = Millis::from_mins(IdempotencyRecord::KEPT_HOURS * 60);
const SENT_MAILS_KEPT: Millis = Millis::from_mins(Mail::SENT_KEPT_DAYS * 24 * 60);
const DELIVERIES_KEPT: Millis = Millis::from_mins(Delivery::KEPT_DAYS * 24 * 60);

/// Result of one purge step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Purged {
    pub removed: usize,
    /// Whether another step may find more records.
    pub more: bool,
}

/// Removes up to [`STEP_MAX`] sessions, idempotency records, deliveries, sent mails, users' declines
/// and events each.
pub(super) fn purge(tables: &mut Tables<'_>, now: Timestamp) -> Result<Purged, StorageFault> {
    let removed = [
        sessions(tables, now)?,
        keys(tables, now)?,
        deliveries(tables, now)?,
        sent_mails(tables, now)?,
        declines(tables, now)?,
        events(tables, now)?,
    ];
    Ok(Purged {
        removed: removed.iter().sum(),
        more: removed.iter().any(|count| *count >= STEP_MAX),
    })
}

fn sessions(tables: &mut Tables<'_>, now: Timestamp) -> Result<usize, StorageFault> {
    let mut digests = Vec::new();
    for entry in tables.sessions_due.range(..=(now.0, ""))?.take(STEP_MAX) {
        digests.push(entry?.0.value().1.to_owned());
    }
    for digest in &digests {
        let session: Option<Session> =
            tables.sessions.get(digest.as_str())?.map(|bytes| decode(bytes.value())).transpose()?;
        if let Some(session) = session {
            apply::remove_session(tables, &session)?;
        }
    }
    Ok(digests.len())
}

fn keys(tables: &mut Tables<'_>, now: Timestamp) -> Result<usize, StorageFault> {
    let mut keys = Vec::new();
    for entry in tables.idempotency_age.range(..=((now - KEYS_KEPT).0, 0, ""))?.take(STEP_MAX) {
        let key = entry?.0;
        let (created_at, user, key) = key.value();
        keys.push((created_at, user, key.to_owned()));
    }
    for (created_at, user, key) in &keys {
        apply::remove_key(tables, *created_at, *user, key)?;
    }
    Ok(keys.len())
}

fn deliveries(tables: &mut Tables<'_>, now: Timestamp) -> Result<usize, StorageFault> {
    let mut old = Vec::new();
    for entry in tables.deliveries_age.range(..=((now - DELIVERIES_KEPT).0, ""))?.take(STEP_MAX) {
        let key = entry?.0;
        let (at, event) = key.value();
        old.push((at, event.to_owned()));
    }
    for (at, event) in &old {
        apply::remove_delivery(tables, *at, event)?;
    }
    Ok(old.len())
}

fn sent_mails(tables: &mut Tables<'_>, now: Timestamp) -> Result<usize, StorageFault> {
    let mut old = Vec::new();
    let until = (now - SENT_MAILS_KEPT).0;
    for entry in tables.mails_sent.range(..=(until, u128::MAX))?.take(STEP_MAX) {
        old.push(entry?.0.value());
    }
    for (sent_at, mail) in &old {
        apply::remove_sent_mail(tables, *sent_at, *mail)?;
    }
    Ok(old.len())
}

/// Removes the rows of users without a decline within [`Policy::DECLINES_SPAN`]. It reads all rows.
/// They are those of about a day.
fn declines(tables: &mut Tables<'_>, now: Timestamp) -> Result<usize, StorageFault> {
    let over = |times: &[i64]| times.iter().all(|at| *at < (now - Policy::DECLINES_SPAN).0);
    let mut users = Vec::new();
    for entry in tables.declines.iter()? {
        let (user, times) = entry?;
        if over(&times.value()) && users.len() < STEP_MAX {
            users.push(user.value());
        }
    }
    for user in &users {
        tables.declines.remove(*user)?;
    }
    Ok(users.len())
}

/// Removes events in commit order from the oldest on. It stops at the first event that is kept, so
/// that the remaining events have no gap.
fn events(tables: &mut Tables<'_>, now: Timestamp) -> Result<usize, StorageFault> {
    let mut places = Vec::new();
    for entry in tables.events.iter()?.take(STEP_MAX) {
        let (place, bytes) = entry?;
        if decode::<StoredEvent>(bytes.value())?.at >= now - EVENTS_KEPT {
            break;
        }
        places.push(place.value());
    }
    for place in &places {
        tables.events.remove(*place)?;
    }
    if let Some((time, ordinal)) = places.last() {
        tables.meta.insert(meta::PURGED_TIME, time)?;
        tables.meta.insert(meta::PURGED_ORDINAL, u64::from(*ordinal))?;
    }
    Ok(places.len())
}
