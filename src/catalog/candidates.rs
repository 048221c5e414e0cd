//! The candidates of a search in the requested order: merged from lists in that order, or sorted.

use std::{
    cmp::{Ordering, Reverse},
    collections::{BinaryHeap, binary_heap::PeekMut},
    fmt,
};

use super::{
    Sort,
    rows::{Row, Rows, Slot},
};
use crate::domain::{Money, TicketId};

/// The sort key of a ticket; the least key comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SortKey {
    price: u32,
    newest_first: Reverse<TicketId>,
}

impl SortKey {
    pub(super) fn of(sort: Sort, price: Money, id: TicketId) -> Self {
        let price = match sort {
            Sort::Newest => 0,
            Sort::Price => price.minor(),
            Sort::PriceDescending => u32::MAX - price.minor(),
        };
        Self { price, newest_first: Reverse(id) }
    }

    fn of_row(sort: Sort, row: &Row) -> Self {
        Self::of(sort, row.price, row.id)
    }
}

/// An iterator over the candidates. A row that is in two lists is returned twice, consecutively.
pub(super) enum Candidates<'a> {
    Merged { rows: &'a Rows, sort: Sort, lists: BinaryHeap<SortedList<'a>> },
    Sorted(BinaryHeap<Reverse<(SortKey, Slot)>>),
}

/// A list in the requested order. Its first row is stored separately.
pub(super) struct SortedList<'a> {
    first: (SortKey, Slot),
    rest: Box<dyn Iterator<Item = Slot> + 'a>,
}

impl<'a> Candidates<'a> {
    /// Merges lists that each have the order of `sort`.
    pub(super) fn merged(
        rows: &'a Rows,
        sort: Sort,
        lists: impl Iterator<Item = Box<dyn Iterator<Item = Slot> + 'a>>,
    ) -> Self {
        let begun = lists.filter_map(|mut rest| {
            let slot = rest.next()?;
            Some(SortedList { first: (SortKey::of_row(sort, rows.row(slot)), slot), rest })
        });
        Self::Merged { rows, sort, lists: begun.collect() }
    }

    /// Sorts the rows for which `wanted` holds.
    pub(super) fn sorted(
        rows: &Rows,
        sort: Sort,
        slots: impl Iterator<Item = Slot>,
        wanted: impl Fn(SortKey, &Row) -> bool,
    ) -> Self {
        let keyed = slots.filter_map(|slot| {
            let row = rows.row(slot);
            let key = SortKey::of_row(sort, row);
            wanted(key, row).then_some(Reverse((key, slot)))
        });
        Self::Sorted(keyed.collect::<Vec<_>>().into())
    }

    /// Returns the approximate number of comparisons for the next row.
    pub(super) fn depth(&self) -> usize {
        let len = match self {
            Self::Merged { lists, .. } => lists.len(),
            Self::Sorted(rows) => rows.len(),
        };
        len.checked_ilog2().map_or(0, |depth| depth as usize)
    }

    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Merged { lists, .. } => lists.is_empty(),
            Self::Sorted(rows) => rows.is_empty(),
        }
    }
}

impl Iterator for Candidates<'_> {
    type Item = Slot;

    fn next(&mut self) -> Option<Slot> {
        match self {
            Self::Sorted(rows) => rows.pop().map(|Reverse((_, slot))| slot),
            Self::Merged { rows, sort, lists } => {
                let mut list = lists.peek_mut()?;
                let (_, slot) = list.first;
                match list.rest.next() {
                    Some(next) => list.first = (SortKey::of_row(*sort, rows.row(next)), next),
                    None => drop(PeekMut::pop(list)),
                }
                Some(slot)
            }
        }
    }
}

/// The order is reversed: the greatest list of the heap has the row that comes first.
impl Ord for SortedList<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        other.first.cmp(&self.first)
    }
}

impl PartialOrd for SortedList<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for SortedList<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.first == other.first
    }
}

impl Eq for SortedList<'_> {}

impl fmt::Debug for Candidates<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Candidates").field("depth", &self.depth()).finish_non_exhaustive()
    }
}
