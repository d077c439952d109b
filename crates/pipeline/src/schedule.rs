//! When polls begin: ticks at a fixed frequency, each put off by some jitter; a late tick is skipped, never caught up.

use std::time::{Duration, Instant};

/// The ticks of one daemon.
#[derive(Debug, Clone)]
pub struct Schedule {
    /// The last tick, before jitter.
    tick: Instant,
    frequency: Duration,
    jitter: f64,
    begun: bool,
}

/// When to poll next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tick {
    /// When.
    pub at: Instant,
    /// Ticks that passed while the poll before was still running.
    pub late: u64,
}

impl Schedule {
    /// The first tick is at `start`; each later one is put off by a random part of `jitter_percent` of `frequency`, so
    /// that ten thousand hosts that were started together do not poll together.
    pub fn new(start: Instant, frequency: Duration, jitter_percent: u8) -> Self {
        let frequency = frequency.max(SHORTEST);
        Self {
            tick: start,
            frequency,
            jitter: f64::from(jitter_percent.min(100)) / 100.0,
            begun: false,
        }
    }

    /// Other ticks from here on. A shorter frequency counts from the last tick, and what passed of it is not late.
    pub fn change(&mut self, now: Instant, frequency: Duration, jitter_percent: u8) {
        self.frequency = frequency.max(SHORTEST);
        self.jitter = f64::from(jitter_percent.min(100)) / 100.0;
        if let Some(latest) = now.checked_sub(self.frequency).filter(|_| self.begun) {
            self.tick = self.tick.max(latest);
        }
    }

    /// The first tick that is not in the past. `random` gives numbers from 0 to below 1.
    pub fn next(&mut self, now: Instant, mut random: impl FnMut() -> f64) -> Tick {
        if !std::mem::replace(&mut self.begun, true) {
            return Tick { at: self.tick, late: 0 };
        }
        let mut late = 0;
        loop {
            // Step by step from the last tick: a product with their number would end after 2^32 of them.
            self.tick += self.frequency;
            let at = self.tick + self.frequency.mul_f64(self.jitter * random());
            if at >= now {
                return Tick { at, late };
            }
            late += 1;
        }
    }
}

/// Below this a tick is no rest at all, and catching up would never end.
const SHORTEST: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn ticks_keep_to_the_grid_however_long_a_poll_takes() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start, 10 * SECOND, 0);
        assert_eq!(schedule.next(start + SECOND, || 0.0), Tick { at: start, late: 0 });
        assert_eq!(
            schedule.next(start + 3 * SECOND, || 0.0),
            Tick { at: start + 10 * SECOND, late: 0 }
        );
        assert_eq!(
            schedule.next(start + 10 * SECOND, || 0.0),
            Tick { at: start + 20 * SECOND, late: 0 }
        );
    }

    #[test]
    fn late_ticks_are_counted_and_skipped_and_not_caught_up() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start, 10 * SECOND, 0);
        schedule.next(start, || 0.0);
        assert_eq!(
            schedule.next(start + 35 * SECOND, || 0.0),
            Tick { at: start + 40 * SECOND, late: 3 }
        );
        assert_eq!(
            schedule.next(start + 41 * SECOND, || 0.0),
            Tick { at: start + 50 * SECOND, late: 0 }
        );
    }

    #[test]
    fn a_new_frequency_counts_from_the_last_tick_and_what_passed_is_not_late() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start, 3600 * SECOND, 0);
        schedule.next(start, || 0.0);
        let now = start + 100 * SECOND;
        schedule.change(now, 10 * SECOND, 0);
        assert_eq!(schedule.next(now, || 0.0), Tick { at: now, late: 0 }, "at once");
        schedule.change(now, 60 * SECOND, 50);
        assert_eq!(schedule.next(now, || 0.5), Tick { at: now + 75 * SECOND, late: 0 });
        let mut unbegun = Schedule::new(start, SECOND, 0);
        unbegun.change(now, 2 * SECOND, 0);
        assert_eq!(unbegun.next(start, || 0.0).at, start);
    }

    #[test]
    fn a_frequency_of_zero_neither_hangs_nor_panics() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start, Duration::ZERO, 100);
        assert_eq!(schedule.next(start, || 0.0).at, start);
        let millisecond = Duration::from_millis(1);
        assert_eq!(schedule.next(start + SECOND, || 0.0), Tick { at: start + SECOND, late: 999 });
        assert_eq!(
            schedule.next(start + SECOND, || 0.0),
            Tick { at: start + SECOND + millisecond, late: 0 }
        );
    }

    #[test]
    fn jitter_puts_a_tick_off_by_at_most_its_share() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start, 10 * SECOND, 20);
        assert_eq!(schedule.next(start, || 0.999).at, start);
        assert_eq!(schedule.next(start, || 0.5).at, start + 11 * SECOND);
        assert_eq!(schedule.next(start, || 0.0).at, start + 20 * SECOND);
    }
}
