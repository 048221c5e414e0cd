//! The changes that a seller makes: list, edit, delist.

use super::{Decision, Refusal};
use crate::{
    Currency, Event, Money, Sale, Ticket, TicketId, TicketState, Timestamp, Title, UserId, Version,
};

pub(super) fn list(
    id: TicketId,
    seller: UserId,
    title: Title,
    price: Money,
    now: Timestamp,
) -> Decision {
    let ticket = Ticket {
        id,
        seller,
        title,
        price,
        currency: Currency::default(),
        state: TicketState::Available,
        version: 0,
        details_version: 0,
        created_at: now,
        updated_at: now,
        lapses: Vec::new(),
    };
    Decision {
        ticket: Some(ticket.clone()),
        events: vec![Event::TicketCreated { ticket }],
        ..Decision::default()
    }
}

pub(super) fn edit(
    sale: &Sale,
    by: UserId,
    title: &Title,
    price: Money,
    if_match: Option<Version>,
    now: Timestamp,
) -> Result<Decision, Refusal> {
    check_editable(&sale.ticket, by, if_match)?;
    let next = next(&sale.ticket, now);
    let details_version = if *title == next.title { next.details_version } else { next.version };
    let ticket = Ticket { title: title.clone(), price, details_version, ..next };
    Ok(Decision {
        ticket: Some(ticket.clone()),
        events: vec![Event::TicketUpdated { ticket }],
        ..Decision::default()
    })
}

pub(super) fn delist(
    sale: &Sale,
    by: UserId,
    if_match: Option<Version>,
    now: Timestamp,
) -> Result<Decision, Refusal> {
    check_editable(&sale.ticket, by, if_match)?;
    let ticket =
        Ticket { state: TicketState::Deleted, lapses: Vec::new(), ..next(&sale.ticket, now) };
    let event =
        Event::TicketDeleted { ticket: ticket.id, seller: ticket.seller, version: ticket.version };
    Ok(Decision { ticket: Some(ticket), events: vec![event], ..Decision::default() })
}

/// Checks that `by` is the seller, that the ticket has the version of `if_match`, and that no order
/// holds it.
fn check_editable(ticket: &Ticket, by: UserId, if_match: Option<Version>) -> Result<(), Refusal> {
    if ticket.seller != by {
        return Err(Refusal::NotOwner);
    }
    if if_match.is_some_and(|version| version != ticket.version) {
        return Err(Refusal::VersionMismatch);
    }
    match ticket.state {
        TicketState::Available => Ok(()),
        TicketState::Locked { .. } => Err(Refusal::TicketLocked),
        TicketState::Sold { .. } => Err(Refusal::TicketSold),
        TicketState::Deleted => Err(Refusal::NotFound),
    }
}

/// Returns a copy of the ticket with the next version.
pub(super) fn next(ticket: &Ticket, now: Timestamp) -> Ticket {
    Ticket { version: ticket.version + 1, updated_at: now.max(ticket.updated_at), ..ticket.clone() }
}
