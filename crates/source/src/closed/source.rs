//! The source: opens its sockets, starts its threads, asks for what was gathered at the end of a poll, and reports.

use std::io::{self, PipeWriter, Write as _};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use nix::libc::EPERM;
use sockeye_netns::{ScanOptions, Scanner, Watcher};
use sockeye_pipeline::{Completeness, Incomplete, Outlet, PartReport, Source, Stop};
use sockeye_sys::EventSocket;
use tracing::warn;

use super::counters::{Counters, Totals};
use super::ears::{Ears, Open};
use super::finder::Finder;
use super::hearing::{Asking, Hearing};
use super::listener::Listener;
use super::settings::{ClosedError, Scope, Settings};
use super::shared::Shared;
use crate::STACK_BYTES;
use crate::sockdiag::{self, SockDiag};

/// One row for each connection that closes, in every namespace that is found, by one socket in our own.
pub struct Closed {
    sockdiag: Arc<sockdiag::Shared>,
    counters: Arc<Counters>,
    settings: Settings,
    shortfalls: Vec<String>,
    /// Sockets, while it does not run.
    ears: Ears,
    running: Option<Running>,
    /// What was counted when it last reported.
    reported: Totals,
}

/// What is needed to go on after a source.
#[derive(Debug, Clone)]
pub struct Handover {
    ears: Ears,
    counters: Arc<Counters>,
    settings: Settings,
}

struct Running {
    shared: Arc<Shared>,
    listener: JoinHandle<(EventSocket, u32)>,
    finder: JoinHandle<Asking>,
    watcher: Option<Watcher>,
    wake: PipeWriter,
    find: Sender<()>,
    answered: Receiver<(u64, Totals)>,
}

impl Closed {
    /// Listens from now on; rows are made when it is started. What rows say, and which of them are wanted, is as of
    /// `sockdiag`, and so is what is known of the sockets. The thread that calls must be at home.
    ///
    /// # Errors
    /// [`ClosedError`]: go on without.
    pub fn new(sockdiag: &SockDiag, mut settings: Settings) -> Result<Self, ClosedError> {
        let sockdiag = Arc::clone(sockdiag.shared());
        let mut shortfalls = Vec::new();
        if sockdiag.settings.scan.own_only {
            settings.scope = Scope::Own;
        }
        let open = |scope| EventSocket::open(scope == Scope::All, settings.buffer_bytes);
        let socket = match open(settings.scope) {
            Err(error) if settings.scope == Scope::All && error.raw_os_error() == Some(EPERM) => {
                settings.scope = Scope::Own;
                shortfalls.push(
                    "closed sockets of our own network namespace only: CAP_NET_BROADCAST is missing"
                        .into(),
                );
                open(Scope::Own)
            }
            socket => socket,
        };
        let socket = socket.map_err(ClosedError::Listen)?;
        let granted = socket.buffer_bytes().map_err(ClosedError::Listen)?;
        if granted < settings.buffer_bytes / 2 {
            let wanted = settings.buffer_bytes;
            shortfalls.push(format!(
                "events of closed sockets have a buffer of {granted} bytes instead of {wanted}: CAP_NET_ADMIN is \
                 missing, and net.core.rmem_max allows no more"
            ));
        }
        let hearing = Arc::new(Mutex::new(Hearing::new().map_err(ClosedError::Start)?));
        let asking = Asking::new().map_err(ClosedError::Start)?;
        let counters = Arc::new(Counters::default());
        let shared =
            Shared::new(Arc::clone(&sockdiag), Arc::clone(&counters), Arc::clone(&hearing));
        let mut finder = finder(Arc::new(shared), asking, settings.scope);
        finder.look();
        shortfalls.extend(finder.shortfall());
        let asking = finder.into_asking();
        let ears = Ears::default();
        let reported = Totals::default();
        let counted = Arc::clone(&counters);
        ears.leave(Open { socket, asking, hearing, counters: counted, lost: 0, reported });
        Ok(Self { sockdiag, counters, settings, shortfalls, ears, running: None, reported })
    }

    /// The one that goes on with the sockets of another when that has finished, as of another `sockdiag`, which is to remember
    /// what the other's did.
    pub fn after(handover: &Handover, sockdiag: &SockDiag) -> Self {
        let Handover { ears, counters, settings } = handover.clone();
        let reported = counters.totals();
        let sockdiag = Arc::clone(sockdiag.shared());
        Self { sockdiag, counters, settings, shortfalls: Vec::new(), ears, running: None, reported }
    }

    /// What is needed to go on after this one.
    pub fn handover(&self) -> Handover {
        let (ears, counters) = (self.ears.clone(), Arc::clone(&self.counters));
        Handover { ears, counters, settings: self.settings }
    }

    /// What it does less than it was asked to, and the capability that is missing for it.
    pub fn shortfalls(&self) -> &[String] {
        &self.shortfalls
    }

