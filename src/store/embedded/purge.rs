//! Removing what is past its time, a bounded piece for each transaction.

use redb::ReadableTable;

use super::{
    apply,
    tables::{StorageFault, StoredEvent, Tables, decode, meta},
};
use crate::domain::{Delivery, IdempotencyRecord, Millis, Policy, Session, Timestamp};

/// How many records of each kind one transaction removes at most: some ten milliseconds of work, which commits that
/// share the transaction wait for.
pub(super) const STEP_MAX: usize = 1_000;

/// How long events are kept, as the architecture promises.
const EVENTS_KEPT: Millis = Millis::from_mins(30 * 24 * 60);
const KEYS_KEPT: Millis = Millis::from_mins(IdempotencyRecord::KEPT_HOURS * 60);
const DELIVERIES_KEPT: Millis = Millis::from_mins(Delivery::KEPT_DAYS * 24 * 60);

/// What one piece of purging did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Purged {
    pub removed: usize,
    /// Whether another piece may find something.
    pub more: bool,
}

/// Removes up to [`STEP_MAX`] sessions, idempotency records, deliveries, users' declines and events each.
pub(super) fn purge(tables: &mut Tables<'_>, now: Timestamp) -> Result<Purged, StorageFault> {
    let removed = [sessions(tables, now)?, keys(tables, now)?, deliveries(tables, now)?, declines(tables, now)?, events(tables, now)?];
    Ok(Purged { removed: removed.iter().sum(), more: removed.iter().any(|count| *count >= STEP_MAX) })
}

fn sessions(tables: &mut Tables<'_>, now: Timestamp) -> Result<usize, StorageFault> {
    let mut digests = Vec::new();
    for entry in tables.sessions_due.range(..=(now.0, ""))?.take(STEP_MAX) {
        digests.push(entry?.0.value().1.to_owned());
    }
    for digest in &digests {
        let session: Option<Session> = tables.sessions.get(digest.as_str())?.map(|bytes| decode(bytes.value())).transpose()?;
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

/// Of users without a decline within the span. All rows are looked at: they are those of a day.
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

/// From the oldest on, in commit order; the first one that is kept ends it, so that what is left has no gap.
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
