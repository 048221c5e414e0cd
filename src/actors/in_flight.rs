//! Running operations, by key. A limit of declined payments or locks adds the running ones to the
//! number in the store, so that simultaneous requests do not exceed the limit together. Settlement
//! uses it so that one task at a time advances a charge. They are in memory, and a key has an entry
//! only while an operation of it is running.

use std::{collections::HashMap, fmt, hash::Hash, sync::Arc};

use parking_lot::Mutex;

type Operations<K, V> = Arc<Mutex<HashMap<K, Vec<V>>>>;

/// The running operations, by key. `V` identifies an operation where a limit must distinguish them.
/// Clones share the operations.
#[derive(Debug)]
pub(super) struct InFlight<K, V = ()>(Operations<K, V>);

impl<K, V> Clone for InFlight<K, V> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K, V> Default for InFlight<K, V> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K: Eq + Hash + Copy, V: PartialEq + Copy> InFlight<K, V> {
    /// Adds the operation `value` of `key` until the guard is dropped, if `may_begin` returns true
    /// for the operations that are running already. Returns `None` otherwise.
    pub(super) fn begin_if(
        &self,
        key: K,
        value: V,
        may_begin: impl FnOnce(&[V]) -> bool,
    ) -> Option<InFlightGuard<K, V>> {
        let mut operations = self.0.lock();
        let running = operations.get(&key).map_or(&[][..], Vec::as_slice);
        if !may_begin(running) {
            return None;
        }
        let others = running.len();
        operations.entry(key).or_default().push(value);
        Some(InFlightGuard { operations: Arc::clone(&self.0), key, value, others })
    }
}

impl<K: Eq + Hash + Copy> InFlight<K> {
    /// Adds an operation of `key` until the guard is dropped.
    pub(super) fn begin(&self, key: K) -> InFlightGuard<K> {
        self.begin_if(key, (), |_| true).expect("the condition is always true")
    }
}

/// One running operation, counted until it is dropped.
pub(super) struct InFlightGuard<K: Eq + Hash, V: PartialEq = ()> {
    operations: Operations<K, V>,
    key: K,
    value: V,
    /// Number of operations of the same key that were running when this one began.
    pub(super) others: usize,
}

impl<K: Eq + Hash, V: PartialEq> fmt::Debug for InFlightGuard<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InFlightGuard").field("others", &self.others).finish_non_exhaustive()
    }
}

impl<K: Eq + Hash, V: PartialEq> Drop for InFlightGuard<K, V> {
    fn drop(&mut self) {
        let mut operations = self.operations.lock();
        if let Some(running) = operations.get_mut(&self.key) {
            if let Some(index) = running.iter().position(|value| *value == self.value) {
                running.swap_remove(index);
            }
            if running.is_empty() {
                operations.remove(&self.key);
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
        assert!(in_flight.begin_if("a", (), |running| running.len() < 2).is_none());
        assert!(
            in_flight.begin_if("b", (), |running| running.is_empty()).is_some(),
            "keys are counted separately"
        );
        drop(first);
        assert!(in_flight.begin_if("a", (), |running| running.len() < 2).is_some());
        drop(second);
        assert!(in_flight.0.lock().is_empty(), "ended operations leave no entry");
    }

    #[test]
    fn limit_gets_the_operations_that_still_run() {
        let in_flight = InFlight::default();
        let first = in_flight.begin_if("a", 1, |running| running.is_empty()).expect("nothing runs");
        let _second = in_flight.begin_if("a", 2, |running| running == [1]).expect("the first runs");
        drop(first);
        assert!(
            in_flight.begin_if("a", 3, |running| running == [2]).is_some(),
            "the second still runs"
        );
    }
}
