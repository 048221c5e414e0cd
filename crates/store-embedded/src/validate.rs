//! Validation of a commit: checks all its preconditions before its first write.
//!
//! A refused commit therefore writes nothing, although it shares a transaction with other commits.
//! Commits of one batch are validated one after the other on the tables of the transaction, so each
//! sees the writes of the commits before it.

use redb::{ReadableTable, Table};

use super::tables::{Document, EventToStore, StorageFault, Tables, decode, encode};
use gittix_domain::{
    Charge, Delivery, IdempotencyRecord, Mail, Order, Session, SessionDigest, SlotChange, Ticket,
    Timestamp, User, UserId, Version,
};
use gittix_store::{Commit, CommitError, Write};

/// The new state of a document, and the state that it replaces.
#[derive(Debug)]
pub(super) struct DocumentChange<D> {
    pub old: Option<D>,
    pub new: D,
    pub bytes: Vec<u8>,
}

/// The writes of a commit whose preconditions hold. Applying them cannot be refused.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub tickets: Vec<DocumentChange<Ticket>>,
    pub orders: Vec<DocumentChange<Order>>,
    pub charges: Vec<DocumentChange<Charge>>,
    pub users: Vec<DocumentChange<User>>,
    pub mails: Vec<DocumentChange<Mail>>,
    /// Existing sessions that the commit deletes.
    pub closed: Vec<Session>,
    pub opened: Vec<(Session, Vec<u8>)>,
    pub slots: Vec<SlotChange>,
    pub declines: Vec<(UserId, Timestamp)>,
    pub keys: Vec<(IdempotencyRecord, Vec<u8>)>,
    pub deliveries: Vec<(Delivery, Vec<u8>)>,
    pub events: Vec<Vec<u8>>,
}

/// The reason why a commit has no plan.
#[derive(Debug)]
pub(super) enum Rejection {
    /// This commit is not written. The other commits of the transaction are not affected.
    Precondition(CommitError),
    /// The whole transaction fails.
    Storage(StorageFault),
}

impl From<StorageFault> for Rejection {
    fn from(fault: StorageFault) -> Self {
        match fault {
            StorageFault::Document(_) => {
                Self::Precondition(CommitError::Unavailable(fault.to_string()))
            }
            StorageFault::Storage(_) => Self::Storage(fault),
        }
    }
}

impl From<redb::StorageError> for Rejection {
    fn from(error: redb::StorageError) -> Self {
        Self::Storage(error.into())
    }
}

const STALE: Rejection = Rejection::Precondition(CommitError::Stale);

/// Checks the preconditions of `commit` on `tables`, and returns its plan. Writes nothing.
pub(super) fn validate(tables: &Tables<'_>, commit: &Commit) -> Result<Plan, Rejection> {
    let mut plan = Plan::default();
    let mut opening = Vec::new();
    for write in &commit.writes {
        match write {
            Write::Ticket(ticket) => change_document(&tables.tickets, &mut plan.tickets, ticket)?,
            Write::Order(order) => change_document(&tables.orders, &mut plan.orders, order)?,
            Write::Charge(charge) => change_document(&tables.charges, &mut plan.charges, charge)?,
            Write::User(user) => change_user(tables, &mut plan, user)?,
            Write::Mail(mail) => change_document(&tables.mails, &mut plan.mails, mail)?,
            Write::OpenSession { session, user_version } => opening.push((session, *user_version)),
            Write::CloseSession(digest) => plan.closed.extend(session(tables, digest.as_str())?),
            Write::CloseSessions { user, except } => {
                close_all(tables, &mut plan, *user, except.as_ref())?
            }
            Write::Slot(slot) => change_slot(tables, &mut plan, *slot)?,
            Write::Decline { user, at } => plan.declines.push((*user, *at)),
            Write::Idempotency(record) => add_idempotency_record(tables, &mut plan, record)?,
            Write::Delivery(delivery) => add_delivery(tables, &mut plan, delivery)?,
        }
    }
    // Sessions are validated last, because a sign-up opens the session of a user whom the same
    // commit creates.
    for (session, user_version) in opening {
        open_session(tables, &mut plan, session, user_version)?;
    }
    for event in &commit.events {
        plan.events.push(encode(&EventToStore { at: commit.at, event })?);
    }
    Ok(plan)
}

