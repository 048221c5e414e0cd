//! Counts of what is running now, by key: what a limit has to add to what is durable or known already, so that requests
//! at the same moment do not exceed it together. In memory; a key is there for as long as something of it is running.

use std::{collections::HashMap, fmt, hash::Hash, sync::Arc};

use parking_lot::Mutex;

/// How many operations are running, by key. Clones share the counts.
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
    /// Counts one more operation of `key` until the guard is dropped, if `may_begin` of how many are running before it.
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
        self.begin_if(key, |_| true).expect("nothing forbids it")
    }
}

/// One operation that is running.
pub(super) struct InFlightGuard<K: Eq + Hash> {
    counts: Arc<Mutex<HashMap<K, usize>>>,
    key: K,
    /// How many of the same key were running when it began.
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
    fn count_of_a_key_grows_with_each_operation_and_ends_with_its_guards() {
        let in_flight = InFlight::default();
        let first = in_flight.begin("a");
        let second = in_flight.begin("a");
        assert_eq!((first.others, second.others), (0, 1));
        assert!(in_flight.begin_if("a", |running| running < 2).is_none());
        assert!(in_flight.begin_if("b", |running| running < 1).is_some(), "keys are counted apart");
        drop(first);
        assert!(in_flight.begin_if("a", |running| running < 2).is_some());
        drop(second);
        assert!(in_flight.0.lock().is_empty(), "nothing is kept of what has ended");
    }
}
