//! The source: scans, dispatches, waits, and reports namespace by namespace.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread;

use crossbeam_channel::unbounded;
use sockeye_netns::{Scanner, Watcher};
use sockeye_pipeline::{Completeness, Outlet, PartReport, Source, Stop};
use sockeye_sys::netns::{NetnsFd, NetnsId, OpenError};
use tracing::warn;

use super::kit::Kits;
use super::reader::{Done, Shared};
use super::readers::Readers;
use super::settings::Settings;

/// Reads every TCP socket of every network namespace.
#[derive(Debug)]
pub struct SockDiag {
    state: Arc<Mutex<State>>,
    /// A namespace came or went while a poll held the state.
    changed: Arc<AtomicBool>,
    kits: Kits,
    watcher: Option<Watcher>,
}

#[derive(Debug)]
struct State {
    scanner: Scanner,
    readers: Readers,
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
        let shared = Arc::new(Shared { settings, home, kits: kits.clone() });
        let state = State { scanner, readers: Readers::new(shared), warned_incomplete: false };
        Ok(Self { state: Arc::new(Mutex::new(state)), changed: Arc::default(), kits, watcher: None })
    }

    /// Watches the directories of mounts between polls, so that threads of dead namespaces go at once.
    /// A host whose inotify instances are used up is no reason not to poll.
    pub fn watch(&mut self, directories: Vec<std::path::PathBuf>) {
        let (state, changed) = (Arc::clone(&self.state), Arc::clone(&self.changed));
        let on_change = move || match state.try_lock() {
            Ok(mut state) => state.refresh(),
            Err(TryLockError::Poisoned(state)) => state.into_inner().refresh(),
            // A poll is running: it looks again when it ends.
            Err(TryLockError::WouldBlock) => changed.store(true, Ordering::Release),
        };
        match Watcher::spawn(directories, on_change) {
            Ok(watcher) => self.watcher = Some(watcher),
            Err(error) => warn!(%error, "namespaces are looked for at polls only"),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source for SockDiag {
    fn name(&self) -> &'static str {
        "sockdiag"
    }

    fn poll(&mut self, outlet: &Outlet, stop: &Stop) -> Vec<PartReport> {
        let mut state = self.state();
        state.refresh();
        let (sender, done) = unbounded();
        let jobs = state.readers.dispatch(outlet, stop, &sender);
        drop(sender);
        let mut parts: BTreeMap<NetnsId, PartReport> = BTreeMap::new();
        for Done { netns, report } in done.iter().take(jobs) {
            let name = report.part.clone();
            if let Some(part) = parts.get_mut(&netns.id) {
                add(part, &report);
            } else {
                parts.insert(netns.id, PartReport { part: name, ..report });
            }
        }
        self.kits.finish_poll(outlet);
        if self.changed.swap(false, Ordering::AcqRel) {
            state.refresh();
        }
        parts.into_values().collect()
    }

    fn finish(&mut self, _outlet: &Outlet) {
        self.watcher = None;
    }
}

impl State {
    fn refresh(&mut self) {
        let scan = self.scanner.scan();
        if let Some(errno) = scan.incomplete
            && !self.warned_incomplete
        {
            self.warned_incomplete = true;
            warn!(%errno, "the scan for namespaces failed in places: some may be missing");
        }
        self.readers.reconcile(&scan);
    }
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
