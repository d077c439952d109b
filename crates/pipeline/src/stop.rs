//! The stop flag: set once, seen by everyone, wakes those who wait.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Instant;

/// A flag that many threads share.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    requested: AtomicBool,
    lock: Mutex<()>,
    changed: Condvar,
}

impl Stop {
    /// Asks everyone to stop.
    pub fn request(&self) {
        let _guard = self.0.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.requested.store(true, Ordering::Release);
        self.0.changed.notify_all();
    }

    /// Whether somebody asked. Cheap enough for every chunk.
    #[inline]
    pub fn requested(&self) -> bool {
        self.0.requested.load(Ordering::Acquire)
    }

    /// Sleeps until `deadline`; true when woken by a request to stop.
    pub fn wait_until(&self, deadline: Instant) -> bool {
        let mut guard = self.0.lock.lock().unwrap_or_else(PoisonError::into_inner);
        while !self.requested() {
            let Some(left) =
                deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
            else {
                return false;
            };
            guard =
                self.0.changed.wait_timeout(guard, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_request_wakes_a_waiter_long_before_its_deadline() {
        let stop = Stop::default();
        let other = stop.clone();
        let began = Instant::now();
        let waiter =
            std::thread::spawn(move || other.wait_until(Instant::now() + Duration::from_mins(1)));
        stop.request();
        assert!(waiter.join().unwrap());
        assert!(began.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn without_a_request_the_deadline_ends_the_wait() {
        assert!(!Stop::default().wait_until(Instant::now() + Duration::from_millis(5)));
    }
}
