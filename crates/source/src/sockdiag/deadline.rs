//! When a dump must end before the kernel ends it: its time is up, someone asks to stop, its namespace is dead.

use std::cell::Cell;
use std::time::{Duration, Instant};

use sockeye_pipeline::{Incomplete, Stop};

/// Looked at before every receive.
pub(super) struct Deadline<'a, A> {
    timeout: Duration,
    stop: &'a Stop,
    alive: A,
    paused: &'a Cell<Duration>,
    began: Instant,
    next_look: Duration,
}

impl<'a, A: FnMut() -> bool> Deadline<'a, A> {
    /// Time begins now. What the taker of the rows adds to `paused` is not the dump's.
    pub(super) fn new(
        timeout: Duration,
        stop: &'a Stop,
        paused: &'a Cell<Duration>,
        alive: A,
    ) -> Self {
        Self { timeout, stop, alive, paused, began: Instant::now(), next_look: LIVENESS_AFTER }
    }

    /// Why the dump must end now, if it must.
    pub(super) fn exceeded(&mut self) -> Option<Incomplete> {
        let elapsed = self.elapsed();
        if elapsed.saturating_sub(self.paused.get()) >= self.timeout {
            return Some(Incomplete::Timeout);
        }
        if self.stop.requested() {
            return Some(Incomplete::Stopped);
        }
        // A pause keeps the namespace's socket open as well: it counts here.
        if elapsed >= self.next_look {
            if !(self.alive)() {
                return Some(Incomplete::Vanished);
            }
            self.next_look = self.elapsed() + LIVENESS_EVERY;
        }
        None
    }

    /// Time since the beginning, pauses included.
    pub(super) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }
}

/// From here on a dump looks whether its namespace still lives, so that nothing dead is held for a second.
pub(super) const LIVENESS_AFTER: Duration = Duration::from_millis(400);
const LIVENESS_EVERY: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_not_part_of_the_time_that_a_dump_may_take() {
        let (stop, paused) = (Stop::default(), Cell::new(Duration::ZERO));
        let mut deadline = Deadline::new(Duration::from_millis(20), &stop, &paused, || true);
        assert_eq!(deadline.exceeded(), None);
        std::thread::sleep(Duration::from_millis(25));
        paused.set(Duration::from_millis(25));
        assert_eq!(deadline.exceeded(), None);
        std::thread::sleep(Duration::from_millis(21));
        assert_eq!(deadline.exceeded(), Some(Incomplete::Timeout));
    }

    #[test]
    fn a_pause_does_not_put_off_the_look_at_the_namespace() {
        let (stop, paused) = (Stop::default(), Cell::new(LIVENESS_AFTER));
        let mut deadline = Deadline::new(Duration::from_mins(1), &stop, &paused, || false);
        assert_eq!(deadline.exceeded(), None);
        std::thread::sleep(LIVENESS_AFTER);
        assert_eq!(deadline.exceeded(), Some(Incomplete::Vanished));
    }
}
