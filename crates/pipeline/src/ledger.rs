//! The ledger of a sink: every row that was read for it is delivered, dropped with a reason, or in flight.

use std::fmt;

/// Why rows were lost on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropReason {
    /// The queue had no room within a poll.
    QueueFull,
    /// The queue was above its high-water mark when the poll began, and other sinks wanted the poll.
    HighWater,
    /// The sink ended for good: its reader has gone.
    SinkClosed,
    /// The sink refused the envelope for good.
    Rejected,
    /// The flush deadline of the shutdown passed.
    Shutdown,
}

/// A sink's account, in rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Rows encoded and meant for this sink.
    pub read: u64,
    /// Rows that the sink's other side has: written to the file, acknowledged by the broker.
    pub delivered: u64,
    /// Rows dropped, by [`DropReason`].
    pub dropped: [u64; DropReason::ALL.len()],
    /// Rows in the queue or in the sink's hands.
    pub in_flight: u64,
    /// Attempts that failed and were made again.
    pub retries: u64,
}

impl DropReason {
    /// Every reason, in the order of [`Ledger::dropped`].
    pub const ALL: [Self; 5] =
        [Self::QueueFull, Self::HighWater, Self::SinkClosed, Self::Rejected, Self::Shutdown];

    /// The reason as a label.
    pub fn name(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::HighWater => "high_water",
            Self::SinkClosed => "sink_closed",
            Self::Rejected => "rejected",
            Self::Shutdown => "shutdown",
        }
    }
}

impl Ledger {
    /// Rows dropped for any reason.
    pub fn dropped_rows(&self) -> u64 {
        self.dropped.iter().sum()
    }

    /// Rows dropped for this reason.
    pub fn dropped_for(&self, reason: DropReason) -> u64 {
        self.dropped.get(reason as usize).copied().unwrap_or_default()
    }

    /// Whether read = delivered + dropped + in flight.
    pub fn balances(&self) -> bool {
        self.read == self.delivered + self.dropped_rows() + self.in_flight
    }

    pub(crate) fn drop_rows(&mut self, reason: DropReason, rows: u64) {
        if let Some(count) = self.dropped.get_mut(reason as usize) {
            *count += rows;
        }
    }
}

/// `read 30000 = delivered 29000 + dropped 1000 (queue_full 1000) + in flight 0`
impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "read {} = delivered {} + dropped {}",
            self.read,
            self.delivered,
            self.dropped_rows()
        )?;
        let mut reasons =
            DropReason::ALL.iter().zip(self.dropped).filter(|(_, rows)| *rows > 0).peekable();
        if reasons.peek().is_some() {
            for (i, (reason, rows)) in reasons.enumerate() {
                write!(f, "{}{} {rows}", if i == 0 { " (" } else { ", " }, reason.name())?;
            }
            f.write_str(")")?;
        }
        write!(f, " + in flight {}", self.in_flight)?;
        if self.retries > 0 {
            write!(f, "; {} retries", self.retries)?;
        }
        if self.balances() { Ok(()) } else { f.write_str("; DOES NOT BALANCE") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ledger_prints_as_an_equation_with_its_reasons() {
        let mut ledger = Ledger { read: 10, delivered: 6, in_flight: 1, ..Ledger::default() };
        ledger.drop_rows(DropReason::QueueFull, 2);
        ledger.drop_rows(DropReason::Shutdown, 1);
        assert!(ledger.balances());
        assert_eq!(
            ledger.to_string(),
            "read 10 = delivered 6 + dropped 3 (queue_full 2, shutdown 1) + in flight 1"
        );
        ledger.delivered = 7;
        assert!(ledger.to_string().ends_with("; DOES NOT BALANCE"));
    }
}
