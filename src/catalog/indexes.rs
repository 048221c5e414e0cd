//! The indexes of tickets: by id, by price, by seller and by word.
//!
//! Tickets on sale (Available or Locked) and sold tickets have separate indexes, so that a search
//! for tickets on sale does not depend on the number of sold ones. A lock changes no index.

use std::{
    collections::{BTreeMap, HashMap, VecDeque, hash_map::Entry},
    ops::Bound,
};

use super::{
    Position,
    postings::{Postings, newest},
    rows::{Rows, Slot},
    sorted::{KeyPosition, Sorted},
    words::{SearchWords, words_of},
};
use crate::{
    domain::{Money, Ticket, TicketId, TicketStatus, UserId, Version},
    store::feed::FeedLimits,
};

/// All indexes, their rows and the tombstones.
#[derive(Debug, Default)]
pub(super) struct Indexes {
    pub(super) rows: Rows,
    on_sale: Class,
    sold: Class,
    pub(super) tombstones: Tombstones,
}

/// The two classes of tickets, with separate indexes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClassName {
    OnSale,
    Sold,
}

impl ClassName {
    pub(super) fn of(status: TicketStatus) -> Self {
        match status {
            TicketStatus::Available | TicketStatus::Locked => Self::OnSale,
            TicketStatus::Sold => Self::Sold,
        }
    }
}

/// Everything that the index entries of a ticket are made of.
///
/// [`Indexes`] gets nothing else of a ticket. So a ticket whose key has not changed needs no change
/// of the indexes, and a field that is not in the key cannot be indexed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct IndexKey<'a> {
    id: TicketId,
    class: ClassName,
    seller: UserId,
    price: Money,
    title: &'a str,
}

impl<'a> IndexKey<'a> {
    /// Returns the key of a ticket, or `None` if it is deleted.
    pub(super) fn of(ticket: &'a Ticket) -> Option<Self> {
        Some(Self {
            id: ticket.id,
            class: ClassName::of(ticket.status()?),
            seller: ticket.seller,
            price: ticket.details.price,
            title: ticket.details.title.as_str(),
        })
    }

    /// Returns the words that a search finds.
    pub(super) fn words(&self) -> SearchWords {
        SearchWords::of(self.title)
    }
}

impl Indexes {
    pub(super) fn class(&self, name: ClassName) -> &Class {
        match name {
            ClassName::OnSale => &self.on_sale,
            ClassName::Sold => &self.sold,
        }
    }

    /// Adds a ticket; `words` are those of its key.
    pub(super) fn insert(&mut self, key: &IndexKey<'_>, words: &SearchWords) {
        let slot = self.rows.insert(key.id, key.price, words);
        let (rows, class) = self.class_mut(key.class);
        class.insert(rows, slot, key.seller);
    }

    /// Removes a ticket that was inserted with this key.
    pub(super) fn remove(&mut self, key: &IndexKey<'_>) {
        let (rows, class) = self.class_mut(key.class);
        let slot = class.remove(rows, key);
        self.rows.remove(slot);
    }

    fn class_mut(&mut self, name: ClassName) -> (&Rows, &mut Class) {
        match name {
            ClassName::OnSale => (&self.rows, &mut self.on_sale),
            ClassName::Sold => (&self.rows, &mut self.sold),
        }
    }
}

/// The indexes of one class of tickets.
#[derive(Debug, Default)]
pub(super) struct Class {
    by_id: Sorted<Slot>,
    /// By price, then by id. The price is stored here too, since prices are compared more often
    /// than ids.
    by_price: Sorted<(Money, Slot)>,
    by_seller: HashMap<UserId, Postings>,
    by_word: BTreeMap<Box<str>, Postings>,
}

impl Class {
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(super) fn seller(&self, seller: UserId) -> Option<&Postings> {
        self.by_seller.get(&seller)
    }

    /// Returns the tickets of each word that begins with `beginning`.
    pub(super) fn words(&self, beginning: &str) -> impl Iterator<Item = &Postings> {
        let from = (Bound::Included(beginning), Bound::Unbounded);
        self.by_word
            .range::<str, _>(from)
            .take_while(move |(word, _)| word.starts_with(beginning))
            .map(|(_, postings)| postings)
    }

    /// Returns the number of tickets with a price from `min` to `max`.
    pub(super) fn priced_between(&self, min: Money, max: Money) -> usize {
        let upto = self.by_price.rank(self.by_price.position(|(price, _)| *price <= max));
        upto.saturating_sub(self.by_price.rank(self.price_from(min)))
    }

    /// Returns the tickets with a price from `min` to `max`, in no particular order.
    pub(super) fn priced(&self, min: Money, max: Money) -> impl Iterator<Item = Slot> {
        self.by_price
            .up(self.price_from(min))
            .take_while(move |(price, _)| *price <= max)
            .map(|(_, slot)| slot)
    }

    /// Returns the tickets with ids greater than `after`, oldest first.
    pub(super) fn oldest(
        &self,
        rows: &Rows,
        after: Option<TicketId>,
    ) -> impl Iterator<Item = Slot> {
        self.by_id.up(after.map_or(KeyPosition::START, |after| {
            self.by_id.position(|slot| rows.id(*slot) <= after)
        }))
    }

