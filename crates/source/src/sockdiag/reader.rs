//! A reader: a thread that dumps namespaces, one job after the other, and is at home in between.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use nix::errno::Errno;
use nix::libc::EIO;
use sockeye_netns::{Netns, OpenFailure, Opened};
use sockeye_pipeline::{Completeness, Incomplete, Outlet, PartReport, Stop};
use sockeye_record::{DAEMON_VERSION, DumpContext, POLL, SCHEMA_VERSION, SocketRow};
use sockeye_sys::netns::{NetnsFd, VisitError, visit};
use sockeye_sys::{DiagSocket, clock};
use sockeye_wire::{AttrSet, PortRange, Request};

use super::counters::Counters;
use super::dump::{Dump, DumpStats};
use super::kit::{Kit, Kits, push};
use super::parked::{Held, Parked};
use super::settings::Settings;

/// What every reader shares.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    /// What to ask the kernel for: what some column shows.
    pub(crate) attrs: AttrSet,
    pub(crate) counters: Arc<Counters>,
    /// Our own namespace, to which a reader returns.
    pub(crate) home: NetnsFd,
    pub(crate) kits: Kits,
    pub(crate) parked: Parked,
}

/// One namespace, or one part of it, to dump.
pub(crate) struct Job {
    pub(crate) netns: Netns,
    /// Which reader of how many; it dumps its part of the ports.
    pub(crate) part: (u16, u16),
    /// What the parts of one namespace and poll have in common.
    pub(crate) common: Arc<Common>,
    pub(crate) outlet: Outlet,
    pub(crate) stop: Stop,
    pub(crate) done: Sender<Done>,
}

/// What all parts of one namespace and poll have in common.
#[derive(Default)]
pub(crate) struct Common {
    /// Numbers the rows.
    counter: AtomicU64,
    /// Wall clock and boot time when the first part was requested: one moment for all rows, however many read them.
    requested: OnceLock<(i64, i64)>,
}

/// What became of a job.
pub(crate) struct Done {
    pub(crate) netns: Netns,
    pub(crate) report: PartReport,
}

impl Done {
    /// Nothing of the namespace was read.
    pub(crate) fn unread(netns: &Netns, why: Incomplete) -> Self {
        Self { netns: netns.clone(), report: unread(netns, Duration::ZERO, why) }
    }
}

/// A thread that takes jobs until it is dropped.
#[derive(Debug)]
pub(crate) struct ReaderThread {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl ReaderThread {
    /// A thread with jobs of its own.
    pub(crate) fn pinned(name: &str, shared: &Arc<Shared>) -> io::Result<Self> {
        let (sender, receiver) = bounded(1);
        let mut reader = Self::pooled(name, shared, receiver)?;
        reader.jobs = Some(sender);
        Ok(reader)
    }

    /// A thread that takes its jobs from a channel that others take from as well.
    pub(crate) fn pooled(
        name: &str,
        shared: &Arc<Shared>,
        jobs: Receiver<Job>,
    ) -> io::Result<Self> {
        let shared = Arc::clone(shared);
        let work = move || jobs.into_iter().for_each(|job| shared.run(job));
        let thread = thread::Builder::new()
            .name(name.chars().take(15).collect())
            .stack_size(STACK_BYTES)
            .spawn(work)?;
        Ok(Self { jobs: None, thread: Some(thread) })
    }

    /// Gives it a job. If the thread has panicked, the job is dropped, and the poll misses its report.
    pub(crate) fn send(&self, job: Job) {
        if let Some(jobs) = &self.jobs {
            let _ = jobs.send(job);
        }
    }
}

impl Drop for ReaderThread {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A panic has ended the process already.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn run(&self, job: Job) {
        let mut kit = self.kits.lease();
        let report = self.dump(&job, &mut kit);
        self.kits.give_back(kit);
        // The poll waits for every job; if it is gone, so is the need.
        let _ = job.done.send(Done { netns: job.netns, report });
    }

