//! A sequence of keys in an order that its user knows: dense in memory, quick to walk in either direction from any place.
//!
//! A B-tree of the standard library is two thirds full at best when keys come in ascending order, as ids do; runs are
//! full then, and a key costs little more than its own bytes. The order is given with each call, as a condition that holds
//! for the first keys and not for the others, so that a key may be the number of a row whose id decides.

/// The keys of one run at most. Moving half of a full run is 1 to 2 KiB of memory, some 50 ns.
const RUN_MAX: usize = 512;

/// A run of fewer keys is joined with its neighbour if both fit into one.
const RUN_MIN: usize = RUN_MAX / 4;

/// Keys in ascending order.
#[derive(Debug, Clone)]
pub(super) struct Sorted<K> {
    /// None is empty.
    runs: Vec<Vec<K>>,
    len: usize,
}

/// Where a key is, or the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KeyPosition {
    run: usize,
    offset: usize,
}

impl KeyPosition {
    pub(super) const START: Self = Self { run: 0, offset: 0 };
}

impl<K> Default for Sorted<K> {
    fn default() -> Self {
        Self { runs: Vec::new(), len: 0 }
    }
}

impl<K: Copy> Sorted<K> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn end(&self) -> KeyPosition {
        KeyPosition { run: self.runs.len(), offset: 0 }
    }

    /// The first key for which `before` does not hold. It must hold for all keys in front of that one.
    pub(super) fn place(&self, before: impl Fn(&K) -> bool) -> KeyPosition {
        // Keys mostly come in ascending order.
        match self.runs.last().and_then(|run| run.last()) {
            Some(last) if !before(last) => self.place_from(KeyPosition::START, before),
            _ => self.end(),
        }
    }

    /// The same, where `before` is known to hold for all keys in front of `from`.
    pub(super) fn place_from(&self, from: KeyPosition, before: impl Fn(&K) -> bool) -> KeyPosition {
        let Some(first) = self.runs.get(from.run).map(|run| &run[from.offset..]) else { return self.end() };
        let ends_before = |run: &[K]| run.last().is_some_and(&before);
        if !ends_before(first) {
            return KeyPosition { offset: from.offset + first.partition_point(before), ..from };
        }
        let next = from.run + 1;
        let run = next + self.runs[next..].partition_point(|run| ends_before(run));
        KeyPosition { run, offset: self.runs.get(run).map_or(0, |run| run.partition_point(before)) }
    }

    pub(super) fn get(&self, place: KeyPosition) -> Option<K> {
        self.runs.get(place.run)?.get(place.offset).copied()
    }

    /// The place in front of this one.
    pub(super) fn previous(&self, place: KeyPosition) -> Option<KeyPosition> {
        match (place.offset.checked_sub(1), place.run.checked_sub(1)) {
            (Some(offset), _) => Some(KeyPosition { offset, ..place }),
            (None, Some(run)) => Some(KeyPosition { run, offset: self.runs[run].len() - 1 }),
            (None, None) => None,
        }
    }

    /// How many keys are in front of `place`.
    pub(super) fn rank(&self, place: KeyPosition) -> usize {
        self.runs[..place.run].iter().map(Vec::len).sum::<usize>() + place.offset
    }

    /// From `place` on, ascending.
    pub(super) fn up(&self, from: KeyPosition) -> impl Iterator<Item = K> + '_ {
        let (head, rest) = self.runs[from.run..].split_first().map_or((&[][..], &[][..]), |(run, rest)| (&run[from.offset..], rest));
        head.iter().chain(rest.iter().flatten()).copied()
    }

    /// What is in front of `place`, descending.
    pub(super) fn down(&self, from: KeyPosition) -> impl Iterator<Item = K> + '_ {
        let head = self.runs.get(from.run).map_or(&[][..], |run| &run[..from.offset]);
        head.iter().rev().chain(self.runs[..from.run].iter().rev().flat_map(|run| run.iter().rev())).copied()
    }

    /// Puts `key` in front of what is at `place`.
    pub(super) fn insert(&mut self, place: KeyPosition, key: K) {
        self.len += 1;
        // At the end of a run rather than in front of the next one: what comes in ascending order fills it.
        let at = match place.run.checked_sub(1) {
            Some(run) if place.offset == 0 && (place.run == self.runs.len() || self.runs[run].len() < RUN_MAX) => {
                KeyPosition { run, offset: self.runs[run].len() }
            }
            _ => place,
        };
        match self.runs.get_mut(at.run) {
            Some(run) if run.len() < RUN_MAX => {
                make_room(run, 1);
                run.insert(at.offset, key);
            }
            Some(_) if at.offset < RUN_MAX => self.split_and_insert(at, key),
            _ => {
                make_room(&mut self.runs, 1);
                self.runs.push(vec![key]);
            }
        }
    }

    /// Takes out the key at `place`, where there must be one.
    pub(super) fn remove(&mut self, place: KeyPosition) -> K {
        let run = &mut self.runs[place.run];
        let key = run.remove(place.offset);
        self.len -= 1;
        if run.is_empty() {
            self.runs.remove(place.run);
        } else if run.len() < RUN_MIN {
            self.join(place.run);
        }
        key
    }

    fn split_and_insert(&mut self, at: KeyPosition, key: K) {
        let middle = RUN_MAX / 2;
        let mut upper = self.runs[at.run].split_off(middle);
        let (run, offset) = if at.offset <= middle { (&mut self.runs[at.run], at.offset) } else { (&mut upper, at.offset - middle) };
        make_room(run, 1);
        run.insert(offset, key);
        self.runs[at.run].shrink_to(middle + middle / 4);
        make_room(&mut self.runs, 1);
        self.runs.insert(at.run + 1, upper);
    }

    fn join(&mut self, at: usize) {
        let left = at.saturating_sub(usize::from(at + 1 == self.runs.len()));
        let fits = self.runs.get(left + 1).is_some_and(|right| self.runs[left].len() + right.len() <= RUN_MAX - RUN_MIN);
        if fits {
            let right = self.runs.remove(left + 1);
            make_room(&mut self.runs[left], right.len());
            self.runs[left].extend(right);
        } else {
            self.runs[at].shrink_to(RUN_MIN);
        }
    }
}

