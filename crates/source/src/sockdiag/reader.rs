//! A reader: a thread that reads namespaces, one job after the other, and is at home in between.

use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{fs, io};

use crossbeam_channel::{Receiver, Sender, bounded};
use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use sockeye_filter::{Filter, InNetns, Resolved, Support, bytecode};
use sockeye_netns::{Netns, OpenFailure, Opened};
use sockeye_pipeline::{Completeness, Incomplete, Outlet, PartReport, Stop};
use sockeye_sys::DiagSocket;
use sockeye_sys::netns::{NetnsFd, VisitError, current, visit};
use sockeye_wire::request::Part;
use sockeye_wire::{AttrSet, StateSet};

use super::channel::Channel as _;
use super::counters::Counters;
use super::deadline::Deadline;
use super::dump::{Got, failed, receive};
use super::kit::{Kit, Kits};
use super::look::Look;
use super::memory::{Budget, Memory};
use super::parked::{Held, Parked};
use super::plan::Plan;
use super::reading::{Read, Reading, To};
use super::ring_reader;
use super::rows::{Common, Rows};
use super::settings::Settings;
use crate::STACK_BYTES;
use crate::track::{Asks, Track};

/// What every reader shares.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    /// What to ask the kernel for: what some column shows and what the filter looks at.
    pub(crate) wanted: AttrSet,
    pub(crate) counters: Arc<Counters>,
    /// Our own namespace, to which a reader returns.
    pub(crate) home: NetnsFd,
    pub(crate) kits: Kits,
    pub(crate) parked: Parked,
    /// What is remembered of sockets, if anything.
    pub(crate) track: Option<Arc<Track>>,
    /// Known connections of all namespaces.
    pub(crate) budget: Budget,
    /// The filter where it names no interface, and so is the same everywhere.
    everywhere: OnceLock<Arc<Resolved>>,
    /// The kernel has refused the filter.
    refused: AtomicBool,
}

/// One namespace, or one part of it, to read.
pub(crate) struct Job {
    pub(crate) netns: Arc<Netns>,
    /// The part that this reader was given by the one that leads.
    pub(crate) part: Option<GivenPart>,
    /// What is remembered of the namespace.
    pub(crate) memory: Memory,
    /// Compare a cheap plan with a walk.
    pub(crate) check: bool,
    /// Readers that take parts, if there are any.
    pub(crate) helpers: Option<Sender<Job>>,
    pub(crate) outlet: Outlet,
    pub(crate) stop: Stop,
    pub(crate) done: Sender<Done>,
}

/// A part of a namespace.
pub(crate) struct GivenPart {
    index: u16,
    count: u16,
    ports: Vec<Part>,
    /// States to leave out, since no socket is in them.
    left_out: StateSet,
    common: Arc<Common>,
}

/// What became of a job.
pub(crate) struct Done {
    pub(crate) netns: Arc<Netns>,
    pub(crate) report: PartReport,
    pub(crate) plan: Plan,
    /// Of the whole namespace where `leads`, else what one part has sampled.
    pub(crate) memory: Memory,
    pub(crate) leads: bool,
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
        let work = move || {
            // Opens the thread's directory in procfs, so that what it holds does not grow later.
            let _ = current();
            match shared.settings.io_uring {
                Some(io_uring) => ring_reader::serve(&shared, io_uring, &jobs),
                None => jobs.iter().for_each(|job| shared.run(job, &jobs)),
            }
        };
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
    /// `track`: what was remembered of sockets before, to go on with.
    pub(crate) fn new(
        settings: Settings,
        home: NetnsFd,
        concurrent: usize,
        track: Option<Arc<Track>>,
    ) -> Self {
        let most = settings.max_threads.max(1);
        let readers = match settings.io_uring {
            Some(_) => ring_reader::ring_threads(&settings),
            None => concurrent.max(usize::from(settings.netlinkers.most())).min(most),
        };
        Self {
            wanted: settings.useful_attrs(),
            track: settings
                .track
                .map(|wanted| track.unwrap_or_else(|| Arc::new(Track::new(wanted)))),
            kits: Kits::new(&settings, readers),
            settings,
            counters: Arc::default(),
            home,
            parked: Parked::default(),
            budget: Budget::new(MOST_KNOWN),
            everywhere: OnceLock::new(),
            refused: AtomicBool::new(false),
        }
    }

