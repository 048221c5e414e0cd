//! A sorted sequence of keys with little memory overhead. It can be walked in both directions from
//! any position.
//!
//! When keys are inserted in ascending order, as ids are, a B-tree of the standard library is at
//! most two thirds full. The runs of this sequence are full then, and a key takes little more than
//! its own bytes. The caller defines the order with each call, by a condition that holds for the
//! first keys only. Therefore a key may be the number of a row that is ordered by the row's id.

/// Maximum number of keys in a run. Moving half of a full run moves 1 to 2 KiB of memory, and takes
/// some 50 ns.
const RUN_MAX: usize = 512;

/// A run of fewer keys is joined with its neighbour if the joined run has at most `RUN_MAX -
/// RUN_MIN` keys.
const RUN_MIN: usize = RUN_MAX / 4;

/// Keys in ascending order.
#[derive(Debug, Clone)]
pub(super) struct Sorted<K> {
    /// The runs, none of which is empty.
    runs: Vec<Vec<K>>,
    len: usize,
}

/// The position of a key, or the end.
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

    /// Returns the position of the first key for which `before` does not hold. `before` must hold
    /// for all earlier keys, and for none of the later ones.
    pub(super) fn position(&self, before: impl Fn(&K) -> bool) -> KeyPosition {
        // Keys are mostly inserted in ascending order, so the end is checked first.
        match self.runs.last().and_then(|run| run.last()) {
            Some(last) if !before(last) => self.position_from(KeyPosition::START, before),
            _ => self.end(),
        }
    }

    /// The same as [`Self::place`], but `before` must hold for all keys in front of `from`.
    pub(super) fn position_from(
        &self,
        from: KeyPosition,
        before: impl Fn(&K) -> bool,
    ) -> KeyPosition {
        let Some(first) = self.runs.get(from.run).map(|run| &run[from.offset..]) else {
            return self.end();
        };
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

    /// Returns the position in front of `place`.
    pub(super) fn previous(&self, place: KeyPosition) -> Option<KeyPosition> {
        match (place.offset.checked_sub(1), place.run.checked_sub(1)) {
            (Some(offset), _) => Some(KeyPosition { offset, ..place }),
            (None, Some(run)) => Some(KeyPosition { run, offset: self.runs[run].len() - 1 }),
            (None, None) => None,
        }
    }

    /// Returns the number of keys in front of `place`.
    pub(super) fn rank(&self, place: KeyPosition) -> usize {
        self.runs[..place.run].iter().map(Vec::len).sum::<usize>() + place.offset
    }

    /// Returns the keys from `from` on, ascending.
    pub(super) fn up(&self, from: KeyPosition) -> impl Iterator<Item = K> + '_ {
        let (head, rest) = self.runs[from.run..]
            .split_first()
            .map_or((&[][..], &[][..]), |(run, rest)| (&run[from.offset..], rest));
        head.iter().chain(rest.iter().flatten()).copied()
    }

    /// Returns the keys in front of `from`, descending.
    pub(super) fn down(&self, from: KeyPosition) -> impl Iterator<Item = K> + '_ {
        let head = self.runs.get(from.run).map_or(&[][..], |run| &run[..from.offset]);
        head.iter()
            .rev()
            .chain(self.runs[..from.run].iter().rev().flat_map(|run| run.iter().rev()))
            .copied()
    }

    /// Inserts `key` in front of the key at `place`.
    pub(super) fn insert(&mut self, place: KeyPosition, key: K) {
        self.len += 1;
        // The key is added to the end of a run instead of the front of the next one, so that
        // ascending keys fill runs.
        let at = match place.run.checked_sub(1) {
            Some(run)
                if place.offset == 0
                    && (place.run == self.runs.len() || self.runs[run].len() < RUN_MAX) =>
            {
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

    /// Removes and returns the key at `place`. The position must not be the end.
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
        let (run, offset) = if at.offset <= middle {
            (&mut self.runs[at.run], at.offset)
        } else {
            (&mut upper, at.offset - middle)
        };
        make_room(run, 1);
        run.insert(offset, key);
        self.runs[at.run].shrink_to(middle + middle / 4);
        make_room(&mut self.runs, 1);
        self.runs.insert(at.run + 1, upper);
    }

    fn join(&mut self, at: usize) {
        let left = at.saturating_sub(usize::from(at + 1 == self.runs.len()));
        let fits = self
            .runs
            .get(left + 1)
            .is_some_and(|right| self.runs[left].len() + right.len() <= RUN_MAX - RUN_MIN);
        if fits {
            let right = self.runs.remove(left + 1);
            make_room(&mut self.runs[left], right.len());
            self.runs[left].extend(right);
        } else {
            self.runs[at].shrink_to(RUN_MIN);
        }
    }
}

/// Grows a vector by a quarter, not to the double as `Vec` does itself, since there are thousands
/// of runs.
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
        fn sorted_keys_match_a_btree_set(changes in proptest::collection::vec((0u16..4000, 0u8..10), 0..6000), from in 0u16..4001, removed in 0u8..10) {
            let mut sorted = Sorted::default();
            let mut model = BTreeSet::new();
            for (key, action) in changes {
                let position = sorted.position(|other| *other < key);
                prop_assert_eq!(sorted.get(position) == Some(key), model.contains(&key));
                if action < removed {
                    if model.remove(&key) {
                        prop_assert_eq!(sorted.remove(position), key);
                    }
                } else if model.insert(key) {
                    sorted.insert(position, key);
                }
            }
            prop_assert_eq!(sorted.len(), model.len());
            prop_assert!(sorted.runs.iter().all(|run| !run.is_empty() && run.len() <= RUN_MAX));
            let position = sorted.position(|other| *other < from);
            prop_assert!(sorted.up(position).eq(model.range(from..).copied()));
            prop_assert!(sorted.down(position).eq(model.range(..from).rev().copied()));
            prop_assert_eq!(sorted.previous(position).and_then(|position| sorted.get(position)), model.range(..from).next_back().copied());
            for key in (0..4000).step_by(97) {
                let later = sorted.position(|other| *other < key);
                prop_assert_eq!(sorted.rank(later), model.range(..key).count());
                if key >= from {
                    prop_assert_eq!(sorted.position_from(position, |other| *other < key), later);
                }
            }
        }
    }

    #[test]
    fn ascending_keys_fill_their_runs() {
        let mut sorted = Sorted::default();
        for key in 0..100_000u32 {
            sorted.insert(sorted.position(|other| *other < key), key);
        }
        assert_eq!(sorted.runs.len(), 100_000usize.div_ceil(RUN_MAX));
    }
}
