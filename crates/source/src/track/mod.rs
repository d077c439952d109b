//! What is remembered of each socket from one row to the next: for deltas, for the columns that the event of a closed
//! socket lacks, and to tell what dumps and events have missed.
//!
//! A table for each namespace, all of them within one budget of bytes. Nothing here holds a namespace.

mod budget;
mod dumps;
mod entry;
mod kinds;
mod slab;
mod table;
mod totals;
mod tracked;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sockeye_netns::NetnsId;
pub use totals::Totals;

use budget::Budget;
use totals::Counters;

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
    tables: Mutex<BTreeMap<NetnsId, Arc<Tracked>>>,
    /// Boot time up to which everything that the kernel told of closed sockets has been read.
    heard_up_to_ns: AtomicI64,
}

impl Track {
    /// `sees_all`: polls ask for every state of a connection.
    pub(crate) fn new(settings: TrackSettings, sees_all: bool) -> Self {
        let counters = Counters::default();
        counters.is_upper_bound.store(!sees_all, Ordering::Relaxed);
        Self {
            deltas: settings.deltas,
            budget: Arc::new(Budget::new(settings.bytes)),
            counters: Arc::new(counters),
            tables: Mutex::default(),
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
        Arc::clone(self.tables().entry(id).or_insert_with(|| Arc::new(Tracked::new(self))))
    }

    /// The namespace is gone. Who holds its table has it until the last event of its sockets was read.
    pub(crate) fn gone(&self, id: NetnsId) {
        if let Some(table) = self.tables().remove(&id) {
            table.retire();
        }
    }

    /// The dump of a namespace has ended.
    pub(crate) fn end_dump(&self, id: NetnsId, complete: bool) {
        let table = self.tables().get(&id).cloned();
        if let Some(table) = table {
            table.end_dump(complete, self.heard_up_to_ns.load(Ordering::Relaxed));
        }
    }

    /// Everything that the kernel told up to this boot time has been read.
    pub(crate) fn heard(&self, up_to_ns: i64) {
        self.heard_up_to_ns.store(up_to_ns, Ordering::Relaxed);
    }

    fn tables(&self) -> MutexGuard<'_, BTreeMap<NetnsId, Arc<Tracked>>> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
