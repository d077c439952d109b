//! What is remembered of each socket from one row to the next: for deltas, for the columns that the event of a closed
//! socket lacks, and to tell what dumps and events have missed.
//!
//! A table for each namespace, all of them within one budget of bytes. Nothing here holds a namespace.

mod budget;
mod dumps;
mod ends;
mod entry;
mod kinds;
mod slab;
mod table;
#[cfg(test)]
pub(crate) mod test_message;
mod totals;
mod tracked;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use sockeye_filter::Filter;
use sockeye_netns::{NetnsId, ScanOptions};
use sockeye_wire::StateSet;
pub use totals::Totals;

use budget::Budget;
use totals::Counters;

use crate::sockdiag::Modulus;

pub(crate) use table::{Last, Seen};
pub(crate) use tracked::{Chunk, ShipUnlocked, Tracked};

/// How much is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrackSettings {
    /// Bytes of all tables together.
    pub bytes: usize,
    /// Rows say what happened since the row before of the same socket.
    pub deltas: bool,
}

/// The tables of all namespaces.
#[derive(Debug)]
pub struct Track {
    deltas: bool,
    budget: Arc<Budget>,
    counters: Arc<Counters>,
    tables: Mutex<Tables>,
    /// What polls ask for.
    asks: Mutex<Option<Asks>>,
    /// Boot time up to which everything that the kernel told of closed sockets has been read.
    heard_up_to_ns: AtomicI64,
}

/// What polls ask for: who asks for something else sees other sockets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asks {
    pub(crate) states: StateSet,
    pub(crate) modulus: Modulus,
    pub(crate) filter: Option<Filter>,
    pub(crate) scan: ScanOptions,
    /// Polls ask for every state of a connection.
    pub(crate) sees_all: bool,
}

/// Tables by namespace.
#[derive(Debug, Default)]
struct Tables {
    live: BTreeMap<NetnsId, Arc<Tracked>>,
    /// Those of namespaces that are gone, as long as somebody holds them.
    retired: Vec<(NetnsId, Weak<Tracked>)>,
}

impl Track {
    pub(crate) fn new(settings: TrackSettings) -> Self {
        Self {
            deltas: settings.deltas,
            budget: Arc::new(Budget::new(settings.bytes)),
            counters: Arc::default(),
            tables: Mutex::default(),
            asks: Mutex::default(),
            heard_up_to_ns: AtomicI64::new(0),
        }
    }

    /// What the tables have counted so far.
    pub fn totals(&self) -> Totals {
        self.counters.totals(self.budget.taken(), self.budget.limit())
    }

    /// What it was told at start.
    pub fn settings(&self) -> TrackSettings {
        TrackSettings { bytes: self.budget.limit(), deltas: self.deltas }
    }

    /// Whether rows have deltas.
    pub(crate) fn deltas(&self) -> bool {
        self.deltas
    }

    /// The table of a namespace, an empty one if it has none yet.
    pub(crate) fn table(&self, id: NetnsId) -> Arc<Tracked> {
        let Tables { live, retired } = &mut *self.tables();
        let table = live.entry(id).or_insert_with(|| {
            let table = Tracked::new(self);
            let is_held =
                |(gone, table): &(NetnsId, Weak<Tracked>)| *gone == id && table.strong_count() > 0;
            if retired.iter().any(is_held) {
                // It may be the same namespace, which a scan has not found.
                table.forgot();
            }
            Arc::new(table)
        });
        Arc::clone(table)
    }

    /// The namespace is gone. Who holds its table has it until the last event of its sockets was read.
    pub(crate) fn gone(&self, id: NetnsId) {
        let mut tables = self.tables();
        let Some(table) = tables.live.remove(&id) else { return };
        table.retire();
        tables.retired.retain(|(_, table)| table.strong_count() > 0);
        tables.retired.push((id, Arc::downgrade(&table)));
        // What it counts at its end needs no lock.
        drop(tables);
    }