    /// Returns the tickets with ids less than `after`, newest first.
    pub(super) fn newest<'a>(
        &'a self,
        rows: &Rows,
        after: Option<TicketId>,
    ) -> impl Iterator<Item = Slot> + use<'a> {
        newest(&self.by_id, rows, after)
    }

    /// Returns the tickets after `after` with a price from `min` to `max`, cheapest first, then
    /// newest.
    pub(super) fn cheapest(
        &self,
        rows: &Rows,
        after: Option<Position>,
        min: Money,
        max: Money,
    ) -> impl Iterator<Item = Slot> {
        // The keys of one price are from `start` to `end`. They are read backwards from `next`,
        // then the next price follows.
        let (mut start, mut next, mut end) = match after.filter(|after| after.price >= min) {
            Some(after) => {
                let start = self.price_from(after.price);
                let end = self.by_price.position_from(start, |(price, _)| *price <= after.price);
                (start, self.price_position(rows, after.price, after.id), end)
            }
            None => (self.price_from(min), self.price_from(min), self.price_from(min)),
        };
        std::iter::from_fn(move || {
            if next == start {
                let (price, _) = self.by_price.get(end)?;
                start = end;
                end = self.by_price.position_from(start, |(other, _)| *other <= price);
                next = end;
            }
            next = self.by_price.previous(next)?;
            self.by_price.get(next)
        })
        .take_while(move |(price, _)| *price <= max)
        .map(|(_, slot)| slot)
    }

    /// Returns the tickets after `after` with a price from `max` down to `min`, most expensive
    /// first, then newest.
    pub(super) fn most_expensive(
        &self,
        rows: &Rows,
        after: Option<Position>,
        min: Money,
        max: Money,
    ) -> impl Iterator<Item = Slot> {
        let from = match after {
            Some(after) if after.price <= max => self.price_position(rows, after.price, after.id),
            _ => self.by_price.position(|(price, _)| *price <= max),
        };
        self.by_price.down(from).take_while(move |(price, _)| *price >= min).map(|(_, slot)| slot)
    }

    fn price_from(&self, min: Money) -> KeyPosition {
        self.by_price.position(|(price, _)| *price < min)
    }

    fn price_position(&self, rows: &Rows, price: Money, id: TicketId) -> KeyPosition {
        self.by_price
            .position(|(other, slot)| *other < price || (*other == price && rows.id(*slot) < id))
    }

    fn insert(&mut self, rows: &Rows, slot: Slot, seller: UserId) {
        let row = rows.row(slot);
        self.by_id.insert(self.by_id.position(|other| rows.id(*other) < row.id), slot);
        self.by_price.insert(self.price_position(rows, row.price, row.id), (row.price, slot));
        match self.by_seller.entry(seller) {
            Entry::Occupied(mut postings) => postings.get_mut().insert(rows, slot),
            Entry::Vacant(vacant) => {
                vacant.insert(Postings::One(slot));
            }
        }
        for word in words_of(rows.text(slot)) {
            match self.by_word.get_mut(word) {
                Some(postings) => postings.insert(rows, slot),
                None => {
                    self.by_word.insert(word.into(), Postings::One(slot));
                }
            }
        }
    }

    /// Removes a ticket, and returns the row that it had.
    fn remove(&mut self, rows: &Rows, ticket: &IndexKey<'_>) -> Slot {
        let slot = self.by_id.remove(self.by_id.position(|other| rows.id(*other) < ticket.id));
        debug_assert_eq!(rows.id(slot), ticket.id, "the ticket was not in the index");
        self.by_price.remove(self.price_position(rows, ticket.price, ticket.id));
        if let Entry::Occupied(mut postings) = self.by_seller.entry(ticket.seller)
            && postings.get_mut().remove(rows, slot)
        {
            postings.remove();
        }
        for word in words_of(rows.text(slot)) {
            if self.by_word.get_mut(word).is_some_and(|postings| postings.remove(rows, slot)) {
                self.by_word.remove(word);
            }
        }
        slot
    }
}

/// The versions with which tickets were deleted, so that a late event does not add a deleted ticket
/// again.
///
/// There are at most as many tombstones as the feed's ring holds events. A reader that is behind by
/// more deletions than that gets a reset instead of the late event.
#[derive(Debug, Default)]
pub(super) struct Tombstones {
    versions: HashMap<TicketId, Version>,
    oldest_first: VecDeque<TicketId>,
}

impl Tombstones {
    pub(super) const COUNT_MAX: usize = FeedLimits::EVENTS_MAX;

    /// Returns whether the ticket was deleted with this version or a newer one.
    pub(super) fn covers(&self, id: TicketId, version: Version) -> bool {
        self.versions.get(&id).is_some_and(|deleted| version <= *deleted)
    }

    pub(super) fn insert(&mut self, id: TicketId, version: Version) {
        match self.versions.entry(id) {
            Entry::Occupied(mut known) => {
                let newest = version.max(*known.get());
                known.insert(newest);
            }
            Entry::Vacant(vacant) => {
                vacant.insert(version);
                self.oldest_first.push_back(id);
            }
        }
        if self.oldest_first.len() > Self::COUNT_MAX
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.versions.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn oldest_tombstone_is_removed_beyond_the_maximum() {
        let mut tombstones = Tombstones::default();
        let id = |number: usize| TicketId::new(Uuid::from_u128(number as u128));
        for number in 0..Tombstones::COUNT_MAX + 3 {
            tombstones.insert(id(number), 5);
            tombstones.insert(id(number), 4);
        }
        assert_eq!(
            (tombstones.versions.len(), tombstones.oldest_first.len()),
            (Tombstones::COUNT_MAX, Tombstones::COUNT_MAX)
        );
        assert!(!tombstones.covers(id(2), 5));
        assert!(tombstones.covers(id(3), 5) && !tombstones.covers(id(3), 6));
    }
}
