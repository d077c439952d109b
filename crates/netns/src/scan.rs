//! One scan: every network namespace that a process or a bind mount leads to, derived from nothing but which processes are kernel
//! threads.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{Mode, fstatat, stat};
use sockeye_sys::netns::{NetnsFd, NetnsId, OpenError};

use crate::process::{NS_NET, ProcessDir, read_file, witness};
use crate::remembered::{Listed, Remembered, recall};
use crate::{Netns, Origin, label};

/// Where `ip netns` and Docker mount their namespaces. `/var/run` leads to the same directories.
pub const DEFAULT_MOUNT_DIRS: [&str; 2] = ["/run/netns", "/run/docker/netns"];

/// Where a scan looks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ScanOptions {
    /// Where procfs is mounted. Default `/proc`.
    pub proc_root: PathBuf,
    /// Directories of bind mounts, not searched recursively; one that does not exist is normal. Default
    /// [`DEFAULT_MOUNT_DIRS`]. Their order decides which name a namespace with several mounts gets.
    pub mount_dirs: Vec<PathBuf>,
    /// Find only the caller's own namespace: no process is looked at. Default `false`.
    pub own_only: bool,
}

impl Default for ScanOptions {
    fn default() -> Self {
        Self {
            proc_root: "/proc".into(),
            mount_dirs: DEFAULT_MOUNT_DIRS.map(PathBuf::from).into(),
            own_only: false,
        }
    }
}

/// Scans again and again. Between scans it holds the directory `/proc` open, and remembers what the mounts were and which
/// processes are kernel threads.
#[derive(Debug)]
pub struct Scanner {
    options: Arc<ScanOptions>,
    proc: Option<Dir>,
    /// The processes of the last scan, in the order of their ids.
    processes: Vec<Remembered>,
    /// Mounts of network namespaces that the last scan has opened, or one before it: where the same one is still there, a
    /// `stat` tells so.
    mounts: Mounts,
}

type Mounts = HashMap<PathBuf, NetnsId>;

/// What one scan found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Scan {
    /// In the order of their identity, each once.
    pub namespaces: Vec<Netns>,
    /// How many places were looked at, and why some led nowhere.
    pub stats: ScanStats,
    /// An error that may have hidden a namespace, such as too many open files. Absence then proves nothing.
    pub incomplete: Option<Errno>,
}

/// Counts of one scan.
#[derive(Copy, Clone, Default, PartialEq, Eq, Debug)]
pub struct ScanStats {
    /// Processes whose namespace was read, and kernel threads whose namespace is known.
    pub processes: u64,
    /// Bind mounts of network namespaces.
    pub mounts: u64,
    /// Entries of the mount directories that are plain files, directories, FIFOs.
    pub not_nsfs: u64,
    /// Mounts of namespaces of another kind.
    pub other_kind: u64,
    /// Places that a capability is missing for.
    pub denied: u64,
    /// Processes and mounts that went away during the scan, and zombies.
    pub gone: u64,
    /// Places that failed in another way; see [`Scan::incomplete`].
    pub failed: u64,
}

impl Scanner {
    /// A scanner; nothing is opened yet.
    pub fn new(options: ScanOptions) -> Self {
        Self::shared(Arc::new(options))
    }

    pub(crate) fn shared(options: Arc<ScanOptions>) -> Self {
        Self { options, proc: None, processes: Vec::new(), mounts: Mounts::new() }
    }

    /// Looks at every process that may have moved, and at every mount. The caller must be in its home namespace.
    ///
    /// Never fails as a whole: what could not be read is counted, and [`Scan::incomplete`] says if it mattered.
    pub fn scan(&mut self) -> Scan {
        let options = Arc::clone(&self.options);
        let mut findings = Findings::default();
        let own = findings.own(&options);
        self.mounts = findings.mounts(&options, &self.mounts);
        let default = default_netns(&options.proc_root);
        if options.own_only {
            findings.places.retain(|id, _| Some(*id) == own);
        } else if let Err(errno) = self.look_at_processes(&mut findings, default) {
            findings.fail(errno);
            self.proc = None;
        }
        let namespaces = findings.places.into_iter();
        let namespaces = namespaces.map(|(id, places)| places.into_netns(id, default, &options));
        Scan {
            namespaces: namespaces.collect(),
            stats: findings.stats,
            incomplete: findings.incomplete,
        }
    }

