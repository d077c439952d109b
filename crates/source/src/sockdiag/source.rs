//! The source: scans, dispatches, waits, and reports namespace by namespace.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use crossbeam_channel::unbounded;
use sockeye_netns::{Scanner, Watcher};
use sockeye_pipeline::{Completeness, Outlet, PartReport, Source, Stop};
use sockeye_sys::netns::{NetnsFd, NetnsId, OpenError};
use tracing::warn;

use super::counters::Counters;
use super::kit::Kits;
use super::reader::{Done, Shared};
use super::readers::Readers;
use super::settings::Settings;

/// Reads every TCP socket of every network namespace.
#[derive(Debug)]
pub struct SockDiag {
    state: Arc<Mutex<State>>,
    kits: Kits,
    counters: Arc<Counters>,
    watcher: Option<Watcher>,
}

#[derive(Debug)]
struct State {
    scanner: Scanner,
    readers: Readers,
    counters: Arc<Counters>,
    warned_incomplete: bool,
}

impl SockDiag {
    /// Opens our own namespace, to which readers return. The thread that calls must be at home; so are its children.
    ///
    /// # Errors
    /// [`OpenError`]: without `/proc` nothing can be found.
    pub fn new(settings: Settings) -> Result<Self, OpenError> {
        let home = NetnsFd::open("/proc/thread-self/ns/net")?;
        let concurrent = thread::available_parallelism().map_or(1, usize::from);
        let most = settings.max_threads.max(1);
        let kits = Kits::new(&settings, concurrent.max(usize::from(settings.netlinkers)).min(most));
        let scanner = Scanner::new(settings.scan.clone());
        let counters = Arc::new(Counters::default());
        let attrs = settings.useful_attrs();
        let shared =
            Shared { settings, attrs, counters: Arc::clone(&counters), home, kits: kits.clone() };
        let readers = Readers::new(Arc::new(shared));
        let state =
            State { scanner, readers, counters: Arc::clone(&counters), warned_incomplete: false };
        Ok(Self { state: Arc::new(Mutex::new(state)), kits, counters, watcher: None })
    }

    /// Watches the directories of mounts between polls, so that threads of dead namespaces go at once.
    /// A host whose inotify instances are used up is no reason not to poll.
    pub fn watch(&mut self, directories: Vec<std::path::PathBuf>) {
        let state = Arc::clone(&self.state);
        // While a poll runs, this waits for its end. The watcher is never dropped during one.
        let on_change = move || lock(&state).refresh();
        match Watcher::spawn(directories, on_change) {
            Ok(watcher) => self.watcher = Some(watcher),
            Err(error) => warn!(%error, "namespaces are looked for at polls only"),
        }
    }

    /// What the source counts. Shared: they can be read while it polls.
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }
}

impl Source for SockDiag {
    fn name(&self) -> &'static str {
        "sockdiag"
    }

    fn poll(&mut self, outlet: &Outlet, stop: &Stop) -> Vec<PartReport> {
        let mut state = lock(&self.state);
        state.refresh();
        let (sender, done) = unbounded();
        let jobs = state.readers.dispatch(outlet, stop, &sender);
        drop(sender);
        let done: Vec<Done> = done.iter().collect();
        assert_eq!(done.len(), jobs, "a reader has panicked, and its namespace was not read");
        let mut parts: BTreeMap<NetnsId, PartReport> = BTreeMap::new();
        for Done { netns, report } in done {
            match parts.entry(netns.id) {
                Entry::Occupied(mut part) => add(part.get_mut(), &report),
                Entry::Vacant(part) => drop(part.insert(report)),
            }
        }
        self.kits.finish_poll(outlet);
        parts.into_values().collect()
    }

    fn finish(&mut self, _outlet: &Outlet) {
        self.watcher = None;
    }
}

impl State {
    fn refresh(&mut self) {
        let scan = self.scanner.scan();
        self.counters.scanned(&scan);
        if let Some(errno) = scan.incomplete
            && !self.warned_incomplete
        {
            self.warned_incomplete = true;
            warn!(%errno, "the scan for namespaces failed in places: some may be missing");
        }
        self.readers.reconcile(&scan);
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Adds what another reader of the same namespace has read.
fn add(part: &mut PartReport, other: &PartReport) {
    part.rows += other.rows;
    part.seen += other.seen;
    part.bytes += other.bytes;
    part.took = part.took.max(other.took);
    if part.completeness == Completeness::Complete {
        part.completeness = other.completeness;
    }
}
