//! Application of a validated plan: writes the documents, and updates the indexes from their old
//! and new states.

use redb::{ReadableTable, StorageError};

use super::{
    tables::Tables,
    validate::{DocumentChange, Plan},
};
use gittix_domain::{
    Charge, Mail, MailState, Order, OrderState, Policy, Session, SlotChange, Ticket, Timestamp,
    User,
};

/// Writes `plan`. Its events are stored under the transaction `number`, with ordinals from
/// `ordinal` on.
pub(super) fn apply(
    tables: &mut Tables<'_>,
    plan: &Plan,
    number: u64,
    ordinal: u32,
) -> Result<(), StorageError> {
    for change in &plan.tickets {
        ticket(tables, change)?;
    }
    for change in &plan.orders {
        order(tables, change)?;
    }
    for change in &plan.charges {
        charge(tables, change)?;
    }
    for change in &plan.users {
        user(tables, change)?;
    }
    for change in &plan.mails {
        mail(tables, change)?;
    }
    for session in &plan.closed {
        remove_session(tables, session)?;
    }
    for (session, bytes) in &plan.opened {
        let (user, digest) = (session.user.uuid().as_u128(), session.digest.as_str());
        tables.sessions.insert(digest, bytes.as_slice())?;
        tables.sessions_by_user.insert((user, digest), ())?;
        tables.sessions_due.insert((session.expires_at.0, digest), ())?;
    }
    for change in &plan.slots {
        match *change {
            SlotChange::Take { user, order, .. } => {
                tables.slots.insert((user.uuid().as_u128(), order.uuid().as_u128()), ())?
            }
            SlotChange::Free { user, order } => {
                tables.slots.remove((user.uuid().as_u128(), order.uuid().as_u128()))?
            }
        };
    }
    for (user, at) in &plan.declines {
        decline(tables, user.uuid().as_u128(), *at)?;
    }
    for (record, bytes) in &plan.keys {
        let (user, key) = (record.key.user.uuid().as_u128(), record.key.key.as_str());
        tables.idempotency.insert((user, key), bytes.as_slice())?;
        tables.idempotency_age.insert((record.created_at.0, user, key), ())?;
    }
    for (delivery, bytes) in &plan.deliveries {
        tables.deliveries.insert(delivery.event.as_str(), bytes.as_slice())?;
        tables.deliveries_age.insert((delivery.at.0, delivery.event.as_str()), ())?;
    }
    for (ordinal, bytes) in (ordinal..).zip(&plan.events) {
        tables.events.insert((number, ordinal), bytes.as_slice())?;
    }
    Ok(())
}

fn ticket(
    tables: &mut Tables<'_>,
    DocumentChange { old, new, bytes }: &DocumentChange<Ticket>,
) -> Result<(), StorageError> {
    let id = new.id.uuid().as_u128();
    tables.tickets.insert(id, bytes.as_slice())?;
    let (before, after) = (old.as_ref().and_then(Ticket::lock), new.lock());
    if before == after {
        return Ok(());
    }
    if let Some(lock) = before {
        tables.locks_due.remove((lock.unlocks_at.0, id))?;
    }
    if let Some(lock) = after {
        tables.locks_due.insert((lock.unlocks_at.0, id), ())?;
    }
    Ok(())
}

fn order(
    tables: &mut Tables<'_>,
    DocumentChange { old, new, bytes }: &DocumentChange<Order>,
) -> Result<(), StorageError> {
    let (id, buyer) = (new.id.uuid().as_u128(), new.buyer.uuid().as_u128());
    tables.orders.insert(id, bytes.as_slice())?;
    if old.is_none() {
        tables.orders_by_buyer.insert((buyer, id), ())?;
    }
    match (old.as_ref().is_some_and(Order::is_active), new.is_active()) {
        (false, true) => tables.orders_active.insert((buyer, id), ())?,
        (true, false) => tables.orders_active.remove((buyer, id))?,
        (false, false) | (true, true) => None,
    };
    if let Some(old) = old.as_ref().filter(|old| old.state == OrderState::Created) {
        tables.windows_due.remove((old.expires_at.0, id))?;
    }
    if new.state == OrderState::Created {
        tables.windows_due.insert((new.expires_at.0, id), new.ticket.id.uuid().as_u128())?;
    }
    Ok(())
}

