//! Reads. Each read uses one snapshot and does not wait for the writer: redb keeps the last durable
//! state readable while it flushes the next one.

use std::{
    collections::HashSet,
    ops::Bound::{Excluded, Included, Unbounded},
};

use redb::{ReadOnlyTable, ReadTransaction, ReadableTable, ReadableTableMetadata, TableDefinition};
use serde::de::DeserializeOwned;

use super::tables::{self, Document, StorageFault, StoredEvent, decode};
use gittix_domain::{
    Charge, ChargeId, Delivery, DomainEvent, IdempotencyRecord, Mail, Order, OrderId, Sale,
    Session, Ticket, TicketId, Timestamp, User, UserId, invariants::Snapshot,
};
use gittix_store::{MailCounts, OrderScope};

type Documents = TableDefinition<'static, u128, &'static [u8]>;
type Pairs = TableDefinition<'static, (u128, u128), ()>;

/// Returns one document.
pub(super) fn document<D: Document>(
    snapshot: &ReadTransaction,
    table: Documents,
    id: u128,
) -> Result<Option<D>, StorageFault> {
    get(&snapshot.open_table(table)?, id)
}

fn get<D: DeserializeOwned>(
    table: &ReadOnlyTable<u128, &'static [u8]>,
    id: u128,
) -> Result<Option<D>, StorageFault> {
    table.get(id)?.map(|bytes| decode(bytes.value())).transpose()
}

pub(super) fn sale(snapshot: &ReadTransaction, id: TicketId) -> Result<Option<Sale>, StorageFault> {
    let Some(ticket) = document::<Ticket>(snapshot, tables::TICKETS, id.uuid().as_u128())? else {
        return Ok(None);
    };
    let Some(holder) = ticket.lock().map(|lock| lock.order) else {
        return Ok(Some(Sale::unlocked(ticket)));
    };
    let order = document(snapshot, tables::ORDERS, holder.uuid().as_u128())?;
    let charge = charges_of(snapshot, holder)?.into_iter().find(Charge::is_running);
    Ok(Some(Sale { ticket, order, charge }))
}

pub(super) fn tickets_after(
    snapshot: &ReadTransaction,
    after: Option<TicketId>,
    limit: usize,
) -> Result<Vec<Ticket>, StorageFault> {
    let mut tickets = Vec::new();
    let after = after.map_or(Unbounded, |after| Excluded(after.uuid().as_u128()));
    for entry in snapshot.open_table(tables::TICKETS)?.range::<u128>((after, Unbounded))? {
        if tickets.len() >= limit {
            break;
        }
        let ticket: Ticket = decode(entry?.1.value())?;
        if !ticket.is_deleted() {
            tickets.push(ticket);
        }
    }
    Ok(tickets)
}

pub(super) fn sales(
    snapshot: &ReadTransaction,
    ids: &[TicketId],
) -> Result<Vec<Sale>, StorageFault> {
    ids.iter().filter_map(|id| sale(snapshot, *id).transpose()).collect()
}

pub(super) fn tickets_overdue(
    snapshot: &ReadTransaction,
    cutoff: Timestamp,
    limit: usize,
) -> Result<Vec<TicketId>, StorageFault> {
    let mut due = Vec::new();
    // The first `limit` rows of each index include the first `limit` tickets of the merged list,
    // because each index contains a ticket only once.
    for entry in
        snapshot.open_table(tables::LOCKS_DUE)?.range(..=(cutoff.0, u128::MAX))?.take(limit)
    {
        due.push(entry?.0.value());
    }
    for entry in
        snapshot.open_table(tables::WINDOWS_DUE)?.range(..=(cutoff.0, u128::MAX))?.take(limit)
    {
        let (key, ticket) = entry?;
        due.push((key.value().0, ticket.value()));
    }
    due.sort_unstable();
    let mut seen = HashSet::new();
    Ok(due
        .into_iter()
        .filter(|(_, ticket)| seen.insert(*ticket))
        .take(limit)
        .map(|(_, ticket)| ticket_id(ticket))
        .collect())
}

pub(super) fn mails_due(
    snapshot: &ReadTransaction,
    now: Timestamp,
    limit: usize,
) -> Result<Vec<Mail>, StorageFault> {
    let mails = snapshot.open_table(tables::MAILS)?;
    let mut due = Vec::new();
    for entry in snapshot.open_table(tables::MAILS_DUE)?.range(..=(now.0, u128::MAX))?.take(limit) {
        due.extend(get::<Mail>(&mails, entry?.0.value().1)?);
    }
    Ok(due)
}

pub(super) fn mail_counts(snapshot: &ReadTransaction) -> Result<MailCounts, StorageFault> {
    let waiting = snapshot.open_table(tables::MAILS_DUE)?.len()?;
    let dead = snapshot.open_table(tables::MAILS_DEAD)?.len()?;
    Ok(MailCounts { waiting, dead })
}

pub(super) fn orders_of(
    snapshot: &ReadTransaction,
    buyer: UserId,
    scope: OrderScope,
    after: Option<OrderId>,
    limit: usize,
) -> Result<Vec<Order>, StorageFault> {
    let index = match scope {
        OrderScope::Active => tables::ORDERS_ACTIVE,
        OrderScope::All => tables::ORDERS_BY_BUYER,
    };
    let after = after.map(|after| after.uuid().as_u128());
    listed(snapshot, index, buyer.uuid().as_u128(), after, limit, tables::ORDERS)
}