    fn look_at_processes(
        &mut self,
        findings: &mut Findings,
        default: Option<DefaultNetns>,
    ) -> Result<(), Errno> {
        let root = &self.options.proc_root;
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let proc = match &mut self.proc {
            Some(proc) => proc,
            closed => closed.insert(Dir::open(root, flags, Mode::empty())?),
        };
        let mut listing = Vec::with_capacity(self.processes.len());
        for entry in proc.iter() {
            let entry = entry?;
            let pid = entry.file_name().to_str().ok().and_then(|name| name.parse().ok());
            listing.extend(pid.map(|pid| Listed { pid, inode: entry.ino() }));
        }
        listing.sort_unstable();
        self.processes = recall(&self.processes, &listing);
        let mut path = String::new();
        for process in &mut self.processes {
            let pid = process.listed.pid;
            if let Some(id) = process.kernel_threads_netns() {
                findings.process(pid, id);
                continue;
            }
            path.clear();
            let _ = write!(path, "{pid}/{NS_NET}");
            match fstatat(&*proc, path.as_str(), AtFlags::empty()).map_err(OpenError::from) {
                Ok(stat) => {
                    let id = NetnsId::from(&stat);
                    findings.process(pid, id);
                    if default.is_some_and(|default| default.is(id, false)) {
                        // If another process has the id by now, the next listing shows another inode.
                        let stat = || read_file(proc.as_fd(), &format!("{pid}/stat")).ok();
                        process.found_in_default(id, stat);
                    }
                }
                Err(OpenError::Gone) => match living_thread(root, pid) {
                    Some((tid, id)) => findings.process(tid, id),
                    None => findings.stats.gone += 1,
                },
                Err(other) => findings.count(other),
            }
        }
        Ok(())
    }
}

/// The host's own namespace: that of process 1, or the caller's where that one cannot be read.
fn default_netns(proc_root: &Path) -> Option<DefaultNetns> {
    let init = ProcessDir::open(proc_root, 1).and_then(|init| init.netns());
    let own = || ProcessDir::own(proc_root)?.netns();
    init.map(DefaultNetns::Init).or_else(|_| own().map(DefaultNetns::Guess)).ok()
}

/// Which namespace is the host's own.
#[derive(Clone, Copy)]
enum DefaultNetns {
    /// That of process 1.
    Init(NetnsId),
    /// Ours, since process 1 can't be looked at; unless somebody has given it a name.
    Guess(NetnsId),
}

impl DefaultNetns {
    /// Whether `id`, mounted somewhere or not, is the host's own.
    pub(crate) fn is(self, id: NetnsId, mounted: bool) -> bool {
        match self {
            Self::Init(default) => id == default,
            Self::Guess(own) => id == own && !mounted,
        }
    }
}

/// A process whose first thread has ended shows no namespace, though its other threads live on.
fn living_thread(proc_root: &Path, pid: u32) -> Option<(u32, NetnsId)> {
    let tasks = fs::read_dir(proc_root.join(pid.to_string()).join("task")).ok()?;
    tasks.flatten().find_map(|task| {
        let tid = task.file_name().to_str()?.parse().ok()?;
        let stat = nix::sys::stat::stat(&task.path().join(NS_NET)).ok()?;
        Some((tid, NetnsId::from(&stat)))
    })
}

#[derive(Default)]
struct Findings {
    places: BTreeMap<NetnsId, Places>,
    stats: ScanStats,
    incomplete: Option<Errno>,
}

#[derive(Default)]
struct Places {
    mounts: Vec<PathBuf>,
    own: bool,
    pids: Vec<u32>,
    processes: u32,
}

impl Findings {
    fn own(&mut self, options: &ScanOptions) -> Option<NetnsId> {
        match ProcessDir::own(&options.proc_root).and_then(|own| own.netns()) {
            Ok(id) => {
                self.places.entry(id).or_default().own = true;
                Some(id)
            }
            Err(errno) => {
                self.count(errno.into());
                None
            }
        }
    }

