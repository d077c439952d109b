//! The last dumps of a namespace: which were complete, and when they were.

use std::collections::VecDeque;

/// Dumps by number. Numbers go round.
#[derive(Debug, Default)]
pub(super) struct Dumps {
    current: u16,
    under_way: bool,
    /// Bit n: the dump n before the current one was complete.
    complete: u64,
    /// When the last dump and the one before it ended, boot time.
    ended: [i64; 2],
    /// Now and then a dump and when it was, boot time; oldest first.
    marks: VecDeque<(u16, i64)>,
}

impl Dumps {
    pub(super) fn begin(&mut self, now_ns: i64) -> u16 {
        self.current = self.current.wrapping_add(1);
        self.complete <<= 1;
        self.under_way = true;
        if self.marks.back().is_none_or(|(_, last)| now_ns - last >= MARK_EVERY_NS) {
            self.marks.push_back((self.current, now_ns));
            if self.marks.len() > MOST_MARKS {
                self.marks.pop_front();
            }
        }
        self.current
    }

    /// False if none was under way.
    pub(super) fn end(&mut self, complete: bool, now_ns: i64) -> bool {
        if std::mem::take(&mut self.under_way) {
            self.complete |= u64::from(complete);
            self.ended = [now_ns, self.ended[0]];
            return true;
        }
        false
    }

    pub(super) fn current(&self) -> u16 {
        self.current
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.under_way
    }

    /// When the dump before the last one ended.
    pub(super) fn last_but_one_ended(&self) -> i64 {
        self.ended[1]
    }

    /// How many complete dumps have not shown what the dump `last_seen` showed, as far as they are remembered.
    #[inline]
    pub(super) fn absences(&self, last_seen: u16) -> u32 {
        let behind = u32::from(self.age(last_seen));
        (self.complete & 1u64.checked_shl(behind).map_or(u64::MAX, |bit| bit - 1)).count_ones()
    }

    /// How many dumps ago it was.
    pub(super) fn age(&self, last_seen: u16) -> u16 {
        self.current.wrapping_sub(last_seen)
    }

    /// Whether nothing will be heard any more of what this dump was the last to show.
    pub(super) fn is_expired(&self, last_seen: u16, absences: u32, now_ns: i64) -> bool {
        absences >= EXPIRES_AFTER && self.is_older(last_seen, EXPIRES_AFTER_NS, now_ns)
            || self.is_older(last_seen, OLD_NS, now_ns)
            || self.age(last_seen) >= OLDEST
    }

    /// Whether it was surely this long ago.
    pub(super) fn is_older(&self, last_seen: u16, span_ns: i64, now_ns: i64) -> bool {
        let age = self.age(last_seen);
        // The first mark that is not older than it.
        let mark = self.marks.iter().find(|(dump, _)| self.age(*dump) <= age);
        mark.is_some_and(|(_, at)| now_ns - at >= span_ns)
    }
}

/// Complete dumps, and two minutes.
const EXPIRES_AFTER: u32 = 10;
const EXPIRES_AFTER_NS: i64 = 120_000_000_000;
/// Where no dump is complete.
const OLD_NS: i64 = 600_000_000_000;
/// Before numbers come round.
const OLDEST: u16 = 30_000;
const MARK_EVERY_NS: i64 = 10_000_000_000;
/// Twenty minutes.
const MOST_MARKS: usize = 120;

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    #[test]
    fn only_complete_dumps_are_absences() {
        let mut dumps = Dumps::default();
        let seen = dumps.begin(0);
        dumps.end(true, 0);
        assert_eq!(dumps.absences(seen), 0);
        for complete in [true, false, true] {
            dumps.begin(0);
            dumps.end(complete, 0);
        }
        assert_eq!((dumps.absences(seen), dumps.age(seen)), (2, 3));
        dumps.begin(0);
        assert_eq!(dumps.absences(seen), 2, "the one that is under way is none");
        assert!(dumps.end(true, 0) && !dumps.end(true, 0));
        (0..100).for_each(|_| {
            dumps.begin(0);
            dumps.end(true, 0);
        });
        assert_eq!(dumps.absences(seen), 64, "as far as they are remembered");
    }

    #[test]
    fn numbers_go_round() {
        let mut dumps = Dumps { current: u16::MAX, ..Dumps::default() };
        let seen = dumps.current();
        dumps.begin(0);
        dumps.end(true, 0);
        assert_eq!((dumps.current(), dumps.absences(seen), dumps.age(seen)), (0, 1, 1));
    }

    #[test]
    fn age_is_told_to_ten_seconds_and_never_too_high() {
        let mut dumps = Dumps::default();
        let mut seen = 0;
        for second in 0..200 {
            let dump = dumps.begin(second * SECOND);
            if second == 55 {
                seen = dump;
            }
        }
        let now = 199 * SECOND;
        assert!(dumps.is_older(seen, 139 * SECOND, now));
        assert!(!dumps.is_older(seen, 145 * SECOND, now));
        assert!(!dumps.is_older(dumps.current(), 0, now), "there is no mark yet");
    }
}
