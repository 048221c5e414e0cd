//! A count that all connections of the process share, with a bound on it.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Units that are taken and given back; at most `max` are taken at once.
#[derive(Debug)]
pub struct Budget {
    taken: AtomicUsize,
    max: usize,
}

impl Budget {
    pub fn new(max: usize) -> Self {
        Self { taken: AtomicUsize::new(0), max }
    }

    /// Takes `count` more, if there are as many.
    pub fn take(&self, count: usize) -> bool {
        self.exchange(0, count)
    }

    /// Gives `old` back and takes `new`, or changes nothing if there are not as many.
    pub fn exchange(&self, old: usize, new: usize) -> bool {
        // Giving some back is never refused.
        let next = |taken: usize| Some(taken - old + new).filter(|next| *next <= self.max || new <= old);
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
    fn no_more_is_taken_than_there_is() {
        let budget = Budget::new(10);
        assert!(budget.take(10) && !budget.take(1) && budget.take(0));
        budget.give_back(4);
        assert!(!budget.take(5) && budget.take(4));
    }

    #[test]
    fn exchange_is_all_or_nothing() {
        let budget = Budget::new(10);
        assert!(budget.take(6) && budget.take(4));
        assert!(!budget.exchange(4, 5), "one too many");
        assert_eq!(budget.taken(), 10);
        assert!(budget.exchange(6, 6) && budget.exchange(6, 1) && budget.exchange(4, 9));
        assert_eq!(budget.taken(), 10);
    }
}