    /// What polls ask for.
    pub(crate) fn asks(&self) -> Asks {
        let Settings { states, modulus, filter, scan, .. } = &self.settings;
        Asks {
            states: *states,
            modulus: *modulus,
            filter: filter.clone(),
            scan: scan.clone(),
            sees_all: CONNECTED.is_within(*states),
        }
    }

    /// The filter for the namespace that the calling thread is in.
    pub(crate) fn resolve_filter(&self) -> Option<Arc<Resolved>> {
        let filter = self.settings.filter.as_ref()?;
        let resolve = || Arc::new(filter.resolve(ThisNetns));
        if filter.is_per_netns() {
            return Some(resolve());
        }
        Some(Arc::clone(self.everywhere.get_or_init(resolve)))
    }

    /// The program for the kernel: a part's ports, and the filter as far as the kernel can tell.
    pub(crate) fn bytecode(&self, filter: Option<&Resolved>, ports: &[Part]) -> Vec<u8> {
        let support = if self.is_refused() { Support::LEAST } else { self.settings.support };
        bytecode(filter, ports, support).unwrap_or_default()
    }

    /// Whether the kernel is given only what every kernel knows.
    pub(crate) fn is_refused(&self) -> bool {
        self.refused.load(Ordering::Relaxed)
    }

    /// The kernel has refused the filter: from now on it is given what every kernel knows.
    pub(crate) fn refuse(&self) {
        self.refused.store(true, Ordering::Relaxed);
    }

    /// Whether only the kernel can tell which sockets the filter means.
    pub(crate) fn filters_in_kernel(&self) -> bool {
        self.settings.filter.as_ref().is_some_and(Filter::is_for_the_kernel)
    }

    /// Whether a namespace with so many sockets in use is read in parts, now or soon.
    pub(crate) fn may_split(&self, in_use: u64) -> bool {
        self.settings.netlinkers.most() > 1 && in_use >= self.settings.split_from
    }

    /// Does this job by blocking receives, and some more with the same kit if they are there.
    pub(crate) fn run(&self, first: Job, jobs: &Receiver<Job>) {
        let mut kit = self.kits.lease();
        let mut done = vec![self.run_one(first, &mut kit)];
        while done.len() < JOBS_AT_ONCE
            && done.last().is_some_and(|last| last.done.plan.is_cheap())
            && let Ok(job) = jobs.try_recv()
        {
            done.push(self.run_one(job, &mut kit));
        }
        // The end of a poll looks for every kit when every job is done.
        self.kits.give_back(kit);
        done.into_iter().for_each(Finished::tell);
    }

    fn run_one(&self, job: Job, kit: &mut Kit) -> Finished {
        let kept = std::mem::take(&mut kit.kept);
        let (finished, kept) = match self.begin(job, kept) {
            Ok(begun) => self.drive(begun, kit),
            Err(unread) => unread,
        };
        kit.kept = kept;
        finished
    }

    fn drive(&self, begun: Begun, kit: &mut Kit) -> (Finished, Vec<u8>) {
        let Begun { mut reading, socket, errand } = begun;
        if let Some(socket) = socket {
            let Kit { buffer, lanes, layouts, .. } = kit;
            let held = Held::new(&self.parked, &errand.netns, &errand.outlet, socket);
            let (timeout, stop) = (self.settings.timeout, &errand.stop);
            let mut deadline = Deadline::new(timeout, stop, held.paused(), || held.alive());
            let mut to = To { lanes, layouts, ship: &held };
            while let Some(request) = reading.ask(self) {
                match (&held).send(request) {
                    Ok(()) => receive(&mut &held, buffer, &mut deadline, |got| {
                        reading.feed(&got, self, &mut to)
                    }),
                    Err(error) => {
                        reading.feed(&Got::Nothing(failed(&error)), self, &mut to);
                    }
                }
            }
        }
        self.finish(reading, errand)
    }

