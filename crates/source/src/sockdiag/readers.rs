//! The reader threads: one for each namespace while there are enough, and some that are shared.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};
use nix::libc::EAGAIN;
use sockeye_netns::{Changes, Netns, Scan, reconcile};
use sockeye_pipeline::{Incomplete, Outlet, Stop};
use sockeye_sys::netns::NetnsId;
use tracing::{debug, warn};

use super::check::Checks;
use super::memory::Memory;
use super::plan::{Plan, PlanMode};
use super::reader::{Done, Job, ReaderThread, Shared};
use super::ring_reader::ring_threads;

/// All readers. Threads come and go with the namespaces, and never hold one.
#[derive(Debug)]
pub(crate) struct Readers {
    shared: Arc<Shared>,
    known: BTreeMap<NetnsId, Known>,
    pinned: BTreeMap<NetnsId, ReaderThread>,
    pool: Vec<ReaderThread>,
    /// Why there is no pool.
    no_thread: Incomplete,
    pool_jobs: (Sender<Job>, Receiver<Job>),
    checks: Checks,
}

#[derive(Debug)]
struct Known {
    netns: Arc<Netns>,
    /// At the last poll nothing was walked to read it: it takes less time than to wake a thread.
    is_cheap: bool,
    /// With the job while a poll runs.
    memory: Memory,
}

impl Known {
    fn new(netns: &Netns) -> Self {
        Self { netns: Arc::new(netns.clone()), is_cheap: false, memory: Memory::default() }
    }
}

impl AsRef<Netns> for Known {
    fn as_ref(&self) -> &Netns {
        &self.netns
    }
}

impl Readers {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            known: BTreeMap::new(),
            pinned: BTreeMap::new(),
            pool: Vec::new(),
            no_thread: Incomplete::Failed(EAGAIN),
            pool_jobs: unbounded(),
            checks: Checks::default(),
        }
    }

    /// Lets go of the threads of namespaces that have gone and gives threads to new ones.
    pub(crate) fn reconcile(&mut self, scan: &Scan) {
        let Changes { appeared, gone, renamed, kept } = reconcile(&self.known, scan);
        self.shared.counters.changed(appeared.len(), gone.len());
        for netns in &appeared {
            debug!(netns = %netns.id, name = %netns.name, "namespace appeared");
        }
        for id in gone {
            debug!(netns = %id, "namespace gone");
            self.pinned.remove(&id);
            self.known.remove(&id);
            if let Some(track) = &self.shared.track {
                track.gone(id);
            }
        }
        for netns in appeared.into_iter().chain(renamed).chain(kept) {
            match self.known.entry(netns.id) {
                Entry::Vacant(new) => drop(new.insert(Known::new(netns))),
                Entry::Occupied(known) if *known.get().netns == *netns => {}
                Entry::Occupied(mut known) => known.get_mut().netns = Arc::new(netns.clone()),
            }
        }
        if self.shared.settings.io_uring.is_some() {
            return self.share(ring_threads(&self.shared.settings));
        }
        let all = self.known.values().map(|known| &known.netns);
        let without = all.filter(|netns| !self.pinned.contains_key(&netns.id));
        let mut without: Vec<(bool, NetnsId)> =
            without.map(|netns| (!netns.is_default, netns.id)).collect();
        // The host's own namespace is the one that has most to read.
        without.sort_unstable();
        let everyone = without.into_iter().all(|(_, id)| self.pin(id));
        let shared = if everyone { 0 } else { POOL_THREADS };
        self.share(shared.max(self.part_readers()));
    }

    /// Gives every namespace to its reader; what becomes of it is sent to `done`.
    pub(crate) fn dispatch(&mut self, outlet: &Outlet, stop: &Stop, done: &Sender<Done>) {
        let check = match self.shared.settings.plan {
            PlanMode::Auto => self.checks.due(self.known.keys().copied()),
            PlanMode::Full => None,
        };
        for (id, known) in &mut self.known {
            let job = Job {
                netns: Arc::clone(&known.netns),
                part: None,
                memory: std::mem::take(&mut known.memory),
                check: check == Some(*id),
                helpers: (!self.pool.is_empty()).then(|| self.pool_jobs.0.clone()),
                outlet: outlet.clone(),
                stop: stop.clone(),
                done: done.clone(),
            };
            // Those that share threads are read one after the other, and nobody is woken for each.
            let shares =
                known.is_cheap && self.pool.len() >= self.shared.kits.count().min(POOL_THREADS);
            if let Some(thread) = self.pinned.get(id).filter(|_| !shares) {
                thread.send(job);
            } else if self.pool.is_empty() {
                // Counted, and tried again at the next poll.
                let why = self.no_thread;
                let _ =
                    done.send(Done::unread(&known.netns, why, Duration::ZERO, job.memory, true));
            } else {
                // The receiver lives in `self`.
                let _ = self.pool_jobs.0.send(job);
            }
        }
    }

    /// Takes back what is remembered of a namespace. A part's sample is added to it.
    pub(crate) fn remember(&mut self, done: Done) {
        self.checks.took(done.plan, done.report.took);
        let Some(known) = self.known.get_mut(&done.netns.id) else { return };
        if done.leads {
            // A check says nothing about the next poll.
            if done.plan != Plan::Check {
                known.is_cheap = done.plan.is_cheap();
            }
            let of_parts = std::mem::replace(&mut known.memory, done.memory);
            known.memory.sample.add(of_parts.sample);
        } else {
            known.memory.sample.add(done.memory.sample);
        }
    }

    /// Starts the thread of one namespace; false when there are no more to start.
    fn pin(&mut self, id: NetnsId) -> bool {
        let most = self.shared.settings.max_threads;
        if self.pinned.len() + 1 > most.saturating_sub(POOL_THREADS.max(self.part_readers())) {
            return false;
        }
        match ReaderThread::pinned(&format!("nl-{}", id.inode), &self.shared) {
            Ok(thread) => {
                self.pinned.insert(id, thread);
                true
            }
            Err(error) => {
                warn!(%error, "no more reader threads; the remaining namespaces share a few");
                false
            }
        }
    }

    /// Threads for the parts of a large namespace, besides the one that leads.
    fn part_readers(&self) -> usize {
        usize::from(self.shared.settings.netlinkers.most()) - 1
    }

    /// Lets `wanted` threads share what has no thread of its own, as far as there is room for them.
    fn share(&mut self, wanted: usize) {
        if wanted < self.pool.len() {
            // Pool threads end when no sender is left.
            self.pool_jobs = unbounded();
            self.pool.clear();
        }
        let room = self.shared.settings.max_threads.saturating_sub(self.pinned.len());
        let room = if self.pinned.len() < self.known.len() { room.max(1) } else { room };
        while self.pool.len() < wanted.min(room) {
            let kind = if self.shared.settings.io_uring.is_some() { "ring" } else { "pool" };
            let name = format!("nl-{kind}-{}", self.pool.len());
            match ReaderThread::pooled(&name, &self.shared, self.pool_jobs.1.clone()) {
                Ok(thread) => self.pool.push(thread),
                Err(error) => {
                    if self.pool.is_empty() {
                        warn!(%error, "not a single reader thread for the remaining namespaces: they are not read");
                    }
                    self.no_thread = Incomplete::Failed(error.raw_os_error().unwrap_or(EAGAIN));
                    return;
                }
            }
        }
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.pool_jobs = unbounded();
        self.pool.clear();
    }
}

