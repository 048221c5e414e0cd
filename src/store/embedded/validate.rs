//! Whether a commit may be written: every precondition of it, before the first of its writes.
//!
//! So a refused commit leaves nothing of itself behind, though it shares a transaction with others. Commits of one batch
//! are judged one after the other over the transaction's own tables, so each sees what those before it wrote.

use redb::{ReadableTable, Table};

use super::tables::{Document, EventToStore, StorageFault, Tables, decode, encode};
use crate::{
    domain::{Charge, Delivery, IdempotencyRecord, Order, Session, SessionDigest, SlotChange, Ticket, Timestamp, User, UserId, Version},
    store::{Commit, CommitError, Write},
};

/// A document's next state, and the one that it takes the place of.
#[derive(Debug)]
pub(super) struct DocumentChange<D> {
    pub old: Option<D>,
    pub new: D,
    pub bytes: Vec<u8>,
}

/// A commit whose preconditions hold: what is left cannot be refused.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub tickets: Vec<DocumentChange<Ticket>>,
    pub orders: Vec<DocumentChange<Order>>,
    pub charges: Vec<DocumentChange<Charge>>,
    pub users: Vec<DocumentChange<User>>,
    /// Sessions that were there before and end now.
    pub closed: Vec<Session>,
    pub opened: Vec<(Session, Vec<u8>)>,
    pub slots: Vec<SlotChange>,
    pub declines: Vec<(UserId, Timestamp)>,
    pub keys: Vec<(IdempotencyRecord, Vec<u8>)>,
    pub deliveries: Vec<(Delivery, Vec<u8>)>,
    pub events: Vec<Vec<u8>>,
}

/// Why there is no plan.
#[derive(Debug)]
pub(super) enum Rejection {
    /// This commit is not written; those beside it are not concerned.
    Refused(CommitError),
    /// The transaction is lost.
    Storage(StorageFault),
}

impl From<StorageFault> for Rejection {
    fn from(fault: StorageFault) -> Self {
        match fault {
            StorageFault::Document(_) => Self::Refused(CommitError::Unavailable(fault.to_string())),
            StorageFault::Storage(_) => Self::Storage(fault),
        }
    }
}

impl From<redb::StorageError> for Rejection {
    fn from(error: redb::StorageError) -> Self {
        Self::Storage(error.into())
    }
}

const STALE: Rejection = Rejection::Refused(CommitError::Stale);

/// Judges `commit` over `tables`, and writes nothing.
pub(super) fn validate(tables: &Tables<'_>, commit: &Commit) -> Result<Plan, Rejection> {
    let mut plan = Plan::default();
    let mut opening = Vec::new();
    for write in &commit.writes {
        match write {
            Write::Ticket(ticket) => change(&tables.tickets, &mut plan.tickets, ticket)?,
            Write::Order(order) => change(&tables.orders, &mut plan.orders, order)?,
            Write::Charge(charge) => change(&tables.charges, &mut plan.charges, charge)?,
            Write::User(user) => change_user(tables, &mut plan, user)?,
            Write::OpenSession { session, user_version } => opening.push((session, *user_version)),
            Write::CloseSession(digest) => plan.closed.extend(session(tables, digest.as_str())?),
            Write::CloseSessions { user, except } => close_all(tables, &mut plan, *user, except.as_ref())?,
            Write::Slot(slot) => change_slot(tables, &mut plan, *slot)?,
            Write::Decline { user, at } => plan.declines.push((*user, *at)),
            Write::Idempotency(record) => remember(tables, &mut plan, record)?,
            Write::Delivery(delivery) => deliver(tables, &mut plan, delivery)?,
        }
    }
    // Last, since a sign-up opens the session of a user whom the same commit makes.
    for (session, user_version) in opening {
        open(tables, &mut plan, session, user_version)?;
    }
    for event in &commit.events {
        plan.events.push(encode(&EventToStore { at: commit.at, event })?);
    }
    Ok(plan)
}

/// The guard: version `v` only over `v - 1`, version 0 only over nothing, and each document at most once in a commit.
fn change<D: Document + Clone>(
    table: &Table<'_, u128, &'static [u8]>,
    planned: &mut Vec<DocumentChange<D>>,
    new: &D,
) -> Result<(), Rejection> {
    let old: Option<D> = table.get(new.key())?.map(|bytes| decode(bytes.value())).transpose()?;
    let expected = old.as_ref().map_or(Some(0), |old| old.version().checked_add(1));
    if (expected != Some(new.version()) && !is_unguarded()) || planned.iter().any(|other| other.new.key() == new.key()) {
        return Err(STALE);
    }
    planned.push(DocumentChange { old, new: new.clone(), bytes: encode(new)? });
    Ok(())
}

