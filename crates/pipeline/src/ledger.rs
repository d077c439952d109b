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
    /// The other side did not confirm in time.
    Timeout,
    /// The other side takes no message of this length.
    MessageTooLarge,
    /// The other side has no such topic.
    UnknownTopic,
    /// The other side knows who we are and lets us not write.
    NotAuthorised,
    /// The other side does not believe who we are, and did not until the time was over.
    Authentication,
    /// No TLS session came about until the time was over.
    Tls,
    /// It was the oldest in a spool that had reached its limit.
    SpoolFull,
    /// It was in a spool and can't be read back.
    SpoolDamaged,
}

/// A sink's account, in rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Rows encoded and meant for this sink; those that a spool had from an earlier life included.
    pub read: u64,
    /// Of these, the rows that a spool had from an earlier life.
    pub recovered: u64,
    /// Rows that the sink's other side has: written to the file, acknowledged by the broker.
    pub delivered: u64,
    /// Rows dropped, by [`DropReason`].
    pub dropped: [u64; DropReason::ALL.len()],
    /// Rows in the queue, in the sink's hands, or in its spool.
    pub in_flight: u64,
    /// Of these, the rows that are safe in a spool.
    pub spooled: u64,
    /// Attempts that failed and were made again.
    pub retries: u64,
}

impl DropReason {
    /// Every reason, in the order of [`Ledger::dropped`].
    pub const ALL: [Self; 13] = [
        Self::QueueFull,
        Self::HighWater,
        Self::SinkClosed,
        Self::Rejected,
        Self::Shutdown,
        Self::Timeout,
        Self::MessageTooLarge,
        Self::UnknownTopic,
        Self::NotAuthorised,
        Self::Authentication,
        Self::Tls,
        Self::SpoolFull,
        Self::SpoolDamaged,
    ];

    /// The reason as a label.
    pub fn name(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::HighWater => "high_water",
            Self::SinkClosed => "sink_closed",
            Self::Rejected => "rejected",
            Self::Shutdown => "shutdown",
            Self::Timeout => "timeout",
            Self::MessageTooLarge => "message_too_large",
            Self::UnknownTopic => "unknown_topic",
            Self::NotAuthorised => "not_authorised",
            Self::Authentication => "authentication",
            Self::Tls => "tls",
            Self::SpoolFull => "spool_full",
            Self::SpoolDamaged => "spool_damaged",
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
        write!(f, "read {}", self.read)?;
        if self.recovered > 0 {
            write!(f, " ({} from the spool)", self.recovered)?;
        }
        write!(f, " = delivered {} + dropped {}", self.delivered, self.dropped_rows())?;
        let mut reasons =
            DropReason::ALL.iter().zip(self.dropped).filter(|(_, rows)| *rows > 0).peekable();
        if reasons.peek().is_some() {
            for (i, (reason, rows)) in reasons.enumerate() {
                write!(f, "{}{} {rows}", if i == 0 { " (" } else { ", " }, reason.name())?;
            }
            f.write_str(")")?;
        }
        write!(f, " + in flight {}", self.in_flight)?;
        if self.spooled > 0 {
            write!(f, " ({} in the spool)", self.spooled)?;
        }
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
        (ledger.read, ledger.recovered, ledger.in_flight, ledger.spooled) = (12, 2, 3, 2);
        assert_eq!(
            ledger.to_string(),
            "read 12 (2 from the spool) = delivered 6 + dropped 3 (queue_full 2, shutdown 1) + in flight 3 (2 in the spool)"
        );
        ledger.delivered = 7;
        assert!(ledger.to_string().ends_with("; DOES NOT BALANCE"));
    }
}
