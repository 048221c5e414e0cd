//! Counters of hits, in memory: one process is all the replicas that an embedded store has.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::{
    domain::{Millis, Timestamp},
    store::CounterValue,
};

/// Counters that start anew some time after their first hit.
#[derive(Debug, Default)]
pub(super) struct ExpiringCounters(Mutex<HashMap<String, Counter>>);

#[derive(Debug, Clone, Copy)]
struct Counter {
    hits: u64,
    ends_at: Timestamp,
}

impl ExpiringCounters {
    /// Some 15 MB. Beyond it the half that ends first is forgotten: whoever floods the table with new keys resets old
    /// counters a little early, but cannot fill the memory.
    const COUNT_MAX: usize = 100_000;

    /// Adds one to `key` and returns it.
    pub(super) fn hit(&self, key: &str, window: Millis, now: Timestamp) -> u64 {
        let mut counters = self.0.lock();
        // One that ends later than a new one would was begun by a clock that has been corrected since.
        let is_running = |counter: &&mut Counter| now < counter.ends_at && counter.ends_at <= now + window;
        if let Some(counter) = counters.get_mut(key).filter(is_running) {
            counter.hits += 1;
            return counter.hits;
        }
        if counters.len() >= Self::COUNT_MAX {
            make_room(&mut counters, now);
        }
        counters.insert(key.to_owned(), Counter { hits: 1, ends_at: now + window });
        1
    }

    pub(super) fn count(&self, key: &str, now: Timestamp) -> CounterValue {
        let counters = self.0.lock();
        let running = counters.get(key).filter(|counter| now < counter.ends_at);
        running.map_or_else(CounterValue::default, |counter| CounterValue { hits: counter.hits, ends_at: counter.ends_at })
    }

    pub(super) fn clear(&self, key: &str) {
        self.0.lock().remove(key);
    }

    /// Forgets what has ended.
    pub(super) fn purge(&self, now: Timestamp) {
        self.0.lock().retain(|_, counter| now < counter.ends_at);
    }
}

fn make_room(counters: &mut HashMap<String, Counter>, now: Timestamp) {
    counters.retain(|_, counter| now < counter.ends_at);
    if counters.len() >= ExpiringCounters::COUNT_MAX / 2 {
        let mut ends: Vec<Timestamp> = counters.values().map(|counter| counter.ends_at).collect();
        let middle = ends.len() / 2;
        let (_, median, _) = ends.select_nth_unstable(middle);
        let median = *median;
        // Those that end with the median are kept only as far as there is room, since all may end at once.
        let mut room = ExpiringCounters::COUNT_MAX / 2;
        counters.retain(|_, counter| {
            let stays = counter.ends_at >= median && room > 0;
            room -= usize::from(stays);
            stays
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_keys_is_bounded() {
        let counters = ExpiringCounters::default();
        for i in 0..=2 * ExpiringCounters::COUNT_MAX {
            assert_eq!(counters.hit(&i.to_string(), Millis(1_000), Timestamp(0)), 1);
        }
        assert!(counters.0.lock().len() <= ExpiringCounters::COUNT_MAX);
    }

    #[test]
    fn counter_begun_by_a_clock_that_was_corrected_starts_again() {
        let counters = ExpiringCounters::default();
        let hour = 3_600_000;
        counters.hit("key", Millis(1_000), Timestamp(hour));
        assert_eq!(counters.hit("key", Millis(1_000), Timestamp(hour)), 2);
        assert_eq!(counters.hit("key", Millis(1_000), Timestamp(0)), 1);
    }

    #[test]
    fn what_has_ended_is_purged() {
        let counters = ExpiringCounters::default();
        counters.hit("short", Millis(10), Timestamp(0));
        counters.hit("long", Millis(1_000), Timestamp(0));
        counters.purge(Timestamp(10));
        assert_eq!(counters.0.lock().keys().collect::<Vec<_>>(), ["long"]);
    }
}
