//! Counters of hits. They are in memory, because an embedded store has only one replica.

use std::collections::HashMap;

use parking_lot::Mutex;

use gittix_domain::{Millis, Timestamp};
use gittix_store::CounterValue;

/// Counters that restart when their window, which begins with the first hit, has passed.
#[derive(Debug, Default)]
pub(super) struct ExpiringCounters(Mutex<HashMap<String, Counter>>);

#[derive(Debug, Clone, Copy)]
struct Counter {
    hits: u64,
    ends_at: Timestamp,
}

impl ExpiringCounters {
    /// Maximum number of counters, about 15 MB. If it is reached, the half whose windows end first
    /// is removed. A flood of new keys resets old counters early, but does not fill the memory.
    const COUNT_MAX: usize = 100_000;

    /// Adds one to the counter `key` and returns its value.
    pub(super) fn hit(&self, key: &str, window: Millis, now: Timestamp) -> u64 {
        let mut counters = self.0.lock();
        // A counter that ends later than a new one would end was started before the clock was set
        // back. It restarts.
        let is_running =
            |counter: &&mut Counter| now < counter.ends_at && counter.ends_at <= now + window;
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
        running.map_or_else(CounterValue::default, |counter| CounterValue {
            hits: counter.hits,
            ends_at: counter.ends_at,
        })
    }

    pub(super) fn clear(&self, key: &str) {
        self.0.lock().remove(key);
    }

    /// Removes the counters whose window has passed.
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
        // All counters may end at the median, so the number of counters that stay is also limited.
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
    fn number_of_counters_under_a_flood_of_keys_is_bounded() {
        let counters = ExpiringCounters::default();
        for i in 0..=2 * ExpiringCounters::COUNT_MAX {
            assert_eq!(counters.hit(&i.to_string(), Millis(1_000), Timestamp(0)), 1);
        }
        assert!(counters.0.lock().len() <= ExpiringCounters::COUNT_MAX);
    }

    #[test]
    fn counter_restarts_after_the_clock_was_set_back() {
        let counters = ExpiringCounters::default();
        let hour = 3_600_000;
        counters.hit("key", Millis(1_000), Timestamp(hour));
        assert_eq!(counters.hit("key", Millis(1_000), Timestamp(hour)), 2);
        assert_eq!(counters.hit("key", Millis(1_000), Timestamp(0)), 1);
    }

    #[test]
    fn counter_is_purged_after_its_window() {
        let counters = ExpiringCounters::default();
        counters.hit("short", Millis(10), Timestamp(0));
        counters.hit("long", Millis(1_000), Timestamp(0));
        counters.purge(Timestamp(10));
        assert_eq!(counters.0.lock().keys().collect::<Vec<_>>(), ["long"]);
    }
}
