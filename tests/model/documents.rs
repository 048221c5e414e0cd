//! The store of the model: documents with versions, which are changed only by whole commits. It
//! checks the same conditions as `store::commit`, over the same `Commit`.

use std::sync::Arc;

use gittix::{
    domain::{Decision, DomainEvent, SlotChange, Timestamp, invariants::Snapshot},
    store::{Commit, CommitError, Write},
};

/// The conditions of a commit that are checked. A negative control turns one off.
#[derive(Debug, Clone, Copy)]
pub struct Guards {
    pub versions: bool,
    pub slots: bool,
}

/// Writes the whole commit, or nothing.
pub fn commit(
    world: &mut Arc<Snapshot>,
    commit: Commit,
    guards: Guards,
) -> Result<(), CommitError> {
    for write in &commit.writes {
        check(world, write, guards)?;
    }
    let world = Arc::make_mut(world);
    for write in commit.writes {
        put(world, write);
    }
    Ok(())
}

fn check(world: &Snapshot, write: &Write, guards: Guards) -> Result<(), CommitError> {
    let (old, new) = match write {
        Write::Ticket(new) => {
            (world.tickets.iter().find(|old| old.id == new.id).map(|old| old.version), new.version)
        }
        Write::Order(new) => {
            (world.orders.iter().find(|old| old.id == new.id).map(|old| old.version), new.version)
        }
        Write::Charge(new) => {
            (world.charges.iter().find(|old| old.id == new.id).map(|old| old.version), new.version)
        }
        Write::Slot(SlotChange::Take { user, locks_max, .. }) => {
            let held = world.slots.iter().filter(|(holder, _)| holder == user).count();
            let full = held >= usize::try_from(*locks_max).expect("the limit is small");
            return if guards.slots && full { Err(CommitError::SlotsFull) } else { Ok(()) };
        }
        Write::Slot(SlotChange::Free { .. }) => return Ok(()),
        Write::Decline { .. } => return Ok(()),
        other => unreachable!("no sale writes {other:?}"),
    };
    let fits = old.map_or(new == 0, |old| new == old + 1);
    if fits || !guards.versions { Ok(()) } else { Err(CommitError::Stale) }
}

fn put(world: &mut Snapshot, write: Write) {
    fn replace<T>(documents: &mut Vec<T>, new: T, same: impl Fn(&T) -> bool) {
        match documents.iter_mut().find(|old| same(old)) {
            Some(old) => *old = new,
            None => documents.push(new),
        }
    }
    match write {
        Write::Ticket(new) => {
            let id = new.id;
            replace(&mut world.tickets, new, |old| old.id == id);
        }
        Write::Order(new) => {
            let id = new.id;
            replace(&mut world.orders, new, |old| old.id == id);
        }
        Write::Charge(new) => {
            let id = new.id;
            replace(&mut world.charges, new, |old| old.id == id);
        }
        Write::Slot(SlotChange::Take { user, order, .. }) => world.slots.push((user, order)),
        Write::Slot(SlotChange::Free { user, order }) => {
            world.slots.retain(|slot| *slot != (user, order))
        }
        Write::Decline { .. } => {}
        other => unreachable!("no sale writes {other:?}"),
    }
}

/// Removes data that no rule reads within the model's bounds, so that states which differ only in
/// this data are equal: the times of the last changes, the abandoned locks and the declines. The
/// model has too few orders for the wait between locks, and too few charges for the limit of
/// declines; the property tests cover both.
pub fn without_history(mut decision: Decision) -> Decision {
    const NEVER: Timestamp = Timestamp(0);
    if let Some(ticket) = &mut decision.ticket {
        (ticket.created_at, ticket.updated_at) = (NEVER, NEVER);
        ticket.lapses.clear();
    }
    if let Some(order) = &mut decision.order {
        (order.created_at, order.updated_at) = (NEVER, NEVER);
        order.declines = 0;
    }
    for charge in &mut decision.charges {
        (charge.created_at, charge.updated_at) = (NEVER, NEVER);
    }
    decision.events = Vec::<DomainEvent>::new();
    decision
}