/// The control of every race test: with the guard taken out, it must find the double sale.
fn is_unguarded() -> bool {
    fail::fail_point!("store::unguarded", |_| true);
    false
}

fn change_user(tables: &Tables<'_>, plan: &mut Plan, user: &User) -> Result<(), Rejection> {
    change(&tables.users, &mut plan.users, user)?;
    let owner = tables.emails.get(user.email.as_str())?.map(|owner| owner.value());
    let claimed = plan.users.iter().any(|other| other.new.id != user.id && other.new.email == user.email);
    if claimed || owner.is_some_and(|owner| owner != user.key()) {
        return Err(Rejection::Refused(CommitError::EmailInUse));
    }
    Ok(())
}

fn open(tables: &Tables<'_>, plan: &mut Plan, session: &Session, user_version: Version) -> Result<(), Rejection> {
    let written = plan.users.iter().find(|change| change.new.id == session.user).map(|change| change.new.version);
    let version = match written {
        Some(version) => Some(version),
        None => {
            let bytes = tables.users.get(session.user.uuid().as_u128())?;
            bytes.map(|bytes| decode::<User>(bytes.value())).transpose()?.map(|user| user.version)
        }
    };
    let digest = session.digest.as_str();
    let taken = tables.sessions.get(digest)?.is_some() || plan.opened.iter().any(|(other, _)| other.digest == session.digest);
    if version != Some(user_version) || taken {
        return Err(STALE);
    }
    plan.opened.push((session.clone(), encode(session)?));
    Ok(())
}

fn close_all(tables: &Tables<'_>, plan: &mut Plan, user: UserId, except: Option<&SessionDigest>) -> Result<(), Rejection> {
    let user = user.uuid().as_u128();
    for entry in tables.sessions_by_user.range((user, "")..)? {
        let key = entry?.0;
        let (owner, digest) = key.value();
        if owner != user {
            break;
        }
        if except.is_none_or(|except| except.as_str() != digest) {
            plan.closed.extend(session(tables, digest)?);
        }
    }
    Ok(())
}

fn session(tables: &Tables<'_>, digest: &str) -> Result<Option<Session>, Rejection> {
    Ok(tables.sessions.get(digest)?.map(|bytes| decode(bytes.value())).transpose()?)
}

fn change_slot(tables: &Tables<'_>, plan: &mut Plan, slot: SlotChange) -> Result<(), Rejection> {
    if let SlotChange::Take { user, order, locks_max } = slot {
        let mut held = held(tables, user)?;
        for earlier in &plan.slots {
            match earlier {
                SlotChange::Take { user: taker, order, .. } if *taker == user => held.push(order.uuid().as_u128()),
                SlotChange::Free { user: freer, order } if *freer == user => held.retain(|other| *other != order.uuid().as_u128()),
                _ => {}
            }
        }
        let is_held = held.contains(&order.uuid().as_u128());
        if !is_held && held.len() >= usize::try_from(locks_max).unwrap_or(usize::MAX) {
            return Err(Rejection::Refused(CommitError::SlotsFull));
        }
    }
    plan.slots.push(slot);
    Ok(())
}

/// The orders that hold a slot of `user`: at most as many as the largest limit that was ever set.
fn held(tables: &Tables<'_>, user: UserId) -> Result<Vec<u128>, Rejection> {
    let user = user.uuid().as_u128();
    let mut orders = Vec::new();
    for entry in tables.slots.range((user, 0)..=(user, u128::MAX))? {
        orders.push(entry?.0.value().1);
    }
    Ok(orders)
}

fn remember(tables: &Tables<'_>, plan: &mut Plan, record: &IdempotencyRecord) -> Result<(), Rejection> {
    let key = (record.key.user.uuid().as_u128(), record.key.key.as_str());
    let planned = plan.keys.iter().any(|(other, _)| other.key.user == record.key.user && other.key.key == record.key.key);
    if planned || tables.idempotency.get(key)?.is_some() {
        return Err(Rejection::Refused(CommitError::KeyUsed));
    }
    plan.keys.push((record.clone(), encode(record)?));
    Ok(())
}

fn deliver(tables: &Tables<'_>, plan: &mut Plan, delivery: &Delivery) -> Result<(), Rejection> {
    let planned = plan.deliveries.iter().any(|(other, _)| other.event == delivery.event);
    if planned || tables.deliveries.get(delivery.event.as_str())?.is_some() {
        return Err(Rejection::Refused(CommitError::KeyUsed));
    }
    plan.deliveries.push((delivery.clone(), encode(delivery)?));
    Ok(())
}