    /// Opens the namespace and looks around in it; gives parts of it to others if it is large.
    #[expect(
        clippy::result_large_err,
        reason = "the other way out is as large, and neither is kept"
    )]
    pub(crate) fn begin(&self, job: Job, kept: Vec<u8>) -> Result<Begun, (Finished, Vec<u8>)> {
        let began = Instant::now();
        let Job { netns, part, mut memory, check, helpers, outlet, stop, done } = job;
        let errand = Errand { netns, outlet, stop, done, leads: part.is_none() };
        let opened = if errand.stop.requested() {
            Err(Incomplete::Stopped)
        } else {
            self.look(&errand.netns, part.as_ref(), &mut memory, check)
        };
        let (opened, look) = match opened {
            Ok(opened) => opened,
            Err(why) => return Err((errand.unread(why, began.elapsed(), memory), kept)),
        };
        let id = errand.netns.id;
        let mut rows = Rows::new(id, opened.name, opened.container, self.settings.modulus);
        if let Some(track) = &self.track {
            let table = track.table(id);
            if part.is_none() {
                // Before anything is asked for, and before parts are given away.
                table.begin_dump();
                table.lock().ends().want(look.may_hide(self));
            }
            (rows.nsid, rows.deltas) = (table.nsid(), track.deltas());
            rows.table = Some(table);
        }
        rows.health = self.settings.tcp_health.then(Box::default);
        rows.fd = look.socket.as_ref().and_then(|fd| fd.as_raw_fd().try_into().ok()).unwrap_or(0);
        let part = match part {
            Some(part) => Some(part),
            None => self.split(&look, &memory, &errand, helpers),
        };
        let ports = part.map(|part| {
            rows.part = (part.index, part.count);
            rows.common = part.common;
            part.ports
        });
        let (mut reading, socket) = Reading::new(self, rows, look, ports, memory, kept);
        if check {
            reading.check();
        }
        Ok(Begun { reading, socket, errand })
    }

    fn look(
        &self,
        netns: &Netns,
        part: Option<&GivenPart>,
        memory: &mut Memory,
        check: bool,
    ) -> Result<(Opened, Look), Incomplete> {
        let opened = netns.open().map_err(open_failed)?;
        if let Some(track) = self.track.as_ref().filter(|_| part.is_none()) {
            // Before sockets are counted: what is left of these is counted then.
            memory.ends = track.table(netns.id).lock().ends().take();
        }
        let inside = || match part {
            None => Look::around(self, memory, netns.proc_root(), check),
            Some(part) => Look::at_a_part(self, part.left_out),
        };
        let look = visit(&opened.fd, &self.home, inside).map_err(visit_failed)?;
        Ok((opened, look.map_err(|error| failed(&error))?))
    }

    /// Sends all parts but the first to other readers. It is one's own.
    fn split(
        &self,
        look: &Look,
        memory: &Memory,
        errand: &Errand,
        helpers: Option<Sender<Job>>,
    ) -> Option<GivenPart> {
        let helpers = helpers?;
        let count = look.readers(self);
        if count < 2 {
            return None;
        }
        let parts = memory.sample.parts(count);
        let count = u16::try_from(parts.len()).ok().filter(|count| *count > 1)?;
        let common = Arc::<Common>::default();
        let given = (0..count).zip(parts).map(|(index, ports)| {
            let common = Arc::clone(&common);
            GivenPart { index, count, ports, left_out: look.left_out, common }
        });
        let mut given: Vec<GivenPart> = given.collect();
        let first = given.remove(0);
        for part in given {
            let job = Job {
                netns: Arc::clone(&errand.netns),
                part: Some(part),
                memory: Memory::default(),
                check: false,
                helpers: None,
                outlet: errand.outlet.clone(),
                stop: errand.stop.clone(),
                done: errand.done.clone(),
            };
            // The receiver lives as long as the poll.
            let _ = helpers.send(job);
        }
        Some(first)
    }

    /// Publishes what a reading has seen.
    pub(crate) fn finish(&self, reading: Reading, errand: Errand) -> (Finished, Vec<u8>) {
        let mut read = reading.finish();
        self.counters.read(&mut read);
        let Errand { netns, done, leads, .. } = errand;
        let Read { report, plan, memory, kept, .. } = read;
        (Finished { done: Done { netns, report, plan, memory, leads }, to: done }, kept)
    }
}

