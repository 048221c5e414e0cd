//! The store of the model: documents behind versions, changed by whole commits only. The same guards as `store::commit`
//! promises, over the same `Commit`.

use std::sync::Arc;

use gittix::{
    domain::{Decision, Event, SlotChange, Timestamp, invariants::Snapshot},
    store::{Commit, CommitError, Write},
};

/// Which of a commit's conditions are in force. A negative control takes one out.
#[derive(Debug, Clone, Copy)]
pub struct Guards {
    pub versions: bool,
    pub slots: bool,
}

/// Writes all of `commit`, or nothing.
pub fn commit(world: &mut Arc<Snapshot>, commit: Commit, guards: Guards) -> Result<(), CommitError> {
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
        Write::Ticket(new) => (world.tickets.iter().find(|old| old.id == new.id).map(|old| old.version), new.version),
        Write::Order(new) => (world.orders.iter().find(|old| old.id == new.id).map(|old| old.version), new.version),
        Write::Charge(new) => (world.charges.iter().find(|old| old.id == new.id).map(|old| old.version), new.version),
        Write::Slot(SlotChange::Take { user, locks_max, .. }) => {
            let held = world.slots.iter().filter(|(holder, _)| holder == user).count();
            let full = held >= usize::try_from(*locks_max).expect("a small limit");
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
        Write::Slot(SlotChange::Free { user, order }) => world.slots.retain(|slot| *slot != (user, order)),
        Write::Decline { .. } => {}
        other => unreachable!("no sale writes {other:?}"),
    }
}

/// Takes out what no rule within the model's bounds reads, so that states which differ in nothing else are one: when a
/// document was written, the lapses and the declines (the model has too few orders for the wait between locks, and too few
/// charges for the limit of declines; the property tests cover them).
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
    decision.events = Vec::<Event>::new();
    decision
}
