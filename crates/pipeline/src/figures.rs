//! What a queue counts besides its ledger: payloads, their time to the acknowledgement, and whether the other side is there.

use std::time::Duration;

/// Figures of one sink; they only grow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// Payloads that the sink has taken.
    pub accepted_payloads: u64,
    /// Rows in them.
    pub accepted_rows: u64,
    /// Payloads that the other side has. A payload that the sink has split counts once for each part.
    pub delivered_payloads: u64,
    /// Bytes in them, not counting those that came from a spool.
    pub delivered_bytes: u64,
    /// Time from the offer to the acknowledgement, not counting payloads that went through a spool.
    pub latency: Latency,
    /// Most bytes that were ever pending.
    pub most_pending_bytes: usize,
}

/// Payloads counted by the time from their offer to their acknowledgement.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Latency {
    /// How many took at most [`Latency::BOUNDS`], each bucket alone; the last one has what took longer.
    pub counts: [u64; Latency::BOUNDS.len() + 1],
    /// All of their time.
    pub sum: Duration,
}

/// Whether the other side of a sink is there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Link {
    /// As far as one knows.
    #[default]
    Up,
    /// It has not confirmed anything yet.
    Connecting,
    /// It can't be reached, or does not take anything, for now.
    Down,
}

impl Latency {
    /// Upper bounds in seconds.
    pub const BOUNDS: [f64; 13] =
        [0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

    pub(crate) fn observe(&mut self, took: Duration) {
        let seconds = took.as_secs_f64();
        if let Some(count) =
            self.counts.get_mut(Self::BOUNDS.partition_point(|bound| *bound < seconds))
        {
            *count += 1;
        }
        self.sum += took;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_that_equals_a_bound_is_within_it() {
        let mut latency = Latency::default();
        for millis in [1, 2, 5, 61_000] {
            latency.observe(Duration::from_millis(millis));
        }
        assert_eq!((latency.counts[0], latency.counts[1], latency.counts[13]), (1, 2, 1));
        assert_eq!(latency.sum, Duration::from_millis(61_008));
    }
}
