//! The changes that a seller makes: list, edit, delist.

use super::{Decision, VersionCondition};
use crate::{
    Currency, Refusal, Sale, Ticket, TicketDetails, TicketId, TicketState, Timestamp, UserId,
};

pub(super) fn list(
    id: TicketId,
    seller: UserId,
    details: TicketDetails,
    now: Timestamp,
) -> Decision {
    let ticket = Ticket {
        id,
        seller,
        details,
        currency: Currency::default(),
        state: TicketState::Available,
        version: 0,
        details_version: 0,
        created_at: now,
        updated_at: now,
        lapses: Vec::new(),
    };
    Decision { ticket: Some(ticket), ..Decision::default() }
}

pub(super) fn edit(
    sale: &Sale,
    by: UserId,
    details: &TicketDetails,
    if_match: VersionCondition,
    now: Timestamp,
) -> Result<Decision, Refusal> {
    check_editable(&sale.ticket, by, if_match)?;
    let next = sale.ticket.next(now);
    let details_version = match details.describes_same_ticket_as(&next.details) {
        true => next.details_version,
        false => next.version,
    };
    let ticket = Ticket { details: details.clone(), details_version, ..next };
    Ok(Decision { ticket: Some(ticket), ..Decision::default() })
}

pub(super) fn delist(
    sale: &Sale,
    by: UserId,
    if_match: VersionCondition,
    now: Timestamp,
) -> Result<Decision, Refusal> {
    check_editable(&sale.ticket, by, if_match)?;
    let ticket =
        Ticket { state: TicketState::Deleted, lapses: Vec::new(), ..sale.ticket.next(now) };
    Ok(Decision { ticket: Some(ticket), ..Decision::default() })
}

/// Checks that `by` is the seller, that the ticket has the version of `if_match`, and that no order
/// holds it.
fn check_editable(ticket: &Ticket, by: UserId, if_match: VersionCondition) -> Result<(), Refusal> {
    if ticket.seller != by {
        return Err(Refusal::NotOwner);
    }
    if !if_match.holds_for(ticket.version) {
        return Err(Refusal::VersionMismatch);
    }
    match ticket.state {
        TicketState::Available => Ok(()),
        TicketState::Locked { .. } => Err(Refusal::TicketLocked),
        TicketState::Sold { .. } => Err(Refusal::TicketSold),
        TicketState::Deleted => Err(Refusal::NotFound),
    }
}
