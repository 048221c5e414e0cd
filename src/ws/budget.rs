//! A bounded count that all connections of the process share.

use std::sync::atomic::{AtomicUsize, Ordering};

/// A number of units that can be taken and given back; at most `max` are taken at any time.
#[derive(Debug)]
pub struct Budget {
    taken: AtomicUsize,
    max: usize,
}

impl Budget {
    pub fn new(max: usize) -> Self {
        Self { taken: AtomicUsize::new(0), max }
    }

    /// Takes `count` units. Returns `false`, and takes nothing, if fewer are left.
    pub fn take(&self, count: usize) -> bool {
        self.exchange(0, count)
    }

    /// Gives `old` units back and takes `new`. Returns `false`, and changes nothing, if too few are
    /// left.
    pub fn exchange(&self, old: usize, new: usize) -> bool {
        // An exchange for fewer units is never refused.
        let next =
            |taken: usize| Some(taken - old + new).filter(|next| *next <= self.max || new <= old);
        old == new || self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }

    pub fn give_back(&self, count: usize) {
        if count > 0 {
            self.taken.fetch_sub(count, Ordering::Relaxed);
        }
    }

    #[cfg(test)]
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn take_beyond_the_maximum_is_refused() {
        let budget = Budget::new(10);
        assert!(budget.take(10) && !budget.take(1) && budget.take(0));
        budget.give_back(4);
        assert!(!budget.take(5) && budget.take(4));
    }

    #[test]
    fn refused_exchange_changes_nothing() {
        let budget = Budget::new(10);
        assert!(budget.take(6) && budget.take(4));
        assert!(!budget.exchange(4, 5), "one unit too many");
        assert_eq!(budget.taken(), 10);
        assert!(budget.exchange(6, 6) && budget.exchange(6, 1) && budget.exchange(4, 9));
        assert_eq!(budget.taken(), 10);
    }
}
