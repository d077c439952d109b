//! How many bytes all tables together may take.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes that may be taken, and are.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: usize,
    taken: AtomicUsize,
}

impl Budget {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, taken: AtomicUsize::new(0) }
    }

    /// Takes so many more, if there is room for them.
    pub(crate) fn take(&self, bytes: usize) -> bool {
        let more = |taken: usize| taken.checked_add(bytes).filter(|taken| *taken <= self.limit);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    pub(crate) fn give_back(&self, bytes: usize) {
        self.taken.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// What took `before` bytes takes `now`, whether there is room or not: others are refused instead.
    pub(crate) fn settle(&self, before: usize, now: usize) {
        self.taken.fetch_add(now, Ordering::Relaxed);
        self.give_back(before);
    }

    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_taken_than_there_is() {
        let budget = Budget::new(100);
        assert!(budget.take(60) && !budget.take(41) && budget.take(40));
        budget.give_back(60);
        assert_eq!((budget.taken(), budget.limit()), (40, 100));
        assert!(!budget.take(usize::MAX));
    }
}
