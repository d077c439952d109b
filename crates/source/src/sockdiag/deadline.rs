//! When a dump must end before the kernel ends it: its time is up, someone asks to stop, its namespace is dead.

use std::cell::Cell;
use std::time::{Duration, Instant};

use sockeye_pipeline::{Incomplete, Stop};

/// Looked at before every receive.
pub(super) struct Deadline<'a, A> {
    watch: Watch,
    stop: &'a Stop,
    alive: A,
    paused: &'a Cell<Duration>,
    began: Instant,
}

/// The same without a clock of its own, for those that count their time otherwise.
#[derive(Debug)]
pub(super) struct Watch {
    timeout: Duration,
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
        Self { watch: Watch::new(timeout), stop, alive, paused, began: Instant::now() }
    }

    /// Why the dump must end now, if it must.
    pub(super) fn exceeded(&mut self) -> Option<Incomplete> {
        let elapsed = self.elapsed();
        let own = elapsed.saturating_sub(self.paused.get());
        self.watch.exceeded(own, elapsed, self.stop, &mut self.alive)
    }

    /// Time since the beginning, pauses included.
    pub(super) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }
}

impl Watch {
    pub(super) fn new(timeout: Duration) -> Self {
        Self { timeout, next_look: LIVENESS_AFTER }
    }

    /// Why the dump must end now, if it must: `own` is the time that is its own, `elapsed` all since its beginning.
    pub(super) fn exceeded(
        &mut self,
        own: Duration,
        elapsed: Duration,
        stop: &Stop,
        alive: impl FnOnce() -> bool,
    ) -> Option<Incomplete> {
        if own >= self.timeout {
            return Some(Incomplete::Timeout);
        }
        if stop.requested() {
            return Some(Incomplete::Stopped);
        }
        // A pause keeps the namespace's socket open as well: it counts here.
        if elapsed >= self.next_look {
            if !alive() {
                return Some(Incomplete::Vanished);
            }
            self.next_look = elapsed + LIVENESS_EVERY;
        }
        None
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
