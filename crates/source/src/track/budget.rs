//! How many bytes all tables together may take.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes that may be taken, and are.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: usize,
    taken: AtomicUsize,
    /// By keys of connections that have ended.
    of_ends: AtomicUsize,
}

impl Budget {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, taken: AtomicUsize::new(0), of_ends: AtomicUsize::new(0) }
    }

    /// Takes so many more, if there is room for them.
    pub(crate) fn take(&self, bytes: usize) -> bool {
        take(&self.taken, bytes, self.limit)
    }

    /// The same for keys of connections that have ended, which may have a small share of it all.
    pub(crate) fn take_for_ends(&self, bytes: usize) -> bool {
        let may_have = take(&self.of_ends, bytes, self.limit / SHARE_OF_ENDS);
        let has = may_have && self.take(bytes);
        if may_have && !has {
            self.of_ends.fetch_sub(bytes, Ordering::Relaxed);
        }
        has
    }

    pub(crate) fn give_back_of_ends(&self, bytes: usize) {
        self.of_ends.fetch_sub(bytes, Ordering::Relaxed);
        self.give_back(bytes);
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

/// Takes so many more, up to a limit.
fn take(taken: &AtomicUsize, bytes: usize, limit: usize) -> bool {
    let more = |taken: usize| taken.checked_add(bytes).filter(|taken| *taken <= limit);
    taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
}

const SHARE_OF_ENDS: usize = 16;

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

    #[test]
    fn ends_have_a_sixteenth_of_it_and_no_more_than_there_is() {
        let budget = Budget::new(1600);
        assert!(budget.take_for_ends(60) && !budget.take_for_ends(41) && budget.take_for_ends(40));
        budget.give_back_of_ends(60);
        assert_eq!(budget.taken(), 40);
        assert!(budget.take(1559) && !budget.take_for_ends(2) && budget.take_for_ends(1));
        budget.give_back_of_ends(41);
        assert!(budget.take_for_ends(41) && !budget.take(1));
    }
}
