//! The tickets of one seller or of one word, in the order of their ids.

use super::{
    rows::{Rows, Slot},
    sorted::{KeyPosition, Sorted},
};
use crate::domain::TicketId;

/// A list of tickets. Most words and sellers have one ticket, which needs no allocation.
#[derive(Debug)]
pub(super) enum Postings {
    One(Slot),
    Many(Box<Sorted<Slot>>),
}

impl Postings {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Many(slots) => slots.len(),
        }
    }

    /// Adds a slot. Its row must exist, and the list must not contain the slot.
    pub(super) fn insert(&mut self, rows: &Rows, slot: Slot) {
        let id = rows.id(slot);
        let position = |slots: &Sorted<Slot>| slots.position(|other| rows.id(*other) < id);
        match self {
            Self::Many(slots) => slots.insert(position(slots), slot),
            Self::One(only) => {
                let mut slots = Sorted::default();
                slots.insert(slots.end(), *only);
                slots.insert(position(&slots), slot);
                *self = Self::Many(Box::new(slots));
            }
        }
    }

    /// Removes a slot that the list contains. Returns `true` if it was the only one; then the
    /// caller must drop the list.
    pub(super) fn remove(&mut self, rows: &Rows, slot: Slot) -> bool {
        let Self::Many(slots) = self else { return true };
        let id = rows.id(slot);
        let removed = slots.remove(slots.position(|other| rows.id(*other) < id));
        debug_assert_eq!(removed, slot, "the order of ids was broken");
        let only = slots.get(KeyPosition::START).filter(|_| slots.len() == 1);
        if let Some(only) = only {
            *self = Self::One(only);
        }
        false
    }

    /// Returns the slots with ids less than `after`, newest first.
    pub(super) fn newest<'a>(
        &'a self,
        rows: &'a Rows,
        after: Option<TicketId>,
    ) -> Box<dyn Iterator<Item = Slot> + 'a> {
        match self {
            Self::One(only) => Box::new(
                std::iter::once(*only)
                    .filter(move |slot| after.is_none_or(|after| rows.id(*slot) < after)),
            ),
            Self::Many(slots) => Box::new(newest(slots, rows, after)),
        }
    }

    /// Calls `visit` for each slot, in no particular order.
    pub(super) fn for_each(&self, visit: impl FnMut(Slot)) {
        match self {
            Self::One(only) => std::iter::once(*only).for_each(visit),
            Self::Many(slots) => slots.down(slots.end()).for_each(visit),
        }
    }
}

/// Returns the slots with ids less than `after`, newest first. `slots` must be in the order of
/// their ids.
pub(super) fn newest<'a>(
    slots: &'a Sorted<Slot>,
    rows: &Rows,
    after: Option<TicketId>,
) -> impl Iterator<Item = Slot> + use<'a> {
    slots.down(after.map_or(slots.end(), |after| slots.position(|slot| rows.id(*slot) < after)))
}