    fn dump(&self, job: &Job, kit: &mut Kit) -> PartReport {
        let began = Instant::now();
        let failed = |why| unread(&job.netns, began.elapsed(), why);
        if job.stop.requested() {
            return failed(Incomplete::Stopped);
        }
        let Opened { fd, name, container, .. } = match job.netns.open() {
            Ok(opened) => opened,
            Err(failure) => return failed(open_failed(failure)),
        };
        let socket = match visit(&fd, &self.home, || DiagSocket::open(RECEIVE_TIMEOUT)) {
            Ok(Ok(socket)) => socket,
            Ok(Err(error)) => {
                return failed(Incomplete::Failed(error.raw_os_error().unwrap_or(EIO)));
            }
            Err(error) => return failed(visit_failed(error)),
        };
        // The socket alone is enough to dump, and the only thing of the namespace that is held while it is.
        drop(fd);
        let host = &self.settings.host;
        let now = || (clock::wall_ns(), clock::boottime_ns());
        let (timestamp_ns, boottime_ns) = *job.common.requested.get_or_init(now);
        kit.begin_dump(&DumpContext {
            schema_version: SCHEMA_VERSION,
            daemon_version: DAEMON_VERSION,
            timestamp_ns,
            boottime_ns,
            hostname: &host.hostname,
            location: &host.location,
            netns: &name,
            netns_inode: job.netns.id.inode,
            nsid: None,
            container_id: container.as_ref().map_or("", |container| &container.id),
            container_runtime: container
                .as_ref()
                .map_or("", |container| container.runtime.as_str()),
            label: &host.label,
            tag: &host.tag,
            record_kind: POLL,
        });
        let (rows, stats) = self.rows(job, socket, kit);
        PartReport {
            part: name,
            rows,
            seen: stats.sockets,
            bytes: stats.bytes,
            took: stats.took,
            completeness: stats.completeness,
        }
    }

    fn rows(&self, job: &Job, socket: DiagSocket, kit: &mut Kit) -> (u64, DumpStats) {
        let (index, count) = job.part;
        let wanted = self.attrs;
        let ports = (count > 1).then(|| PortRange::part(index, count));
        let dump = Dump {
            request: Request { states: self.settings.states, attrs: wanted, ports },
            // A new socket for every dump: no reply to an older request can come.
            seq: 1,
            wanted,
            timeout: self.settings.timeout,
            stop: &job.stop,
        };
        let Kit { buffer, builders } = kit;
        let fd = u64::try_from(socket.as_raw_fd()).unwrap_or(0);
        let held = Held::new(&self.parked, &job.netns, socket);
        let mut rows = 0;
        let stats = dump.run_paused(
            held.paused(),
            &mut &held,
            buffer,
            || held.alive(),
            |diag| {
                if self.settings.modulus.keeps(diag.cookie()) {
                    rows += 1;
                    let shared = || job.common.counter.fetch_add(1, Ordering::Relaxed) + 1;
                    let number = if count == 1 { rows } else { shared() };
                    let row = SocketRow::new(diag, number, fd, u64::from(index));
                    push(builders, &row, &job.outlet, &held);
                }
            },
        );
        self.counters.dumped(&stats);
        (rows, stats)
    }
}

fn unread(netns: &Netns, took: Duration, why: Incomplete) -> PartReport {
    let completeness = Completeness::Incomplete(why);
    PartReport { part: Arc::clone(&netns.name), rows: 0, seen: 0, bytes: 0, took, completeness }
}

fn open_failed(failure: OpenFailure) -> Incomplete {
    match failure {
        OpenFailure::Gone => Incomplete::Vanished,
        OpenFailure::Denied => Incomplete::Denied,
        OpenFailure::Other(errno) => Incomplete::Failed(errno as i32),
    }
}

fn visit_failed(error: VisitError) -> Incomplete {
    match error {
        VisitError::Enter(Errno::EPERM) => Incomplete::Denied,
        VisitError::WrongNetns { .. } => Incomplete::Vanished,
        VisitError::Enter(errno) | VisitError::Unknown(errno) => Incomplete::Failed(errno as i32),
    }
}

/// How often a reader that waits for the kernel looks at the clock and at the stop flag.
const RECEIVE_TIMEOUT: Duration = Duration::from_millis(100);
const STACK_BYTES: usize = 256 * 1024;
