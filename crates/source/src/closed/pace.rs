//! How long the thread that listens reads on before it does what it is asked for, when events come faster than it reads.

use std::time::{Duration, Instant};

/// What a batch was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    /// The kernel may have more.
    More,
    /// It had no event when it was asked.
    Nothing,
    /// Nobody knows: it could not be asked.
    Unknown,
}

/// What to do after a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Read on.
    Read,
    /// Answer if something is asked, and wait if nothing is left.
    Answer,
    /// Send what there is and return.
    End,
}

/// How long somebody has waited.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Batches that were read since something was asked.
    batches: u32,
    /// When to end at the latest.
    end_by: Option<Instant>,
}

impl Pace {
    /// `is_asked`, `ending`: as of before the batch that left this.
    pub(super) fn next(&mut self, left: Left, is_asked: bool, ending: bool, now: Instant) -> Next {
        self.batches = if is_asked { self.batches + 1 } else { 0 };
        let is_late = ending && now >= *self.end_by.get_or_insert(now + LAST_CALL);
        let is_behind = left == Left::More;
        if ending && (!is_behind || is_late) {
            return Next::End;
        }
        if is_behind && self.batches < MOST_BATCHES {
            return Next::Read;
        }
        self.batches = 0;
        Next::Answer
    }
}

/// A poll does not wait for more: 2048 events.
const MOST_BATCHES: u32 = 16;
/// Whoever goes on reads what is left then.
const LAST_CALL: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_asks_is_answered_when_nothing_is_left_or_after_16_batches() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        assert_eq!(pace.next(Left::Nothing, true, false, now), Next::Answer);
        (0..100).for_each(|_| assert_eq!(pace.next(Left::More, false, false, now), Next::Read));
        for _ in 0..2 {
            (0..15).for_each(|_| assert_eq!(pace.next(Left::More, true, false, now), Next::Read));
            assert_eq!(pace.next(Left::More, true, false, now), Next::Answer);
        }
        assert_eq!(pace.next(Left::Unknown, false, false, now), Next::Answer);
    }

    #[test]
    fn it_ends_when_nothing_is_left_or_half_a_second_after_it_is_told_to() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        assert_eq!(pace.next(Left::More, false, true, now), Next::Read);
        let late = now + LAST_CALL;
        let almost = now + LAST_CALL / 2;
        assert_eq!(pace.next(Left::More, false, true, almost), Next::Read);
        assert_eq!(pace.next(Left::More, false, true, late), Next::End);
        for left in [Left::Nothing, Left::Unknown] {
            assert_eq!(Pace::default().next(left, true, true, now), Next::End);
        }
    }
}
