//! An ordered set in sorted runs: dense in memory, quick to walk in either direction from any place.
//!
//! A B-tree of the standard library is two thirds full at best when keys come in ascending order, as ids do; runs are
//! full then, and a key costs little more than its own bytes. Knows nothing of tickets.

use std::ops::Bound;

/// The keys of one run at most. Moving half of a full run of ids is 4 KiB of memory, some 100 ns.
const RUN_MAX: usize = 512;

/// A run of fewer keys is joined with its neighbour if both fit into one.
const RUN_MIN: usize = RUN_MAX / 4;

/// A set of keys in ascending order.
#[derive(Debug, Clone)]
pub(super) struct Sorted<K> {
    /// None is empty; the last key of one is less than the first of the next.
    runs: Vec<Vec<K>>,
    len: usize,
}

impl<K> Default for Sorted<K> {
    fn default() -> Self {
        Self { runs: Vec::new(), len: 0 }
    }
}

impl<K: Ord + Copy> Sorted<K> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn contains(&self, key: &K) -> bool {
        self.runs.get(self.run_of(key)).is_some_and(|run| run.binary_search(key).is_ok())
    }

    /// `false` if it was there already.
    pub(super) fn insert(&mut self, key: K) -> bool {
        let at = self.run_of(&key);
        if at == self.runs.len() {
            self.append(key);
            return true;
        }
        let Err(place) = self.runs[at].binary_search(&key) else { return false };
        if self.runs[at].len() < RUN_MAX {
            make_room(&mut self.runs[at], 1);
            self.runs[at].insert(place, key);
        } else {
            self.split_and_insert(at, place, key);
        }
        self.len += 1;
        true
    }

    /// `false` if it was not there.
    pub(super) fn remove(&mut self, key: &K) -> bool {
        let at = self.run_of(key);
        let Some(place) = self.runs.get(at).and_then(|run| run.binary_search(key).ok()) else { return false };
        let run = &mut self.runs[at];
        run.remove(place);
        self.len -= 1;
        if run.is_empty() {
            self.runs.remove(at);
        } else if run.len() < RUN_MIN {
            self.join(at);
        }
        true
    }

    /// How many keys are less than `key`.
    pub(super) fn rank(&self, key: &K) -> usize {
        let at = self.run_of(key);
        let before: usize = self.runs[..at].iter().map(Vec::len).sum();
        before + self.runs.get(at).map_or(0, |run| run.partition_point(|other| other < key))
    }

    /// Ascending from a lower bound.
    pub(super) fn up(&self, from: Bound<K>) -> impl Iterator<Item = K> + '_ {
        let (at, place) = match from {
            Bound::Unbounded => (0, 0),
            Bound::Included(key) => self.place(&key, |other| *other < key),
            Bound::Excluded(key) => self.place(&key, |other| *other <= key),
        };
        let (head, rest) = self.runs[at..].split_first().map_or((&[][..], &[][..]), |(run, rest)| (&run[place..], rest));
        head.iter().chain(rest.iter().flatten()).copied()
    }

    /// Descending from an upper bound.
    pub(super) fn down(&self, from: Bound<K>) -> impl Iterator<Item = K> + '_ {
        let (at, place) = match from {
            Bound::Unbounded => (self.runs.len(), 0),
            Bound::Included(key) => self.place(&key, |other| *other <= key),
            Bound::Excluded(key) => self.place(&key, |other| *other < key),
        };
        let head = self.runs.get(at).map_or(&[][..], |run| &run[..place]);
        head.iter().rev().chain(self.runs[..at].iter().rev().flat_map(|run| run.iter().rev())).copied()
    }

    /// The run that holds `key` or would: the first whose last key is not less.
    fn run_of(&self, key: &K) -> usize {
        match self.runs.last().and_then(|run| run.last()) {
            Some(last) if last < key => self.runs.len(),
            _ => self.runs.partition_point(|run| run.last().is_some_and(|last| last < key)),
        }
    }

    fn place(&self, key: &K, before: impl Fn(&K) -> bool) -> (usize, usize) {
        let at = self.run_of(key);
        (at, self.runs.get(at).map_or(0, |run| run.partition_point(before)))
    }

    fn append(&mut self, key: K) {
        match self.runs.last_mut() {
            Some(run) if run.len() < RUN_MAX => {
                make_room(run, 1);
                run.push(key);
            }
            _ => {
                make_room(&mut self.runs, 1);
                self.runs.push(vec![key]);
            }
        }
        self.len += 1;
    }

    fn split_and_insert(&mut self, at: usize, place: usize, key: K) {
        let middle = RUN_MAX / 2;
        let mut upper = self.runs[at].split_off(middle);
        let (run, place) = if place <= middle { (&mut self.runs[at], place) } else { (&mut upper, place - middle) };
        make_room(run, 1);
        run.insert(place, key);
        self.runs[at].shrink_to(middle + middle / 4);
        make_room(&mut self.runs, 1);
        self.runs.insert(at + 1, upper);
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

    fn bound() -> impl Strategy<Value = Bound<u16>> {
        prop_oneof![Just(Bound::Unbounded), (0u16..4000).prop_map(Bound::Included), (0u16..4000).prop_map(Bound::Excluded)]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn it_is_an_ordered_set(changes in proptest::collection::vec((0u16..4000, 0u8..10), 0..6000), from in bound(), removed in 0u8..10) {
            let mut sorted = Sorted::default();
            let mut model = BTreeSet::new();
            for (key, action) in changes {
                if action < removed {
                    prop_assert_eq!(sorted.remove(&key), model.remove(&key));
                } else {
                    prop_assert_eq!(sorted.insert(key), model.insert(key));
                }
            }
            prop_assert_eq!(sorted.len(), model.len());
            prop_assert_eq!(sorted.is_empty(), model.is_empty());
            prop_assert!(sorted.runs.iter().all(|run| !run.is_empty() && run.len() <= RUN_MAX));
            prop_assert!(sorted.up(from).eq(model.range((from, Bound::Unbounded)).copied()));
            prop_assert!(sorted.down(from).eq(model.range((Bound::Unbounded, from)).rev().copied()));
            for key in (0..4000).step_by(97) {
                prop_assert_eq!(sorted.contains(&key), model.contains(&key));
                prop_assert_eq!(sorted.rank(&key), model.range(..key).count());
            }
        }
    }

    #[test]
    fn ascending_keys_fill_their_runs() {
        let mut sorted = Sorted::default();
        for key in 0..100_000u32 {
            sorted.insert(key);
        }
        assert_eq!(sorted.runs.len(), 100_000usize.div_ceil(RUN_MAX));
    }
}
