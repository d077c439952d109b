//! Numbers of rows, where several readers number the rows of one namespace together.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// Up to which number those of one namespace and poll are taken.
#[derive(Debug, Default)]
pub(crate) struct Taken(AtomicU64);

/// Those that one reader has taken and not used yet. It takes them for a chunk at once: processors that count each row in the
/// same place wait for each other's cache.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    unused: Range<u64>,
    expected: u64,
}

impl Numbers {
    /// So many rows are about to come.
    pub(crate) fn expect(&mut self, rows: u64) {
        self.expected = rows;
    }

    /// The next one, from 1.
    #[inline]
    pub(crate) fn next(&mut self, taken: &Taken) -> u64 {
        if self.unused.is_empty() {
            let count = self.expected.max(1);
            let before = taken.0.fetch_add(count, Ordering::Relaxed);
            self.unused = before + 1..before + 1 + count;
        }
        self.expected = self.expected.saturating_sub(1);
        let number = self.unused.start;
        self.unused.start += 1;
        number
    }

    /// Gives back those that were not used, unless another reader has taken some since: else the next rows have them, and where
    /// none come, nobody.
    pub(crate) fn give_back(&mut self, taken: &Taken) {
        let Range { start, end } = self.unused;
        // While `taken` ends where these do, whatever others have is below them, however it came to be there.
        let is_last = || {
            let (last, first) = (end - 1, start - 1);
            taken.0.compare_exchange(last, first, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        };
        if start < end && is_last() {
            self.unused = 0..0;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn next(numbers: &mut Numbers, taken: &Taken, count: usize) -> Vec<u64> {
        (0..count).map(|_| numbers.next(taken)).collect()
    }

    #[test]
    fn rows_of_two_readers_have_numbers_from_one_also_where_more_come_than_were_expected() {
        let (taken, mut one, mut two) = (Taken::default(), Numbers::default(), Numbers::default());
        one.expect(3);
        two.expect(2);
        assert_eq!((one.next(&taken), two.next(&taken)), (1, 4));
        assert_eq!(next(&mut two, &taken, 2), [5, 6]);
        assert_eq!(next(&mut one, &taken, 3), [2, 3, 7]);
    }

    #[test]
    fn what_was_not_used_is_given_back_or_used_by_the_next_rows() {
        let (taken, mut one, mut two) = (Taken::default(), Numbers::default(), Numbers::default());
        one.expect(5);
        assert_eq!(next(&mut one, &taken, 2), [1, 2]);
        one.give_back(&taken);
        two.expect(3);
        assert_eq!(two.next(&taken), 3);
        one.expect(2);
        assert_eq!(one.next(&taken), 6);
        // The other one has taken more meanwhile: nobody else gets what is kept.
        two.give_back(&taken);
        two.expect(4);
        assert_eq!(next(&mut two, &taken, 2), [4, 5]);
        assert_eq!(one.next(&taken), 7);
        // Two of the four have numbers already.
        assert_eq!(next(&mut two, &taken, 1), [8]);
        assert_eq!(one.next(&taken), 10);
    }

    #[test]
    fn where_no_row_comes_no_number_is_taken() {
        let (taken, mut numbers) = (Taken::default(), Numbers::default());
        numbers.expect(5);
        numbers.give_back(&taken);
        numbers.expect(0);
        assert_eq!(numbers.next(&taken), 1);
        numbers.give_back(&taken);
        assert_eq!(numbers.next(&taken), 2);
    }

    proptest! {
        #[test]
        fn no_number_is_given_twice_whatever_three_readers_do(
            steps in proptest::collection::vec((0..3usize, 0..4u8, 0..6u64), 0..60),
        ) {
            let taken = Taken::default();
            let mut readers = [Numbers::default(), Numbers::default(), Numbers::default()];
            let mut given = BTreeSet::new();
            for (reader, step, count) in steps {
                let reader = &mut readers[reader];
                match step {
                    0 => reader.expect(count),
                    1 => reader.give_back(&taken),
                    _ => prop_assert!(given.insert(reader.next(&taken))),
                }
            }
            prop_assert!(given.last().is_none_or(|last| *last <= taken.0.load(Ordering::Relaxed)));
        }
    }
}