    /// Polls ask for this from now on. Sockets that they may not see any more have not vanished. Whether they look elsewhere
    /// for namespaces than before.
    pub(crate) fn ask(&self, asks: Asks) -> bool {
        self.counters.is_upper_bound.store(!asks.sees_all, Ordering::Relaxed);
        let mut asked = self.asks.lock().unwrap_or_else(PoisonError::into_inner);
        let before = asked.replace(asks);
        let Some(before) = before else { return false };
        if asked.as_ref() != Some(&before) {
            for table in self.tables().live.values() {
                table.ask_otherwise();
            }
        }
        asked.as_ref().is_some_and(|asks| asks.scan != before.scan)
    }

    /// The namespaces that have tables.
    pub(crate) fn ids(&self) -> Vec<NetnsId> {
        self.tables().live.keys().copied().collect()
    }

    /// Lets go of those that went while nobody looked: they had tables `before` the scan, which has `found` all there are.
    /// One that looked `elsewhere` than those before proves no end.
    pub(crate) fn sweep(&self, before: &[NetnsId], found: &BTreeSet<NetnsId>, elsewhere: bool) {
        for id in before.iter().filter(|id| !found.contains(id)) {
            if elsewhere {
                self.table(*id).unlisten();
            }
            self.gone(*id);
        }
    }

    /// The dump of a namespace has ended.
    pub(crate) fn end_dump(&self, id: NetnsId, complete: bool) {
        let table = self.tables().live.get(&id).cloned();
        if let Some(table) = table {
            table.end_dump(complete, self.heard_up_to_ns.load(Ordering::Relaxed));
        }
    }

    /// Everything that the kernel told up to this boot time has been read.
    pub(crate) fn heard(&self, up_to_ns: i64) {
        self.heard_up_to_ns.store(up_to_ns, Ordering::Relaxed);
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: TrackSettings = TrackSettings { bytes: 1 << 20, deltas: true };

    fn id(inode: u64) -> NetnsId {
        NetnsId { device: 4, inode }
    }

    fn asks(one_in: u32, sees_all: bool) -> Asks {
        let (states, scan) = (StateSet::CONNECTIONS, ScanOptions::default());
        Asks { states, modulus: Modulus::one_in(one_in), filter: None, scan, sees_all }
    }

    #[test]
    fn namespaces_that_went_while_nobody_looked_leave_no_table() {
        let track = Track::new(SETTINGS);
        track.table(id(1)).see(&[5, 6]);
        track.table(id(2)).see(&[7, 8, 9]);
        track.table(id(2)).listen(Some(3));
        let before = track.ids();
        // Found behind the scan.
        track.table(id(3));
        track.sweep(&before, &BTreeSet::from([id(1)]), false);
        assert_eq!(track.ids(), [id(1), id(3)]);
        assert_eq!((track.totals().entries, track.totals().netns_gone), (2, 3));
        track.table(id(1)).listen(None);
        track.sweep(&before, &BTreeSet::new(), true);
        assert_eq!((track.totals().entries, track.totals().netns_gone), (0, 3));
    }

    #[test]
    fn a_table_in_place_of_one_that_is_still_held_says_that_sockets_were_forgotten() {
        let track = Track::new(SETTINGS);
        let held = track.table(id(1));
        track.gone(id(1));
        assert!(track.table(id(1)).lock().has_forgotten());
        assert!(!track.table(id(2)).lock().has_forgotten());
        drop(held);
        track.gone(id(1));
        assert!(!track.table(id(1)).lock().has_forgotten(), "another namespace");
    }

    #[test]
    fn sockets_that_polls_do_not_ask_for_any_more_have_not_vanished() {
        for (then, vanished) in [(asks(1, true), 2), (asks(2, true), 0)] {
            let track = Track::new(SETTINGS);
            track.ask(asks(1, true));
            let table = track.table(id(1));
            table.listen(None);
            table.see(&[5, 6]);
            track.ask(then);
            for _ in 0..3 {
                table.begin_dump();
                table.end_dump(true, i64::MAX);
            }
            assert_eq!((track.totals().vanished, track.totals().entries), (vanished, 2));
        }
        let track = Track::new(SETTINGS);
        track.ask(asks(1, false));
        assert!(track.totals().estimate_is_upper_bound);
        track.ask(asks(1, true));
        assert!(!track.totals().estimate_is_upper_bound);
    }
}