/// A namespace that is open and about to be read.
pub(crate) struct Begun {
    pub(crate) reading: Reading,
    /// None where there is nothing to ask for.
    pub(crate) socket: Option<DiagSocket>,
    pub(crate) errand: Errand,
}

/// What a job needs besides what it reads.
pub(crate) struct Errand {
    pub(crate) netns: Arc<Netns>,
    pub(crate) outlet: Outlet,
    pub(crate) stop: Stop,
    done: Sender<Done>,
    leads: bool,
}

/// What became of a job, and who waits for it.
pub(crate) struct Finished {
    done: Done,
    to: Sender<Done>,
}

impl Finished {
    /// The poll waits for every job; if it is gone, so is the need.
    pub(crate) fn tell(self) {
        let _ = self.to.send(self.done);
    }
}

impl Errand {
    fn unread(self, why: Incomplete, took: Duration, memory: Memory) -> Finished {
        let done = Done::unread(&self.netns, why, took, memory, self.leads);
        Finished { done, to: self.done }
    }
}

impl Done {
    /// Nothing of the namespace was read. What was known of it is known still.
    pub(crate) fn unread(
        netns: &Arc<Netns>,
        why: Incomplete,
        took: Duration,
        memory: Memory,
        leads: bool,
    ) -> Self {
        let report = PartReport {
            part: Arc::clone(&netns.name),
            plan: Plan::Walk.name(),
            rows: 0,
            seen: 0,
            bytes: 0,
            took,
            completeness: Completeness::Incomplete(why),
        };
        Self { netns: Arc::clone(netns), report, plan: Plan::Walk, memory, leads }
    }
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

/// Whoever waits for a kit waits for one job and some more without a walk, which take half a millisecond.
const JOBS_AT_ONCE: usize = 8;
/// How often a reader that waits for the kernel looks at the clock and at the stop flag.
pub(crate) const RECEIVE_TIMEOUT: Duration = Duration::from_millis(100);
/// What a socket with an event passes through while polls can see it.
const CONNECTED: StateSet = StateSet::CONNECTIONS;
/// 3.5 MiB, for all namespaces together.
const MOST_KNOWN: usize = 65_536;

/// The namespace that the calling thread is in.
struct ThisNetns;

impl InNetns for ThisNetns {
    fn index_of(&mut self, device: &str) -> Option<u32> {
        if_nametoindex(device).ok()
    }

    fn local_ports(&mut self) -> (u16, u16) {
        let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
        let mut ports = text.split_ascii_whitespace().map(str::parse);
        match (ports.next(), ports.next()) {
            (Some(Ok(low)), Some(Ok(high))) => (low, high),
            _ => DEFAULT_LOCAL_PORTS,
        }
    }
}

/// What the kernel begins with.
const DEFAULT_LOCAL_PORTS: (u16, u16) = (32768, 60999);

#[cfg(test)]
mod tests {
    use super::*;

    impl Errand {
        /// To read this namespace for nobody.
        pub(crate) fn of_tests(netns: Netns) -> Self {
            let stop = Stop::default();
            Self {
                netns: Arc::new(netns),
                outlet: Outlet::new(vec![Vec::new()], stop.clone()),
                stop,
                done: crossbeam_channel::unbounded().0,
                leads: true,
            }
        }
    }
}
