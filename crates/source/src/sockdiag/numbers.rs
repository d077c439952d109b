//! Numbers of rows, where several readers number the rows of one namespace together.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// How many numbers of one namespace and poll are taken.
#[derive(Debug, Default)]
pub(crate) struct Taken(AtomicU64);

/// Those that one reader has taken and not used yet. They are taken for a chunk at once: processors that count each row in the
/// same place wait for each other's cache.
#[derive(Debug, Default)]
pub(crate) struct Numbers(Range<u64>);

impl Numbers {
    /// Takes so many, if there are none left.
    pub(crate) fn take(&mut self, taken: &Taken, count: u64) {
        if self.0.is_empty() {
            let before = taken.0.fetch_add(count, Ordering::Relaxed);
            self.0 = before + 1..before + 1 + count;
        }
    }

    /// The next one, from 1.
    #[inline]
    pub(crate) fn next(&mut self, taken: &Taken) -> u64 {
        self.0.next().unwrap_or_else(|| taken.0.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Gives back those that were not used, unless others have taken some since: then the next rows have them.
    pub(crate) fn give_back(&mut self, taken: &Taken) {
        let Range { start, end } = self.0;
        if start < end
            && taken
                .0
                .compare_exchange(end - 1, start - 1, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        {
            self.0 = 0..0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(numbers: &mut Numbers, taken: &Taken, count: usize) -> Vec<u64> {
        (0..count).map(|_| numbers.next(taken)).collect()
    }

    #[test]
    fn two_readers_number_together_from_one_and_more_rows_than_were_expected_have_numbers_too() {
        let (taken, mut one, mut two) = (Taken::default(), Numbers::default(), Numbers::default());
        one.take(&taken, 3);
        two.take(&taken, 2);
        assert_eq!(next(&mut two, &taken, 3), [4, 5, 6]);
        assert_eq!(next(&mut one, &taken, 4), [1, 2, 3, 7]);
    }

    #[test]
    fn what_was_not_used_is_given_back_or_used_by_the_next_rows() {
        let (taken, mut one, mut two) = (Taken::default(), Numbers::default(), Numbers::default());
        one.take(&taken, 5);
        assert_eq!(next(&mut one, &taken, 2), [1, 2]);
        one.give_back(&taken);
        two.take(&taken, 2);
        assert_eq!(next(&mut two, &taken, 1), [3]);
        one.take(&taken, 2);
        // The other one has taken more meanwhile: nobody else gets what is kept.
        two.give_back(&taken);
        two.take(&taken, 9);
        assert_eq!(next(&mut one, &taken, 3), [5, 6, 7]);
        assert_eq!(next(&mut two, &taken, 2), [4, 8]);
    }

    #[test]
    fn nothing_is_given_back_where_nothing_is_left() {
        let (taken, mut numbers) = (Taken::default(), Numbers::default());
        numbers.give_back(&taken);
        numbers.take(&taken, 1);
        assert_eq!(numbers.next(&taken), 1);
        numbers.give_back(&taken);
        assert_eq!(numbers.next(&taken), 2);
    }
}