/// Adds a versioned document to the plan. Version `v` may replace only `v - 1`, version 0 requires
/// that the document does not exist, and a commit may contain each document once.
fn change_document<D: Document + Clone>(
    table: &Table<'_, u128, &'static [u8]>,
    planned: &mut Vec<DocumentChange<D>>,
    new: &D,
) -> Result<(), Rejection> {
    let old: Option<D> = table.get(new.key())?.map(|bytes| decode(bytes.value())).transpose()?;
    let expected = old.as_ref().map_or(Some(0), |old| old.version().checked_add(1));
    if (expected != Some(new.version()) && !is_unguarded())
        || planned.iter().any(|other| other.new.key() == new.key())
    {
        return Err(STALE);
    }
    planned.push(DocumentChange { old, new: new.clone(), bytes: encode(new)? });
    Ok(())
}

/// Returns whether the failpoint disables the version check. It is the negative control of the race
/// tests: without the check they must find a double sale.
fn is_unguarded() -> bool {
    fail::fail_point!("store::unguarded", |_| true);
    false
}

fn change_user(tables: &Tables<'_>, plan: &mut Plan, user: &User) -> Result<(), Rejection> {
    change_document(&tables.users, &mut plan.users, user)?;
    let owner = tables.emails.get(user.email.as_str())?.map(|owner| owner.value());
    let claimed =
        plan.users.iter().any(|other| other.new.id != user.id && other.new.email == user.email);
    if claimed || owner.is_some_and(|owner| owner != user.key()) {
        return Err(Rejection::Precondition(CommitError::EmailInUse));
    }
    Ok(())
}

fn open_session(
    tables: &Tables<'_>,
    plan: &mut Plan,
    session: &Session,
    user_version: Version,
) -> Result<(), Rejection> {
    let written = plan
        .users
        .iter()
        .find(|change| change.new.id == session.user)
        .map(|change| change.new.version);
    let version = match written {
        Some(version) => Some(version),
        None => {
            let bytes = tables.users.get(session.user.uuid().as_u128())?;
            bytes.map(|bytes| decode::<User>(bytes.value())).transpose()?.map(|user| user.version)
        }
    };
    let digest = session.digest.as_str();
    let taken = tables.sessions.get(digest)?.is_some()
        || plan.opened.iter().any(|(other, _)| other.digest == session.digest);
    if version != Some(user_version) || taken {
        return Err(STALE);
    }
    plan.opened.push((session.clone(), encode(session)?));
    Ok(())
}

fn close_all(
    tables: &Tables<'_>,
    plan: &mut Plan,
    user: UserId,
    except: Option<&SessionDigest>,
) -> Result<(), Rejection> {
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
        let mut held = held_slots(tables, user)?;
        for earlier in &plan.slots {
            match earlier {
                SlotChange::Take { user: taker, order, .. } if *taker == user => {
                    held.push(order.uuid().as_u128())
                }
                SlotChange::Free { user: freer, order } if *freer == user => {
                    held.retain(|other| *other != order.uuid().as_u128())
                }
                _ => {}
            }
        }
        let is_held = held.contains(&order.uuid().as_u128());
        if !is_held && held.len() >= usize::try_from(locks_max).unwrap_or(usize::MAX) {
            return Err(Rejection::Precondition(CommitError::SlotsFull));
        }
    }
    plan.slots.push(slot);
    Ok(())
}

/// Returns the orders that hold a slot of `user`: at most as many as the largest limit that was
/// ever configured.
fn held_slots(tables: &Tables<'_>, user: UserId) -> Result<Vec<u128>, Rejection> {
    let user = user.uuid().as_u128();
    let mut orders = Vec::new();
    for entry in tables.slots.range((user, 0)..=(user, u128::MAX))? {
        orders.push(entry?.0.value().1);
    }
    Ok(orders)
}

fn add_idempotency_record(
    tables: &Tables<'_>,
    plan: &mut Plan,
    record: &IdempotencyRecord,
) -> Result<(), Rejection> {
    let key = (record.key.user.uuid().as_u128(), record.key.key.as_str());
    let planned = plan
        .keys
        .iter()
        .any(|(other, _)| other.key.user == record.key.user && other.key.key == record.key.key);
    if planned || tables.idempotency.get(key)?.is_some() {
        return Err(Rejection::Precondition(CommitError::KeyUsed));
    }
    plan.keys.push((record.clone(), encode(record)?));
    Ok(())
}

fn add_delivery(
    tables: &Tables<'_>,
    plan: &mut Plan,
    delivery: &Delivery,
) -> Result<(), Rejection> {
    let planned = plan.deliveries.iter().any(|(other, _)| other.event == delivery.event);
    if planned || tables.deliveries.get(delivery.event.as_str())?.is_some() {
        return Err(Rejection::Precondition(CommitError::KeyUsed));
    }
    plan.deliveries.push((delivery.clone(), encode(delivery)?));
    Ok(())
}