    /// Looks at every mount; returns those of network namespaces.
    fn mounts(&mut self, options: &ScanOptions, before: &Mounts) -> Mounts {
        let mut found = Mounts::new();
        let mut seen = HashSet::new();
        for dir in &options.mount_dirs {
            match fs::metadata(dir) {
                // `/var/run/netns` is `/run/netns`.
                Ok(metadata) if !seen.insert((metadata.dev(), metadata.ino())) => continue,
                Ok(_) => {}
                Err(error) => {
                    self.fail_unless_missing(&error);
                    continue;
                }
            }
            if let Err(error) = self.mounts_in(dir, before, &mut found) {
                self.fail_unless_missing(&error);
            }
        }
        found
    }

    fn mounts_in(&mut self, dir: &Path, before: &Mounts, found: &mut Mounts) -> io::Result<()> {
        let names = fs::read_dir(dir)?.map(|entry| entry.map(|entry| entry.file_name()));
        let mut names = names.collect::<io::Result<Vec<_>>>()?;
        names.sort_unstable();
        for name in names {
            let path = dir.join(name);
            let before = before.get(&path).copied();
            let still =
                before.filter(|id| stat(&path).is_ok_and(|stat| NetnsId::from(&stat) == *id));
            let id = still.map_or_else(|| NetnsFd::open(&path).map(|fd| fd.id()), Ok);
            match id {
                Ok(id) => {
                    self.stats.mounts += 1;
                    self.places.entry(id).or_default().mounts.push(path.clone());
                    found.insert(path, id);
                }
                // An odd entry, such as a loop of links or a dead file system, hides nothing but itself.
                Err(OpenError::Other(errno)) if !hides_others(errno) => self.stats.failed += 1,
                Err(error) => self.count(error),
            }
        }
        Ok(())
    }

    fn process(&mut self, pid: u32, id: NetnsId) {
        self.stats.processes += 1;
        let places = self.places.entry(id).or_default();
        places.processes = places.processes.saturating_add(1);
        if places.pids.len() < MAX_PIDS {
            places.pids.push(pid);
        }
    }

    fn count(&mut self, error: OpenError) {
        match error {
            OpenError::NotNsfs => self.stats.not_nsfs += 1,
            OpenError::OtherKind => self.stats.other_kind += 1,
            OpenError::Denied => self.stats.denied += 1,
            OpenError::Gone => self.stats.gone += 1,
            OpenError::Other(errno) => self.fail(errno),
        }
    }

    fn fail(&mut self, errno: Errno) {
        self.stats.failed += 1;
        self.incomplete = Some(errno);
    }

    fn fail_unless_missing(&mut self, error: &io::Error) {
        match OpenError::from(error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)) {
            OpenError::Gone => {}
            other => self.count(other),
        }
    }
}

impl Places {
    fn into_netns(
        self,
        id: NetnsId,
        default: Option<DefaultNetns>,
        options: &Arc<ScanOptions>,
    ) -> Netns {
        let mounted = !self.mounts.is_empty();
        let is_default = default.is_some_and(|default| default.is(id, mounted));
        let container = if is_default {
            None
        } else {
            witness(&options.proc_root, id, self.pids.iter().copied(), self.own).container
        };
        let mount = self.mounts.first().map(PathBuf::as_path);
        let name = label::name(id, is_default, mount, container.as_ref());
        let pid = self.pids.first().copied();
        let mut origins: Vec<_> = self.mounts.into_iter().map(Origin::Mount).collect();
        origins.extend(self.own.then_some(Origin::Own));
        origins.extend(self.pids.into_iter().map(Origin::Process));
        let options = Arc::clone(options);
        Netns { id, name, origins, container, pid, processes: self.processes, is_default, options }
    }
}

/// How many processes a namespace remembers as ways to open it.
const MAX_PIDS: usize = 4;

/// A limit of ours or of the host's, which any entry would have met.
fn hides_others(errno: Errno) -> bool {
    matches!(errno, Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM | Errno::EINTR | Errno::EAGAIN)
}

#[cfg(test)]
mod tests;
