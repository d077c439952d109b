//! The source: scans, dispatches, waits, and reports namespace by namespace.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crossbeam_channel::{Receiver, RecvTimeoutError, unbounded};
use sockeye_netns::{ScanOptions, Scanner, Watcher};
use sockeye_pipeline::{Completeness, Outlet, PartReport, Source, Stop};
use sockeye_sys::netns::{NetnsFd, NetnsId, OpenError};
use tracing::warn;

use super::counters::Counters;
use super::parked::LOOK;
use super::reader::{Done, Shared};
use super::readers::Readers;
use super::settings::{Settings, processors};
use crate::track::{Totals, Track};

/// Reads every TCP socket of every network namespace.
#[derive(Debug)]
pub struct SockDiag {
    state: Arc<Mutex<State>>,
    shared: Arc<Shared>,
    watcher: Option<Watcher>,
}

#[derive(Debug)]
struct State {
    scanner: Scanner,
    readers: Readers,
    warned_incomplete: bool,
    remembered: Remembered,
}

impl SockDiag {
    /// Opens our own namespace, to which readers return. The thread that calls must be at home; so are its children.
    ///
    /// # Errors
    /// [`OpenError`]: without `/proc` nothing can be found.
    pub fn new(settings: Settings) -> Result<Self, OpenError> {
        Self::after(settings, None)
    }

    /// The same for whoever goes on where another has ended: `track` is what that one remembered of sockets, so that
    /// differences go on. The settings of what is remembered are the other's.
    ///
    /// # Errors
    /// [`OpenError`]: without `/proc` nothing can be found.
    pub fn after(settings: Settings, track: Option<Arc<Track>>) -> Result<Self, OpenError> {
        let home = NetnsFd::open("/proc/thread-self/ns/net")?;
        let scanner = Scanner::new(settings.scan.clone());
        let shared = Arc::new(Shared::new(settings, home, processors(), track));
        let readers = Readers::new(Arc::clone(&shared));
        let state =
            State { scanner, readers, warned_incomplete: false, remembered: Remembered::Unseen };
        Ok(Self { state: Arc::new(Mutex::new(state)), shared, watcher: None })
    }

    /// Watches the directories of mounts between polls, so that threads of dead namespaces go at once.
    /// A host whose inotify instances are used up is no reason not to poll.
    pub fn watch(&mut self, directories: Vec<std::path::PathBuf>) {
        let (state, counters) = (Arc::clone(&self.state), self.counters());
        // While a poll runs, this waits for its end. The watcher is never dropped during one.
        let on_change = move || drop(lock(&state).refresh(&counters));
        match Watcher::spawn(directories, on_change) {
            Ok(watcher) => self.watcher = Some(watcher),
            Err(error) => warn!(%error, "namespaces are looked for at polls only"),
        }
    }

    /// Where it looks for namespaces.
    pub fn scan_options(&self) -> ScanOptions {
        self.shared.settings.scan.clone()
    }

    /// What the source counts. Shared: they can be read while it polls.
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.shared.counters)
    }

    /// What the tables of sockets count; `None` when nothing is remembered.
    pub fn track_totals(&self) -> Option<Totals> {
        self.track().map(|track| track.totals())
    }

    /// What is remembered of sockets; `None`: nothing.
    pub fn track(&self) -> Option<Arc<Track>> {
        self.shared.track.clone()
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Waits until no job is left, and looks after readers that wait for sinks.
    fn wait(&self, done: &Receiver<Done>) -> Vec<Done> {
        let mut all = Vec::new();
        let mut look = Instant::now() + LOOK;
        loop {
            match done.recv_deadline(look) {
                Ok(done) => all.push(done),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return all,
            }
            if Instant::now() >= look {
                self.shared.parked.let_go_of_the_dead();
                look = Instant::now() + LOOK;
            }
        }
    }
}

impl Source for SockDiag {
    fn name(&self) -> &'static str {
        "sockdiag"
    }

    fn poll(&mut self, outlet: &Outlet, stop: &Stop) -> Vec<PartReport> {
        let mut state = lock(&self.state);
        state.begin(&self.shared);
        let (sender, done) = unbounded();
        state.readers.dispatch(outlet, stop, &sender);
        drop(sender);
        // The channel ends when the last job of the last reader has ended, parts of large namespaces included.
        let done = self.wait(&done);
        let mut parts: BTreeMap<NetnsId, PartReport> = BTreeMap::new();
        for done in done {
            match parts.entry(done.netns.id) {
                Entry::Occupied(mut part) => add(part.get_mut(), &done.report),
                Entry::Vacant(part) => drop(part.insert(done.report.clone())),
            }
            state.readers.remember(done);
        }
        self.shared.kits.finish_poll(outlet);
        if let Some(track) = &self.shared.track {
            for (id, part) in &parts {
                track.end_dump(*id, part.completeness == Completeness::Complete);
            }
        }
        parts.into_values().collect()
    }

    fn finish(&mut self, _outlet: &Outlet) {
        self.watcher = None;
    }
}

/// What is remembered of sockets, and may have been by somebody before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Remembered {
    /// Nothing was read yet.
    Unseen,
    /// There was no complete scan yet: some of it may be of namespaces that went before, or of such as are looked for
    /// `elsewhere`.
    Unswept { elsewhere: bool },
    /// All of it is of namespaces that were there.
    Swept,
}

impl State {
    /// Looks for namespaces before a poll. Who was before has read for the last time when the first one begins.
    fn begin(&mut self, shared: &Shared) {
        let Some(track) = &shared.track else {
            self.refresh(&shared.counters);
            return;
        };
        if self.remembered == Remembered::Unseen {
            self.remembered = Remembered::Unswept { elsewhere: track.ask(shared.asks()) };
        }
        // Others give tables to namespaces that appear while it scans.
        let before = if self.remembered == Remembered::Swept { Vec::new() } else { track.ids() };
        let Some(found) = self.refresh(&shared.counters) else { return };
        if let Remembered::Unswept { elsewhere } = self.remembered {
            track.sweep(&before, &found, elsewhere);
            self.remembered = Remembered::Swept;
        }
    }

    /// The namespaces that there are, if all were found.
    fn refresh(&mut self, counters: &Counters) -> Option<BTreeSet<NetnsId>> {
        let began = Instant::now();
        let scan = self.scanner.scan();
        counters.scanned(&scan, began.elapsed());
        if let Some(errno) = scan.incomplete
            && !self.warned_incomplete
        {
            self.warned_incomplete = true;
            warn!(%errno, "the scan for namespaces failed in places: some may be missing");
        }
        self.readers.reconcile(&scan);
        let all = || scan.namespaces.iter().map(|netns| netns.id).collect();
        scan.incomplete.is_none().then(all)
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sockeye_pipeline::Incomplete;

    use super::*;

    fn part(rows: u64, took: u64, completeness: Completeness) -> PartReport {
        let took = Duration::from_millis(took);
        PartReport {
            part: "blue".into(),
            plan: "walk",
            rows,
            seen: 2 * rows,
            bytes: 100 * rows,
            took,
            completeness,
        }
    }

    #[test]
    fn one_incomplete_part_makes_its_namespace_incomplete_and_the_rows_of_all_count() {
        let lost = Completeness::Incomplete(Incomplete::Lost);
        let late = Completeness::Incomplete(Incomplete::Timeout);
        let mut all = part(5, 7, Completeness::Complete);
        add(&mut all, &part(1, 9, lost));
        add(&mut all, &part(2, 3, late));
        add(&mut all, &part(3, 8, Completeness::Complete));
        assert_eq!(all, part(11, 9, lost));
    }
}
