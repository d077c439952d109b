//! The table of one namespace, which readers and the thread of closed sockets share.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sockeye_record::Envelope;
use sockeye_sys::clock;
use sockeye_wire::InetDiag;

use super::Track;
use super::table::{Judgement, Seen, Table, TableCounts};
use super::totals::Counters;
use crate::sockdiag::Ship;

/// A table and its lock, which is taken for a chunk or a batch, and never while somebody waits for a sink.
#[derive(Debug)]
pub(crate) struct Tracked {
    table: Mutex<Table>,
    counters: Arc<Counters>,
    /// The kernel tells of sockets of this namespace that close.
    listened: AtomicBool,
    /// Id of the namespace as seen from ours, and 1 more; 0: it is not known.
    nsid: AtomicU64,
    /// The namespace is gone; the sockets that are left went with it.
    retired: AtomicBool,
}

/// A table in use. What it has counted is published when it is let go of.
#[derive(Debug)]
pub(crate) struct Use<'a> {
    guard: MutexGuard<'a, Table>,
    counters: &'a Counters,
    entries: usize,
}

/// A table in use for a chunk, which lets go of it while rows are shipped.
pub(crate) struct Chunk<'a> {
    tracked: &'a Tracked,
    in_use: RefCell<Option<Use<'a>>>,
    /// Wall clock of the request.
    requested_ns: i64,
    deltas: bool,
}

/// Lets go of the table first.
pub(crate) struct ShipUnlocked<'c, 't, S> {
    pub(crate) chunk: &'c Chunk<'t>,
    pub(crate) to: &'c S,
}

impl Tracked {
    pub(super) fn new(track: &Track) -> Self {
        Self {
            table: Mutex::new(Table::new(Arc::clone(&track.budget))),
            counters: Arc::clone(&track.counters),
            listened: AtomicBool::new(false),
            nsid: AtomicU64::new(0),
            retired: AtomicBool::new(false),
        }
    }

    pub(crate) fn lock(&self) -> Use<'_> {
        let guard = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let entries = guard.len();
        Use { guard, counters: &self.counters, entries }
    }

    /// The table, to be used while a chunk of what was requested at this time is read.
    pub(crate) fn chunk(&self, requested_ns: i64, deltas: bool) -> Chunk<'_> {
        Chunk { tracked: self, in_use: RefCell::default(), requested_ns, deltas }
    }

    /// From now on the kernel tells of sockets that close. `nsid`: the id of their namespace, where it has one.
    pub(crate) fn listen(&self, nsid: Option<u32>) {
        self.listened.store(true, Ordering::Relaxed);
        self.nsid.store(nsid.map_or(0, |nsid| u64::from(nsid) + 1), Ordering::Relaxed);
    }

    /// The kernel may tell of them and nobody will know whose they are.
    pub(crate) fn unlisten(&self) {
        self.listened.store(false, Ordering::Relaxed);
        self.nsid.store(0, Ordering::Relaxed);
    }

    pub(crate) fn nsid(&self) -> Option<u32> {
        u32::try_from(self.nsid.load(Ordering::Relaxed).checked_sub(1)?).ok()
    }

    /// The kernel is about to be asked for everything.
    pub(crate) fn begin_dump(&self) {
        self.lock().guard.begin_dump(clock::boottime_ns());
    }

    /// Everything has been read, or not.
    pub(crate) fn end_dump(&self, complete: bool, heard_up_to_ns: i64) {
        let listened = self.listened.load(Ordering::Relaxed);
        let now_ns = clock::boottime_ns();
        let heard_up_to_ns = listened.then_some(heard_up_to_ns);
        self.lock().guard.end_dump(&Judgement { complete, heard_up_to_ns, now_ns });
    }

    /// Polls ask for something else from now on.
    pub(super) fn ask_otherwise(&self) {
        self.lock().guard.ask_otherwise();
    }

    /// Sockets of this namespace were remembered elsewhere.
    pub(super) fn forgot(&self) {
        self.lock().guard.set_forgot();
    }

    pub(super) fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
impl Tracked {
    /// A complete dump shows connections with these cookies.
    pub(crate) fn see(&self, cookies: &[u64]) {
        self.begin_dump();
        let chunk = self.chunk(1, true);
        for cookie in cookies {
            let message = super::test_message::message(*cookie, 0, 0);
            chunk.seen(&super::test_message::parse(&message));
        }
        drop(chunk);
        self.end_dump(true, 0);
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        let left = self.lock().guard.left();
        let (retired, listened) = (*self.retired.get_mut(), *self.listened.get_mut());
        self.counters.entries.fetch_sub(left.0, Ordering::Relaxed);
        if retired && listened {
            Counters::add(&self.counters.netns_gone, left.1);
        }
    }
}

impl std::ops::Deref for Use<'_> {
    type Target = Table;

    fn deref(&self) -> &Table {
        &self.guard
    }
}

impl std::ops::DerefMut for Use<'_> {
    fn deref_mut(&mut self) -> &mut Table {
        &mut self.guard
    }
}

impl Drop for Use<'_> {
    fn drop(&mut self) {
        let (before, now) = (self.entries as u64, self.guard.len() as u64);
        if now >= before {
            Counters::add(&self.counters.entries, now - before);
        } else {
            self.counters.entries.fetch_sub(before - now, Ordering::Relaxed);
        }
        let seen = std::mem::take(&mut self.guard.counts);
        if seen == TableCounts::default() {
            return;
        }
        for (counter, seen) in [
            (&self.counters.duplicates, seen.duplicates),
            (&self.counters.missed, seen.missed),
            (&self.counters.refused, seen.refused),
            (&self.counters.forgotten, seen.forgotten),
            (&self.counters.vanished, seen.vanished),
            (&self.counters.late, seen.late),
        ] {
            Counters::add(counter, seen);
        }
    }
}

impl Chunk<'_> {
    /// A dump shows a socket; without deltas where rows are to have none.
    #[inline]
    pub(crate) fn seen(&self, diag: &InetDiag<'_>) -> Seen {
        let mut in_use = self.in_use.borrow_mut();
        let table = in_use.get_or_insert_with(|| self.tracked.lock());
        match table.guard.seen(diag, self.requested_ns) {
            Seen::Row(deltas) => Seen::Row(deltas.filter(|_| self.deltas)),
            Seen::Duplicate => Seen::Duplicate,
        }
    }
}

impl<S: Ship> Ship for ShipUnlocked<'_, '_, S> {
    fn ship(&self, lane: usize, envelope: Envelope) {
        self.chunk.in_use.replace(None);
        self.to.ship(lane, envelope);
    }
}
