//! Counts of running operations, by key. A limit adds them to the stored number, so that simultaneous requests do not exceed
//! the limit together. The counts are in memory, and a key has an entry only while an operation of it is running.

use std::{collections::HashMap, fmt, hash::Hash, sync::Arc};

use parking_lot::Mutex;

/// The number of running operations, by key. Clones share the counts.
#[derive(Debug)]
pub(super) struct InFlight<K>(Arc<Mutex<HashMap<K, usize>>>);

impl<K> Clone for InFlight<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K> Default for InFlight<K> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K: Eq + Hash + Copy> InFlight<K> {
    /// Counts one more operation of `key` until the guard is dropped, if `may_begin` returns true for the number that is running
    /// already. Returns `None` otherwise.
    pub(super) fn begin_if(&self, key: K, may_begin: impl FnOnce(usize) -> bool) -> Option<InFlightGuard<K>> {
        let mut counts = self.0.lock();
        let running = counts.get(&key).copied().unwrap_or_default();
        if !may_begin(running) {
            return None;
        }
        counts.insert(key, running + 1);
        Some(InFlightGuard { counts: Arc::clone(&self.0), key, others: running })
    }

    /// Counts one more operation of `key` until the guard is dropped.
    pub(super) fn begin(&self, key: K) -> InFlightGuard<K> {
        self.begin_if(key, |_| true).expect("the condition is always true")
    }
}

/// One running operation, counted until it is dropped.
pub(super) struct InFlightGuard<K: Eq + Hash> {
    counts: Arc<Mutex<HashMap<K, usize>>>,
    key: K,
    /// Number of operations of the same key that were running when this one began.
    pub(super) others: usize,
}

impl<K: Eq + Hash> fmt::Debug for InFlightGuard<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InFlightGuard").field("others", &self.others).finish_non_exhaustive()
    }
}

impl<K: Eq + Hash> Drop for InFlightGuard<K> {
    fn drop(&mut self) {
        let mut counts = self.counts.lock();
        if let Some(count) = counts.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operation_is_counted_until_its_guard_is_dropped() {
        let in_flight = InFlight::default();
        let first = in_flight.begin("a");
        let second = in_flight.begin("a");
        assert_eq!((first.others, second.others), (0, 1));
        assert!(in_flight.begin_if("a", |running| running < 2).is_none());
        assert!(in_flight.begin_if("b", |running| running < 1).is_some(), "keys are counted separately");
        drop(first);
        assert!(in_flight.begin_if("a", |running| running < 2).is_some());
        drop(second);
        assert!(in_flight.0.lock().is_empty(), "ended operations leave no entry");
    }
}
