//! The reader threads: some for each namespace while there are enough, a shared pool for the others.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, unbounded};
use nix::libc::EAGAIN;
use sockeye_netns::{Changes, Netns, Scan, reconcile};
use sockeye_pipeline::{Incomplete, Outlet, Stop};
use sockeye_sys::netns::NetnsId;
use tracing::{debug, warn};

use super::reader::{Common, Done, Job, ReaderThread, Shared};

/// All readers. Threads come and go with the namespaces, and never hold one.
#[derive(Debug)]
pub(crate) struct Readers {
    shared: Arc<Shared>,
    known: BTreeMap<NetnsId, Netns>,
    pinned: BTreeMap<NetnsId, Vec<ReaderThread>>,
    pool: Vec<ReaderThread>,
    /// Why there is no pool.
    no_thread: Incomplete,
    pool_jobs: (Sender<Job>, Receiver<Job>),
}

impl Readers {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let pool_jobs = unbounded();
        Self {
            shared,
            known: BTreeMap::new(),
            pinned: BTreeMap::new(),
            pool: Vec::new(),
            no_thread: Incomplete::Failed(EAGAIN),
            pool_jobs,
        }
    }

    /// Lets go of the threads of namespaces that have gone and gives threads to new ones.
    pub(crate) fn reconcile(&mut self, scan: &Scan) {
        let Changes { appeared, gone, renamed, kept } = reconcile(&self.known, scan);
        for netns in &appeared {
            debug!(netns = %netns.id, name = %netns.name, "namespace appeared");
        }
        for id in gone {
            debug!(netns = %id, "namespace gone");
            self.pinned.remove(&id);
            self.known.remove(&id);
        }
        let found = appeared.into_iter().chain(renamed).chain(kept);
        self.known.extend(found.map(|netns| (netns.id, netns.clone())));
        let without = self.known.values().filter(|netns| !self.pinned.contains_key(&netns.id));
        let mut without: Vec<(bool, NetnsId)> =
            without.map(|netns| (!netns.is_default, netns.id)).collect();
        // The host's own namespace is the one most worth splitting.
        without.sort_unstable();
        if without.into_iter().all(|(_, id)| self.pin(id)) {
            self.dismiss_pool();
        } else {
            self.fill_pool();
        }
    }

    /// Gives every namespace to its readers; returns how many jobs will be `done`.
    pub(crate) fn dispatch(&self, outlet: &Outlet, stop: &Stop, done: &Sender<Done>) -> usize {
        let mut jobs = 0;
        for netns in self.known.values() {
            let common = Arc::<Common>::default();
            let job = |part| Job {
                netns: netns.clone(),
                part,
                common: Arc::clone(&common),
                outlet: outlet.clone(),
                stop: stop.clone(),
                done: done.clone(),
            };
            if let Some(threads) = self.pinned.get(&netns.id) {
                let count = u16::try_from(threads.len()).unwrap_or(u16::MAX);
                for (index, thread) in (0..count).zip(threads) {
                    thread.send(job((index, count)));
                    jobs += 1;
                }
            } else if self.pool.is_empty() {
                // Counted, and tried again at the next poll.
                let _ = done.send(Done::unread(netns, self.no_thread));
                jobs += 1;
            } else {
                // The receiver lives in `self`.
                let _ = self.pool_jobs.0.send(job((0, 1)));
                jobs += 1;
            }
        }
        jobs
    }

    /// Starts the threads of one namespace; false when there are no more to start.
    fn pin(&mut self, id: NetnsId) -> bool {
        let wanted = usize::from(self.shared.settings.netlinkers.max(1));
        let running: usize = self.pinned.values().map(Vec::len).sum();
        if running + wanted > self.shared.settings.max_threads.saturating_sub(POOL_THREADS) {
            return false;
        }
        let start = |index| ReaderThread::pinned(&format!("nl-{}-{index}", id.inode), &self.shared);
        match (0..wanted).map(start).collect::<io::Result<Vec<_>>>() {
            Ok(threads) => {
                self.pinned.insert(id, threads);
                true
            }
            Err(error) => {
                warn!(%error, "no more reader threads; the remaining namespaces share a few");
                false
            }
        }
    }

    /// Every namespace has threads of its own.
    fn dismiss_pool(&mut self) {
        // Pool threads end when no sender is left.
        self.pool_jobs = unbounded();
        self.pool.clear();
    }

    fn fill_pool(&mut self) {
        let running: usize = self.pinned.values().map(Vec::len).sum();
        let room = self.shared.settings.max_threads.saturating_sub(running).max(1);
        while self.pool.len() < POOL_THREADS.min(room) {
            let name = format!("nl-pool-{}", self.pool.len());
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
        self.dismiss_pool();
    }
}

/// Threads that namespaces without their own share; part of `max_threads`.
pub const POOL_THREADS: usize = 4;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crossbeam_channel::unbounded;
    use sockeye_netns::{ScanOptions, Scanner};
    use sockeye_pipeline::{Completeness, PartReport};
    use sockeye_record::{Encoding, Format, Limits};
    use sockeye_sys::netns::NetnsFd;
    use sockeye_testkit::netns::{TestNetns, require_root};
    use sockeye_testkit::netns_anonymous::AnonymousNetns;
    use sockeye_wire::{AttrSet, StateSet};

    use super::super::kit::Kits;
    use super::super::parked::Parked;
    use super::super::sample::Modulus;
    use super::super::settings::{Host, Settings};
    use super::*;

    fn readers(max_threads: usize) -> Readers {
        let settings = Settings {
            host: Host::default(),
            scan: ScanOptions::default(),
            states: StateSet::DEFAULT,
            attrs: AttrSet::DEFAULT,
            modulus: Modulus::ALL,
            encodings: vec![Encoding {
                format: Format::ProtobufList,
                columns: None,
                humanize: None,
            }],
            limits: Limits { rows: 100, bytes: 1 << 20 },
            timeout: std::time::Duration::from_secs(20),
            netlinkers: 2,
            max_threads,
            packet_bytes: 32_768,
        };
        let kits = Kits::new(&settings, 2);
        let home = NetnsFd::open("/proc/thread-self/ns/net").unwrap();
        let counters = Arc::default();
        let (attrs, parked) = (AttrSet::DEFAULT, Parked::default());
        Readers::new(Arc::new(Shared { settings, attrs, counters, home, kits, parked }))
    }

    fn reports(readers: &Readers) -> BTreeMap<String, Vec<PartReport>> {
        let (sender, done) = unbounded();
        let jobs = readers.dispatch(
            &Outlet::new(vec![Vec::new()], Stop::default()),
            &Stop::default(),
            &sender,
        );
        drop(sender);
        let mut reports: BTreeMap<String, Vec<PartReport>> = BTreeMap::new();
        for done in done {
            reports.entry(done.report.part.to_string()).or_default().push(done.report);
        }
        assert_eq!(reports.values().map(Vec::len).sum::<usize>(), jobs);
        reports
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
            let reports = reports(&readers);
            let completeness = |name: &str| -> Vec<Completeness> {
                reports[name].iter().map(|report| report.completeness).collect()
            };
            let parts = if max_threads == 1 { 1 } else { 2 };
            assert_eq!(completeness(&stays_name), vec![Completeness::Complete; parts]);
            let vanished = Completeness::Incomplete(Incomplete::Vanished);
            assert_eq!(completeness(&deleted_name), vec![vanished; parts]);
            assert_eq!(completeness(&exits_name), vec![vanished; parts]);
        }
    }
}