pub(super) fn charges_of(
    snapshot: &ReadTransaction,
    order: OrderId,
) -> Result<Vec<Charge>, StorageFault> {
    listed(
        snapshot,
        tables::CHARGES_BY_ORDER,
        order.uuid().as_u128(),
        None,
        usize::MAX,
        tables::CHARGES,
    )
}

/// Returns the documents that `index` contains under `owner`, by id ascending.
fn listed<D: Document>(
    snapshot: &ReadTransaction,
    index: Pairs,
    owner: u128,
    after: Option<u128>,
    limit: usize,
    documents: Documents,
) -> Result<Vec<D>, StorageFault> {
    let after = after.map_or(Included((owner, 0)), |after| Excluded((owner, after)));
    let documents = snapshot.open_table(documents)?;
    let mut found = Vec::new();
    for entry in snapshot
        .open_table(index)?
        .range::<(u128, u128)>((after, Included((owner, u128::MAX))))?
        .take(limit)
    {
        found.extend(get(&documents, entry?.0.value().1)?);
    }
    Ok(found)
}

pub(super) fn declines_of(
    snapshot: &ReadTransaction,
    user: UserId,
) -> Result<Vec<Timestamp>, StorageFault> {
    let times = snapshot
        .open_table(tables::DECLINES)?
        .get(user.uuid().as_u128())?
        .map(|times| times.value())
        .unwrap_or_default();
    Ok(times.into_iter().map(Timestamp).collect())
}

pub(super) fn charges_open(
    snapshot: &ReadTransaction,
    cutoff: Timestamp,
    after: Option<ChargeId>,
    limit: usize,
) -> Result<Vec<Charge>, StorageFault> {
    let after = after.map_or(Unbounded, |after| Excluded(after.uuid().as_u128()));
    let charges = snapshot.open_table(tables::CHARGES)?;
    let mut found = Vec::new();
    for entry in snapshot.open_table(tables::CHARGES_OPEN)?.range::<u128>((after, Unbounded))? {
        if found.len() >= limit {
            break;
        }
        let (id, updated_at) = entry?;
        if updated_at.value() <= cutoff.0 {
            found.extend(get::<Charge>(&charges, id.value())?);
        }
    }
    Ok(found)
}

pub(super) fn user_by_email(
    snapshot: &ReadTransaction,
    email: &str,
) -> Result<Option<User>, StorageFault> {
    let Some(id) = snapshot.open_table(tables::EMAILS)?.get(email)?.map(|id| id.value()) else {
        return Ok(None);
    };
    document(snapshot, tables::USERS, id)
}

pub(super) fn session(
    snapshot: &ReadTransaction,
    digest: &str,
) -> Result<Option<Session>, StorageFault> {
    snapshot
        .open_table(tables::SESSIONS)?
        .get(digest)?
        .map(|bytes| decode(bytes.value()))
        .transpose()
}

pub(super) fn idempotency(
    snapshot: &ReadTransaction,
    user: UserId,
    key: &str,
) -> Result<Option<IdempotencyRecord>, StorageFault> {
    snapshot
        .open_table(tables::IDEMPOTENCY)?
        .get((user.uuid().as_u128(), key))?
        .map(|bytes| decode(bytes.value()))
        .transpose()
}

pub(super) fn delivery(
    snapshot: &ReadTransaction,
    event: &str,
) -> Result<Option<Delivery>, StorageFault> {
    snapshot
        .open_table(tables::DELIVERIES)?
        .get(event)?
        .map(|bytes| decode(bytes.value()))
        .transpose()
}

pub(super) fn secret(
    snapshot: &ReadTransaction,
    name: &str,
) -> Result<Option<[u8; 32]>, StorageFault> {
    Ok(snapshot.open_table(tables::SECRETS)?.get(name)?.map(|secret| *secret.value()))
}

pub(super) fn dump(
    snapshot: &ReadTransaction,
) -> Result<(Snapshot, Vec<DomainEvent>), StorageFault> {
    let mut slots = Vec::new();
    for entry in snapshot.open_table(tables::SLOTS)?.iter()? {
        let (user, order) = entry?.0.value();
        slots.push((
            UserId::new(uuid::Uuid::from_u128(user)),
            OrderId::new(uuid::Uuid::from_u128(order)),
        ));
    }
    let mut events = Vec::new();
    for entry in snapshot.open_table(tables::EVENTS)?.iter()? {
        events.push(decode::<StoredEvent>(entry?.1.value())?.event);
    }
    let documents = Snapshot {
        tickets: all(snapshot, tables::TICKETS)?,
        orders: all(snapshot, tables::ORDERS)?,
        charges: all(snapshot, tables::CHARGES)?,
        slots,
        // The store does not contain the processor's ledger.
        payments: Vec::new(),
    };
    Ok((documents, events))
}

fn all<D: Document>(snapshot: &ReadTransaction, table: Documents) -> Result<Vec<D>, StorageFault> {
    snapshot.open_table(table)?.iter()?.map(|entry| decode(entry?.1.value())).collect()
}

fn ticket_id(id: u128) -> TicketId {
    TicketId::new(uuid::Uuid::from_u128(id))
}
