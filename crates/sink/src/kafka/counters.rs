//! What a producer counts, beside its ledger.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Trouble;

/// Counters of one Kafka sink; they only grow.
#[derive(Debug, Default)]
pub struct KafkaCounters {
    troubles: [AtomicU64; Trouble::ALL.len()],
    acknowledged: AtomicU64,
    parked: AtomicU64,
    spool_failures: AtomicU64,
    torn_bytes: AtomicU64,
    producers: AtomicU64,
}

impl KafkaCounters {
    /// How often the trouble was seen. Of one that lasts, every attempt counts.
    pub fn troubles(&self, trouble: Trouble) -> u64 {
        self.troubles.get(trouble as usize).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// Messages that brokers have acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Messages that were written to the spool.
    pub fn parked(&self) -> u64 {
        self.parked.load(Ordering::Relaxed)
    }

    /// Writes to the spool that failed: a full disk.
    pub fn spool_failures(&self) -> u64 {
        self.spool_failures.load(Ordering::Relaxed)
    }

    /// Bytes of the spool that could not be read back.
    pub fn torn_bytes(&self) -> u64 {
        self.torn_bytes.load(Ordering::Relaxed)
    }

    /// Producers that were made: one, and one more whenever codecs or a fatal error made it necessary.
    pub fn producers(&self) -> u64 {
        self.producers.load(Ordering::Relaxed)
    }

    pub(crate) fn trouble(&self, trouble: Trouble) {
        if let Some(count) = self.troubles.get(trouble as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn acknowledge(&self) {
        self.acknowledged.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn park(&self) {
        self.parked.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn spool_failed(&self) {
        self.spool_failures.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn torn(&self, bytes: u64) {
        self.torn_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn producer(&self) {
        self.producers.fetch_add(1, Ordering::Relaxed);
    }
}

/// `acknowledged 12 messages; unreachable 31 times, timeout 2 times; spooled 7 messages`
impl fmt::Display for KafkaCounters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "acknowledged {} messages", self.acknowledged())?;
        let seen = Trouble::ALL.map(|trouble| (trouble, self.troubles(trouble)));
        for (i, (trouble, times)) in seen.iter().filter(|(_, times)| *times > 0).enumerate() {
            write!(f, "{} {} {times} times", if i == 0 { ";" } else { "," }, trouble.name())?;
        }
        for (count, what) in [
            (self.parked(), "messages spooled"),
            (self.spool_failures(), "writes to the spool failed"),
            (self.torn_bytes(), "bytes of the spool were damaged"),
        ] {
            if count > 0 {
                write!(f, "; {count} {what}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counters_print_what_happened_and_nothing_else() {
        let counters = KafkaCounters::default();
        counters.acknowledge();
        assert_eq!(counters.to_string(), "acknowledged 1 messages");
        (0..3).for_each(|_| counters.trouble(Trouble::Unreachable));
        counters.trouble(Trouble::Timeout);
        counters.park();
        counters.torn(9);
        assert_eq!(
            counters.to_string(),
            "acknowledged 1 messages; unreachable 3 times, timeout 1 times; 1 messages spooled; \
             9 bytes of the spool were damaged"
        );
    }
}