fn charge(
    tables: &mut Tables<'_>,
    DocumentChange { old, new, bytes }: &DocumentChange<Charge>,
) -> Result<(), StorageError> {
    let id = new.id.uuid().as_u128();
    tables.charges.insert(id, bytes.as_slice())?;
    if old.is_none() {
        tables.charges_by_order.insert((new.order.uuid().as_u128(), id), ())?;
    }
    if new.is_open() {
        tables.charges_open.insert(id, new.updated_at.0)?;
    } else {
        tables.charges_open.remove(id)?;
    }
    Ok(())
}

fn decline(tables: &mut Tables<'_>, user: u128, at: Timestamp) -> Result<(), StorageError> {
    let mut times = tables.declines.get(user)?.map(|times| times.value()).unwrap_or_default();
    times.push(at.0);
    times.drain(..times.len().saturating_sub(usize::from(Policy::DECLINES_PER_USER_MAX)));
    tables.declines.insert(user, times)?;
    Ok(())
}

fn user(
    tables: &mut Tables<'_>,
    DocumentChange { old, new, bytes }: &DocumentChange<User>,
) -> Result<(), StorageError> {
    let id = new.id.uuid().as_u128();
    tables.users.insert(id, bytes.as_slice())?;
    if let Some(old) = old.as_ref().filter(|old| old.email != new.email) {
        tables.emails.remove(old.email.as_str())?;
    }
    tables.emails.insert(new.email.as_str(), id)?;
    Ok(())
}

fn mail(
    tables: &mut Tables<'_>,
    DocumentChange { old, new, bytes }: &DocumentChange<Mail>,
) -> Result<(), StorageError> {
    let id = new.id.uuid().as_u128();
    tables.mails.insert(id, bytes.as_slice())?;
    if let Some(old) = old {
        remove_from_mail_indexes(tables, old)?;
    }
    if let Some(due_at) = new.due_at() {
        tables.mails_due.insert((due_at.0, id), ())?;
    }
    match new.state {
        MailState::Sent { sent_at } => tables.mails_sent.insert((sent_at.0, id), ())?,
        MailState::Dead { .. } => tables.mails_dead.insert(id, ())?,
        MailState::Queued { .. } | MailState::Claimed { .. } => None,
    };
    Ok(())
}

fn remove_from_mail_indexes(tables: &mut Tables<'_>, mail: &Mail) -> Result<(), StorageError> {
    let id = mail.id.uuid().as_u128();
    if let Some(due_at) = mail.due_at() {
        tables.mails_due.remove((due_at.0, id))?;
    }
    match mail.state {
        MailState::Sent { sent_at } => tables.mails_sent.remove((sent_at.0, id))?,
        MailState::Dead { .. } => tables.mails_dead.remove(id)?,
        MailState::Queued { .. } | MailState::Claimed { .. } => None,
    };
    Ok(())
}

/// Removes a mail that was sent, and its index entry.
pub(super) fn remove_sent_mail(
    tables: &mut Tables<'_>,
    sent_at: i64,
    mail: u128,
) -> Result<(), StorageError> {
    tables.mails.remove(mail)?;
    tables.mails_sent.remove((sent_at, mail))?;
    Ok(())
}

/// Removes a session and its index entries.
pub(super) fn remove_session(
    tables: &mut Tables<'_>,
    session: &Session,
) -> Result<(), StorageError> {
    let (user, digest) = (session.user.uuid().as_u128(), session.digest.as_str());
    tables.sessions.remove(digest)?;
    tables.sessions_by_user.remove((user, digest))?;
    tables.sessions_due.remove((session.expires_at.0, digest))?;
    Ok(())
}

/// Removes an idempotency record and its index entry.
pub(super) fn remove_key(
    tables: &mut Tables<'_>,
    created_at: i64,
    user: u128,
    key: &str,
) -> Result<(), StorageError> {
    tables.idempotency.remove((user, key))?;
    tables.idempotency_age.remove((created_at, user, key))?;
    Ok(())
}

/// Removes the record of a delivery and its index entry.
pub(super) fn remove_delivery(
    tables: &mut Tables<'_>,
    at: i64,
    event: &str,
) -> Result<(), StorageError> {
    tables.deliveries.remove(event)?;
    tables.deliveries_age.remove((at, event))?;
    Ok(())
}