/// Threads that namespaces without their own share, and those that are cheap to read; part of `max_threads`.
pub const POOL_THREADS: usize = 4;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crossbeam_channel::unbounded;
    use sockeye_netns::{ScanOptions, Scanner};
    use sockeye_pipeline::{Completeness, PartReport};
    use sockeye_sys::netns::NetnsFd;
    use sockeye_testkit::netns::{TestNetns, require_root};
    use sockeye_testkit::netns_anonymous::AnonymousNetns;

    use super::super::settings::Settings;
    use super::*;

    fn readers(max_threads: usize) -> Readers {
        let settings = Settings { max_threads, ..Settings::of_tests() };
        let home = NetnsFd::open("/proc/thread-self/ns/net").unwrap();
        Readers::new(Arc::new(Shared::new(settings, home, 2, None)))
    }

    fn reports(readers: &mut Readers) -> BTreeMap<String, PartReport> {
        let (sender, done) = unbounded();
        let outlet = Outlet::new(vec![Vec::new()], Stop::default());
        readers.dispatch(&outlet, &Stop::default(), &sender);
        drop(sender);
        let reports: Vec<Done> = done.iter().collect();
        assert_eq!(reports.len(), readers.known.len());
        reports.into_iter().map(|done| (done.report.part.to_string(), done.report)).collect()
    }

    #[test]
    #[ignore = "needs root; `cargo xtask ci` runs it"]
    fn namespaces_that_go_between_the_scan_and_the_opening_have_vanished_and_the_others_are_read() {
        require_root();
        for max_threads in [1, 4096] {
            let (stays, deleted) =
                (TestNetns::new("stays").unwrap(), TestNetns::new("deleted").unwrap());
            let exits = AnonymousNetns::new().unwrap();
            let mut readers = readers(max_threads);
            let scan = Scanner::new(ScanOptions::default()).scan();
            readers.reconcile(&scan);
            let exits_id = scan.namespaces.iter().find(|netns| netns.pid == Some(exits.pid()));
            let exits_name = exits_id.unwrap().name.to_string();
            let (stays_name, deleted_name) = (stays.name().to_owned(), deleted.name().to_owned());
            drop((deleted, exits));
            let reports = reports(&mut readers);
            assert_eq!(reports[&stays_name].completeness, Completeness::Complete);
            let vanished = Completeness::Incomplete(Incomplete::Vanished);
            assert_eq!(reports[&deleted_name].completeness, vanished);
            assert_eq!(reports[&exits_name].completeness, vanished);
        }
    }
}