    /// What it counts. Shared: they can be read while it listens.
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    fn run(&mut self, outlet: &Outlet) -> io::Result<Running> {
        let Open { socket, asking, hearing, counters, lost, reported } =
            self.ears.take().ok_or(io::ErrorKind::NotConnected)?;
        // What was counted since the last report of the one before is for the first of this one.
        self.reported = reported;
        let shared = Arc::new(Shared::new(Arc::clone(&self.sockdiag), counters, hearing));
        let mut finder = finder(Arc::clone(&shared), asking, self.settings.scope);
        // What was found before may have been found for another filter.
        finder.look();
        let (woken, wake) = io::pipe()?;
        let (find, found) = bounded(1);
        let (answer, answered) = bounded(1);
        let listener = Listener {
            news: shared.hearing().socket(),
            shared: Arc::clone(&shared),
            socket,
            woken,
            answered: answer,
            find: find.clone(),
            outlet: outlet.clone(),
            flush_every: self.settings.flush_every,
            lost,
        };
        let listener = thread::Builder::new()
            .name("closed".into())
            .stack_size(STACK_BYTES)
            .spawn(move || listener.run())?;
        let finder = thread::Builder::new()
            .name("closed-netns".into())
            .stack_size(STACK_BYTES)
            .spawn(move || finder.run(&found))?;
        let watcher = self.watcher(&find);
        Ok(Running { shared, listener, finder, watcher, wake, find, answered })
    }

    /// Wakes the finder when a namespace is mounted.
    fn watcher(&self, find: &Sender<()>) -> Option<Watcher> {
        if self.settings.scope == Scope::Own {
            return None;
        }
        let directories: Vec<PathBuf> = self.sockdiag.settings.scan.mount_dirs.clone();
        let find = find.clone();
        let wake = move || {
            // Full: it is woken already.
            let _ = find.try_send(());
        };
        let watcher = Watcher::spawn(directories, wake);
        watcher
            .inspect_err(|error| warn!(%error, "namespaces are looked for now and then only"))
            .ok()
    }

    /// Waits until what was told of before is sent; what was counted by then, unless it takes too long.
    fn gather(&mut self) -> Option<Totals> {
        let running = self.running.as_mut()?;
        let number = running.shared.asked.fetch_add(1, Ordering::AcqRel) + 1;
        let deadline = Instant::now() + PATIENCE;
        running.wake();
        while let Ok((answered, totals)) = running.answered.recv_deadline(deadline) {
            if answered >= number {
                return Some(totals);
            }
        }
        None
    }

    fn report(&mut self, now: Totals) -> PartReport {
        let before = std::mem::replace(&mut self.reported, now);
        let lost = now.lost > before.lost || now.enobufs > before.enobufs;
        let completeness =
            if lost { Completeness::Incomplete(Incomplete::Lost) } else { Completeness::Complete };
        PartReport {
            part: "closed".into(),
            plan: PLAN,
            rows: now.rows - before.rows,
            seen: now.events - before.events,
            bytes: 0,
            took: Duration::ZERO,
            completeness,
        }
    }
}

impl Source for Closed {
    fn name(&self) -> &'static str {
        "closed"
    }

    fn start(&mut self, outlet: &Outlet, _stop: &Stop) {
        outlet.keep_room_for_closed();
        match self.run(outlet) {
            Ok(running) => self.running = Some(running),
            Err(error) => warn!(%error, "no thread for closed sockets: they are not told of"),
        }
    }

    fn poll(&mut self, _outlet: &Outlet, _stop: &Stop) -> Vec<PartReport> {
        let now = self.gather().unwrap_or(self.reported);
        vec![self.report(now)]
    }

    fn finish(&mut self, _outlet: &Outlet) {
        let Some(mut running) = self.running.take() else { return };
        running.end();
        let Running { shared, listener, finder, watcher, wake, find, .. } = running;
        // The listener reads what is left. A panic of a thread has ended the process.
        let heard = listener.join();
        drop((watcher, wake, find));
        if let (Ok((socket, lost)), Ok(asking)) = (heard, finder.join()) {
            let (hearing, counters) = (shared.hearing_of_all(), Arc::clone(&self.counters));
            let reported = self.reported;
            self.ears.leave(Open { socket, asking, hearing, counters, lost, reported });
        }
    }
}

impl Drop for Closed {
    fn drop(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.end();
        }
    }
}

fn finder(shared: Arc<Shared>, asking: Asking, scope: Scope) -> Finder {
    let own_only = scope == Scope::Own;
    let options = ScanOptions { own_only, ..shared.sockdiag.settings.scan.clone() };
    Finder::new(shared, asking, Scanner::new(options), own_only)
}

impl Running {
    fn end(&mut self) {
        self.shared.ending.store(true, Ordering::Release);
        self.wake();
    }

    fn wake(&mut self) {
        // It ends only when it is told to.
        let _ = self.wake.write(&[0]);
    }
}

/// What its reports have for a plan: they are of no namespace.
pub const PLAN: &str = "events";
/// The end of a poll does not wait for rows longer than that.
const PATIENCE: Duration = Duration::from_secs(1);