/// Grows by a quarter instead of by half as much again as the standard library does: there are thousands of runs.
fn make_room<T>(vec: &mut Vec<T>, more: usize) {
    if vec.capacity() - vec.len() < more {
        vec.reserve_exact(more.max(vec.len() / 4));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn it_is_an_ordered_set(changes in proptest::collection::vec((0u16..4000, 0u8..10), 0..6000), from in 0u16..4001, removed in 0u8..10) {
            let mut sorted = Sorted::default();
            let mut model = BTreeSet::new();
            for (key, action) in changes {
                let place = sorted.place(|other| *other < key);
                prop_assert_eq!(sorted.get(place) == Some(key), model.contains(&key));
                if action < removed {
                    if model.remove(&key) {
                        prop_assert_eq!(sorted.remove(place), key);
                    }
                } else if model.insert(key) {
                    sorted.insert(place, key);
                }
            }
            prop_assert_eq!(sorted.len(), model.len());
            prop_assert!(sorted.runs.iter().all(|run| !run.is_empty() && run.len() <= RUN_MAX));
            let place = sorted.place(|other| *other < from);
            prop_assert!(sorted.up(place).eq(model.range(from..).copied()));
            prop_assert!(sorted.down(place).eq(model.range(..from).rev().copied()));
            prop_assert_eq!(sorted.previous(place).and_then(|place| sorted.get(place)), model.range(..from).next_back().copied());
            for key in (0..4000).step_by(97) {
                let later = sorted.place(|other| *other < key);
                prop_assert_eq!(sorted.rank(later), model.range(..key).count());
                if key >= from {
                    prop_assert_eq!(sorted.place_from(place, |other| *other < key), later);
                }
            }
        }
    }

    #[test]
    fn ascending_keys_fill_their_runs() {
        let mut sorted = Sorted::default();
        for key in 0..100_000u32 {
            sorted.insert(sorted.place(|other| *other < key), key);
        }
        assert_eq!(sorted.runs.len(), 100_000usize.div_ceil(RUN_MAX));
    }
}
