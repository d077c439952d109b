//! What the tables have counted since the start.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The counters of all tables. Read them with [`Counters::totals`].
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) entries: AtomicU64,
    pub(crate) duplicates: AtomicU64,
    pub(crate) missed: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) forgotten: AtomicU64,
    pub(crate) vanished: AtomicU64,
    pub(crate) late: AtomicU64,
    pub(crate) netns_gone: AtomicU64,
    pub(crate) is_upper_bound: AtomicBool,
}

/// The counters at one time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Sockets that are remembered now. No running total.
    pub entries: u64,
    /// Bytes that they take, index and slack included. No running total.
    pub bytes: u64,
    /// Bytes that they may take.
    pub limit: u64,
    /// Sockets that one dump showed twice; the second is no row.
    pub duplicates: u64,
    /// Dumps that did not show a socket that the next one showed again.
    pub missed: u64,
    /// Sockets seen by a poll for which there was no room: their rows have no deltas.
    pub refused: u64,
    /// Sockets that were forgotten without anybody knowing that they had closed.
    pub forgotten: u64,
    /// Sockets that two complete polls in a row did not show, and of whose end the kernel had not told by then.
    pub vanished: u64,
    /// Those of them whose end the kernel told of later after all.
    pub late: u64,
    /// Sockets whose namespace went away without an event of theirs.
    pub netns_gone: u64,
    /// Polls do not ask for all states of connections: one that vanished may be in another state.
    pub estimate_is_upper_bound: bool,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn totals(&self, bytes: usize, limit: usize) -> Totals {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        // Whoever is late has vanished before.
        let late = read(&self.late);
        Totals {
            entries: read(&self.entries),
            bytes: bytes as u64,
            limit: limit as u64,
            duplicates: read(&self.duplicates),
            missed: read(&self.missed),
            refused: read(&self.refused),
            forgotten: read(&self.forgotten),
            vanished: read(&self.vanished),
            late,
            netns_gone: read(&self.netns_gone),
            estimate_is_upper_bound: self.is_upper_bound.load(Ordering::Relaxed),
        }
    }
}

impl Totals {
    /// Connections whose end nobody told of, as far as polls can tell.
    pub fn estimated_lost(&self) -> u64 {
        self.vanished.saturating_sub(self.late)
    }

    /// What a reader of the last lines should know; `None` when there was nothing of the kind.
    pub fn odd(&self) -> Option<String> {
        let lost = self.estimated_lost();
        let most = if self.estimate_is_upper_bound { "at most " } else { "" };
        let counts = [
            (self.duplicates, "duplicates removed"),
            (self.missed, "sockets missed by a dump"),
            (self.refused, "sockets not remembered for want of --track-bytes"),
            (self.forgotten, "sockets forgotten"),
            (self.netns_gone, "sockets gone with their namespace without an event"),
        ];
        let counts = counts.iter().filter(|(count, _)| *count > 0);
        let mut odd: Vec<String> = counts.map(|(count, what)| format!("{count} {what}")).collect();
        if lost > 0 {
            odd.push(format!("{most}{lost} connections vanished without an event"));
        }
        (!odd.is_empty()).then(|| odd.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_odd_is_told() {
        let mut totals = Totals { entries: 5, bytes: 500, limit: 1000, ..Totals::default() };
        assert_eq!(totals.odd(), None);
        (totals.vanished, totals.late, totals.duplicates) = (7, 4, 2);
        assert_eq!(
            totals.odd().unwrap(),
            "2 duplicates removed, 3 connections vanished without an event"
        );
        totals.estimate_is_upper_bound = true;
        assert!(
            totals.odd().unwrap().ends_with(", at most 3 connections vanished without an event")
        );
    }
}
