//! The orders that tickets are listed in, and what finds them: by id, by price, by seller and by word.
//!
//! Tickets on sale (Available or Locked) and sold ones are kept apart, so that what is on sale is found at once however
//! much was sold; and a lock, which changes nothing that is indexed, costs no index anything.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    hash::Hash,
    ops::Bound,
};

use uuid::Uuid;

use super::{Position, sorted::Sorted, words::words};
use crate::{
    domain::{Money, Ticket, TicketId, TicketStatus, UserId, Version},
    store::feed::FeedLimits,
};

/// Everything that a change of a ticket may have to move.
#[derive(Debug, Default)]
pub(super) struct Indexes {
    on_sale: Class,
    sold: Class,
    pub(super) tombstones: Tombstones,
}

/// Tickets that are asked for together.
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

/// Whether all indexes hold `new` already because they hold `old`.
pub(super) fn same_place(old: &Ticket, new: &Ticket) -> bool {
    let class = |ticket: &Ticket| ticket.status().map(ClassName::of);
    class(old) == class(new) && old.price == new.price && old.seller == new.seller && old.title == new.title
}

impl Indexes {
    pub(super) fn class(&self, name: ClassName) -> &Class {
        match name {
            ClassName::OnSale => &self.on_sale,
            ClassName::Sold => &self.sold,
        }
    }

    /// Does nothing for a deleted ticket.
    pub(super) fn insert(&mut self, ticket: &Ticket) {
        if let Some(class) = self.class_of(ticket) {
            class.insert(ticket);
        }
    }

    /// Takes out a ticket that was inserted in exactly this state, but for its lock.
    pub(super) fn remove(&mut self, ticket: &Ticket) {
        if let Some(class) = self.class_of(ticket) {
            class.remove(ticket);
        }
    }

    fn class_of(&mut self, ticket: &Ticket) -> Option<&mut Class> {
        ticket.status().map(|status| match ClassName::of(status) {
            ClassName::OnSale => &mut self.on_sale,
            ClassName::Sold => &mut self.sold,
        })
    }
}

/// The indexes of one class of tickets.
#[derive(Debug, Default)]
pub(super) struct Class {
    pub(super) by_id: Sorted<TicketId>,
    by_price: Sorted<(Money, TicketId)>,
    by_seller: HashMap<UserId, Sorted<TicketId>>,
    by_word: HashMap<Box<str>, Sorted<TicketId>>,
}

/// The least and the greatest that an id can be.
const ID_MIN: TicketId = TicketId::new(Uuid::nil());
const ID_MAX: TicketId = TicketId::new(Uuid::max());

impl Class {
    pub(super) fn seller(&self, seller: UserId) -> Option<&Sorted<TicketId>> {
        self.by_seller.get(&seller)
    }

    pub(super) fn word(&self, word: &str) -> Option<&Sorted<TicketId>> {
        self.by_word.get(word)
    }

    /// How many tickets cost `min` to `max`.
    pub(super) fn priced_between(&self, min: Money, max: Money) -> usize {
        let upto = self.by_price.rank(&(max, ID_MAX));
        upto.saturating_sub(self.by_price.rank(&(min, ID_MIN)))
    }

    /// Cheapest first, then newest; beyond `after`, from `min` to `max`.
    pub(super) fn cheapest(&self, after: Option<Position>, min: Money, max: Money) -> impl Iterator<Item = Position> + '_ {
        let begun = after.filter(|after| after.price >= min);
        let rest_of_price = begun.into_iter().flat_map(|after| self.of_price(after.price, Bound::Excluded((after.price, after.id))));
        let from = begun.map_or(Bound::Included((min, ID_MIN)), |after| Bound::Excluded((after.price, ID_MAX)));
        let next_price = |from| self.by_price.up(from).next().map(|(price, _)| price);
        let prices = std::iter::successors(next_price(from), move |price| next_price(Bound::Excluded((*price, ID_MAX))));
        rest_of_price
            .chain(prices.flat_map(|price| self.of_price(price, Bound::Included((price, ID_MAX)))))
            .take_while(move |place| place.price <= max)
    }

    /// Dearest first, then newest; beyond `after`, from `max` down to `min`.
    pub(super) fn dearest(&self, after: Option<Position>, min: Money, max: Money) -> impl Iterator<Item = Position> + '_ {
        let from = match after {
            Some(after) if after.price <= max => Bound::Excluded((after.price, after.id)),
            _ => Bound::Included((max, ID_MAX)),
        };
        self.by_price.down(from).map(|(price, id)| Position { price, id }).take_while(move |place| place.price >= min)
    }

    fn of_price(&self, price: Money, from: Bound<(Money, TicketId)>) -> impl Iterator<Item = Position> + '_ {
        self.by_price.down(from).take_while(move |(other, _)| *other == price).map(|(price, id)| Position { price, id })
    }

    fn insert(&mut self, ticket: &Ticket) {
        self.by_id.insert(ticket.id);
        self.by_price.insert((ticket.price, ticket.id));
        self.by_seller.entry(ticket.seller).or_default().insert(ticket.id);
        for word in words(ticket.title.as_str()) {
            self.by_word.entry(word.into_boxed_str()).or_default().insert(ticket.id);
        }
    }

    fn remove(&mut self, ticket: &Ticket) {
        self.by_id.remove(&ticket.id);
        self.by_price.remove(&(ticket.price, ticket.id));
        remove_from(&mut self.by_seller, ticket.seller, ticket.id);
        for word in words(ticket.title.as_str()) {
            remove_from(&mut self.by_word, word.into_boxed_str(), ticket.id);
        }
    }
}

fn remove_from<K: Hash + Eq>(sets: &mut HashMap<K, Sorted<TicketId>>, key: K, id: TicketId) {
    if let Entry::Occupied(mut set) = sets.entry(key) {
        set.get_mut().remove(&id);
        if set.get().is_empty() {
            set.remove();
        }
    }
}

/// The versions at which tickets were deleted, so that a late event revives none of them.
///
/// As many as the feed's ring holds events: whoever reads the feed so late that this many deletions came after the one
/// in question is told to start anew instead of getting the event.
#[derive(Debug, Default)]
pub(super) struct Tombstones {
    versions: HashMap<TicketId, Version>,
    oldest_first: VecDeque<TicketId>,
}

impl Tombstones {
    pub(super) const COUNT_MAX: usize = FeedLimits::EVENTS_MAX;

    /// Whether a ticket of this version is known to be deleted.
    pub(super) fn cover(&self, id: TicketId, version: Version) -> bool {
        self.versions.get(&id).is_some_and(|deleted| version <= *deleted)
    }

    pub(super) fn bury(&mut self, id: TicketId, version: Version) {
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
    use super::*;

    #[test]
    fn tombstones_are_bounded_and_the_oldest_give_way() {
        let mut tombstones = Tombstones::default();
        let id = |number: usize| TicketId::new(Uuid::from_u128(number as u128));
        for number in 0..Tombstones::COUNT_MAX + 3 {
            tombstones.bury(id(number), 5);
            tombstones.bury(id(number), 4);
        }
        assert_eq!((tombstones.versions.len(), tombstones.oldest_first.len()), (Tombstones::COUNT_MAX, Tombstones::COUNT_MAX));
        assert!(!tombstones.cover(id(2), 5));
        assert!(tombstones.cover(id(3), 5) && !tombstones.cover(id(3), 6));
    }
}
