//! When polls begin: ticks at a fixed frequency, each put off by some jitter; a late tick is skipped, never caught up.

use std::time::{Duration, Instant};

/// The ticks of one daemon.
#[derive(Debug)]
pub struct Schedule {
    start: Instant,
    frequency: Duration,
    jitter: f64,
    next: u32,
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
        Self { start, frequency, jitter: f64::from(jitter_percent.min(100)) / 100.0, next: 0 }
    }

    /// The first tick that is not in the past. `random` gives numbers from 0 to below 1.
    pub fn next(&mut self, now: Instant, mut random: impl FnMut() -> f64) -> Tick {
        let mut late = 0;
        loop {
            let nth = self.next;
            self.next = self.next.saturating_add(1);
            let delay = if nth == 0 { Duration::ZERO } else { self.frequency.mul_f64(self.jitter * random()) };
            let at = self.start + self.frequency * nth + delay;
            if nth == 0 || at >= now {
                return Tick { at, late };
            }
            late += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn ticks_keep_to_the_grid_however_long_a_poll_takes() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start, 10 * SECOND, 0);
        assert_eq!(schedule.next(start + SECOND, || 0.0), Tick { at: start, late: 0 });
        assert_eq!(schedule.next(start + 3 * SECOND, || 0.0), Tick { at: start + 10 * SECOND, late: 0 });
        assert_eq!(schedule.next(start + 10 * SECOND, || 0.0), Tick { at: start + 20 * SECOND, late: 0 });
    }

    #[test]
    fn late_ticks_are_counted_and_skipped_and_not_caught_up() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start, 10 * SECOND, 0);
        schedule.next(start, || 0.0);
        assert_eq!(schedule.next(start + 35 * SECOND, || 0.0), Tick { at: start + 40 * SECOND, late: 3 });
        assert_eq!(schedule.next(start + 41 * SECOND, || 0.0), Tick { at: start + 50 * SECOND, late: 0 });
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
